//! Style transfer: an image with the content of one picture and the style of another.
//!
//!     cargo run --release --example style
//!     cargo run --release --example style -- --weights vgg16.safetensors
//!     cargo run --release --example style -- --check
//!
//! Style is how the channels of a convolutional network go together (Gram matrices), content what deeper ones see. What is trained
//! is the image. Without weights of VGG-16 (torchvision's names) a small network with random weights looks at it: it sees edges
//! and colours only, which is enough for these two pictures, a disc and stripes. Writes style.png: content, style, result.

use clap::Parser;
use igneous::data::Progress;
use igneous::nn::{ModuleExt, StateDict};
use igneous::optim::{Adam, Optimizer};
use igneous::testing::compare_with_eager;
use igneous::{Result, Tensor, compile, manual_seed, no_grad};
use igneous_models::{VggFeatures, gram_matrix};
use igneous_train::{image_grid, save_image};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Paints a picture in the style of another.
#[derive(Parser)]
struct Arguments {
    /// Steps of the image.
    #[arg(long, default_value_t = 300)]
    steps: usize,
    /// Height and width of the image.
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// How much style counts against content.
    #[arg(long, default_value_t = 1.0)]
    style: f64,
    /// Seed of the random weights.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run operator by operator instead of compiling.
    #[arg(long)]
    eager: bool,
    /// Compare 20 steps in eager and compiled mode.
    #[arg(long)]
    check: bool,
    /// A file with the weights of VGG-16's convolutions.
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Where the pictures are written.
    #[arg(long, value_name = "FILE", default_value = "style.png")]
    out: PathBuf,
}

/// A picture `[1, 3, size, size]` from the colour at each place, of which both coordinates go from −1 to 1.
fn picture(size: usize, colour: impl Fn(f64, f64) -> [f64; 3]) -> Tensor {
    let at = |i: usize| 2.0 * i as f64 / size.max(2).saturating_sub(1) as f64 - 1.0;
    let pixels: Vec<[f64; 3]> = (0..size * size).map(|i| colour(at(i % size), at(i / size))).collect();
    let planes: Vec<f32> = (0..3).flat_map(|channel| pixels.iter().map(move |p| p[channel] as f32)).collect();
    Tensor::from_vec(planes, (1, 3, size, size))
}

/// The image, what it should look like, and its optimizer.
struct Painting {
    net: VggFeatures,
    content_at: Vec<usize>,
    style_at: Vec<usize>,
    content: Vec<Tensor>,
    styles: Vec<Tensor>,
    weight: f64,
    image: Tensor,
    adam: Adam,
}

impl Painting {
    fn new(arguments: &Arguments, content: &Tensor, style: &Tensor) -> Result<Painting> {
        let (net, content_at, style_at) = match &arguments.weights {
            Some(file) => {
                let net = VggFeatures::vgg16();
                let mut own = StateDict::new();
                let state = StateDict::load(file)?;
                state.iter().filter(|(name, _)| name.starts_with("features.")).for_each(|(n, t)| own.insert(n, t.clone()));
                net.load_state_dict(&own)?;
                (net, vec![15], vec![3, 8, 15, 22])
            }
            None => (VggFeatures::with(&[&[32, 32], &[64]]), vec![6], vec![1, 3, 6]),
        };
        let (seen, seen_style) = no_grad(|| (net.results(content, &content_at), net.results(style, &style_at)));
        let styles = seen_style.iter().map(gram_matrix).collect();
        let image = Tensor::parameter(content.clone());
        let adam = Adam::new(vec![image.clone()], 0.02)?;
        Ok(Painting { net, content_at, style_at, content: seen, styles, weight: arguments.style, image, adam })
    }

    /// One step of the image: what is compiled, and what eager mode runs.
    fn step(&self) -> Result<[Tensor; 2]> {
        let image = self.image.clamp(0.0, 1.0);
        let relative = |found: &Tensor, wanted: &Tensor| found.mse_loss(wanted) / (wanted.square().mean_all() + 1e-12);
        let seen = self.net.results(&image, &self.content_at);
        let content = seen.iter().zip(&self.content).fold(Tensor::scalar(0.0), |sum, (a, b)| sum + relative(a, b));
        let seen = self.net.results(&image, &self.style_at);
        let style = seen.iter().zip(&self.styles).fold(Tensor::scalar(0.0), |sum, (a, b)| sum + relative(&gram_matrix(a), b));
        (&content + &style * self.weight).backward()?;
        self.adam.step()?;
        Ok([content, style])
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    manual_seed(arguments.seed);
    let content = picture(arguments.size, |x, y| if x.hypot(y) < 0.6 { [0.9, 0.8, 0.3] } else { [0.2, 0.3, 0.5] });
    let style = picture(arguments.size, |x, y| {
        let wave = 0.5 + 0.5 * (14.0 * (x + y) + 2.0 * (5.0 * x).sin()).sin();
        [wave, 0.3 + 0.4 * wave, 0.8 - 0.6 * wave]
    });
    let painting = Arc::new(Painting::new(&arguments, &content, &style)?);
    // The image is trained, the network is not.
    painting.net.parameters().iter().for_each(|p| drop(p.freeze()));
    let own = painting.clone();
    let step = compile(move || own.step()).name("step");

    if arguments.check {
        let mut largest = 0.0f64;
        for _ in 0..20 {
            largest = largest.max(compare_with_eager(&step, (), 1e-3)?);
        }
        println!("eager and compiled agree: max relative difference {largest:.1e}");
        return Ok(());
    }
    let start = Instant::now();
    let progress = Progress::new(0..arguments.steps, "painting");
    let bar = progress.bar();
    let mut table = Vec::new();
    for k in progress {
        let found = if arguments.eager { painting.step()? } else { step.run(())? };
        if k % (arguments.steps / 6).max(1) == 0 || k + 1 == arguments.steps {
            let [content, style] = [found[0].item()?, found[1].item()?];
            bar.set_message(format!("content {content:.3}, style {style:.3}"));
            table.push((k + 1, content, style));
        }
    }
    println!("{} steps in {:.1} s\n\n step  content   style", arguments.steps, start.elapsed().as_secs_f64());
    for (step, content, style) in table {
        println!("{step:5}  {content:7.4}  {style:6.4}");
    }
    let pictures = Tensor::cat(&[content, style, painting.image.detach().clamp(0.0, 1.0)], 0);
    save_image(&image_grid(&pictures, 3, 2), &arguments.out)?;
    println!("wrote content, style and result to {}", arguments.out.display());
    Ok(())
}
