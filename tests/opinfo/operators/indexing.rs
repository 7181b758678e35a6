//! Gather, scatter and assignment.

use super::shapes::item;
use super::{Operator, one};
use crate::call::{Call, Outputs, Problem, unsupported};
use igneous::{DType, IndexItem, Initial, ScatterKind, Tensor};
use serde_json::Value;

pub fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "gather" => |c| {
            c.named_flag("sparse_grad", false)?;
            one(vector(&c.x()?)
                .gather(c.int(1, "dim", 0)?, &vector(&c.tensor(2, "index")?))
                .reshape(c.tensor(2, "index")?.shape()))
        },
        "take_along_dim" => take_along_dim,
        "take" => |c| one(c.x()?.take(&c.tensor(1, "index")?)),
        "index_select" => |c| {
            let (x, index) = (c.x()?, c.tensor(2, "index")?);
            let chosen = vector(&x).index_select(c.int(1, "dim", 0)?, &vector(&index));
            one(if x.rank() == 0 { chosen.reshape(()) } else { chosen })
        },
        "index_add" => |c| {
            let (x, index, source) = (c.x()?, c.tensor(2, "index")?, c.tensor(3, "source")?);
            one(x.index_add(c.int(1, "dim", 0)?, &index, &source, c.named_float("alpha", 1.0)?))
        },
        "index_copy" => |c| one(c.x()?.index_copy(c.int(1, "dim", 0)?, &c.tensor(2, "index")?, &c.tensor(3, "source")?)),
        "index_fill" => |c| {
            let (x, axis, index) = (c.x()?, c.int(1, "dim", 0)?, c.tensor(2, "index")?);
            one(match c.is_tensor(3, "value") {
                true => x.index_fill(axis, &index, &c.tensor(3, "value")?),
                false => x.index_fill(axis, &index, c.float(3, "value", 0.0)?),
            })
        },
        "index_put" => index_put,
        "scatter" => scatter,
        "scatter_add" => |c| {
            let (index, source) = (c.tensor(2, "index")?, c.tensor(3, "src")?);
            one(within(c, &index, |x, axis, index| x.scatter_add(axis, index, &vector(&source)))?)
        },
        "scatter_reduce" => scatter_reduce,
        "masked_fill" => |c| one(masked_fill(c)?),
        "masked_scatter" => |c| one(c.x()?.masked_scatter(&c.tensor(1, "mask")?, &c.tensor(2, "source")?)),
        "masked_select" => |c| one(c.x()?.masked_select(&c.tensor(1, "mask")?)),
        "select_scatter" => |c| one(c.x()?.select_scatter(&c.tensor(1, "src")?, c.int(2, "dim", 0)?, c.int(3, "index", 0)?)),
        "argwhere" => |c| one(c.x()?.nonzero()),
        "nonzero" => |c| match c.named_flag("as_tuple", false)? {
            true => Ok(c.x()?.nonzero().unbind(1)?),
            false => one(c.x()?.nonzero()),
        },
        "searchsorted" => searchsorted,
        "bincount" => |c| one(c.x()?.bincount(c.int(2, "minlength", 0)?.unsigned_abs() as usize)),
        _ => return None,
    })
}

/// A tensor without axes as one with one element.
fn vector(x: &Tensor) -> Tensor {
    if x.rank() == 0 { x.reshape(1) } else { x.clone() }
}

/// Scatters into the first argument along argument `dim`.
fn within(c: &Call, index: &Tensor, f: impl Fn(&Tensor, i64, &Tensor) -> Tensor) -> Result<Tensor, Problem> {
    let x = c.x()?;
    Ok(f(&vector(&x), c.int(1, "dim", 0)?, &vector(index)).reshape(x.shape()))
}

fn take_along_dim(c: &Call) -> Outputs {
    let (x, index) = (c.x()?, c.tensor(1, "indices")?);
    let Some(axis) = c.optional_int(2, "dim")? else {
        return one(x.flatten_all().gather(0, &index.flatten_all()));
    };
    // All but the axis broadcast.
    let at = axis.rem_euclid(x.rank() as i64) as usize;
    let (mut from, mut of) = (x.shape(), index.shape());
    for a in (0..x.rank()).filter(|&a| a != at) {
        let wide = if from[a] == igneous::Dim::from(1usize) { of[a] } else { from[a] };
        (from[a], of[a]) = (wide, wide);
    }
    one(x.expand(from).take_along(&index.expand(of), axis))
}

fn index_put(c: &Call) -> Outputs {
    let Some(Value::Array(list)) = c.get(1, "indices") else { return unsupported("indices that are no list") };
    let items = list
        .iter()
        .map(|v| match v {
            Value::Null => Ok((..).into()),
            other => item(c, other),
        })
        .collect::<Result<Vec<IndexItem>, _>>()?;
    let (x, values) = (c.x()?, c.tensor(2, "values")?);
    one(if c.flag(3, "accumulate", false)? { x.index_put_add(items, &values) } else { x.index_put(items, &values) })
}

fn masked_fill(c: &Call) -> Result<Tensor, Problem> {
    let (x, mask) = (c.x()?, c.tensor(1, "mask")?);
    if c.is_tensor(2, "value") {
        return Ok(c.tensor(2, "value")?.to_dtype(x.dtype()).where_(&mask, &x));
    }
    Ok(x.masked_fill(&mask, c.float(2, "value", 0.0)?))
}

fn scatter(c: &Call) -> Outputs {
    let index = c.tensor(2, "index")?;
    let name = if c.named("value").is_some() { "value" } else { "src" };
    let source = match c.is_tensor(3, name) {
        true => c.tensor(3, name)?,
        false => index.to_dtype(DType::F64).full_like(c.float(3, name, 0.0)?),
    };
    let kind = match c.named("reduce").and_then(Value::as_str) {
        None => return one(within(c, &index, |x, axis, index| x.scatter(axis, index, &vector(&source)))?),
        Some("add") => ScatterKind::Sum,
        Some("multiply") => ScatterKind::Prod,
        Some(other) => return unsupported(format!("the reduction {other}")),
    };
    one(within(c, &index, |x, axis, index| x.scatter_reduce(axis, index, &vector(&source), kind, Initial::Kept))?)
}

fn scatter_reduce(c: &Call) -> Outputs {
    let (index, source) = (c.tensor(2, "index")?, c.tensor(3, "src")?);
    let kind = match c.text(4, "reduce", "sum")? {
        "sum" => ScatterKind::Sum,
        "prod" => ScatterKind::Prod,
        "mean" => ScatterKind::Mean,
        "amax" => ScatterKind::Max,
        "amin" => ScatterKind::Min,
        other => return unsupported(format!("the reduction {other}")),
    };
    let initial = if c.named_flag("include_self", true)? { Initial::Kept } else { Initial::Replaced };
    one(within(c, &index, |x, axis, index| x.scatter_reduce(axis, index, &vector(&source), kind, initial))?)
}

fn searchsorted(c: &Call) -> Outputs {
    let right = c.named_flag("right", false)? || c.named("side").and_then(Value::as_str) == Some("right");
    let side = if right { igneous::Side::Right } else { igneous::Side::Left };
    let found = c.x()?.searchsorted(&c.tensor(1, "values")?, side);
    one(if c.named_flag("out_int32", false)? { found.to_dtype(DType::I32) } else { found })
}
