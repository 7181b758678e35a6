//! Layers, losses and optimizers against PyTorch, whose numbers `tests/parity/generate.py` wrote: values, gradients and
//! defaults; in f64 and f32, eager and compiled.

use crate::seeded;
use igneous::nn::{
    Conv, Conv2d, CrossEntropyLoss, Dropout, Forward, Gelu, GeluTanh, LayerNorm, LayerNormOptions, Linear, MaxPool2d, ModuleExt,
    MseLoss, Padding, Pool, Reduction, Relu, StateDict,
};
use igneous::optim::{Adam, AdamOptions, AdamW, AdamWOptions, Optimizer, Sgd, SgdOptions};
use igneous::testing::assert_close;
use igneous::{DType, Error, Result, Tensor, compile, default};
use std::sync::LazyLock;

static TORCH: LazyLock<StateDict> =
    LazyLock::new(|| StateDict::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/torch.safetensors")).unwrap());

#[track_caller]
fn torch(name: &str) -> Tensor {
    TORCH.get(name).unwrap_or_else(|| panic!("generate.py writes no {name}")).clone()
}

/// In an element type, if it holds floats.
fn cast(tensor: Tensor, dtype: DType) -> Tensor {
    if tensor.dtype().is_float() { tensor.to_dtype(dtype) } else { tensor }
}

/// How far f64 and f32 may be from PyTorch's f64.
const PRECISIONS: [(DType, f64); 2] = [(DType::F64, 1e-12), (DType::F32, 2e-5)];

/// Compares the result and all gradients of `f` with those of a case, in both modes and element types.
#[track_caller]
fn check(case: &str, f: impl Fn(&[Tensor]) -> Tensor + Send + Sync) {
    for (dtype, tolerance) in PRECISIONS {
        let given: Vec<Tensor> = (0..).map_while(|i| TORCH.get(&format!("{case}/in{i}"))).cloned().collect();
        assert!(!given.is_empty(), "generate.py writes no {case}");
        let inputs: Vec<Tensor> = given.into_iter().map(|t| cast(t, dtype)).collect();
        let dy = cast(torch(&format!("{case}/dy")), dtype);
        let run = |inputs: Vec<Tensor>, dy: Tensor| {
            let leaves: Vec<Tensor> =
                inputs.into_iter().map(|t| if t.dtype().is_float() { t.detach().requires_grad_() } else { t }).collect();
            let y = f(&leaves);
            y.backward_with(&dy)?;
            Ok::<_, Error>((y, leaves.iter().map(Tensor::grad).collect::<Vec<_>>()))
        };
        let eager = run(inputs.clone(), dy.clone()).unwrap_or_else(|e| panic!("{case}: {e}"));
        let compiled = compile(run).run((inputs, dy)).unwrap_or_else(|e| panic!("{case}: {e}"));
        for (mode, (y, gradients)) in [("eager", eager), ("compiled", compiled)] {
            println!("{case}, {mode}, {dtype}");
            assert_close(&y, &torch(&format!("{case}/y")), tolerance);
            for (i, gradient) in gradients.iter().enumerate() {
                let expected = TORCH.get(&format!("{case}/grad{i}"));
                assert_eq!(gradient.is_some(), expected.is_some(), "gradient {i}");
                if let (Some(gradient), Some(expected)) = (gradient, expected) {
                    assert_close(gradient, expected, tolerance);
                }
            }
        }
    }
}

/// The input of that position, as an optional parameter.
fn optional(inputs: &[Tensor], i: usize) -> Option<Tensor> {
    inputs.get(i).cloned()
}

#[test]
fn linear() {
    for case in ["linear", "linear_3d", "linear_without_bias"] {
        check(case, |t| Linear { weight: t[1].clone(), bias: optional(t, 2) }.forward(&t[0]));
    }
}

#[test]
fn conv2d() {
    let same = Conv { padding: Padding::Same, ..default() };
    let cases = [
        ("plain", Conv::default()),
        ("without_bias", Conv::default()),
        ("stride_padding", Conv { stride: 2.into(), padding: 1.into(), ..default() }),
        ("each_axis", Conv { stride: (2, 1).into(), padding: (1, 2).into(), dilation: (2, 3).into(), ..default() }),
        ("groups", Conv { groups: 2, padding: 1.into(), ..default() }),
        ("depthwise", Conv { groups: 3, stride: 2.into(), ..default() }),
        ("same", Conv { dilation: (1, 2).into(), ..same }),
        ("pointwise", Conv::default()),
    ];
    for (case, options) in cases {
        check(&format!("conv2d_{case}"), |t| Conv2d { weight: t[1].clone(), bias: optional(t, 2), options }.forward(&t[0]));
    }
}

#[test]
fn pooling() {
    let cases = [
        ("plain", Pool::new(2)),
        ("overlapping", Pool::new((3, 2)).stride((2, 1)).padding(1)),
        ("dilation", Pool::new(3).stride(2).padding(1).dilation(2)),
        ("ceil", Pool::new(3).stride(2).ceil()),
        ("ceil_padding", Pool::new(3).stride(3).padding(1).ceil()),
        ("ceil_left_out", Pool::new(2).stride(3).padding(1).ceil()),
        ("image", Pool::new(2)),
    ];
    for (case, pool) in cases {
        check(&format!("max_pool2d_{case}"), |t| MaxPool2d::new(pool).forward(&t[0]));
    }
    check("avg_pool2d", |t| t[0].avg_pool2d(Pool::new(3).stride(2).padding(1)));
}

#[test]
fn layer_norm() {
    let _one = seeded(1);
    let of = |norm: LayerNorm, t: &[Tensor]| {
        let weight = norm.weight.and(optional(t, 1));
        let bias = norm.bias.and(optional(t, 2));
        LayerNorm { weight, bias, ..LayerNorm::new(6) }.forward(&t[0])
    };
    check("layer_norm", |t| of(LayerNorm::new(6), t));
    check("layer_norm_without_bias", |t| of(LayerNorm::new(6).without_bias(), t));
    check("layer_norm_without_affine", |t| LayerNorm::new(6).without_affine().forward(&t[0]));
    check("layer_norm_2", |t| {
        let norm = LayerNorm::with((3, 5), LayerNormOptions { eps: 1e-3 });
        LayerNorm { weight: optional(t, 1), bias: optional(t, 2), ..norm }.forward(&t[0])
    });
}

#[test]
fn activations() {
    check("relu", |t| Relu.forward(&t[0]));
    check("gelu", |t| Gelu.forward(&t[0]));
    check("gelu_tanh", |t| GeluTanh.forward(&t[0]));
    check("softmax", |t| t[0].softmax(1));
    check("log_softmax", |t| t[0].log_softmax(-1));
    let evaluated = Dropout::new(0.5);
    evaluated.eval();
    check("dropout_evaluated", |t| evaluated.forward(&t[0]));
    check("dropout_of_all", |t| Dropout::new(1.0).forward(&t[0]));
}

#[test]
fn losses() {
    let weight = Some(torch("cross_entropy/weight"));
    for (name, reduction) in [("mean", Reduction::Mean), ("sum", Reduction::Sum), ("none", Reduction::None)] {
        let plain = CrossEntropyLoss { reduction, ..default() };
        let weighted = CrossEntropyLoss { weight: weight.clone(), ..plain.clone() };
        let cases = [
            ("plain", plain.clone()),
            ("images", plain.clone()),
            ("weight", weighted.clone()),
            ("ignore", plain.clone()),
            ("ignore_2", CrossEntropyLoss { ignore_index: Some(2), ..plain.clone() }),
            ("smoothing", CrossEntropyLoss { label_smoothing: 0.1, ..plain.clone() }),
            ("all", CrossEntropyLoss { label_smoothing: 0.2, ..weighted.clone() }),
            ("probabilities_all", CrossEntropyLoss { label_smoothing: 0.2, ..weighted }),
        ];
        for (case, loss) in cases {
            check(&format!("cross_entropy_{case}_{name}"), |t| loss.forward(&t[0], &t[1]));
        }
        check(&format!("cross_entropy_probabilities_{name}"), |t| plain.forward(&t[0], &t[1]));
        check(&format!("mse_{name}"), |t| MseLoss { reduction }.forward(&t[0], &t[1]));
    }
}

type Parameters = Vec<Tensor>;

/// Five steps of an optimizer, in both modes and element types.
#[track_caller]
fn check_optimizer<O: Optimizer>(case: &str, make: impl Fn(Parameters) -> Result<O>) {
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
        let value = |name: &str| cast(torch(&format!("optimizer/{name}")), dtype);
        let (x, target) = (value("x"), value("target"));
        for mode in ["eager", "compiled"] {
            let parameters = vec![Tensor::parameter(value("w")), Tensor::parameter(value("b"))];
            let optimizer = make(parameters.clone()).unwrap();
            let step = |x: Tensor, target: Tensor, scale: Tensor| {
                let loss = (x.matmul(&parameters[0]) + &parameters[1]).tanh().mse_loss(&target);
                loss.backward_with(&scale)?;
                optimizer.step()
            };
            let program = compile(step);
            for k in 0..5 {
                let arguments = (x.clone(), target.clone(), Tensor::from_vec(vec![0.5f64.powi(k)], ()).to_dtype(dtype));
                match mode {
                    "compiled" => program.run(arguments).unwrap(),
                    _ => step(arguments.0, arguments.1, arguments.2).unwrap(),
                }
                println!("{case}, {mode}, {dtype}, step {k}");
                for (i, parameter) in parameters.iter().enumerate() {
                    assert_close(parameter, &torch(&format!("optimizer/{case}/{k}/{i}")), tolerance);
                }
            }
            assert!(program.programs() <= 1, "{}", program.explain_retraces());
        }
    }
}

