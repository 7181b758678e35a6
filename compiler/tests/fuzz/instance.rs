//! Random instances of operators on values that are there.

use super::generate::Generator;
use igneous_ir::Dim;
use igneous_ir::graph::{Graph, Region};
use igneous_ir::op::{Fill, Op, Record, ReduceKind, Samples};
use igneous_ir::types::{DType, Literal, Shape, TensorType};
use igneous_ir::{Array, ops};
use std::sync::LazyLock;

/// The operators a graph is made of; those that carry most programs several times.
static RECORDS: LazyLock<Vec<&'static Record>> = LazyLock::new(|| {
    let often =
        ["reduce", "dot_general", "broadcast", "reshape", "transpose", "add", "mul", "sub", "softmax", "select", "gather"];
    // Random matrices are often singular or have equal eigenvalues: what rounding changes then is everything.
    let delicate = |name: &str| ops::linalg::LINALG.iter().any(|r| r.name == name);
    let drawn = move || ops::records().filter(move |r| !matches!(r.name, "input" | "grad" | "extent") && !delicate(r.name));
    drawn().chain((0..4).flat_map(|_| drawn().filter(|r| often.contains(&r.name)))).collect()
});

/// Tries to add one random node.
pub fn attempt(g: &mut Generator) {
    let record = *g.random.pick(&RECORDS);
    // The graph is not changed where this gives nothing, but for inputs that nobody reads.
    let _ = instance(g, record);
}

fn instance(g: &mut Generator, record: &'static Record) -> Option<Vec<usize>> {
    if g.random.once_in(12) {
        return from_sample(g, record);
    }
    match record.name {
        "constant" => constant(g),
        "iota" => iota(g),
        "check" => check(g),
        "call" => call(g),
        "cond" => cond(g),
        "scan" => scan(g),
        "while" => while_loop(g),
        "cast" => cast(g),
        "bitcast" => bitcast(g),
        "broadcast" => broadcast(g),
        "reshape" => reshape(g),
        "transpose" => transpose(g),
        "slice" => slice(g),
        "pad" => pad(g),
        "concat" => concat(g),
        "flip" => flip(g),
        "gather" => gather(g),
        "scatter" => scatter(g),
        "random_bits" => random_bits(g),
        "reduce" => reduce(g),
        "arg_reduce" | "online_softmax" | "welford" => reduce_rows(g, record),
        "reduce_window" => reduce_window(g),
        "dot_general" => dot(g),
        "softmax" | "log_softmax" => softmax(g, record),
        "gelu" => gelu(g),
        "layer_norm" => layer_norm(g),
        "cross_entropy" => cross_entropy(g),
        "dropout" => dropout(g),
        _ if record.attrs.is_empty() => pointwise(g, record),
        _ => from_sample(g, record),
    }
}

/// A sample of the record, on new inputs or on values with as many elements.
fn from_sample(g: &mut Generator, record: &'static Record) -> Option<Vec<usize>> {
    let mut samples = Samples::default();
    (record.samples)(&mut samples);
    if samples.0.is_empty() || matches!(record.name, "call" | "scan" | "check") {
        return None;
    }
    let sample = g.random.pick(&samples.0).clone();
    if sample.inputs.iter().any(|(_, fill)| *fill == Fill::Specials) {
        return None;
    }
    let mut operands = Vec::new();
    for (ty, fill) in sample.inputs {
        if matches!(ty.dtype, DType::F16 | DType::BF16) {
            return None;
        }
        let sizes = ty.sizes().ok()?;
        let count: usize = sizes.iter().product();
        let same = g.pick(|k| k.array.dtype() == ty.dtype && k.array.len() == count && ty.dtype.is_float());
        operands.push(match same {
            Some(k) if g.shape(k) == sizes => k,
            Some(k) => g.add(ops::reshape(ty.shape.clone()), &[k])?[0],
            None => g.filled(ty, fill)?,
        });
    }
    g.add(sample.op, &operands)
}

fn pointwise(g: &mut Generator, record: &'static Record) -> Option<Vec<usize>> {
    let op = Op::new(record, []);
    let first = g.pick(|_| true)?;
    let ty = g.ty(first);
    if let Some(results) = g.add(op.clone(), &[first]) {
        return Some(results);
    }
    if record.name == "select" {
        let condition = ty.with_dtype(DType::Bool);
        let c = g.pick(|k| k.array.ty() == condition).or_else(|| g.fresh(condition.clone()))?;
        let other = g.pick(|k| k.array.ty() == ty)?;
        return g.add(op, &[c, first, other]);
    }
    let second = matching(g, &ty)?;
    let operands = if g.random.once_in(2) { [first, second] } else { [second, first] };
    g.add(op, &operands)
}

