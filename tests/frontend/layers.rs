//! Layers against PyTorch's, whose numbers `tests/parity/layers.py` wrote: names of the state dict, results, gradients of
//! inputs and parameters, changes of buffers; in f64 and f32, eager and compiled.

use crate::seeded;
use igneous::nn::*;
use igneous::testing::assert_close;
use igneous::{DType, Error, Result, Tensor, compile, default};
use std::sync::LazyLock;

static TORCH: LazyLock<StateDict> =
    LazyLock::new(|| StateDict::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/layers.safetensors")).unwrap());

/// Entries whose names begin with `prefix`, with the rest of the name.
fn entries(prefix: &str) -> Vec<(String, Tensor)> {
    let of = |(name, tensor): (&str, &Tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()));
    TORCH.iter().filter_map(of).collect()
}

/// Entries `prefix0`, `prefix1`, …
fn numbered(prefix: &str) -> Vec<Tensor> {
    (0..).map_while(|i| TORCH.get(&format!("{prefix}{i}"))).cloned().collect()
}

fn cast(tensor: &Tensor, dtype: DType) -> Tensor {
    if tensor.dtype().is_float() { tensor.to_dtype(dtype) } else { tensor.clone() }
}

/// Compares a layer with its case: in both element types and modes.
#[track_caller]
fn check_with<M: Module + Send + Sync>(
    case: &str,
    make: impl Fn() -> M,
    forward: impl Fn(&M, &[Tensor]) -> Vec<Tensor> + Send + Sync,
) {
    let _one = seeded(1);
    let given = numbered(&format!("{case}/in"));
    assert!(!given.is_empty(), "layers.py writes no {case}");
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 3e-5)] {
        for mode in ["eager", "compiled"] {
            println!("{case}, {mode}, {dtype}");
            let layer = make();
            load(case, &layer, dtype);
            let run = |inputs: Vec<Tensor>, cotangents: Vec<Tensor>| {
                let tracked = |t: Tensor| if t.dtype().is_float() { t.detach().requires_grad_() } else { t };
                let leaves: Vec<Tensor> = inputs.into_iter().map(tracked).collect();
                let results = forward(&layer, &leaves);
                let weighed = results.iter().zip(&cotangents).map(|(y, dy)| (y * dy).sum_all());
                let sum = weighed.reduce(|a, b| a + b).expect("a layer has a result");
                sum.check()?;
                if sum.requires_grad() {
                    sum.backward()?;
                }
                Ok::<_, Error>((results, leaves.iter().map(Tensor::grad).collect::<Vec<_>>()))
            };
            let inputs: Vec<Tensor> = given.iter().map(|t| cast(t, dtype)).collect();
            let cotangents: Vec<Tensor> = numbered(&format!("{case}/dy")).iter().map(|t| cast(t, dtype)).collect();
            let made = if mode == "eager" { run(inputs, cotangents) } else { compile(run).run((inputs, cotangents)) };
            let (results, gradients) = made.unwrap_or_else(|e| panic!("{case}: {e}"));
            let expected = numbered(&format!("{case}/y"));
            assert_eq!(results.len(), expected.len());
            results.iter().zip(&expected).for_each(|(y, expected)| assert_close(y, expected, tolerance));
            for (i, gradient) in gradients.iter().enumerate() {
                compare(&format!("gradient {i}"), gradient.as_ref(), TORCH.get(&format!("{case}/grad{i}")), tolerance);
            }
            let after = entries(&format!("{case}/after/"));
            for (name, variable) in layer.named_variables() {
                let expected = TORCH.get(&format!("{case}/grad/{name}"));
                compare(&name, variable.grad().as_ref(), expected, tolerance);
                if let Some((_, expected)) = after.iter().find(|(own, _)| *own == name) {
                    println!("{name} afterwards");
                    assert_close(&variable.detach(), expected, tolerance);
                }
            }
        }
    }
}

/// Gives a layer PyTorch's values, whose names and shapes must be its own.
#[track_caller]
fn load(case: &str, layer: &impl Module, dtype: DType) {
    let state = entries(&format!("{case}/state/"));
    let own = layer.named_variables();
    let mut names: Vec<&String> = own.iter().map(|(name, _)| name).collect();
    names.sort();
    assert_eq!(names, state.iter().map(|(name, _)| name).collect::<Vec<_>>(), "{case}");
    for (name, variable) in &own {
        let value = TORCH.get(&format!("{case}/state/{name}")).unwrap();
        assert_eq!(variable.shape(), value.shape(), "{case}: {name}");
        variable.replace(&cast(value, dtype)).unwrap();
    }
}

