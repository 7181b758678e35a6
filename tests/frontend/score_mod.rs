//! Functions of the scores of attention: against operators written out in f64, gradients, spellings, and that they are one kernel.

use crate::{close, seeded};
use igneous::testing::{assert_close, compare_with_eager, gradcheck};
use igneous::{Attention, DType, Error, Precision, Result, ScoreMod, ScorePlace, Tensor, compile, default};

type Function = fn(&Tensor, &ScorePlace, &Tensor) -> Tensor;

/// As Gemma bounds scores.
fn soft_capped(score: &Tensor, _: &ScorePlace, _: &Tensor) -> Tensor {
    (score / 2.0).tanh() * 2.0
}

fn gated(score: &Tensor, _: &ScorePlace, _: &Tensor) -> Tensor {
    score * score.sigmoid() - (score * 0.5).exp()
}

/// A factor for each head, and one for the distance.
fn multiplied(score: &Tensor, at: &ScorePlace, slopes: &Tensor) -> Tensor {
    let distance = (&at.query - &at.key).abs().to_dtype(score.dtype());
    score * slopes.to_dtype(score.dtype()) / (distance * 0.1 + 1.0)
}

/// Other functions for other batches and keys.
fn chosen(score: &Tensor, at: &ScorePlace, slopes: &Tensor) -> Tensor {
    let even = (&at.key % 2).equal(0);
    let slopes = slopes.to_dtype(score.dtype());
    igneous::where_(&even, &(score * slopes.exp()), &(score.sin() + at.batch.to_dtype(score.dtype())))
}

const FUNCTIONS: [(&str, Function); 4] =
    [("soft capped", soft_capped), ("gated", gated), ("multiplied", multiplied), ("chosen", chosen)];

fn bound(f: Function, slopes: &Tensor) -> ScoreMod {
    let slopes = slopes.clone();
    ScoreMod::new(move |score, at| f(score, at, &slopes))
}

/// Operators on whole tensors.
fn written_out(t: &[Tensor], f: Function, options: &Attention) -> Tensor {
    let [q, k, v, slopes] = t else { unreachable!("a call gives four") };
    let scores = q.matmul(&k.transpose(-1, -2)) / (q.size(-1).get().unwrap() as f64).sqrt();
    let axis = |a: i64| {
        let shape: Vec<i64> = (0..-a).map(|i| if i == 0 { -1 } else { 1 }).collect();
        Tensor::arange(0, scores.size(a)).reshape(&shape[..])
    };
    let at = ScorePlace { batch: axis(-4), head: axis(-3), query: axis(-2), key: axis(-1) };
    let mut scores = f(&scores, &at, slopes);
    if let Some(mask) = &options.mask {
        scores = scores.where_(mask, f64::NEG_INFINITY);
    }
    if options.causal {
        scores = scores.where_(&at.query.ge(&at.key), f64::NEG_INFINITY);
    }
    scores.softmax(-1).matmul(v)
}

/// Result and gradients for a fixed cotangent; of the slopes only if they are used.
fn with_gradients(t: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) -> Result<Vec<Tensor>> {
    let leaves: Vec<Tensor> = t.iter().map(|t| t.detach().requires_grad_()).collect();
    let y = f(&leaves);
    let cotangent = (Tensor::arange(0, y.elements()).to_dtype(DType::F64) * 0.37).sin().to_dtype(y.dtype());
    y.backward_with(&cotangent.reshape(y.shape()))?;
    let gradients = leaves.iter().map(|t| Ok(t.grad().unwrap_or_else(|| t.detach() * 0.0)));
    std::iter::once(Ok(y.detach())).chain(gradients).collect()
}

fn operands(batch: usize, heads: usize, [t, s, d, e]: [usize; 4]) -> Vec<Tensor> {
    let of = |shape: [usize; 4]| Tensor::randn(&shape[..]);
    vec![of([batch, heads, t, d]), of([batch, heads, s, d]), of([batch, heads, s, e]), Tensor::randn((heads, 1, 1))]
}

