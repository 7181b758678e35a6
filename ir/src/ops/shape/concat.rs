//! `concat`: tensors one after the other along an axis.

use crate::array::Array;
use crate::dim::Dim;
use crate::op::*;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::ops::{slice, walk};
use crate::scalar::S;
use crate::types::DType;

/// The operands one after the other along `axis`.
pub fn concat(axis: usize) -> Op {
    Op::new(&CONCAT, [Attr::Int(axis as i64)])
}

/// See [`concat()`].
pub static CONCAT: Record = Record {
    name: "concat",
    attrs: &[("axis", AttrKind::Int)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [first, rest @ ..] = operands else {
            return Err(rule.error("needs at least one operand"));
        };
        let axis = rule.axis("axis", first.rank())?;
        let mut shape = first.shape.clone();
        for (i, x) in rest.iter().enumerate() {
            let k = i + 1;
            rule.same_dtype(0, k)?;
            rule.rank(k, first.rank())?;
            for a in (0..shape.len()).filter(|&a| a != axis) {
                let names = (format!("axis {a} of operand 0"), format!("axis {a} of operand {k}"));
                rule.agree("extents of the other axes", (names.0, first.shape[a]), (names.1, x.shape[a]))?;
            }
            shape[axis] = shape[axis] + x.shape[axis];
        }
        one(first.with_shape(shape))
    },
    reference: |r| {
        let (axis, shape) = (r.op.int("axis") as usize, r.results[0].sizes()?);
        let strides = walk::strides(&shape);
        // All operands' elements in one list, and for each element of the result its place there.
        let all = Array::joined(r.inputs);
        let mut source = vec![0; shape.iter().product()];
        let (mut start, mut next) = (0, 0);
        for x in r.inputs {
            for p in walk::positions(x.shape(), start, &strides) {
                source[p] = next;
                next += 1;
            }
            start += strides[axis] * x.shape()[axis] as isize;
        }
        Ok(vec![all.gathered(shape, |i| source[i])])
    },
    lowering: Lowering::Map(element),
    vjp: Vjp::Rule(|v| {
        let (axis, mut start) = (v.op.int("axis") as usize, Dim::ZERO);
        let mut cotangents = Vec::new();
        for x in &v.operands {
            let shape = x.shape();
            let (mut from, mut to) = (vec![Dim::ZERO; shape.len()], shape.to_vec());
            (from[axis], to[axis]) = (start, start + shape[axis]);
            start = to[axis];
            cotangents.push(Some(v.dy(0).unary(slice(&from, &to, &vec![1; shape.len()]))));
        }
        cotangents
    }),
    jvp: Jvp::Linear,
    batch: Batch::Rule(|b| {
        let operands: Vec<_> = (0..b.operands.len()).map(|k| b.batched(k)).collect();
        vec![b.emitter.one(concat(b.op.int("axis") as usize + 1), &operands)]
    }),
    flops: no_flops,
    samples: |s| {
        s.add(concat(0), [normal(DType::F64, [3])]);
        s.add(concat(0), [normal(DType::F64, [2]), normal(DType::F64, [3])]);
        s.add(concat(1), [normal(DType::F64, [2, 1]), normal(DType::F64, [2, 3]), normal(DType::F64, [2, 2])]);
        s.add(concat(1), [normal(DType::F32, [2, 0, 3]), normal(DType::F32, [2, 2, 3]), normal(DType::F32, [2, 0, 3])]);
        s.add(concat(0), [normal(DType::F32, [0, 3]), normal(DType::F32, [0, 3])]);
        s.add(concat(0), [normal(DType::F32, [2, 0]), normal(DType::F32, [1, 0])]);
        s.add(concat(0), [range(DType::I64, [2, 2], -9, 9), range(DType::I64, [1, 2], -9, 9)]);
        s.add(concat(0), [range(DType::Bool, [2], 0, 2), range(DType::Bool, [3], 0, 2)]);
    },
    error_samples: |s| {
        let b = Dim::symbol("B", 1, 8);
        s.add(concat(0), []);
        s.add(concat(1), [normal(DType::F32, [2])]);
        s.add(concat(0), [normal(DType::F32, [2]), normal(DType::F64, [2])]);
        s.add(concat(0), [normal(DType::F32, [2]), normal(DType::F32, [2, 2])]);
        s.add(concat(0), [normal(DType::F32, [2, 3]), normal(DType::F32, [2, 4])]);
        s.add(concat(0), [normal(DType::F32, [2, 3]), symbolic(DType::F32, &[Dim::ONE, b])]);
    },
};

/// A chain of selects over the operands, each read at an index clamped into its bounds.
fn element<'a>(at: &Indexing<'a>) -> S<'a> {
    let axis = at.op.int("axis") as usize;
    let mut parts = Vec::new();
    let mut start = Dim::ZERO;
    for (k, x) in at.operands.iter().enumerate() {
        let extent = x.shape[axis];
        if extent != Dim::ZERO {
            parts.push((k, start, extent));
        }
        start = start + extent;
    }
    let Some(last) = parts.len().checked_sub(1) else {
        return S::literal(at.exprs, at.results[0].dtype, 0.0);
    };
    let mut chain: Option<S<'a>> = None;
    for (i, &(k, start, extent)) in parts.iter().enumerate().rev() {
        let mut index = at.index.to_vec();
        if start != Dim::ZERO {
            index[axis] = index[axis] - at.extent(start);
        }
        if i != last {
            index[axis] = index[axis].min(at.extent(extent - 1));
        }
        if i != 0 || extent.at_least(Dim::ONE) != Some(true) {
            index[axis] = index[axis].max(at.int(0));
        }
        let element = at.load(k, &index);
        chain = Some(match chain {
            None => element,
            Some(rest) => at.index[axis].lt(at.extent(start + extent)).select(element, rest),
        });
    }
    chain.expect("there is a last part")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::map_text;
    use crate::types::TensorType;

    #[test]
    fn a_chain_of_selects_over_parts_that_have_elements() {
        let parts = [3, 0, 2].map(|n: usize| TensorType::new(DType::F32, [n]));
        assert_eq!(map_text(&concat(0), &parts), "y[i] = select(i < 3, a[min(i, 2)], c[max(i - 3, 0)])");
    }
}
