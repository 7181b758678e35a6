//! The values of a program's symbols in one run.

use crate::program::Program;
use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::error::{Error, Result};
use igneous_ir::types::TensorType;
use smallvec::SmallVec;

/// One value for each of a program's symbols, in their order.
pub(crate) type Values = SmallVec<[i64; 8]>;

/// Evaluates dimensions.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub symbols: &'a [(Symbol, usize, usize)],
    pub values: &'a [i64],
}

impl Scope<'_> {
    /// The value of an expression.
    pub fn eval(self, dim: Dim) -> Result<i64> {
        if let Some(value) = dim.as_const() {
            return Ok(value);
        }
        let value_of = |symbol| self.symbols.iter().position(|(s, ..)| *s == symbol).map(|i| self.values[i]);
        dim.eval(&value_of).ok_or_else(|| Error::new(format!("dimension `{dim}` has no value in this run")))
    }

    /// The value of an extent or a size.
    pub fn size(self, dim: Dim) -> Result<usize> {
        let value = self.eval(dim)?;
        usize::try_from(value).map_err(|_| Error::new(format!("dimension `{dim}` is negative in this run: {value}")))
    }

    /// The values of all extents.
    pub fn sizes(self, ty: &TensorType) -> Result<SmallVec<[usize; 6]>> {
        ty.shape.iter().map(|&d| self.size(d)).collect()
    }

    /// The bytes of a tensor.
    pub fn bytes(self, ty: &TensorType) -> Result<usize> {
        let elements = self.sizes(ty)?.iter().try_fold(ty.dtype.size(), |bytes, &n| bytes.checked_mul(n));
        elements.ok_or_else(|| Error::new(format!("{ty} is too large")))
    }
}

/// Reads the symbols from the inputs' extents, and checks those against the inputs' types.
pub(crate) fn bind_symbols(program: &Program, shapes: &[&[usize]]) -> Result<Values> {
    if shapes.len() != program.inputs.len() {
        return Err(Error::new(format!(
            "program `{}` has {} inputs, but {} shapes are given",
            program.name,
            program.inputs.len(),
            shapes.len()
        )));
    }
    let misfit = |input: usize, why: String| {
        Error::new(why)
            .context(format!("input {input} of program `{}`", program.name))
            .note("type", &program.inputs[input])
            .note("given", format!("{:?}", shapes[input]))
    };
    for (input, (ty, shape)) in program.inputs.iter().zip(shapes).enumerate() {
        if ty.rank() != shape.len() {
            return Err(misfit(input, format!("it has {} axes, not {}", ty.rank(), shape.len())));
        }
    }
    let mut values = Values::new();
    for &(symbol, input, axis) in &program.symbols {
        let extent = shapes.get(input).and_then(|s| s.get(axis));
        let &extent = extent.ok_or_else(|| Error::new(format!("symbol `{}` is read from no input's axis", symbol.name)))?;
        let (_, factor, constant) = program.inputs[input].shape[axis]
            .linear()
            .filter(|l| l.0 == symbol)
            .ok_or_else(|| Error::new(format!("symbol `{}` cannot be read off axis {axis} of input {input}", symbol.name)))?;
        let rest = i64::try_from(extent).unwrap_or(i64::MAX).saturating_sub(constant);
        if rest.checked_rem(factor) != Some(0) {
            let why = format!("axis {axis} has extent {extent}, which is no `{}`", program.inputs[input].shape[axis]);
            return Err(misfit(input, why));
        }
        let value = rest / factor;
        if value < symbol.lo || value > symbol.hi {
            let why = format!("dimension `{}` is {value}, outside its range {}..={}", symbol.name, symbol.lo, symbol.hi);
            return Err(misfit(input, why));
        }
        values.push(value);
    }
    let scope = Scope { symbols: &program.symbols, values: &values };
    for (input, (ty, shape)) in program.inputs.iter().zip(shapes).enumerate() {
        for (axis, (&dim, &extent)) in ty.shape.iter().zip(*shape).enumerate() {
            let expected = scope.size(dim)?;
            if expected != extent {
                let what = if dim.is_symbolic() { format!("`{dim}` = {expected}") } else { expected.to_string() };
                return Err(misfit(input, format!("axis {axis} has extent {extent}, not {what}")));
            }
        }
    }
    Ok(values)
}
