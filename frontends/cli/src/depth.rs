//! `igneous depth`: the compile time of a training step against the number of equal layers.

use igneous::nn::{Forward, Gelu, LayerNorm, Linear, Module, ModuleExt, Sequential};
use igneous::optim::{Optimizer, Sgd};
use igneous::{DType, Error, Result, Tensor, compile, manual_seed, spec};
use std::time::{Duration, Instant};

/// The arguments of `igneous depth`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Numbers of layers to compile.
    #[arg(value_delimiter = ',', default_value = "4,16,64")]
    layers: Vec<usize>,
    /// Compilations of each; their median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Print the milliseconds of each pass.
    #[arg(long)]
    passes: bool,
}

/// `x + linear(gelu(linear(norm(x))))`: the feed-forward half of a transformer layer.
#[derive(Clone, Module)]
struct Layer {
    norm: LayerNorm,
    inner: Sequential,
}

impl Layer {
    fn new(width: usize) -> Layer {
        let inner = Sequential::new().push(Linear::new(width, 4 * width)).push(Gelu).push(Linear::new(4 * width, width));
        Layer { norm: LayerNorm::new(width), inner }
    }
}

impl Forward for Layer {
    fn forward(&self, x: &Tensor) -> Tensor {
        x + self.inner.forward(&self.norm.forward(x))
    }
}

/// Runs the command.
///
/// # Errors
/// If a model does not compile.
pub fn run(arguments: &Arguments) -> Result<()> {
    const WIDTH: usize = 64;
    if arguments.layers.contains(&0) {
        return Err(Error::new("a model has at least one layer"));
    }
    println!("{:>6} {:>7} {:>9} {:>8} {:>12} {:>12}", "layers", "nodes", "launches", "blocks", "compile ms", "ms a layer");
    for &layers in &arguments.layers {
        manual_seed(0);
        let net = (0..layers).fold(Sequential::new(), |net, _| net.push(Layer::new(WIDTH)));
        let sgd = std::sync::Arc::new(Sgd::new(net.parameters(), 0.01)?);
        let mut times = Vec::new();
        let mut row = (0, 0, 0);
        let mut passes = Passes::default();
        for _ in 0..arguments.runs {
            let (net, sgd) = (net.clone(), sgd.clone());
            let step = compile(move |x: Tensor, y: Tensor| {
                let loss = net.forward(&x).mse_loss(&y);
                loss.backward()?;
                sgd.step()?;
                Ok(loss)
            })
            .name("step");
            let start = Instant::now();
            let program = step.lower((spec(DType::F32, (32, WIDTH)), spec(DType::F32, (32, WIDTH))))?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            passes.add(program.pass_times());
            row = (program.traced().len(), program.launches(), program.distinct_blocks());
        }
        let ms = median(&mut times);
        println!("{layers:>6} {:>7} {:>9} {:>8} {ms:>12.2} {:>12.3}", row.0, row.1, row.2, ms / layers as f64);
        if arguments.passes {
            passes.print();
        }
    }
    Ok(())
}

/// The milliseconds of each pass in several compilations.
#[derive(Default)]
pub struct Passes(Vec<(&'static str, Vec<f64>)>);

impl Passes {
    /// Notes those of a compilation, which has the same passes as all others.
    pub fn add(&mut self, times: &[(&'static str, Duration)]) {
        for (k, (pass, time)) in times.iter().enumerate() {
            if self.0.len() <= k {
                self.0.push((pass, Vec::new()));
            }
            self.0[k].1.push(time.as_secs_f64() * 1e3);
        }
    }

    /// Prints the median of each.
    pub fn print(&mut self) {
        self.0.iter_mut().for_each(|(pass, times)| println!("       {pass:16} {:>10.2}", median(times)));
    }
}

/// The time in the middle.
pub fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
