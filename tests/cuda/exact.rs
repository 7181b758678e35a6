//! Kernels of every form, as the kernel interpreter computes them bit for bit: the order of additions is part of what a reduction
//! means. Products have an order of their own.

use crate::kernels::KERNELS;
use crate::programs::program_of;
use crate::{arrays, upload};
use igneous_compiler::Options;
use igneous_compiler::cuda::emit;
use igneous_ir::array::Array;
use igneous_ir::dim::Symbol;
use igneous_ir::error::{Error, Result};
use igneous_ir::kernel::Kernel;
use igneous_ir::kernel::interp::{Run, interpret};
use igneous_ir::types::DType;
use igneous_runtime::Program;
use igneous_runtime::cuda::{Device, DeviceBuffer, Executable};
use igneous_runtime::program::Work;
use std::sync::Arc;

/// A kernel and a program that launches it alone: its inputs are what the kernel reads, then one more for each symbol.
pub struct Exact {
    pub name: &'static str,
    pub kernel: Kernel,
    pub program: Arc<Program>,
}

/// All kernels.
pub fn kernels() -> Vec<Exact> {
    KERNELS
        .iter()
        .map(|&(name, text)| {
            let kernel = Kernel::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            let works = emit(&kernel, &Options::default()).unwrap_or_else(|e| panic!("{name}: {e}"));
            let works = works.into_iter().map(|work| Work::Cuda(Box::new(work))).collect();
            let program = Arc::new(program_of(&kernel, &kernel.symbols(), works, Arc::new(())));
            Exact { name, kernel, program }
        })
        .collect()
}

/// The size of every symbolic dimension: rows longer than a chunk, and not a multiple of anything.
fn size(symbol: Symbol) -> Option<i64> {
    Some(symbol.hi.min(if symbol.name == "T" { 5003 } else { 3 }))
}

/// Numbers of both signs, and zeros; with `nans`, a few of those. Integers are odd, so that products are not zero; those that are
/// places (the first input of scatters and gathers) lie within four.
fn array(dtype: DType, shape: &[usize], seed: u64, nans: bool, places: bool) -> Array {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as i64
    };
    let float = |_| match next() % 97 {
        0 if nans => f64::NAN,
        1 => -0.0,
        k => (next() % 20011 - 10000) as f64 / 1000.0 * if k % 50 == 7 { 8.0 } else { 1.0 },
    };
    if dtype.is_float() {
        return Array::from_fn_f64(dtype, shape, float).rounded();
    }
    let lowest = if dtype.is_signed_int() { -300 } else { 0 };
    Array::from_fn_i64(dtype, shape, |_| if places { next() % 4 } else { (next() % 500 + lowest) * 2 + 1 })
}

impl Exact {
    /// Runs the kernel on numbers, with NaN among them or without.
    ///
    /// # Errors
    /// What differs.
    pub fn check(&self, device: &Arc<dyn Device>, nans: bool) -> Result<()> {
        self.compare(device, nans).map_err(|e| e.context(self.name))
    }

    fn compare(&self, device: &Arc<dyn Device>, nans: bool) -> Result<()> {
        let kernel = &self.kernel;
        let by_place = self.name.starts_with("scatter") || self.name == "gather";
        let mut inputs = Vec::new();
        for (i, param) in kernel.reads() {
            let shape: Option<Vec<usize>> = param.ty.shape.iter().map(|d| d.eval(&size).map(|n| n as usize)).collect();
            let shape = shape.ok_or_else(|| Error::new("an extent has no value"))?;
            inputs.push(array(param.ty.dtype, &shape, i as u64 + 1, nans, by_place));
        }
        let expected = interpret(kernel, &inputs.iter().collect::<Vec<_>>(), &size, &Run::default())?;
        inputs.extend(kernel.symbols().iter().map(|&s| {
            let n = size(s).unwrap_or(1) as usize;
            Array::ints(DType::U8, [n], vec![0; n])
        }));
        let buffers = upload(device, &inputs)?;
        let buffers: Vec<&DeviceBuffer> = buffers.iter().collect();
        let shapes: Vec<&[usize]> = inputs.iter().map(Array::shape).collect();
        let found = match (Executable::new(device, &self.program)?.run(&buffers, &shapes), expected.failed) {
            (Err(_), Some(_)) => return Ok(()),
            (Ok(_), Some((code, _))) => return Err(Error::new(format!("check {code} fails in the interpreter alone"))),
            (Err(error), None) => return Err(error),
            (Ok(found), None) => arrays(&self.program, &inputs, &found)?,
        };
        for (k, (found, expected)) in found.iter().zip(&expected.outputs).enumerate() {
            let same = |i: usize| {
                let (f, e) = (found.f(i), expected.f(i));
                let close = (kernel.dot().is_some() || self.name == "scatter_add") && (f - e).abs() <= 1e-5 * (1.0 + e.abs());
                found.literal(i) == expected.literal(i) || (f.is_nan() && e.is_nan()) || close
            };
            if !nans && !(0..expected.len()).any(|i| expected.f(i).is_finite() && expected.f(i) != 0.0) {
                return Err(Error::new(format!("output {k} says nothing")));
            }
            if let Some(i) = (0..found.len()).find(|&i| !same(i)) {
                let (found, expected) = (found.literal(i), expected.literal(i));
                return Err(Error::new(format!("output {k} is {found:?} at {i}, the interpreter gives {expected:?}")));
            }
        }
        Ok(())
    }
}
