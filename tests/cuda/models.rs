//! Training steps of models at sizes that are in use: too large to run here, so that only their kernels are compiled.

use crate::cases::{Cases, Extent};
use crate::{ARCHITECTURES, distinct, extent, machine_code, steps};
use igneous::nn::{Forward, ModuleExt};
use igneous::optim::{Adam, Optimizer};
use igneous::{DType, Device, Result, Tensor, autocast, compile, default, manual_seed, spec};
use igneous_models::{
    EncoderClassifier, EncoderClassifierOptions, Gpt, GptOptions, GruClassifier, LeNet, LstmClassifier, MobileNetV2, ResNet,
    UNet, UNetOptions, Vit, VitOptions, mlp,
};
use igneous_runtime::Program;
use igneous_runtime::cuda::{self, KernelText, Nvrtc};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A name and a program.
pub type Model = (&'static str, Arc<Program>);

/// A step with Adam, in single precision or with products in `bf16`.
fn step(
    name: &'static str,
    net: impl Forward + 'static,
    (dtype, x): (DType, &[usize]),
    labels: &[usize],
    half: Option<DType>,
) -> Result<Model> {
    let adam = Adam::new(net.parameters(), 1e-3)?;
    let step = compile(move |x: Tensor, y: Tensor| {
        let forward = || {
            let scores = net.forward(&x);
            // Classes of tokens and of pixels are behind the other axes, or the second one.
            let classes = if scores.rank() == 3 { scores.flatten(0, 1) } else { scores };
            classes.cross_entropy(&y)
        };
        let loss = half.map_or_else(forward, |dtype| autocast(dtype, forward));
        loss.backward()?;
        adam.step()?;
        Ok(loss)
    });
    let lowered = step.device(Device::cuda(0)).lower((spec(dtype, x.to_vec()), spec(DType::I64, labels.to_vec())))?;
    Ok((name, lowered.program.clone()))
}

/// The models of the examples and others.
///
/// # Errors
/// If one cannot be compiled.
pub fn models() -> Result<Vec<Model>> {
    manual_seed(0);
    let gpt = || {
        let options =
            GptOptions { vocabulary: 1000, context: 256, layers: 2, heads: 12, features: 768, ..GptOptions::characters(1000) };
        Gpt::new(options)
    };
    let vit = Vit::new(10, VitOptions { image: 224, layers: 2, ..VitOptions::b_16() });
    let encoder = EncoderClassifier::new(EncoderClassifierOptions { longest: 256, ..EncoderClassifierOptions::new(2000, 2) });
    let unet = || UNet::with(2, UNetOptions { width: 32, depth: 2, ..default() });
    let (image, tokens) = (DType::F32, DType::I64);
    let bf16 = Some(DType::BF16);
    Ok(vec![
        step("mlp", mlp(&[784, 512, 10]), (image, &[64, 784]), &[64], None)?,
        step("mlp in bf16", mlp(&[784, 512, 10]), (image, &[64, 784]), &[64], bf16)?,
        step("lenet", LeNet::new(3, 32, 10), (image, &[128, 3, 32, 32]), &[128], None)?,
        step("resnet", ResNet::resnet18(10), (image, &[64, 3, 224, 224]), &[64], None)?,
        step("resnet in bf16", ResNet::resnet18(10), (image, &[64, 3, 224, 224]), &[64], bf16)?,
        step("mobilenet", MobileNetV2::new(10), (image, &[32, 3, 224, 224]), &[32], None)?,
        step("unet", unet(), (image, &[4, 3, 128, 128]), &[4, 128, 128], None)?,
        step("lstm", LstmClassifier::new(128, 256, 10), (image, &[32, 64, 128]), &[32], None)?,
        step("gru", GruClassifier::new(128, 256, 10), (image, &[32, 64, 128]), &[32], None)?,
        step("encoder", encoder, (tokens, &[32, 256]), &[32], None)?,
        step("vit", vit, (image, &[8, 3, 224, 224]), &[8], None)?,
        step("gpt", gpt(), (tokens, &[8, 256]), &[8 * 256], None)?,
        step("gpt in bf16", gpt(), (tokens, &[8, 256]), &[8 * 256], bf16)?,
    ])
}

/// Of the small steps, and of the models too where all is tried.
#[test]
fn machine_code_of_steps_spills_nothing() {
    let nvrtc = match Nvrtc::get() {
        Ok(nvrtc) => nvrtc,
        Err(error) => return println!("machine code is skipped: {error}"),
    };
    let mut cases = Cases::default();
    steps::steps().expect("the steps can be traced").into_iter().for_each(|step| cases.step(step));
    let mut kernels: BTreeSet<Arc<KernelText>> = distinct(cases.compiled.iter()).into_iter().collect();
    let mut architectures = &ARCHITECTURES[1..2];
    if extent() == Extent::All {
        let models = models().expect("the models compile");
        kernels.extend(models.iter().flat_map(|(_, program)| cuda::kernels(program)));
        architectures = &ARCHITECTURES;
    }
    let kernels: Vec<Arc<KernelText>> = kernels.into_iter().collect();
    let resources = machine_code::compile(nvrtc, &kernels, architectures).unwrap_or_else(|e| panic!("{e}"));
    println!("{} kernels of steps compiled for {}", kernels.len(), architectures.join(", "));
    resources.iter().for_each(|r| println!("{r}"));
    assert_eq!(resources.len(), kernels.len() * architectures.len());
    let spilled: Vec<String> = resources.iter().filter(|r| r.spilled > 0).map(ToString::to_string).collect();
    assert!(spilled.is_empty(), "{}", spilled.join("\n"));
}
