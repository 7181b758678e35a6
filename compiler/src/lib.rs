//! The compiler: passes on graphs, rewriting by e-graphs, fusion into kernels, schedules, and the code generators for
//! CPUs (Cranelift) and CUDA.
//!
//! What does not live here: what operators mean (`igneous-ir`), and running programs (`igneous-runtime`).
//!
//! Invariants: every pass is a pure function of its input, so compiling twice gives the same bytes; graphs are verified
//! after every pass in debug builds; compile time is linear in the number of nodes.

mod attention;
mod codegen;
pub mod cpu;
pub mod cuda;
pub mod decompose;
mod driver;
pub mod egraph;
pub mod fuse;
mod inline;
pub mod lower;
mod outline;
pub mod plan;
pub mod precision;
mod prepare;
mod regions;
pub mod rematerialise;
pub mod report;
pub mod rules;
mod schedule;
pub mod split_scan;
mod symbols;

pub use driver::{Backend, Compiled, Options, Prepare, Variables, compile};
pub use precision::{Licence, MatmulPrecision, Precision};
