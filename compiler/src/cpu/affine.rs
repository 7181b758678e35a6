//! Index expressions as sums: `constant + Σ coefficient · atom`.

use igneous_ir::dim::Dim;
use igneous_ir::scalar::{ExprId, Exprs, ScalarOp};
use igneous_ir::types::{DType, contiguous_strides};

/// A sum of multiples of atoms: axes, and expressions that are no sum. Coefficients may be symbolic, never zero.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Affine {
    pub constant: Dim,
    /// In order of first occurrence, each atom once.
    pub terms: Vec<(ExprId, Dim)>,
}

impl Affine {
    pub fn constant(constant: Dim) -> Affine {
        Affine { constant, terms: Vec::new() }
    }

    /// The sum that an `i64` expression is.
    pub fn of(exprs: &Exprs, id: ExprId) -> Affine {
        let node = exprs.get(id);
        if node.dtype != DType::I64 {
            return Affine { constant: Dim::ZERO, terms: vec![(id, Dim::ONE)] };
        }
        let arg = |i: usize| Affine::of(exprs, node.args[i]);
        match node.op {
            ScalarOp::Literal(l) => Affine::constant(Dim::constant(l.as_i64())),
            ScalarOp::Extent(d) => Affine::constant(d),
            ScalarOp::Add => arg(0).plus(&arg(1), Dim::ONE),
            ScalarOp::Sub => arg(0).plus(&arg(1), Dim::constant(-1)),
            ScalarOp::Neg => Affine::constant(Dim::ZERO).plus(&arg(0), Dim::constant(-1)),
            ScalarOp::Mul => {
                let (a, b) = (arg(0), arg(1));
                if b.terms.is_empty() {
                    Affine::constant(Dim::ZERO).plus(&a, b.constant)
                } else if a.terms.is_empty() {
                    Affine::constant(Dim::ZERO).plus(&b, a.constant)
                } else {
                    Affine { constant: Dim::ZERO, terms: vec![(id, Dim::ONE)] }
                }
            }
            _ => Affine { constant: Dim::ZERO, terms: vec![(id, Dim::ONE)] },
        }
    }

    /// The position in a dense row-major array of this shape.
    pub fn position(exprs: &Exprs, index: &[ExprId], shape: &[Dim]) -> Affine {
        let strides = contiguous_strides(shape);
        let zero = Affine::constant(Dim::ZERO);
        index.iter().zip(strides).fold(zero, |sum, (&i, stride)| sum.plus(&Affine::of(exprs, i), stride))
    }

    /// `self + factor · other`
    pub fn plus(mut self, other: &Affine, factor: Dim) -> Affine {
        self.constant = self.constant + other.constant * factor;
        for &(atom, coefficient) in &other.terms {
            match self.terms.iter_mut().find(|(a, _)| *a == atom) {
                Some((_, c)) => *c = *c + coefficient * factor,
                None => self.terms.push((atom, coefficient * factor)),
            }
        }
        self.terms.retain(|(_, c)| *c != Dim::ZERO);
        self
    }

    /// The coefficient of an axis.
    pub fn coefficient(&self, exprs: &Exprs, axis: u32) -> Dim {
        let found = self.terms.iter().find(|(atom, _)| exprs.get(*atom).op == ScalarOp::Axis(axis));
        found.map_or(Dim::ZERO, |(_, c)| *c)
    }

    /// The sum where no minimum or maximum of a multiple of `axis` and a bound takes the bound.
    pub fn through_clamps(mut self, exprs: &Exprs, axis: u32) -> Affine {
        let depends = |id: ExprId| exprs.reachable(&[id]).iter().any(|&i| exprs.get(i).op == ScalarOp::Axis(axis));
        while let Some((atom, coefficient, inside)) = self.terms.iter().find_map(|&(atom, coefficient)| {
            let node = exprs.get(atom);
            let inside = match node.op {
                ScalarOp::Min | ScalarOp::Max => match (depends(node.args[0]), depends(node.args[1])) {
                    (true, false) => node.args[0],
                    (false, true) => node.args[1],
                    _ => return None,
                },
                _ => return None,
            };
            Some((atom, coefficient, inside))
        }) {
            self.terms.retain(|(a, _)| *a != atom);
            self = self.plus(&Affine::of(exprs, inside), coefficient);
        }
        self
    }

    /// The axes among the atoms, or `None` if another expression is among them.
    pub fn axes(&self, exprs: &Exprs) -> Option<Vec<u32>> {
        let axis = |&(atom, _): &(ExprId, Dim)| match exprs.get(atom).op {
            ScalarOp::Axis(a) => Some(a),
            _ => None,
        };
        self.terms.iter().map(axis).collect()
    }
}
