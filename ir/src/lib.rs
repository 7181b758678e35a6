//! The intermediate representations of igneous: the graph of tensor operators and the kernel of stages,
//! with operator records, text forms, verifiers, the reference interpreter and the derivative and batch rules.
//!
//! What does not live here: passes that choose (fusion, rewriting: `igneous-compiler`), and anything that touches
//! devices or machine code (`igneous-runtime`). This crate depends on no sibling and has no `unsafe`.
//!
//! Invariants: a graph's nodes are in topological order and well typed; every level has a canonical text form that
//! parses back; nothing here depends on time, addresses or the order of a hash map.
#![forbid(unsafe_code)]

pub mod array;
pub mod autodiff;
pub mod batch;
pub mod conformance;
pub mod dim;
pub mod emit;
pub mod error;
pub mod graph;
pub mod interp;
pub mod kernel;
pub mod math;
pub mod op;
pub mod ops;
pub mod sample;
pub mod scalar;
pub mod scalar_eval;
mod simplify;
pub mod text;
pub mod types;
pub mod verify;

pub use array::Array;
pub use dim::Dim;
pub use error::{Error, Loc, Result};
pub use graph::{Graph, Value};
pub use op::Op;
pub use types::{DType, Literal, Shape, TensorType};
