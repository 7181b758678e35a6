//! What stands in for the libraries of a device: results computed from the very descriptions that those are given, in double precision.

use igneous_ir::array::Array;
use igneous_ir::types::DType;
use igneous_runtime::cuda::{Activation, Call, Conv, Gemm, Pass, Stored, Sums};

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

/// What a library is asked for.
///
/// # Safety
/// At the addresses is what `call` describes.
pub unsafe fn compute(call: &Call, addresses: &[u64]) {
    // SAFETY: by the caller.
    unsafe {
        match call {
            Call::Product(gemm) => multiply(gemm, addresses),
            Call::Convolution(conv) => convolve(conv, addresses),
        }
    }
}

/// The places of an array, and their indices.
fn places(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> + '_ {
    (0..shape.iter().product()).map(move |flat: usize| {
        let mut rest = flat;
        let mut index: Vec<usize> = shape.iter().rev().map(|&n| (rest % n, rest /= n).0).collect();
        index.reverse();
        index
    })
}

fn flat(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |flat, (i, n)| flat * n + i)
}

/// The convolution, or a derivative of it.
///
/// # Safety
/// There are the tensors that `conv` describes.
unsafe fn convolve(conv: &Conv, addresses: &[u64]) {
    let Conv { pass, types, shapes, spatial } = conv;
    assert!(shapes.iter().all(|shape| shape.len() == spatial.len() + 2) && spatial.len() >= 2);
    let written = match pass {
        Pass::Images => 0,
        Pass::Weights => 1,
        Pass::Forward => 2,
    };
    let size = |k: usize| shapes[k].iter().product::<usize>();
    // SAFETY: by the caller.
    let read = |k: usize| if k == written { None } else { Some(unsafe { read(types.operands, addresses[k], size(k)) }) };
    let tensors = [0, 1, 2].map(read);
    let number = |k: usize, at: usize| tensors[k].as_ref().map_or(1.0, |array| operand(types.sums, array.f(at)));
    let mut result = vec![0.0; size(written)];
    let [x, w, y] = shapes;
    for place in places(y) {
        for element in places(&w[1..]) {
            let inside = |(i, s): (usize, &igneous_runtime::cuda::Spatial)| {
                let at = (place[2 + i] * s.stride + element[1 + i] * s.dilation).checked_sub(s.padding)?;
                (at < x[2 + i]).then_some(at)
            };
            let Some(at) = spatial.iter().enumerate().map(inside).collect::<Option<Vec<usize>>>() else { continue };
            let image = [&[place[0], element[0]], &at[..]].concat();
            let weight = [&[place[1]], &element[..]].concat();
            let positions = [flat(&image, x), flat(&weight, w), flat(&place, y)];
            let factors: f64 = (0..3).map(|k| number(k, positions[k])).product();
            result[positions[written]] += factors;
        }
    }
    let bytes = Array::floats(types.result, shapes[written].clone(), result).rounded().to_bytes();
    // SAFETY: by the caller.
    unsafe { (addresses[written] as *mut u8).copy_from(bytes.as_ptr(), bytes.len()) };
}

/// The product.
///
/// # Safety
/// There are the matrices that `gemm` describes.
unsafe fn multiply(gemm: &Gemm, addresses: &[u64]) {
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
            let result = match types.result.is_float() {
                true => Array::from_fn_f64(types.result, [*m], element).rounded(),
                false => Array::from_fn_i64(types.result, [*m], |row| element(row) as i64),
            };
            let bytes = result.to_bytes();
            let to = place(2, d, of_result) + at(d, 0, column) as u64 * of_result;
            // SAFETY: by the caller.
            unsafe { (to as *mut u8).copy_from(bytes.as_ptr(), bytes.len()) };
        }
    }
}
