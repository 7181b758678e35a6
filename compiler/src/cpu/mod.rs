//! Machine code for kernels on a CPU, by Cranelift: one function for each section, and for each packed operand and
//! epilogue of a dot. On x86-64, bodies of contiguous innermost loops are assembled at the machine's full width
//! (`strip`) and called from it.
//!
//! A section goes through `lower` (passes over simple reductions), `nest` and `place` (loops, and where each expression is
//! computed) to code: `section`, `passes`, `fold`, `fold_column` emit loops, `evaluate` expressions, `scalar` and `vector`
//! single operations.
//!
//! Invariants: a kernel's reductions follow the tree of [`igneous_ir::kernel`] exactly, so a result depends neither on
//! the vector width nor on how points are cut into boxes; generated code calls nothing but its strips, never traps, and is never
//! writable and executable at once.

mod affine;
mod attention;
mod build;
mod choose;
mod cost;
mod dot;
mod emitter;
mod evaluate;
mod flat;
mod fold;
mod fold_column;
mod half;
mod lower;
mod memory;
mod nest;
mod operand;
mod passes;
mod place;
mod scalar;
mod score;
mod section;
mod share;
mod split;
mod strip;
mod target;
#[cfg(test)]
mod tests;
mod unroll;
mod vector;
mod window;
mod winograd;

pub(crate) use affine::Affine;
pub(crate) use attention::{ComputedMask, ComputedScore, Recognised, ScorePlace, attention_work, is_attention};
pub use build::{CpuCode, Listing, compile_kernels};
pub use choose::choose_vector_axis;
pub use dot::contracted_parts;
pub use target::{Target, Width};
pub(crate) use window::{WindowLoad, in_memory};
pub use winograd::winograd_pays;