#[test]
fn the_operator_is_what_operators_are() {
    let _one = seeded(1);
    for sizes in [[3, 5, 4, 2], [70, 150, 16, 8]] {
        let inputs = operands(2, 3, sizes);
        let wide: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(DType::F64)).collect();
        // Every query sees the first key.
        let mask = Tensor::randn((sizes[0], sizes[1])).gt(0.0) | Tensor::arange(0, sizes[1]).equal(0);
        let masked = Attention { mask: Some(mask), ..default() };
        for options in [default(), Attention { causal: true, ..default() }, masked] {
            for (name, f) in FUNCTIONS {
                let expected = with_gradients(&wide, |t| written_out(t, f, &options)).unwrap();
                let options = options.clone();
                let run = move |t: Vec<Tensor>| {
                    with_gradients(&t, |t| {
                        let options = Attention { score_mod: Some(bound(f, &t[3])), ..options.clone() };
                        t[0].scaled_dot_product_attention(&t[1], &t[2], &options)
                    })
                };
                let eager = run(inputs.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
                let compiled = compile(run).run(inputs.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
                for ((eager, compiled), expected) in eager.iter().zip(&compiled).zip(&expected) {
                    println!("{name}, {sizes:?}");
                    assert_close(&eager.to_dtype(DType::F64), expected, 5e-5);
                    assert_close(&compiled.to_dtype(DType::F64), expected, 5e-5);
                }
            }
        }
    }
}

#[test]
fn gradients_by_finite_differences() {
    let _one = seeded(2);
    let inputs: Vec<Tensor> = operands(2, 2, [3, 4, 3, 2]).iter().map(|x| x.to_dtype(DType::F64)).collect();
    for (_, f) in FUNCTIONS {
        let attend = |t: &[Tensor]| {
            let options = Attention { score_mod: Some(bound(f, &t[3])), ..default() };
            t[0].scaled_dot_product_attention(&t[1], &t[2], &options) + t[3].sum_all()
        };
        gradcheck(attend, &inputs).unwrap();
    }
}

/// `flex_attention(q, k, v, score_mod=lambda s, b, h, i, j: 2 * torch.tanh(s / 2) - slopes[h] * (i - j).abs())` of PyTorch 2.15, and the
/// gradient of the queries for cotangents that count, which it gives for the same operators written out.
#[test]
fn values_of_flex_attention() {
    let _one = seeded(3);
    let wave = |shape: [usize; 4], step: f64| {
        let n: usize = shape.iter().product();
        ((Tensor::arange(0, n).to_dtype(DType::F64) * step).sin() * 2.0).reshape(&shape[..])
    };
    let (q, k, v) = (wave([1, 2, 3, 4], 0.7).requires_grad_(), wave([1, 2, 5, 4], 0.9), wave([1, 2, 5, 2], 1.1));
    let slopes = Tensor::from_vec(vec![0.5, 0.25], 2).reshape((2, 1, 1));
    let score_mod = ScoreMod::new(move |s, at| (s / 2.0).tanh() * 2.0 - &slopes * (&at.query - &at.key).abs());
    let y = q.scaled_dot_product_attention(&k, &v, &Attention { score_mod: Some(score_mod), ..default() });
    let expected = [
        -0.20856003141050608,
        1.3199080637256544,
        1.1208875586916276,
        -0.4948092709599131,
        0.3806013256510313,
        1.5776139058877223,
        1.1457429117969034,
        1.6369207687161063,
        -1.6687016779650437,
        -0.5685637013119859,
        1.0234707379553605,
        0.2667768905468384,
    ];
    close(&y.reshape(12), &expected);
    y.backward_with(&Tensor::arange(0, 12).to_dtype(DType::F64).reshape(y.shape())).unwrap();
    let expected = [
        -0.22885468018020388,
        -0.23543424075482486,
        -0.06384186167066544,
        0.15606476553993995,
        -1.018797250471509,
        -1.4065384981198132,
        -0.7298394519039414,
        0.49918754103843704,
        -0.8820843033802083,
        -0.8392131170388176,
        -0.16124217472944194,
        0.6387536308038958,
        0.7264861280913093,
        -0.18542140249815403,
        -0.9570057123384682,
        -1.0043471784649634,
        1.0459561852648531,
        -0.29293818733926863,
        -1.4101427799393123,
        -1.4601794300510968,
        1.2502559662891186,
        -3.9913539794762514,
        -6.212386807367558,
        -3.7320091529494266,
    ];
    close(&q.grad().unwrap().reshape(24), &expected);
}

#[test]
fn heads_that_share_keys_know_their_number() {
    let _one = seeded(4);
    let (q, k, v) = (Tensor::randn((2, 6, 9, 8)), Tensor::randn((2, 2, 11, 8)), Tensor::randn((2, 2, 11, 5)));
    let slopes = Tensor::randn((6, 1, 1));
    let options = Attention { score_mod: Some(bound(multiplied, &slopes)), grouped: true, ..default() };
    let found = q.scaled_dot_product_attention(&k, &v, &options);
    let repeated = [q.clone(), k.repeat_interleave(3, 1), v.repeat_interleave(3, 1), slopes];
    assert_close(&found, &written_out(&repeated, multiplied, &default()), 1e-5);
    // Dropping nothing is done operator by operator.
    let dropped = Attention { dropout: 1e-30, ..options };
    assert_close(&q.scaled_dot_product_attention(&k, &v, &dropped), &found, 1e-5);
}

/// Operators written by hand become one kernel, in the derivative too.
#[test]
fn spellings_are_one_kernel() {
    let _one = seeded(5);
    for (name, f) in FUNCTIONS {
        for causal in [false, true] {
            let inputs = operands(2, 3, [20, 30, 8, 5]);
            let options = Attention { causal, ..default() };
            let forward = options.clone();
            let step = compile(move |t: Vec<Tensor>| written_out(&t, f, &forward));
            let text = step.lower(inputs.clone()).unwrap().kernels_text();
            assert!(text.contains("kernel flex_attention("), "{name}:\n{text}");
            assert!(!text.contains("softmax("), "{name}:\n{text}");
            compare_with_eager(&step, inputs.clone(), 1e-4).unwrap_or_else(|e| panic!("{name}: {e}"));
            // Trained slopes take a gradient of the size of the scores.
            let step = compile(move |mut t: Vec<Tensor>| {
                let slopes = t.pop().ok_or_else(|| Error::new("there are four"))?;
                with_gradients(&t, |t| written_out(&[t, std::slice::from_ref(&slopes)].concat(), f, &options))
            });
            let program = step.lower(inputs.clone()).unwrap();
            let text = program.kernels_text();
            assert!(text.contains("kernel flex_attention_backward("), "{name}:\n{text}");
            compare_with_eager(&step, inputs, 1e-4).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
    let strict = compile(|t: Vec<Tensor>| written_out(&t, soft_capped, &default())).precision(Precision::Strict);
    let text = strict.lower(operands(2, 3, [20, 30, 8, 5])).unwrap().kernels_text();
    assert!(!text.contains("flex_attention"), "{text}");
}

/// Also with a softmax in single precision, or by hand.
#[test]
fn spellings_of_half_types_are_one_kernel() {
    let _one = seeded(6);
    let attend = |t: &[Tensor], single: bool| {
        let scores = (t[0].matmul(&t[1].transpose(-1, -2)) * 0.35 / 5.0).tanh() * 5.0;
        let scores = if single { scores.to_dtype(DType::F32) } else { scores };
        scores.softmax(-1).to_dtype(t[2].dtype()).matmul(&t[2])
    };
    let inputs = operands(2, 3, [20, 30, 8, 5]);
    for dtype in [DType::BF16, DType::F16] {
        let halves: Vec<Tensor> = inputs[..3].iter().map(|x| x.to_dtype(dtype)).collect();
        let wide: Vec<Tensor> = halves.iter().map(|x| x.to_dtype(DType::F64)).collect();
        let expected = attend(&wide, false);
        for single in [false, true] {
            let step = compile(move |t: Vec<Tensor>| attend(&t, single));
            let text = step.lower(halves.clone()).unwrap().kernels_text();
            assert!(text.contains("kernel flex_attention("), "{text}");
            assert_close(&step.run(halves.clone()).unwrap().to_dtype(DType::F64), &expected, 2e-2);
        }
    }
}

#[test]
fn what_is_not_pointwise_is_told() {
    let _one = seeded(7);
    let q = Tensor::randn((2, 3, 4));
    let told = |score_mod: ScoreMod| {
        let y = q.scaled_dot_product_attention(&q, &q, &Attention { score_mod: Some(score_mod), ..default() });
        crate::message(y.check())
    };
    let message = told(ScoreMod::new(|score, _| score - score.max_keepdim(-1)));
    assert!(message.contains("a function of scores has to be pointwise, and reduce is not"), "{message}");
    let message = told(ScoreMod::new(|score, _| score.gt(0.0)));
    assert!(message.contains("a function of scores returns another type than it is given"), "{message}");
}
