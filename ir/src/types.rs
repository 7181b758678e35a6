//! Element types, shapes, tensor types and literals.

use crate::dim::Dim;
use crate::error::{Error, Result};
use smallvec::SmallVec;
use std::fmt;

/// The type of a tensor's elements.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    BF16,
    /// 64-bit two's complement.
    I64,
    /// 32-bit two's complement.
    I32,
    /// 8-bit unsigned.
    U8,
    /// 8-bit two's complement.
    I8,
    /// 32-bit unsigned: random bits only.
    U32,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// All element types.
    pub const ALL: [DType; 10] =
        [DType::F64, DType::F32, DType::F16, DType::BF16, DType::I64, DType::I32, DType::U8, DType::I8, DType::U32, DType::Bool];

    /// The name used in IR text and error messages.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::U8 => "u8",
            DType::I8 => "i8",
            DType::U32 => "u32",
            DType::Bool => "bool",
        }
    }

    /// The type with this name.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }

    /// Bytes per element.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F16 | DType::BF16 => 2,
            DType::U8 | DType::I8 | DType::Bool => 1,
        }
    }

    /// Whether this is a floating-point type.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
    }

    /// Whether this is an integer type (`bool` is not).
    pub const fn is_int(self) -> bool {
        matches!(self, DType::I64 | DType::I32 | DType::U8 | DType::I8 | DType::U32)
    }

    /// Whether this is an integer type with negative numbers.
    pub const fn is_signed_int(self) -> bool {
        matches!(self, DType::I64 | DType::I32 | DType::I8)
    }

    /// The smallest and the largest number of an integer type or bool; all of `i64` for floats.
    pub const fn int_limits(self) -> (i64, i64) {
        match self {
            DType::I32 => (i32::MIN as i64, i32::MAX as i64),
            DType::U32 => (0, u32::MAX as i64),
            DType::U8 => (0, u8::MAX as i64),
            DType::I8 => (i8::MIN as i64, i8::MAX as i64),
            DType::Bool => (0, 1),
            _ => (i64::MIN, i64::MAX),
        }
    }

    /// The type that arithmetic on this one is done in: `f32` for the half types, else the type itself.
    pub const fn compute(self) -> DType {
        match self {
            DType::F16 | DType::BF16 => DType::F32,
            other => other,
        }
    }

    /// The distance from 1 to the next larger number; 0 for integers and bool.
    pub const fn epsilon(self) -> f64 {
        match self {
            DType::F64 => f64::EPSILON,
            DType::F32 => f32::EPSILON as f64,
            DType::F16 => 1.0 / 1024.0,
            DType::BF16 => 1.0 / 128.0,
            _ => 0.0,
        }
    }

    /// `value` rounded to the nearest number of this floating-point type (ties to even).
    pub fn round(self, value: f64) -> f64 {
        match self {
            DType::F32 => value as f32 as f64,
            DType::BF16 => round_to_digits(value, 7, -126, f32::MAX.into()),
            DType::F16 => round_to_digits(value, 10, -14, 65504.0),
            _ => value,
        }
    }

    /// `value` wrapped into the range of this integer type.
    pub const fn wrap(self, value: i64) -> i64 {
        match self {
            DType::I32 => value as i32 as i64,
            DType::U8 => value as u8 as i64,
            DType::I8 => value as i8 as i64,
            DType::U32 => value as u32 as i64,
            DType::Bool => (value != 0) as i64,
            _ => value,
        }
    }
}

