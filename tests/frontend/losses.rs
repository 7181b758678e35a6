//! Losses against PyTorch's, whose numbers `tests/parity/losses.py` wrote: values and gradients with all reductions, in f64
//! and f32, eager and compiled.

use igneous::nn::*;
use igneous::testing::{assert_close, assert_values};
use igneous::{DType, Error, Tensor, compile, default};
use std::sync::LazyLock;

static TORCH: LazyLock<StateDict> =
    LazyLock::new(|| StateDict::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/losses.safetensors")).unwrap());

fn cast(tensor: &Tensor, dtype: DType) -> Tensor {
    if tensor.dtype().is_float() { tensor.to_dtype(dtype) } else { tensor.clone() }
}

#[track_caller]
fn check(case: &str, loss: impl Fn(Reduction, &[Tensor]) -> Tensor + Send + Sync) {
    let given: Vec<Tensor> = (0..).map_while(|i| TORCH.get(&format!("{case}/in{i}"))).cloned().collect();
    assert!(!given.is_empty(), "losses.py writes no {case}");
    let reductions =
        [("mean", Reduction::Mean), ("sum", Reduction::Sum), ("none", Reduction::None), ("batchmean", Reduction::BatchMean)];
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 3e-5)] {
        for (name, reduction) in reductions {
            let prefix = format!("{case}_{name}");
            let Some(expected) = TORCH.get(&format!("{prefix}/y")) else { continue };
            let dy = cast(TORCH.get(&format!("{prefix}/dy")).unwrap(), dtype);
            let run = |inputs: Vec<Tensor>, dy: Tensor| {
                let tracked = |t: Tensor| if t.dtype().is_float() { t.detach().requires_grad_() } else { t };
                let leaves: Vec<Tensor> = inputs.into_iter().map(tracked).collect();
                let y = loss(reduction, &leaves);
                y.backward_with(&dy)?;
                Ok::<_, Error>((y, leaves.iter().map(Tensor::grad).collect::<Vec<_>>()))
            };
            let inputs: Vec<Tensor> = given.iter().map(|t| cast(t, dtype)).collect();
            let eager = run(inputs.clone(), dy.clone()).unwrap_or_else(|e| panic!("{case}: {e}"));
            let compiled = compile(run).run((inputs, dy)).unwrap_or_else(|e| panic!("{case}: {e}"));
            for (mode, (y, gradients)) in [("eager", eager), ("compiled", compiled)] {
                println!("{prefix}, {mode}, {dtype}");
                assert_close(&y, expected, tolerance);
                for (i, gradient) in gradients.iter().enumerate() {
                    if let Some(expected) = TORCH.get(&format!("{prefix}/grad{i}")) {
                        assert_close(gradient.as_ref().expect("the loss depends on it"), expected, tolerance);
                    }
                }
            }
        }
    }
}

/// The input of that position, as an option.
fn optional(t: &[Tensor], i: usize) -> Option<Tensor> {
    t.get(i).cloned()
}

#[test]
fn differences() {
    check("l1", |reduction, t| L1Loss { reduction }.forward(&t[0], &t[1]));
    check("mse", |reduction, t| MseLoss { reduction }.forward(&t[0], &t[1]));
    check("smooth_l1", |reduction, t| SmoothL1Loss { reduction, ..default() }.forward(&t[0], &t[1]));
    check("smooth_l1_beta", |reduction, t| SmoothL1Loss { reduction, beta: 0.5 }.forward(&t[0], &t[1]));
    check("huber", |reduction, t| HuberLoss { reduction, ..default() }.forward(&t[0], &t[1]));
    check("huber_delta", |reduction, t| HuberLoss { reduction, delta: 0.5 }.forward(&t[0], &t[1]));
}

#[test]
fn classes() {
    let entropy =
        |reduction, t: &[Tensor]| CrossEntropyLoss { reduction, weight: optional(t, 2), ..default() }.forward(&t[0], &t[1]);
    check("cross_entropy", entropy);
    check("cross_entropy_weight", entropy);
    let nll = |reduction, t: &[Tensor]| NllLoss { reduction, weight: optional(t, 2), ..default() }.forward(&t[0], &t[1]);
    check("nll", nll);
    check("nll_weight", nll);
    check("nll_images", nll);
}

#[test]
fn probabilities() {
    let bce = |reduction, t: &[Tensor]| BceLoss { reduction, weight: optional(t, 2) }.forward(&t[0], &t[1]);
    check("bce", bce);
    check("bce_weight", bce);
    let logits = |reduction, t: &[Tensor]| {
        BceWithLogitsLoss { reduction, weight: optional(t, 2), pos_weight: optional(t, 3) }.forward(&t[0], &t[1])
    };
    check("bce_with_logits", logits);
    check("bce_with_logits_weights", logits);
    check("kl_div", |reduction, t| KlDivLoss { reduction, ..default() }.forward(&t[0], &t[1]));
    check("kl_div_log", |reduction, t| KlDivLoss { reduction, log_target: true }.forward(&t[0], &t[1]));
}

