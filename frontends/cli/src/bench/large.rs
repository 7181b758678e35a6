//! Workloads that fill a GPU: arrays larger than its caches, products in half types, training steps of ResNet-18 and GPT-2.
//! They run on a CPU too, if they are named.

use super::limits::Work;
use super::workloads::{Case, SOFTMAX, TRANSCENDENTAL, Workload, chain, elements, flops, gate, image, layer_norm_gradients};
use super::workloads::{matmul, normal, rms_norm, tokens};
use igneous::nn::{Forward, Gelu, Linear, ModuleExt, Sequential};
use igneous::optim::{Adam, AdamW, Optimizer};
use igneous::{Attention, DType, Result, Tensor, autocast, grad_with, manual_seed};
use igneous_models::{Gpt, GptOptions, ResNet};

const HALF: DType = DType::BF16;
const M64: usize = 1 << 26;

/// The workloads. Names and shapes are those that the comparison with other frameworks uses.
#[rustfmt::skip]
pub static LARGE: &[Workload] = &[
    elements("gate_64m", "gelu(x·a + b)·sigmoid(c) + tanh(d), 2²⁶ elements", M64, 3 * TRANSCENDENTAL + 9, 6, || gate(M64)),
    elements("chain20_64m", "five times x = relu(x·0.9 + y) - 0.1·i, 2²⁶ elements", M64, 20, 3, || chain(M64)),
    elements("softmax_16kx4k", "softmax over the last axis of [16384, 4096]", M64, SOFTMAX, 2,
        || Case::function(normal(1, ROWS), |t| t[0].softmax(-1))),
    elements("softmax_16kx4k_bf16", "the same in bf16", M64, SOFTMAX, 1,
        || Case::function(halves(1, ROWS), |t| t[0].softmax(-1))),
    elements("layernorm_16kx4k_fwdbwd", "layer norm of [16384, 4096] with the gradients of input, weight and bias", M64, 19, 3,
        || layer_norm_gradients(ROWS)),
    elements("rmsnorm_16kx4k", "RMS norm of [16384, 4096], written out", M64, 4, 2, || rms_norm(ROWS)),
    elements("sum_64m", "the sum of 2²⁶ elements", M64, 1, 1, || Case::function(normal(1, [M64]), |t| t[0].sum_all())),
    elements("transpose_8k", "[8192, 8192] transposed, plus 1", M64, 1, 2,
        || Case::function(normal(1, [8192, 8192]), |t| t[0].transpose(0, 1) + 1.0)),
    flops("matmul_4096", "[4096, 4096] × [4096, 4096]", 2 * 4096 * 4096 * 4096, 0, 3 * 4096 * 4096, || matmul(normal(2, [4096, 4096]))),
    halved("matmul_4096_bf16", "the same in bf16", 2 * 4096 * 4096 * 4096, 0, 3 * 4096 * 4096, || matmul(halves(2, [4096, 4096]))),
    halved("matmul_8192_bf16", "[8192, 8192] × [8192, 8192] in bf16", 2 * 8192 * 8192 * 8192, 0, 3 * 8192 * 8192,
        || matmul(halves(2, [8192, 8192]))),
    halved("linear_gelu_8k_bf16", "[8192, 768] × [768, 3072] + bias, GELU, with autocast to bf16", 2 * 8192 * 768 * 3072,
        8192 * 3072 * (TRANSCENDENTAL + 5), 2 * 8192 * 768 + 2 * 769 * 3072 + 8192 * 3072, linear_gelu),
    forward("attn_4k_d64_bf16", "attention in bf16: 4 × 32 heads, 4096 tokens, 64 wide", [4, 32, 4096, 64], ||attention([4, 32, 4096, 64])),
    forward("attn_16k_d64_bf16", "32 heads, 16384 tokens, 64 wide", [1, 32, 16384, 64], || attention([1, 32, 16384, 64])),
    forward("attn_4k_d128_bf16", "4 × 16 heads, 4096 tokens, 128 wide", [4, 16, 4096, 128], || attention([4, 16, 4096, 128])),
    forward("attn_16k_d128_bf16", "16 heads, 16384 tokens, 128 wide", [1, 16, 16384, 128], || attention([1, 16, 16384, 128])),
    both("attn_4k_d64_bf16_fwdbwd", "4 × 32 heads, 4096 tokens, 64 wide, with gradients", [4, 32, 4096, 64],
        || attention_gradients([4, 32, 4096, 64])),
    both("attn_4k_d128_bf16_fwdbwd", "4 × 16 heads, 4096 tokens, 128 wide, with gradients", [4, 16, 4096, 128],
        || attention_gradients([4, 16, 4096, 128])),
    both("attn_16k_d128_bf16_fwdbwd", "16 heads, 16384 tokens, 128 wide, with gradients", [1, 16, 16384, 128],
        || attention_gradients([1, 16, 16384, 128])),
    image("resnet18_b128_train", "ResNet-18 on 3×224×224, batch 128, Adam", 128,
        Work { flops: RESNET, half_flops: 0.0, bytes: 24.0 * 11_689_512.0 }, || resnet(None)),
    image("resnet18_b128_train_bf16", "the same with autocast to bf16", 128,
        Work { flops: 0.0, half_flops: RESNET, bytes: 24.0 * 11_689_512.0 }, || resnet(Some(HALF))),
    tokens("gpt2_b8_train_bf16", "GPT-2 124M without dropout, 8 × 1024 tokens, AdamW, autocast to bf16", 8 * 1024,
        Work { flops: 0.0, half_flops: GPT2, bytes: 24.0 * GPT2_PARAMETERS }, gpt2),
];