/// `value` rounded once to a binary format with so many digits behind the first, whose smallest normal number is
/// `2^exponent` and which has no number above `most` but infinity.
fn round_to_digits(value: f64, digits: i32, exponent: i32, most: f64) -> f64 {
    if !value.is_finite() {
        return value;
    }
    let own = (value.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    let last = 2f64.powi(own.max(exponent) - digits);
    let rounded = (value / last).round_ties_even() * last;
    if rounded.abs() > most { f64::INFINITY.copysign(value) } else { rounded }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The extents of a tensor, outermost first.
pub type Shape = SmallVec<[Dim; 4]>;

/// Element type and shape of a tensor: `f32[64, 784]`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// The type of the elements.
    pub dtype: DType,
    /// The extents, outermost first.
    pub shape: Shape,
}

impl TensorType {
    /// A type from element type and extents.
    pub fn new(dtype: DType, shape: impl IntoIterator<Item = impl Into<Dim>>) -> TensorType {
        TensorType { dtype, shape: shape.into_iter().map(Into::into).collect() }
    }

    /// The type of a tensor without axes.
    pub fn scalar(dtype: DType) -> TensorType {
        TensorType { dtype, shape: Shape::new() }
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn elements(&self) -> Dim {
        self.shape.iter().copied().product()
    }

    /// The size in bytes.
    pub fn bytes(&self) -> Dim {
        self.elements() * self.dtype.size()
    }

    /// Whether an address space could hold a tensor of this type: no product of its extents, also without those that are
    /// zero, reaches 2⁴⁷ bytes. Symbolic extents count as one; what they are is looked at when memory is planned.
    pub fn is_addressable(&self) -> bool {
        let extents = self.shape.iter().filter_map(|d| d.as_const()).map(|n| n.max(1));
        extents.fold(self.dtype.size() as i64, i64::saturating_mul) < 1 << 47
    }

    /// The same shape with another element type.
    pub fn with_dtype(&self, dtype: DType) -> TensorType {
        TensorType { dtype, shape: self.shape.clone() }
    }

    /// The same element type with another shape.
    pub fn with_shape(&self, shape: impl IntoIterator<Item = impl Into<Dim>>) -> TensorType {
        TensorType::new(self.dtype, shape)
    }

    /// The extents as numbers.
    ///
    /// # Errors
    /// If one is symbolic.
    pub fn sizes(&self) -> Result<Vec<usize>> {
        self.shape.iter().map(|d| d.get()).collect()
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, d) in self.shape.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Row-major strides, in elements.
pub fn contiguous_strides(shape: &[Dim]) -> Shape {
    let mut strides: Shape = shape.iter().map(|_| Dim::ONE).collect();
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i];
    }
    strides
}

/// An axis counted from the end when negative, as an index below `rank`.
///
/// # Errors
/// If it is out of range.
pub fn normalize_axis(axis: i64, rank: usize) -> Result<usize> {
    let n = rank as i64;
    if axis < -n || axis >= n {
        return Err(Error::new(format!("axis {axis} is out of range for a tensor with {rank} axes")));
    }
    Ok(axis.rem_euclid(n.max(1)) as usize)
}

/// A number of a given element type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Literal {
    dtype: DType,
    /// The f64 bits of a float (rounded to `dtype`), else the integer value.
    bits: u64,
}

impl Literal {
    /// A floating-point number rounded to `dtype`, or its integer part if `dtype` is no float.
    pub fn float(dtype: DType, value: f64) -> Literal {
        if dtype.is_float() {
            Literal { dtype, bits: dtype.round(value).to_bits() }
        } else if dtype == DType::Bool {
            Literal { dtype, bits: (value != 0.0) as u64 }
        } else {
            Literal::int(dtype, value as i64)
        }
    }

    /// An integer wrapped to `dtype`, or the nearest number if `dtype` is a float.
    pub fn int(dtype: DType, value: i64) -> Literal {
        if dtype.is_float() { Literal::float(dtype, value as f64) } else { Literal { dtype, bits: dtype.wrap(value) as u64 } }
    }

    /// The element type.
    pub fn dtype(self) -> DType {
        self.dtype
    }

    /// The value as f64.
    pub fn as_f64(self) -> f64 {
        if self.dtype.is_float() { f64::from_bits(self.bits) } else { self.bits as i64 as f64 }
    }

