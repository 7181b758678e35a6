//! Matrix products.

use super::Tensor;
use super::promote::promote;
use crate::location::here;
use igneous_ir::{DType, Error, Op, Result, Shape, ops};

impl Tensor {
    /// The matrix product, with all of PyTorch's cases: `[…, m, k] · […, k, n] → […, m, n]`, where the leading axes are a
    /// batch and broadcast; a vector on the left counts as a row, on the right as a column; two vectors give a scalar.
    ///
    /// ```
    /// use igneous::{Dim, Tensor};
    /// let (batch, matrix, vector) = (Tensor::ones((7, 2, 3)), Tensor::ones((3, 4)), Tensor::ones(3));
    /// assert_eq!(batch.matmul(&matrix).shape()[..], [7, 2, 4].map(Dim::from));
    /// assert_eq!(batch.matmul(&vector).shape()[..], [7, 2].map(Dim::from));
    /// assert_eq!(vector.matmul(&vector).item()?, 3.0);
    /// # Ok::<(), igneous::Error>(())
    /// ```
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        let loc = here();
        match matmul_operands("matmul", self, other) {
            Ok(batch) => {
                let dtype = promote(self.dtype(), other.dtype());
                product(ops::dot_general, self.to_dtype(dtype), other.to_dtype(dtype), batch)
            }
            Err(error) => error.at(loc).into(),
        }
    }

    /// The matrix product of tensors of type `i8` with sums in `i32` (`torch._int_mm`), in all of [`matmul`](Tensor::matmul)'s cases.
    /// Sums are exact up to 2¹⁷ products, and wrap beyond.
    ///
    /// ```
    /// use igneous::{DType, Tensor};
    /// let x = Tensor::full((2, 300), 100).to_dtype(DType::I8);
    /// assert_eq!(x.int_mm(&x.t()).to_vec::<i32>()?, [3_000_000; 4]);
    /// # Ok::<(), igneous::Error>(())
    /// ```
    #[track_caller]
    pub fn int_mm(&self, other: &Tensor) -> Tensor {
        let loc = here();
        let bytes = matmul_operands("int_mm", self, other).and_then(|batch| match (self.dtype(), other.dtype()) {
            (DType::I8, DType::I8) => Ok(batch),
            _ => Err(described("int_mm needs operands of type i8", self, other)),
        });
        match bytes {
            Ok(batch) => product(ops::dot_general_i32, self.clone(), other.clone(), batch),
            Err(error) => error.at(loc).into(),
        }
    }

    /// The product of matrices in a batch: `[b, m, k] · [b, k, n]`.
    #[track_caller]
    pub fn bmm(&self, other: &Tensor) -> Tensor {
        if self.error().is_none() && other.error().is_none() && (self.rank() != 3 || other.rank() != 3) {
            let error = Error::new("bmm needs two tensors with three axes");
            return error.note("left", self.describe()).note("right", other.describe()).at(here()).into();
        }
        self.matmul(other)
    }

    /// The sum of products of two vectors.
    #[track_caller]
    pub fn dot(&self, other: &Tensor) -> Tensor {
        if self.error().is_none() && other.error().is_none() && (self.rank() != 1 || other.rank() != 1) {
            let error = Error::new("dot needs two vectors");
            return error.note("left", self.describe()).note("right", other.describe()).at(here()).into();
        }
        self.matmul(other)
    }

    /// All products of an element of this vector and one of another.
    #[track_caller]
    pub fn outer(&self, other: &Tensor) -> Tensor {
        self.unsqueeze(1) * other.unsqueeze(0)
    }

    /// `self · weightᵀ + bias` (`torch.nn.functional.linear`): `[…, in]` to `[…, out]`. `weight` is `[out, in]`, `bias` `[out]`.
    #[track_caller]
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        if let Err(error) = linear_operands(self, weight, bias) {
            return Tensor::from(error.at(here()));
        }
        let product = self.matmul(&weight.in_autocast_half().t());
        match bias {
            Some(bias) => product + bias.in_autocast_half(),
            None => product,
        }
    }
}

fn linear_operands(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<()> {
    let (input, matrix) = (x.ty()?.shape, weight.ty()?.shape);
    let error = |message: &str| {
        let error = Error::new(message).note("input", x.describe()).note("weight", weight.describe());
        Err(bias.into_iter().fold(error, |error, bias| error.note("bias", bias.describe())))
    };
    let [out, features] = matrix[..] else { return error("linear needs a weight [out, in]") };
    if input.last() != Some(&features) {
        return error("linear needs an input whose last axis is as long as the weight's");
    }
    match bias {
        Some(bias) if bias.ty()?.shape[..] != [out] => error("linear needs a bias with one element for each row of the weight"),
        _ => Ok(()),
    }
}

/// An error that shows both operands.
fn described(message: &str, a: &Tensor, b: &Tensor) -> Error {
    Error::new(message).note("left", a.describe()).note("right", b.describe())
}

/// The shape of the operands' batch.
fn matmul_operands(what: &str, a: &Tensor, b: &Tensor) -> Result<Shape> {
    let (s, t) = (a.ty()?.shape, b.ty()?.shape);
    let error = |message: &str| described(&format!("{what} needs {message}"), a, b);
    if s.is_empty() || t.is_empty() {
        return Err(error("operands with at least one axis"));
    }
    if s[s.len() - 1] != t[t.len().saturating_sub(2)] {
        return Err(error(match t.len() {
            1 => "the last dimension of the left operand to equal the length of the right one",
            _ => "the last dimension of the left operand to equal the second-to-last of the right one",
        }));
    }
    let lead = |s: &Shape| Shape::from(&s[..s.len().saturating_sub(2)]);
    ops::broadcast_shapes(&lead(&s), &lead(&t)).map_err(|_| error("batch dimensions that broadcast"))
}

/// A kind of dot, from the contracted axes and the batch axes of both sides.
type Dot = fn(&[usize], &[usize], &[usize], &[usize]) -> Op;

/// The matrix product of operands of one element type.
#[track_caller]
fn product(dot: Dot, a: Tensor, b: Tensor, batch: Shape) -> Tensor {
    let (m, n) = (a.rank(), b.rank());
    if n <= 2 {
        // One matrix for the whole batch: the batch's rows are rows of one product.
        return a.apply_with(dot(&[m - 1], &[n.saturating_sub(2)], &[], &[]), &b);
    }
    batched(dot, a, b, batch)
}

/// `[batch…, m, k] · [batch…, k, n]`; a vector is given its missing axis, which the result loses again.
#[track_caller]
fn batched(dot: Dot, a: Tensor, b: Tensor, batch: Shape) -> Tensor {
    let vector = a.rank() == 1;
    let a = if vector { a.unsqueeze(0) } else { a };
    let full = |x: &Tensor| -> Shape {
        let shape = x.shape();
        batch.iter().copied().chain(shape[shape.len() - 2..].iter().copied()).collect()
    };
    let (a, b) = (a.broadcast_to(&full(&a)), b.broadcast_to(&full(&b)));
    let lead: Vec<usize> = (0..batch.len()).collect();
    let product = a.apply_with(dot(&[batch.len() + 1], &[batch.len()], &lead, &lead), &b);
    if vector { product.squeeze(-2) } else { product }
}
