//! Views and arrangements.

use super::{Operator, lengths, one};
use crate::call::{Call, Outputs, Problem, unsupported};
use igneous::{IndexItem, Slice, Stepped, Tensor};
use serde_json::Value;

pub fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "reshape" | "view" => |c| {
            let shape = c.ints_or_rest(1, "shape")?;
            one(c.x()?.reshape(&shape))
        },
        "reshape_as" | "view_as" => |c| one(c.x()?.reshape(c.tensor(1, "other")?.shape())),
        "expand" | "broadcast_to" => |c| {
            let shape = c.ints_or_rest(1, "size")?;
            one(c.x()?.expand(&shape))
        },
        "expand_as" => |c| one(c.x()?.expand_as(&c.tensor(1, "other")?)),
        "flatten" => |c| one(c.x()?.flatten(c.int(1, "start_dim", 0)?, c.int(2, "end_dim", -1)?)),
        "ravel" => |c| one(c.x()?.flatten_all()),
        "unflatten" => |c| {
            let sizes = c.ints(2, "sizes")?;
            one(c.x()?.unflatten(c.int(1, "dim", 0)?, &sizes))
        },
        "squeeze" => |c| match c.optional_ints(1, "dim")? {
            None => one(c.x()?.squeeze_all()),
            Some(axes) => {
                let x = c.x()?;
                let rank = x.rank() as i64;
                let mut axes: Vec<i64> = axes.iter().map(|a| a.rem_euclid(rank.max(1))).collect();
                axes.sort_unstable();
                one(if rank == 0 { x } else { axes.iter().rev().fold(x, |x, &a| x.squeeze(a)) })
            }
        },
        "unsqueeze" => |c| one(c.x()?.unsqueeze(c.int(1, "dim", 0)?)),
        "permute" => |c| {
            let order = c.ints_or_rest(1, "dims")?;
            one(c.x()?.permute(&order))
        },
        "transpose" | "swapaxes" | "swapdims" => |c| one(c.x()?.transpose(c.int(1, "dim0", 0)?, c.int(2, "dim1", 1)?)),
        "t" => |c| one(c.x()?.t()),
        "mT" => |c| one(c.x()?.transpose(-2, -1)),
        "movedim" | "moveaxis" => |c| {
            let (from, to) = (c.ints(1, "source")?, c.ints(2, "destination")?);
            one(c.x()?.movedim(&from, &to))
        },
        "flip" => |c| {
            let axes = c.ints_or_rest(1, "dims")?;
            one(c.x()?.flip(&axes))
        },
        "fliplr" => |c| one(c.x()?.flip(1)),
        "flipud" => |c| one(c.x()?.flip(0)),
        "roll" => roll,
        "rot90" => |c| {
            let axes = c.optional_ints(2, "dims")?.unwrap_or_else(|| vec![0, 1]);
            let &[a, b] = axes.as_slice() else { return unsupported("rot90 with other than two axes") };
            one(c.x()?.rot90(c.int(1, "k", 1)?, a, b))
        },
        "cat" | "concat" | "concatenate" => |c| one(Tensor::cat(&c.tensors(0, "tensors")?, c.int(1, "dim", 0)?)),
        "stack" => |c| one(Tensor::stack(&c.tensors(0, "tensors")?, c.int(1, "dim", 0)?)),
        "dstack" => |c| one(Tensor::dstack(&c.tensors(0, "tensors")?)),
        "column_stack" => |c| one(Tensor::column_stack(&c.tensors(0, "tensors")?)),
        "hstack" => |c| one(Tensor::hstack(&c.tensors(0, "tensors")?)),
        "vstack" | "row_stack" => |c| one(Tensor::vstack(&c.tensors(0, "tensors")?)),
        "split" => split,
        "split_with_sizes" => |c| Ok(c.x()?.split_sizes(&lengths(&c.ints(1, "split_sizes")?)?, c.int(2, "dim", 0)?)?),
        "chunk" => |c| Ok(c.x()?.chunk(c.int(1, "chunks", 1)?.unsigned_abs() as usize, c.int(2, "dim", 0)?)?),
        "unbind" => |c| Ok(c.x()?.unbind(c.int(1, "dim", 0)?)?),
        "repeat" => |c| {
            let counts = lengths(&c.ints_or_rest(1, "repeats")?)?;
            one(c.x()?.repeat(&counts))
        },
        "tile" => |c| {
            let counts = lengths(&c.ints_or_rest(1, "dims")?)?;
            one(c.x()?.tile(&counts))
        },
        "repeat_interleave" => repeat_interleave,
        "narrow" => narrow,
        "select" => |c| one(c.x()?.select(c.int(1, "dim", 0)?, c.int(2, "index", 0)?)),
        "slice" => |c| one(sliced(c, c.x()?, 1)?),
        "__getitem__" => get_item,
        "unfold" => |c| {
            let (size, step) = (c.int(2, "size", 1)?, c.int(3, "step", 1)?);
            one(c.x()?.unfold(c.int(1, "dimension", 0)?, size.unsigned_abs() as usize, step.unsigned_abs() as usize))
        },
        "diag" => |c| one(c.x()?.diag(c.int(1, "diagonal", 0)?)),
        "diagonal" => |c| one(c.x()?.diagonal(c.int(1, "offset", 0)?, c.int(2, "dim1", 0)?, c.int(3, "dim2", 1)?)),
        "diag_embed" => |c| one(c.x()?.diag_embed(c.int(1, "offset", 0)?)),
        "trace" => |c| one(c.x()?.trace()),
        "tril" => |c| one(c.x()?.tril(c.int(1, "diagonal", 0)?)),
        "triu" => |c| one(c.x()?.triu(c.int(1, "diagonal", 0)?)),
        "meshgrid" => |c| {
            let columns = c.named("indexing").and_then(Value::as_str) == Some("xy");
            let mut vectors = match c.tensors(0, "tensors") {
                Ok(vectors) => vectors,
                Err(_) => (0..c.places()).map(|k| c.tensor(k, "tensors")).collect::<Result<_, Problem>>()?,
            };
            if !columns || vectors.len() < 2 {
                return Ok(Tensor::meshgrid(&vectors));
            }
            vectors.swap(0, 1);
            let mut grids = Tensor::meshgrid(&vectors);
            grids.swap(0, 1);
            Ok(grids)
        },
        "constant_pad_nd" => |c| {
            let widths = pairs(&c.ints(1, "pad")?)?;
            one(c.x()?.pad(&widths, c.float(2, "value", 0.0)?))
        },
        _ => return None,
    })
}

