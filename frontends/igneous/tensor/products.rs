//! Products of matrices and vectors beside [`matmul`](Tensor::matmul).

use super::promote::promote;
use super::{Tensor, or_invalid};
use crate::location::{entered, here};
use igneous_ir::types::normalize_axis;
use igneous_ir::{Dim, Error, Result, Shape, ops};

/// Fails unless the tensors have these numbers of axes.
fn ranks(what: &str, tensors: &[(&Tensor, usize)]) -> Result<()> {
    for (tensor, rank) in tensors {
        if tensor.ty()?.rank() != *rank {
            let error = Error::new(format!("{what} needs a tensor with {rank} axes in the place of this one"));
            return Err(error.note("tensor", tensor.describe()));
        }
    }
    Ok(())
}

impl Tensor {
    /// The product of two matrices.
    #[track_caller]
    pub fn mm(&self, other: &Tensor) -> Tensor {
        let user = entered();
        let loc = user.loc();
        or_invalid(ranks("mm", &[(self, 2), (other, 2)]).map(|()| self.matmul(other)).map_err(|e| e.at(loc)))
    }

    /// The product of a matrix and a vector.
    #[track_caller]
    pub fn mv(&self, vector: &Tensor) -> Tensor {
        let user = entered();
        let loc = user.loc();
        or_invalid(ranks("mv", &[(self, 2), (vector, 1)]).map(|()| self.matmul(vector)).map_err(|e| e.at(loc)))
    }

