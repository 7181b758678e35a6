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

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "x86_64")]
    use super::super::simd::{Avx2, Avx512};
    use super::super::simd::{Portable, Simd};

    /// The exponentials of one vector.
    ///
    /// # Safety
    /// As [`super::exp`]; there are as many numbers as lanes.
    #[inline(always)]
    unsafe fn vector<S: Simd>(x: &[f32; 16], y: &mut [f32; 16]) {
        for at in (0..16).step_by(S::LANES) {
            // SAFETY: by the caller.
            unsafe { S::store(y.as_mut_ptr().add(at), super::exp::<S>(S::load(x.as_ptr().add(at)))) };
        }
    }

    unsafe fn portable(x: &[f32; 16], y: &mut [f32; 16]) {
        // SAFETY: every CPU has its features.
        unsafe { vector::<Portable>(x, y) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2(x: &[f32; 16], y: &mut [f32; 16]) {
        // SAFETY: by the caller.
        unsafe { vector::<Avx2>(x, y) }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,avx512f,avx512vl")]
    unsafe fn avx512(x: &[f32; 16], y: &mut [f32; 16]) {
        // SAFETY: by the caller.
        unsafe { vector::<Avx512>(x, y) }
    }

    /// The distance in units of the last place of the correctly rounded result.
    fn distance(found: f32, x: f32) -> f64 {
        let exact = f64::from(x).exp();
        let unit = f64::from((exact as f32).next_up() - exact as f32);
        (f64::from(found) - exact).abs() / unit
    }

    #[test]
    fn every_width_is_within_two_units() {
        type Width = unsafe fn(&[f32; 16], &mut [f32; 16]);
        #[allow(unused_mut)] // where there is only one width
        let mut widths: Vec<(&str, Width)> = vec![("portable", portable)];
        #[cfg(target_arch = "x86_64")]
        {
            let has = super::super::available().len();
            widths.extend([("avx2", avx2 as Width), ("avx512", avx512)].into_iter().take(has - 1));
        }
        for (name, width) in widths {
            let mut worst = 0.0f64;
            // From -0 to beyond where the result is 0, a few of each binade.
            for first in (0x8000_0000u32..0xc2f0_0000).step_by(16 * 4099) {
                let x: [f32; 16] = std::array::from_fn(|i| f32::from_bits(first + 4099 * i as u32));
                let mut y = [0.0; 16];
                // SAFETY: the CPU has the features.
                unsafe { width(&x, &mut y) };
                x.iter().zip(y).for_each(|(&x, y)| worst = worst.max(distance(y, x)));
            }
            assert!(worst <= 2.0, "{name}: {worst} units");
            let (x, mut y) = ([f32::NAN, f32::NEG_INFINITY, -1e30, -0.0].repeat(4), [1.0; 16]);
            // SAFETY: the CPU has the features.
            unsafe { width(x[..].try_into().expect("there are 16"), &mut y) };
            assert!(y[0].is_nan() && y[1..4] == [0.0, 0.0, 1.0], "{name}: {y:?}");
        }
    }
}
