//! Reductions, sorting, cumulative operations.

use super::{Operator, one, two};
use crate::call::{Call, Outputs, Problem, unsupported};
use igneous::Tensor;

pub fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "sum" => |c| reduce(c, |x, a| x.sum(a), |x, a| x.sum_keepdim(a)),
        "nansum" => |c| reduce(c, |x, a| x.nansum(a), |x, a| x.nansum_keepdim(a)),
        "prod" => |c| reduce(c, |x, a| x.prod(a), |x, a| x.prod_keepdim(a)),
        "mean" => |c| reduce(c, |x, a| x.mean(a), |x, a| x.mean_keepdim(a)),
        "nanmean" => |c| reduce(c, |x, a| x.nanmean(a), |x, a| x.nanmean_keepdim(a)),
        "amax" => |c| reduce(c, |x, a| x.max(a), |x, a| x.max_keepdim(a)),
        "amin" => |c| reduce(c, |x, a| x.min(a), |x, a| x.min_keepdim(a)),
        "all" => |c| reduce(c, |x, a| x.all(a), |x, a| x.all_keepdim(a)),
        "any" => |c| reduce(c, |x, a| x.any(a), |x, a| x.any_keepdim(a)),
        "logsumexp" => |c| reduce(c, |x, a| x.logsumexp(a), |x, a| x.logsumexp_keepdim(a)),
        "count_nonzero" => |c| reduce(c, |x, a| x.count_nonzero(a), |x, a| x.count_nonzero_keepdim(a)),
        "argmax" => |c| arg(c, Tensor::argmax, Tensor::argmax_keepdim, Tensor::argmax_all),
        "argmin" => |c| arg(c, Tensor::argmin, Tensor::argmin_keepdim, Tensor::argmin_all),
        "aminmax" => |c| {
            let axes = named_axes(c, "dim")?;
            let keepdim = c.named_flag("keepdim", false)?;
            let x = c.x()?;
            two(match keepdim {
                true => (x.min_keepdim(&axes), x.max_keepdim(&axes)),
                false => (x.min(&axes), x.max(&axes)),
            })
        },
        "max" => |c| extremum(c, |a, b| a.maximum(b), Tensor::max_all, [Tensor::max_with_index, Tensor::max_with_index_keepdim]),
        "min" => |c| extremum(c, |a, b| a.minimum(b), Tensor::min_all, [Tensor::min_with_index, Tensor::min_with_index_keepdim]),
        "var" => |c| spread(c, |s| vec![s.variance()]),
        "std" => |c| spread(c, |s| vec![s.variance().sqrt()]),
        "var_mean" => |c| spread(c, |s| vec![s.variance(), s.mean()]),
        "std_mean" => |c| spread(c, |s| vec![s.variance().sqrt(), s.mean()]),
        "norm" | "linalg.vector_norm" => norm,
        "sort" => |c| sorted(c, true),
        "msort" => |c| one(c.x()?.sort(0).0),
        "argsort" => |c| sorted(c, false),
        "topk" => topk,
        "kthvalue" => kthvalue,
        "median" => |c| {
            let x = c.x()?;
            match c.optional_int(1, "dim")? {
                None => one(x.median_all()),
                Some(axis) if c.flag(2, "keepdim", false)? => two(x.median_keepdim(axis)),
                Some(axis) => two(x.median(axis)),
            }
        },
        "unique" => |c| {
            let (values, ..) = c.x()?.unique();
            one(values)
        },
        "cumsum" => |c| one(converted(c, 2)?.cumsum(c.int(1, "dim", 0)?)),
        "cumprod" => |c| one(converted(c, 2)?.cumprod(c.int(1, "dim", 0)?)),
        "cummax" => |c| two(c.x()?.cummax(c.int(1, "dim", 0)?)),
        "cummin" => |c| two(c.x()?.cummin(c.int(1, "dim", 0)?)),
        "logcumsumexp" => |c| one(c.x()?.logcumsumexp(c.int(1, "dim", 0)?)),
        "diff" => diff,
        _ => return None,
    })
}

/// The first argument, in the type that an argument `dtype` asks for.
fn converted(c: &Call, place: usize) -> Result<Tensor, Problem> {
    let x = c.x()?;
    Ok(match c.dtype(place)? {
        Some(dtype) => x.to_dtype(dtype),
        None => x,
    })
}

fn every_axis(x: &Tensor) -> Vec<i64> {
    (0..x.rank() as i64).collect()
}

/// The axes that an argument names; all if there is none, or it is empty.
fn axes(c: &Call, place: usize, name: &'static str) -> Result<Vec<i64>, Problem> {
    let given = c.optional_ints(place, name)?.filter(|axes| !axes.is_empty());
    given.map_or_else(|| c.x().map(|x| every_axis(&x)), Ok)
}

fn named_axes(c: &Call, name: &'static str) -> Result<Vec<i64>, Problem> {
    match c.named(name).and_then(crate::call::ints) {
        Some(axes) => Ok(axes),
        None => Ok(every_axis(&c.x()?)),
    }
}

type Over = fn(&Tensor, &[i64]) -> Tensor;

fn reduce(c: &Call, over: Over, keeping: Over) -> Outputs {
    let axes = axes(c, 1, "dim")?;
    let keepdim = c.flag(2, "keepdim", false)?;
    let x = match c.dtype(3)? {
        Some(dtype) => c.x()?.to_dtype(dtype),
        None => c.x()?,
    };
    one(if keepdim { keeping(&x, &axes) } else { over(&x, &axes) })
}

