//! What stands in for the libraries of a device: results computed from the very descriptions that those are given, in double precision.

use igneous_ir::array::Array;
use igneous_ir::types::DType;
use igneous_runtime::cuda::{Activation, Gemm, Stored, Sums};

/// Elements in memory.
///
/// # Safety
/// There are that many.
unsafe fn read(dtype: DType, address: u64, count: usize) -> Array {
    // SAFETY: by the caller.
    let bytes = unsafe { std::slice::from_raw_parts(address as *const u8, count * dtype.size()) };
    Array::from_bytes(dtype, [count], bytes).expect("there are as many bytes as elements take")
}

/// The element at a row and a column of what is stored.
fn at(stored: &Stored, row: usize, column: usize) -> usize {
    let (row, column) = if stored.transposed { (column, row) } else { (row, column) };
    assert!(row < stored.rows && column < stored.columns, "{row}, {column} is outside of {stored:?}");
    column * stored.leading + row
}

/// The number that is multiplied with.
fn operand(sums: Sums, value: f64) -> f64 {
    match sums {
        // Ten bits of the mantissa.
        Sums::Tf32 => f64::from(f32::from_bits((value as f32).to_bits().wrapping_add(1 << 12) & !((1 << 13) - 1))),
        _ => value,
    }
}

/// The product.
///
/// # Safety
/// There are the matrices that `gemm` describes.
pub unsafe fn multiply(gemm: &Gemm, addresses: &[u64]) {
    let Gemm { types, batch, m, n, k, a, b, d, bias, activation } = gemm;
    assert_eq!(addresses.len(), if *bias { 4 } else { 3 });
    let elements = |stored: &Stored| (stored.columns - 1) * stored.leading + stored.rows;
    let (of_operand, of_result) = (types.operands.size() as u64, types.result.size() as u64);
    // SAFETY: by the caller.
    let bias = addresses.get(3).map(|&address| unsafe { read(types.result, address, *m) });
    for i in 0..*batch {
        let place = |k: usize, stored: &Stored, size: u64| addresses[k] + (i * stored.batch) as u64 * size;
        // SAFETY: by the caller.
        let [left, right] = [(0, a), (1, b)].map(|(k, s)| unsafe { read(types.operands, place(k, s, of_operand), elements(s)) });
        let number = |array: &Array, i: usize| operand(types.sums, array.f(i));
        for column in 0..*n {
            let sum = |row: usize| (0..*k).map(|k| number(&left, at(a, row, k)) * number(&right, at(b, k, column))).sum::<f64>();
            let element = |row: usize| {
                let x = sum(row) + bias.as_ref().map_or(0.0, |bias| bias.f(row));
                match activation {
                    None => x,
                    Some(Activation::Relu) if x > 0.0 || x.is_nan() => x,
                    Some(Activation::Relu) => 0.0,
                    Some(Activation::Gelu) => {
                        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
                    }
                }
            };
            let bytes = Array::from_fn_f64(types.result, [*m], element).rounded().to_bytes();
            let to = place(2, d, of_result) + at(d, 0, column) as u64 * of_result;
            // SAFETY: by the caller.
            unsafe { (to as *mut u8).copy_from(bytes.as_ptr(), bytes.len()) };
        }
    }
}