const ROWS: [usize; 2] = [16384, 4096];

/// Multiplications and additions of 128 images forward (1.814·10⁹ pairs each) and twice that backward, but for the gradient of
/// the images, which the first layer (0.118·10⁹ pairs) does not need.
const RESNET: f64 = 128.0 * 2.0 * (3.0 * 1.814e9 - 0.118e9);
const GPT2_PARAMETERS: f64 = 124_439_808.0;
/// Six for each parameter and token but the positions' (the embedding multiplies once, for the scores), and the products of
/// attention, half of each square.
const GPT2: f64 = 8.0 * 1024.0 * (6.0 * (GPT2_PARAMETERS - 1024.0 * 768.0) + 12.0 * 6.0 * 1024.0 * 768.0);

/// So many operations in products of halves, so many others, and so many halves in operands and results.
const fn halved(
    name: &'static str,
    about: &'static str,
    products: usize,
    others: usize,
    halves: usize,
    build: fn() -> Result<Case>,
) -> Workload {
    let workload = flops(name, about, products, others, halves / 2, build);
    let work = Work { flops: others as f64, half_flops: products as f64, ..workload.work };
    Workload { work, ..workload }
}

/// Attention of `[batch, heads, tokens, width]`: two products, and an exponential for each score.
const fn forward(name: &'static str, about: &'static str, shape: [usize; 4], build: fn() -> Result<Case>) -> Workload {
    let [batch, heads, tokens, width] = shape;
    let rows = batch * heads * tokens;
    halved(name, about, 4 * rows * tokens * width, 0, 4 * rows * width, build)
}

/// With gradients: five products more.
const fn both(name: &'static str, about: &'static str, shape: [usize; 4], build: fn() -> Result<Case>) -> Workload {
    let [batch, heads, tokens, width] = shape;
    let rows = batch * heads * tokens;
    halved(name, about, 14 * rows * tokens * width, 0, 8 * rows * width, build)
}

fn halves<const N: usize>(count: usize, shape: [usize; N]) -> Vec<Tensor> {
    normal(count, shape).iter().map(|t| t.to_dtype(HALF)).collect()
}

fn linear_gelu() -> Result<Case> {
    let x = halves(1, [8192, 768]);
    let net = Sequential::new().push(Linear::new(768, 3072)).push(Gelu);
    Case::layers(net.parameters(), x, move |x| autocast(HALF, || net.forward(x)))
}

fn attention(shape: [usize; 4]) -> Result<Case> {
    Case::function(halves(3, shape), |t| t[0].scaled_dot_product_attention(&t[1], &t[2], &Attention::default()))
}

fn attention_gradients(shape: [usize; 4]) -> Result<Case> {
    Case::new(Vec::new(), halves(4, shape), |t| {
        let [q, k, v] = [0, 1, 2].map(|i| t[i].requires_grad_());
        grad_with(&q.scaled_dot_product_attention(&k, &v, &Attention::default()), &t[3], &[&q, &k, &v])
    })
}

fn resnet(half: Option<DType>) -> Result<Case> {
    manual_seed(0);
    let net = ResNet::resnet18(1000);
    let adam = Adam::new(net.parameters(), 1e-3)?;
    let inputs = vec![Tensor::randn((128, 3, 224, 224)), Tensor::randint(0, 1000, 128)];
    training(net.parameters(), inputs, adam, half, move |x, y| net.forward(x).cross_entropy(y))
}

fn gpt2() -> Result<Case> {
    manual_seed(0);
    let net = Gpt::new(GptOptions { dropout: 0.0, ..GptOptions::gpt2() });
    let adam = AdamW::new(net.parameters(), 1e-4)?;
    let tokens = || Tensor::randint(0, 50257, (8, 1024));
    training(net.parameters(), vec![tokens(), tokens()], adam, Some(HALF), move |x, y| {
        net.forward(x).flatten(0, 1).cross_entropy(&y.flatten_all())
    })
}

/// A step whose products are of halves, if there is a type for them.
fn training(
    parameters: Vec<Tensor>,
    inputs: Vec<Tensor>,
    optimizer: impl Optimizer + 'static,
    half: Option<DType>,
    loss: impl Fn(&Tensor, &Tensor) -> Tensor + Send + Sync + 'static,
) -> Result<Case> {
    Case::new(parameters, inputs, move |t| {
        let loss = match half {
            Some(dtype) => autocast(dtype, || loss(&t[0], &t[1])),
            None => loss(&t[0], &t[1]),
        };
        loss.backward()?;
        optimizer.step()?;
        Ok(vec![loss])
    })
}
