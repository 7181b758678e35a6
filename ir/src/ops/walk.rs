//! Row-major walks over strided views, for reference implementations.

/// Row-major strides, in elements.
pub(crate) fn strides(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i] as isize;
    }
    strides
}

/// `start + Σ index · stride` for each index of `shape` in row-major order.
pub(crate) fn positions(shape: &[usize], start: isize, strides: &[isize]) -> Vec<usize> {
    let mut positions = vec![start];
    for (&n, &stride) in shape.iter().zip(strides) {
        positions = positions.iter().flat_map(|&p| (0..n as isize).map(move |i| p + i * stride)).collect();
    }
    positions.into_iter().map(|p| p as usize).collect()
}
