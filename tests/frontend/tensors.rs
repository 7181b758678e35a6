//! What operations compute, and the types they have. Expected values are closed forms or PyTorch's documented results.

use crate::{close, f64s, vec};
use igneous::{Conv, DType, Dim, Ellipsis, IndexItem, NewAxis, Pool, Stepped, Tensor, default, where_};

#[test]
fn creation() {
    assert_eq!(vec::<f32>(&Tensor::new([[1.0, 2.0], [3.0, 4.0]])), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(Tensor::new([1, 2, 3]).dtype(), DType::I64);
    assert_eq!(Tensor::new(vec![true, false]).dtype(), DType::Bool);
    assert_eq!(Tensor::from_vec(vec![1.5f64], 1).dtype(), DType::F64);
    assert_eq!(vec::<f32>(&Tensor::full((2, 2), 2.5)), [2.5; 4]);
    assert_eq!(vec::<i64>(&Tensor::arange(2, 6)), [2, 3, 4, 5]);
    assert_eq!(vec::<i64>(&Tensor::arange_step(10, 0, -4)), [10, 6, 2]);
    close(&Tensor::arange_step(0.0, 1.0, 0.25), &[0.0, 0.25, 0.5, 0.75]);
    close(&Tensor::linspace(-1.0, 1.0, 5), &[-1.0, -0.5, 0.0, 0.5, 1.0]);
    assert_eq!(vec::<f32>(&Tensor::eye(2)), [1.0, 0.0, 0.0, 1.0]);
    assert_eq!(vec::<i64>(&Tensor::new([3, 4]).ones_like()), [1, 1]);
    assert_eq!(Tensor::zeros(()).item().unwrap(), 0.0);
    assert_eq!(Tensor::zeros((2, 0, 3)).shape().as_slice(), [2, 0, 3].map(Dim::from));
}

#[test]
fn arithmetic_broadcasts_and_promotes() {
    let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let row = Tensor::new([10.0, 20.0, 30.0]);
    let column = Tensor::new([[1.0], [2.0]]);
    close(&(&x + &row), &[11.0, 22.0, 33.0, 14.0, 25.0, 36.0]);
    close(&(&column * &row), &[10.0, 20.0, 30.0, 20.0, 40.0, 60.0]);
    close(&(1.0 - &x / 2.0), &[0.5, 0.0, -0.5, -1.0, -1.5, -2.0]);
    let ints = Tensor::new([7, -7]);
    assert_eq!((&ints + 1).dtype(), DType::I64);
    assert_eq!((&ints * 0.5).dtype(), DType::F32);
    close(&(&ints / 2), &[3.5, -3.5]);
    assert_eq!(vec::<i64>(&ints.floor_divide(2)), [3, -4]);
    assert_eq!(vec::<i64>(&(&ints % 3)), [1, 2]);
    assert_eq!((&ints + f64s(&[0.5], 1)).dtype(), DType::F64);
    // A tensor without axes does not promote one with axes within its kind.
    assert_eq!((x.clone() * f64s(&[2.0], ())).dtype(), DType::F32);
    assert_eq!((Tensor::new([true]) + 1).dtype(), DType::I64);
    let mut y = x.clone();
    y *= 2.0;
    y -= &x;
    close(&y, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    close(&-&x.i(0), &[-1.0, -2.0, -3.0]);
    close(&(x.i(0) * x.size(0)), &[2.0, 4.0, 6.0]);
}

#[test]
fn comparison_and_selection() {
    let x = Tensor::new([1.0, 2.0, 3.0]);
    assert_eq!(vec::<bool>(&x.gt(1.5)), [false, true, true]);
    assert_eq!(vec::<bool>(&x.equal(Tensor::new([1.0, 0.0, 3.0]))), [true, false, true]);
    assert_eq!(vec::<bool>(&(x.le(2) & x.ne(1))), [false, true, false]);
    assert_eq!(vec::<bool>(&!x.lt(2.0)), [false, true, true]);
    close(&where_(&x.ge(2.0), &x, 0.0), &[0.0, 2.0, 3.0]);
    close(&x.where_(&x.lt(2.0), -1), &[1.0, -1.0, -1.0]);
    close(&x.masked_fill(&x.gt(2.0), f64::NEG_INFINITY), &[1.0, 2.0, f64::NEG_INFINITY]);
    close(&x.clamp(1.5, 2.5), &[1.5, 2.0, 2.5]);
    assert!(Tensor::new([1.0, f64::NAN]).maximum(0.5).i(1).item().unwrap().is_nan());
}

#[test]
fn mathematics() {
    let x = Tensor::new([0.0, 0.5, -1.0]);
    let each = |f: fn(f64) -> f64| [0.0, 0.5, -1.0].map(f);
    close(&x.exp(), &each(f64::exp));
    close(&x.tanh(), &each(f64::tanh));
    close(&x.sigmoid(), &each(|x| 1.0 / (1.0 + (-x).exp())));
    close(&x.relu(), &[0.0, 0.5, 0.0]);
    close(&x.square(), &[0.0, 0.25, 1.0]);
    close(&x.abs().sqrt(), &each(|x| x.abs().sqrt()));
    close(&x.softplus(), &each(|x| x.exp().ln_1p()));
    // erf(0.5 / √2) = 0.38292492254802624, erf(1 / √2) = 0.6826894921370859
    close(&x.gelu(), &[0.0, 0.25 * 1.382_924_922_548_026_2, -0.5 * (1.0 - 0.682_689_492_137_085_9)]);
    close(&x.leaky_relu(0.1), &[0.0, 0.5, -0.1]);
    close(&x.elu(1.0), &[0.0, 0.5, (-1f64).exp_m1()]);
    close(&Tensor::new([4]).sqrt(), &[2.0]);
    close(&Tensor::new([2.5, 3.5, -0.5]).round(), &[2.0, 4.0, 0.0]);
    close(&Tensor::new([2.0]).pow(10), &[1024.0]);
}

#[test]
fn reductions() {
    let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]]);
    assert_eq!(x.sum_all().item().unwrap(), 22.0);
    close(&x.sum(0), &[5.0, 7.0, 10.0]);
    close(&x.sum((0, 1)), &[22.0]);
    assert_eq!(x.mean_keepdim(-1).shape().as_slice(), [2, 1].map(Dim::from));
    close(&x.mean(-1), &[2.0, 16.0 / 3.0]);
    close(&x.max(0), &[4.0, 5.0, 7.0]);
    close(&x.min_all(), &[1.0]);
    assert_eq!(vec::<i64>(&x.argmax(-1)), [2, 2]);
    assert_eq!(vec::<i64>(&x.argmin_all()), [0]);
    close(&x.var(-1), &[1.0, 7.0 / 3.0]);
    close(&x.var_with(-1, 0), &[2.0 / 3.0, 14.0 / 9.0]);
    close(&x.std(-1), &[1.0, (7.0f64 / 3.0).sqrt()]);
    close(&x.prod(-1), &[6.0, 140.0]);
    assert_eq!(vec::<bool>(&x.gt(1.5).all(-1)), [false, true]);
    assert_eq!(vec::<bool>(&x.gt(6.0).any(-1)), [false, true]);
    assert_eq!(x.gt(1.5).sum_all().dtype(), DType::I64);
    close(
        &x.logsumexp(-1),
        &[3.0 + (1.0 + (-1f64).exp() + (-2f64).exp()).ln(), 7.0 + (1.0 + (-2f64).exp() + (-3f64).exp()).ln()],
    );
    close(&Tensor::new([f64::NEG_INFINITY; 2]).logsumexp(0), &[f64::NEG_INFINITY]);
    close(&x.norm(-1), &[14f64.sqrt(), 90f64.sqrt()]);
    close(&Tensor::new([1.0, f64::NAN]).max_all(), &[f64::NAN]);
    close(&x.softmax(-1).sum(-1), &[1.0, 1.0]);
    close(&x.log_softmax(0).exp().sum(0), &[1.0, 1.0, 1.0]);
}

