//! igneous: a deep-learning framework that is a compiler.
//!
//! You write eager code on [`Tensor`]s; [`compile()`] traces that very code into a graph, differentiates and rewrites it,
//! fuses it into a few kernels and runs them.
//!
//! What lives here: tensors, variables, the tape of eager mode, tracing and compiled functions, and on top of them layers,
//! optimizers and data. What does not: operators (`igneous-ir`), passes and code generation (`igneous-compiler`), memory
//! and execution (`igneous-runtime`).
//!
//! Invariants: every operation goes through one function (`apply`); nothing a user passes panics: errors are values that
//! invalid tensors carry to the first place that returns a `Result`; a run that fails has changed no variable.
#![forbid(unsafe_code)]

// The derive macros name this crate as its users do.
extern crate self as igneous;

mod apply;
mod backend;
mod compile;
pub mod data;
mod device;
mod eager;
mod grad_mode;
mod location;
pub mod nn;
pub mod optim;
mod random;
mod scan;
mod slot;
mod tape;
mod tensor;
pub mod testing;
mod trace;
mod tracked;
mod variable;

pub use backend::{Precision, Stages};
pub use compile::{Arguments, Compiled, Function, Lowered, NamedExtent, NamedShape, Outputs, Tree, compile, spec};
pub use device::Device;
pub use grad_mode::{enable_grad, is_grad_enabled, no_grad};
/// Graphs and kernels: their texts, verifiers and interpreters. What [`Lowered`] shows is made of them.
pub use igneous_ir as ir;
pub use igneous_ir::{DType, Dim, Error, Loc, Result, Shape, TensorType};
pub use igneous_runtime::buffer::{MemoryStats, memory_stats};
pub use igneous_runtime::{LaunchTime, num_threads, set_num_threads};
pub use random::{manual_seed, random_state};
pub use scan::{scan, scan_reverse};
pub use tape::{grad, grad_with};
pub use tensor::{
    Axes, Conv, Data, Element, Ellipsis, Extent, Index, IndexItem, IntoShape, NewAxis, Operand, Padding, Pair, Pool, Scalar,
    Slice, Stepped, Tensor, broadcast_tensors, promote, where_,
};
pub use trace::scope;
pub use tracked::{State, Tracked};
pub use variable::VariableKind;

/// The code in the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The default value of an options structure: `Conv { padding: 1.into(), ..default() }`.
pub fn default<T: Default>() -> T {
    T::default()
}