/// Another value of this type: one that is there, a broadcast of a smaller one, or a new one.
fn matching(g: &mut Generator, ty: &TensorType) -> Option<usize> {
    if !g.random.once_in(4)
        && let Some(k) = g.pick(|k| k.array.ty() == *ty)
    {
        return Some(k);
    }
    let sizes = ty.sizes().expect("extents are numbers");
    let suffix = |shape: &[usize]| shape.len() < sizes.len() && sizes.ends_with(shape);
    if let Some(k) = g.pick(|k| k.array.dtype() == ty.dtype && suffix(k.array.shape())) {
        let axes: Vec<usize> = (sizes.len() - g.shape(k).len()..sizes.len()).collect();
        if let Some(wide) = g.add(ops::broadcast(ty.shape.clone(), &axes), &[k]) {
            return Some(wide[0]);
        }
    }
    g.fresh(ty.clone())
}

fn shape_of(sizes: &[usize]) -> Shape {
    sizes.iter().map(|&n| Dim::from(n)).collect()
}

fn with_rank(g: &mut Generator, least: usize) -> Option<usize> {
    g.pick(|k| k.array.shape().len() >= least)
}

fn float_with_rank(g: &mut Generator, least: usize) -> Option<usize> {
    g.pick(|k| k.array.dtype().is_float() && k.array.shape().len() >= least)
}

/// Some of `0..n`, ascending, at least one.
fn some_axes(g: &mut Generator, n: usize) -> Vec<usize> {
    let sure = g.random.below(n);
    (0..n).filter(|&a| a == sure || g.random.once_in(3)).collect()
}

fn constant(g: &mut Generator) -> Option<Vec<usize>> {
    let n = g.extent();
    let dtype = *g.random.pick(&[DType::F32, DType::F64, DType::I64]);
    let number = 0.25 * (g.random.below(17) as f64 - 8.0);
    let array = match g.random.below(3) {
        0 => Array::scalar(Literal::float(dtype, number)),
        _ if dtype.is_float() => Array::from_fn_f64(dtype, [n], |i| number + 0.5 * i as f64),
        _ => Array::from_fn_i64(dtype, [n], |i| (i as i64 * 5) % 7),
    };
    g.add(ops::constant(array), &[])
}

fn iota(g: &mut Generator) -> Option<Vec<usize>> {
    let shape: Vec<usize> = (0..1 + g.random.below(2)).map(|_| g.extent()).collect();
    let axis = g.random.below(shape.len());
    let dtype = *g.random.pick(&[DType::F32, DType::I64, DType::I32]);
    g.add(ops::iota(dtype, shape_of(&shape), axis), &[])
}

fn check(g: &mut Generator) -> Option<Vec<usize>> {
    let value = g.pick(|k| k.array.dtype() == DType::I64)?;
    let ty = g.ty(value);
    let ok = g.pick(|k| k.array.ty() == ty.with_dtype(DType::Bool))?;
    g.add(ops::check("a random check failed"), &[ok, value])
}

fn cast(g: &mut Generator) -> Option<Vec<usize>> {
    let x = g.pick(|_| true)?;
    let dtype = *g.random.pick(&[DType::F32, DType::F64, DType::I64, DType::I32, DType::Bool, DType::U8, DType::I8]);
    g.add(ops::cast(dtype), &[x])
}

fn bitcast(g: &mut Generator) -> Option<Vec<usize>> {
    let x = g.pick(|_| true)?;
    let dtype = *g.random.pick(&[DType::F32, DType::F64, DType::I64, DType::I32, DType::U32]);
    g.add(ops::bitcast(dtype), &[x])
}

fn broadcast(g: &mut Generator) -> Option<Vec<usize>> {
    let x = g.pick(|_| true)?;
    let mut shape: Vec<(usize, bool)> = g.shape(x).iter().map(|&n| (n, true)).collect();
    for _ in 0..1 + g.random.below(2) {
        let (place, extent) = (g.random.below(shape.len() + 1), g.extent());
        shape.insert(place, (extent, false));
    }
    let axes: Vec<usize> = (0..shape.len()).filter(|&a| shape[a].1).collect();
    let shape: Vec<usize> = shape.into_iter().map(|(n, _)| n).collect();
    g.add(ops::broadcast(shape_of(&shape), &axes), &[x])
}

