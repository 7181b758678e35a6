//! Tensors as bytes, for files.

use super::{Eager, Tensor};
use crate::location::here;
use igneous_ir::{DType, Error, Result, TensorType};
use igneous_runtime::Buffer;

impl Tensor {
    /// From little-endian elements of any type in row-major order; invalid if there are too few or too many bytes.
    #[track_caller]
    pub fn from_le_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Tensor {
        let loc = here();
        let elements = shape.iter().try_fold(dtype.size(), |n, &extent| n.checked_mul(extent));
        let ty = TensorType::new(dtype, shape.iter().copied());
        if elements != Some(bytes.len()) {
            return Error::new(format!("{} bytes are not the elements of {ty}", bytes.len())).at(loc).into();
        }
        match Buffer::from_slice(bytes) {
            Ok(buffer) => Eager::new(ty, buffer, Some(loc)).into(),
            Err(error) => error.at(loc).into(),
        }
    }

    /// The elements as little-endian bytes in row-major order.
    ///
    /// # Errors
    /// If the tensor is invalid or is a value of a trace.
    #[track_caller]
    pub fn to_le_bytes(&self) -> Result<Vec<u8>> {
        Ok(self.eager_value("its elements")?.buffer.bytes().to_vec())
    }
}