#[track_caller]
fn compare(what: &str, found: Option<&Tensor>, expected: Option<&Tensor>, tolerance: f64) {
    println!("{what}");
    match (found, expected) {
        (Some(found), Some(expected)) => assert_close(found, expected, tolerance),
        (None, None) => {}
        // A gradient that is none and one that is zeros mean the same.
        (Some(only), None) | (None, Some(only)) => assert_close(only, &only.zeros_like(), 0.0),
    }
}

#[track_caller]
fn check<M: Forward>(case: &str, make: impl Fn() -> M) {
    check_with(case, make, |layer, t| vec![layer.forward(&t[0])]);
}

/// As [`check`], in evaluation.
#[track_caller]
fn check_evaluated<M: Forward>(case: &str, make: impl Fn() -> M) {
    let evaluated = || {
        let layer = make();
        layer.eval();
        layer
    };
    check(case, evaluated);
}

#[test]
fn activations() {
    check("ReLU", || Relu);
    check("ReLU6", || Relu6);
    check("GELU", || Gelu);
    check("GELU_tanh", || GeluTanh);
    check("Sigmoid", || Sigmoid);
    check("Tanh", || Tanh);
    check("SiLU", || Silu);
    check("Mish", || Mish);
    check("SELU", || Selu);
    check("Hardsigmoid", || Hardsigmoid);
    check("Hardswish", || Hardswish);
    check("LogSigmoid", || LogSigmoid);
    check("Softsign", || Softsign);
    check("Tanhshrink", || Tanhshrink);
    check("LeakyReLU", LeakyRelu::default);
    check("LeakyReLU_option", || LeakyRelu::new(0.2));
    check("ELU", Elu::default);
    check("ELU_option", || Elu::new(0.5));
    check("CELU", Celu::default);
    check("CELU_option", || Celu::new(0.5));
    check("Hardtanh", Hardtanh::default);
    check("Hardtanh_option", || Hardtanh::new(-0.5, 2.0));
    check("Softplus", Softplus::default);
    check("Softplus_option", || Softplus::new(0.5, 3.0));
    check("Softshrink", Softshrink::default);
    check("Softshrink_option", || Softshrink::new(1.0));
    check("Hardshrink", Hardshrink::default);
    check("Hardshrink_option", || Hardshrink::new(1.0));
    check("Threshold", || Threshold::new(0.5, -3.0));
    check("GLU", Glu::default);
    check("GLU_axis", || Glu::new(1));
    check("PReLU", Prelu::default);
    check("PReLU_channels", || Prelu::new(3));
    check_evaluated("RReLU_evaluated", Rrelu::default);
    check("Softmax", || Softmax::new(1));
    check("LogSoftmax", || LogSoftmax::new(-1));
    check("Softmin", || Softmin::new(0));
    check("Softmax2d", || Softmax2d);
}

#[test]
fn convolutions() {
    check("Conv1d", || Conv1d::new(3, 4, 3));
    let options = ConvOptions { stride: 2.into(), padding: 2.into(), dilation: 2.into(), groups: 2, ..default() };
    check("Conv1d_all", || Conv1d::with(4, 6, 3, options).without_bias());
    check("Conv2d", || Conv2d::new(2, 3, (3, 2)));
    let circular = Conv { padding: (2, 1).into(), border: Border::Circular, ..default() };
    check("Conv2d_circular", || Conv2d::with(2, 3, 3, circular));
    let reflect = Conv { stride: 2.into(), padding: (2, 1).into(), border: Border::Reflect, ..default() };
    check("Conv2d_reflect", || Conv2d::with(2, 2, 3, reflect));
    let replicate = Conv { padding: Padding::Same, border: Border::Replicate, ..default() };
    check("Conv2d_replicate", || Conv2d::with(2, 2, (3, 2), replicate));
    check("Conv3d", || Conv3d::with(2, 3, 2, ConvOptions { padding: 1.into(), ..default() }));
    let options = ConvOptions { stride: (1, 2, 1).into(), groups: 2, ..default() };
    check("Conv3d_groups", || Conv3d::with(2, 4, (1, 2, 3), options));
}