#[test]
fn sgd() {
    let all = SgdOptions { momentum: 0.5, weight_decay: 0.125, maximize: true, ..default() };
    let cases = [
        ("sgd_momentum", SgdOptions { momentum: 0.9, ..default() }),
        ("sgd_dampening", SgdOptions { momentum: 0.9, dampening: 0.5, ..default() }),
        ("sgd_nesterov", SgdOptions { momentum: 0.9, nesterov: true, ..default() }),
        ("sgd_weight_decay", SgdOptions { weight_decay: 0.25, ..default() }),
        ("sgd_maximize", SgdOptions { maximize: true, ..default() }),
        ("sgd_all", SgdOptions { dampening: 0.25, ..all }),
        ("sgd_nesterov_all", SgdOptions { nesterov: true, ..all }),
    ];
    check_optimizer("sgd", |p| Sgd::new(p, 0.5));
    for (case, options) in cases {
        check_optimizer(case, |p| Sgd::with(p, 0.25, options));
    }
}

#[test]
fn adam() {
    let other = AdamOptions { betas: (0.75, 0.5), ..default() };
    check_optimizer("adam", |p| Adam::new(p, 0.125));
    let cases = [
        ("adam_all", AdamOptions { eps: 0.0625, weight_decay: 0.25, ..other }),
        ("adam_amsgrad", AdamOptions { amsgrad: true, ..other }),
        ("adam_maximize", AdamOptions { weight_decay: 0.25, maximize: true, ..default() }),
    ];
    for (case, options) in cases {
        check_optimizer(case, |p| Adam::with(p, 0.125, options));
    }
}