/// All of PyTorch's cases of `matmul`, with the shapes of its documentation.
#[test]
fn matmul_has_all_rank_cases() {
    let count = |shape: &[usize]| {
        let n: usize = shape.iter().product();
        Tensor::arange(0, n as i64).to_dtype(DType::F64).reshape(shape)
    };
    let shape = |t: &Tensor| t.shape().iter().map(|d| d.get().unwrap()).collect::<Vec<_>>();
    assert_eq!(count(&[3]).matmul(&count(&[3])).item().unwrap(), 5.0);
    for (a, b, expected) in [
        (&[2, 3][..], &[3][..], &[2][..]),
        (&[3], &[3, 4], &[4]),
        (&[2, 3], &[3, 4], &[2, 4]),
        (&[10, 3, 4], &[4], &[10, 3]),
        (&[10, 3, 4], &[10, 4, 5], &[10, 3, 5]),
        (&[10, 3, 4], &[4, 5], &[10, 3, 5]),
        (&[4], &[10, 4, 5], &[10, 5]),
        (&[3, 4], &[10, 4, 5], &[10, 3, 5]),
        (&[7, 1, 2, 3], &[5, 3, 4], &[7, 5, 2, 4]),
    ] {
        let (x, y) = (count(a), count(b));
        let product = x.matmul(&y);
        assert_eq!(shape(&product), expected, "{a:?} @ {b:?}");
        // The last element from the sums themselves.
        let (row, k) = (x.reshape((-1, *a.last().unwrap())).i(-1), *a.last().unwrap());
        let column = if b.len() == 1 { y } else { y.reshape((-1, k, *b.last().unwrap())).i((-1, .., -1)) };
        assert_eq!(product.flatten_all().i(-1).item().unwrap(), (row * column).sum_all().item().unwrap(), "{a:?} @ {b:?}");
    }
    let [m, v] = [Tensor::new([[1.0, 2.0], [3.0, 4.0]]), Tensor::new([1.0, 10.0])];
    close(&m.linear(&m, Some(&v)), &[6.0, 21.0, 12.0, 35.0]);
    close(&v.outer(&v), &[1.0, 10.0, 10.0, 100.0]);
}

