//! Sorting.

use super::{Arguments, Lines, no_type};
use crate::buffer::Element;
use igneous_ir::error::Result;
use igneous_ir::types::DType;
use std::cmp::Ordering;

/// `sort`: each line in order, and where its elements were.
pub(super) fn sort(a: &mut Arguments) -> Result<()> {
    match a.layout(0).dtype {
        DType::F64 => sorted(a, floats::<f64>),
        DType::F32 => sorted(a, floats::<f32>),
        DType::F16 => sorted(a, floats::<half::f16>),
        DType::BF16 => sorted(a, floats::<half::bf16>),
        DType::I64 => sorted(a, i64::cmp),
        DType::I32 => sorted(a, i32::cmp),
        DType::U8 => sorted(a, u8::cmp),
        DType::Bool => sorted(a, bool::cmp),
        other => Err(no_type(a.op, other)),
    }
}

/// NaN is larger than all numbers, as in PyTorch.
fn floats<T: PartialOrd>(a: &T, b: &T) -> Ordering {
    #[allow(clippy::eq_op)]
    let is_nan = |x: &T| x != x;
    a.partial_cmp(b).unwrap_or_else(|| is_nan(a).cmp(&is_nan(b)))
}

fn sorted<T: Element>(a: &mut Arguments, order: fn(&T, &T) -> Ordering) -> Result<()> {
    let lines = Lines::new(&a.layout(0).shape, a.op.int("axis") as usize);
    let descending = a.op.bool("descending");
    let x = a.operand::<T>(0)?.to_vec();
    let mut keyed: Vec<(T, i64)> = Vec::with_capacity(lines.length);
    let mut places: Vec<i64> = vec![0; x.len()];
    let values = a.result::<T>(0)?;
    for line in 0..lines.count {
        keyed.clear();
        keyed.extend(lines.places(line).zip(0..).map(|(p, k)| (x[p], k)));
        if descending {
            keyed.sort_by(|a, b| order(&b.0, &a.0));
        } else {
            keyed.sort_by(|a, b| order(&a.0, &b.0));
        }
        for (p, &(value, k)) in lines.places(line).zip(&keyed) {
            values[p] = value;
            places[p] = k;
        }
    }
    a.result::<i64>(1)?.copy_from_slice(&places);
    Ok(())
}
