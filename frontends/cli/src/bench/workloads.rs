//! The workloads by name: models, inputs and steps, with random weights; data are in memory; a training step is forward, loss,
//! backward and update. Those here are of a CPU's size, and all f32.

use super::Mode;
use super::large::LARGE;
use super::limits::Work;
use igneous::nn::{Conv2d, Forward, Gelu, LayerNorm, Linear, ModuleExt, Sequential};
use igneous::optim::{Adam, Optimizer, Sgd};
use igneous::{
    Attention, Choices, Compiled, Conv, Device, Error, LaunchTime, Lowered, Result, Tensor, compile, default, grad_with,
    manual_seed, no_grad,
};
use igneous_models::{GruClassifier, LeNet, LstmClassifier, mlp};
use std::sync::Arc;

/// A workload that can be built.
pub struct Workload {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// How many units a step works on.
    pub units: f64,
    /// What they are: images, elements, operations.
    pub unit: &'static str,
    /// What a step needs at least, counted by hand.
    pub work: Work,
    /// Makes the model and its inputs.
    pub build: fn() -> Result<Case>,
}

type Step = Arc<dyn Fn(Vec<Tensor>) -> Result<Vec<Tensor>> + Send + Sync>;
type Wrapped = Box<dyn Fn(Vec<Tensor>) -> Result<Vec<Tensor>> + Send + Sync>;

/// A step on its inputs.
pub struct Case {
    eager: Step,
    compiled: Compiled<Wrapped, (Vec<Tensor>,)>,
    /// The parameters of the model, in order.
    pub parameters: Vec<Tensor>,
    /// What a step takes.
    pub inputs: Vec<Tensor>,
}

impl Case {
    pub(super) fn new(
        parameters: Vec<Tensor>,
        inputs: Vec<Tensor>,
        step: impl Fn(Vec<Tensor>) -> Result<Vec<Tensor>> + Send + Sync + 'static,
    ) -> Result<Case> {
        let eager: Step = Arc::new(step);
        let traced = eager.clone();
        let wrapped: Wrapped = Box::new(move |inputs| traced(inputs));
        Ok(Case { eager, compiled: compile(wrapped).name("step"), parameters, inputs })
    }

    /// A function without gradients.
    pub(super) fn function(inputs: Vec<Tensor>, f: impl Fn(&[Tensor]) -> Tensor + Send + Sync + 'static) -> Result<Case> {
        Case::new(Vec::new(), inputs, move |inputs| no_grad(|| Ok(vec![f(&inputs)])))
    }

    /// A model's forward pass.
    fn infer(net: impl Forward + 'static, x: Vec<Tensor>) -> Result<Case> {
        Case::layers(net.parameters(), x, move |x| net.forward(x))
    }

    /// A function of one input, without gradients, that has these parameters.
    pub(super) fn layers(
        parameters: Vec<Tensor>,
        inputs: Vec<Tensor>,
        f: impl Fn(&Tensor) -> Tensor + Send + Sync + 'static,
    ) -> Result<Case> {
        Case::new(parameters, inputs, move |t| no_grad(|| Ok(vec![f(&t[0])])))
    }

    /// A step of training on images and labels.
    fn train(net: impl Forward + 'static, optimizer: impl Optimizer + 'static, x: Tensor, labels: Tensor) -> Result<Case> {
        Case::new(net.parameters(), vec![x, labels], move |inputs| {
            let loss = net.forward(&inputs[0]).cross_entropy(&inputs[1]);
            loss.backward()?;
            optimizer.step()?;
            Ok(vec![loss])
        })
    }

    /// With its inputs on a device, where the compiled program runs then.
    pub fn on(mut self, device: Device) -> Result<Case> {
        self.inputs = self.inputs.iter().map(|x| x.to(device)).collect();
        self.inputs.iter().try_for_each(Tensor::check)?;
        Ok(self)
    }

    /// With products by those who were faster.
    pub fn choices(self, choices: Choices) -> Case {
        Case { compiled: self.compiled.choices(choices), ..self }
    }

    /// Runs the step once.
    pub fn step(&self, mode: Mode) -> Result<Vec<Tensor>> {
        match mode {
            Mode::Eager => (self.eager)(self.inputs.clone()),
            Mode::Compiled => self.compiled.run(self.inputs.clone()),
        }
    }