#[test]
fn transposed_convolutions() {
    check("ConvTranspose1d", || ConvTranspose1d::new(3, 2, 3));
    let options = ConvTransposeOptions { padding: 2.into(), output_padding: 1.into(), groups: 2, ..default() };
    let options = ConvTransposeOptions { stride: 3.into(), dilation: 2.into(), ..options };
    check("ConvTranspose1d_all", || ConvTranspose1d::with(4, 6, 3, options).without_bias());
    let options = ConvTranspose { stride: 2.into(), padding: 1.into(), ..default() };
    check("ConvTranspose2d", || ConvTranspose2d::with(3, 2, 4, options));
    let options = ConvTranspose { stride: (2, 3).into(), padding: (1, 0).into(), output_padding: (1, 2).into(), ..default() };
    check("ConvTranspose2d_all", || ConvTranspose2d::with(2, 4, (3, 2), ConvTranspose { groups: 2, ..options }));
    let options = ConvTransposeOptions { stride: 2.into(), ..default() };
    check("ConvTranspose3d", || ConvTranspose3d::with(2, 2, 2, options));
}

#[test]
fn pools() {
    check("MaxPool1d", || MaxPool1d::new(PoolOptions::new(3).stride(2).padding(1)));
    check("MaxPool2d", || MaxPool2d::new(PoolOptions::new(3).stride(2).padding(1)));
    check("MaxPool3d", || MaxPool3d::new(PoolOptions::new(3).stride(2).padding(1)));
    check("AvgPool1d", || AvgPool1d::new(PoolOptions::new(3).stride(2).padding(1).without_padding()));
    check("AvgPool2d", || AvgPool2d::new(PoolOptions::new(3).stride(2).padding(1).without_padding()));
    check("AvgPool3d", || AvgPool3d::new(PoolOptions::new(3).stride(2).padding(1).without_padding()));
    check("AdaptiveMaxPool1d", || AdaptiveMaxPool1d::new(3));
    check("AdaptiveMaxPool2d", || AdaptiveMaxPool2d::new(3));
    check("AdaptiveMaxPool3d", || AdaptiveMaxPool3d::new(3));
    check("AdaptiveAvgPool1d", || AdaptiveAvgPool1d::new(3));
    check("AdaptiveAvgPool2d", || AdaptiveAvgPool2d::new(3));
    check("AdaptiveAvgPool3d", || AdaptiveAvgPool3d::new(3));
    check("LPPool1d", || LpPool1d::new(3.0, PoolOptions::new(2).ceil()));
    check("LPPool2d", || LpPool2d::new(3.0, 2));
    check("LPPool3d", || LpPool3d::new(3.0, 2));
}

#[test]
fn batch_norms() {
    check("BatchNorm1d_2", || BatchNorm1d::new(3));
    check("BatchNorm1d_3", || BatchNorm1d::new(3));
    check("BatchNorm2d_4", || BatchNorm2d::new(3));
    check("BatchNorm3d_5", || BatchNorm3d::new(3));
    check_evaluated("BatchNorm1d_2_evaluated", || BatchNorm1d::new(3));
    check_evaluated("BatchNorm1d_3_evaluated", || BatchNorm1d::new(3));
    check_evaluated("BatchNorm2d_4_evaluated", || BatchNorm2d::new(3));
    check_evaluated("BatchNorm3d_5_evaluated", || BatchNorm3d::new(3));
    let options = BatchNormOptions { eps: 0.01, momentum: Some(0.5) };
    check("BatchNorm2d_options", || BatchNorm2d::with(3, options));
    let cumulative = || BatchNorm2d::with(3, BatchNormOptions { momentum: None, ..default() });
    check_with("BatchNorm2d_cumulative", cumulative, |norm, t| {
        for earlier in [&t[0] * 2.0, &t[0] + 1.0] {
            if let Some(error) = norm.forward(&earlier).error() {
                return vec![error.clone().into()];
            }
        }
        vec![norm.forward(&t[0])]
    });
    check("BatchNorm2d_without_affine", || BatchNorm2d::new(3).without_affine());
    check_evaluated("BatchNorm2d_without_statistics", || BatchNorm2d::new(3).without_running_statistics());
}