/// PyTorch's flat list of widths in pairs.
pub fn pairs(widths: &[i64]) -> Result<Vec<(i64, i64)>, Problem> {
    match widths.len() % 2 {
        0 => Ok(widths.chunks(2).map(|w| (w[0], w[1])).collect()),
        _ => unsupported("an odd number of widths"),
    }
}

fn roll(c: &Call) -> Outputs {
    let (x, shifts, axes) = (c.x()?, c.ints(1, "shifts")?, c.optional_ints(2, "dims")?.unwrap_or_default());
    match (shifts.as_slice(), axes.as_slice()) {
        (&[shift], []) => one(x.roll_all(shift)),
        (shifts, axes) => one(x.roll(shifts, axes)),
    }
}

fn split(c: &Call) -> Outputs {
    let (x, axis) = (c.x()?, c.int(2, "dim", 0)?);
    match c.get(1, "split_size_or_sections") {
        Some(Value::Array(_)) => Ok(x.split_sizes(&lengths(&c.ints(1, "split_size_or_sections")?)?, axis)?),
        _ => Ok(x.split(c.int(1, "split_size_or_sections", 1)?.unsigned_abs() as usize, axis)?),
    }
}

fn repeat_interleave(c: &Call) -> Outputs {
    if c.is_tensor(1, "repeats") {
        let counts = c.tensor(1, "repeats")?;
        return match c.optional_int(2, "dim")? {
            Some(axis) => one(c.x()?.repeat_interleave_by(&counts, axis)),
            None => one(c.x()?.flatten_all().repeat_interleave_by(&counts, 0)),
        };
    }
    let count = c.int(1, "repeats", 1)?.unsigned_abs() as usize;
    match c.optional_int(2, "dim")? {
        Some(axis) => one(c.x()?.repeat_interleave(count, axis)),
        None => one(c.x()?.flatten_all().repeat_interleave(count, 0)),
    }
}

