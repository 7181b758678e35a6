//! Rust types of elements.

use igneous_ir::{DType, Error, Result};
use igneous_runtime::Buffer;

pub use igneous_runtime::Element;

/// All elements as f64.
pub(super) fn as_f64(dtype: DType, buffer: &Buffer) -> Result<Vec<f64>> {
    Ok(match dtype {
        DType::F64 => buffer.to_vec()?,
        DType::F32 => buffer.as_slice::<f32>()?.iter().map(|&x| x.into()).collect(),
        DType::F16 => buffer.as_slice::<half::f16>()?.iter().map(|x| x.to_f64()).collect(),
        DType::BF16 => buffer.as_slice::<half::bf16>()?.iter().map(|x| x.to_f64()).collect(),
        _ => as_i64(dtype, buffer)?.into_iter().map(|x| x as f64).collect(),
    })
}

/// All elements of an integer type or bool as i64.
pub(super) fn as_i64(dtype: DType, buffer: &Buffer) -> Result<Vec<i64>> {
    Ok(match dtype {
        DType::I64 => buffer.to_vec()?,
        DType::I32 => buffer.as_slice::<i32>()?.iter().map(|&x| x.into()).collect(),
        DType::U32 => buffer.as_slice::<u32>()?.iter().map(|&x| x.into()).collect(),
        DType::U8 => buffer.as_slice::<u8>()?.iter().map(|&x| x.into()).collect(),
        DType::I8 => buffer.as_slice::<i8>()?.iter().map(|&x| x.into()).collect(),
        DType::Bool => buffer.as_slice::<bool>()?.iter().map(|&x| x.into()).collect(),
        _ => return Err(Error::new(format!("the elements of a tensor of type {dtype} were asked for as integers"))),
    })
}
