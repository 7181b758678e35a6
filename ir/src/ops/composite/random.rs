//! `random_uniform` and `random_normal`: random floats, drawn and converted in one kernel.

use crate::array::Array;
use crate::emit::{Emitter, X};
use crate::op::*;
use crate::ops::inputs::shape;
use crate::ops::random::check_state;
use crate::ops::type_rule::*;
use crate::ops::{RANDOM_BITS, pointwise, random_bits, shift_right};
use crate::types::{DType, Literal, Shape, TensorType};
use std::f64::consts::TAU;

/// How many different numbers there are in `[0, 1)`.
const STEPS: f64 = (1 << 24) as f64;

/// Uniform random numbers in `[0, 1)`, `f32`: the upper 24 of the bits that [`random_bits`] draws, as a fraction. The operand is
/// the state, `i64[2]`.
pub fn random_uniform(shape: Shape) -> Op {
    Op::new(&RANDOM_UNIFORM, [Attr::Dims(shape)])
}

/// Normal random numbers with mean 0 and variance 1, `f32`. The operands are two states of [`random_bits`], `i64[2]`: those of the
/// radius and of the angle. Box & Muller 1958, "A note on the generation of random normal deviates".
pub fn random_normal(shape: Shape) -> Op {
    Op::new(&RANDOM_NORMAL, [Attr::Dims(shape)])
}

/// The type of an operator that draws once from each of `N` states.
fn infer<const N: usize>(op: &Op, operands: &[TensorType]) -> crate::Result<Types> {
    let rule = TypeRule::new(op, operands);
    let states: &[TensorType; N] = rule.operands()?;
    states.iter().enumerate().try_for_each(|(operand, state)| check_state(rule, operand, state))?;
    one(TensorType::new(DType::F32, rule.all_extents("shape")?))
}

/// The fractions that an operand's bits are.
fn fractions(r: &Reference<'_>, operand: usize) -> crate::Result<Vec<f64>> {
    let bits = r.results[0].with_dtype(DType::U32);
    let op = random_bits(bits.shape.clone());
    let inputs = &r.inputs[operand..=operand];
    let bits = (RANDOM_BITS.reference)(&Reference { op: &op, inputs, results: &[bits] })?.remove(0);
    Ok((0..bits.len()).map(|i| (bits.i(i) >> 8) as f64 / STEPS).collect())
}

fn uniform<'b, 'e>(emitter: &'b Emitter<'e>, op: &Op, state: X<'b, 'e>) -> X<'b, 'e> {
    let bits = emitter.one(random_bits(op.dims("shape").into()), &[state]);
    bits.binary(shift_right(), emitter.scalar(Literal::int(DType::U32, 8))).cast(DType::F32) * STEPS.recip()
}

const ATTRIBUTES: &[(&str, AttrKind)] = &[("shape", AttrKind::Dims)];

/// See [`random_uniform`].
pub static RANDOM_UNIFORM: Record = Record {
    name: "random_uniform",
    attrs: ATTRIBUTES,
    infer: infer::<1>,
    reference: |r| {
        let drawn = fractions(r, 0)?;
        Ok(vec![Array::from_fn_f64(DType::F32, r.results[0].sizes()?, |i| drawn[i])])
    },
    lowering: Lowering::Composite(|emitter, op, operands| vec![uniform(emitter, op, operands[0])]),
    vjp: Vjp::Zero,
    jvp: Jvp::Zero,
    batch: Batch::Decomposition,
    flops: |_, _, results| results[0].elements() * 62usize,
    samples: |s| samples(s, random_uniform, 1),
    error_samples: |s| error_samples(s, random_uniform, 1),
};

/// See [`random_normal`].
pub static RANDOM_NORMAL: Record = Record {
    name: "random_normal",
    attrs: ATTRIBUTES,
    infer: infer::<2>,
    reference: |r| {
        let (radii, angles) = (fractions(r, 0)?, fractions(r, 1)?);
        // The full turn of single precision.
        let turn = f64::from(TAU as f32);
        let value = |i: usize| (-2.0 * (1.0 - radii[i]).ln()).sqrt() * (angles[i] * turn).cos();
        Ok(vec![Array::from_fn_f64(DType::F32, r.results[0].sizes()?, value)])
    },
    lowering: Lowering::Composite(|emitter, op, operands| {
        let (radius, angle) = (uniform(emitter, op, operands[0]), uniform(emitter, op, operands[1]));
        // 1 − u is in (0, 1], where the logarithm is finite.
        let radius = ((radius.lit(1.0) - radius).log() * -2.0).sqrt();
        vec![radius * (angle * TAU).unary(pointwise("cos"))]
    }),
    vjp: Vjp::Zero,
    jvp: Jvp::Zero,
    batch: Batch::Decomposition,
    flops: |_, _, results| results[0].elements() * 170usize,
    samples: |s| samples(s, random_normal, 2),
    error_samples: |s| error_samples(s, random_normal, 2),
};

fn samples(s: &mut Samples, op: fn(Shape) -> Op, states: usize) {
    for extents in [&[][..], &[1], &[11], &[2, 3, 35], &[3, 0]] {
        let any = || (TensorType::new(DType::I64, [2]), Fill::Range(0, 1 << 40));
        s.add(op(shape(extents.iter().copied())), (0..states).map(|_| any()));
    }
}

fn error_samples(s: &mut Samples, op: fn(Shape) -> Op, states: usize) {
    for (dtype, extents) in [(DType::I32, &[2][..]), (DType::I64, &[3]), (DType::I64, &[])] {
        let state = || (TensorType::new(dtype, shape(extents.iter().copied())), Fill::Range(0, 9));
        s.add(op(shape([4])), (0..states).map(|_| state()));
    }
    s.add(op(shape([4])), []);
}
