//! Every lowering against its operator's reference: the scalar expressions are evaluated point by point, every load is
//! inside its operand, and what a lowering promises about roles and parallel axes is true.

use igneous_ir::array::unravel;
use igneous_ir::op::{Contraction, Indexing, Lowering, ReduceKind, Reduction, Reference, Role, Sample, Samples, Scatter};
use igneous_ir::scalar::{ExprId, Exprs, S, ScalarOp};
use igneous_ir::scalar_eval::eval_op;
use igneous_ir::{Array, DType, Literal, TensorType, ops, sample};
use std::cell::RefCell;

/// Scalar expressions over axes and the elements of some arrays.
struct Machine<'a> {
    exprs: &'a RefCell<Exprs>,
    inputs: &'a [Array],
}

impl<'a> Machine<'a> {
    /// New axes of these extents, after those there are: simplification may rely on the extents.
    fn axes(&self, extents: &[usize]) -> Vec<S<'a>> {
        let mut exprs = self.exprs.borrow_mut();
        let new = extents.iter().map(|&n| {
            exprs.axes.push(n.into());
            let axis = ScalarOp::Axis(exprs.axes.len() as u32 - 1);
            S::of(self.exprs, exprs.raw(axis, &[], DType::I64))
        });
        new.collect()
    }

    /// The values of `roots` where `Axis(i)` is `axes[i]`.
    fn eval(&self, roots: &[S], axes: &[usize]) -> Vec<Literal> {
        let exprs = self.exprs.borrow();
        let ids: Vec<ExprId> = roots.iter().map(|s| s.id).collect();
        let mut values: Vec<Option<Literal>> = vec![None; exprs.len()];
        for id in exprs.reachable(&ids) {
            let expr = exprs.get(id);
            let args: Vec<Literal> = expr.args.iter().map(|a| values[a.0 as usize].expect("arguments come first")).collect();
            values[id.0 as usize] = Some(match expr.op {
                ScalarOp::Axis(i) => Literal::int(DType::I64, axes[i as usize] as i64),
                ScalarOp::Load(k) => {
                    let array = &self.inputs[k as usize];
                    let position = args.iter().zip(array.shape()).fold(0, |p, (i, &n)| {
                        assert!(
                            (0..n as i64).contains(&i.as_i64()),
                            "operand {k} of shape {:?} is read at {args:?}",
                            array.shape()
                        );
                        p * n + i.as_i64() as usize
                    });
                    array.literal(position)
                }
                op => eval_op(op, &args, expr.dtype),
            });
        }
        ids.iter().map(|id| values[id.0 as usize].expect("roots are reachable")).collect()
    }

    /// Which axes an expression depends on.
    fn depends_on(&self, root: S, axis: usize) -> bool {
        let exprs = self.exprs.borrow();
        exprs.reachable(&[root.id]).into_iter().any(|id| exprs.get(id).op == ScalarOp::Axis(axis as u32))
    }
}

fn points(extents: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..extents.iter().product()).map(|p| unravel(p, extents))
}

fn number(x: Literal) -> f64 {
    x.as_f64()
}

/// The elements of each result, as the lowering gives them.
fn lowered(sample: &Sample, inputs: &[Array], results: &[TensorType]) -> Vec<Vec<f64>> {
    let operands: Vec<TensorType> = sample.inputs.iter().map(|(ty, _)| ty.clone()).collect();
    let exprs = RefCell::new(Exprs::default());
    let machine = Machine { exprs: &exprs, inputs };
    let load = |k: usize, index: &[S]| {
        let ids: Vec<ExprId> = index.iter().map(|i| i.id).collect();
        assert!(index.iter().all(|i| i.dtype() == DType::I64), "indices are i64");
        let id = exprs.borrow_mut().raw(ScalarOp::Load(k as u32), &ids, operands[k].dtype);
        S::of(&exprs, id)
    };
    let Some(first) = results.first() else { return Vec::new() };
    let shape = first.sizes().unwrap();
    let index = machine.axes(&shape);
    let at = |result: usize| Indexing {
        exprs: &exprs,
        op: &sample.op,
        operands: &operands,
        results,
        result,
        index: &index,
        load: &load,
    };
    match sample.op.record().lowering {
        Lowering::Map(rule) => (0..results.len())
            .map(|r| {
                let value = rule(&at(r));
                assert_eq!(value.dtype(), results[r].dtype);
                points(&shape).map(|p| number(machine.eval(&[value], &p)[0])).collect()
            })
            .collect(),
        Lowering::Reduction(rule) => reduction(&machine, rule(&at(0)), &shape),
        Lowering::Contraction(rule) => vec![contraction(&machine, rule(&Indexing { index: &[], ..at(0) }), &shape)],
        Lowering::Scatter(rule) => vec![scatter(&machine, rule(&at(0)), &shape)],
        Lowering::Composite(_) | Lowering::Library | Lowering::Structural => Vec::new(),
    }
}

