//! `transpose`: axes in another order.

use crate::op::*;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::ops::walk;
use crate::types::DType;

/// Axes in another order: axis `i` of the result is axis `permutation[i]` of the operand.
pub fn transpose(permutation: &[usize]) -> Op {
    Op::new(&TRANSPOSE, [axes_attr(permutation)])
}

/// See [`transpose`].
pub static TRANSPOSE: Record = Record {
    name: "transpose",
    attrs: &[("permutation", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        let permutation = rule.distinct_axes("permutation", x.rank(), "the operand")?;
        rule.ensure(permutation.len() == x.rank(), || {
            format!("needs each axis of the operand, {}, in `permutation` and was given {}", x.rank(), permutation.len())
        })?;
        one(x.with_shape(permutation.iter().map(|&p| x.shape[p])))
    },
    reference: |r| {
        let (x, shape) = (r.inputs[0], r.results[0].sizes()?);
        let own = walk::strides(x.shape());
        let strides: Vec<isize> = r.op.axes("permutation").iter().map(|&p| own[p]).collect();
        let source = walk::positions(&shape, 0, &strides);
        Ok(vec![x.gathered(shape, |i| source[i])])
    },
    lowering: Lowering::Map(|at| {
        let inverse = inverse(&at.op.axes("permutation"));
        let index: Vec<_> = inverse.iter().map(|&i| at.index[i]).collect();
        at.load(0, &index)
    }),
    vjp: Vjp::Rule(|v| vec![Some(v.dy(0).transpose(&inverse(&v.op.axes("permutation"))))]),
    jvp: Jvp::Linear,
    batch: Batch::Rule(|b| {
        let permutation = [&[0], &behind_batch(&b.op.axes("permutation"))[..]].concat();
        vec![b.operands[0].transpose(&permutation)]
    }),
    flops: no_flops,
    samples: |s| {
        s.add(transpose(&[]), [normal(DType::F64, [])]);
        s.add(transpose(&[1, 0]), [normal(DType::F64, [2, 3])]);
        s.add(transpose(&[2, 0, 1]), [normal(DType::F64, [2, 3, 4])]);
        s.add(transpose(&[0, 2, 1, 3]), [normal(DType::F32, [2, 3, 1, 4])]);
        s.add(transpose(&[1, 0]), [normal(DType::F32, [0, 3])]);
        s.add(transpose(&[1, 0]), [range(DType::I64, [3, 2], -9, 9)]);
        s.add(transpose(&[1, 0]), [range(DType::Bool, [3, 2], 0, 2)]);
    },
    error_samples: |s| {
        s.add(transpose(&[0, 1]), [normal(DType::F32, [2, 3]), normal(DType::F32, [2, 3])]);
        s.add(transpose(&[0]), [normal(DType::F32, [2, 3])]);
        s.add(transpose(&[1, 1]), [normal(DType::F32, [2, 3])]);
        s.add(transpose(&[0, 2]), [normal(DType::F32, [2, 3])]);
    },
};

/// The permutation that undoes `permutation`.
pub(crate) fn inverse(permutation: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; permutation.len()];
    for (i, &p) in permutation.iter().enumerate() {
        inverse[p] = i;
    }
    inverse
}