    /// The compiled program.
    pub fn program(&self) -> Result<Lowered> {
        self.compiled.lower(self.inputs.clone())
    }

    /// Bytes of the temporaries of the compiled program.
    pub fn arena_bytes(&self) -> Result<usize> {
        self.program()?.program.memory().arena().get()
    }

    /// Runs the compiled program once; the time of each launch.
    pub fn profile(&self) -> Result<Vec<LaunchTime>> {
        Ok(self.compiled.profile(self.inputs.clone())?.1)
    }
}

/// The workloads that these patterns name, in the table's order; for none, all that are made for such a device.
pub fn find(patterns: &[String], device: Device) -> Result<Vec<&'static Workload>> {
    let matches = |pattern: &String, name: &str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    };
    let all = || WORKLOADS.iter().chain(LARGE);
    if let Some(unknown) = patterns.iter().find(|p| !all().any(|w| matches(p, w.name))) {
        return Err(Error::new(format!("no workload is called `{unknown}`; --list shows them")));
    }
    Ok(match (patterns, device) {
        ([], Device::Cpu) => WORKLOADS.iter().collect(),
        ([], _) => LARGE.iter().chain(WORKLOADS.iter().filter(|w| w.name.ends_with("_train"))).collect(),
        _ => all().filter(|w| patterns.iter().any(|p| matches(p, w.name))).collect(),
    })
}

fn labels(n: usize) -> Tensor {
    Tensor::randint(0, 10, n)
}

fn mlp_training(widths: &'static [usize], batch: usize) -> Result<Case> {
    manual_seed(0);
    let net = mlp(widths);
    let sgd = Sgd::new(net.parameters(), 0.01)?;
    Case::train(net, sgd, Tensor::randn((batch, 784)), labels(batch))
}

fn lenet_training(batch: usize) -> Result<Case> {
    manual_seed(0);
    let net = LeNet::new(3, 32, 10);
    let adam = Adam::new(net.parameters(), 1e-3)?;
    Case::train(net, adam, Tensor::randn((batch, 3, 32, 32)), labels(batch))
}

fn recurrent_training(net: impl Forward + 'static) -> Result<Case> {
    let adam = Adam::new(net.parameters(), 1e-3)?;
    Case::train(net, adam, Tensor::randn((32, 64, 128)), labels(32))
}

fn lstm_training() -> Result<Case> {
    manual_seed(0);
    recurrent_training(LstmClassifier::new(128, 256, 10))
}

fn gru_training() -> Result<Case> {
    manual_seed(0);
    recurrent_training(GruClassifier::new(128, 256, 10))
}

pub(super) fn normal<const N: usize>(count: usize, shape: [usize; N]) -> Vec<Tensor> {
    manual_seed(0);
    (0..count).map(|_| Tensor::randn(&shape[..])).collect()
}

pub(super) fn gate(elements: usize) -> Result<Case> {
    Case::function(normal(5, [elements]), |t| (&t[0] * &t[1] + &t[2]).gelu() * t[3].sigmoid() + t[4].tanh())
}

pub(super) fn chain(elements: usize) -> Result<Case> {
    Case::function(normal(2, [elements]), |t| (0..5).fold(t[0].clone(), |x, i| (x * 0.9 + &t[1]).relu() - 0.1 * f64::from(i)))
}

pub(super) fn matmul(operands: Vec<Tensor>) -> Result<Case> {
    Case::function(operands, |t| t[0].matmul(&t[1]))
}

fn convolution(batch: usize) -> Result<Case> {
    manual_seed(0);
    let conv = Conv2d::with(64, 64, 3, Conv { padding: 1.into(), ..default() }).without_bias();
    Case::infer(conv, normal(1, [batch, 64, 56, 56]))
}