fn reduction<'a>(machine: &Machine<'a>, rule: Reduction<'a>, shape: &[usize]) -> Vec<Vec<f64>> {
    let extents: Vec<usize> = rule.extents.iter().map(|d| d.get().unwrap()).collect();
    let body = (rule.body)(&machine.axes(&extents));
    let mut results = vec![Vec::new(); rule.kind.results()];
    for p in points(shape) {
        let elements: Vec<Literal> = points(&extents).map(|k| machine.eval(&[body], &[&p[..], &k].concat())[0]).collect();
        for (result, value) in results.iter_mut().zip(reduced(rule.kind, &elements, body.dtype())) {
            result.push(value);
        }
    }
    results
}

fn reduced(kind: ReduceKind, elements: &[Literal], dtype: DType) -> Vec<f64> {
    let x: Vec<f64> = elements.iter().map(|&e| number(e)).collect();
    let extremum = |larger: bool| {
        let better = |a: &f64, b: &f64| if larger { b > a } else { b < a };
        (0..x.len()).reduce(|a, b| if !x[a].is_nan() && (x[b].is_nan() || better(&x[a], &x[b])) { b } else { a })
    };
    let integers =
        |combine: fn(i64, i64) -> i64, first: i64| dtype.wrap(elements.iter().fold(first, |a, e| combine(a, e.as_i64()))) as f64;
    let extremum_or = |larger: bool, empty: f64| extremum(larger).map_or(empty, |i| x[i]);
    match kind {
        ReduceKind::Sum if !dtype.is_float() => vec![integers(i64::wrapping_add, 0)],
        ReduceKind::Prod if !dtype.is_float() => vec![integers(i64::wrapping_mul, 1)],
        ReduceKind::Sum => vec![x.iter().sum()],
        ReduceKind::Prod => vec![x.iter().product()],
        ReduceKind::And => vec![integers(|a, b| a & b, -1)],
        ReduceKind::Or => vec![integers(|a, b| a | b, 0)],
        ReduceKind::Max => vec![extremum_or(true, f64::NEG_INFINITY)],
        ReduceKind::Min => vec![extremum_or(false, f64::INFINITY)],
        // Keys of floats are too large for f64 to tell apart.
        ReduceKind::ArgMax | ReduceKind::ArgMin if !dtype.is_float() => {
            let sign = |i: usize| if kind == ReduceKind::ArgMax { elements[i].as_i64() } else { !elements[i].as_i64() };
            vec![(0..x.len()).reduce(|a, b| if sign(b) > sign(a) { b } else { a }).unwrap() as f64]
        }
        ReduceKind::ArgMax => vec![extremum(true).unwrap() as f64],
        ReduceKind::ArgMin => vec![extremum(false).unwrap() as f64],
        ReduceKind::OnlineSoftmax => {
            let max = extremum_or(true, f64::NEG_INFINITY);
            vec![max, x.iter().map(|v| (v - max).exp()).sum()]
        }
        ReduceKind::Welford => {
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            vec![mean, x.iter().map(|v| (v - mean).powi(2)).sum()]
        }
    }
}

