//! Attention: the operator against sums written out in f64, its gradients, its spellings, and that it is one kernel.

use crate::{message, seeded};
use igneous::testing::{assert_close, assert_kernel_count, assert_kernels_snapshot, compare_with_eager, gradcheck};
use igneous::{Attention, DType, Error, Precision, Result, Tensor, compile, default, set_num_threads, spec};

fn normal(shape: &[usize]) -> Tensor {
    Tensor::randn(shape)
}

/// Attention written out, on whatever type its operands are of.
fn written_out(q: &Tensor, k: &Tensor, v: &Tensor, options: &Attention) -> Tensor {
    let features = q.size(-1).get().unwrap() as f64;
    let mut scores = q.matmul(&k.transpose(-1, -2)) * options.scale.unwrap_or(1.0 / features.sqrt());
    if let Some(mask) = &options.mask {
        scores = match mask.dtype() {
            DType::Bool => scores.where_(mask, f64::NEG_INFINITY),
            _ => scores + mask.to_dtype(q.dtype()),
        };
    }
    if options.causal {
        let seen = Tensor::ones((q.size(-2), k.size(-2))).tril(0).gt(0.0);
        scores = scores.where_(&seen, f64::NEG_INFINITY);
    }
    scores.softmax(-1).matmul(v)
}

/// Result and gradients for a fixed cotangent.
fn with_gradients(t: &[Tensor], f: impl Fn(&[Tensor]) -> Tensor) -> Result<Vec<Tensor>> {
    let leaves: Vec<Tensor> = t.iter().map(|t| t.detach().requires_grad_()).collect();
    let y = f(&leaves);
    let n = y.elements();
    // In f64, so that it is the same number whatever the result is of.
    let cotangent = (Tensor::arange(0, n).to_dtype(DType::F64) * 0.37).sin().to_dtype(y.dtype());
    y.backward_with(&cotangent.reshape(y.shape()))?;
    let gradients = leaves.iter().map(|t| t.grad().ok_or_else(|| Error::new("a gradient is missing")));
    std::iter::once(Ok(y.detach())).chain(gradients).collect()
}

/// The operator, eager and compiled, against f64.
#[track_caller]
fn check(shapes: [&[usize]; 3], options: &Attention) {
    let inputs: Vec<Tensor> = shapes.iter().map(|s| normal(s)).collect();
    let wide: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(DType::F64)).collect();
    let expected = with_gradients(&wide, |t| written_out(&t[0], &t[1], &t[2], options)).unwrap();
    let run = |t: Vec<Tensor>| with_gradients(&t, |t| t[0].scaled_dot_product_attention(&t[1], &t[2], options));
    let eager = run(inputs.clone()).unwrap();
    let compiled = compile(run).run(inputs).unwrap();
    for ((eager, compiled), expected) in eager.iter().zip(&compiled).zip(&expected) {
        assert_close(&eager.to_dtype(DType::F64), expected, 3e-5);
        assert_close(&compiled.to_dtype(DType::F64), expected, 3e-5);
    }
}

#[test]
fn all_sizes_of_queries_and_keys() {
    let _one = seeded(1);
    for (t, s) in [(1, 1), (1, 40), (40, 1), (2, 3), (16, 16), (33, 129), (97, 64), (130, 200)] {
        for causal in [false, true] {
            let options = Attention { causal, ..default() };
            check([&[2, t, 20], &[2, s, 20], &[2, s, 12]], &options);
            check([&[3, 3, t, 8], &[3, 3, s, 8], &[3, 3, s, 8]], &options);
        }
    }
    check([&[5, 7], &[6, 7], &[6, 3]], &Attention { scale: Some(-0.3), ..default() });
}

#[test]
fn masks_of_bools_and_of_numbers() {
    let _one = seeded(2);
    let shapes: [&[usize]; 3] = [&[2, 4, 30, 8], &[2, 4, 50, 8], &[2, 4, 50, 8]];
    for mask in [&[30, 50][..], &[2, 1, 30, 50], &[2, 4, 30, 50], &[2, 1, 1, 50], &[30, 1]] {
        let numbers = normal(mask);
        check(shapes, &Attention { mask: Some(numbers.clone()), ..default() });
        // Every query sees the last key.
        let last = Tensor::arange(0, 50).equal(49.0);
        let seen = &numbers.gt(0.0) | &last;
        check(shapes, &Attention { mask: Some(seen), ..default() });
    }
}

