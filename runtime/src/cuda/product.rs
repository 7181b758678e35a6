//! Matrix products that a library of the device can do in place of a kernel.

use igneous_ir::dim::Dim;
use igneous_ir::types::DType;
use std::fmt;

/// `result[b, m, n] = activation(Σ_k lhs[b, m, k] · rhs[b, k, n] + bias[n])`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Product {
    /// The element types, and how sums are made.
    pub types: Types,
    /// Matrices.
    pub batch: Dim,
    /// Rows of the result.
    pub m: Dim,
    /// Columns of the result.
    pub n: Dim,
    /// Contracted.
    pub k: Dim,
    /// m rows of k numbers.
    pub lhs: Matrix,
    /// k rows of n numbers.
    pub rhs: Matrix,
    /// m rows of n numbers, row-major.
    pub result: Matrix,
    /// n numbers of the result's type: the kernel parameter and the first element.
    pub bias: Option<(usize, Dim)>,
    /// What becomes of each sum at last.
    pub activation: Option<Activation>,
}

/// The element types of a product.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Types {
    /// Of both operands.
    pub operands: DType,
    /// How sums are made.
    pub sums: Sums,
    /// Of the result and the bias.
    pub result: DType,
}

/// In which type products are added up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sums {
    /// In single precision.
    F32,
    /// In single precision, of operands that may be rounded to ten bits of mantissa.
    Tf32,
    /// In double precision.
    F64,
    /// In 32-bit integers.
    I32,
}

/// A pointwise function that libraries know.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Activation {
    /// `max(x, 0)`
    Relu,
    /// The Gaussian error linear unit, approximated by a hyperbolic tangent.
    Gelu,
}

/// Matrices in a kernel parameter, one for each of the batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Matrix {
    /// The kernel parameter.
    pub param: usize,
    /// The first element.
    pub offset: Dim,
    /// From one matrix to the next.
    pub batch: Dim,
    /// What lies side by side.
    pub order: Order,
    /// From one row to the next, or from one column to the next, where those do not lie side by side.
    pub leading: Dim,
}

impl Matrix {
    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Matrix {
        let order = match self.order {
            Order::Rows => Order::Columns,
            Order::Columns => Order::Rows,
        };
        Matrix { order, ..self }
    }
}

/// What lies side by side in a matrix.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Order {
    /// The elements of a row.
    Rows,
    /// The elements of a column.
    Columns,
}

/// A product with numbers for everything, as the library is told of it: matrices by columns,
/// `d = activation(op(a) · op(b) + bias)` with a number of the bias for each row.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Gemm {
    /// The element types.
    pub types: Types,
    /// Matrices.
    pub batch: usize,
    /// Rows of `d`.
    pub m: usize,
    /// Columns of `d`.
    pub n: usize,
    /// Contracted.
    pub k: usize,
    /// The left operand.
    pub a: Stored,
    /// The right operand.
    pub b: Stored,
    /// The result, not transposed.
    pub d: Stored,
    /// Whether there is one.
    pub bias: bool,
    /// What becomes of each sum at last.
    pub activation: Option<Activation>,
}

/// Matrices in memory, by columns.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Stored {
    /// How many numbers lie side by side.
    pub rows: usize,
    /// How many such columns there are.
    pub columns: usize,
    /// From one column to the next.
    pub leading: usize,
    /// From one matrix to the next.
    pub batch: usize,
    /// Whether the operand is the transposed matrix.
    pub transposed: bool,
}

impl Stored {
    /// A matrix of that many rows and columns; none if the library cannot read it there.
    fn of(matrix: &Matrix, [rows, columns]: [usize; 2], size: &dyn Fn(Dim) -> Option<usize>) -> Option<Stored> {
        // A matrix whose rows lie side by side is a transposed one whose columns do.
        let (rows, columns, transposed) = match matrix.order {
            Order::Rows => (columns, rows, false),
            Order::Columns => (rows, columns, true),
        };
        // Nobody goes from the only column to the next.
        let leading = if columns == 1 { rows } else { size(matrix.leading)? };
        (leading >= rows).then_some(Stored { rows, columns, leading, batch: size(matrix.batch)?, transposed })
    }
}

impl Gemm {
    /// The product where `size` gives the value of a dimension that is not negative; none if the library cannot do it.
    pub(super) fn of(product: &Product, size: &dyn Fn(Dim) -> Option<usize>) -> Option<Gemm> {
        let Product { types, lhs, rhs, result, bias, activation, .. } = product;
        let [batch, m, n, k] = [product.batch, product.m, product.n, product.k].map(size);
        let (batch, m, n, k) = (batch?, m?, n?, k?);
        // The transposed product has the columns of the result side by side.
        let gemm = Gemm {
            types: *types,
            batch,
            m: n,
            n: m,
            k,
            a: Stored::of(rhs, [k, n], size)?,
            b: Stored::of(lhs, [m, k], size)?,
            d: Stored::of(result, [m, n], size)?,
            bias: bias.is_some(),
            activation: *activation,
        };
        let all = [batch, m, n, k, gemm.a.leading, gemm.b.leading, gemm.d.leading];
        let fits = all.iter().all(|&n| n > 0 && i32::try_from(n).is_ok());
        (fits && !gemm.d.transposed && gemm.has_words()).then_some(gemm)
    }

    /// Whether bytes lie as the library wants them: along the contracted axis, in rows of whole words.
    fn has_words(&self) -> bool {
        let Gemm { a, b, d, m, k, batch, .. } = self;
        let whole = [*m, *k, a.leading, b.leading, d.leading].iter().all(|n| n.is_multiple_of(4));
        let apart = *batch == 1 || [a.batch, b.batch].iter().all(|n| n.is_multiple_of(4));
        self.types.sums != Sums::I32 || a.transposed && !b.transposed && whole && apart
    }

    /// How many multiplications it takes.
    pub fn multiplications(&self) -> u64 {
        [self.batch, self.m, self.n, self.k].iter().fold(1, |all: u64, &n| all.saturating_mul(n as u64))
    }
}

/// `n` or `t` for operands of the row-major product that are as they are or transposed.
fn letter(transposed: bool) -> char {
    if transposed { 't' } else { 'n' }
}

impl fmt::Display for Gemm {
    /// Types, `batch×m×n×k` of the row-major product, which of its operands are transposed, and what becomes of the sums.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gemm { types, batch, m, n, k, a, b, bias, activation, .. } = self;
        write!(f, "{types} {batch}×{n}×{m}×{k} {}{}", letter(b.transposed), letter(a.transposed))?;
        write_epilogue(f, *bias, *activation)
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Product { types, batch, m, n, k, lhs, rhs, bias, activation, .. } = self;
        let [left, right] = [lhs, rhs].map(|matrix| letter(matrix.order == Order::Columns));
        write!(f, "{types} {batch}×{m}×{n}×{k} {left}{right}")?;
        write_epilogue(f, bias.is_some(), *activation)
    }
}

fn write_epilogue(f: &mut fmt::Formatter<'_>, bias: bool, activation: Option<Activation>) -> fmt::Result {
    if bias {
        f.write_str(" bias")?;
    }
    match activation {
        None => Ok(()),
        Some(Activation::Relu) => f.write_str(" relu"),
        Some(Activation::Gelu) => f.write_str(" gelu"),
    }
}

impl fmt::Display for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Types { operands, sums, result } = self;
        match sums {
            Sums::Tf32 => f.write_str("tf32")?,
            _ => write!(f, "{operands}")?,
        }
        if operands == result { Ok(()) } else { write!(f, "→{result}") }
    }
}