fn reshape(g: &mut Generator) -> Option<Vec<usize>> {
    let x = g.pick(|_| true)?;
    let mut shape = g.shape(x).to_vec();
    match g.random.below(4) {
        0 => shape = vec![shape.iter().product()],
        1 => shape.insert(g.random.below(shape.len() + 1), 1),
        2 if shape.len() > 1 => {
            let a = g.random.below(shape.len() - 1);
            let next = shape.remove(a + 1);
            shape[a] *= next;
        }
        _ => {
            let a = g.random.below(shape.len());
            let n = *shape.get(a)?;
            let factor = *[2, 3, 4, 5].iter().find(|&&f| n % f == 0 && n > f)?;
            shape[a] = n / factor;
            shape.insert(a + g.random.below(2), factor);
        }
    }
    g.add(ops::reshape(shape_of(&shape)), &[x])
}

fn transpose(g: &mut Generator) -> Option<Vec<usize>> {
    let x = with_rank(g, 2)?;
    let mut permutation: Vec<usize> = (0..g.shape(x).len()).collect();
    for i in (1..permutation.len()).rev() {
        let j = g.random.below(i + 1);
        permutation.swap(i, j);
    }
    g.add(ops::transpose(&permutation), &[x])
}

fn slice(g: &mut Generator) -> Option<Vec<usize>> {
    let x = with_rank(g, 1)?;
    let (mut start, mut limit, mut stride) = (Vec::new(), Vec::new(), Vec::new());
    for n in g.shape(x).to_vec() {
        let lo = if g.random.once_in(2) { 0 } else { g.random.below(n) };
        let hi = if g.random.once_in(2) { n } else { lo + 1 + g.random.below(n - lo) };
        start.push(Dim::from(lo));
        limit.push(Dim::from(hi));
        stride.push(1 + g.random.below(2) as i64);
    }
    g.add(ops::slice(&start, &limit, &stride), &[x])
}

fn pad(g: &mut Generator) -> Option<Vec<usize>> {
    let x = with_rank(g, 1)?;
    let scalar = TensorType::scalar(g.dtype(x));
    let value = g.pick(|k| k.array.ty() == scalar).or_else(|| g.fresh(scalar.clone()))?;
    let rank = g.shape(x).len();
    let mut some = |most: usize| -> Vec<usize> { (0..rank).map(|_| g.random.below(most)).collect() };
    let (low, high, interior) = (some(3), some(3), some(2));
    let interior: Vec<i64> = interior.into_iter().map(|n| n as i64).collect();
    g.add(ops::pad(&shape_of(&low), &shape_of(&high), &interior), &[x, value])
}

fn concat(g: &mut Generator) -> Option<Vec<usize>> {
    let x = with_rank(g, 1)?;
    let (ty, shape) = (g.ty(x), g.shape(x).to_vec());
    let axis = g.random.below(shape.len());
    let fits = |other: &[usize]| other.len() == shape.len() && (0..shape.len()).all(|a| a == axis || other[a] == shape[a]);
    let other = g.pick(|k| k.array.dtype() == ty.dtype && fits(k.array.shape()))?;
    let operands = if g.random.once_in(3) { vec![x, other, x] } else { vec![other, x] };
    g.add(ops::concat(axis), &operands)
}

fn flip(g: &mut Generator) -> Option<Vec<usize>> {
    let x = with_rank(g, 1)?;
    let axes = some_axes(g, g.shape(x).len());
    g.add(ops::flip(&axes), &[x])
}

/// Indices of this shape: integers that are there, or new ones, some of them out of range.
fn indices(g: &mut Generator, shape: &[usize], extent: usize) -> Option<usize> {
    let fits = g.pick(|k| matches!(k.array.dtype(), DType::I64 | DType::I32) && k.array.shape() == shape);
    fits.or_else(|| g.filled(TensorType::new(DType::I64, shape.iter().copied()), Fill::Range(-1, extent as i64 + 1)))
}

fn gather(g: &mut Generator) -> Option<Vec<usize>> {
    let x = with_rank(g, 1)?;
    let axis = g.random.below(g.shape(x).len());
    let extent = g.shape(x)[axis];
    let shape: Vec<usize> = (0..g.random.below(3)).map(|_| g.extent()).collect();
    let index = indices(g, &shape, extent)?;
    g.add(ops::gather(&[axis]), &[x, index])
}

