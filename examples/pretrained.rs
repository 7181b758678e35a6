//! Runs a well-known network, with weights from a file of PyTorch or Hugging Face if there is one.
//!
//!     cargo run --release --example pretrained -- resnet18 --weights resnet18.pth
//!     cargo run --release --example pretrained -- gpt2 --weights model.safetensors
//!     cargo run --release --example pretrained -- vit-b-16
//!
//! Without a file the weights are random: that shows sizes and times.

use clap::{Parser, ValueEnum};
use igneous::nn::{Forward, Module, ModuleExt, StateDict};
use igneous::testing::compare_with_eager;
use igneous::{Error, Result, Tensor, compile, manual_seed, no_grad};
use igneous_models::{Bert, BertOptions, Crepe, Gpt, GptOptions, MobileNetV2, ResNet, UNet, Vit, VitOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Runs a well-known network.
#[derive(Parser)]
struct Arguments {
    /// The network.
    #[arg(value_enum)]
    model: Model,
    /// Its weights: safetensors, `.pt` or `.pth`.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// The input, called `input`, in a file of tensors; else it is random.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Inputs at once.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// How often it runs.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Run operator by operator instead of compiling.
    #[arg(long)]
    eager: bool,
    /// Compare eager and compiled mode.
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Model {
    Resnet18,
    MobilenetV2,
    #[value(name = "vit-b-16")]
    VitB16,
    Unet,
    Gpt2,
    BertBase,
    CrepeTiny,
}

/// A network in evaluation, as a function.
type Run = Arc<dyn Fn(&Tensor) -> Tensor + Send + Sync>;

/// A network with its weights, and its number of parameters.
fn of<N: Module + Send + Sync + 'static>(
    net: N,
    weights: Option<&Path>,
    load: impl Fn(&N, &StateDict) -> Result<()>,
    run: impl Fn(&N, &Tensor) -> Tensor + Send + Sync + 'static,
) -> Result<(Run, usize)> {
    if let Some(file) = weights {
        load(&net, &StateDict::load(file)?).map_err(|e| e.context(file.display()))?;
    }
    net.eval();
    let count = net.parameter_count();
    Ok((Arc::new(move |x| no_grad(|| run(&net, x))), count))
}

/// [`of`] for networks of one tensor whose file has PyTorch's names.
fn of_forward<N: Forward + 'static>(net: N, weights: Option<&Path>) -> Result<(Run, usize)> {
    of(net, weights, |net, state| net.load_state_dict(state), |net, x| net.forward(x))
}

/// The largest results.
fn show(model: Model, y: &Tensor) -> Result<()> {
    let (what, scores) = match model {
        Model::Resnet18 | Model::MobilenetV2 | Model::VitB16 => ("classes", y.softmax(-1).i(0)),
        Model::Gpt2 => ("next tokens", y.i((0, -1)).softmax(-1)),
        Model::CrepeTiny => ("pitches, in steps of 20 cents", y.i(0)),
        Model::Unet | Model::BertBase => {
            println!(
                "result {}, mean {:.4}, deviation {:.4}",
                y.ty()?,
                y.mean_all().item()?,
                y.square().mean_all().sqrt().item()?
            );
            return Ok(());
        }
    };
    let (values, places) = scores.topk(5, 0);
    println!("most likely {what}:");
    for (value, place) in values.to_f64_vec()?.iter().zip(places.to_i64_vec()?) {
        println!("{place:7}  {value:.4}");
    }
    Ok(())
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    manual_seed(1);
    let (model, weights, batch) = (arguments.model, arguments.weights.as_deref(), arguments.batch);
    let image = |size: usize| Tensor::randn((batch, 3, size, size));
    let (made, input) = match model {
        Model::Resnet18 => (of_forward(ResNet::resnet18(1000), weights), image(224)),
        Model::MobilenetV2 => (of_forward(MobileNetV2::new(1000), weights), image(224)),
        Model::VitB16 => (of_forward(Vit::new(1000, VitOptions::b_16()), weights), image(224)),
        Model::Unet => (of_forward(UNet::new(2), weights), image(128)),
        Model::CrepeTiny => (of_forward(Crepe::tiny(), weights), Tensor::randn((batch, 1024))),
        Model::Gpt2 => {
            let net = Gpt::new(GptOptions::gpt2());
            (of(net, weights, Gpt::load_hugging_face, |net, x| net.forward(x)), Tensor::randint(0, 50257, (batch, 64)))
        }
        Model::BertBase => {
            let (net, load) = (Bert::new(BertOptions::base()), |net: &Bert, state: &StateDict| net.load_state_dict(state));
            (of(net, weights, load, |net, x| net.forward(x, None, None).0), Tensor::randint(0, 30522, (batch, 64)))
        }
    };
    let (run, count) = made?;
    let input = match &arguments.input {
        Some(file) => {
            let state = StateDict::load(file)?;
            state.get("input").cloned().ok_or_else(|| Error::new(format!("{} has no `input`", file.display())))?
        }
        None => input,
    };
    println!("{count} parameters; input {}", input.ty()?);
    let own = run.clone();
    let compiled = compile(move |x: Tensor| own(&x)).name("run");
    if arguments.check {
        let difference = compare_with_eager(&compiled, input, 1e-3)?;
        println!("eager and compiled agree: max relative difference {difference:.1e}");
        return Ok(());
    }
    let mut y = input.clone();
    for k in 0..arguments.runs.max(1) {
        let start = Instant::now();
        y = if arguments.eager { run(&input) } else { compiled.run(input.clone())? };
        y.check()?;
        println!("run {}: {:.1} ms", k + 1, start.elapsed().as_secs_f64() * 1e3);
    }
    show(model, &y)
}
