//! Printing tensors as PyTorch does. It never fails: an invalid tensor prints its error, a traced one its type.

use super::{Eager, Repr, Tensor, element};
use igneous_ir::DType;
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// Above this many elements only the edges of each axis are printed.
const SUMMARISE: usize = 1000;
/// How many elements are printed at each edge.
const EDGE: usize = 3;
const LINE: usize = 80;

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Eager(value) => write_dense(f, value),
            Repr::Variable(variable) => write_dense(f, &Arc::new(variable.read_untracked())),
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

fn write_dense(f: &mut fmt::Formatter<'_>, value: &Arc<Eager>) -> fmt::Result {
    match value.dense() {
        Ok(value) => write_value(f, &value),
        Err(error) => write!(f, "invalid: {error}"),
    }
}

fn write_value(f: &mut fmt::Formatter<'_>, value: &Eager) -> fmt::Result {
    let sizes = value.sizes();
    let mut text = String::from("tensor(");
    let count: usize = sizes.iter().product();
    if count == 0 && sizes.len() != 1 {
        let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
        write!(text, "[], size=({})", sizes.join(", "))?;
    } else {
        let numbers = Numbers::new(value);
        let indent = text.len();
        write_axis(&mut text, &numbers, &sizes, 0, indent);
    }
    match value.ty.dtype {
        DType::F32 | DType::I64 | DType::Bool => {}
        other => write!(text, ", dtype={other}")?,
    }
    text.push(')');
    f.write_str(&text)
}

/// Elements along `axis` and those behind it, as PyTorch lays them out: `indent` columns are taken by the brackets.
fn write_axis(text: &mut String, numbers: &Numbers, sizes: &[usize], start: usize, indent: usize) {
    let Some((&extent, inner)) = sizes.split_first() else {
        text.push_str(&numbers.text(start));
        return;
    };
    let stride: usize = inner.iter().product();
    let parts: Vec<String> = numbers
        .shown(extent)
        .map(|at| match at {
            Some(i) => {
                let mut part = String::new();
                write_axis(&mut part, numbers, inner, start + i * stride, indent + 1);
                part
            }
            None if inner.is_empty() => " ...".to_owned(),
            None => "...".to_owned(),
        })
        .collect();
    let margin = " ".repeat(indent + 1);
    text.push('[');
    if inner.is_empty() {
        let per_line = ((LINE - indent.min(LINE)) / (numbers.width + 2)).max(1);
        let lines: Vec<String> = parts.chunks(per_line).map(|line| line.join(", ")).collect();
        text.push_str(&lines.join(&format!(",\n{margin}")));
    } else {
        text.push_str(&parts.join(&format!(",{}{margin}", "\n".repeat(inner.len()))));
    }
    text.push(']');
}

/// The elements as text of one width.
struct Numbers {
    values: Values,
    width: usize,
    summarise: bool,
}

enum Values {
    Floats(Vec<f64>, FloatStyle),
    Ints(Vec<i64>),
    Bools(Vec<i64>),
}

impl Numbers {
    fn new(value: &Eager) -> Numbers {
        let dtype = value.ty.dtype;
        let sizes = value.sizes();
        let summarise = sizes.iter().product::<usize>() > SUMMARISE;
        let values = if dtype.is_float() {
            Values::Floats(element::as_f64(dtype, &value.buffer).unwrap_or_default(), FloatStyle::Whole)
        } else {
            let ints = element::as_i64(dtype, &value.buffer).unwrap_or_default();
            if dtype == DType::Bool { Values::Bools(ints) } else { Values::Ints(ints) }
        };
        let mut numbers = Numbers { values, width: 0, summarise };
        let mut places = vec![0];
        for (axis, &extent) in sizes.iter().enumerate() {
            let stride: usize = sizes[axis + 1..].iter().product();
            let kept: Vec<usize> = numbers.shown(extent).flatten().collect();
            places = places.iter().flat_map(|p| kept.iter().map(move |i| p + i * stride)).collect();
        }
        if let Values::Floats(values, style) = &mut numbers.values {
            // The width and the style follow from the numbers that are finite and not zero.
            places.retain(|&p| values[p].is_finite() && values[p] != 0.0);
            *style = FloatStyle::of(places.iter().map(|&p| values[p]));
        }
        numbers.width = match sizes.len() {
            0 => 0,
            _ => places.iter().map(|&p| numbers.text(p).len()).max().unwrap_or(1),
        };
        numbers
    }

    /// The indices printed along an axis, `None` for what is left out.
    fn shown(&self, extent: usize) -> impl Iterator<Item = Option<usize>> + use<> {
        let all = !self.summarise || extent <= 2 * EDGE;
        let (head, tail) = if all { (extent, extent) } else { (EDGE, extent - EDGE) };
        (0..head).map(Some).chain((!all).then_some(None)).chain((tail..extent).map(Some))
    }

    fn text(&self, i: usize) -> String {
        let text = match &self.values {
            Values::Floats(values, style) => style.text(values[i]),
            Values::Ints(values) => values[i].to_string(),
            Values::Bools(values) => if values[i] != 0 { "True" } else { "False" }.to_owned(),
        };
        format!("{text:>width$}", width = self.width)
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
    fn of(values: impl Iterator<Item = f64>) -> FloatStyle {
        let (mut min, mut max, mut whole) = (f64::INFINITY, 0f64, true);
        for x in values {
            (min, max, whole) = (min.min(x.abs()), max.max(x.abs()), whole && x.fract() == 0.0);
        }
        if max == 0.0 {
            FloatStyle::Whole
        } else if max / min > 1000.0 || max > 1e8 || (!whole && min < 1e-4) {
            FloatStyle::Scientific
        } else if whole {
            FloatStyle::Whole
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
                format!("{mantissa}e{sign}{digits:0>2}")
            }
        }
    }
}