fn narrow(c: &Call) -> Outputs {
    let (x, axis, length) = (c.x()?, c.int(1, "dim", 0)?, c.int(3, "length", 0)?);
    let length = length.unsigned_abs() as usize;
    if c.is_tensor(2, "start") {
        return one(x.narrow_at(axis, &c.tensor(2, "start")?, length));
    }
    let start = c.int(2, "start", 0)?;
    let start = if start < 0 { x.size(axis) - start.unsigned_abs() as usize } else { (start as usize).into() };
    one(x.narrow(axis, start, length))
}

/// A slice as Python has it: bounds may be missing or beyond the axis.
fn slice(start: Option<i64>, end: Option<i64>, step: i64) -> Result<Slice, Problem> {
    let slice: Slice = match (start, end) {
        (None, None) => (..).into(),
        (Some(start), None) => (start..).into(),
        (None, Some(end)) => (..end).into(),
        (Some(start), Some(end)) => (start..end).into(),
    };
    Ok(if step == 1 { slice } else { slice.step(step) })
}

/// Arguments `dim, start, end, step` from `place` on.
pub fn sliced(c: &Call, x: Tensor, place: usize) -> Result<Tensor, Problem> {
    let axis = c.int(place, "dim", 0)?;
    // PyTorch's largest integer stands for no bound.
    let end = c.optional_int(place + 2, "end")?.filter(|&end| end != i64::MAX);
    let slice = slice(c.optional_int(place + 1, "start")?, end, c.int(place + 3, "step", 1)?)?;
    let axis = if axis < 0 { axis + x.rank() as i64 } else { axis };
    let mut items: Vec<IndexItem> = (0..axis).map(|_| (..).into()).collect();
    items.push(slice.into());
    Ok(x.i(items))
}

fn get_item(c: &Call) -> Outputs {
    let x = c.x()?;
    let Some(index) = c.get(1, "index") else { return unsupported("an index of None") };
    let items = match index {
        Value::Array(list) if list.len() > 1 && list.iter().all(Value::is_i64) => {
            return unsupported("integers that may be one index or an index for each axis");
        }
        Value::Array(list) => list.iter().map(|v| item(c, v)).collect::<Result<Vec<_>, _>>()?,
        single => vec![item(c, single)?],
    };
    one(x.i(items))
}

/// An item of an index.
pub fn item(c: &Call, value: &Value) -> Result<IndexItem, Problem> {
    match value {
        Value::Null => Ok(igneous::NewAxis.into()),
        Value::Number(n) => n.as_i64().map(IndexItem::from).map_or_else(|| unsupported(format!("the index {n}")), Ok),
        Value::String(s) if s == "..." || s == "Ellipsis" => Ok(igneous::Ellipsis.into()),
        Value::String(_) => Ok(c.tensor_of(value)?.into()),
        Value::Object(slice_of) => match slice_of.get("slice").and_then(Value::as_array).map(Vec::as_slice) {
            Some([start, end, step]) => Ok(slice(start.as_i64(), end.as_i64(), step.as_i64().unwrap_or(1))?.into()),
            _ => unsupported(format!("the index {value}")),
        },
        Value::Array(list) => {
            let integers: Option<Vec<i64>> = list.iter().map(Value::as_i64).collect();
            integers.map_or_else(|| unsupported(format!("the index {value}")), |i| Ok(Tensor::from_slice(&i, i.len()).into()))
        }
        Value::Bool(_) => unsupported("an index that is a bool"),
    }
}
