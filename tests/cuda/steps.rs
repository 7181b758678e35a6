//! Training steps of small networks, as they are traced.

use igneous::nn::{
    Conv2d, Flatten, Forward, LayerNorm, Linear, Lstm, MaxPool2d, ModuleExt, Relu, Sequential, TransformerEncoderLayer,
    TransformerOptions,
};
use igneous::optim::{Adam, Optimizer, Sgd};
use igneous::{DType, Result, Tensor, compile, manual_seed, spec};
use igneous_ir::array::Array;
use igneous_ir::graph::Graph;
use igneous_ir::op::Fill;
use igneous_ir::sample;
use std::sync::Arc;

/// Name, graph and inputs.
pub type Step = (&'static str, Graph, Vec<Array>);

/// The steps of the MNIST example's networks, an LSTM and a block of a transformer.
///
/// # Errors
/// If one cannot be traced.
pub fn steps() -> Result<Vec<Step>> {
    manual_seed(0);
    let mlp = Sequential::new().push(Flatten::new()).push(Linear::new(784, 64)).push(Relu).push(Linear::new(64, 10));
    let sgd = Arc::new(Sgd::new(mlp.parameters(), 0.01)?);
    let lenet = Sequential::new()
        .push(Conv2d::new(1, 6, 5))
        .push(Relu)
        .push(MaxPool2d::new(2))
        .push(Conv2d::new(6, 16, 5))
        .push(Relu)
        .push(MaxPool2d::new(2))
        .push(Flatten::new())
        .push(Linear::new(256, 10));
    let adam = |parameters: Vec<Tensor>| Ok::<_, igneous::Error>(Arc::new(Adam::new(parameters, 0.01)?));
    let of_lenet = adam(lenet.parameters())?;
    let (lstm, head) = (Lstm::new(8, 16), Linear::new(16, 10));
    let of_lstm = adam([lstm.parameters(), head.parameters()].concat())?;
    let options = TransformerOptions { hidden: 64, batch_first: true, ..TransformerOptions::default() };
    let block = TransformerEncoderLayer::with(32, 4, options);
    let last = Sequential::new().push(LayerNorm::new(32)).push(Linear::new(32, 10));
    let of_block = adam([block.parameters(), last.parameters()].concat())?;
    Ok(vec![
        step("mlp", move |x| mlp.forward(x), sgd, &[8, 1, 28, 28], 8)?,
        step("lenet", move |x| lenet.forward(x), of_lenet, &[4, 1, 28, 28], 4)?,
        step("lstm", move |x| head.forward(&lstm.forward(x, None).0.i(-1)), of_lstm, &[6, 5, 8], 5)?,
        step("transformer", move |x| last.forward(&block.forward(x).mean(1)), of_block, &[2, 12, 32], 2)?,
    ])
}

/// A step of a network that tells ten classes apart.
fn step(
    name: &'static str,
    forward: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static,
    optimizer: Arc<dyn Optimizer>,
    shape: &[usize],
    batch: usize,
) -> Result<Step> {
    let step = compile(move |x: Tensor, y: Tensor| {
        let loss = forward(&x).cross_entropy(&y);
        loss.backward()?;
        optimizer.step()?;
        Ok(loss)
    });
    let graph = step.lower((spec(DType::F32, shape.to_vec()), spec(DType::I64, batch)))?.traced().clone();
    let inputs = graph.inputs().iter().enumerate().map(|(k, (v, _))| {
        // Nothing is negative: the second moments of the optimizer are not.
        let ty = graph.ty(*v);
        let fill = if ty.dtype.is_float() { Fill::Uniform(0.001, 0.1) } else { Fill::Range(0, 10) };
        sample::array(ty, fill, 3, k)
    });
    let inputs = inputs.collect::<Result<_>>()?;
    Ok((name, graph, inputs))
}
