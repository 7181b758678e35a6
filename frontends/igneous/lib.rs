//! igneous: a deep-learning framework that is a compiler.
//!
//! You write eager code on [`Tensor`]s; [`compile()`] traces that very code into a graph, differentiates and rewrites it,
//! fuses it into a few kernels and runs them.
//!
//! ```
//! use igneous::nn::{Forward, Gelu, Linear, ModuleExt, Sequential};
//! use igneous::optim::{Adam, Optimizer};
//! use igneous::{Tensor, compile, manual_seed};
//!
//! manual_seed(0);
//! let net = Sequential::new().push(Linear::new(2, 32)).push(Gelu).push(Linear::new(32, 2));
//! let adam = Adam::new(net.parameters(), 0.01)?;
//!
//! // A training step as eager code. Called as it is, it runs operator by operator; compiled, it is a few kernels that
//! // update the weights in place.
//! let step = compile(|x: Tensor, labels: Tensor| {
//!     let loss = net.forward(&x).cross_entropy(&labels);
//!     loss.backward()?;
//!     adam.step()?;
//!     Ok(loss)
//! });
//!
//! let x = Tensor::randn((64, 2));
//! let labels = (x.i((.., 0)) * x.i((.., 1))).gt(0.0).to_dtype(igneous::DType::I64);
//! let first = step.run((x.clone(), labels.clone()))?.item()?;
//! for _ in 0..200 {
//!     step.run((x.clone(), labels.clone()))?;
//! }
//! assert!(step.run((x.clone(), labels.clone()))?.item()? < 0.5 * first);
//!
//! // What it became: kernels, graphs after each pass, rewrites, code, memory.
//! let program = step.lower((x, labels))?;
//! println!("{} launches\n{}", program.launches(), program.kernels_text());
//! # Ok::<(), igneous::Error>(())
//! ```
//!
//! - [`Tensor`] has the operations, by PyTorch's names; [`nn`] the layers and losses, [`optim`] the optimizers, [`data`] data
//!   sets and loaders.
//! - [`compile()`] explains what a compiled function keeps, [`Compiled::lower`] shows what it became, [`Stages`] every stage.
//! - [`func`] has gradients, Jacobians and batching as functions of functions.
//! - [`testing`] has what tests of models need. [`ir`] has the graphs and kernels themselves.
//!
//! With `IGNEOUS_DUMP=directory` in the environment every compiled function writes its stages there;
//! `IGNEOUS_CHECK_TRACE=n` traces every n-th run again and tells what host state changed.
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

mod anomaly;
mod apply;
mod autocast;
mod backend;
mod bound;
mod compile;
mod control;
pub mod data;
mod device;
mod eager;
pub mod fft;
pub mod files;
pub mod func;
mod grad_mode;
mod hooks;
pub mod linalg;
mod location;
pub mod metrics;
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

pub use anomaly::{Anomaly, detect_anomaly, detect_anomaly_of};
pub use autocast::{autocast, autocast_dtype, no_autocast};
pub use backend::{MatmulPrecision, Precision, Stages};
pub use compile::{
    ArgumentList, Arguments, Compiled, Function, Lowered, NamedExtent, NamedShape, Outputs, SavedProgram, Tree, compile, spec,
};
pub use control::{cond, fori_loop, while_loop, while_loop_bounded};
pub use device::Device;
pub use grad_mode::{enable_grad, is_grad_enabled, no_grad};
/// Graphs and kernels: their texts, verifiers and interpreters. What [`Lowered`] shows is made of them.
pub use half::{bf16, f16};
pub use hooks::HookHandle;
pub use igneous_ir as ir;
pub use igneous_ir::{DType, Dim, Error, Loc, Result, Shape, TensorType};
pub use igneous_runtime::buffer::{MemoryStats, memory_stats};
pub use igneous_runtime::cuda::{Choice, Choices, DeviceMemory, Timing};
pub use igneous_runtime::{LaunchTime, num_threads, set_num_threads};
pub use random::{manual_seed, random_state};
pub use scan::{scan, scan_reverse};
pub use tape::{grad, grad_with};
pub use tensor::{
    Attention, Axes, Border, Conv, ConvOptions, ConvTranspose, ConvTransposeOptions, Corners, Data, Element, Ellipsis, Extent,
    Extents, Index, IndexItem, Initial, Interpolation, IntoShape, NewAxis, Operand, Outside, PadMode, Padding, PaddingOptions,
    Pair, Pool, PoolOptions, Scalar, ScatterKind, ScoreMod, ScorePlace, Side, Slice, Stepped, Tensor, broadcast_tensors, promote,
    where_,
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