#[test]
fn norms() {
    check("InstanceNorm1d", || InstanceNorm1d::new(3));
    check("InstanceNorm2d", || InstanceNorm2d::new(3));
    check("InstanceNorm3d", || InstanceNorm3d::new(3));
    let options = InstanceNormOptions { eps: 0.01, momentum: 0.3 };
    let all = || InstanceNorm2d::with(3, options).with_affine().with_running_statistics();
    check("InstanceNorm2d_all", all);
    check_evaluated("InstanceNorm2d_all_evaluated", all);
    check("InstanceNorm2d_image", || InstanceNorm2d::new(3).with_affine());
    check("GroupNorm", || GroupNorm::new(2, 6));
    check("GroupNorm_without_affine", || GroupNorm::with(3, 6, GroupNormOptions { eps: 0.01 }).without_affine());
    check("LayerNorm", || LayerNorm::new(5));
    check("LayerNorm_axes", || LayerNorm::with((2, 3), LayerNormOptions { eps: 0.01 }).without_bias());
    check("RMSNorm", || RmsNorm::new(5));
    check("RMSNorm_axes", || RmsNorm::with((2, 3), RmsNormOptions { eps: Some(0.01) }).without_affine());
    check("LocalResponseNorm", || LocalResponseNorm::new(2));
    let options = LocalResponseNormOptions { alpha: 0.1, beta: 0.5, k: 2.0 };
    check("LocalResponseNorm_all", || LocalResponseNorm::with(3, options));
}

#[test]
fn embeddings() {
    check("Embedding", || Embedding::new(6, 3));
    let padding = EmbeddingOptions { padding_idx: Some(-2), ..default() };
    check("Embedding_padding", || Embedding::with(6, 3, padding));
    let max_norm = EmbeddingOptions { max_norm: Some(1.0), norm_type: 1.0, ..default() };
    check("Embedding_max_norm", || Embedding::with(6, 3, max_norm));
    let frequency = EmbeddingOptions { scale_grad_by_freq: true, ..default() };
    check("Embedding_frequency", || Embedding::with(6, 3, frequency));
    for (name, mode) in [("sum", BagMode::Sum), ("mean", BagMode::Mean), ("max", BagMode::Max)] {
        let case = format!("EmbeddingBag_{name}");
        check(&case, || EmbeddingBag::new(6, 3, mode));
        let offsets = |bag: &EmbeddingBag, t: &[Tensor]| vec![bag.forward_bags(&t[0], &t[1])];
        check_with(&format!("{case}_offsets"), || EmbeddingBag::new(6, 3, mode), offsets);
        let padding = EmbeddingOptions { padding_idx: Some(4), ..default() };
        check(&format!("{case}_padding"), || EmbeddingBag::with(6, 3, mode, padding));
    }
    let weighted = |bag: &EmbeddingBag, t: &[Tensor]| vec![bag.forward_weighted(&t[0], &t[1])];
    check_with("EmbeddingBag_weighted", || EmbeddingBag::new(6, 3, BagMode::Sum), weighted);
}

fn attention() -> MultiheadAttention {
    MultiheadAttention::new(4, 2)
}

/// Result and weights with these masks.
fn weighted(attention: &MultiheadAttention, t: &[Tensor], mask: AttentionMask) -> Vec<Tensor> {
    let (y, weights) = attention.forward_with_weights(&t[0], &t[1], &t[2], &mask);
    vec![y, weights]
}

#[test]
fn multihead_attention() {
    check_with("MultiheadAttention", attention, |a, t| {
        let (y, weights) = a.forward_with_head_weights(&t[0], &t[1], &t[2], &default());
        vec![y, weights]
    });
    check_with("MultiheadAttention_self", attention, |a, t| vec![a.forward(&t[0], &t[0], &t[0], &default())]);
    let options = MultiheadAttentionOptions { kdim: Some(6), vdim: Some(3), batch_first: true, ..default() };
    let wide = || MultiheadAttention::with(4, 2, options).without_bias();
    check_with("MultiheadAttention_dims", wide, |a, t| weighted(a, t, default()));
    check_with("MultiheadAttention_one", attention, |a, t| weighted(a, t, default()));
}

#[test]
fn masks_of_attention() {
    let both = |t: &[Tensor]| AttentionMask { positions: Some(t[3].clone()), padding: Some(t[4].clone()), ..default() };
    check_with("MultiheadAttention_bools", attention, |a, t| weighted(a, t, both(t)));
    check_with("MultiheadAttention_added", attention, |a, t| weighted(a, t, both(t)));
    let plain = |a: &MultiheadAttention, t: &[Tensor]| vec![a.forward(&t[0], &t[1], &t[2], &both(t))];
    check_with("MultiheadAttention_added_alone", attention, plain);
    check_with("MultiheadAttention_heads", attention, plain);
    check_with("MultiheadAttention_causal", attention, |a, t| {
        vec![a.forward(&t[0], &t[0], &t[0], &AttentionMask { causal: true, ..default() })]
    });
}

