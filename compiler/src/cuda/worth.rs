//! What it is worth to leave a product to a library.
//!
//! Fusion saves bytes: what a product would read or write besides is computed where it is needed. But a product with anything in its
//! operands or behind its sums that the library does not know is a kernel of our own, which is slower. So the two are compared as bytes
//! that a device moves in the same time: a conversion of an operand costs an element read and one written for each reading of a row or
//! column of the product, an update of a variable one written and one read for each element of the result, while the library saves time
//! with each multiplication. Where a product sums over some hundred elements or more it is left alone.

use super::alternative;
use crate::driver::Options;
use crate::precision::Precision;
use igneous_ir::kernel::Kernel;
use igneous_ir::types::DType;
use igneous_runtime::cuda::{Choice, Operation, Sums, Types};

/// Bytes that a device moves in the time in which a library does one operation (of a multiplication and an addition each is one): by
/// data sheets of devices of the last years, which move some 3e12 bytes a second and do 6e14 operations with half types and more with bytes, 3e14 with
/// TF32 and 5e13 with the others. A kernel of our own is taken to need twice the time of a library, so that this is what it loses.
fn bytes_per_operation(types: Types) -> f64 {
    match (types.operands, types.sums) {
        (DType::F16 | DType::BF16, _) | (_, Sums::I32) => 0.005,
        (_, Sums::Tf32) => 0.01,
        _ => 0.06,
    }
}

/// Bytes that a device moves in the time that one more launch takes: about a microsecond, in a recorded step.
const LAUNCH: f64 = 3e6;

/// What a library saves that does a kernel of so many operations, as bytes that are moved in the same time; none if it cannot, or is
/// not asked by choice. What would be fused with the product is a launch of its own then.
pub(crate) fn saved_by_library(kernel: &Kernel, operations: f64, options: &Options) -> Option<f64> {
    let [section] = &kernel.sections[..] else { return None };
    if options.precision == Precision::Strict {
        return None;
    }
    let alternative = alternative(kernel, section, options)?;
    if alternative.choice() == Some(Choice::Kernel) {
        return None;
    }
    let types = match &alternative.operation {
        Operation::Product(product) => product.types,
        Operation::Convolution(convolution) => convolution.types,
    };
    Some((operations * bytes_per_operation(types) - LAUNCH).max(0.0))
}