    /// `beta · self + alpha · a·b`, of matrices `a` and `b`; `self` broadcasts (`torch.addmm`).
    #[track_caller]
    pub fn addmm(&self, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Tensor {
        self.scaled_sum(a.mm(b), beta, alpha)
    }

    /// `beta · self + alpha · a·v`, of a matrix and a vector; `self` broadcasts (`torch.addmv`).
    #[track_caller]
    pub fn addmv(&self, a: &Tensor, v: &Tensor, beta: f64, alpha: f64) -> Tensor {
        self.scaled_sum(a.mv(v), beta, alpha)
    }

    /// `beta · self + alpha · a·b`, of matrices in a batch; `self` broadcasts (`torch.baddbmm`).
    #[track_caller]
    pub fn baddbmm(&self, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Tensor {
        self.scaled_sum(a.bmm(b), beta, alpha)
    }

    /// `beta · self + alpha · Σ a·b`, over matrices in a batch; `self` broadcasts (`torch.addbmm`).
    #[track_caller]
    pub fn addbmm(&self, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Tensor {
        self.scaled_sum(a.bmm(b).sum(0), beta, alpha)
    }

    /// `beta · self + alpha · a bᵀ`, of vectors; `self` broadcasts (`torch.addr`).
    #[track_caller]
    pub fn addr(&self, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Tensor {
        self.scaled_sum(a.outer(b), beta, alpha)
    }

    /// Without a factor of 0: that drops NaN and infinities, as in PyTorch.
    #[track_caller]
    fn scaled_sum(&self, product: Tensor, beta: f64, alpha: f64) -> Tensor {
        let product = if alpha == 1.0 { product } else { product * alpha };
        match beta {
            0.0 => product,
            1.0 => self + product,
            _ => self * beta + product,
        }
    }

    /// Sums of products over pairs of axes, `axes[i]` of this tensor with `others[i]` of the other; the result has the other axes
    /// of both (`torch.tensordot`).
    #[track_caller]
    pub fn tensordot(&self, other: &Tensor, axes: &[i64], others: &[i64]) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let product = self.ty().and_then(|a| {
            let b = other.ty()?;
            let left = axes.iter().map(|&x| normalize_axis(x, a.rank())).collect::<Result<Vec<_>>>()?;
            let right = others.iter().map(|&x| normalize_axis(x, b.rank())).collect::<Result<Vec<_>>>()?;
            // An axis of extent one stretches.
            let (mut wide, mut other_wide) = (a.shape, b.shape);
            for (&i, &j) in left.iter().zip(&right) {
                match (wide[i], other_wide[j]) {
                    (Dim::ONE, extent) => wide[i] = extent,
                    (extent, Dim::ONE) => other_wide[j] = extent,
                    _ => {}
                }
            }
            Ok((self.broadcast_to(&wide), other.broadcast_to(&other_wide), ops::dot_general(&left, &right, &[], &[])))
        });
        match product {
            Ok((a, b, op)) => {
                let dtype = promote(a.dtype(), b.dtype());
                a.to_dtype(dtype).apply_with(op, &b.to_dtype(dtype))
            }
            Err(error) => error.note("left", self.describe()).note("right", other.describe()).at(loc).into(),
        }
    }

    /// `y[…, o] = Σ x₁[…, i] · weight[o, i, j] · x₂[…, j] + bias[o]` (`torch.nn.functional.bilinear`).
    #[track_caller]
    pub fn bilinear(&self, other: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let user = entered();
        let loc = user.loc();
        if let Err(error) = ranks("bilinear", &[(weight, 3)]) {
            return Tensor::from(error.at(loc));
        }
        // […, i]·[i, o·j] → […, o, j], times x₂ and summed over j.
        let (outputs, columns) = (weight.size(0), weight.size(2));
        let flat = weight.transpose(0, 1).reshape((weight.size(1), outputs * columns));
        let mut split: Shape = self.shape();
        split.pop();
        split.extend([outputs, columns]);
        let partial = self.matmul(&flat).reshape(split);
        let product = (partial * other.unsqueeze(-2)).sum(-1);
        match bias {
            Some(bias) => product + bias,
            None => product,
        }
    }

    /// The distances `‖xᵢ − yⱼ‖` of rows, in the `p`-norm: `[…, m, d]` and `[…, n, d]` give `[…, m, n]` (`torch.cdist`).
    #[track_caller]
    pub fn cdist(&self, other: &Tensor, p: f64) -> Tensor {
        (self.unsqueeze(-2) - other.unsqueeze(-3)).norm_p(p, -1)
    }

    /// The cosine of the angle between vectors along an axis; a norm counts as at least `eps`
    /// (`torch.nn.functional.cosine_similarity`). The tensors broadcast.
    #[track_caller]
    pub fn cosine_similarity(&self, other: &Tensor, axis: i64, eps: f64) -> Tensor {
        let loc = here();
        let shape = match super::promote::common_shape("cosine_similarity", &[self, other]) {
            Ok(shape) => shape,
            Err(error) => return Tensor::from(error.at(loc)),
        };
        let (a, b) = (self.as_float().broadcast_to(&shape), other.as_float().broadcast_to(&shape));
        let (na, nb) = (a.norm_keepdim(axis).clamp_min(eps), b.norm_keepdim(axis).clamp_min(eps));
        ((a / na) * (b / nb)).sum(axis)
    }

    /// The distance `‖self − other + eps‖` of vectors along the last axis, in the `p`-norm
    /// (`torch.nn.functional.pairwise_distance`). The tensors broadcast.
    #[track_caller]
    pub fn pairwise_distance(&self, other: &Tensor, p: f64, eps: f64) -> Tensor {
        (self.as_float() - other + eps).norm_p(p, -1)
    }

    /// The vector product of vectors of three elements along an axis (`torch.linalg.cross`).
    #[track_caller]
    pub fn cross(&self, other: &Tensor, axis: i64) -> Tensor {
        let turned = |t: &Tensor, by: i64| t.roll(&[by], axis);
        turned(self, -1) * turned(other, -2) - turned(self, -2) * turned(other, -1)
    }

    /// The Kronecker product of two matrices.
    #[track_caller]
    pub fn kron(&self, other: &Tensor) -> Tensor {
        let user = entered();
        let loc = user.loc();
        if let Err(error) = ranks("kron", &[(self, 2), (other, 2)]) {
            return Tensor::from(error.at(loc));
        }
        let product = self.unsqueeze(1).unsqueeze(3) * other.unsqueeze(0).unsqueeze(2);
        product.reshape((self.size(0) * other.size(0), self.size(1) * other.size(1)))
    }
}
