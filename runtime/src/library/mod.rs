//! Operators that are computed by ordinary functions over whole tensors: sorting, cumulative operations, linear algebra,
//! Fourier transforms; and functions of the host that users bring.
//!
//! A function gets dense row-major operands and fills dense row-major results. It may fail for its operands' values (a
//! singular matrix); the run fails then. Results depend on the operands alone, not on the number of threads.

mod cumulative;
mod fourier;
mod host;
mod linalg;
mod lines;
mod order;
#[cfg(test)]
mod tests;

use crate::buffer::Element;
use igneous_ir::error::{Error, Result};
use igneous_ir::op::Op;
use igneous_ir::types::DType;

/// Computes an operator.
pub type LibraryFn = fn(&mut Arguments) -> Result<()>;

/// The function for the operator called `name`.
pub fn find(name: &str) -> Option<LibraryFn> {
    Some(match name {
        "sort" => order::sort,
        "topk" => order::topk,
        "cumulative" => cumulative::cumulative,
        "recurrence" => cumulative::recurrence,
        "cholesky" => linalg::cholesky,
        "triangular_solve" => linalg::triangular_solve,
        "solve" => linalg::solve,
        "slogdet" => linalg::slogdet,
        "qr" => linalg::qr,
        "eigh" => linalg::eigh,
        "svd" => linalg::svd,
        "fft" => fourier::fft,
        "host" => host::host,
        _ => return None,
    })
}

/// Element type and extents of an operand or a result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    pub dtype: DType,
    pub shape: Vec<usize>,
}

impl Layout {
    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of the elements.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }
}

/// The operands and results of a call.
pub struct Arguments<'a> {
    pub(crate) op: &'a Op,
    pub(crate) operands: Vec<(&'a Layout, &'a [u8])>,
    pub(crate) results: Vec<(&'a Layout, &'a mut [u8])>,
}

impl Arguments<'_> {
    /// Element type and extents of operand `k`.
    fn layout(&self, k: usize) -> &Layout {
        self.operands[k].0
    }

    /// The elements of operand `k`, which has this element type.
    fn operand<T: Element>(&self, k: usize) -> Result<&[T]> {
        elements(self.operands[k].0.dtype, self.operands[k].1)
    }

    /// The elements of result `k`, which has this element type.
    fn result<T: Element>(&mut self, k: usize) -> Result<&mut [T]> {
        elements_mut(self.results[k].0.dtype, self.results[k].1)
    }

    /// The elements of operand `k` and of result `r`, which have these element types.
    fn operand_and_result<T: Element, U: Element>(&mut self, k: usize, r: usize) -> Result<(&[T], &mut [U])> {
        let ((layout, bytes), (result, to)) = (&self.operands[k], &mut self.results[r]);
        Ok((elements(layout.dtype, bytes)?, elements_mut(result.dtype, to)?))
    }

    /// The elements of the first operand and of the two results, which have these element types.
    fn operand_and_results<T: Element, U: Element, V: Element>(&mut self) -> Result<(&[T], &mut [U], &mut [V])> {
        let ([(layout, bytes), ..], [(one, first), (two, second)]) = (&self.operands[..], &mut self.results[..]) else {
            return Err(Error::new(format!("{} does not have an operand and two results", self.op.name())));
        };
        Ok((elements(layout.dtype, bytes)?, elements_mut(one.dtype, first)?, elements_mut(two.dtype, second)?))
    }

    /// Operand `k` as numbers of double precision, whatever floats it holds.
    fn floats(&self, k: usize) -> Result<Vec<f64>> {
        Ok(match self.layout(k).dtype {
            DType::F64 => self.operand::<f64>(k)?.to_vec(),
            DType::F32 => self.operand::<f32>(k)?.iter().map(|&x| x.into()).collect(),
            DType::F16 => self.operand::<half::f16>(k)?.iter().map(|&x| x.into()).collect(),
            DType::BF16 => self.operand::<half::bf16>(k)?.iter().map(|&x| x.into()).collect(),
            other => return Err(no_type(self.op, other)),
        })
    }

    /// Rounds numbers of double precision to result `k`.
    fn set_floats(&mut self, k: usize, values: &[f64]) -> Result<()> {
        let (op, dtype) = (self.op, self.results[k].0.dtype);
        // The conversions to half types round twice, so they are given what they have to keep.
        let round = |x: f64| dtype.round(x);
        match dtype {
            DType::F64 => self.result::<f64>(k)?.copy_from_slice(values),
            DType::F32 => self.result::<f32>(k)?.iter_mut().zip(values).for_each(|(y, &x)| *y = x as f32),
            DType::F16 => self.result(k)?.iter_mut().zip(values).for_each(|(y, &x)| *y = half::f16::from_f64(round(x))),
            DType::BF16 => self.result(k)?.iter_mut().zip(values).for_each(|(y, &x)| *y = half::bf16::from_f64(round(x))),
            other => return Err(no_type(op, other)),
        }
        Ok(())
    }
}

fn no_type(op: &Op, dtype: DType) -> Error {
    Error::new(format!("{} is not computed for elements of type {dtype}", op.name()))
}

fn check<T: Element>(dtype: DType, bytes: &[u8]) -> Result<()> {
    if dtype != T::DTYPE || !bytes.len().is_multiple_of(size_of::<T>()) || !bytes.as_ptr().cast::<T>().is_aligned() {
        return Err(Error::new(format!("elements of type {dtype} are no elements of type {}", T::DTYPE)));
    }
    if T::DTYPE == DType::Bool && bytes.iter().any(|&b| b > 1) {
        return Err(Error::new("a byte that is neither 0 nor 1 is no bool"));
    }
    Ok(())
}

fn elements<T: Element>(dtype: DType, bytes: &[u8]) -> Result<&[T]> {
    check::<T>(dtype, bytes)?;
    // SAFETY: the address is aligned, and the bytes are a whole number of valid elements.
    Ok(unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<T>()) })
}

fn elements_mut<T: Element>(dtype: DType, bytes: &mut [u8]) -> Result<&mut [T]> {
    if T::DTYPE == DType::Bool {
        // What is there is overwritten.
        bytes.fill(0);
    }
    check::<T>(dtype, bytes)?;
    // SAFETY: as in `elements`, and the bytes are borrowed exclusively.
    Ok(unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<T>()) })
}
