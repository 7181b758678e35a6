//! Programs of hand-written kernels.

mod attention;
mod control;
mod dots;
mod inner;
mod loops;
mod shapes;
mod windows;

use super::plan::Plan;
use super::scope::bind_symbols;
use crate::buffer::{Buffer, Element};
use crate::program::{BufferSpec, ErrorWord, KernelFn, Launch, LoopWork, Output, Place, Program, Work};
use crate::threads::set_num_threads;
use igneous_ir::dim::Dim;
use igneous_ir::error::Result;
use igneous_ir::types::{DType, TensorType};
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) fn f32s(shape: impl IntoIterator<Item = impl Into<Dim>>) -> TensorType {
    TensorType::new(DType::F32, shape)
}

pub(crate) fn program(name: &str) -> Program {
    Program {
        name: name.to_owned(),
        symbols: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        buffers: Vec::new(),
        constants: Vec::new(),
        launches: Vec::new(),
        checks: Vec::new(),
        code: Arc::new(()),
        plans: Default::default(),
    }
}

impl Program {
    pub(crate) fn buffer(&mut self, ty: &TensorType, place: Place) -> usize {
        self.buffers.push(BufferSpec { ty: ty.clone(), place });
        self.buffers.len() - 1
    }

    pub(crate) fn input(&mut self, ty: &TensorType) -> usize {
        self.inputs.push(ty.clone());
        self.buffer(ty, Place::Input(self.inputs.len() - 1))
    }

    pub(crate) fn variable(&mut self, ty: &TensorType) -> usize {
        self.inputs.push(ty.clone());
        let buffer = self.buffer(ty, Place::InOut(self.inputs.len() - 1));
        self.output(buffer)
    }

    pub(crate) fn result(&mut self, ty: &TensorType) -> usize {
        let buffer = self.buffer(ty, Place::Result);
        self.output(buffer)
    }

    pub(crate) fn output(&mut self, buffer: usize) -> usize {
        self.outputs.push(Output { ty: self.buffers[buffer].ty.clone(), buffer, replaces: None });
        buffer
    }

    pub(crate) fn launch(&mut self, params: &[usize], work: Vec<Work>) -> &mut Launch {
        let name = format!("kernel{}", self.launches.len());
        let launch = Launch { name, params: params.to_vec(), work, flops: Dim::ZERO, bytes: Dim::ZERO, commits: false };
        self.launches.push(launch);
        self.launches.last_mut().unwrap()
    }

    /// Runs with the work cut for that many threads.
    pub(crate) fn run_on(&self, threads: usize, inputs: &[Buffer], shapes: &[&[usize]]) -> Result<Vec<Buffer>> {
        set_num_threads(4);
        self.run_planned(inputs, &Plan::new(self, bind_symbols(self, shapes)?, threads, 0)?, None)
    }
}

/// A loop over these axes, cut along all of them as if every point took a microsecond.
pub(crate) fn cut_loop(function: KernelFn, extents: impl IntoIterator<Item = impl Into<Dim>>) -> Work {
    let extents: Vec<Dim> = extents.into_iter().map(Into::into).collect();
    let bind = (0..extents.len()).collect();
    Work::Loop(LoopWork { function, extents, bind, point_ns: 1000.0, rows: false, scratch: Dim::ZERO, params: None })
}

pub(crate) fn buffer<T: Element>(data: &[T]) -> Buffer {
    Buffer::from_slice(data).unwrap()
}

pub(crate) fn floats(buffer: &Buffer) -> Vec<f32> {
    buffer.to_vec().unwrap()
}

/// The arguments of a [`KernelFn`].
pub(crate) struct Call {
    pub params: *const *mut u8,
    pub dims: *const i64,
    pub bounds: *const i64,
    pub scratch: *mut u8,
    pub error: *mut ErrorWord,
}

impl Call {
    pub unsafe fn param<T>(&self, index: usize) -> *mut T {
        unsafe { (*self.params.add(index)).cast() }
    }

    pub unsafe fn range(&self, axis: usize) -> std::ops::Range<usize> {
        unsafe { *self.bounds.add(2 * axis) as usize..*self.bounds.add(2 * axis + 1) as usize }
    }

    pub unsafe fn fail(&self, code: u64, value: i64) {
        let error = unsafe { &*self.error };
        if error.code.compare_exchange(0, code + 1, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            error.value.store(value, Ordering::Release);
        }
    }
}

/// Declares a [`KernelFn`] (with constants where it needs extents) whose body sees its arguments as a [`Call`].
macro_rules! kernel {
    ($name:ident $(<$($constant:ident),*>)?, $call:ident => $body:block) => {
        unsafe extern "C" fn $name $(<$(const $constant: usize),*>)? (
            params: *const *mut u8,
            dims: *const i64,
            bounds: *const i64,
            scratch: *mut u8,
            error: *mut crate::program::ErrorWord,
        ) {
            let $call = crate::executor::tests::Call { params, dims, bounds, scratch, error };
            unsafe { $body }
        }
    };
}
pub(crate) use kernel;

// out[i] = a[i] + b[i]
kernel!(add, c => {
    for i in c.range(0) {
        *c.param::<f32>(2).add(i) = *c.param::<f32>(0).add(i) + *c.param::<f32>(1).add(i);
    }
});

// out[i] = 2 a[i]
kernel!(double, c => {
    for i in c.range(0) {
        *c.param::<f32>(1).add(i) = 2.0 * *c.param::<f32>(0).add(i);
    }
});

// Check `CODE` fails where a[i] is negative, and reports i.
kernel!(check_not_negative<CODE>, c => {
    for i in c.range(0) {
        if *c.param::<f32>(0).add(i) < 0.0 {
            c.fail(CODE as u64, i as i64);
        }
    }
});

// v[i] += a[i]
kernel!(add_to, c => {
    for i in c.range(0) {
        *c.param::<f32>(0).add(i) += *c.param::<f32>(1).add(i);
    }
});
