//! Discrete Fourier transforms, by `rustfft`.

use super::lines::{Lines, Written};
use super::{Arguments, no_type};
use crate::buffer::Element;
use igneous_ir::error::Result;
use igneous_ir::types::DType;
use rustfft::num_complex::Complex;
use rustfft::{FftNum, FftPlanner};

/// `fft`: the transform of each line of pairs (real and imaginary part), without a factor.
pub(super) fn fft(a: &mut Arguments) -> Result<()> {
    match a.layout(0).dtype {
        DType::F64 => transform::<f64>(a),
        DType::F32 => transform::<f32>(a),
        other => Err(no_type(a.op, other)),
    }
}

fn transform<T: Element + FftNum>(a: &mut Arguments) -> Result<()> {
    let shape = &a.layout(0).shape;
    // The pairs are elements: the last axis is no axis here.
    let lines = Lines::new(&shape[..shape.len() - 1], a.op.int("axis") as usize);
    let inverse = a.op.bool("inverse");
    let (x, y) = a.operand_and_result::<T, T>(0, 0)?;
    if lines.length == 0 {
        return Ok(());
    }
    let mut planner = FftPlanner::<T>::new();
    let plan = if inverse { planner.plan_fft_inverse(lines.length) } else { planner.plan_fft_forward(lines.length) };
    let zero = Complex::new(T::zero(), T::zero());
    let y = Written::new(y);
    lines.share(|range| {
        let mut buffer = vec![zero; lines.length];
        let mut scratch = vec![zero; plan.get_inplace_scratch_len()];
        for line in range {
            for (c, p) in buffer.iter_mut().zip(lines.places(line)) {
                *c = Complex::new(x[2 * p], x[2 * p + 1]);
            }
            plan.process_with_scratch(&mut buffer, &mut scratch);
            for (c, p) in buffer.iter().zip(lines.places(line)) {
                // SAFETY: the lines of a task are no other's.
                unsafe {
                    y.set(2 * p, c.re);
                    y.set(2 * p + 1, c.im);
                }
            }
        }
    });
    Ok(())
}
