//! Style transfer: an image with the content of one picture and the style of another.
//!
//!     cargo run --release --example style
//!     cargo run --release --example style -- --weights vgg16.safetensors
//!     cargo run --release --example style -- --check
//!
//! Style is how the channels of a convolutional network go together (Gram matrices), content what deeper ones see. What is trained
//! is the image. Without weights of VGG-16 (torchvision's names) a small network with random weights looks at it: it sees edges
//! and colours only, which is enough for these two pictures, a ball and stripes.
//! Writes style.png: content, style, result.

mod mode;

use clap::Parser;
use igneous::data::Progress;
use igneous::nn::{ModuleExt, StateDict};
use igneous::optim::{Adam, Optimizer, Sgd};
use igneous::{Result, Tensor, compile, manual_seed, no_grad};
use igneous_models::{VggFeatures, gram_matrix};
use igneous_train::{image_grid, save_image};
use mode::Mode;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Paints a picture in the style of another.
#[derive(Parser)]
struct Arguments {
    /// Steps of the image.
    #[arg(long, default_value_t = 300)]
    steps: usize,
    /// Height and width of the image.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..=4096))]
    size: u32,
    /// How much style counts against content.
    #[arg(long, default_value_t = 1.0)]
    style: f64,
    #[command(flatten)]
    mode: Mode,
    /// A file with the weights of VGG-16's convolutions.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Where the pictures are written.
    #[arg(long, value_name = "FILE", default_value = "style.png")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let (mode, size) = (arguments.mode, arguments.size as usize);
    manual_seed(mode.seed);
    // Nothing is flat: where neighbours are equal, rounding would decide which of them the pooling takes.
    let content = picture(size, |x, y| {
        let ball = x.hypot(y) < 0.6;
        let shade = if ball { 1.0 - 0.5 * (x - 0.3).hypot(y + 0.3) } else { 0.8 + 0.1 * x + 0.15 * y };
        (if ball { [0.95, 0.85, 0.3] } else { [0.25, 0.35, 0.6] }).map(|colour| colour * shade)
    });
    let style = picture(size, |x, y| {
        let wave = 0.5 + 0.5 * (14.0 * (x + y) + 2.0 * (5.0 * x).sin()).sin();
        [wave, 0.3 + 0.4 * wave, 0.8 - 0.6 * wave]
    });
    let Eye { net, content_at, style_at } = Eye::new(arguments.weights.as_deref())?;
    let (content_seen, style_seen) = no_grad(|| (net.results(&content, content_at), net.results(&style, style_at)));
    let grams: Vec<Tensor> = style_seen.iter().map(gram_matrix).collect();

    // The image is trained, the network is not.
    net.parameters().iter().for_each(|p| drop(p.freeze()));
    let image = Tensor::parameter(content.clone());
    // Adam divides gradients by their own size, so that a pixel without one follows rounding errors: nothing to compare by.
    let optimizer: Box<dyn Optimizer> = match mode.check {
        true => Box::new(Sgd::new(vec![image.clone()], 1.0)?),
        false => Box::new(Adam::new(vec![image.clone()], 0.02)?),
    };
    let relative = |found: &Tensor, wanted: &Tensor| found.mse_loss(wanted) / (wanted.square().mean_all() + 1e-12);
    let step = compile(|| {
        let image = image.clamp(0.0, 1.0);
        let seen = net.results(&image, content_at);
        let content = seen.iter().zip(&content_seen).fold(Tensor::scalar(0.0), |sum, (a, b)| sum + relative(a, b));
        let seen = net.results(&image, style_at);
        let style = seen.iter().zip(&grams).fold(Tensor::scalar(0.0), |sum, (a, b)| sum + relative(&gram_matrix(a), b));
        (&content + &style * arguments.style).backward()?;
        optimizer.step()?;
        Ok([content, style])
    })
    .name("step");
    if mode.check {
        return mode.compare(&step, (0..arguments.steps.min(20)).map(|_| Ok(())), 1e-3);
    }

    let start = Instant::now();
    let progress = Progress::new(0..arguments.steps, "painting");
    let bar = progress.bar();
    println!(" step  content   style     time");
    for k in progress {
        let [content, style] = mode.run(&step, ())?;
        if k % (arguments.steps / 6).max(1) == 0 || k + 1 == arguments.steps {
            let (content, style, seconds) = (content.item()?, style.item()?, start.elapsed().as_secs_f64());
            bar.suspend(|| println!("{:5}  {content:7.4}  {style:6.4}  {seconds:5.1} s", k + 1));
        }
    }
    let pictures = Tensor::cat(&[content, style, image.detach().clamp(0.0, 1.0)], 0);
    save_image(&image_grid(&pictures, 3, 2), &arguments.out)?;
    println!("wrote content, style and result to {}", arguments.out.display());
    Ok(())
}

/// The network that looks at pictures, and the layers whose results are content and style.
struct Eye {
    net: VggFeatures,
    content_at: &'static [usize],
    style_at: &'static [usize],
}

impl Eye {
    /// VGG-16 with weights from a file, or a small network with random ones.
    fn new(weights: Option<&Path>) -> Result<Eye> {
        let Some(file) = weights else {
            return Ok(Eye { net: VggFeatures::with(&[&[32, 32], &[64]]), content_at: &[6], style_at: &[1, 3, 6] });
        };
        let net = VggFeatures::vgg16();
        let mut convolutions = StateDict::new();
        for (name, value) in StateDict::load(file)?.iter().filter(|(name, _)| name.starts_with("features.")) {
            convolutions.insert(name, value.clone());
        }
        net.load_state_dict(&convolutions).map_err(|e| e.context(file.display()))?;
        Ok(Eye { net, content_at: &[15], style_at: &[3, 8, 15, 22] })
    }
}

/// A picture `[1, 3, size, size]` from the colour at each place, of which both coordinates go from −1 to 1.
fn picture(size: usize, colour: impl Fn(f64, f64) -> [f64; 3]) -> Tensor {
    let at = |i: usize| 2.0 * i as f64 / (size - 1) as f64 - 1.0;
    let pixels: Vec<[f64; 3]> = (0..size * size).map(|i| colour(at(i % size), at(i / size))).collect();
    let planes: Vec<f32> = (0..3).flat_map(|channel| pixels.iter().map(move |p| p[channel] as f32)).collect();
    Tensor::from_vec(planes, (1, 3, size, size))
}
