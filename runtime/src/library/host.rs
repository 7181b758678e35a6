//! Functions of the host that users bring.

use super::{Arguments, elements, elements_mut};
use igneous_ir::error::Result;
use igneous_ir::ops::host::{HostData, HostDataMut, HostTensor, HostTensorMut, call_host};
use igneous_ir::types::DType;

pub(super) fn host(arguments: &mut Arguments) -> Result<()> {
    let mut operands = Vec::new();
    for (layout, bytes) in &arguments.operands {
        let dtype = layout.dtype;
        let data = match dtype {
            DType::F64 => HostData::F64(elements(dtype, bytes)?),
            DType::F32 => HostData::F32(elements(dtype, bytes)?),
            DType::F16 => HostData::F16(elements(dtype, bytes)?),
            DType::BF16 => HostData::BF16(elements(dtype, bytes)?),
            DType::I64 => HostData::I64(elements(dtype, bytes)?),
            DType::I32 => HostData::I32(elements(dtype, bytes)?),
            DType::U32 => HostData::U32(elements(dtype, bytes)?),
            DType::U8 => HostData::U8(elements(dtype, bytes)?),
            DType::I8 => HostData::I8(elements(dtype, bytes)?),
            DType::Bool => HostData::Bool(elements(dtype, bytes)?),
        };
        operands.push(HostTensor { shape: &layout.shape, data });
    }
    let mut results = Vec::new();
    for (layout, bytes) in &mut arguments.results {
        let dtype = layout.dtype;
        let data = match dtype {
            DType::F64 => HostDataMut::F64(elements_mut(dtype, bytes)?),
            DType::F32 => HostDataMut::F32(elements_mut(dtype, bytes)?),
            DType::F16 => HostDataMut::F16(elements_mut(dtype, bytes)?),
            DType::BF16 => HostDataMut::BF16(elements_mut(dtype, bytes)?),
            DType::I64 => HostDataMut::I64(elements_mut(dtype, bytes)?),
            DType::I32 => HostDataMut::I32(elements_mut(dtype, bytes)?),
            DType::U32 => HostDataMut::U32(elements_mut(dtype, bytes)?),
            DType::U8 => HostDataMut::U8(elements_mut(dtype, bytes)?),
            DType::I8 => HostDataMut::I8(elements_mut(dtype, bytes)?),
            DType::Bool => HostDataMut::Bool(elements_mut(dtype, bytes)?),
        };
        results.push(HostTensorMut { shape: &layout.shape, data });
    }
    call_host(arguments.op, &operands, &mut results)
}
