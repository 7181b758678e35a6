//! The discrete Fourier transform.

use crate::array::{Array, unravel};
use crate::dim::Dim;
use crate::op::*;
use crate::ops::fold::Total;
use crate::ops::inputs::*;
use crate::ops::type_rule::*;
use crate::types::DType;
use std::f64::consts::TAU;

/// The records of this family.
pub static FOURIER: &[&Record] = &[&FFT];

/// `y[k] = Σ x[j] · e^(∓2πi·jk/n)` along `axis` (`+` if `inverse`), without a factor. The last axis holds real and imaginary part
/// of each number: its extent is 2, and it is not `axis`.
pub fn fft(axis: usize, inverse: bool) -> Op {
    Op::new(&FFT, [Attr::Int(axis as i64), Attr::Bool(inverse)])
}

/// See [`fft`].
pub static FFT: Record = Record {
    name: "fft",
    attrs: &[("axis", AttrKind::Int), ("inverse", AttrKind::Bool)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [x] = rule.operands()?;
        rule.ensure(matches!(x.dtype, DType::F32 | DType::F64), || {
            format!("needs elements of type f32 or f64, not {}", x.dtype)
        })?;
        let pairs = x.shape.last() == Some(&Dim::constant(2));
        rule.ensure(pairs, || "needs real and imaginary parts along a last axis of extent 2".into())?;
        rule.axis("axis", x.rank() - 1)?;
        one(x.clone())
    },
    reference: |r| {
        let (x, axis, shape) = (r.inputs[0], r.op.int("axis") as usize, r.results[0].sizes()?);
        let n = shape[axis];
        let stride: usize = shape[axis + 1..].iter().product();
        let sign = if r.op.bool("inverse") { 1.0 } else { -1.0 };
        let element = |i: usize| {
            let index = unravel(i, &shape);
            let (k, part) = (index[axis], i % 2);
            let first = i - part - k * stride;
            let mut sum = Total::default();
            for j in 0..n {
                let angle = sign * TAU * ((j * k) % n) as f64 / n as f64;
                let (re, im) = (x.f(first + j * stride), x.f(first + j * stride + 1));
                let (cosine, sine) = (libm::cos(angle), libm::sin(angle));
                sum.add(if part == 0 { re * cosine } else { re * sine });
                sum.add(if part == 0 { -im * sine } else { im * cosine });
            }
            sum.value()
        };
        let count = shape.iter().product();
        let values = (0..count).map(element).collect();
        Ok(vec![Array::floats(x.dtype(), shape.clone(), values)])
    },
    lowering: Lowering::Library,
    vjp: Vjp::Rule(|v| vec![Some(v.dy(0).unary(fft(v.op.int("axis") as usize, !v.op.bool("inverse"))))]),
    jvp: Jvp::Linear,
    batch: Batch::Rule(|b| {
        let axis = b.op.int("axis") + 1;
        vec![b.emitter.one(b.op.with_attr("axis", Attr::Int(axis)), &[b.batched(0)])]
    }),
    flops: |_, operands, _| operands[0].elements() * Dim::constant(30),
    samples: |s| {
        for inverse in [false, true] {
            s.add(fft(0, inverse), [normal(DType::F64, [5, 2])]);
            s.add(fft(1, inverse), [normal(DType::F64, [2, 4, 3, 2])]);
            s.add(fft(1, inverse), [normal(DType::F32, [3, 16, 2])]);
            s.add(fft(0, inverse), [normal(DType::F32, [1, 2])]);
            s.add(fft(0, inverse), [normal(DType::F32, [0, 2])]);
        }
    },
    error_samples: |s| {
        s.add(fft(0, false), [normal(DType::F32, [5])]);
        s.add(fft(1, false), [normal(DType::F32, [5, 2])]);
        s.add(fft(0, false), [normal(DType::F16, [5, 2])]);
        s.add(fft(0, false), []);
    },
};