#[test]
fn shapes() {
    let x = Tensor::arange(0, 24).reshape((2, 3, 4));
    let [b, _, c] = x.dims();
    assert_eq!(x.reshape((b, -1)).shape().as_slice(), [2, 12].map(Dim::from));
    assert_eq!(x.reshape((-1, c)).size(0), 6);
    assert_eq!(vec::<i64>(&x.i(0).t()), [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
    assert_eq!(x.permute([2, 0, 1]).shape().as_slice(), [4, 2, 3].map(Dim::from));
    assert_eq!(vec::<i64>(&x.permute([2, 0, 1]).i((1, 1))), [13, 17, 21]);
    assert_eq!(x.transpose(0, -1).size(0), 4);
    assert_eq!(x.flatten(1, 2).shape().as_slice(), [2, 12].map(Dim::from));
    assert_eq!(x.unflatten(2, (2, -1)).shape().as_slice(), [2, 3, 2, 2].map(Dim::from));
    assert_eq!(x.unsqueeze(-1).squeeze(-1).shape(), x.shape());
    assert_eq!(x.squeeze(0).shape(), x.shape());
    assert_eq!(Tensor::zeros((1, 2, 1)).squeeze_all().shape().as_slice(), [Dim::from(2)]);
    assert_eq!(vec::<i64>(&Tensor::new([1, 2]).unsqueeze(1).expand((-1, 2))), [1, 1, 2, 2]);
    assert_eq!(vec::<i64>(&Tensor::new([1, 2]).repeat((2, 2))), [1, 2, 1, 2, 1, 2, 1, 2]);
    assert_eq!(vec::<i64>(&Tensor::new([1, 2, 3]).flip(0)), [3, 2, 1]);
    let parts = x.split(2, 1).unwrap();
    assert_eq!(parts.iter().map(|p| p.size(1)).collect::<Vec<_>>(), [2, 1].map(Dim::from));
    assert_eq!(vec::<i64>(&Tensor::cat(&parts, 1)), vec::<i64>(&x));
    assert_eq!(x.chunk(2, -1).unwrap().len(), 2);
    assert_eq!(vec::<i64>(&Tensor::stack(&[Tensor::new([1, 2]), Tensor::new([3, 4])], 1)), [1, 3, 2, 4]);
    assert_eq!(Tensor::cat(&[Tensor::new([1]), Tensor::new([0.5])], 0).dtype(), DType::F32);
    close(&Tensor::new([[1.0]]).pad(&[(1, 0), (0, 1)], 7.0), &[7.0, 1.0, 7.0, 7.0]);
    close(&Tensor::ones((2, 2)).tril(0), &[1.0, 0.0, 1.0, 1.0]);
    close(&Tensor::ones((2, 2)).triu(1), &[0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn indexing() {
    let x = Tensor::arange(0, 24).reshape((2, 3, 4));
    assert_eq!(x.i((1, 2, 3)).item().unwrap(), 23.0);
    assert_eq!(x.i(-1).shape().as_slice(), [3, 4].map(Dim::from));
    assert_eq!(vec::<i64>(&x.i((.., -1, 0))), [8, 20]);
    assert_eq!(vec::<i64>(&x.i((Ellipsis, -1))), [3, 7, 11, 15, 19, 23]);
    assert_eq!(vec::<i64>(&x.i((0, 1.., (..).step(3)))), [4, 7, 8, 11]);
    assert_eq!(vec::<i64>(&x.i((0, 0, 1..=2))), [1, 2]);
    assert_eq!(vec::<i64>(&x.i((0, 0, -3..-1))), [1, 2]);
    assert_eq!(x.i((0, 5..9)).size(0), 0);
    assert_eq!(x.i((NewAxis, Ellipsis, NewAxis)).shape().as_slice(), [1, 2, 3, 4, 1].map(Dim::from));
    let rows = Tensor::new([2, 0, -1]);
    assert_eq!(vec::<i64>(&x.i((0, &rows, 1))), [9, 1, 9]);
    assert_eq!(x.i((.., &rows)).shape().as_slice(), [2, 3, 4].map(Dim::from));
    assert_eq!(vec::<i64>(&x.i((.., &rows)).i((1, 0))), [20, 21, 22, 23]);
    // Two index tensors broadcast against each other.
    let (a, b) = (Tensor::new([[0], [1]]), Tensor::new([1, 2]));
    assert_eq!(vec::<i64>(&x.i((&a, &b, 0))), [4, 8, 16, 20]);
    let mask = x.i((0, 0)).ge(2);
    assert_eq!(vec::<i64>(&x.i(vec![IndexItem::At(1.into()), IndexItem::At(0.into()), mask.into()])), [14, 15]);
    assert_eq!(vec::<i64>(&x.i(x.gt(21))), [22, 23]);
    assert_eq!(vec::<i64>(&Tensor::new([0, 3, 0, 5]).nonzero()), [1, 3]);
    assert_eq!(vec::<i64>(&x.index_select(2, &Tensor::new([3, 0])).i((0, 0))), [3, 0]);
    let m = Tensor::new([[1, 2], [3, 4]]);
    // From PyTorch's documentation of `gather`.
    assert_eq!(vec::<i64>(&m.gather(1, &Tensor::new([[0, 0], [1, 0]]))), [1, 1, 4, 3]);
    assert_eq!(vec::<i64>(&m.take_along(&m.argmax_keepdim(1), 1)), [2, 4]);
    let sums = Tensor::zeros((2, 2)).scatter_add(0, &Tensor::new([[0, 1], [0, 0]]), &Tensor::new([[1.0, 2.0], [3.0, 4.0]]));
    close(&sums, &[4.0, 4.0, 0.0, 2.0]);
    close(&Tensor::zeros(3).scatter(0, &Tensor::new([2]), &Tensor::new([5.0])), &[0.0, 0.0, 5.0]);
}

#[test]
fn convolution_and_pooling() {
    let x = Tensor::arange(0, 16).to_dtype(DType::F32).reshape((1, 1, 4, 4));
    let ones = Tensor::ones((1, 1, 2, 2));
    // The sum of each 2×2 window of 0..16 in rows of four: 4·first + 10.
    let sums: Vec<f64> = [0, 1, 2, 4, 5, 6, 8, 9, 10].map(|first| f64::from(4 * first + 10)).into();
    close(&x.conv2d(&ones, None, default()), &sums);
    let strided = Conv { stride: 2.into(), padding: 1.into(), ..default() };
    close(&x.conv2d(&ones, Some(&Tensor::new([1.0])), strided), &[1.0, 4.0, 4.0, 13.0, 31.0, 19.0, 13.0, 28.0, 16.0]);
    close(&x.max_pool2d(2), &[5.0, 7.0, 13.0, 15.0]);
    close(&x.avg_pool2d(2), &[2.5, 4.5, 10.5, 12.5]);
    close(&x.max_pool2d(Pool::new(3).stride(2).padding(1)), &[5.0, 7.0, 13.0, 15.0]);
    let depthwise = Conv { groups: 2, ..default() };
    let two = Tensor::cat(&[x.clone(), &x * 10.0], 1);
    let kernels = Tensor::ones((2, 1, 4, 4));
    close(&two.conv2d(&kernels, None, depthwise), &[120.0, 1200.0]);
}

#[test]
fn losses_and_layers() {
    let logits = Tensor::new([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]);
    let first = (1f64.exp() + 2f64.exp() + 3f64.exp()).ln() - 3.0;
    let labels = Tensor::new([2, 0]);
    close(&logits.cross_entropy_each(&labels), &[first, 3f64.ln()]);
    close(&logits.cross_entropy(&labels), &[(first + 3f64.ln()) / 2.0]);
    // Classes are the second axis: [N, C, d].
    close(&logits.t().unsqueeze(0).cross_entropy_each(&labels.unsqueeze(0)), &[first, 3f64.ln()]);
    close(&logits.mse_loss(&Tensor::zeros((2, 3))), &[17.0 / 6.0]);
    let normal = logits.layer_norm(&Tensor::ones(3), &Tensor::zeros(3), 0.0).i(0);
    close(&normal, &[-(1.5f64.sqrt()), 0.0, 1.5f64.sqrt()]);
    assert_eq!(vec::<i64>(&Tensor::new([2, 0]).one_hot(3)), [0, 0, 1, 1, 0, 0]);
    let table = Tensor::new([[1.0, 2.0], [3.0, 4.0]]);
    close(&Tensor::new([[1, 0], [1, 1]]).embedding(&table), &[3.0, 4.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
}

/// The texts are PyTorch's for the same tensors.
#[test]
fn printing() {
    assert_eq!(Tensor::new([[1.0, 2.5], [-3.0, 4.0]]).to_string(), "tensor([[ 1.0000,  2.5000],\n        [-3.0000,  4.0000]])");
    assert_eq!(Tensor::new([1.0, 2.0]).to_string(), "tensor([1., 2.])");
    assert_eq!(Tensor::new([1, -20]).to_string(), "tensor([  1, -20])");
    assert_eq!(Tensor::new([true, false]).to_string(), "tensor([ True, False])");
    assert_eq!(Tensor::new(3.5).to_string(), "tensor(3.5000)");
    assert_eq!(Tensor::new([1e-6, 1.0]).to_string(), "tensor([1.0000e-06, 1.0000e+00])");
    assert_eq!(Tensor::new([f64::NAN, f64::INFINITY, 1.0]).to_string(), "tensor([nan, inf, 1.])");
    assert_eq!(Tensor::zeros(0).to_string(), "tensor([])");
    assert_eq!(Tensor::new([f64::NAN, f64::INFINITY, 1.5]).to_string(), "tensor([   nan,    inf, 1.5000])");
    assert_eq!(
        Tensor::arange(0.0, 2000.0).to_string(),
        "tensor([0.0000e+00, 1.0000e+00, 2.0000e+00,  ..., 1.9970e+03, 1.9980e+03,\n        1.9990e+03])"
    );
    assert_eq!(
        (Tensor::arange(0.0, 14.0) * 1.5).to_string(),
        "tensor([ 0.0000,  1.5000,  3.0000,  4.5000,  6.0000,  7.5000,  9.0000, 10.5000,\n        12.0000, 13.5000, 15.0000, 16.5000, 18.0000, 19.5000])"
    );
    assert_eq!(
        Tensor::arange(0, 12).reshape((2, 3, 2)).to_string(),
        "tensor([[[ 0,  1],\n         [ 2,  3],\n         [ 4,  5]],\n\n        [[ 6,  7],\n         [ 8,  9],\n         [10, 11]]])"
    );
    assert_eq!(Tensor::zeros((2, 0)).to_string(), "tensor([], size=(2, 0))");
    assert_eq!(f64s(&[0.5], 1).to_string(), "tensor([0.5000], dtype=f64)");
}