/// A convolution of eight images with the gradients of images and weight.
fn convolution_gradients(outputs: usize, kernel: usize, options: Conv) -> Result<Case> {
    manual_seed(0);
    let conv = Conv2d::with(64, outputs, kernel, options).without_bias();
    let [height, width] = [0, 1].map(|i| (56 + kernel / 2 * 2 - kernel) / options.stride.0[i] + 1);
    let mut inputs = normal(1, [8, 64, 56, 56]);
    inputs.extend(normal(1, [8, outputs, height, width]));
    Case::new(conv.parameters(), inputs, move |t| {
        let x = t[0].requires_grad_();
        let weight = conv.parameters().remove(0);
        grad_with(&conv.forward(&x), &t[1], &[&x, &weight])
    })
}

fn attention(tokens: usize, causal: bool) -> Result<Case> {
    Case::function(normal(3, [1, 12, tokens, 64]), move |t| {
        let scores = t[0].matmul(&t[1].transpose(-1, -2)) / 8.0;
        let scores = match causal {
            true => scores.masked_fill(&Tensor::ones((tokens, tokens)).tril(0).equal(0.0), f64::NEG_INFINITY),
            false => scores,
        };
        scores.softmax(-1).matmul(&t[2])
    })
}

fn attention_operator(tokens: usize, causal: bool) -> Result<Case> {
    Case::function(normal(3, [1, 12, tokens, 64]), move |t| {
        t[0].scaled_dot_product_attention(&t[1], &t[2], &Attention { causal, ..default() })
    })
}

fn linear_gelu() -> Result<Case> {
    let x = normal(1, [128, 768]);
    let net = Sequential::new().push(Linear::new(768, 3072)).push(Gelu);
    Case::infer(net, x)
}

fn matvec() -> Result<Case> {
    let x = normal(1, [1, 768]);
    let net = Linear::new(768, 3072).without_bias();
    Case::infer(net, x)
}

fn mlp_inference() -> Result<Case> {
    let x = normal(1, [1, 784]);
    let net = mlp(&[784, 512, 10]);
    Case::infer(net, x)
}

fn layer_norm() -> Result<Case> {
    let norm = LayerNorm::new(1024);
    Case::infer(norm, normal(1, [4096, 1024]))
}

pub(super) fn layer_norm_gradients(rows: [usize; 2]) -> Result<Case> {
    let norm = LayerNorm::new(rows[1]);
    Case::new(norm.parameters(), normal(2, rows), move |t| {
        let x = t[0].requires_grad_();
        let mut wanted = vec![x.clone()];
        wanted.extend(norm.parameters());
        grad_with(&norm.forward(&x), &t[1], &wanted.iter().collect::<Vec<_>>())
    })
}

pub(super) fn rms_norm(rows: [usize; 2]) -> Result<Case> {
    let mut inputs = normal(1, rows);
    inputs.extend(normal(1, [rows[1]]));
    Case::function(inputs, |t| &t[0] * (t[0].square().mean_keepdim(-1) + 1e-5).rsqrt() * &t[1])
}

const M4: usize = 1 << 22;
const K16: usize = 1 << 14;
/// Operations of an exponential and the like: range reduction and a polynomial.
pub(super) const TRANSCENDENTAL: usize = 24;
/// Operations on an element of a softmax: maximum, difference, exponential, sum, division.
pub(super) const SOFTMAX: usize = TRANSCENDENTAL + 4;

/// A training step of a network that multiplies `first` pairs of numbers in the forward pass of its first layer and `others`
/// in the rest: forward, gradients of the weights, and gradients of all layers' inputs but the first's. The optimizer reads and
/// writes `floats` numbers.
const fn training(batch: usize, first: usize, others: usize, floats: usize) -> Work {
    work(2 * batch * (2 * first + 3 * others), floats)
}

/// Training with SGD reads and writes each weight once.
const fn sgd_mlp(batch: usize, first: usize, others: usize) -> Work {
    training(batch, first, others, 2 * (first + others))
}

/// Adam reads and writes each of LeNet's parameters and two moments of it.
const fn adam_lenet(batch: usize) -> Work {
    let first = 28 * 28 * 6 * 75;
    let others = 10 * 10 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10;
    training(batch, first, others, 6 * 62_006)
}

/// A recurrent layer with so many gates over 64 steps of 32 sequences, and a linear layer on the last step, with Adam.
const fn adam_recurrent(gates: usize) -> Work {
    let rows = gates * 256;
    let steps = training(32 * 64, rows * 128, rows * 256, 6 * (rows * (128 + 256 + 2) + 257 * 10));
    Work { flops: steps.flops + (2 * 32 * 3 * 256 * 10) as f64, ..steps }
}

