//! Diagonals and triangles of matrices.

use super::{Tensor, or_invalid};
use crate::location::{entered, here};
use igneous_ir::{Dim, Error, Result, Shape};

impl Tensor {
    /// Length of the diagonal that begins `offset` to the right (below, if negative), and its first row and column.
    fn diagonal_of(rows: Dim, columns: Dim, offset: i64) -> (Dim, Dim, Dim) {
        let (row, column) = (Dim::constant(offset.saturating_neg().max(0)), Dim::constant(offset.max(0)));
        ((rows - row).min(columns - column).max(0), row, column)
    }

    /// The elements on a diagonal of the plane of two axes, as a new last axis (`torch.diagonal`); `offset` shifts it to the
    /// right.
    #[track_caller]
    pub fn diagonal(&self, offset: i64, a: i64, b: i64) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let made = self.axis(a).and_then(|at| {
            let other = self.axis(b)?;
            if at == other {
                return Err(Error::new("diagonal needs two different axes").note("tensor", self.describe()));
            }
            let order: Vec<usize> = (0..self.rank()).filter(|&i| i != at && i != other).chain([at, other]).collect();
            let moved = self.permuted(&order);
            let shape = moved.shape();
            let [lead @ .., rows, columns] = &shape[..] else { unreachable!("there are two axes") };
            let (length, row, column) = Tensor::diagonal_of(*rows, *columns, offset);
            let flat: Shape = lead.iter().copied().chain([*rows * *columns]).collect();
            let places = (Tensor::arange(0, length) + row) * *columns + Tensor::arange(0, length) + column;
            Ok(moved.reshape_to(flat).chosen(lead.len(), &places))
        });
        or_invalid(made.map_err(|e| e.at(loc)))
    }

    /// Matrices with the last axis on a diagonal, elsewhere 0 (`torch.diag_embed`): `[…, n] → […, m, m]`, `m = n + |offset|`.
    #[track_caller]
    pub fn diag_embed(&self, offset: i64) -> Tensor {
        let shape = match self.axis(-1) {
            Ok(_) => self.shape(),
            Err(error) => return error.into(),
        };
        let n = shape[shape.len() - 1];
        let m = n + Dim::constant(offset.saturating_abs());
        let (row, column) = (offset.saturating_neg().max(0), offset.max(0));
        // The element of each row, seen in the column where it belongs.
        let mut widths = vec![(0, 0); shape.len()];
        widths[shape.len() - 1] = (row, column);
        let padded = self.padded_with(&widths, 0.0);
        let (i, j) = (Tensor::arange(0, m).unsqueeze(1), Tensor::arange(0, m).unsqueeze(0));
        let inside = (&i - row).equal(&j - column);
        let rows = padded.unsqueeze(-1);
        or_invalid(Ok(rows.where_(&inside, rows.zeros_like())))
    }

    /// A vector on a diagonal of a matrix, or the diagonal of a matrix as a vector (`torch.diag`).
    #[track_caller]
    pub fn diag(&self, offset: i64) -> Tensor {
        match (self.check(), self.rank()) {
            (Err(error), _) => error.into(),
            (_, 1) => self.diag_embed(offset),
            (_, 2) => self.diagonal(offset, 0, 1),
            _ => {
                let error = Error::new("diag needs a vector or a matrix").note("tensor", self.describe());
                error.at(here()).into()
            }
        }
    }

    /// The sum of the diagonal of a matrix.
    #[track_caller]
    pub fn trace(&self) -> Tensor {
        self.diagonal(0, 0, 1).sum(-1)
    }

    /// The lower triangle of the last two axes, elsewhere 0; `diagonal` shifts it to the right.
    #[track_caller]
    pub fn tril(&self, diagonal: i64) -> Tensor {
        self.triangle(|rows, columns| columns.le(rows + diagonal))
    }

    /// The upper triangle of the last two axes, elsewhere 0; `diagonal` shifts it to the right.
    #[track_caller]
    pub fn triu(&self, diagonal: i64) -> Tensor {
        self.triangle(|rows, columns| columns.ge(rows + diagonal))
    }

    #[track_caller]
    fn triangle(&self, keep: impl Fn(Tensor, Tensor) -> Tensor) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let matrix: Result<(Dim, Dim)> = self.ty().and_then(|ty| match ty.shape.as_slice() {
            [.., m, n] => Ok((*m, *n)),
            _ => Err(Error::new("tril and triu need at least two axes").note("tensor", self.describe()).at(loc)),
        });
        let (rows, columns) = match matrix {
            Ok((m, n)) => (Tensor::arange(0, m).unsqueeze(1), Tensor::arange(0, n).unsqueeze(0)),
            Err(error) => return error.into(),
        };
        or_invalid(Ok(self.where_(&keep(rows, columns), self.zeros_like())))
    }
}
