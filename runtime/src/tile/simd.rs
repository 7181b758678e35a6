//! Vectors of `f32`, one type for each width.

/// A vector type. Functions are inlined into those that enable the CPU's features.
///
/// # Safety
/// The functions may be called only on a CPU with the features of the type.
pub(super) trait Simd: Copy {
    /// A vector.
    type V: Copy;
    /// Which lanes of a vector are in memory.
    type Mask: Copy;
    /// Elements of a vector.
    const LANES: usize;

    /// All zeros.
    unsafe fn zero() -> Self::V;
    /// The mask of the first `count` lanes, at most all of them.
    unsafe fn first(count: usize) -> Self::Mask;
    /// # Safety
    /// The elements at `from` lie in live memory.
    unsafe fn load(from: *const f32) -> Self::V;
    /// The lanes of the mask, zeros elsewhere.
    ///
    /// # Safety
    /// The elements of the mask lie in live memory.
    unsafe fn load_masked(from: *const f32, mask: Self::Mask) -> Self::V;
    /// The element in all lanes.
    ///
    /// # Safety
    /// The element lies in live memory.
    unsafe fn splat(from: *const f32) -> Self::V;
    /// A number in all lanes.
    unsafe fn set(x: f32) -> Self::V;
    /// `a·b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// The larger; `b` where either is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `x · 2^n` for whole numbers `n` from -252 to 254.
    unsafe fn scale(x: Self::V, n: Self::V) -> Self::V;
    /// The lanes of `a` in the mask, those of `b` elsewhere.
    unsafe fn blend(mask: Self::Mask, a: Self::V, b: Self::V) -> Self::V;
    /// The lanes of `then` where `a < b`, those of `otherwise` elsewhere.
    unsafe fn below(a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V;
    /// The lanes of `a` where `flags` is not zero, those of `b` elsewhere.
    unsafe fn choose(flags: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// # Safety
    /// The elements at `to` lie in live memory that is this call's to write.
    unsafe fn store(to: *mut f32, v: Self::V);
    /// # Safety
    /// The elements of the mask at `to` lie in live memory that is this call's to write.
    unsafe fn store_masked(to: *mut f32, mask: Self::Mask, v: Self::V);
    /// The sum of the lanes, in an order of its own.
    unsafe fn sum(v: Self::V) -> f32;
}

/// Eight lanes in plain Rust.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Simd for Portable {
    type V = [f32; 8];
    type Mask = usize;
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn zero() -> [f32; 8] {
        [0.0; 8]
    }

    #[inline(always)]
    unsafe fn first(count: usize) -> usize {
        count.min(8)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 8] {
        // SAFETY: by the caller.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: usize) -> [f32; 8] {
        // SAFETY: by the caller.
        std::array::from_fn(|i| if i < mask { unsafe { *from.add(i) } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn splat(from: *const f32) -> [f32; 8] {
        // SAFETY: by the caller.
        [unsafe { *from }; 8]
    }

    #[inline(always)]
    unsafe fn set(x: f32) -> [f32; 8] {
        [x; 8]
    }

    #[inline(always)]
    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn sub(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] - b[i])
    }

    #[inline(always)]
    unsafe fn mul(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn max(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn scale(x: [f32; 8], n: [f32; 8]) -> [f32; 8] {
        let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
        // Two factors, so that only the last product rounds to a subnormal number.
        std::array::from_fn(|i| {
            let n = n[i] as i32;
            x[i] * power(n >> 1) * power(n - (n >> 1))
        })
    }

    #[inline(always)]
    unsafe fn blend(mask: usize, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if i < mask { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn below(a: [f32; 8], b: [f32; 8], then: [f32; 8], otherwise: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if a[i] < b[i] { then[i] } else { otherwise[i] })
    }

    #[inline(always)]
    unsafe fn choose(flags: [f32; 8], a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| if flags[i] != 0.0 { a[i] } else { b[i] })
    }

    #[inline(always)]
    unsafe fn fma(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: [f32; 8]) {
        // SAFETY: by the caller.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn store_masked(to: *mut f32, mask: usize, v: [f32; 8]) {
        for (i, x) in v.into_iter().enumerate().take(mask) {
            // SAFETY: by the caller.
            unsafe { *to.add(i) = x };
        }
    }

    #[inline(always)]
    unsafe fn sum(v: [f32; 8]) -> f32 {
        let [a, b, c, d, e, f, g, h] = v;
        ((a + e) + (b + f)) + ((c + g) + (d + h))
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    /// Eight lanes with fused multiplication; needs AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2;

    /// The mask of the first `n` lanes begins at `8 - n`.
    static FIRST: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

    // SAFETY of the blocks: the caller has checked the CPU's features, and vouches for the memory.
    impl Simd for Avx2 {
        type V = __m256;
        type Mask = __m256i;
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn zero() -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_setzero_ps() }
        }

        #[inline(always)]
        unsafe fn first(count: usize) -> __m256i {
            // SAFETY: see above; eight elements follow each of the first nine.
            unsafe { _mm256_loadu_si256(FIRST.as_ptr().add(8 - count.min(8)).cast()) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_masked(from: *const f32, mask: __m256i) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_maskload_ps(from, mask) }
        }

        #[inline(always)]
        unsafe fn splat(from: *const f32) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_broadcast_ss(&*from) }
        }

        #[inline(always)]
        unsafe fn set(x: f32) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_add_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_sub_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_mul_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_max_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn scale(x: __m256, n: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe {
                let power = |n| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))));
                let n = _mm256_cvtps_epi32(n);
                // Two factors, so that only the last product rounds to a subnormal number.
                let half = _mm256_srai_epi32::<1>(n);
                _mm256_mul_ps(_mm256_mul_ps(x, power(half)), power(_mm256_sub_epi32(n, half)))
            }
        }

        #[inline(always)]
        unsafe fn blend(mask: __m256i, a: __m256, b: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_blendv_ps(b, a, _mm256_castsi256_ps(mask)) }
        }

        #[inline(always)]
        unsafe fn below(a: __m256, b: __m256, then: __m256, otherwise: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)) }
        }

        #[inline(always)]
        unsafe fn choose(flags: __m256, a: __m256, b: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_blendv_ps(b, a, _mm256_cmp_ps::<_CMP_NEQ_UQ>(flags, _mm256_setzero_ps())) }
        }

        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: see above.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, v: __m256) {
            // SAFETY: see above.
            unsafe { _mm256_storeu_ps(to, v) }
        }

        #[inline(always)]
        unsafe fn store_masked(to: *mut f32, mask: __m256i, v: __m256) {
            // SAFETY: see above.
            unsafe { _mm256_maskstore_ps(to, mask, v) }
        }

        #[inline(always)]
        unsafe fn sum(v: __m256) -> f32 {
            // SAFETY: see above.
            unsafe {
                let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
            }
        }
    }

    /// Sixteen lanes; needs AVX-512F.
    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512;

    // SAFETY of the blocks: the caller has checked the CPU's features, and vouches for the memory.
    impl Simd for Avx512 {
        type V = __m512;
        type Mask = __mmask16;
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn zero() -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_setzero_ps() }
        }

        #[inline(always)]
        unsafe fn first(count: usize) -> __mmask16 {
            ((1u32 << count.min(16)) - 1) as __mmask16
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_masked(from: *const f32, mask: __mmask16) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_maskz_loadu_ps(mask, from) }
        }

        #[inline(always)]
        unsafe fn splat(from: *const f32) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_set1_ps(*from) }
        }

        #[inline(always)]
        unsafe fn set(x: f32) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_add_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_sub_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_mul_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_max_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn scale(x: __m512, n: __m512) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_scalef_ps(x, n) }
        }

        #[inline(always)]
        unsafe fn blend(mask: __mmask16, a: __m512, b: __m512) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_mask_blend_ps(mask, b, a) }
        }

        #[inline(always)]
        unsafe fn below(a: __m512, b: __m512, then: __m512, otherwise: __m512) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), otherwise, then) }
        }

        #[inline(always)]
        unsafe fn choose(flags: __m512, a: __m512, b: __m512) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(flags, _mm512_setzero_ps()), b, a) }
        }

        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: see above.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, v: __m512) {
            // SAFETY: see above.
            unsafe { _mm512_storeu_ps(to, v) }
        }

        #[inline(always)]
        unsafe fn store_masked(to: *mut f32, mask: __mmask16, v: __m512) {
            // SAFETY: see above.
            unsafe { _mm512_mask_storeu_ps(to, mask, v) }
        }

        #[inline(always)]
        unsafe fn sum(v: __m512) -> f32 {
            // SAFETY: see above.
            unsafe { _mm512_reduce_add_ps(v) }
        }
    }
}