const SMALL: TransformerOptions =
    TransformerOptions { hidden: 6, dropout: 0.0, activation: Tensor::relu, eps: 1e-5, batch_first: false, norm_first: false };

#[test]
fn transformer_encoders() {
    check("TransformerEncoderLayer", || TransformerEncoderLayer::with(4, 2, SMALL));
    let options = TransformerOptions { norm_first: true, activation: Tensor::gelu, batch_first: true, eps: 0.01, ..SMALL };
    let masked = |layer: &TransformerEncoderLayer, t: &[Tensor]| {
        vec![layer.forward_masked(&t[0], &AttentionMask { padding: Some(t[1].clone()), ..default() })]
    };
    check_with("TransformerEncoderLayer_options", || TransformerEncoderLayer::with(4, 2, options), masked);
    let plain = || TransformerEncoderLayer::with(4, 2, TransformerOptions { hidden: 6, ..default() });
    check_evaluated("TransformerEncoderLayer_evaluated", plain);
    let layers = || (0..2).map(|_| TransformerEncoderLayer::with(4, 2, SMALL));
    check("TransformerEncoder", || TransformerEncoder::new(layers()).with_norm(LayerNorm::new(4)));
}

#[test]
fn transformer_decoders() {
    let causal = || DecoderMask { target: AttentionMask { causal: true, ..default() }, ..default() };
    let layer = |options| move || TransformerDecoderLayer::with(4, 2, options);
    check_with("TransformerDecoderLayer", layer(SMALL), |l, t| vec![l.forward(&t[0], &t[1], &default())]);
    let pre = TransformerOptions { norm_first: true, ..SMALL };
    check_with("TransformerDecoderLayer_causal", layer(pre), |l, t| vec![l.forward(&t[0], &t[1], &causal())]);
    let two = || TransformerDecoder::new((0..2).map(|_| TransformerDecoderLayer::with(4, 2, SMALL)));
    check_with("TransformerDecoder", two, |d, t| vec![d.forward(&t[0], &t[1], &default())]);
    let whole = || Transformer::with(4, 2, 1, 1, SMALL);
    check_with("Transformer", whole, |m, t| vec![m.forward(&t[0], &t[1], &default(), &causal())]);
}

#[test]
fn images() {
    check("Upsample", || Upsample::by([2.0, 2.0]));
    check("Upsample_size", || Upsample::to([5, 3]).interpolation(Interpolation::Linear));
    let cubic = || Upsample::by([1.5, 2.0]).interpolation(Interpolation::Cubic).corners(Corners::Aligned);
    check("Upsample_aligned", cubic);
    check("PixelShuffle", || PixelShuffle::new(2));
    check("PixelUnshuffle", || PixelUnshuffle::new(2));
    check("ChannelShuffle", || ChannelShuffle::new(2));
    let options = PatchOptions { dilation: (1, 2).into(), padding: 1.into(), stride: 2.into() };
    check("Unfold", || Unfold::with((2, 3), options));
    let options = PatchOptions { padding: (1, 0).into(), stride: (2, 1).into(), ..default() };
    check("Fold", || Fold::with((4, 5), (2, 3), options));
}

#[test]
fn pads() {
    let (one, two, three) = ([(1, 2)], [(1, 0), (2, 1)], [(1, 0), (2, 1), (0, 2)]);
    check("ZeroPad1d", || ZeroPad1d::new(one));
    check("ZeroPad2d", || ZeroPad2d::new(two));
    check("ZeroPad3d", || ZeroPad3d::new(three));
    check("ReflectionPad1d", || ReflectionPad1d::new(one));
    check("ReflectionPad2d", || ReflectionPad2d::new(two));
    check("ReflectionPad3d", || ReflectionPad3d::new(three));
    check("ReplicationPad1d", || ReplicationPad1d::new(one));
    check("ReplicationPad2d", || ReplicationPad2d::new(two));
    check("ReplicationPad3d", || ReplicationPad3d::new(three));
    check("CircularPad1d", || CircularPad1d::new(one));
    check("CircularPad2d", || CircularPad2d::new(two));
    check("CircularPad3d", || CircularPad3d::new(three));
    check("ConstantPad1d", || ConstantPad1d::new(one, 2.5));
    check("ConstantPad2d", || ConstantPad2d::new(two, 2.5));
    check("ConstantPad3d", || ConstantPad3d::new(three, 2.5));
}