fn scatter(g: &mut Generator) -> Option<Vec<usize>> {
    let x = with_rank(g, 1)?;
    let (ty, shape) = (g.ty(x), g.shape(x).to_vec());
    let axis = g.random.below(shape.len());
    let count = g.extent();
    let index = indices(g, &[count], shape[axis])?;
    let mut updates = vec![count];
    updates.extend((0..shape.len()).filter(|&a| a != axis).map(|a| shape[a]));
    let updates = matching(g, &TensorType::new(ty.dtype, updates))?;
    let kinds = [
        None,
        Some(ReduceKind::Sum),
        Some(ReduceKind::Sum),
        Some(ReduceKind::Max),
        Some(ReduceKind::Min),
        Some(ReduceKind::Prod),
    ];
    let combine = *g.random.pick(&kinds);
    g.add(ops::scatter(&[axis], combine), &[x, index, updates])
}

fn state(g: &mut Generator) -> Option<usize> {
    g.filled(TensorType::new(DType::I64, [2usize]), Fill::Range(0, 1 << 30))
}

fn random_bits(g: &mut Generator) -> Option<Vec<usize>> {
    let shape: Vec<usize> = (0..g.random.below(3)).map(|_| g.extent()).collect();
    let state = state(g)?;
    g.add(Op::new(ops::record("random_bits")?, [igneous_ir::op::Attr::Dims(shape_of(&shape))]), &[state])
}

fn dropout(g: &mut Generator) -> Option<Vec<usize>> {
    let x = float_with_rank(g, 0)?;
    let state = state(g)?;
    g.add(ops::dropout(0.25), &[x, state])
}

fn reduce(g: &mut Generator) -> Option<Vec<usize>> {
    let x = with_rank(g, 1)?;
    let axes = some_axes(g, g.shape(x).len());
    let kinds: &[ReduceKind] = match g.dtype(x) {
        DType::Bool => &[ReduceKind::And, ReduceKind::Or],
        dtype if dtype.is_float() => {
            &[ReduceKind::Sum, ReduceKind::Sum, ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min, ReduceKind::Prod]
        }
        _ => &[ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min, ReduceKind::And, ReduceKind::Or],
    };
    let kind = *g.random.pick(kinds);
    g.add(ops::reduce(kind, &axes), &[x])
}

fn reduce_rows(g: &mut Generator, record: &'static Record) -> Option<Vec<usize>> {
    let x = with_rank(g, 1)?;
    let axes = some_axes(g, g.shape(x).len());
    let op = match record.name {
        "arg_reduce" => ops::arg_reduce(*g.random.pick(&[ReduceKind::ArgMax, ReduceKind::ArgMin]), &axes),
        "online_softmax" => ops::online_softmax(&axes),
        _ => ops::welford(&axes),
    };
    g.add(op, &[x])
}

fn reduce_window(g: &mut Generator) -> Option<Vec<usize>> {
    let x = float_with_rank(g, 1)?;
    let n = 1 + g.random.below(g.shape(x).len().min(2));
    let mut some = |from: i64, count: usize| -> Vec<i64> { (0..n).map(|_| from + g.random.below(count) as i64).collect() };
    let (window, stride, low, high, dilation) = (some(1, 3), some(1, 2), some(0, 2), some(0, 2), some(1, 2));
    let kind = *g.random.pick(&[ReduceKind::Sum, ReduceKind::Max, ReduceKind::Min, ReduceKind::ArgMax]);
    g.add(ops::reduce_window(kind, &window, &stride, &low, &high, &dilation), &[x])
}

fn dot(g: &mut Generator) -> Option<Vec<usize>> {
    let a = float_with_rank(g, 1)?;
    let (ty, shape) = (g.ty(a), g.shape(a).to_vec());
    let k = g.random.below(shape.len());
    let b = match g.pick(|x| x.array.dtype() == ty.dtype && x.array.shape().contains(&shape[k])) {
        Some(b) if !g.random.once_in(3) => b,
        _ => {
            let other = g.extent();
            let sizes = if g.random.once_in(2) { [shape[k], other] } else { [other, shape[k]] };
            g.fresh(TensorType::new(ty.dtype, sizes))?
        }
    };
    let other = g.shape(b).to_vec();
    let l = other.iter().position(|&n| n == shape[k])?;
    let batch = (0..shape.len())
        .flat_map(|i| (0..other.len()).map(move |j| (i, j)))
        .find(|&(i, j)| i != k && j != l && shape[i] == other[j])
        .filter(|_| g.random.once_in(2));
    let (lhs, rhs): (Vec<usize>, Vec<usize>) = batch.into_iter().unzip();
    g.add(ops::dot_general(&[k], &[l], &lhs, &rhs), &[a, b])
}

