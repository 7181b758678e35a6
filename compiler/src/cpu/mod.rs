//! Machine code for kernels on a CPU, by Cranelift: one function for each section, and for each packed operand and
//! epilogue of a dot.
//!
//! A kernel's reductions follow the tree of [`igneous_ir::kernel`] exactly, so a result depends neither on the vector
//! width nor on how the points of a section are cut into boxes.

use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::error::{Error, Result};
use igneous_ir::kernel::{Kernel, Section};
use igneous_ir::types::DType;
use igneous_runtime::program::Work;
use std::any::Any;
use std::sync::Arc;

/// What the machine can do beyond the baseline of its architecture.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// Fused multiply-add instructions: `Fma` rounds once.
    pub fma: bool,
    /// SSE4.1: rounding instructions and lane moves.
    pub sse41: bool,
    /// AVX: three-operand forms of the 128-bit instructions.
    pub avx: bool,
    /// AVX2.
    pub avx2: bool,
}

impl Target {
    /// The machine this process runs on.
    pub fn host() -> Target {
        Target { fma: false, sse41: false, avx: false, avx2: false }
    }

    /// What every machine of the architecture has.
    pub fn baseline() -> Target {
        Target { fma: false, sse41: false, avx: false, avx2: false }
    }
}

/// Compiled kernels.
pub struct CpuCode {
    /// For each kernel, the work of each of its sections.
    pub work: Vec<Vec<Work>>,
    /// Name and Cranelift IR of each function, in order.
    pub clif: Vec<(String, String)>,
    /// Keeps the machine code alive: hold it as long as any function of `work` may be called.
    pub memory: Arc<dyn Any + Send + Sync>,
}

/// Compiles kernels into one piece of executable memory. `symbols` gives the order of the `dims` argument.
/// Sections that differ in names only share code.
///
/// # Errors
/// If a kernel uses an element type or a form that the back end does not support, or memory cannot be had.
pub fn compile_kernels(_kernels: &[Kernel], _symbols: &[Symbol], _target: &Target) -> Result<CpuCode> {
    Err(Error::new("not there yet"))
}

/// The axis along which the innermost loops of a section are vectorised and the number of lanes, for `vec(axis, lanes)`
/// in its schedule: an innermost serial axis (row form) or the last parallel one (column form).
pub fn choose_vector_axis(_section: &Section, _params: &[igneous_ir::kernel::Param]) -> Option<(u32, u32)> {
    None
}

/// Rows and columns per task, and the number of parts the contracted axis is cut into, of a matrix product of these
/// extents. Independent of the number of threads.
pub fn dot_blocking(m: Dim, n: Dim, _k: Dim, _dtype: DType) -> (Dim, Dim, usize) {
    (m, n, 1)
}
