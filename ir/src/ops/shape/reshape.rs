//! `reshape`: the same elements with other axes.

use crate::dim::Dim;
use crate::op::*;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::scalar::{S, ScalarOp};
use crate::types::{DType, Shape};
use std::ops::Range;

/// The same elements in row-major order with another shape.
pub fn reshape(shape: Shape) -> Op {
    Op::new(&RESHAPE, [Attr::Dims(shape)])
}

/// See [`reshape`].
pub static RESHAPE: Record = Record {
    name: "reshape",
    attrs: &[("shape", AttrKind::Dims)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        let result = x.with_shape(rule.all_extents("shape")?);
        rule.agree("numbers of elements", ("the operand's", x.elements()), ("the result's", result.elements()))?;
        one(result)
    },
    reference: |r| Ok(vec![r.inputs[0].clone().reshaped(r.results[0].sizes()?)]),
    lowering: Lowering::Map(|at| {
        let index = operand_index(at, &at.operands[0].shape, &at.results[0].shape);
        at.load(0, &index)
    }),
    vjp: Vjp::Rule(|v| vec![Some(v.dy(0).reshape(v.x(0).shape()))]),
    jvp: Jvp::Linear,
    batch: Batch::Rule(|b| vec![b.operands[0].reshape([&[b.extent], b.op.dims("shape")].concat())]),
    flops: no_flops,
    samples: |s| {
        s.add(reshape(shape([])), [normal(DType::F64, [1, 1])]);
        s.add(reshape(shape([1])), [normal(DType::F32, [])]);
        s.add(reshape(shape([2, 12])), [normal(DType::F64, [2, 3, 4])]);
        s.add(reshape(shape([2, 3, 4])), [normal(DType::F64, [2, 12])]);
        s.add(reshape(shape([4, 6])), [normal(DType::F64, [6, 4])]);
        s.add(reshape(shape([2, 1, 6, 5])), [normal(DType::F32, [2, 3, 1, 2, 5])]);
        s.add(reshape(shape([0, 5])), [normal(DType::F32, [3, 0])]);
        s.add(reshape(shape([6])), [range(DType::I64, [2, 3], -9, 9)]);
        s.add(reshape(shape([3, 2])), [range(DType::Bool, [6], 0, 2)]);
    },
    error_samples: |s| {
        let (b, t) = (Dim::symbol("B", 1, 8), Dim::symbol("T", 1, 8));
        s.add(reshape(shape([6])), []);
        s.add(reshape(shape([5])), [normal(DType::F32, [2, 3])]);
        s.add(reshape(Shape::from_iter([t, Dim::from(3)])), [symbolic(DType::F32, &[b, Dim::from(3)])]);
        s.add(reshape(Shape::from_iter([Dim::INVALID])), [normal(DType::F32, [2, 3])]);
    },
};

/// The index in the operand of the element at `at.index` of the result.
fn operand_index<'a>(at: &Indexing<'a>, operand: &[Dim], result: &[Dim]) -> Vec<S<'a>> {
    let mut index = Vec::with_capacity(operand.len());
    for (from, to) in equal_runs(operand, result) {
        if from.is_empty() {
            continue;
        }
        let mut position = None;
        for i in to.clone().filter(|&i| result[i] != Dim::ONE) {
            position = Some(match position {
                None => at.index[i],
                Some(outer) => outer * at.extent(result[i]) + at.index[i],
            });
        }
        let mut position = position.unwrap_or(at.int(0));
        let mut reversed = Vec::with_capacity(from.len());
        let outermost = from.clone().find(|&i| operand[i] != Dim::ONE);
        for i in from.rev() {
            if operand[i] == Dim::ONE {
                reversed.push(at.int(0));
            } else if Some(i) == outermost {
                reversed.push(position);
            } else {
                let extent = at.extent(operand[i]);
                reversed.push(position.binary(ScalarOp::Rem, extent));
                position = position / extent;
            }
        }
        index.extend(reversed.into_iter().rev());
    }
    index
}

/// Cuts two shapes with equally many elements into runs of axes with equally many, the shortest that there are,
/// so that an index is split or joined only where it must be.
fn equal_runs(operand: &[Dim], result: &[Dim]) -> Vec<(Range<usize>, Range<usize>)> {
    let (mut i, mut j) = (0, 0);
    let mut runs = Vec::new();
    while i < operand.len() || j < result.len() {
        let rest = (operand.len() - i, result.len() - j);
        let lengths = (1..rest.0 + rest.1).flat_map(|total| (0..=total.min(rest.0)).map(move |m| (m, total - m)));
        let equal = |&(m, n): &(usize, usize)| {
            n <= rest.1 && operand[i..i + m].iter().copied().product::<Dim>() == result[j..j + n].iter().copied().product::<Dim>()
        };
        let (m, n) = lengths.into_iter().find(equal).unwrap_or(rest);
        runs.push((i..i + m, j..j + n));
        (i, j) = (i + m, j + n);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::map_text;
    use crate::types::TensorType;

    fn text(from: &[Dim], to: &[Dim]) -> String {
        map_text(&reshape(to.into()), &[TensorType::new(DType::F32, from)])
    }

    #[test]
    fn an_index_is_split_and_joined_only_where_it_must_be() {
        let n = |extents: &[usize]| extents.iter().map(|&n| Dim::from(n)).collect::<Vec<_>>();
        let constant = |from: &[usize], to: &[usize]| text(&n(from), &n(to));
        assert_eq!(constant(&[64, 28, 28], &[64, 784]), "y[i, j] = a[i, j / 28, j % 28]");
        assert_eq!(constant(&[64, 784], &[64, 28, 28]), "y[i, j, k] = a[i, j * 28 + k]");
        assert_eq!(constant(&[2, 3, 4], &[6, 2, 2]), "y[i, j, k] = a[i / 3, i % 3, j * 2 + k]");
        assert_eq!(constant(&[1, 5, 1], &[5, 1, 1]), "y[i, j, k] = a[0, i, 0]");
        assert_eq!(constant(&[6, 4], &[4, 6]), "let t1 = i * 6 + j; y[i, j] = a[t1 / 4, t1 % 4]");
        let b = Dim::symbol("B", 1, 64);
        assert_eq!(text(&[b, Dim::from(4), Dim::from(3)], &[b * 4, Dim::from(3)]), "y[i, j] = a[i / 4, i % 4, j]");
    }
}