fn softmax(g: &mut Generator, record: &'static Record) -> Option<Vec<usize>> {
    let x = float_with_rank(g, 1)?;
    let axis = g.random.below(g.shape(x).len());
    g.add(if record.name == "softmax" { ops::softmax(axis) } else { ops::log_softmax(axis) }, &[x])
}

fn gelu(g: &mut Generator) -> Option<Vec<usize>> {
    let x = float_with_rank(g, 0)?;
    let approximate = *g.random.pick(&["none", "tanh"]);
    g.add(ops::gelu(approximate), &[x])
}

fn layer_norm(g: &mut Generator) -> Option<Vec<usize>> {
    let x = float_with_rank(g, 1)?;
    let count = 1 + g.random.below(g.shape(x).len().min(2));
    let tail = g.shape(x)[g.shape(x).len() - count..].to_vec();
    let ty = TensorType::new(g.dtype(x), tail);
    let (weight, bias) = (matching(g, &ty)?, matching(g, &ty)?);
    g.add(ops::layer_norm(count, 1e-3), &[x, weight, bias])
}

fn cross_entropy(g: &mut Generator) -> Option<Vec<usize>> {
    let x = g.pick(|k| k.array.dtype().is_float() && k.array.shape().len() == 2)?;
    let (rows, classes) = (g.shape(x)[0], g.shape(x)[1]);
    let labels = g.filled(TensorType::new(DType::I64, [rows]), Fill::Range(0, classes as i64))?;
    g.add(ops::cross_entropy(), &[x, labels])
}

fn call(g: &mut Generator) -> Option<Vec<usize>> {
    if g.depth > 1 {
        return None;
    }
    let count = 1 + g.random.below(3);
    let operands: Vec<usize> = (0..count).map(|_| g.pick(|_| true)).collect::<Option<_>>()?;
    let mut body = g.inner("block");
    for &k in &operands {
        let (array, exact) = (g.known[k].array.clone(), g.known[k].exact);
        body.region_input(array, exact);
    }
    let nodes = 2 + g.random.below(5);
    body.grow(nodes);
    let outputs = 1 + g.random.below(2);
    for (k, v) in body.known.iter().rev().take(outputs).map(|k| k.value).enumerate() {
        body.graph.output(format!("r{k}"), v);
    }
    let (body, outlined) = (body.graph, g.random.once_in(3));
    let apply = |g: &mut Generator, operands: &[usize]| match outlined {
        true => g.layer(&body, operands),
        false => g.add(ops::call(Region::new(body.clone())), operands),
    };
    let results = apply(g, &operands);
    if g.random.once_in(2) {
        // The same block again, on other values of the same types where there are any.
        let types: Vec<TensorType> = operands.iter().map(|&k| g.ty(k)).collect();
        let others: Option<Vec<usize>> = types.iter().map(|ty| g.pick(|k| k.array.ty() == *ty && k.exact)).collect();
        let _ = apply(g, &others?);
    }
    results
}

fn scan(g: &mut Generator) -> Option<Vec<usize>> {
    if g.depth > 1 {
        return None;
    }
    let sequence = g.pick(|k| (1..4).contains(&k.array.shape().len()) && k.array.shape()[0] <= 8 && !k.array.is_empty())?;
    let (length, element) = (g.shape(sequence)[0], g.shape(sequence)[1..].to_vec());
    let carry = g.pick(|k| k.array.dtype().is_float() && k.array.shape().len() < 3)?;
    let constants: Vec<usize> = if g.random.once_in(2) { vec![g.pick(|_| true)?] } else { Vec::new() };
    let mut body = g.inner("step");
    for &k in constants.iter().chain([&carry]) {
        let (array, exact) = (g.known[k].array.clone(), g.known[k].exact && k != carry);
        body.region_input(array, exact);
    }
    let first = g.known[sequence].array.gathered(element, |i| i);
    body.region_input(first, g.known[sequence].exact);
    let nodes = 2 + g.random.below(5);
    body.grow(nodes);
    let ty = g.ty(carry);
    let next = body.pick(|k| k.array.ty() == ty)?;
    // What is carried must not grow from step to step.
    let next = body.add(ops::pointwise("tanh"), &[next])?[0];
    let next = body.known[next].value;
    body.graph.output("carry", next);
    let stacked = body.known[body.known.len() - 2].value;
    body.graph.output("stacked", stacked);
    let reverse = g.random.once_in(2);
    let operands: Vec<usize> = constants.iter().copied().chain([carry, sequence]).collect();
    g.add(ops::scan(Region::new(body.graph), constants.len(), 1, reverse, length), &operands)
}

