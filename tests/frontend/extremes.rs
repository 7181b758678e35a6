//! Arguments that nobody means: each operation that takes numbers gives a result or an error, and never panics.

use igneous::fft::{self, Norm};
use igneous::nn::{self, Forward};
use igneous::{
    Conv, ConvTranspose, Corners, DType, Dim, Interpolation, Outside, PadMode, Padding, Pool, Stepped, Tensor, default, linalg,
    scan,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

const NUMBERS: [i64; 9] = [0, 1, 2, 3, -1, i64::MAX, i64::MIN, 1 << 62, -(1 << 45)];
const REALS: [f64; 7] = [0.0, 1.0, -1.0, f64::NAN, f64::INFINITY, f64::MAX, 1e-320];

/// An argument in every form that an operation may take it.
#[derive(Clone, Copy, Debug)]
struct Argument {
    i: i64,
    u: usize,
    f: f64,
}

/// Called with every tensor and pair of arguments; evaluates what it gives.
type Operation = (&'static str, fn(&Tensor, Argument, Argument) -> Vec<Tensor>);

macro_rules! operations {
    ($($body:expr),* $(,)?) => { vec![$((stringify!($body), $body as fn(&Tensor, Argument, Argument) -> Vec<Tensor>)),*] };
}

fn tensors() -> Vec<Tensor> {
    let images = Tensor::arange(0, 2 * 4 * 6 * 6).to_dtype(DType::F32).reshape((2, 4, 6, 6));
    vec![Tensor::scalar(1.5), Tensor::zeros(0), Tensor::new([3i64, 1, 2]), images.i((0, 0)), images]
}

fn pair((a, b): (Tensor, Tensor)) -> Vec<Tensor> {
    vec![a, b]
}

fn list(parts: igneous::Result<Vec<Tensor>>) -> Vec<Tensor> {
    parts.unwrap_or_else(|e| vec![Tensor::invalid(e)])
}

/// The panics of these operations on all tensors and arguments.
fn panics(operations: &[Operation]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut valid = 0;
    let argument = |k: usize| Argument { i: NUMBERS[k], u: NUMBERS[k] as usize, f: REALS[k % REALS.len()] };
    // Each number with one that is ordinary, and with itself.
    const ORDINARY: usize = 2;
    let pairs = (0..NUMBERS.len()).flat_map(|k| [(k, ORDINARY), (ORDINARY, k), (k, k)]);
    for (name, operation) in operations {
        'tensors: for x in tensors() {
            for (a, b) in pairs.clone() {
                let run = || operation(&x, argument(a), argument(b)).iter().filter(|t| t.to_f64_vec().is_ok()).count();
                match catch_unwind(AssertUnwindSafe(run)) {
                    Ok(count) => valid += count,
                    Err(_) => {
                        found.push(format!("{name} of {} with {:?} and {:?}", x.ty().unwrap(), argument(a), argument(b)));
                        break 'tensors;
                    }
                }
            }
        }
    }
    assert!(valid > operations.len(), "most operations have arguments that they accept");
    found
}

#[test]
fn shapes() {
    let operations = operations![
        |x, m, n| vec![x.transpose(m.i, n.i)],
        |x, m, n| vec![x.reshape((m.i, n.i))],
        |x, m, n| vec![x.reshape((m.u, -1, n.u))],
        |x, m, n| vec![x.movedim(m.i, n.i)],
        |x, m, n| vec![x.flatten(m.i, n.i)],
        |x, m, n| vec![x.unflatten(m.i, (n.i, -1))],
        |x, m, _| vec![x.squeeze(m.i), x.unsqueeze(m.i)],
        |x, m, n| vec![x.expand((m.i, n.i))],
        |x, m, n| vec![x.repeat([m.u, n.u])],
        |x, m, n| vec![x.tile(&[m.u, n.u])],
        |x, m, n| vec![x.repeat_interleave(m.u, n.i)],
        |x, m, n| vec![x.roll(&[m.i], n.i), x.roll_all(m.i)],
        |x, m, n| vec![x.rot90(m.i, n.i, 0)],
        |x, m, n| vec![x.unfold(-1, m.u, n.u)],
        |x, m, n| vec![x.select(m.i, n.i)],
        |x, m, n| vec![x.narrow(-1, Dim::constant(m.i), Dim::constant(n.i))],
        |x, m, n| vec![x.narrow(m.i, n.u, 1usize)],
        |x, m, n| vec![x.narrow_at(-1, &Tensor::new([m.i]), Dim::constant(n.i))],
        |x, m, n| list(x.split(m.u, n.i)),
        |x, m, n| list(x.chunk(m.u, n.i)),
        |x, m, n| list(x.split_sizes(&[m.u, n.u], 0)),
        |x, m, _| list(x.unbind(m.i)),
        |x, m, _| vec![x.pixel_shuffle(m.u), x.pixel_unshuffle(m.u)],
        |x, m, n| vec![x.diagonal(m.i, n.i, 0), x.diag_embed(m.i), x.diag(m.i)],
        |x, m, _| vec![x.tril(m.i), x.triu(m.i)],
        |x, m, n| vec![x.i((m.i.., n.i))],
        |x, m, n| vec![x.i(..n.i), x.i(m.i..n.i), x.i(m.i..=n.i), x.i(..=n.i)],
        |x, m, n| vec![x.i((m.i..).step(n.i))],
        |x, m, n| vec![x.pad(&[(m.i, n.i)], 1.0)],
        |x, m, n| vec![
            x.pad_with(&[(m.i, n.i)], PadMode::Reflect),
            x.pad_with(&[(m.i, n.i)], PadMode::Replicate),
            x.pad_with(&[(m.i, n.i)], PadMode::Circular),
            x.pad_with(&[(m.i, n.i)], PadMode::Constant(m.f)),
        ],
        |x, m, n| vec![Tensor::cat(&[x, x], m.i), Tensor::stack(&[x, x], n.i)],
    ];
    assert_eq!(panics(&operations), Vec::<String>::new());
}

#[test]
fn making() {
    let operations = operations![
        |_, m, n| vec![Tensor::zeros((m.i, n.i)), Tensor::ones((m.u, n.u)), Tensor::full((m.i, 0), n.f)],
        |_, m, n| vec![Tensor::arange(m.i, n.i)],
        |_, m, n| vec![Tensor::arange(m.f, n.f)],
        |_, m, n| vec![Tensor::arange_step(m.i, n.i, n.i), Tensor::arange_step(0, m.i, n.i)],
        |_, m, n| vec![Tensor::arange_step(m.f, 1.0, n.f)],
        |_, m, n| vec![Tensor::linspace(m.f, n.f, m.u)],
        |_, m, n| vec![Tensor::eye(Dim::constant(m.i)), Tensor::eye(n.u)],
        |_, m, n| vec![Tensor::randint(m.i, n.i, 3), Tensor::randint(0, 3, (m.i, n.i))],
        |_, m, n| vec![Tensor::randperm(Dim::constant(m.i)), Tensor::normal(m.f, n.f, 2), Tensor::uniform(m.f, n.f, 2)],
        |x, m, _| vec![x.multinomial(m.u), x.multinomial_with_replacement(m.u)],
        |x, m, _| vec![x.one_hot(Dim::constant(m.i)), x.bincount(m.u)],
        |_, m, n| vec![Tensor::from_slice(&[1.0f32, 2.0], (m.i, n.i))],
        |_, m, n| vec![Tensor::from_le_bytes(DType::F32, &[m.u, n.u], &[0; 4])],
    ];
    assert_eq!(panics(&operations), Vec::<String>::new());
}

#[test]
fn reductions_and_order() {
    let operations = operations![
        |x, m, n| vec![x.sum((m.i, n.i)), x.mean_keepdim(m.i), x.amax((m.i, n.i))],
        |x, m, n| vec![x.var_with(m.i, n.f), x.std_with_keepdim(m.i, n.f)],
        |x, m, n| vec![x.norm_p(m.f, n.i), x.normalize(m.f, n.i, 1e-12)],
        |x, m, _| vec![x.argmax(m.i), x.argmin_keepdim(m.i)],
        |x, m, _| [pair(x.sort(m.i)), pair(x.max_with_index(m.i)), pair(x.median(m.i))].concat(),
        |x, m, n| [pair(x.topk(m.u, n.i)), pair(x.kthvalue(m.u, n.i))].concat(),
        |x, m, _| [vec![x.cumsum(m.i), x.cumprod(m.i), x.logcumsumexp(m.i)], pair(x.cummax(m.i))].concat(),
        |x, m, n| vec![x.diff(m.u, n.i)],
        |x, m, _| vec![x.softmax(m.i), x.log_softmax(m.i), x.glu(m.i)],
        |x, m, n| vec![x.gather(m.i, &Tensor::new([n.i])), x.index_select(m.i, &Tensor::new([n.i]))],
        |x, m, n| vec![x.index_add(m.i, &Tensor::new([n.i]), x, 1), x.select_scatter(x, m.i, n.i)],
        |x, m, n| vec![x.scatter_add(m.i, &Tensor::new([n.i]), x), x.index_fill(m.i, &Tensor::new([n.i]), n.f)],
        |x, m, n| vec![x.tensordot(x, &[m.i], &[n.i]), x.cross(x, m.i), x.cosine_similarity(x, m.i, n.f)],
        |x, m, _| vec![x.cdist(x, m.f), x.logit(Some(m.f)), x.nan_to_num(m.f, None, Some(m.f))],
        |x, m, n| vec![x.clamp(m.f, n.f), x.hardtanh(m.f, n.f), x.softplus_with(m.f, n.f), x.threshold(m.f, n.f)],
        |x, m, n| vec![
            x.pow(m.f),
            x.pow(n.i),
            x % m.i,
            x.floor_divide(m.i),
            x / m.f,
            x << Tensor::scalar(m.i),
            x >> Tensor::scalar(n.i)
        ],
        |x, m, n| vec![linalg::matrix_power(x, m.i as i32), linalg::pinv(x, n.f), linalg::vector_norm(x, m.f, n.i)],
        |x, m, n| vec![
            fft::fft(x, m.i, Norm::Ortho),
            fft::rfft(x, m.i, Norm::Forward),
            fft::irfft(x, m.u, n.i, Norm::Backward),
            fft::fftshift(x, m.i),
        ],
        |_, m, n| vec![fft::fftfreq(m.u, n.f), fft::rfftfreq(m.u, n.f)],
    ];
    assert_eq!(panics(&operations), Vec::<String>::new());
}

#[test]
fn windows() {
    let operations = operations![
        |x, m, n| vec![x.max_pool2d(Pool::new(m.u).stride(n.u)), x.avg_pool2d(Pool::new(2).padding(m.u).dilation(n.u))],
        |x, m, n| vec![x.max_pool2d(Pool::new(2).stride(m.u).padding(n.u).ceil()), x.avg_pool2d((m.u, n.u))],
        |x, m, n| vec![x.avg_pool2d(Pool::new((m.u, n.u)).without_padding().divisor(m.f))],
        |x, m, n| pair(x.max_pool2d_with_indices(Pool::new(m.u).dilation(n.u).ceil())),
        |x, m, n| vec![x.adaptive_avg_pool2d((m.u, n.u)), x.adaptive_max_pool2d((n.u, m.u))],
        |x, m, n| vec![x.unfold_patches(m.u, n.u, 1, 1), x.unfold_patches(2, 1, m.u, n.u)],
        |x, m, n| vec![x.fold_patches(m.u, n.u, 1, 0, 1), x.fold_patches(6, 2, m.u, n.u, 1), x.fold_patches(6, 2, 1, m.u, n.u)],
        |x, m, n| vec![
            x.interpolate(&[m.u, n.u], Interpolation::Nearest, Corners::Apart),
            x.interpolate(&[m.u, n.u], Interpolation::Linear, Corners::Aligned),
            x.interpolate(&[m.u, n.u], Interpolation::Area, Corners::Apart),
        ],
        |x, m, n| vec![x.interpolate_by(&[m.f, n.f], Interpolation::Cubic, Corners::Apart)],
        |x, m, n| vec![x.grid_sample(
            &(Tensor::ones((2, 1, 1, 2)) * m.f + n.f),
            Interpolation::Linear,
            Outside::Reflection,
            Corners::Apart
        )],
        |x, m, n| vec![x.group_norm(m.u, None, None, n.f), x.local_response_norm(m.u, n.f, 0.5, 1.0), x.rms_norm(m.u, None, n.f)],
        |x, m, n| vec![x.conv2d(
            &Tensor::ones((4, 4, 2, 2)),
            None,
            Conv { stride: m.u.into(), padding: n.u.into(), ..default() }
        )],
        |x, m, n| vec![x.conv2d(&Tensor::ones((4, 4, 2, 2)), None, Conv { dilation: m.u.into(), groups: n.u, ..default() })],
        |x, m, _| vec![x.conv2d(
            &Tensor::ones((4, 4, 2, 2)),
            None,
            Conv { dilation: m.u.into(), padding: Padding::Same, ..default() }
        )],
        |x, m, n| vec![x.conv_transpose2d(
            &Tensor::ones((4, 4, 2, 2)),
            None,
            ConvTranspose { stride: m.u.into(), padding: n.u.into(), ..default() }
        )],
        |x, m, n| vec![x.conv_transpose2d(
            &Tensor::ones((4, 4, 2, 2)),
            None,
            ConvTranspose { stride: 2.into(), dilation: m.u.into(), output_padding: n.u.into(), ..default() }
        )],
    ];
    assert_eq!(panics(&operations), Vec::<String>::new());
}

#[test]
fn layers_and_loops() {
    let operations = operations![
        |x, m, n| vec![nn::Linear::new(m.u, n.u).forward(x)],
        |x, m, n| vec![nn::Conv2d::new(4, m.u, n.u).forward(x), nn::Conv2d::new(n.u, 4, 3).forward(x)],
        |x, m, n| vec![nn::LayerNorm::new((m.i, n.i)).forward(x)],
        |x, m, _| vec![nn::Dropout::new(m.f).forward(x)],
        |x, m, n| scan(Tensor::zeros(m.u), Tensor::ones((n.u, 2)), |c: Tensor, s: Tensor| (c + s.sum_all(), s)).map_or_else(
            |e| vec![Tensor::invalid(e)],
            |(c, y)| {
                let _ = x;
                vec![c, y]
            }
        ),
    ];
    assert_eq!(panics(&operations), Vec::<String>::new());
}
