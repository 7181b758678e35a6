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

/// `topk`: the first elements of each line in order, and where they were. The others are only set apart.
pub(super) fn topk(a: &mut Arguments) -> Result<()> {
    match a.layout(0).dtype {
        DType::F64 => first(a, floats::<f64>),
        DType::F32 => first(a, floats::<f32>),
        DType::F16 => first(a, floats::<half::f16>),
        DType::BF16 => first(a, floats::<half::bf16>),
        DType::I64 => first(a, i64::cmp),
        DType::I32 => first(a, i32::cmp),
        DType::U8 => first(a, u8::cmp),
        DType::Bool => first(a, bool::cmp),
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

fn first<T: Element>(a: &mut Arguments, order: fn(&T, &T) -> Ordering) -> Result<()> {
    let (axis, k, largest) = (a.op.int("axis") as usize, a.op.int("k") as usize, a.op.bool("largest"));
    let lines = Lines::new(&a.layout(0).shape, axis);
    let results = Lines { length: k, ..lines };
    let x = a.operand::<T>(0)?.to_vec();
    let mut keyed: Vec<(T, i64)> = Vec::with_capacity(lines.length);
    let mut places: Vec<i64> = vec![0; k * lines.count];
    let values = a.result::<T>(0)?;
    // Of equal elements the first comes first: then no two are equal, and the order needs not be stable.
    let before = |a: &(T, i64), b: &(T, i64)| {
        let by_value = if largest { order(&b.0, &a.0) } else { order(&a.0, &b.0) };
        by_value.then(a.1.cmp(&b.1))
    };
    for line in (0..lines.count).filter(|_| k > 0) {
        keyed.clear();
        keyed.extend(lines.places(line).zip(0..).map(|(p, i)| (x[p], i)));
        if k < keyed.len() {
            keyed.select_nth_unstable_by(k - 1, before);
        }
        let chosen = &mut keyed[..k];
        chosen.sort_unstable_by(before);
        for (p, &(value, i)) in results.places(line).zip(&*chosen) {
            values[p] = value;
            places[p] = i;
        }
    }
    a.result::<i64>(1)?.copy_from_slice(&places);
    Ok(())
}
