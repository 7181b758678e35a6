//! Register tiles of matrix products on operands that no library reads: windows of images, packed panels.
//!
//! One width is chosen at run time: AVX-512, AVX2 with FMA, or plain Rust.

mod attention;
mod attention_backward;
mod bytes;
mod convert;
mod exp;
mod kernels;
mod score;
mod simd;
mod winograd;

pub(crate) use attention::{Attention, Forward, Mask, Place, forward_scratch};
pub(crate) use attention_backward::{Backward, backward_scratch, padded};
pub(crate) use convert::{Widen, widening};
pub(crate) use kernels::{Broadcast, MOST, Reduce, Run, Stream};
pub(crate) use score::Score;
use simd::Portable;
#[cfg(target_arch = "x86_64")]
use simd::{Avx2, Avx512};
use std::sync::OnceLock;
pub(crate) use winograd::{Results, Tiles, line_room, transformed_weights};

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
    /// What `IGNEOUS_CPU` calls the width.
    name: &'static str,
    /// Elements of a vector.
    pub lanes: usize,
    pub stream: &'static [Kernel<Stream>],
    pub broadcast: &'static [Kernel<Broadcast>],
    pub reduce: &'static [Kernel<Reduce>],
    /// Transforms tiles of an image.
    pub tiles: unsafe fn(&Tiles),
    /// Transforms products back to results.
    pub results: unsafe fn(&Results),
    /// For one vector of queries, for two, ….
    pub attention: &'static [AttentionKernels],
}

/// The parts of attention, for some number of vectors.
pub(crate) struct AttentionKernels {
    pub forward: unsafe fn(&Forward),
    pub of_queries: unsafe fn(&Backward),
    pub of_keys: unsafe fn(&Backward),
}

/// The micro-kernels of a vector type; `$feature`, where there is one, is what the CPU must have for them.
macro_rules! kernels {
    ($name:ident, $simd:ty, $(#[$feature:meta])?,
     stream: $(($sm:literal, $sn:literal))*, broadcast: $(($bp:literal, $bv:literal))*; reduce: $(($rm:literal, $rn:literal))*;
     attention: $ap:literal, $($av:literal)*) => {
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

            /// # Safety
            /// As `winograd::tiles`.
            $(#[$feature])?
            unsafe fn tiles(t: &Tiles) {
                // SAFETY: by the caller.
                unsafe { winograd::tiles::<$simd>(t) }
            }

            /// # Safety
            /// As `winograd::results`.
            $(#[$feature])?
            unsafe fn results(t: &Results) {
                // SAFETY: by the caller.
                unsafe { winograd::results::<$simd>(t) }
            }

            /// # Safety
            /// As `attention::forward`.
            $(#[$feature])?
            unsafe fn attention_forward<const V: usize>(t: &Forward) {
                // SAFETY: by the caller.
                unsafe { attention::forward::<$simd, $ap, V>(t) }
            }

            /// # Safety
            /// As `attention_backward::of_queries`.
            $(#[$feature])?
            unsafe fn attention_of_queries<const V: usize>(t: &Backward) {
                // SAFETY: by the caller.
                unsafe { attention_backward::of_queries::<$simd, $ap, V>(t) }
            }

            /// # Safety
            /// As `attention_backward::of_keys`.
            $(#[$feature])?
            unsafe fn attention_of_keys<const V: usize>(t: &Backward) {
                // SAFETY: by the caller.
                unsafe { attention_backward::of_keys::<$simd, $ap, V>(t) }
            }

            pub(super) static KERNELS: Kernels = Kernels {
                name: stringify!($name),
                lanes: <$simd as simd::Simd>::LANES,
                stream: &[$(Kernel { height: $sm, width: $sn, run: stream::<$sm, $sn> }),*],
                broadcast: &[$(Kernel {
                    height: $bp,
                    width: $bv * <$simd as simd::Simd>::LANES,
                    run: broadcast::<$bp, $bv>,
                }),*],
                reduce: &[$(Kernel { height: $rm, width: $rn, run: reduce::<$rm, $rn> }),*],
                tiles,
                results,
                attention: &[$(AttentionKernels {
                    forward: attention_forward::<$av>,
                    of_queries: attention_of_queries::<$av>,
                    of_keys: attention_of_keys::<$av>,
                }),*],
            };
        }
    };
}

kernels!(portable, Portable,,
    stream: (1, 2) (2, 2),
    broadcast: (4, 1) (1, 1);
    reduce: (1, 2) (2, 2);
    attention: 4, 1 2);
#[cfg(target_arch = "x86_64")]
kernels!(avx2, Avx2, #[target_feature(enable = "avx2,fma")],
    stream: (1, 8) (2, 4) (3, 4) (4, 3) (6, 2),
    broadcast: (12, 1) (10, 1) (8, 1) (4, 1) (1, 1) (6, 2) (5, 2) (4, 2) (2, 2) (1, 2);
    reduce: (1, 4) (2, 4) (3, 3) (3, 4);
    attention: 6, 1 2);
#[cfg(target_arch = "x86_64")]
kernels!(avx512, Avx512, #[target_feature(enable = "avx2,fma,avx512f,avx512vl")],
    stream: (1, 8) (2, 8) (3, 8) (4, 6) (5, 5) (6, 4) (6, 2) (8, 3) (8, 2),
    broadcast: (30, 1) (28, 1) (25, 1) (20, 1) (16, 1) (8, 1) (4, 1) (1, 1);
    reduce: (1, 8) (2, 5) (3, 5) (4, 5) (6, 4) (5, 5);
    attention: 8, 1 2 3);

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

/// The micro-kernels to use: the widest, or those that the environment variable `IGNEOUS_CPU` names, if the CPU has them.
pub(crate) fn best() -> &'static Kernels {
    #[cfg(test)]
    if let Some(chosen) = CHOSEN.get() {
        return chosen;
    }
    static BEST: OnceLock<&'static Kernels> = OnceLock::new();
    BEST.get_or_init(|| {
        let named = std::env::var("IGNEOUS_CPU").ok();
        let mut all = available();
        let chosen = all.iter().position(|k| Some(k.name) == named.as_deref()).unwrap_or(all.len() - 1);
        all.swap_remove(chosen)
    })
}

#[cfg(test)]
thread_local! {
    /// What [`best`] answers on this thread.
    pub(crate) static CHOSEN: std::cell::Cell<Option<&'static Kernels>> = const { std::cell::Cell::new(None) };
}