fn arg(c: &Call, along: fn(&Tensor, i64) -> Tensor, keeping: fn(&Tensor, i64) -> Tensor, all: fn(&Tensor) -> Tensor) -> Outputs {
    let (x, keepdim) = (c.x()?, c.flag(2, "keepdim", false)?);
    match (c.optional_int(1, "dim")?, keepdim) {
        (Some(axis), true) => one(keeping(&x, axis)),
        (Some(axis), false) => one(along(&x, axis)),
        (None, keepdim) => {
            let place = all(&x);
            one(if keepdim { place.reshape(vec![1; x.rank()]) } else { place })
        }
    }
}

/// Values and where they are along an axis.
type WithIndex = fn(&Tensor, i64) -> (Tensor, Tensor);

fn extremum(
    c: &Call,
    of_two: fn(&Tensor, &Tensor) -> Tensor,
    of_all: fn(&Tensor) -> Tensor,
    [along, keeping]: [WithIndex; 2],
) -> Outputs {
    let x = c.x()?;
    if c.is_tensor(1, "other") {
        return one(of_two(&x, &c.tensor(1, "other")?));
    }
    match c.optional_int(1, "dim")? {
        None => one(of_all(&x)),
        Some(axis) if c.flag(2, "keepdim", false)? => two(keeping(&x, axis)),
        Some(axis) => two(along(&x, axis)),
    }
}

/// What variance and mean are taken of.
struct Spread {
    x: Tensor,
    axes: Vec<i64>,
    correction: f64,
    keepdim: bool,
}

impl Spread {
    fn variance(&self) -> Tensor {
        match self.keepdim {
            true => self.x.var_with_keepdim(&self.axes, self.correction),
            false => self.x.var_with(&self.axes, self.correction),
        }
    }

    fn mean(&self) -> Tensor {
        if self.keepdim { self.x.mean_keepdim(&self.axes) } else { self.x.mean(&self.axes) }
    }
}

/// `(x, unbiased)`, `(x, dim, unbiased, keepdim)` or `(x, dim, *, correction, keepdim)`.
fn spread(c: &Call, outputs: fn(&Spread) -> Vec<Tensor>) -> Outputs {
    let x = c.x()?;
    let unbiased_first = c.get(1, "dim").is_some_and(|v| v.is_boolean());
    let (axes, unbiased) = match unbiased_first {
        true => (every_axis(&x), c.flag(1, "unbiased", true)?),
        false => (axes(c, 1, "dim")?, c.flag(2, "unbiased", true)?),
    };
    let correction = c.named_float("correction", f64::from(u8::from(unbiased)))?;
    Ok(outputs(&Spread { x, axes, correction, keepdim: c.flag(3, "keepdim", false)? }))
}

fn norm(c: &Call) -> Outputs {
    match c.get(1, "p").and_then(|v| v.as_str()) {
        Some("fro") => {
            let axes = axes(c, 2, "dim")?;
            let x = c.x()?;
            return one(if c.flag(3, "keepdim", false)? { x.norm_keepdim(&axes) } else { x.norm(&axes) });
        }
        Some("nuc") => {
            let (x, axes) = (c.x()?, axes(c, 2, "dim")?);
            let &[a, b] = axes.as_slice() else { return unsupported("the nuclear norm over other than two axes") };
            let norm = igneous::linalg::nuclear_norm(&x.movedim(&[a, b][..], &[-2i64, -1][..]));
            let at = |axis: i64| axis.rem_euclid(x.rank() as i64);
            let (low, high) = (at(a).min(at(b)), at(a).max(at(b)));
            return one(if c.flag(3, "keepdim", false)? { norm.unsqueeze(low).unsqueeze(high) } else { norm });
        }
        _ => {}
    }
    let p = c.float(1, if c.named("ord").is_some() { "ord" } else { "p" }, 2.0)?;
    let axes = axes(c, 2, "dim")?;
    let x = c.x()?;
    one(if c.flag(3, "keepdim", false)? { x.norm_p_keepdim(p, &axes) } else { x.norm_p(p, &axes) })
}

fn sorted(c: &Call, values: bool) -> Outputs {
    let (x, axis) = (c.x()?, c.int(1, "dim", -1)?);
    let descending = c.flag(2, "descending", false)?;
    // Sorting is always stable.
    c.named_flag("stable", false)?;
    let result = if descending { x.sort_descending(axis) } else { x.sort(axis) };
    if values { two(result) } else { one(result.1) }
}

fn topk(c: &Call) -> Outputs {
    let (x, k, axis) = (c.x()?, c.int(1, "k", 0)?, c.int(2, "dim", -1)?);
    let largest = c.flag(3, "largest", true)?;
    // Sorted also where that is not asked for.
    c.flag(4, "sorted", true)?;
    let k = usize::try_from(k).map_err(|_| Problem::Unsupported(format!("k is {k}")))?;
    two(if largest { x.topk(k, axis) } else { x.topk_smallest(k, axis) })
}

fn kthvalue(c: &Call) -> Outputs {
    let (x, k, axis) = (c.x()?, c.int(1, "k", 1)?, c.int(2, "dim", -1)?);
    let k = usize::try_from(k).map_err(|_| Problem::Unsupported(format!("k is {k}")))?;
    two(if c.flag(3, "keepdim", false)? { x.kthvalue_keepdim(k, axis) } else { x.kthvalue(k, axis) })
}

fn diff(c: &Call) -> Outputs {
    let (x, n, axis) = (c.x()?, c.int(1, "n", 1)?, c.int(2, "dim", -1)?);
    let (before, after) = (c.optional_tensor(3, "prepend")?, c.optional_tensor(4, "append")?);
    // Nothing is joined where no difference is taken.
    if n == 0 {
        return one(x);
    }
    let parts: Vec<Tensor> = before.into_iter().chain([x]).chain(after).collect();
    one(Tensor::cat(&parts, axis).diff(n.unsigned_abs() as usize, axis))
}