#[test]
fn groups_of_heads_and_broadcast_batches() {
    let _one = seeded(3);
    let (q, k, v) = (normal(&[2, 6, 9, 8]), normal(&[2, 2, 11, 8]), normal(&[2, 2, 11, 5]));
    let repeat = |x: &Tensor| {
        let [b, h, s, d] = x.dims();
        x.unsqueeze(2).expand((b, h, 3, s, d)).reshape((b, 6, s, d))
    };
    for mask in [None, Some(normal(&[9, 11])), Some(normal(&[2, 6, 9, 11]))] {
        let options = Attention { mask, ..default() };
        let expected = written_out(&q, &repeat(&k), &repeat(&v), &options);
        let options = Attention { grouped: true, ..options };
        let found = q.scaled_dot_product_attention(&k, &v, &options);
        assert_close(&found, &expected, 1e-5);
        assert_close(
            &compile(|q: Tensor| q.scaled_dot_product_attention(&k, &v, &options)).run(q.clone()).unwrap(),
            &expected,
            1e-5,
        );
    }
    let one = q.scaled_dot_product_attention(&k.i((0, 0)), &v.i((0, 0)), &default());
    assert_close(&one, &written_out(&q, &k.i((0, 0)), &v.i((0, 0)), &default()), 1e-5);
}

#[test]
fn gradients_by_finite_differences() {
    let _one = seeded(4);
    let of = |shape: &[usize]| normal(shape).to_dtype(DType::F64);
    let arguments = [of(&[2, 3, 4]), of(&[2, 5, 4]), of(&[2, 5, 3])];
    for causal in [false, true] {
        let options = Attention { causal, ..default() };
        gradcheck(|t| t[0].scaled_dot_product_attention(&t[1], &t[2], &options), &arguments).unwrap();
    }
    let with_bias = [arguments.to_vec(), vec![of(&[1, 3, 5])]].concat();
    let biased =
        |t: &[Tensor]| t[0].scaled_dot_product_attention(&t[1], &t[2], &Attention { mask: Some(t[3].clone()), ..default() });
    gradcheck(biased, &with_bias).unwrap();
}

/// A bias that is trained has a gradient in f32, where the operator is a kernel.
#[test]
fn the_gradient_of_a_bias() {
    let _one = seeded(5);
    let inputs = [normal(&[2, 9, 4]), normal(&[2, 20, 4]), normal(&[2, 20, 4]), normal(&[9, 20])];
    let biased =
        |t: &[Tensor]| t[0].scaled_dot_product_attention(&t[1], &t[2], &Attention { mask: Some(t[3].clone()), ..default() });
    let found = with_gradients(&inputs, biased).unwrap();
    let wide: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(DType::F64)).collect();
    for (found, expected) in found.iter().zip(with_gradients(&wide, biased).unwrap()) {
        assert_close(&found.to_dtype(DType::F64), &expected, 2e-5);
    }
}

