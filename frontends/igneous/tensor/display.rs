//! Printing tensors as PyTorch does. It never fails: an invalid tensor prints its error, a traced one its type.

use super::{Eager, Repr, Tensor, element};
use igneous_ir::DType;
use std::fmt::{self, Write as _};

/// Above this many elements only the edges of each axis are printed.
const SUMMARISE: usize = 1000;
/// How many elements are printed at each edge.
const EDGE: usize = 3;
const LINE: usize = 80;

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Eager(value) => write_value(f, value),
            Repr::Variable(variable) => write_value(f, &variable.read_untracked()),
            Repr::Traced(traced) => write!(f, "traced {}", traced.ty),
            Repr::Invalid(error) => write!(f, "invalid: {error}"),
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_value(f: &mut fmt::Formatter<'_>, value: &Eager) -> fmt::Result {
    let sizes = value.sizes();
    let numbers = Numbers::new(value);
    let mut text = String::from("tensor(");
    let count: usize = sizes.iter().product();
    if count == 0 && sizes.len() != 1 {
        write!(text, "[], size={sizes:?}")?;
    } else {
        write_axis(&mut text, &numbers, &sizes, 0, 0, count > SUMMARISE)?;
    }
    match value.ty.dtype {
        DType::F32 | DType::I64 | DType::Bool => {}
        other => write!(text, ", dtype={other}")?,
    }
    text.push(')');
    f.write_str(&text)
}

fn write_axis(text: &mut String, numbers: &Numbers, sizes: &[usize], axis: usize, start: usize, summarise: bool) -> fmt::Result {
    let Some(&extent) = sizes.get(axis) else {
        text.push_str(&numbers.text(start));
        return Ok(());
    };
    let inner: usize = sizes[axis + 1..].iter().product();
    let shown = |i: usize| !summarise || extent <= 2 * EDGE || i < EDGE || i >= extent - EDGE;
    let last = axis + 1 == sizes.len();
    let indent = " ".repeat("tensor(".len() + axis + 1);
    let separator = if last { ", ".to_owned() } else { format!(",{}{indent}", "\n".repeat(sizes.len() - axis - 1)) };
    text.push('[');
    let mut skipped = false;
    for i in 0..extent {
        if !shown(i) {
            if !skipped {
                text.push_str(&separator);
                text.push_str("...");
            }
            skipped = true;
            continue;
        }
        if i > 0 {
            let width = text.len() - text.rfind('\n').map_or(0, |n| n + 1);
            if last && width + numbers.width + 2 > LINE {
                text.push_str(",\n");
                text.push_str(&indent);
            } else {
                text.push_str(&separator);
            }
        }
        write_axis(text, numbers, sizes, axis + 1, start + i * inner, summarise)?;
    }
    text.push(']');
    Ok(())
}

/// The elements as text of one width.
struct Numbers {
    texts: Box<dyn Fn(usize) -> String>,
    width: usize,
}

impl Numbers {
    fn new(value: &Eager) -> Numbers {
        let dtype = value.ty.dtype;
        let texts: Box<dyn Fn(usize) -> String> = if dtype.is_float() {
            let values = element::as_f64(dtype, &value.buffer).unwrap_or_default();
            let style = FloatStyle::of(&values);
            Box::new(move |i| values.get(i).map_or_else(String::new, |&x| style.text(x)))
        } else {
            let values = element::as_i64(dtype, &value.buffer).unwrap_or_default();
            Box::new(move |i| match values.get(i) {
                Some(&x) if dtype == DType::Bool => if x != 0 { "True" } else { "False" }.to_owned(),
                Some(x) => x.to_string(),
                None => String::new(),
            })
        };
        let count = value.sizes().iter().product::<usize>();
        let (head, tail) = if count > SUMMARISE { (EDGE, EDGE) } else { (count, 0) };
        let printed = (0..head.min(count)).chain(count - tail.min(count)..count);
        let width = printed.map(|i| texts(i).len()).max().unwrap_or(0);
        let width = if value.ty.rank() == 0 { 0 } else { width };
        Numbers { texts, width }
    }

    fn text(&self, i: usize) -> String {
        format!("{:>width$}", (self.texts)(i), width = self.width)
    }
}

/// How all floats of a tensor are printed.
#[derive(Clone, Copy, PartialEq)]
enum FloatStyle {
    /// `3.`
    Whole,
    /// `0.1250`
    Fixed,
    /// `1.2500e-05`
    Scientific,
}

impl FloatStyle {
    /// PyTorch's choice, from the finite elements that are not zero.
    fn of(values: &[f64]) -> FloatStyle {
        let finite = || values.iter().map(|x| x.abs()).filter(|x| x.is_finite() && *x != 0.0);
        let (min, max) = finite().fold((f64::INFINITY, 0f64), |(lo, hi), x| (lo.min(x), hi.max(x)));
        let whole = values.iter().filter(|x| x.is_finite()).all(|x| x.fract() == 0.0);
        if max == 0.0 || (whole && max <= 1e8) {
            FloatStyle::Whole
        } else if max / min > 1000.0 || max > 1e8 || min < 1e-4 {
            FloatStyle::Scientific
        } else {
            FloatStyle::Fixed
        }
    }

    fn text(self, x: f64) -> String {
        if x.is_nan() {
            return "nan".to_owned();
        }
        if x.is_infinite() {
            return if x > 0.0 { "inf" } else { "-inf" }.to_owned();
        }
        match self {
            FloatStyle::Whole => format!("{x:.0}."),
            FloatStyle::Fixed => format!("{x:.4}"),
            FloatStyle::Scientific => {
                let text = format!("{x:.4e}");
                let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |d| ('-', d));
                format!("{mantissa}e{sign}{digits:>02}")
            }
        }
    }
}
