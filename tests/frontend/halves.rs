//! Half types: what is computed in single precision inside and rounded once, types of results, reading and writing.

use crate::scratch::Scratch;
use crate::{close, message, seeded, vec};
use igneous::nn::{Forward, Linear, ModuleExt, StateDict};
use igneous::optim::{Optimizer, Sgd};
use igneous::testing::compare_with_eager;
use igneous::{Conv, DType, Tensor, bf16, compile, default, f16};

const HALVES: [DType; 2] = [DType::F16, DType::BF16];

/// Numbers of both signs around 1 that a half type has not, as a matrix.
fn numbers(rows: i64, columns: i64) -> Tensor {
    let x = Tensor::arange(0, rows * columns).to_dtype(DType::F32);
    ((&x * 0.7).sin() * 1.5 + (x * 0.013).cos()).reshape((rows, columns))
}

type Operation = (&'static str, fn(&Tensor) -> Tensor);

/// Operations of one tensor that PyTorch's kernels compute in single precision and round once.
const OPERATIONS: &[Operation] = &[
    ("add", |x| x + x.flip(0)),
    ("mul by a number", |x| x * 0.1),
    ("exp", |x| x.exp()),
    ("gelu", |x| x.gelu()),
    ("silu", |x| x.silu()),
    ("elu", |x| x.elu(0.7)),
    ("selu", |x| x.selu()),
    ("mish", |x| x.mish()),
    ("hardswish", |x| x.hardswish()),
    ("softplus", |x| x.softplus_with(2.0, 20.0)),
    ("glu", |x| x.glu(-1)),
    ("sum", |x| x.sum(-1)),
    ("mean", |x| x.mean(0)),
    ("var", |x| x.var(-1)),
    ("std", |x| x.std(-1)),
    ("norm", |x| x.norm(-1)),
    ("norm of third powers", |x| x.norm_p(3.0, -1)),
    ("logsumexp", |x| x.logsumexp(-1)),
    ("softmax", |x| x.softmax(-1)),
    ("log_softmax", |x| x.log_softmax(0)),
    ("cumsum", |x| x.cumsum(1)),
    ("layer_norm", |x| x.layer_norm(&(Tensor::ones(64) * 0.5), &Tensor::zeros(64), 1e-5)),
    ("rms_norm", |x| x.rms_norm(1, None, 1e-6)),
    ("batch_norm", |x| x.batch_norm_train(None, None, 1e-5).0),
    ("group_norm", |x| x.reshape((3, 8, 32)).group_norm(2, None, None, 1e-5)),
    ("avg_pool", |x| x.reshape((1, 3, 16, 16)).avg_pool2d(3)),
    ("matmul", |x| x.matmul(&x.t())),
    ("conv2d", |x| {
        let image = x.reshape((2, 3, 16, 8));
        image.conv2d(&image.i((.., .., ..3, ..3)), None, Conv { padding: 1.into(), ..default() })
    }),
];

#[test]
fn operations_compute_in_single_precision_and_round_once() {
    for half in HALVES {
        for (name, operation) in OPERATIONS {
            let x = numbers(12, 64).to_dtype(half);
            let expected = operation(&x.to_dtype(DType::F32)).to_dtype(half);
            let found = operation(&x);
            assert_eq!(found.dtype(), half, "{name}");
            // Where single precision is so near to the middle of two numbers that its own error decides, they are neighbours.
            let epsilon = if half == DType::F16 { 1.0 / 1024.0 } else { 1.0 / 128.0 };
            let (found, expected) = (found.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap());
            let differing = found.iter().zip(&expected).filter(|(f, e)| f != e).count();
            let near = found.iter().zip(&expected).all(|(f, e)| (f - e).abs() <= epsilon * e.abs().max(1e-3));
            assert!(near && differing * 50 <= found.len(), "{name} in {half}: {differing} of {} differ", found.len());
        }
    }
}

#[test]
fn compiled_operations_are_as_eager_ones() {
    for half in HALVES {
        for (name, operation) in OPERATIONS {
            let function = compile(move |x: Tensor| Ok(operation(&x)));
            let tolerance = if half == DType::F16 { 2e-3 } else { 1.6e-2 };
            compare_with_eager(&function, numbers(12, 64).to_dtype(half), tolerance).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

#[test]
fn sums_of_many_small_numbers_do_not_stop_growing() {
    // In half precision 2048 + 1 is 2048, and 65520 is infinite.
    let ones = Tensor::ones(40_000).to_dtype(DType::F16);
    assert_eq!(ones.sum_all().item().unwrap(), 40_000.0);
    assert_eq!(Tensor::ones(100_000).to_dtype(DType::F16).mean_all().item().unwrap(), 1.0);
    assert_eq!(Tensor::ones(1000).to_dtype(DType::BF16).sum_all().item().unwrap(), 1000.0);
    assert_eq!(ones.reshape((1, -1)).matmul(&ones.reshape((-1, 1))).item().unwrap(), 40_000.0);
    let index = Tensor::zeros(5000).to_dtype(DType::I64);
    let summed = Tensor::zeros(2).to_dtype(DType::F16).index_add(0, &index, &ones.i(..5000), 1);
    close(&summed, &[5000.0, 0.0]);
}

#[test]
fn types_of_results_are_pytorchs() {
    let (h, b) = (Tensor::ones(3).to_dtype(DType::F16), Tensor::ones(3).to_dtype(DType::BF16));
    let (f, i) = (Tensor::ones(3), Tensor::new([1, 2, 3]));
    assert_eq!((&h + &b).dtype(), DType::F32);
    assert_eq!((&h + &f).dtype(), DType::F32);
    assert_eq!((&h + &i).dtype(), DType::F16);
    assert_eq!((&b * 2.5).dtype(), DType::BF16);
    assert_eq!((&h + Tensor::full((), 2.0)).dtype(), DType::F16);
    assert_eq!((&h / 2).dtype(), DType::F16);
    assert_eq!(h.gt(0.5).dtype(), DType::Bool);
    assert_eq!(h.argmax(0).dtype(), DType::I64);
    assert_eq!(h.softmax(0).dtype(), DType::F16);
    assert_eq!(b.cross_entropy_types().dtype(), DType::BF16);
}

/// A loss of half logits.
trait Logits {
    fn cross_entropy_types(&self) -> Tensor;
}

impl Logits for Tensor {
    fn cross_entropy_types(&self) -> Tensor {
        self.reshape((1, -1)).cross_entropy(&Tensor::new([1]))
    }
}

#[test]
fn elements_are_read_written_and_shown() {
    let x = Tensor::from_vec(vec![f16::from_f32(0.1), f16::from_f32(-2.5)], 2);
    assert_eq!(x.dtype(), DType::F16);
    assert_eq!(vec::<f16>(&x), [f16::from_f32(0.1), f16::from_f32(-2.5)]);
    assert_eq!(x.i(0).item().unwrap(), f64::from(f16::from_f32(0.1)));
    assert_eq!(x.to_string(), "tensor([ 0.1000, -2.5000], dtype=f16)");
    let y = Tensor::new([1.0, 3.1]).to_dtype(DType::BF16);
    assert_eq!(vec::<bf16>(&y), [bf16::from_f32(1.0), bf16::from_f32(3.1)]);
    assert_eq!(y.to_string(), "tensor([1.0000, 3.0938], dtype=bf16)");
    assert!(message(y.to_vec::<f32>()).contains("bf16"));
    // What is out of range is infinite, as in PyTorch.
    close(&Tensor::new([1e5, -1e5]).to_dtype(DType::F16), &[f64::INFINITY, f64::NEG_INFINITY]);
}

#[test]
fn a_model_of_a_half_type_trains_saves_and_loads() {
    let _seed = seeded(3);
    let net = Linear::new(8, 4);
    net.to_dtype(DType::BF16).unwrap();
    let sgd = Sgd::new(net.parameters(), 0.1).unwrap();
    let x = numbers(16, 8).to_dtype(DType::BF16);
    let labels = x.i((.., ..4)).argmax(-1);
    let (model, labels) = (net.clone(), labels);
    let step = compile(move |x: Tensor| {
        let loss = model.forward(&x).cross_entropy(&labels);
        loss.backward()?;
        sgd.step()?;
        Ok(loss)
    });
    compare_with_eager(&step, x.clone(), 2e-2).unwrap();
    let first = step.run(x.clone()).unwrap().item().unwrap();
    let last = (0..60).map(|_| step.run(x.clone()).unwrap().item().unwrap()).last().unwrap();
    assert!(last < 0.8 * first, "{first} to {last}");
    let scratch = Scratch::new("halves");
    let path = scratch.file("halves.safetensors");
    net.state_dict().save(&path).unwrap();
    let loaded = StateDict::load(&path).unwrap();
    let weight = loaded.get("weight").unwrap();
    assert_eq!(weight.dtype(), DType::BF16);
    assert_eq!(vec::<bf16>(weight), vec::<bf16>(&net.weight));
}