/// Two branches on the same operands, with as many results of the same types as they have.
fn cond(g: &mut Generator) -> Option<Vec<usize>> {
    if g.depth > 1 {
        return None;
    }
    let bit = TensorType::scalar(DType::Bool);
    let predicate = g.pick(|k| k.array.ty() == bit).filter(|_| !g.random.once_in(3)).or_else(|| g.fresh(bit.clone()))?;
    let count = 1 + g.random.below(3);
    let operands: Vec<usize> = (0..count).map(|_| g.pick(|_| true)).collect::<Option<_>>()?;
    let mut branches = ["then", "otherwise"].map(|name| {
        let mut branch = g.inner(name);
        for &k in &operands {
            let (array, exact) = (g.known[k].array.clone(), g.known[k].exact);
            branch.region_input(array, exact);
        }
        let nodes = branch.random.below(6);
        branch.grow(nodes);
        branch
    });
    let mut results = 0;
    let [then, otherwise] = &mut branches;
    for _ in 0..1 + g.random.below(3) {
        let Some(a) = then.pick(|_| true) else { continue };
        let ty = then.ty(a);
        let Some(b) = otherwise.pick(|k| k.array.ty() == ty) else { continue };
        then.graph.output(format!("r{results}"), then.known[a].value);
        otherwise.graph.output(format!("r{results}"), otherwise.known[b].value);
        results += 1;
    }
    let [then, otherwise] = branches.map(|branch| Region::new(branch.graph));
    let operands: Vec<usize> = std::iter::once(predicate).chain(operands).collect();
    g.add(ops::cond(then, otherwise), &operands).filter(|_| results > 0)
}

/// A loop that counts up to an operand, or less far if it has a bound.
fn while_loop(g: &mut Generator) -> Option<Vec<usize>> {
    if g.depth > 1 {
        return None;
    }
    let whole = TensorType::scalar(DType::I64);
    let limit = g.filled(whole.clone(), Fill::Range(0, 6))?;
    let counter = g.filled(whole, Fill::Range(0, 3))?;
    let carry = g.pick(|k| k.array.dtype().is_float() && k.array.shape().len() < 3)?;
    let constant = if g.random.once_in(2) { Some(g.pick(|_| true)?) } else { None };
    let operands: Vec<usize> = constant.into_iter().chain([limit, counter, carry]).collect();
    let mut body = g.inner("body");
    for &k in &operands {
        let (array, exact) = (g.known[k].array.clone(), g.known[k].exact && k != carry);
        body.region_input(array, exact);
    }
    let inputs: Vec<_> = body.graph.inputs().iter().map(|(v, _)| *v).collect();
    let place = operands.len() - 3;
    let mut condition = Graph::new("condition");
    let given: Vec<_> = inputs.iter().map(|&v| condition.input("p", body.graph.ty(v).clone())).collect();
    let goes_on = condition.add(ops::pointwise("lt"), &[given[place + 1], given[place]]).ok()?[0];
    condition.output("goes_on", goes_on);
    let nodes = 2 + g.random.below(5);
    body.grow(nodes);
    let ty = g.ty(carry);
    let next = body.pick(|k| k.array.ty() == ty)?;
    // What is carried must not grow from step to step.
    let next = body.add(ops::pointwise("tanh"), &[next])?[0];
    let next = body.known[next].value;
    let one = body.graph.add(ops::constant(Array::scalar(Literal::int(DType::I64, 1))), &[]).ok()?[0];
    let counted = body.graph.add(ops::pointwise("add"), &[inputs[place + 1], one]).ok()?[0];
    body.graph.output("i", counted);
    body.graph.output("carry", next);
    // Without a bound there is no derivative.
    let bound = (g.smooth || g.random.once_in(2)).then(|| g.random.below(8) as u32);
    let constants = operands.len() - 2;
    g.add(ops::while_loop(Region::new(condition), Region::new(body.graph), constants, bound), &operands)
}