const fn work(flops: usize, floats: usize) -> Work {
    Work { flops: flops as f64, half_flops: 0.0, bytes: 4.0 * floats as f64 }
}

/// Those for a CPU. Names and shapes are those that the comparison with other frameworks uses.
#[rustfmt::skip]
static WORKLOADS: &[Workload] = &[
    image("mlp512_b64_train", "784-512-10 with ReLU, batch 64, cross-entropy, SGD", 64, sgd_mlp(64, 784 * 512, 512 * 10),
        || mlp_training(&[784, 512, 10], 64)),
    image("mlp128_64_b256_train", "784-128-64-10, batch 256, SGD", 256, sgd_mlp(256, 784 * 128, 128 * 64 + 64 * 10),
        || mlp_training(&[784, 128, 64, 10], 256)),
    image("mlp512_b1_infer", "784-512-10, batch 1", 1, work(2 * (784 * 512 + 512 * 10), 785 * 512 + 513 * 10), mlp_inference),
    image("lenet_b4_train", "LeNet on 3×32×32, batch 4, Adam", 4, adam_lenet(4), || lenet_training(4)),
    image("lenet_b128_train", "LeNet on 3×32×32, batch 128, Adam", 128, adam_lenet(128), || lenet_training(128)),
    tokens("lstm_train", "LSTM 128-256 over 64 steps, linear layer on the last, batch 32, Adam", 32 * 64, adam_recurrent(4),
        lstm_training),
    tokens("gru_train", "the same with a GRU", 32 * 64, adam_recurrent(3), gru_training),
    elements("pw_gate_4m", "gelu(x·a + b)·sigmoid(c) + tanh(d), 2²² elements", M4, 3 * TRANSCENDENTAL + 9, 6, || gate(M4)),
    elements("pw_gate_16k", "the same, 2¹⁴ elements", K16, 3 * TRANSCENDENTAL + 9, 6, || gate(K16)),
    elements("chain20_4m", "five times x = relu(x·0.9 + y) - 0.1·i, 2²² elements", M4, 20, 3, || chain(M4)),
    elements("chain20_16k", "the same, 2¹⁴ elements", K16, 20, 3, || chain(K16)),
    elements("softmax_4096x1024", "softmax over the last axis", M4, SOFTMAX, 2,
        || Case::function(normal(1, [4096, 1024]), |t| t[0].softmax(-1))),
    elements("layernorm_fwd", "layer norm of [4096, 1024]", M4, 7, 2, layer_norm),
    elements("layernorm_fwdbwd", "the same with the gradients of input, weight and bias", M4, 19, 3,
        || layer_norm_gradients([4096, 1024])),
    elements("rmsnorm_fwd", "RMS norm of [4096, 1024], written out", M4, 4, 2, || rms_norm([4096, 1024])),
    elements("sum_4m", "the sum of 2²² elements", M4, 1, 1, || Case::function(normal(1, [M4]), |t| t[0].sum_all())),
    flops("matmul_512", "[512, 512] × [512, 512]", 2 * 512 * 512 * 512, 0, 3 * 512 * 512, || matmul(normal(2, [512, 512]))),
    flops("matmul_1024", "[1024, 1024] × [1024, 1024]", 2 * 1024 * 1024 * 1024, 0, 3 * 1024 * 1024, || matmul(normal(2, [1024, 1024]))),
    flops("matmul_2048", "[2048, 2048] × [2048, 2048]", 2 * 2048 * 2048 * 2048, 0, 3 * 2048 * 2048, || matmul(normal(2, [2048, 2048]))),
    flops("matvec_768x3072", "[1, 768] × [768, 3072]", 2 * 768 * 3072, 0, 768 * 3072 + 768 + 3072, matvec),
    flops("linear_gelu_128x768x3072", "[128, 768] × [768, 3072] + bias, GELU", 2 * 128 * 768 * 3072,
        128 * 3072 * (TRANSCENDENTAL + 5), 128 * 768 + 769 * 3072 + 128 * 3072, linear_gelu),
    flops("conv56_b1", "64 → 64 channels, 3×3 on 56×56", CONV, 0, 2 * 64 * 56 * 56 + 64 * 64 * 9, || convolution(1)),
    flops("conv56_b8", "the same, batch 8", 8 * CONV, 0, 8 * 2 * 64 * 56 * 56 + 64 * 64 * 9, || convolution(8)),
    flops("conv56_b8_fwdbwd", "the same with the gradients of images and weight", 3 * 8 * CONV, 0, 3 * 8 * 2 * 64 * 56 * 56,
        || convolution_gradients(64, 3, Conv { padding: 1.into(), ..default() })),
    flops("conv56_stride2_fwdbwd", "64 → 128 channels, 3×3 with stride 2 on 56×56, batch 8, with gradients", 3 * 8 * CONV / 2, 0,
        2 * 8 * (2 * 64 * 56 * 56 + 128 * 28 * 28),
        || convolution_gradients(128, 3, Conv { padding: 1.into(), stride: 2.into(), ..default() })),
    flops("conv56_1x1_fwdbwd", "64 → 256 channels, 1×1 on 56×56, batch 8, with gradients", 3 * 8 * 2 * 64 * 256 * 56 * 56, 0,
        8 * 56 * 56 * (3 * 64 + 2 * 256), || convolution_gradients(256, 1, Conv::default())),
    flops("depthwise56_fwdbwd", "64 channels, each by a 3×3 kernel of its own, on 56×56, batch 8, with gradients",
        3 * 8 * 2 * 9 * 64 * 56 * 56, 0, 8 * 56 * 56 * 6 * 64,
        || convolution_gradients(64, 3, Conv { padding: 1.into(), groups: 64, ..default() })),
    flops("attn_512", "attention: 12 heads, 512 tokens, 64 wide", 4 * 64 * SCORES_512, SOFTMAX * SCORES_512,
        4 * 12 * 512 * 64, || attention_operator(512, false)),
    flops("attn_2048_causal", "causal attention: 2048 tokens", 4 * 64 * SCORES_2048, SOFTMAX * SCORES_2048,
        4 * 12 * 2048 * 64, || attention_operator(2048, true)),
    flops("attn_512_manual", "attention written out: 12 heads, 512 tokens, 64 wide", 4 * 64 * SCORES_512, SOFTMAX * SCORES_512,
        4 * 12 * 512 * 64, || attention(512, false)),
    flops("attn_2048_causal_manual", "causal attention written out: 2048 tokens", 4 * 64 * SCORES_2048, SOFTMAX * SCORES_2048,
        4 * 12 * 2048 * 64, || attention(2048, true)),
];

