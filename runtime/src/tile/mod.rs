//! Register tiles of matrix products on operands that no library reads: windows of images, packed panels.
//!
//! One width is chosen at run time: AVX-512, AVX2 with FMA, or plain Rust.

mod kernels;
mod simd;

pub(crate) use kernels::{Broadcast, MOST, Reduce, Run, Stream};
use simd::Portable;
#[cfg(target_arch = "x86_64")]
use simd::{Avx2, Avx512};
use std::sync::OnceLock;

/// A micro-kernel and the size of its tile.
pub(crate) struct Kernel<T> {
    /// Rows ([`Stream`], [`Reduce`]) or columns ([`Broadcast`]).
    pub height: usize,
    /// Vectors of columns ([`Stream`]), columns ([`Reduce`]) or rows ([`Broadcast`]).
    pub width: usize,
    /// The code. The tile's memory has to be live and its output this call's to write.
    pub run: unsafe fn(&T),
}

/// The micro-kernels of one width.
pub(crate) struct Kernels {
    /// Elements of a vector.
    pub lanes: usize,
    pub stream: &'static [Kernel<Stream>],
    pub broadcast: &'static [Kernel<Broadcast>],
    pub reduce: &'static [Kernel<Reduce>],
}

/// The micro-kernels of a vector type; `$feature`, where there is one, is what the CPU must have for them.
macro_rules! kernels {
    ($name:ident, $simd:ty, $(#[$feature:meta])?,
     stream: $(($sm:literal, $sn:literal))*, broadcast: $(($bp:literal, $bv:literal))*; reduce: $(($rm:literal, $rn:literal))*) => {
        mod $name {
            use super::*;

            /// # Safety
            /// As `kernels::stream`.
            $(#[$feature])?
            unsafe fn stream<const M: usize, const N: usize>(t: &Stream) {
                // SAFETY: by the caller.
                unsafe { kernels::stream::<$simd, M, N>(t) }
            }

            /// # Safety
            /// As `kernels::broadcast`.
            $(#[$feature])?
            unsafe fn broadcast<const P: usize, const V: usize>(t: &Broadcast) {
                // SAFETY: by the caller.
                unsafe { kernels::broadcast::<$simd, P, V>(t) }
            }

            /// # Safety
            /// As `kernels::reduce`.
            $(#[$feature])?
            unsafe fn reduce<const M: usize, const N: usize>(t: &Reduce) {
                // SAFETY: by the caller.
                unsafe { kernels::reduce::<$simd, M, N>(t) }
            }

            pub(super) static KERNELS: Kernels = Kernels {
                lanes: <$simd as simd::Simd>::LANES,
                stream: &[$(Kernel { height: $sm, width: $sn, run: stream::<$sm, $sn> }),*],
                broadcast: &[$(Kernel {
                    height: $bp,
                    width: $bv * <$simd as simd::Simd>::LANES,
                    run: broadcast::<$bp, $bv>,
                }),*],
                reduce: &[$(Kernel { height: $rm, width: $rn, run: reduce::<$rm, $rn> }),*],
            };
        }
    };
}

kernels!(portable, Portable,,
    stream: (1, 2) (2, 2),
    broadcast: (4, 1) (1, 1);
    reduce: (1, 2) (2, 2));
#[cfg(target_arch = "x86_64")]
kernels!(avx2, Avx2, #[target_feature(enable = "avx2,fma")],
    stream: (1, 8) (2, 4) (3, 4) (4, 3) (6, 2),
    broadcast: (12, 1) (10, 1) (8, 1) (4, 1) (1, 1) (6, 2) (5, 2) (4, 2) (2, 2) (1, 2);
    reduce: (1, 4) (2, 4) (3, 3) (3, 4));
#[cfg(target_arch = "x86_64")]
kernels!(avx512, Avx512, #[target_feature(enable = "avx2,fma,avx512f,avx512vl")],
    stream: (1, 8) (2, 8) (3, 8) (4, 6) (5, 5) (6, 4) (6, 2) (8, 3) (8, 2),
    broadcast: (30, 1) (28, 1) (25, 1) (20, 1) (16, 1) (8, 1) (4, 1) (1, 1);
    reduce: (1, 8) (2, 5) (3, 5) (4, 5) (6, 4) (5, 5));

/// The micro-kernels of every width that the CPU has, the narrowest first.
pub(crate) fn available() -> Vec<&'static Kernels> {
    #[allow(unused_mut)] // where there is only one width
    let mut all = vec![&portable::KERNELS];
    #[cfg(target_arch = "x86_64")]
    {
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            all.push(&avx2::KERNELS);
        }
        if all.len() == 2 && std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512vl") {
            all.push(&avx512::KERNELS);
        }
    }
    all
}

/// The micro-kernels to use.
pub(crate) fn best() -> &'static Kernels {
    #[cfg(test)]
    if let Some(chosen) = CHOSEN.get() {
        return chosen;
    }
    static BEST: OnceLock<&'static Kernels> = OnceLock::new();
    BEST.get_or_init(|| available().pop().expect("there is a portable width"))
}

#[cfg(test)]
thread_local! {
    /// What [`best`] answers on this thread.
    pub(crate) static CHOSEN: std::cell::Cell<Option<&'static Kernels>> = const { std::cell::Cell::new(None) };
}
