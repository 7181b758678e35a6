//! The runtime: buffers, programs and their execution, threads, matrix products.
//!
//! What does not live here: anything that decides what a program computes (`igneous-compiler`).
//!
//! Invariants: `unsafe` of the whole workspace lives here and at the call boundary of generated code; the number of
//! threads never changes a result; a steady state allocates nothing; a run that fails has changed no variable.

pub mod buffer;
pub mod cuda;
mod executor;
mod gemm;
pub mod library;
pub mod program;
mod report;
mod scratch;
mod threads;
mod tile;
mod transpose;

pub use buffer::{Buffer, Element};
pub use executor::{LaunchTime, Plans};
pub use program::Program;
pub use report::MemoryReport;
pub use threads::{num_threads, set_num_threads};