/// As `torch.nn.functional.scaled_dot_product_attention` has it since 2.5. What is written out has no number there, unless it is
/// recognised, which strict mode does not do.
#[test]
fn a_query_that_sees_no_key_has_zeros() {
    let _one = seeded(6);
    let (q, k, v) = (normal(&[3, 4]), normal(&[5, 4]), normal(&[5, 2]));
    let mask = Tensor::new([1.0, 0.0, 1.0]).gt(0.0).unsqueeze(1).expand((3, 5));
    let options = Attention { mask: Some(mask.clone()), ..default() };
    let attend = {
        let options = options.clone();
        move |t: Vec<Tensor>| with_gradients(&t, |t| t[0].scaled_dot_product_attention(&t[1], &t[2], &options))
    };
    let inputs = vec![q.clone(), k.clone(), v.clone()];
    // The others are as if it were not there.
    let rows = |x: &Tensor| Tensor::cat(&[x.i(0..1), x.i(2..3)], 0);
    let rest = with_gradients(&[rows(&q), k.clone(), v.clone()], |t| written_out(&t[0], &t[1], &t[2], &default())).unwrap();
    for strict in [false, true] {
        let step = compile(attend.clone());
        let step = if strict { step.precision(Precision::Strict) } else { step };
        for results in [attend(inputs.clone()).unwrap(), step.run(inputs.clone()).unwrap()] {
            for (result, zeros) in results[..2].iter().zip([2, 4]) {
                assert_eq!(result.i(1).to_f64_vec().unwrap(), vec![0.0; zeros]);
            }
            assert_close(&rows(&results[0]), &rest[0], 1e-5);
            assert!(results.iter().all(|x| x.to_f64_vec().unwrap().iter().all(|x| x.is_finite())));
        }
    }
    let nan = |y: Tensor| y.to_f64_vec().unwrap().iter().map(|y| y.is_nan()).collect::<Vec<bool>>();
    let by_hand = {
        let options = options.clone();
        move |q: Tensor| written_out(&q, &k, &v, &options)
    };
    assert_eq!(nan(by_hand(q.clone())), [false, false, true, true, false, false]);
    let strict = compile(by_hand.clone()).precision(Precision::Strict).run(q.clone()).unwrap();
    assert_eq!(nan(strict), [false, false, true, true, false, false]);
    assert_eq!(nan(compile(by_hand).run(q.clone()).unwrap()), [false; 6]);
    // Without any keys there is nothing to sum.
    let none = q.scaled_dot_product_attention(&Tensor::zeros((0, 4)), &Tensor::zeros((0, 2)), &default());
    assert_eq!(none.to_f64_vec().unwrap(), [0.0; 6]);
    let empty = Tensor::zeros((0, 4)).scaled_dot_product_attention(&inputs[1], &inputs[2], &default());
    assert_eq!(empty.shape(), Tensor::zeros((0, 2)).shape());
}

