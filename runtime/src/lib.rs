//! The runtime: buffers, programs and their execution, threads, matrix products.
pub mod program;
