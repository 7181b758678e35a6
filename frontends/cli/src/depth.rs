//! `igneous depth`: the compile time of a transformer's training step against the number of equal layers; the last column is
//! what each layer more than in the row before took.

use igneous::nn::{Forward, Gelu, LayerNorm, Linear, Module, ModuleExt, Sequential};
use igneous::optim::{Optimizer, Sgd};
use igneous::{Attention, DType, Error, Result, Tensor, compile, default, manual_seed, spec};
use std::time::{Duration, Instant};

const WIDTH: usize = 64;
const HEADS: usize = 4;
const BATCH: usize = 2;
const LENGTH: usize = 32;

/// The arguments of `igneous depth`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Numbers of layers to compile.
    #[arg(value_delimiter = ',', default_value = "12,24,48")]
    layers: Vec<usize>,
    /// Compilations of each; their median counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Print the milliseconds of each pass.
    #[arg(long)]
    passes: bool,
}

/// A layer of a transformer that normalises first: attention, then a feed-forward part.
#[derive(Clone, Module)]
struct Layer {
    norm1: LayerNorm,
    projection: Linear,
    output: Linear,
    norm2: LayerNorm,
    inner: Sequential,
}

impl Layer {
    fn new() -> Layer {
        let inner = Sequential::new().push(Linear::new(WIDTH, 4 * WIDTH)).push(Gelu).push(Linear::new(4 * WIDTH, WIDTH));
        Layer {
            norm1: LayerNorm::new(WIDTH),
            projection: Linear::new(WIDTH, 3 * WIDTH),
            output: Linear::new(WIDTH, WIDTH),
            norm2: LayerNorm::new(WIDTH),
            inner,
        }
    }

    fn attention(&self, x: &Tensor) -> Tensor {
        let [b, t, _] = x.dims();
        let projected = self.projection.forward(x).reshape((b, t, 3usize, HEADS, WIDTH / HEADS)).permute([2, 0, 3, 1, 4]);
        let [q, k, v] = [0, 1, 2].map(|part| projected.i(part));
        let seen = q.scaled_dot_product_attention(&k, &v, &Attention { causal: true, ..default() });
        self.output.forward(&seen.transpose(1, 2).reshape((b, t, WIDTH)))
    }
}

impl Forward for Layer {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = x + self.attention(&self.norm1.forward(x));
        &x + self.inner.forward(&self.norm2.forward(&x))
    }
}

/// Runs the command.
///
/// # Errors
/// If a model does not compile.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.layers.contains(&0) {
        return Err(Error::new("a model has at least one layer"));
    }
    println!("{:>6} {:>7} {:>9} {:>8} {:>12} {:>12}", "layers", "nodes", "launches", "blocks", "compile ms", "ms further");
    let mut previous: Option<(usize, f64)> = None;
    for &layers in &arguments.layers {
        manual_seed(0);
        let net = (0..layers).fold(Sequential::new(), |net, _| net.push(Layer::new()));
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
            let program = step.lower((spec(DType::F32, (BATCH, LENGTH, WIDTH)), spec(DType::F32, (BATCH, LENGTH, WIDTH))))?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            passes.add(program.pass_times());
            row = (program.traced().len(), program.launches(), program.distinct_blocks());
        }
        let ms = crate::median(&mut times);
        let further = previous.map(|(fewer, before)| (ms - before) / (layers as f64 - fewer as f64));
        let further = further.map_or_else(|| "".to_owned(), |ms| format!("{ms:.3}"));
        println!("{layers:>6} {:>7} {:>9} {:>8} {ms:>12.2} {further:>12}", row.0, row.1, row.2);
        previous = Some((layers, ms));
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
        self.0.iter_mut().for_each(|(pass, times)| println!("       {pass:16} {:>10.2}", crate::median(times)));
    }
}
