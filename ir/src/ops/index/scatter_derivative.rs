//! Derivatives of `scatter`.
//!
//! Replacing: an update that a later one overwrites has none. `Max` and `Min` split evenly among ties, like PyTorch's
//! `amax`. `Prod` counts zero factors, so nothing is divided by zero; its second derivative is right only where
//! no factor is zero.

use super::scatter::combine;
use crate::emit::X;
use crate::op::*;
use crate::ops::{gather, iota, scatter};
use crate::types::{DType, Shape};

/// `scatter`'s operands and result, taken apart.
struct Parts<'b, 'e> {
    axes: Vec<usize>,
    x: X<'b, 'e>,
    indices: Vec<X<'b, 'e>>,
    updates: X<'b, 'e>,
}

impl<'b, 'e> Parts<'b, 'e> {
    fn new(op: &Op, operands: &[X<'b, 'e>]) -> Parts<'b, 'e> {
        let [x, indices @ .., updates] = operands else { unreachable!("the type rule saw at least two operands") };
        Parts { axes: op.axes("axes").to_vec(), x: *x, indices: indices.to_vec(), updates: *updates }
    }

    /// The elements of `from`, a tensor of `x`'s shape, at the updates' places.
    fn gather(&self, from: X<'b, 'e>) -> X<'b, 'e> {
        from.emitter.one(gather(&self.axes), &[&[from], &self.indices[..]].concat())
    }

    /// `updates` combined into `into`, a tensor of `x`'s shape.
    fn scatter(&self, into: X<'b, 'e>, how: Option<ReduceKind>, updates: X<'b, 'e>) -> X<'b, 'e> {
        into.emitter.one(scatter(&self.axes, how), &[&[into], &self.indices[..], &[updates]].concat())
    }

    /// Which updates are the last at their place, as numbers 0 and 1 of the updates' shape.
    fn last(&self) -> X<'b, 'e> {
        let (x, index) = (self.x.shape(), self.indices[0]);
        let emitter = index.emitter;
        let indexed: Shape = self.axes.iter().map(|&a| x[a]).collect();
        let count = index.ty().elements();
        let numbers = emitter.one(iota(DType::I64, Shape::from_iter([count]), 0), &[]).reshape(index.shape());
        let places = emitter.full(DType::I64, -1.0, indexed);
        let all: Vec<usize> = (0..self.axes.len()).collect();
        let places = emitter.one(scatter(&all, None), &[&[places], &self.indices[..], &[numbers]].concat());
        let last = emitter.one(gather(&all), &[&[places], &self.indices[..]].concat());
        let own: Vec<usize> = (0..index.rank()).collect();
        last.compare("eq", numbers).cast(self.updates.dtype()).broadcast(self.updates.shape(), &own)
    }

    /// The derivatives of each result by the element of `x` at its place, and by each update, for `Prod`, `Max`, `Min`.
    fn coefficients(&self, kind: ReduceKind, y: X<'b, 'e>) -> (X<'b, 'e>, X<'b, 'e>) {
        let dtype = self.x.dtype();
        let (x, updates) = (self.x, self.updates);
        if kind != ReduceKind::Prod {
            let (of_x, of_updates) = (x.compare("eq", y).cast(dtype), updates.compare("eq", self.gather(y)).cast(dtype));
            let ties = self.scatter(of_x, Some(ReduceKind::Sum), of_updates);
            return (of_x / ties, of_updates / self.gather(ties));
        }
        let zero = x.lit(0.0);
        let is_zero = |v: X<'b, 'e>| v.compare("eq", zero);
        let zeros = self.scatter(is_zero(x).cast(dtype), Some(ReduceKind::Sum), is_zero(updates).cast(dtype));
        let nonzero = |v: X<'b, 'e>| is_zero(v).select(x.lit(1.0), v);
        let product = self.scatter(nonzero(x), Some(ReduceKind::Prod), nonzero(updates));
        // All factors but one: zero if another one is zero.
        let others = |v: X<'b, 'e>, product: X<'b, 'e>, zeros: X<'b, 'e>| {
            let other_zeros = zeros - is_zero(v).cast(dtype);
            is_zero(other_zeros).select(product / nonzero(v), zero)
        };
        (others(x, product, zeros), others(updates, self.gather(product), self.gather(zeros)))
    }
}

pub(super) fn vjp<'b, 'e>(v: &VjpArgs<'b, 'e>) -> Vec<Option<X<'b, 'e>>> {
    let (parts, dy) = (Parts::new(v.op, &v.operands), v.dy(0));
    let wants_updates = v.wanted[v.operands.len() - 1];
    let (dx, du) = match combine(v.op) {
        Some(ReduceKind::Sum) => (dy, wants_updates.then(|| parts.gather(dy))),
        None => {
            let dx = parts.scatter(dy, None, parts.updates.zeros_like());
            (dx, wants_updates.then(|| parts.gather(dy) * parts.last()))
        }
        Some(kind) => {
            let (of_x, of_updates) = parts.coefficients(kind, v.y(0));
            (of_x * dy, Some(of_updates * parts.gather(dy)))
        }
    };
    [Some(dx)].into_iter().chain(parts.indices.iter().map(|_| None)).chain([du]).collect()
}

pub(super) fn tangent<'b, 'e>(j: &JvpArgs<'b, 'e>) -> Vec<Option<X<'b, 'e>>> {
    let parts = Parts::new(j.op, &j.operands);
    let tangent = |k: usize| j.tangents[k].unwrap_or_else(|| j.operands[k].zeros_like());
    let (tx, tu) = (tangent(0), tangent(j.operands.len() - 1));
    let ty = match combine(j.op) {
        None | Some(ReduceKind::Sum) => parts.scatter(tx, combine(j.op), tu),
        Some(kind) => {
            let (of_x, of_updates) = parts.coefficients(kind, j.results[0]);
            parts.scatter(of_x * tx, Some(ReduceKind::Sum), of_updates * tu)
        }
    };
    vec![Some(ty)]
}