#[test]
fn adamw() {
    let other = AdamWOptions { betas: (0.75, 0.5), ..default() };
    check_optimizer("adamw", |p| AdamW::new(p, 0.125));
    let cases = [
        ("adamw_all", AdamWOptions { eps: 0.0625, weight_decay: 0.25, ..other }),
        ("adamw_amsgrad", AdamWOptions { amsgrad: true, maximize: true, ..other }),
    ];
    for (case, options) in cases {
        check_optimizer(case, |p| AdamW::with(p, 0.125, options));
    }
}

#[test]
fn defaults() {
    let is = |name: &str, values: &[f64]| assert_eq!(torch(&format!("default/{name}")).to_f64_vec().unwrap(), values, "{name}");
    let truth = |b: bool| if b { 1.0 } else { 0.0 };
    let sgd = SgdOptions::default();
    is("SGD/momentum", &[sgd.momentum]);
    is("SGD/dampening", &[sgd.dampening]);
    is("SGD/weight_decay", &[sgd.weight_decay]);
    is("SGD/nesterov", &[truth(sgd.nesterov)]);
    is("SGD/maximize", &[truth(sgd.maximize)]);
    let AdamOptions { betas, eps, weight_decay, amsgrad, maximize } = AdamOptions::default();
    is("Adam/betas", &[betas.0, betas.1]);
    is("Adam/eps", &[eps]);
    is("Adam/weight_decay", &[weight_decay]);
    is("Adam/amsgrad", &[truth(amsgrad)]);
    is("Adam/maximize", &[truth(maximize)]);
    let AdamWOptions { betas, eps, weight_decay, amsgrad, maximize } = AdamWOptions::default();
    is("AdamW/betas", &[betas.0, betas.1]);
    is("AdamW/eps", &[eps]);
    is("AdamW/weight_decay", &[weight_decay]);
    is("AdamW/amsgrad", &[truth(amsgrad)]);
    is("AdamW/maximize", &[truth(maximize)]);
    is("Dropout/p", &[Dropout::default().p]);
    is("LayerNorm/eps", &[LayerNorm::new(2).eps]);
    is("LayerNorm/elementwise_affine", &[truth(LayerNorm::new(2).weight.is_some())]);
    is("LayerNorm/bias", &[truth(LayerNorm::new(2).bias.is_some())]);
    let conv = Conv::default();
    is("Conv2d/stride", &[conv.stride.0[0] as f64]);
    is("Conv2d/dilation", &[conv.dilation.0[1] as f64]);
    is("Conv2d/groups", &[conv.groups as f64]);
    assert_eq!(conv.padding, Padding::from(0));
    is("Conv2d/padding", &[0.0]);
    is("MaxPool2d/padding", &[Pool::new(2).padding.0[0] as f64]);
    is("MaxPool2d/dilation", &[Pool::new(2).dilation.0[0] as f64]);
    is("MaxPool2d/ceil_mode", &[truth(Pool::new(2).ceil)]);
    let loss = CrossEntropyLoss::default();
    is("CrossEntropyLoss/label_smoothing", &[loss.label_smoothing]);
    assert!(loss.weight.is_none() && loss.reduction == Reduction::Mean);
    is("CrossEntropyLoss/ignore_index", &[loss.ignore_index.unwrap() as f64]);
}

