//! `e^x`, by the polynomial of [`igneous_ir::math`]: at most 2 units in the last place, subnormal results included.

use super::simd::Simd;
use igneous_ir::math::{EXP_SINGLE, LN_2_SINGLE};
use std::f32::consts::LOG2_E;

/// `1.5 · 2^23`: the last bit of numbers of about this size is worth one.
const MAGIC: f32 = 12_582_912.0;

/// `e^x` of numbers that are not above 0; NaN of NaN.
///
/// # Safety
/// The CPU has the features of `S`.
#[inline(always)]
pub(super) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    const P: [f32; 6] = single(EXP_SINGLE);
    const LN_2: [f32; 2] = single(LN_2_SINGLE);
    // SAFETY: by the caller.
    unsafe {
        // Just below, the result is 0.
        let x = S::max(S::set(-104.0), x);
        let n = S::sub(S::fma(x, S::set(LOG2_E), S::set(MAGIC)), S::set(MAGIC));
        let r = S::fma(n, S::set(-LN_2[1]), S::fma(n, S::set(-LN_2[0]), x));
        let mut p = S::set(P[5]);
        for &c in P[..5].iter().rev() {
            p = S::fma(p, r, S::set(c));
        }
        let e = S::add(S::fma(S::mul(r, r), p, r), S::set(1.0));
        S::scale(e, n)
    }
}

const fn single<const N: usize>(of: [f64; N]) -> [f32; N] {
    let mut rounded = [0.0; N];
    let mut i = 0;
    while i < N {
        rounded[i] = of[i] as f32;
        i += 1;
    }
    rounded
}