fn contraction<'a>(machine: &Machine<'a>, rule: Contraction<'a>, shape: &[usize]) -> Vec<f64> {
    let axes: Vec<usize> = rule.axes.iter().map(|(d, _)| d.get().unwrap()).collect();
    let extents: Vec<usize> = rule.extents.iter().map(|d| d.get().unwrap()).collect();
    let (point, k) = (machine.axes(&axes), machine.axes(&extents));
    // The axes of the result come first; a contraction does not use them.
    let unused = vec![0; shape.len()];
    let (lhs, rhs, place) = ((rule.lhs)(&point, &k), (rule.rhs)(&point, &k), (rule.place)(&point));
    for (a, (_, role)) in rule.axes.iter().enumerate() {
        assert!(*role != Role::M || !machine.depends_on(rhs, shape.len() + a), "axis {a} is in the left operand only");
        assert!(*role != Role::N || !machine.depends_on(lhs, shape.len() + a), "axis {a} is in the right operand only");
    }
    let mut result = vec![None; shape.iter().product()];
    for p in points(&axes) {
        let place =
            machine.eval(&place, &[&unused[..], &p].concat()).iter().zip(shape).fold(0, |r, (i, &n)| r * n + i.as_i64() as usize);
        assert!(result[place].is_none(), "each element of the result is one point's");
        let product = |k: Vec<usize>| {
            let values = machine.eval(&[lhs, rhs], &[&unused[..], &p, &k].concat());
            number(values[0]) * number(values[1])
        };
        result[place] = Some(points(&extents).map(product).sum());
    }
    result.into_iter().map(|x| x.expect("each element of the result is some point's")).collect()
}

fn scatter<'a>(machine: &Machine<'a>, rule: Scatter<'a>, shape: &[usize]) -> Vec<f64> {
    let extents: Vec<usize> = rule.extents.iter().map(|d| d.get().unwrap()).collect();
    let update = machine.axes(&extents);
    let unused = vec![0; shape.len()];
    let (place, value) = ((rule.place)(&update), (rule.value)(&update));
    let mut result: Vec<f64> = points(shape).map(|p| number(machine.eval(&[rule.initial], &p)[0])).collect();
    for u in points(&extents) {
        let at = [&unused[..], &u].concat();
        let place = machine.eval(&place, &at);
        for (axis, result_axis) in rule.parallel.iter().enumerate() {
            assert!(result_axis.is_none_or(|r| place[r].as_i64() as usize == u[axis]), "update axis {axis} is a result axis");
        }
        let p = place.iter().zip(shape).fold(0, |r, (i, &n)| r * n + i.as_i64() as usize);
        let x = number(machine.eval(&[value], &at)[0]);
        result[p] = match rule.combine {
            None => x,
            Some(ReduceKind::Sum) => result[p] + x,
            Some(ReduceKind::Prod) => result[p] * x,
            Some(ReduceKind::Max) => result[p].max(x),
            Some(ReduceKind::Min) => result[p].min(x),
            Some(other) => panic!("{} does not scatter", other.name()),
        };
    }
    result
}

#[test]
fn lowerings_compute_what_the_references_do() {
    let (mut compared, mut failures) = (0, Vec::new());
    for record in ops::records() {
        let mut samples = Samples::default();
        (record.samples)(&mut samples);
        for sample in &samples.0 {
            let inputs = sample::inputs(sample).unwrap();
            let types: Vec<TensorType> = sample.inputs.iter().map(|(ty, _)| ty.clone()).collect();
            let results = sample.op.infer(&types).unwrap();
            let found = lowered(sample, &inputs, &results);
            if found.is_empty() {
                continue;
            }
            let inputs: Vec<&Array> = inputs.iter().collect();
            let expected = (record.reference)(&Reference { op: &sample.op, inputs: &inputs, results: &results }).unwrap();
            for ((found, expected), ty) in found.iter().zip(&expected).zip(&results) {
                assert_eq!(found.len(), expected.len(), "{}", sample.op);
                let tolerance = ty.dtype.epsilon().max(1e-11) * 8.0;
                for (i, (&f, e)) in found.iter().zip(expected.clone().rounded().to_f64()).enumerate() {
                    let near = f == e || (f.is_nan() && e.is_nan()) || (f - e).abs() <= tolerance * (1.0 + e.abs());
                    compared += 1;
                    if !near {
                        failures.push(format!("{} of {types:?} at {i}: {f:?}, the reference gives {e:?}", sample.op));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(compared > 1000, "{compared} elements were compared");
}
