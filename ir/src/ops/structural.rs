//! Structural operators: input, constant, call, grad, scan, stop_gradient, extent, check.
use crate::array::Array;
use crate::op::*;
/// stub
pub static STRUCTURAL: &[&Record] = &[];
/// stub
pub static INPUT: Record = Record {
    name: "input", attrs: &[("index", AttrKind::Int)], infer: |_, _| unimplemented!(), reference: |_| unimplemented!(),
    lowering: Lowering::Structural, vjp: Vjp::Zero, jvp: Jvp::Zero, batch: Batch::Unsupported,
    flops: |_, _, _| crate::Dim::ZERO, samples: |_| {}, error_samples: |_| {},
};
/// A constant tensor.
pub fn constant(_value: Array) -> Op { unimplemented!() }
/// Identity without a gradient.
pub fn stop_gradient() -> Op { unimplemented!() }
