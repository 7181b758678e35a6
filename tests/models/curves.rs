//! Training with equal weights and batches gives PyTorch's losses, which `tests/parity/curves.py` wrote.
//!
//! The measure is what single precision does to PyTorch itself: its deviation from its own losses in double precision, the
//! largest up to a step, and at least one unit in the last place of the loss, because a loss is a number of single precision.
//! igneous may deviate three times as much, up to the step where PyTorch's deviation passes one percent. In double precision the
//! same losses have to come out nearly exactly, so that no difference of formulas hides behind rounding.
//!
//! PyTorch's run is that with the very same batches. Only for ResNet, whose statistics of small batches magnify the last bits, it is
//! the farthest of four that have the samples of each batch in other orders: those deviate up to six times as much as each other.

use crate::values::{filled, values};
use flate2::read::GzDecoder;
use igneous::data::{Dataset, Mnist};
use igneous::nn::{Forward, ModuleExt, StateDict};
use igneous::optim::{Adam, AdamOptions, AdamW, AdamWOptions, Optimizer, Sgd, SgdOptions};
use igneous::{DType, Result, Tensor, compile, default};
use igneous_models::*;
use std::io::Read;
use std::sync::{Arc, LazyLock};

static TORCH: LazyLock<StateDict> =
    LazyLock::new(|| StateDict::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/curves.safetensors")).unwrap());

static MNIST: LazyLock<Mnist> = LazyLock::new(|| Mnist::train(data("mnist")).unwrap());

/// The numbers of Tiny Shakespeare's characters.
static TEXT: LazyLock<Vec<i64>> = LazyLock::new(|| {
    let packed = std::fs::read(format!("{}/input.txt.gz", data("tinyshakespeare"))).unwrap();
    let mut text = Vec::new();
    GzDecoder::new(&packed[..]).read_to_end(&mut text).unwrap();
    let mut characters = text.clone();
    characters.sort_unstable();
    characters.dedup();
    text.iter().map(|c| characters.binary_search(c).unwrap() as i64).collect()
});

fn data(name: &str) -> String {
    format!("{}/examples/data/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn torch(name: &str) -> Vec<f64> {
    TORCH.get(name).unwrap_or_else(|| panic!("curves.py writes no {name}")).to_f64_vec().unwrap()
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Mode {
    Eager,
    Compiled,
}

/// Nets and optimizers in training.
trait Training: Send + Sync + 'static {
    /// One step: the losses, and the gradients of all parameters.
    fn step(&self, batch: &[Tensor]) -> Result<(Vec<Tensor>, Vec<Tensor>)>;

    /// The names of the parameters.
    fn names(&self) -> Vec<String>;
}

/// A classifier.
struct Classified<M, O> {
    net: M,
    optimizer: O,
}

impl<M: Forward + 'static, O: Optimizer + 'static> Training for Classified<M, O> {
    fn step(&self, batch: &[Tensor]) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
        let logits = self.net.forward(&batch[0]);
        let loss = logits.flatten(0, -2).cross_entropy(&batch[1].flatten_all());
        loss.backward()?;
        let gradients = self.net.parameters().iter().filter_map(Tensor::grad).collect();
        self.optimizer.step()?;
        Ok((vec![loss], gradients))
    }

    fn names(&self) -> Vec<String> {
        self.net.named_parameters().into_iter().map(|(name, _)| name).collect()
    }
}

/// A generator and the discriminator that it learns to deceive.
struct Adversaries {
    generator: Generator,
    discriminator: Discriminator,
    of_generator: Adam,
    of_discriminator: Adam,
}

impl Training for Adversaries {
    fn step(&self, batch: &[Tensor]) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
        let Adversaries { generator, discriminator, of_generator, of_discriminator } = self;
        let (real, noise) = (&batch[0], &batch[1]);
        let judged = |images: &Tensor, target: f64| {
            let logits = discriminator.forward(images);
            logits.binary_cross_entropy_with_logits(&logits.full_like(target))
        };
        let fake = generator.forward(noise);
        let first = judged(real, 1.0) + judged(&fake.detach(), 0.0);
        first.backward()?;
        let mut gradients: Vec<Tensor> = discriminator.parameters().iter().filter_map(Tensor::grad).collect();
        of_discriminator.step()?;
        let second = judged(&fake, 1.0);
        second.backward()?;
        gradients.extend(generator.parameters().iter().filter_map(Tensor::grad));
        of_generator.step()?;
        discriminator.zero_grad();
        Ok((vec![first, second], gradients))
    }

    fn names(&self) -> Vec<String> {
        let named = |net: &str, parameters: Vec<(String, Tensor)>| {
            parameters.into_iter().map(|(name, _)| format!("{net}.{name}")).collect::<Vec<_>>()
        };
        let mut names = named("discriminator", self.discriminator.named_parameters());
        names.extend(named("generator", self.generator.named_parameters()));
        names
    }
}

