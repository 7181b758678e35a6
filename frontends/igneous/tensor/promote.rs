//! Type promotion and broadcasting: the frontend makes both explicit before an operator is applied.

use super::Tensor;
use super::arguments::{OperandRef, Scalar};
use crate::location::here;
use igneous_ir::ops;
use igneous_ir::{DType, Dim, Error, Result, Shape};

/// The element type that two tensors are converted to before they meet: bool < u8, i8 < i32 < i64 < floats, and of floats
/// the wider; f16 with bf16 makes f32, and u8 with i8 makes i32 (PyTorch's i16 does not exist).
pub fn promote(a: DType, b: DType) -> DType {
    let rank = |d: DType| match d {
        DType::Bool => 0,
        DType::U8 => 1,
        DType::I8 => 2,
        DType::U32 => 3,
        DType::I32 => 4,
        DType::I64 => 5,
        DType::F16 | DType::BF16 => 6,
        DType::F32 => 7,
        DType::F64 => 8,
    };
    match (a, b) {
        (DType::F16, DType::BF16) | (DType::BF16, DType::F16) => DType::F32,
        (DType::U8, DType::I8) | (DType::I8, DType::U8) => DType::I32,
        _ if rank(a) >= rank(b) => a,
        _ => b,
    }
}

/// The element type of a number beside a tensor of type `dtype`.
pub(super) fn beside(dtype: DType, scalar: Scalar) -> DType {
    match scalar {
        Scalar::Float(_) if !dtype.is_float() => DType::F32,
        Scalar::Int(_) | Scalar::Dim(_) if dtype == DType::Bool => DType::I64,
        _ => dtype,
    }
}

/// The common element type of two tensors. One without axes does not promote one with axes within its kind.
fn promote_tensors(a: &Tensor, b: &Tensor) -> DType {
    let kind = |d: DType| u8::from(d != DType::Bool) + u8::from(d.is_float());
    let (x, y) = (a.dtype(), b.dtype());
    match (a.rank(), b.rank()) {
        (0, n) if n > 0 && kind(x) <= kind(y) => y,
        (n, 0) if n > 0 && kind(y) <= kind(x) => x,
        _ => promote(x, y),
    }
}

/// Both operands of the operation `what` with one element type and one shape.
#[track_caller]
pub(super) fn unify(what: &str, a: OperandRef<'_>, b: OperandRef<'_>) -> Result<(Tensor, Tensor)> {
    let (a, b) = same_dtype(a, b)?;
    let shape = common_shape(what, &[&a, &b])?;
    Ok((a.broadcast_to(&shape), b.broadcast_to(&shape)))
}

/// Both operands with one element type.
#[track_caller]
pub(super) fn same_dtype(a: OperandRef<'_>, b: OperandRef<'_>) -> Result<(Tensor, Tensor)> {
    Ok(match (a, b) {
        (OperandRef::Tensor(a), OperandRef::Tensor(b)) => {
            a.check()?;
            b.check()?;
            let dtype = promote_tensors(a, b);
            (a.to_dtype(dtype), b.to_dtype(dtype))
        }
        (OperandRef::Tensor(a), OperandRef::Scalar(b)) => {
            a.check()?;
            let dtype = beside(a.dtype(), b);
            (a.to_dtype(dtype), Tensor::number(b, dtype))
        }
        (OperandRef::Scalar(a), OperandRef::Tensor(b)) => {
            b.check()?;
            let dtype = beside(b.dtype(), a);
            (Tensor::number(a, dtype), b.to_dtype(dtype))
        }
        (OperandRef::Scalar(a), OperandRef::Scalar(b)) => {
            let dtype = promote(a.dtype(), b.dtype());
            (Tensor::number(a, dtype), Tensor::number(b, dtype))
        }
    })
}

/// The shape that these operands of the operation `what` broadcast to.
#[track_caller]
pub(super) fn common_shape(what: &str, tensors: &[&Tensor]) -> Result<Shape> {
    let loc = here();
    let mut shape = Shape::new();
    for tensor in tensors {
        tensor.check()?;
        shape = ops::broadcast_shapes(&shape, &tensor.shape()).map_err(|e| {
            let labels = ["left", "right"];
            let label = |k: usize| if tensors.len() == 2 { labels[k].to_owned() } else { format!("operand {k}") };
            let told = Error::new(format!("{what}: {}", e.message()));
            tensors.iter().enumerate().fold(told, |e, (k, t)| e.note(label(k), t.describe())).at(loc)
        })?;
    }
    Ok(shape)
}

impl Tensor {
    /// Broadcast to `shape` by numpy's rule, which must allow it.
    #[track_caller]
    pub(super) fn broadcast_to(&self, shape: &[Dim]) -> Tensor {
        let own = self.shape();
        if own.as_slice() == shape || self.error().is_some() {
            return self.clone();
        }
        let offset = shape.len().saturating_sub(own.len());
        let kept: Vec<usize> = (0..own.len()).filter(|&i| own[i] != Dim::ONE || shape[offset + i] == Dim::ONE).collect();
        let source =
            if kept.len() == own.len() { self.clone() } else { self.apply(ops::reshape(kept.iter().map(|&i| own[i]).collect())) };
        let axes: Vec<usize> = kept.iter().map(|&i| offset + i).collect();
        source.apply(ops::broadcast(Shape::from(shape), &axes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table is PyTorch's `torch.promote_types`, but for u8 with i8.
    #[test]
    fn promotion_follows_pytorch() {
        use DType::*;
        for (a, b, expected) in [
            (Bool, U8, U8),
            (U8, I32, I32),
            (Bool, I8, I8),
            (I8, I32, I32),
            (I8, F16, F16),
            (U8, I8, I32),
            (I32, I64, I64),
            (I64, F16, F16),
            (I64, BF16, BF16),
            (F16, BF16, F32),
            (F16, F32, F32),
            (F32, F64, F64),
            (Bool, F32, F32),
        ] {
            assert_eq!(promote(a, b), expected, "{a} with {b}");
            assert_eq!(promote(b, a), expected, "{b} with {a}");
        }
    }

    #[test]
    fn numbers_do_not_promote_within_their_kind() {
        assert_eq!(beside(DType::F16, Scalar::Float(0.1)), DType::F16);
        assert_eq!(beside(DType::U8, Scalar::Int(300)), DType::U8);
        assert_eq!(beside(DType::I32, Scalar::Float(0.5)), DType::F32);
        assert_eq!(beside(DType::Bool, Scalar::Int(1)), DType::I64);
    }
}