#[test]
fn distributions() {
    check("poisson_nll", |reduction, t| PoissonNllLoss { reduction, ..default() }.forward(&t[0], &t[1]));
    check("poisson_nll_full", |reduction, t| PoissonNllLoss { reduction, full: true, ..default() }.forward(&t[0], &t[1]));
    check("poisson_nll_rates", |reduction, t| {
        PoissonNllLoss { reduction, log_input: false, full: true, ..default() }.forward(&t[0], &t[1])
    });
    let gaussian = |reduction, t: &[Tensor]| GaussianNllLoss { reduction, ..default() }.forward(&t[0], &t[1], &t[2]);
    check("gaussian_nll", gaussian);
    check("gaussian_nll_rows", gaussian);
    check("gaussian_nll_full", |reduction, t| GaussianNllLoss { reduction, full: true, eps: 0.5 }.forward(&t[0], &t[1], &t[2]));
}

#[test]
fn margins_of_pairs() {
    check("hinge_embedding", |reduction, t| HingeEmbeddingLoss { reduction, ..default() }.forward(&t[0], &t[1]));
    check("hinge_embedding_margin", |reduction, t| HingeEmbeddingLoss { reduction, margin: 0.5 }.forward(&t[0], &t[1]));
    check("margin_ranking", |reduction, t| MarginRankingLoss { reduction, ..default() }.forward(&t[0], &t[1], &t[2]));
    check("margin_ranking_margin", |reduction, t| MarginRankingLoss { reduction, margin: 0.5 }.forward(&t[0], &t[1], &t[2]));
    check("cosine_embedding", |reduction, t| CosineEmbeddingLoss { reduction, ..default() }.forward(&t[0], &t[1], &t[2]));
    check("cosine_embedding_margin", |reduction, t| {
        CosineEmbeddingLoss { reduction, margin: -0.25 }.forward(&t[0], &t[1], &t[2])
    });
    check("triplet_margin", |reduction, t| TripletMarginLoss { reduction, ..default() }.forward(&t[0], &t[1], &t[2]));
    check("triplet_margin_all", |reduction, t| {
        TripletMarginLoss { reduction, margin: 2.0, p: 3.0, swap: true, ..default() }.forward(&t[0], &t[1], &t[2])
    });
}

#[test]
fn margins_of_classes() {
    check("soft_margin", |reduction, t| SoftMarginLoss { reduction }.forward(&t[0], &t[1]));
    let multi = |reduction, t: &[Tensor]| MultiMarginLoss { reduction, ..default() }.forward(&t[0], &t[1]);
    check("multi_margin", multi);
    check("multi_margin_one", multi);
    check("multi_margin_all", |reduction, t| {
        MultiMarginLoss { reduction, p: 2, margin: 0.5, weight: optional(t, 2) }.forward(&t[0], &t[1])
    });
    let several = |reduction, t: &[Tensor]| MultiLabelMarginLoss { reduction }.forward(&t[0], &t[1]);
    check("multilabel_margin", several);
    check("multilabel_margin_one", several);
    let soft = |reduction, t: &[Tensor]| MultiLabelSoftMarginLoss { reduction, weight: optional(t, 2) }.forward(&t[0], &t[1]);
    check("multilabel_soft_margin", soft);
    check("multilabel_soft_margin_weight", soft);
}

#[test]
fn ctc() {
    let of = |loss: CtcLoss, t: &[Tensor]| loss.forward(&t[0].log_softmax(-1), &t[1], &t[2], &t[3]);
    check("ctc", |reduction, t| of(CtcLoss { reduction, ..default() }, t));
    check("ctc_flat", |reduction, t| of(CtcLoss { reduction, ..default() }, t));
    check("ctc_blank", |reduction, t| of(CtcLoss { reduction, blank: 3, ..default() }, t));
    check("ctc_impossible", |reduction, t| of(CtcLoss { reduction, zero_infinity: true, ..default() }, t));
    check("ctc_one", |reduction, t| of(CtcLoss { reduction, ..default() }, t));
    let target = Tensor::new([[2, 2]]);
    let lost = CtcLoss::new().forward(&Tensor::zeros((2, 1, 3)), &target, &Tensor::new([2]), &Tensor::new([2]));
    assert_eq!(lost.item().unwrap(), f64::INFINITY, "two equal labels need a blank between them");
}

