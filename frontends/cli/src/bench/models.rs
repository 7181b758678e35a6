//! The models of the workloads.

use igneous::nn::{Conv2d, Flatten, Linear, MaxPool2d, Relu, Sequential};

/// Fully connected layers of these widths with ReLU between them.
pub fn mlp(widths: &[usize]) -> Sequential {
    let last = widths.len() - 2;
    widths.windows(2).enumerate().fold(Sequential::new(), |net, (k, pair)| {
        let net = net.push(Linear::new(pair[0], pair[1]));
        if k < last { net.push(Relu) } else { net }
    })
}

/// LeNet-5 with ReLU and max-pooling for `[n, 3, 32, 32]`.
pub fn lenet() -> Sequential {
    Sequential::new()
        .push(Conv2d::new(3, 6, 5))
        .push(Relu)
        .push(MaxPool2d::new(2))
        .push(Conv2d::new(6, 16, 5))
        .push(Relu)
        .push(MaxPool2d::new(2))
        .push(Flatten::new())
        .push(mlp(&[400, 120, 84, 10]))
}