/// A 3×3 convolution of one image, multiplied out.
const CONV: usize = 2 * 64 * 64 * 9 * 56 * 56;
const SCORES_512: usize = 12 * 512 * 512;
/// Half of the square: the others are masked.
const SCORES_2048: usize = 12 * 2048 * 2048 / 2;

pub(super) const fn image(
    name: &'static str,
    about: &'static str,
    count: usize,
    work: Work,
    build: fn() -> Result<Case>,
) -> Workload {
    Workload { name, about, units: count as f64, unit: "img", work, build }
}

pub(super) const fn tokens(
    name: &'static str,
    about: &'static str,
    count: usize,
    work: Work,
    build: fn() -> Result<Case>,
) -> Workload {
    Workload { name, about, units: count as f64, unit: "tok", work, build }
}

/// Work of so many operations on each element of so many tensors.
pub(super) const fn elements(
    name: &'static str,
    about: &'static str,
    count: usize,
    operations: usize,
    tensors: usize,
    build: fn() -> Result<Case>,
) -> Workload {
    Workload { name, about, units: count as f64, unit: "elem", work: work(operations * count, tensors * count), build }
}

/// Work of so many operations in products, so many others, and so many numbers in its operands and results.
pub(super) const fn flops(
    name: &'static str,
    about: &'static str,
    products: usize,
    others: usize,
    floats: usize,
    build: fn() -> Result<Case>,
) -> Workload {
    Workload { name, about, units: products as f64, unit: "flop", work: work(products + others, floats), build }
}
