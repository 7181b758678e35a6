//! The models of the workloads.

use igneous::nn::{Conv2d, Flatten, Forward, Gru, GruOptions, Linear, Lstm, LstmOptions, MaxPool2d, Module, Relu, Sequential};
use igneous::{Tensor, default};

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

/// A recurrent layer over `[batch, steps, features]` and a linear layer on the outputs of the last step.
#[derive(Module)]
pub struct LastStep<R> {
    layer: R,
    head: Linear,
}

/// With an LSTM.
pub fn lstm(inputs: usize, hidden: usize, classes: usize) -> LastStep<Lstm> {
    let layer = Lstm::with(inputs, hidden, LstmOptions { batch_first: true, ..default() });
    LastStep { layer, head: Linear::new(hidden, classes) }
}

/// With a GRU.
pub fn gru(inputs: usize, hidden: usize, classes: usize) -> LastStep<Gru> {
    let layer = Gru::with(inputs, hidden, GruOptions { batch_first: true, ..default() });
    LastStep { layer, head: Linear::new(hidden, classes) }
}

impl Forward for LastStep<Lstm> {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.head.forward(&self.layer.forward(x, None).0.i((.., -1)))
    }
}

impl Forward for LastStep<Gru> {
    fn forward(&self, x: &Tensor) -> Tensor {
        self.head.forward(&self.layer.forward(x, None).0.i((.., -1)))
    }
}