/// The methods of tensors are the losses without options.
#[test]
fn methods_of_tensors() {
    let (x, y) = (Tensor::new([[0.2, 0.7], [0.6, 0.4]]), Tensor::new([[0.5, 0.1], [2.5, 0.3]]));
    let mean = |y: Tensor, expected: f64| assert!((y.item().unwrap() - expected).abs() < 1e-6, "{y} instead of {expected}");
    mean(x.l1_loss(&y), (0.3 + 0.6 + 1.9 + 0.1) / 4.0);
    let smooth = (0.09 / 2.0 + 0.36 / 2.0 + 1.4 + 0.01 / 2.0) / 4.0;
    mean(x.smooth_l1_loss(&y), smooth);
    mean(x.huber_loss(&y), smooth);
    mean(x.log().nll_loss(&Tensor::new([1, 0])), -(0.7f64.ln() + 0.6f64.ln()) / 2.0);
    let ones = Tensor::ones((2, 2));
    mean(x.binary_cross_entropy(&ones), -(0.2f64 * 0.7 * 0.6 * 0.4).ln() / 4.0);
    mean(x.logit(None).binary_cross_entropy_with_logits(&ones), -(0.2f64 * 0.7 * 0.6 * 0.4).ln() / 4.0);
    mean(x.log().kl_div(&x), 0.0);
    mean(x.poisson_nll_loss(&x.zeros_like()), (0.2f64.exp() + 0.7f64.exp() + 0.6f64.exp() + 0.4f64.exp()) / 4.0);
    mean(x.gaussian_nll_loss(&x, &ones), 0.0);
    mean(x.triplet_margin_loss(&x, &x), 1.0);
}

/// Every loss of tensors that do not fit, or options that cannot be, is invalid and says which loss it is.
#[test]
fn misfits_are_told() {
    let (x, y) = (Tensor::ones((2, 3)), Tensor::ones((3, 2)));
    let labels = Tensor::new([0, 1]);
    let losses = [
        ("l1_loss", L1Loss::new().forward(&x, &y)),
        ("hinge_embedding_loss", HingeEmbeddingLoss::new().forward(&x, &y)),
        ("cosine_embedding_loss", CosineEmbeddingLoss::new().forward(&x, &x, &y)),
        ("soft_margin_loss", SoftMarginLoss::new().forward(&x, &y)),
        ("multi_margin_loss", MultiMarginLoss::new().forward(&x, &x)),
        ("multi_margin_loss", MultiMarginLoss { p: 3, ..default() }.forward(&x, &labels)),
        ("multilabel_margin_loss", MultiLabelMarginLoss::new().forward(&x, &labels)),
        ("multilabel_soft_margin_loss", MultiLabelSoftMarginLoss::new().forward(&x, &y)),
        ("poisson_nll_loss", PoissonNllLoss::new().forward(&x, &y)),
        ("gaussian_nll_loss", GaussianNllLoss::new().forward(&x, &x, &y)),
        ("ctc_loss", CtcLoss::new().forward(&x, &x, &labels, &labels)),
        ("ctc_loss", CtcLoss { blank: 3, ..default() }.forward(&x, &Tensor::new([1]), &Tensor::new([2]), &Tensor::new([1]))),
        ("target length", CtcLoss::new().forward(&x, &Tensor::new([1]), &Tensor::new([2]), &Tensor::new([2]))),
        ("input length", CtcLoss::new().forward(&x, &Tensor::new([1]), &Tensor::new([3]), &Tensor::new([1]))),
    ];
    for (name, loss) in losses {
        let message = loss.check().unwrap_err().to_string();
        assert!(message.contains(name), "{name}: {message}");
    }
}

/// Labels of −100 do not count, as in PyTorch, in the function as in the loss; other wrong labels are errors.
#[test]
fn ignored_labels() {
    let logits = Tensor::new([[2.0, 0.0], [0.0, 1.0], [5.0, 0.0]]);
    let kept = logits.i(..2).cross_entropy(&Tensor::new([0, 0]));
    assert_close(&logits.cross_entropy(&Tensor::new([0, 0, -100])), &kept, 1e-6);
    assert_values(&logits.cross_entropy_each(&Tensor::new([0, 0, -100])).i(2), &[0.0], 0.0);
    let small = logits.cross_entropy(&Tensor::new([0, 0, 1]).to_dtype(DType::U8));
    assert_close(&small, &logits.cross_entropy(&Tensor::new([0, 0, 1])), 0.0);
    assert!(logits.cross_entropy(&Tensor::new([-100; 3])).item().unwrap().is_nan(), "the mean of nothing");
    for wrong in [-1, 2] {
        assert!(logits.cross_entropy(&Tensor::new([0, 0, wrong])).error().is_some());
        let compiled = compile(|labels: Tensor| logits.cross_entropy(&labels));
        let message = compiled.run(Tensor::new([0, 0, wrong])).unwrap_err().to_string();
        assert!(message.contains("a label is out of range"), "{message}");
    }
}
