//! Elements as files have them.

use crate::tensor::Tensor;
use igneous_ir::{DType, Error, Result};

/// An element type of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// One that tensors have, too.
    Same(DType),
    /// An integer that becomes the next wider one that tensors have.
    I16,
    /// See [`Kind::I16`].
    U16,
    /// See [`Kind::I16`].
    U32,
}

/// What the bytes of an element mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Endian {
    /// The least significant byte first.
    Little,
    /// The most significant byte first.
    Big,
}

impl Kind {
    /// The bytes of an element.
    pub(crate) fn size(self) -> usize {
        match self {
            Kind::Same(dtype) => dtype.size(),
            Kind::I16 | Kind::U16 => 2,
            Kind::U32 => 4,
        }
    }

    /// A tensor of little-endian elements in row-major order.
    ///
    /// # Errors
    /// If there are too few or too many bytes, or a bool is neither 0 nor 1.
    pub(crate) fn tensor(self, shape: &[usize], bytes: &[u8]) -> Result<Tensor> {
        let needed = shape.iter().try_fold(self.size(), |n, &extent| n.checked_mul(extent));
        if needed != Some(bytes.len()) {
            return Err(Error::new(format!("{} bytes are not the elements of the shape {shape:?}", bytes.len())));
        }
        let pairs = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        let made = match self {
            Kind::Same(DType::Bool) if bytes.iter().any(|&b| b > 1) => {
                return Err(Error::new("a bool is neither 0 nor 1"));
            }
            Kind::Same(dtype) => Tensor::from_le_bytes(dtype, shape, bytes),
            Kind::I16 => Tensor::from_vec(pairs().map(|pair| i32::from(i16::from_le_bytes(pair))).collect(), shape),
            Kind::U16 => Tensor::from_vec(pairs().map(|pair| i32::from(u16::from_le_bytes(pair))).collect(), shape),
            Kind::U32 => {
                let words = bytes.chunks_exact(4).map(|b| i64::from(u32::from_le_bytes([b[0], b[1], b[2], b[3]])));
                Tensor::from_vec(words.collect(), shape)
            }
        };
        made.check().map(|()| made)
    }
}

impl Endian {
    /// Elements of so many bytes with the least significant byte first.
    pub(crate) fn to_little(self, size: usize, mut bytes: Vec<u8>) -> Vec<u8> {
        if self == Endian::Big && size > 1 {
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
        bytes
    }
}