/// Keys and values that were repeated for groups of heads are read where they are, and their gradients are sums over the groups.
#[test]
fn repeated_keys_and_values_are_not_copied() {
    let _one = seeded(12);
    let inputs = vec![normal(&[2, 6, 20, 8]), normal(&[2, 2, 30, 8]), normal(&[2, 2, 30, 5])];
    let expanded = |x: &Tensor| {
        let [b, h, s, d] = x.dims();
        x.unsqueeze(2).expand((b, h, 3, s, d)).reshape((b, h * 3, s, d))
    };
    type Repeat = fn(&Tensor) -> Tensor;
    type Attend = fn(&[Tensor], Repeat) -> Tensor;
    let repeats: [(&str, Repeat); 2] = [("expanded", expanded), ("interleaved", |x| x.repeat_interleave(3, 1))];
    let spellings: [(&str, Attend); 3] = [
        ("operator", |t, repeat| t[0].scaled_dot_product_attention(&repeat(&t[1]), &repeat(&t[2]), &default())),
        ("by hand", |t, repeat| {
            let scores = t[0].matmul(&repeat(&t[1]).transpose(-1, -2)) / 8f64.sqrt();
            scores.softmax(-1).matmul(&repeat(&t[2]))
        }),
        ("capped", |t, repeat| {
            let scores = (t[0].matmul(&repeat(&t[1]).transpose(-1, -2)) / 8f64.sqrt()).tanh();
            scores.softmax(-1).matmul(&repeat(&t[2]))
        }),
    ];
    let wide: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(DType::F64)).collect();
    for (how, repeat) in repeats {
        for (name, attend) in spellings {
            let forward = compile(move |t: Vec<Tensor>| attend(&t, repeat));
            let program = forward.lower(inputs.clone()).unwrap();
            assert_eq!(program.launches(), 1, "{how}, {name}: {}", program.kernels_text());
            let step = compile(move |t: Vec<Tensor>| with_gradients(&t, |t| attend(t, repeat)));
            let memory = step.lower(inputs.clone()).unwrap().memory().to_string();
            assert!(!memory.contains("f32[2, 6, 30"), "{how}, {name}: {memory}");
            let expected = with_gradients(&wide, |t| attend(t, repeat)).unwrap();
            for (found, expected) in step.run(inputs.clone()).unwrap().iter().zip(&expected) {
                assert_close(&found.to_dtype(DType::F64), expected, 3e-5);
            }
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let _one = seeded(7);
    for (heads, t) in [(1, 150), (9, 70)] {
        let inputs = vec![normal(&[heads, t, 24]); 3];
        let run = |t: Vec<Tensor>| {
            with_gradients(&t, |t| t[0].scaled_dot_product_attention(&t[1], &t[2], &Attention { causal: true, ..default() }))
        };
        let step = compile(run);
        let mut bits = Vec::new();
        for threads in [1, 2, 3] {
            set_num_threads(threads);
            let results = [run(inputs.clone()).unwrap(), step.run(inputs.clone()).unwrap()].concat();
            bits.push(results.iter().flat_map(|r| r.to_vec::<f32>().unwrap()).map(f32::to_bits).collect::<Vec<_>>());
        }
        set_num_threads(2);
        assert!(bits[0] == bits[1] && bits[0] == bits[2]);
    }
}

#[test]
fn dropout_keeps_the_mean() {
    let _one = seeded(8);
    let (q, k) = (normal(&[4, 40, 8]), normal(&[4, 200, 8]));
    let v = Tensor::ones((4, 200, 1));
    let y = q.scaled_dot_product_attention(&k, &v, &Attention { dropout: 0.4, ..default() });
    let values = y.to_f64_vec().unwrap();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    assert!((mean - 1.0).abs() < 0.05 && values.iter().any(|v| (v - values[0]).abs() > 1e-3), "{mean}");
}

/// The ways people write it.
#[test]
fn every_spelling_is_one_kernel() {
    let _one = seeded(9);
    let (q, k, v) = (normal(&[2, 3, 20, 8]), normal(&[2, 3, 30, 8]), normal(&[2, 3, 30, 5]));
    let seen = normal(&[20, 30]).gt(-1.0);
    let bias = normal(&[3, 20, 30]);
    type Spelling<'a> = (&'a str, Box<dyn Fn(Tensor, Tensor, Tensor) -> Tensor + Send + Sync>);
    let scores = |q: &Tensor, k: &Tensor| q.matmul(&k.transpose(-1, -2));
    let by_hand = |x: Tensor| {
        let e = (&x - x.max_keepdim(-1)).exp();
        &e / e.sum_keepdim(-1)
    };
    let triangle = || Tensor::ones((20, 30)).tril(0);
    let (seen2, seen3, seen4, bias2) = (seen.clone(), seen.clone(), seen.clone(), bias.clone());
    let spellings: Vec<Spelling> = vec![
        ("scale on scores", Box::new(move |q, k, v| (scores(&q, &k) * 0.3).softmax(-1).matmul(&v))),
        ("divided", Box::new(move |q, k, v| (scores(&q, &k) / 8f64.sqrt()).softmax(-1).matmul(&v))),
        ("scale on queries", Box::new(move |q, k, v| scores(&(q * 0.3), &k).softmax(-1).matmul(&v))),
        ("scale on keys", Box::new(move |q, k, v| scores(&q, &(k / 3.0)).softmax(-1).matmul(&v))),
        ("scale on both", Box::new(move |q, k, v| scores(&(q * 0.5), &(k * 0.5)).softmax(-1).matmul(&v))),
        ("no scale", Box::new(move |q, k, v| scores(&q, &k).softmax(-1).matmul(&v))),
        ("softmax by hand", Box::new(move |q, k, v| by_hand(scores(&q, &k) * 0.3).matmul(&v))),
        (
            "scores transposed",
            Box::new(move |q, k, v| (k.matmul(&q.transpose(-1, -2)) * 0.3).softmax(-2).transpose(-1, -2).matmul(&v)),
        ),
        (
            "result transposed",
            Box::new(move |q, k, v| {
                v.transpose(-1, -2).matmul(&(scores(&q, &k) * 0.3).softmax(-1).transpose(-1, -2)).transpose(-1, -2)
            }),
        ),
        ("where", Box::new(move |q, k, v| (scores(&q, &k) * 0.3).where_(&seen, f64::NEG_INFINITY).softmax(-1).matmul(&v))),
        (
            "masked fill",
            Box::new(move |q, k, v| (scores(&q, &k) * 0.3).masked_fill(&!&seen2, f64::NEG_INFINITY).softmax(-1).matmul(&v)),
        ),
        (
            "masked fill without a scale",
            Box::new(move |q, k, v| scores(&q, &k).masked_fill(&!&seen3, -1e9).softmax(-1).matmul(&v)),
        ),
        (
            "filled where a mask is one",
            Box::new(move |q, k, v| (scores(&q, &k) * 0.3).masked_fill(&seen4, -1e9).softmax(-1).matmul(&v)),
        ),
        ("bias", Box::new(move |q, k, v| (scores(&q, &k) * 0.3 + &bias).softmax(-1).matmul(&v))),
        ("bias without a scale", Box::new(move |q, k, v| (scores(&q, &k) + &bias2).softmax(-1).matmul(&v))),
        (
            "causal by a triangle",
            Box::new(move |q, k, v| {
                (scores(&q, &k) * 0.3).masked_fill(&triangle().equal(0.0), f64::NEG_INFINITY).softmax(-1).matmul(&v)
            }),
        ),
        (
            "causal by the upper triangle",
            Box::new(move |q, k, v| {
                let hidden = Tensor::ones((20, 30)).triu(1).gt(0.0);
                (scores(&q, &k) * 0.3).masked_fill(&hidden, -1e9).softmax(-1).matmul(&v)
            }),
        ),
        (
            "causal by comparing positions",
            Box::new(move |q, k, v| {
                let seen = Tensor::arange(0, 20).unsqueeze(1).ge(Tensor::arange(0, 30));
                (scores(&q, &k) * 0.3).where_(&seen, f64::NEG_INFINITY).softmax(-1).matmul(&v)
            }),
        ),
        (
            "causal by a bias",
            Box::new(move |q, k, v| {
                let bias = Tensor::zeros((20, 30)).masked_fill(&triangle().equal(0.0), f64::NEG_INFINITY);
                (scores(&q, &k) * 0.3 + bias).softmax(-1).matmul(&v)
            }),
        ),
    ];
    for (name, attend) in spellings {
        let step = compile(move |q: Tensor, k: Tensor, v: Tensor| attend(q, k, v));
        let program = step.lower((q.clone(), k.clone(), v.clone())).unwrap();
        let text = program.kernels_text();
        assert!(text.contains("kernel attention("), "{name}:\n{text}");
        // What depends on a captured mask alone is made beforehand.
        assert_eq!(program.launches(), 1, "{name}:\n{text}");
        assert_eq!(name.starts_with("causal"), text.contains("l <= k"), "{name}:\n{text}");
        compare_with_eager(&step, (q.clone(), k.clone(), v.clone()), 1e-4).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

/// The gradient of a written-out attention is the operator's, too.
#[test]
fn a_training_step_has_no_scores_in_memory() {
    let _one = seeded(10);
    let inputs: Vec<Tensor> = (0..3).map(|_| normal(&[4, 100, 16])).collect();
    let step =
        compile(|t: Vec<Tensor>| with_gradients(&t, |t| (t[0].matmul(&t[1].transpose(-1, -2)) * 0.25).softmax(-1).matmul(&t[2])));
    let program = step.lower(inputs.clone()).unwrap();
    let text = program.kernels_text();
    assert!(text.contains("kernel attention(") && text.contains("kernel attention_backward("), "{text}");
    assert!(!program.memory().to_string().contains("100, 100]"), "{}", program.memory());
    compare_with_eager(&step, inputs, 1e-4).unwrap();
}

/// Heads taken out of one projection are read where they lie.
#[test]
fn heads_of_one_projection_are_not_copied() {
    let _one = seeded(11);
    let attend = |x: Tensor| {
        let heads = |i: i64| x.reshape((2, 20, 3, 4, 8)).i((.., .., i)).transpose(1, 2);
        let y = heads(0).scaled_dot_product_attention(&heads(1), &heads(2), &Attention { causal: true, ..default() });
        y.transpose(1, 2).reshape((2, 20, 32))
    };
    let step = compile(attend);
    let x = normal(&[2, 20, 96]);
    let program = step.lower(x.clone()).unwrap();
    // Attention, and the heads put next to each other.
    assert!(program.launches() <= 2, "{}", program.kernels_text());
    compare_with_eager(&step, x, 1e-5).unwrap();
}

#[test]
fn the_text_of_the_attention_kernel() {
    let attend = compile(|q: Tensor, k: Tensor, v: Tensor| {
        q.scaled_dot_product_attention(&k, &v, &Attention { causal: true, ..default() })
    });
    let arguments = (spec(DType::F32, (2, 40, 64)), spec(DType::F32, (2, 50, 64)), spec(DType::F32, (2, 50, 32)));
    assert_kernel_count!(attend.lower(arguments.clone()).unwrap(), 1);
    assert_kernels_snapshot!(attend.lower(arguments).unwrap(), @r"
    kernel attention(in0: f32[2, 40, 64], in1: f32[2, 50, 64], in2: f32[2, 50, 32]) -> (out0: f32[2, 40, 32])
      axes i: par 2, j: par 40, k: ser 50, l: ser 64, n: ser 32
      acc[k] = dot l batch(i) m(j) n(k) { in0[i, j, l] } { in1[i, k, l] }
      m, s = reduce online_softmax k { select(k <= j, acc[k] * 0.125, -inf) }
      acc1[n] = dot k batch(i) m(j) n(n) {
        let t1 = m == -inf
        exp(select(k <= j, acc[k] * 0.125, -inf) - select(t1, 0.0, m)) / select(t1, 1.0, s)
      } { in2[i, k, n] }
      map n { out0[i, j, n] = acc1[n] }
      schedule bind(i, core) bind(j, core)
    ");
}

#[test]
fn wrong_operands_are_told() {
    let (q, k, v) = (Tensor::zeros((2, 3, 4)), Tensor::zeros((2, 5, 4)), Tensor::zeros((2, 5, 6)));
    let told = |q: &Tensor, k: &Tensor, v: &Tensor, options: Attention| {
        message(q.scaled_dot_product_attention(k, v, &options).check()).lines().next().unwrap_or_default().to_owned()
    };
    let plain = Attention::default;
    assert_eq!(
        told(&q, &Tensor::zeros((2, 5, 3)), &v, plain()),
        "attention needs features to agree: axis -1 of the queries is 4, axis -1 of the keys is 3"
    );
    assert_eq!(
        told(&q, &k, &Tensor::zeros((2, 4, 6)), plain()),
        "attention needs positions to agree: axis -2 of the keys is 5, axis -2 of the values is 4"
    );
    assert_eq!(told(&Tensor::zeros(4), &k, &v, plain()), "attention needs queries, keys and values with at least 2 axes");
    assert_eq!(told(&q, &Tensor::zeros((3, 5, 4)), &v, plain()), "attention needs leading axes that broadcast");
    let both = Attention { mask: Some(Tensor::ones((3, 5)).gt(0.0)), causal: true, ..default() };
    assert_eq!(told(&q, &k, &v, both), "attention takes a mask or is causal, not both");
    let masked = |mask: Tensor| Attention { mask: Some(mask), ..default() };
    assert_eq!(told(&q, &k, &v, masked(Tensor::arange(0, 5))), "attention needs a mask of bools or floats");
    assert_eq!(
        told(&q, &k, &v, masked(Tensor::zeros((3, 4)))),
        "attention needs extents of axis 2 to agree: the mask is 4, the scores is 5"
    );
    assert_eq!(
        told(&q, &k, &v, masked(Tensor::zeros((1, 2, 3, 5)))),
        "attention needs a mask with no more axes than the queries"
    );
    assert_eq!(told(&q, &k, &v, Attention { dropout: 1.5, ..default() }), "dropout needs a probability from 0 to 1, not 1.5");
    assert_eq!(
        told(&q, &k, &v, Attention { scale: Some(f64::NAN), ..default() }),
        "attention needs a scale that is a finite number"
    );
    assert_eq!(told(&q.i(0), &k, &v, Attention { grouped: true, ..default() }), "attention in groups needs heads on axis -3");
    assert_eq!(
        told(&Tensor::zeros((3, 3, 4)), &k, &v, Attention { grouped: true, ..default() }),
        "attention in groups needs a multiple of the keys' heads as heads of the queries"
    );
}