/// The distributions that parameters begin with: uniform, with PyTorch's bounds.
#[test]
fn initial_values() {
    let _one = seeded(3);
    let (linear, conv) = (Linear::new(256, 300), Conv2d::with(8, 64, 3, Conv { groups: 2, ..default() }));
    let parameters = [
        ("linear/weight", &linear.weight, 300 * 256),
        ("linear/bias", linear.bias.as_ref().unwrap(), 300),
        ("conv2d/weight", &conv.weight, 64 * 4 * 9),
        ("conv2d/bias", conv.bias.as_ref().unwrap(), 64),
    ];
    for (name, parameter, count) in parameters {
        let bound = torch(&format!("init/{name}")).item().unwrap();
        let values = parameter.to_f64_vec().unwrap();
        assert_eq!(values.len(), count);
        assert!(values.iter().all(|x| x.abs() <= bound), "{name}");
        let largest = values.iter().fold(0.0, |a: f64, x| a.max(x.abs()));
        assert!(largest > bound * (1.0 - 8.0 / count as f64), "{name}: {largest} of {bound}");
        let n = count as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|x| x * x).sum::<f64>() / n;
        // Four standard deviations of the mean and of the mean square of n uniform numbers.
        assert!(mean.abs() < 4.0 * bound / (3.0 * n).sqrt(), "{name}: mean {mean}");
        let spread = 4.0 * bound * bound * (4.0 / 45.0 / n).sqrt();
        assert!((variance - bound * bound / 3.0).abs() < spread, "{name}: variance {variance}");
    }
    let norm = LayerNorm::new((2, 3));
    assert_eq!(norm.weight.unwrap().to_vec::<f32>().unwrap(), [1.0; 6]);
    assert_eq!(norm.bias.unwrap().to_vec::<f32>().unwrap(), [0.0; 6]);
}