#[test]
fn others() {
    check("Linear", || Linear::new(4, 3));
    check_with("Bilinear", || Bilinear::new(3, 4, 2), |l, t| vec![l.forward(&t[0], &t[1])]);
    check_with("CosineSimilarity", CosineSimilarity::new, |l, t| vec![l.forward(&t[0], &t[1])]);
    check_with("PairwiseDistance", PairwiseDistance::new, |l, t| vec![l.forward(&t[0], &t[1])]);
    let cubes = || PairwiseDistance { p: 3.0, ..default() };
    check_with("PairwiseDistance_3", cubes, |l, t| vec![l.forward(&t[0], &t[1])]);
    check("Flatten", Flatten::new);
    check("Unflatten", || Unflatten::new(1, (2, 3)));
    check("Identity", || Identity);
    check_evaluated("AlphaDropout_evaluated", || AlphaDropout::new(0.3));
    check_evaluated("Dropout2d_evaluated", || Dropout2d::new(0.3));
}

/// What drops channels drops whole ones, and scales the others.
#[test]
fn channels_are_dropped_as_a_whole() {
    let _one = seeded(2);
    let x = Tensor::ones((40, 50, 3, 2));
    let y = Dropout2d::new(0.3).forward(&x);
    let sums = y.sum((2, 3)).to_f64_vec().unwrap();
    let dropped = sums.iter().filter(|&&s| s == 0.0).count();
    let kept = sums.iter().filter(|&&s| (s - 6.0 / 0.7).abs() < 1e-5).count();
    assert_eq!(dropped + kept, 2000, "whole channels");
    // Four standard deviations of a binomial count.
    assert!((dropped as f64 - 600.0).abs() < 4.0 * (2000.0 * 0.3 * 0.7f64).sqrt(), "{dropped}");
    let errors = [Dropout1d::new(0.5).forward(&x), Dropout3d::new(1.5).forward(&x), AlphaDropout::new(-0.1).forward(&x)];
    assert!(errors.iter().all(|y| y.error().is_some()));
}

/// Normal numbers keep mean and variance, which is what the constants of alpha dropout are made for.
#[test]
fn alpha_dropout_keeps_mean_and_variance() {
    let _one = seeded(3);
    let y = AlphaDropout::new(0.4).forward(&Tensor::randn(100_000));
    let (mean, variance) = (y.mean_all().item().unwrap(), y.var_all().item().unwrap());
    assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    let (values, counts, _) = y.unique();
    let most = counts.max_all().item().unwrap();
    assert!((most / 100_000.0 - 0.4).abs() < 0.01, "the dropped are alike: {most} of {}", values.size(0));
}

#[test]
fn random_slopes_are_in_their_range() {
    let _one = seeded(4);
    let y = Rrelu::new(0.2, 0.4).forward(&Tensor::full(10_000, -1.0)).to_f64_vec().unwrap();
    assert!(y.iter().all(|y| (-0.4..=-0.2).contains(y)));
    let mean = y.iter().sum::<f64>() / 1e4;
    assert!((mean + 0.3).abs() < 4.0 * 0.2 / 12f64.sqrt() / 100.0, "{mean}");
    assert!(Rrelu::new(0.4, 0.2).forward(&Tensor::ones(1)).error().is_some());
}

