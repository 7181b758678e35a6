//! Numbers of half types and bytes made single precision: what packs operands of dots.

use igneous_ir::types::DType;
use std::sync::OnceLock;

/// How numbers of a narrow type are converted.
#[derive(Clone, Copy)]
pub(crate) struct Widen {
    /// Bytes of a number.
    pub size: isize,
    /// Converts `count` neighbours.
    pub run: Run,
}

/// # Safety
/// `from` and `to` have as many elements, and do not overlap.
type Run = unsafe fn(from: *const u8, to: *mut f32, count: usize);

/// What converts numbers of a half type or `i8`.
pub(crate) fn widening(dtype: DType) -> Widen {
    Widen { size: dtype.size() as isize, run: run(dtype) }
}

fn run(dtype: DType) -> Run {
    #[cfg(target_arch = "x86_64")]
    {
        static FAST: OnceLock<bool> = OnceLock::new();
        if *FAST.get_or_init(|| std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("f16c")) {
            return match dtype {
                DType::F16 => x86::widen_f16,
                DType::BF16 => x86::widen_bf16,
                _ => x86::widen_bytes,
            };
        }
    }
    match dtype {
        DType::F16 => widen_each_f16,
        DType::BF16 => widen_each_bf16,
        _ => widen_each_byte,
    }
}

/// # Safety
/// As [`Run`].
#[inline(always)]
unsafe fn widen_each_byte(from: *const u8, to: *mut f32, count: usize) {
    for i in 0..count {
        // SAFETY: by the caller.
        unsafe { *to.add(i) = f32::from(*from.add(i) as i8) };
    }
}

/// # Safety
/// As [`Run`].
unsafe fn widen_each_f16(from: *const u8, to: *mut f32, count: usize) {
    for i in 0..count {
        // SAFETY: by the caller.
        unsafe { *to.add(i) = half::f16::from_bits(from.cast::<u16>().add(i).read_unaligned()).to_f32() };
    }
}

/// # Safety
/// As [`Run`].
#[inline(always)]
unsafe fn widen_each_bf16(from: *const u8, to: *mut f32, count: usize) {
    for i in 0..count {
        // SAFETY: by the caller.
        unsafe { *to.add(i) = f32::from_bits(u32::from(from.cast::<u16>().add(i).read_unaligned()) << 16) };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{_mm_loadu_si128, _mm256_cvtph_ps, _mm256_storeu_ps};

    /// # Safety
    /// As [`Run`](super::Run), and the CPU has AVX2 and F16C.
    #[target_feature(enable = "avx2,f16c")]
    pub(super) unsafe fn widen_f16(from: *const u8, to: *mut f32, count: usize) {
        let whole = count / 8 * 8;
        for i in (0..whole).step_by(8) {
            // SAFETY: by the caller, there are eight elements more.
            unsafe { _mm256_storeu_ps(to.add(i), _mm256_cvtph_ps(_mm_loadu_si128(from.add(2 * i).cast()))) };
        }
        // SAFETY: by the caller.
        unsafe { super::widen_each_f16(from.add(2 * whole), to.add(whole), count - whole) };
    }

    /// # Safety
    /// As [`Run`](super::Run), and the CPU has AVX2.
    #[target_feature(enable = "avx2,f16c")]
    pub(super) unsafe fn widen_bf16(from: *const u8, to: *mut f32, count: usize) {
        // SAFETY: by the caller. The compiler makes vectors of it.
        unsafe { super::widen_each_bf16(from, to, count) };
    }

    /// # Safety
    /// As [`Run`](super::Run), and the CPU has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn widen_bytes(from: *const u8, to: *mut f32, count: usize) {
        // SAFETY: by the caller. The compiler makes vectors of it.
        unsafe { super::widen_each_byte(from, to, count) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_converted_exactly() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let expected: [fn(u16) -> f32; 2] = [|b| half::f16::from_bits(b).to_f32(), |b| half::bf16::from_bits(b).to_f32()];
        for (dtype, expected) in [DType::F16, DType::BF16].into_iter().zip(expected) {
            for count in [0, 1, 7, 8, 9, 65536] {
                let mut found = vec![7f32; count + 1];
                // SAFETY: both have `count` elements.
                unsafe { (widening(dtype).run)(bits.as_ptr().cast(), found.as_mut_ptr(), count) };
                let same = |(&b, &f): (&u16, &f32)| f == expected(b) || f.is_nan() && expected(b).is_nan();
                assert!(bits.iter().zip(&found[..count]).all(same), "{dtype} {count}");
                assert_eq!(found[count], 7.0);
            }
        }
        let bytes: Vec<i8> = (i8::MIN..=i8::MAX).collect();
        let mut found = [7f32; 257];
        // SAFETY: both have as many elements.
        unsafe { (widening(DType::I8).run)(bytes.as_ptr().cast(), found.as_mut_ptr(), 256) };
        assert!(bytes.iter().zip(&found).all(|(&b, &f)| f == f32::from(b)) && found[256] == 7.0);
    }
}
