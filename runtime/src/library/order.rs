//! Sorting.
//!
//! An element and its index in the line become one integer, whose order is that of the elements, and of equal elements that
//! of the indices: no two are equal, so no order has to be stable.

use super::lines::{Lines, Written};
use super::{Arguments, no_type};
use crate::buffer::Element;
use half::{bf16, f16};
use igneous_ir::error::Result;
use igneous_ir::types::DType;

/// `sort`: each line in order, and where its elements were.
pub(super) fn sort(a: &mut Arguments) -> Result<()> {
    let length = a.layout(0).shape[a.op.int("axis") as usize];
    let descending = a.op.bool("descending");
    first(a, length, descending)
}

/// `topk`: the first elements of each line in order, and where they were. The others are only set apart.
pub(super) fn topk(a: &mut Arguments) -> Result<()> {
    let (k, largest) = (a.op.int("k") as usize, a.op.bool("largest"));
    first(a, k, largest)
}

/// The first `k` elements of each line in order, and where they were.
fn first(a: &mut Arguments, k: usize, descending: bool) -> Result<()> {
    match a.layout(0).dtype {
        DType::F64 => of::<f64>(a, k, descending),
        DType::F32 => of::<f32>(a, k, descending),
        DType::F16 => of::<f16>(a, k, descending),
        DType::BF16 => of::<bf16>(a, k, descending),
        DType::I64 => of::<i64>(a, k, descending),
        DType::I32 => of::<i32>(a, k, descending),
        DType::U8 => of::<u8>(a, k, descending),
        DType::I8 => of::<i8>(a, k, descending),
        DType::Bool => of::<bool>(a, k, descending),
        other => Err(no_type(a.op, other)),
    }
}

fn of<T: Ordered>(a: &mut Arguments, k: usize, descending: bool) -> Result<()> {
    let lines = Lines::new(&a.layout(0).shape, a.op.int("axis") as usize);
    let short = T::WIDTH <= 32 && u32::try_from(lines.length).is_ok();
    if short { packed::<T, u64>(a, lines, k, descending) } else { packed::<T, u128>(a, lines, k, descending) }
}

fn packed<T: Ordered, P: Packed>(a: &mut Arguments, lines: Lines, k: usize, descending: bool) -> Result<()> {
    let results = Lines { length: k, ..lines };
    let turned = if descending { u64::MAX >> (64 - T::WIDTH) } else { 0 };
    let (x, values, places) = a.operand_and_results::<T, T, i64>()?;
    let (values, places) = (Written::new(values), Written::new(places));
    lines.share(|range| {
        let mut chosen: Vec<P> = Vec::new();
        for line in range {
            choose(lines.places(line).zip(0..).map(|(p, i)| P::pack(x[p].bits() ^ turned, i)), lines.length, k, &mut chosen);
            for (p, i) in results.places(line).zip(chosen.iter().map(|c| c.index())) {
                // SAFETY: the lines of a task are no other's.
                unsafe {
                    values.set(p, x[lines.first(line) + i * lines.stride]);
                    places.set(p, i as i64);
                }
            }
        }
    });
    Ok(())
}

/// As many elements are kept in order while the others are looked at.
const FEW: usize = 32;

/// The `k` smallest of `count` numbers, in order.
fn choose<P: Packed>(mut all: impl Iterator<Item = P>, count: usize, k: usize, chosen: &mut Vec<P>) {
    chosen.clear();
    if k <= FEW && k < count {
        chosen.extend(all.by_ref().take(k));
        chosen.sort_unstable();
        while let Some(&most) = chosen.last()
            && let Some(next) = all.find(|&p| p < most)
        {
            let at = chosen.partition_point(|&p| p < next);
            chosen.insert(at, next);
            chosen.pop();
        }
        return;
    }
    chosen.extend(all);
    if k < count {
        chosen.select_nth_unstable(k);
        chosen.truncate(k);
    }
    chosen.sort_unstable();
}

/// An element type with an order.
trait Ordered: Element {
    /// Bits of [`bits`](Self::bits) that may be set.
    const WIDTH: u32;

    /// A number that is larger for larger elements, and equal for equal ones.
    fn bits(self) -> u64;
}

/// The bits of a float in the order of its numbers: zeros are equal, NaN is larger than all numbers, as in PyTorch.
macro_rules! floats {
    ($($type:ty, $bits:ty, $width:literal;)*) => {$(
        impl Ordered for $type {
            const WIDTH: u32 = $width;

            fn bits(self) -> u64 {
                const SIGN: $bits = 1 << ($width - 1);
                let bits = self.to_bits();
                let magnitude = bits & !SIGN;
                if self.is_nan() {
                    return <$bits>::MAX.into();
                }
                (if bits == magnitude || magnitude == 0 { SIGN | magnitude } else { !bits }).into()
            }
        }
    )*};
}

floats! {
    f64, u64, 64;
    f32, u32, 32;
    f16, u16, 16;
    bf16, u16, 16;
}

/// Signed numbers in the order of unsigned ones.
macro_rules! integers {
    ($($type:ty, $bits:ty, $width:literal, $first:expr;)*) => {$(
        impl Ordered for $type {
            const WIDTH: u32 = $width;

            fn bits(self) -> u64 {
                (self as $bits ^ $first).into()
            }
        }
    )*};
}

integers! {
    i64, u64, 64, 1 << 63;
    i32, u32, 32, 1 << 31;
    i8, u8, 8, 1 << 7;
    u8, u8, 8, 0;
    bool, u8, 8, 0;
}

/// An element's number and its index in the line.
trait Packed: Ord + Copy {
    fn pack(bits: u64, index: usize) -> Self;
    fn index(self) -> usize;
}

impl Packed for u64 {
    fn pack(bits: u64, index: usize) -> u64 {
        bits << 32 | index as u64
    }

    fn index(self) -> usize {
        self as u32 as usize
    }
}

impl Packed for u128 {
    fn pack(bits: u64, index: usize) -> u128 {
        u128::from(bits) << 64 | index as u128
    }

    fn index(self) -> usize {
        self as u64 as usize
    }
}
