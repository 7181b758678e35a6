//! Runs a well-known network, with weights from a file of PyTorch or Hugging Face if there is one.
//!
//!     cargo run --release --example pretrained -- resnet18 --weights resnet18.pth
//!     cargo run --release --example pretrained -- gpt2 --weights model.safetensors
//!     cargo run --release --example pretrained -- vit-b-16
//!
//! A picture is `--input cat.jpg`. Without a file the weights are random: that shows sizes and times.

mod mode;

use clap::{Parser, ValueEnum};
use igneous::data::read_image;
use igneous::nn::{Forward, Module, ModuleExt, StateDict};
use igneous::{Error, Interpolation, Result, Tensor, compile, manual_seed, no_grad};
use igneous_models::{Bert, BertOptions, Crepe, Gpt, GptOptions, MobileNetV2, ResNet, UNet, Vit, VitOptions};
use mode::Mode;
use std::path::{Path, PathBuf};
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
    /// The input: a picture for a network of images, or `input` in a file of tensors; else it is random.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Inputs at once.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// How often it runs.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    #[command(flatten)]
    mode: Mode,
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
type Run = Box<dyn Fn(&Tensor) -> Tensor + Send + Sync>;

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
    Ok((Box::new(move |x| no_grad(|| run(&net, x))), count))
}

/// [`of`] for networks of one tensor whose file has PyTorch's names.
fn of_forward<N: Forward + 'static>(net: N, weights: Option<&Path>) -> Result<(Run, usize)> {
    of(net, weights, |net, state| net.load_state_dict(state), |net, x| net.forward(x))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mode = arguments.mode;
    manual_seed(mode.seed);
    let (model, weights, batch) = (arguments.model, arguments.weights.as_deref(), arguments.batch);
    let image = |size: usize| Tensor::randn((batch, 3, size, size));
    let ((net, count), input) = match model {
        Model::Resnet18 => (of_forward(ResNet::resnet18(1000), weights)?, image(224)),
        Model::MobilenetV2 => (of_forward(MobileNetV2::new(1000), weights)?, image(224)),
        Model::VitB16 => (of_forward(Vit::new(1000, VitOptions::b_16()), weights)?, image(224)),
        Model::Unet => (of_forward(UNet::new(2), weights)?, image(128)),
        Model::CrepeTiny => (of_forward(Crepe::tiny(), weights)?, Tensor::randn((batch, 1024))),
        Model::Gpt2 => {
            let net = Gpt::new(GptOptions::gpt2());
            (of(net, weights, Gpt::load_hugging_face, |net, x| net.forward(x))?, Tensor::randint(0, 50257, (batch, 64)))
        }
        Model::BertBase => {
            let (net, load) = (Bert::new(BertOptions::base()), |net: &Bert, state: &StateDict| net.load_state_dict(state));
            (of(net, weights, load, |net, x| net.forward(x, None, None).0)?, Tensor::randint(0, 30522, (batch, 64)))
        }
    };
    let input = match &arguments.input {
        Some(file) => read_input(file, input.size(-1).get()?)?,
        None => input,
    };
    println!("{count} parameters; input {}", input.ty()?);
    let run = compile(|x: Tensor| net(&x)).name("run");
    if mode.check {
        return mode.compare(&run, std::iter::once(Ok(input)), 1e-3);
    }
    for k in 0..arguments.runs {
        let start = Instant::now();
        let y = mode.run(&run, input.clone())?;
        y.check()?;
        println!("run {}: {:.1} ms", k + 1, start.elapsed().as_secs_f64() * 1e3);
        if k + 1 == arguments.runs {
            show(model, &y)?;
        }
    }
    Ok(())
}

/// A picture of this size as torchvision's networks want it, or a tensor from a file.
fn read_input(file: &Path, size: usize) -> Result<Tensor> {
    let kind = file.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    if let Some("png" | "jpg" | "jpeg") = kind.as_deref() {
        let image = read_image(file)?.unsqueeze(0).interpolate_antialiased(&[size, size], Interpolation::Linear);
        let of_channels = |values: [f32; 3]| Tensor::new(values).reshape((3, 1, 1));
        return Ok((image - of_channels([0.485, 0.456, 0.406])) / of_channels([0.229, 0.224, 0.225]));
    }
    let tensors = StateDict::load(file)?;
    tensors.get("input").cloned().ok_or_else(|| Error::new(format!("{} has no tensor `input`", file.display())))
}

/// The largest results.
fn show(model: Model, y: &Tensor) -> Result<()> {
    let (what, scores) = match model {
        Model::Resnet18 | Model::MobilenetV2 | Model::VitB16 => ("classes", y.softmax(-1).i(0)),
        Model::Gpt2 => ("next tokens", y.i((0, -1)).softmax(-1)),
        Model::CrepeTiny => ("pitches, in steps of 20 cents", y.i(0)),
        Model::Unet | Model::BertBase => {
            let (mean, size) = (y.mean_all().item()?, y.square().mean_all().sqrt().item()?);
            println!("result {}, mean {mean:.4}, root of the mean square {size:.4}", y.ty()?);
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