/// The losses of training on these batches.
fn losses<T: Training>(training: T, batches: impl Iterator<Item = Result<Vec<Tensor>>>, mode: Mode) -> Result<Vec<f64>> {
    let training = Arc::new(training);
    let own = training.clone();
    let compiled = compile(move |batch: Vec<Tensor>| own.step(&batch).map(|(losses, _)| losses));
    let mut found = Vec::new();
    for batch in batches {
        let losses = match mode {
            Mode::Eager => training.step(&batch?)?.0,
            Mode::Compiled => compiled.run(batch?)?,
        };
        for loss in losses {
            found.push(loss.item()?);
        }
    }
    Ok(found)
}

/// The largest absolute difference to the exact losses so far, at each step.
fn deviations(found: &[f64], exact: &[f64]) -> Vec<f64> {
    let largest = |largest: &mut f64, (a, b): (&f64, &f64)| {
        *largest = largest.max(if a.is_nan() { f64::INFINITY } else { (a - b).abs() });
        Some(*largest)
    };
    found.iter().zip(exact).scan(0.0, largest).collect()
}

/// Compares training with PyTorch's, of which so many runs count. `make` makes nets and optimizers for a type of elements, `batch`
/// the batch of a step.
fn check<T: Training>(
    case: &str,
    runs: usize,
    make: impl Fn(DType) -> Result<T>,
    batch: impl Fn(usize, DType) -> Result<Vec<Tensor>>,
) -> Result<()> {
    let (exact, single) = (torch(&format!("{case}/f64")), torch(&format!("{case}/f32")));
    let runs: Vec<Vec<f64>> = single.chunks(exact.len()).take(runs).map(|run| deviations(run, &exact)).collect();
    let allowed: Vec<f64> = (0..exact.len())
        .map(|step| runs.iter().map(|run| run[step]).fold(exact[step].abs() * f64::from(f32::EPSILON), f64::max))
        .collect();
    let compared = allowed.iter().zip(&exact).take_while(|(d, loss)| **d <= 0.01 * loss.abs()).count();
    let mut problems = Vec::new();
    for mode in [Mode::Eager, Mode::Compiled] {
        let run = |dtype: DType| {
            let per_step = make(dtype)?.step(&batch(0, dtype)?)?.0.len();
            // That step has changed the weights of a training that is not used further.
            losses(make(dtype)?, (0..compared.div_ceil(per_step)).map(|step| batch(step, dtype)), mode)
        };
        let own = deviations(&run(DType::F32)?, &exact);
        let ratios = own.iter().zip(&allowed).take(compared).map(|(own, allowed)| own / allowed);
        let (at, largest) = ratios.enumerate().fold((0, 0.0), |most, (i, ratio)| if ratio > most.1 { (i, ratio) } else { most });
        let double = deviations(&run(DType::F64)?, &exact);
        let double = double.iter().zip(&exact).take(compared).map(|(d, loss)| d / loss.abs()).fold(0.0, f64::max);
        println!(
            "{case}, {mode:?}: {compared} of {} losses compared, {:.3} to {:.3}; largest ratio {largest:.2} (of loss {at}); in f64 \
             they differ by {double:.0e}",
            exact.len(),
            exact[0],
            exact[compared - 1],
        );
        if largest > 3.0 {
            let (own, allowed) = (own[at], allowed[at]);
            problems.push(format!("{case}, {mode:?}: loss {at} deviates by {own:.1e}, and PyTorch's by {allowed:.1e}"));
        }
        if double > 1e-9 {
            problems.push(format!("{case}, {mode:?}: in f64 losses differ by {double:.1e}"));
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
    Ok(())
}

/// Compares the losses and all gradients of the first step.
fn check_first<T: Training>(
    case: &str,
    make: impl Fn(DType) -> Result<T>,
    batch: impl Fn(usize, DType) -> Result<Vec<Tensor>>,
) -> Result<()> {
    for mode in [Mode::Eager, Mode::Compiled] {
        let training = Arc::new(make(DType::F32)?);
        let names = training.names();
        let own = training.clone();
        let compiled = compile(move |batch: Vec<Tensor>| own.step(&batch));
        let (_, gradients) = match mode {
            Mode::Eager => training.step(&batch(0, DType::F32)?)?,
            Mode::Compiled => compiled.run(batch(0, DType::F32)?)?,
        };
        assert_eq!(gradients.len(), names.len());
        let (mut largest, mut of) = (0.0f64, "");
        for (name, gradient) in names.iter().zip(&gradients) {
            let exact = torch(&format!("{case}/gradient/{name}"));
            let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
            let found = gradient.to_f64_vec()?;
            assert_eq!(found.len(), exact.len());
            let own = norm(&mut found.iter().zip(&exact).map(|(a, b)| a - b));
            let least = f64::from(f32::EPSILON) * norm(&mut exact.iter().copied());
            let ratio = own / torch(&format!("{case}/deviation/{name}")).into_iter().fold(least, f64::max);
            if ratio.is_nan() || ratio > largest {
                (largest, of) = (ratio, name);
            }
        }
        println!(
            "{case}, {mode:?}: {} gradients of the first step; largest ratio of deviations {largest:.2} ({of})",
            names.len()
        );
        assert!(largest <= 3.0, "{case}, {mode:?}: the gradient of {of} deviates {largest:.2} times as much as PyTorch's");
    }
    Ok(())
}

/// The images of a step and their classes.
fn images(step: usize, count: usize, dtype: DType) -> Result<Vec<Tensor>> {
    let (x, y) = MNIST.batch(&(step * count..(step + 1) * count).collect::<Vec<_>>())?;
    Ok(vec![x.to_dtype(dtype), y])
}

/// The same with noise, so that no equal pixels stand at the kinks of ReLU and pooling together.
fn noisy(step: usize, count: usize, dtype: DType) -> Result<Vec<Tensor>> {
    let batch = images(step, count, dtype)?;
    let noise = values(&format!("pixels0-{step}"), &[count, 1, 28, 28]).to_dtype(dtype);
    Ok(vec![&batch[0] + noise * 0.25, batch[1].clone()])
}

/// Texts one behind the other, and what follows each of their characters.
fn texts(step: usize, count: usize, length: usize) -> Vec<Tensor> {
    let first = step * count * length;
    let part = |first: usize| Tensor::from_slice(&TEXT[first..first + count * length], (count, length));
    vec![part(first), part(first + 1)]
}

#[test]
fn curve_of_mlp() -> Result<()> {
    let make = |dtype| {
        let net = filled(mlp(&[784, 128, 10]), dtype);
        Ok(Classified { optimizer: Sgd::new(net.parameters(), 0.1)?, net })
    };
    check("mlp", 1, make, |step, dtype| images(step, 64, dtype).map(|b| vec![b[0].flatten(1, -1), b[1].clone()]))
}

#[test]
fn curve_of_lenet() -> Result<()> {
    let make = |dtype| {
        let net = filled(LeNet::new(1, 28, 10), dtype);
        let optimizer = Sgd::with(net.parameters(), 0.02, SgdOptions { momentum: 0.9, ..default() })?;
        Ok(Classified { net, optimizer })
    };
    check("lenet", 1, make, |step, dtype| noisy(step, 64, dtype))
}

/// The rows of an image as a sequence.
fn rows(step: usize, dtype: DType) -> Result<Vec<Tensor>> {
    images(step, 32, dtype).map(|b| vec![b[0].squeeze(1), b[1].clone()])
}

#[test]
fn curve_of_lstm() -> Result<()> {
    let make = |dtype| {
        let net = filled(LstmClassifier::new(28, 32, 10), dtype);
        Ok(Classified { optimizer: Adam::new(net.parameters(), 0.001)?, net })
    };
    check("lstm", 1, make, rows)
}

#[test]
fn curve_of_gru() -> Result<()> {
    let make = |dtype| {
        let net = filled(GruClassifier::new(28, 32, 10), dtype);
        Ok(Classified { optimizer: Adam::new(net.parameters(), 0.001)?, net })
    };
    check("gru", 1, make, rows)
}

#[test]
fn curve_of_encoder() -> Result<()> {
    let sizes = EncoderClassifierOptions {
        longest: 32,
        features: 32,
        layers: 1,
        hidden: 64,
        dropout: 0.0,
        ..EncoderClassifierOptions::new(65, 65)
    };
    let make = |dtype| {
        let net = filled(EncoderClassifier::new(sizes), dtype);
        Ok(Classified { optimizer: AdamW::new(net.parameters(), 0.001)?, net })
    };
    check("encoder", 1, make, |step, _| {
        let batch = texts(step, 32, 24);
        Ok(vec![batch[0].clone(), batch[1].i((.., -1))])
    })
}

#[test]
fn curve_of_char_gpt() -> Result<()> {
    let sizes = GptOptions { context: 32, layers: 2, features: 32, ..GptOptions::characters(65) };
    let make = |dtype| {
        let net = filled(Gpt::new(sizes), dtype);
        let options = AdamWOptions { betas: (0.9, 0.99), weight_decay: 0.1, ..default() };
        Ok(Classified { optimizer: AdamW::with(net.parameters(), 0.001, options)?, net })
    };
    check("char_gpt", 1, make, |step, _| Ok(texts(step, 8, 32)))
}

#[test]
fn curve_of_resnet() -> Result<()> {
    let make = |dtype| {
        let net = filled(ResNet::with(10, ResNetOptions { channels: 1, width: 4, ..default() }), dtype);
        let optimizer = Sgd::with(net.parameters(), 0.005, SgdOptions { momentum: 0.9, ..default() })?;
        Ok(Classified { net, optimizer })
    };
    check_first("resnet", make, |step, dtype| noisy(step, 32, dtype))?;
    check("resnet", 4, make, |step, dtype| noisy(step, 32, dtype))
}

#[test]
fn curve_of_dcgan() -> Result<()> {
    let sizes = DcganOptions { noise: 16, width: 4, ..DcganOptions::mnist() };
    let make = |dtype| {
        let (generator, discriminator) = (filled(Generator::new(sizes), dtype), filled(Discriminator::new(sizes), dtype));
        let adam = |parameters| Adam::with(parameters, 0.0002, AdamOptions { betas: (0.5, 0.999), ..default() });
        let (of_generator, of_discriminator) = (adam(generator.parameters())?, adam(discriminator.parameters())?);
        Ok(Adversaries { generator, discriminator, of_generator, of_discriminator })
    };
    let batch = |step: usize, dtype: DType| {
        let real = images(step, 16, dtype)?[0].clone() * 2.0 - 1.0;
        Ok(vec![real, values(&format!("noise{step}"), &[16, 16, 1, 1]).to_dtype(dtype)])
    };
    check_first("dcgan", make, batch)?;
    check("dcgan", 1, make, batch)
}