/// Products of turned vectors depend on the distance of their positions only, lengths stay, and both layouts are one up to
/// the order of features.
#[test]
fn rotary_embeddings_turn() {
    let _one = seeded(5);
    let rope = RotaryEmbedding::new(6);
    let row = |x: &Tensor| x.unsqueeze(0).expand((9, 6));
    let (q, k) = (row(&Tensor::randn(6)), row(&Tensor::randn(6)));
    let products = rope.forward(&q).matmul(&rope.forward(&k).t());
    assert_close(&products.i((1.., 1..)), &products.i((..8, ..8)), 1e-5);
    assert!((products.i((0, 0)) - products.i((0, 1))).abs().item().unwrap() > 1e-3);
    assert_close(&rope.forward(&q).norm(-1), &q.norm(-1), 1e-5);
    assert_close(&rope.forward_from(&q, 4usize), &rope.forward(&Tensor::cat(&[&q, &q], 0)).i(4..13), 1e-5);
    let halves = RotaryEmbedding::with(6, RotaryOptions { pairs: RotaryPairs::Halves, ..default() });
    let apart = |x: &Tensor| Tensor::cat(&[x.i((.., Tensor::new([0, 2, 4]))), x.i((.., Tensor::new([1, 3, 5])))], 1);
    assert_close(&halves.forward(&apart(&q)), &apart(&rope.forward(&q)), 1e-6);
    assert!(RotaryEmbedding::new(5).forward(&Tensor::ones((2, 5))).error().is_some());
}

/// Positions are added along the sequence, wherever its axis is, and only as many as there are.
#[test]
fn positions_are_added() {
    let _one = seeded(6);
    let x = Tensor::randn((3, 2, 4));
    let first = PositionalEncoding::with(4, PositionalEncodingOptions { dropout: 0.0, max_len: 5, batch_first: true });
    let second = PositionalEncoding::with(4, PositionalEncodingOptions { dropout: 0.0, max_len: 5, ..default() });
    assert_close(&first.forward(&x.transpose(0, 1)), &second.forward(&x).transpose(0, 1), 0.0);
    let angle = 2.0 / 100.0;
    let row = [2f64.sin(), 2f64.cos(), f64::sin(angle), f64::cos(angle)];
    igneous::testing::assert_values(&(second.forward(&x) - &x).i((2, 0)), &row, 1e-6);
    let learned = LearnedPositions::new(5, 4);
    assert_close(&(learned.forward(&x) - &x).i((.., 1)), &learned.weight.i(..3), 1e-6);
    for short in [learned.forward(&Tensor::zeros((6, 1, 4))), second.forward(&Tensor::zeros((6, 1, 4)))] {
        assert!(short.check().unwrap_err().to_string().contains("at most 5 elements, not 6"));
    }
    assert!(learned.forward(&Tensor::zeros((2, 1, 3))).error().is_some());
}

/// Arguments that cannot be make invalid layers, whose error names them.
#[test]
fn wrong_arguments_are_told() {
    let _one = seeded(7);
    let told = |result: Result<()>, part: &str| {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    };
    told(Conv1d::new(3, 4, 0).weight.check(), "Conv1d needs a kernel");
    told(Conv3d::with(3, 4, 1, ConvOptions { groups: 2, ..default() }).weight.check(), "channels that its 2 groups divide");
    told(Conv2d::with(2, 2, 1, Conv { groups: 0, ..default() }).weight.check(), "at least one group");
    let padding = ConvTranspose { output_padding: 1.into(), ..default() };
    told(ConvTranspose2d::with(2, 2, 1, padding).weight.check(), "output_padding");
    told(GroupNorm::new(4, 6).weight.unwrap().check(), "6 in 4 groups");
    told(MultiheadAttention::new(5, 2).out_proj.weight.check(), "5 in 2");
    told(Embedding::with(3, 2, EmbeddingOptions { padding_idx: Some(3), ..default() }).weight.check(), "padding_idx 3");
    let x = Tensor::ones((2, 3, 4));
    told(BatchNorm2d::new(3).forward(&x).check(), "4 axes and 3 channels");
    told(BatchNorm1d::new(4).forward(&x).check(), "4 channels");
    told(BatchNorm1d::new(3).forward(&Tensor::ones((1, 3))).check(), "more than one value for each channel");
    told(InstanceNorm2d::new(3).forward(&Tensor::ones((2, 3))).check(), "3 or 4 axes");
    told(LpPool1d::new(0.0, 2).forward(&x).check(), "exponent");
    told(ChannelShuffle::new(2).forward(&x).check(), "channels 2 divides");
    told(ReflectionPad2d::new(1).forward(&Tensor::ones((2, 2))).check(), "ReflectionPad2d needs a tensor");
    let mask = AttentionMask { padding: Some(Tensor::ones((3, 3)).gt(0.0)), ..default() };
    told(MultiheadAttention::new(4, 2).forward(&x, &x, &x, &mask).check(), "mask of padding");
    told(MultiheadAttention::new(4, 2).forward(&x, &Tensor::ones((2, 4)), &x, &default()).check(), "three axes");
}