    /// The value as i64 (the integer part of a float, saturating; 0 for NaN).
    pub fn as_i64(self) -> i64 {
        if self.dtype.is_float() { f64::from_bits(self.bits) as i64 } else { self.bits as i64 }
    }

    /// The number of type `dtype` whose representation is the low bits of `bits`.
    pub fn from_bits(dtype: DType, bits: u64) -> Literal {
        match dtype {
            DType::F64 => Literal { dtype, bits },
            DType::F32 => Literal::float(dtype, f32::from_bits(bits as u32).into()),
            DType::F16 => Literal::float(dtype, half::f16::from_bits(bits as u16).to_f64()),
            DType::BF16 => Literal::float(dtype, half::bf16::from_bits(bits as u16).to_f64()),
            _ => Literal::int(dtype, bits as i64),
        }
    }

    /// The representation, in the low bits.
    pub fn to_bits(self) -> u64 {
        match self.dtype {
            DType::F64 => self.bits,
            DType::F32 => (self.as_f64() as f32).to_bits().into(),
            DType::F16 => half::f16::from_f64(self.as_f64()).to_bits().into(),
            DType::BF16 => half::bf16::from_f64(self.as_f64()).to_bits().into(),
            _ => self.bits,
        }
    }

    /// Whether this is the number `value` exactly (`-0.0` is not `0.0`).
    pub fn is(self, value: f64) -> bool {
        if self.dtype.is_float() { self.bits == value.to_bits() } else { self.as_f64() == value }
    }
}

/// Prints the shortest text that reads back as the same number; floats always contain `.`, `e`, `inf` or `nan`.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dtype {
            DType::F32 | DType::F16 | DType::BF16 => write!(f, "{:?}", self.as_f64() as f32),
            DType::F64 => write!(f, "{:?}", self.as_f64()),
            DType::Bool => write!(f, "{}", self.bits != 0),
            _ => write!(f, "{}", self.as_i64()),
        }
    }
}

impl fmt::Debug for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}{}", self.dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_to_half_types() {
        assert_eq!(DType::F16.round(65519.0), 65504.0);
        assert_eq!(DType::F16.round(65520.0), f64::INFINITY);
        assert_eq!(DType::F16.round(1.0 + 1.0 / 2048.0), 1.0);
        assert_eq!(DType::F16.round(2f64.powi(-24) * 0.75), 2f64.powi(-24));
        assert_eq!(DType::BF16.round(1.0 + 1.0 / 256.0), 1.0);
        assert_eq!(DType::BF16.round(1.0 + 3.0 / 256.0), 1.015625);
        assert_eq!(DType::BF16.round(f64::from(f32::MAX)), f64::INFINITY);
        // Once, not by way of f32, and among subnormal numbers too.
        assert_eq!(DType::F16.round(1.0 + 1.0 / 2048.0 + 1e-12), 1.0 + 1.0 / 1024.0);
        assert_eq!(DType::F16.round(31.5 * 2f64.powi(-24) * (1.0 - 1e-12)), 31.0 * 2f64.powi(-24));
        assert_eq!(DType::BF16.round(36.5 * 2f64.powi(-133) * (1.0 + 1e-6)), 37.0 * 2f64.powi(-133));
        assert_eq!(DType::BF16.round(-0.0).to_bits(), (-0.0f64).to_bits());
    }

    #[test]
    fn literals_print_what_reads_back() {
        assert_eq!(Literal::float(DType::F32, 0.1).to_string(), "0.1");
        assert_eq!(Literal::float(DType::F32, 3.0).to_string(), "3.0");
        assert_eq!(Literal::int(DType::I32, i64::from(i32::MAX) + 1).as_i64(), i64::from(i32::MIN));
        assert_eq!(Literal::int(DType::I8, 200).to_string(), "-56");
        assert_eq!(Literal::from_bits(DType::I8, 0xff).as_i64(), -1);
        assert!(Literal::float(DType::F32, -0.0).is(-0.0) && !Literal::float(DType::F32, -0.0).is(0.0));
    }
}
