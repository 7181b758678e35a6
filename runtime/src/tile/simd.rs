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
    /// `a·b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
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
