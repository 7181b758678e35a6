//! `flip`: axes in reverse.

use crate::op::*;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::ops::walk;
use crate::types::DType;

/// The operand with the order along each of `axes` (increasing) reversed.
pub fn flip(axes: &[usize]) -> Op {
    Op::new(&FLIP, [axes_attr(axes)])
}

/// See [`flip`].
pub static FLIP: Record = Record {
    name: "flip",
    attrs: &[("axes", AttrKind::Ints)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        rule.sorted_axes("axes", x.rank(), "the operand")?;
        one(x.clone())
    },
    reference: |r| {
        let x = r.inputs[0];
        let (mut start, mut strides) = (0, walk::strides(x.shape()));
        for &a in &r.op.axes("axes") {
            start += strides[a] * (x.shape()[a] as isize - 1);
            strides[a] = -strides[a];
        }
        let source = walk::positions(x.shape(), start, &strides);
        Ok(vec![x.gathered(x.shape(), |i| source[i])])
    },
    lowering: Lowering::Map(|at| {
        let mut index = at.index.to_vec();
        for &a in &at.op.axes("axes") {
            index[a] = at.extent(at.operands[0].shape[a] - 1) - index[a];
        }
        at.load(0, &index)
    }),
    vjp: Vjp::Rule(|v| vec![Some(v.dy(0).unary(v.op.clone()))]),
    jvp: Jvp::Linear,
    batch: Batch::Rule(|b| vec![b.operands[0].unary(flip(&behind_batch(&b.op.axes("axes"))))]),
    flops: no_flops,
    samples: |s| {
        s.add(flip(&[]), [normal(DType::F64, [])]);
        s.add(flip(&[0]), [normal(DType::F64, [5])]);
        s.add(flip(&[0, 2]), [normal(DType::F64, [2, 3, 4])]);
        s.add(flip(&[1]), [normal(DType::F32, [3, 1])]);
        s.add(flip(&[0]), [normal(DType::F32, [0, 2])]);
        s.add(flip(&[1]), [range(DType::I64, [2, 3], -9, 9)]);
        s.add(flip(&[0]), [range(DType::Bool, [5], 0, 2)]);
    },
    error_samples: |s| {
        s.add(flip(&[0]), []);
        s.add(flip(&[2]), [normal(DType::F32, [2, 3])]);
        s.add(flip(&[0, 0]), [normal(DType::F32, [2, 3])]);
        s.add(flip(&[1, 0]), [normal(DType::F32, [2, 3])]);
    },
};
