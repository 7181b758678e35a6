//! Operators beside those of PyTorch's samples (`tests/opinfo`): edges, data-dependent sizes, assignment, linear algebra and
//! Fourier transforms. Numbers are closed forms.

use crate::{close, f64s, message, seeded, vec};
use igneous::linalg::{self, Triangle};
use igneous::testing::{assert_close, compare_with_eager, gradcheck};
use igneous::{
    Conv, ConvTranspose, Corners, DType, Initial, Interpolation, PadMode, Pool, Scalar, ScatterKind, Side, Stepped, Tensor,
    compile, default, fft,
};

/// A well-conditioned matrix that is not symmetric.
fn matrix() -> Tensor {
    f64s(&[4.0, 1.0, -0.5, 0.3, 3.0, 0.7, 1.1, -0.2, 5.0], (3, 3))
}

#[test]
fn tensors_without_axes_count_as_one_element_along_an_axis() {
    let x = Tensor::scalar(3.0);
    for axis in [0, -1] {
        close(&x.sum(axis), &[3.0]);
        close(&x.softmax(axis), &[1.0]);
        close(&x.cumsum(axis), &[3.0]);
        close(&x.sort(axis).0, &[3.0]);
        assert_eq!(vec::<i64>(&x.argmax(axis)), [0]);
        assert_eq!(x.max_with_index(axis).0.rank(), 0);
        assert_eq!(x.topk(1, axis).0.rank(), 0);
    }
    assert!(message(x.sum(1).check()).contains("axis 1 is out of range"));
}

#[test]
fn empty_tensors_have_results() {
    let none = Tensor::zeros((0, 3));
    assert_eq!(vec::<f32>(&none.sort(0).0), [0.0; 0]);
    assert_eq!(vec::<f32>(&none.cumsum(1)), [0.0; 0]);
    assert_eq!(vec::<f32>(&none.sum(0)), [0.0; 3]);
    assert_eq!(vec::<f32>(&none.prod(0)), [1.0; 3]);
    assert_eq!(vec::<i64>(&Tensor::zeros(0).unique().0.to_dtype(DType::I64)), [0; 0]);
    assert_eq!(vec::<f32>(&linalg::inv(&Tensor::zeros((0, 0)))), [0.0; 0]);
    assert_eq!(vec::<f32>(&none.index_put(0..0, 5.0)), [0.0; 0]);
    assert_eq!(vec::<f32>(&none.masked_scatter(&none.gt(0.0), &none)), [0.0; 0]);
}

#[test]
fn sorting_puts_nan_last_and_keeps_equal_elements_in_order() {
    let x = Tensor::new([2.0, f64::NAN, 1.0, 2.0]);
    assert_eq!(vec::<i64>(&x.argsort(0)), [2, 0, 3, 1]);
    assert_eq!(vec::<i64>(&x.argsort_descending(0)), [1, 0, 3, 2]);
    let (values, counts, inverse) = Tensor::new([3, 1, 3, 2]).unique();
    assert_eq!(vec::<i64>(&values), [1, 2, 3]);
    assert_eq!(vec::<i64>(&counts), [1, 1, 2]);
    assert_eq!(vec::<i64>(&inverse), [2, 0, 2, 1]);
    close(&Tensor::new([3.0, 1.0, 2.0, 9.0]).median_all(), &[2.0]);
    let sorted = Tensor::new([1.0, 2.0, 2.0, 4.0]);
    assert_eq!(vec::<i64>(&sorted.searchsorted(&Tensor::new([2.0, 5.0]), Side::Left)), [1, 4]);
    assert_eq!(vec::<i64>(&sorted.searchsorted(&Tensor::new([2.0, 5.0]), Side::Right)), [3, 4]);
}

#[test]
fn integers_divide_and_round_as_in_pytorch() {
    let (a, b) = (Tensor::new([7, -7, 7, -7]), Tensor::new([2, 2, -2, -2]));
    assert_eq!(vec::<i64>(&a.floor_divide(&b)), [3, -4, -4, 3]);
    assert_eq!(vec::<i64>(&a.remainder(&b)), [1, 1, -1, -1]);
    assert_eq!(vec::<i64>(&a.fmod(&b)), [1, -1, 1, -1]);
    assert_eq!((&a / &b).dtype(), DType::F32);
    assert_eq!(Tensor::new([true, true]).cumsum(0).dtype(), DType::I64);
    assert_eq!(vec::<i64>(&Tensor::new([2, 3]).integer_pow(5)), [32, 243]);
}

#[test]
fn sizes_that_depend_on_values_need_eager_mode() {
    let x = Tensor::new([1.0, 0.0, 2.0]);
    assert_eq!(vec::<f32>(&x.masked_select(&x.gt(0.0))), [1.0, 2.0]);
    assert_eq!(vec::<i64>(&x.nonzero()), [0, 2]);
    for text in [
        message(compile(|x: Tensor| x.masked_select(&x.gt(0.0))).run(x.clone())),
        message(compile(|x: Tensor| x.nonzero()).run(x.clone())),
        message(compile(|x: Tensor| x.unique().0).run(x.clone())),
    ] {
        assert!(text.contains("is known only when the compiled function runs") || text.contains("number of"), "{text}");
    }
}

#[test]
fn assignment_through_an_index() {
    let x = Tensor::zeros((2, 3));
    close(&x.index_put((0, 1..), Tensor::new([1.0, 2.0])), &[0.0, 1.0, 2.0, 0.0, 0.0, 0.0]);
    close(&x.index_put((.., Tensor::new([2, 0])), Tensor::new([[1.0, 2.0], [3.0, 4.0]])), &[2.0, 0.0, 1.0, 4.0, 0.0, 3.0]);
    // The last value stays, or all are added.
    let twice = Tensor::new([1, 1]);
    close(&Tensor::zeros(3).index_put(&twice, Tensor::new([5.0, 7.0])), &[0.0, 7.0, 0.0]);
    close(&Tensor::zeros(3).index_put_add(&twice, Tensor::new([5.0, 7.0])), &[0.0, 12.0, 0.0]);
    close(&x.index_put(Tensor::new([[true, false, false], [false, false, true]]), 9.0), &[9.0, 0.0, 0.0, 0.0, 0.0, 9.0]);
    gradcheck(|t| t[0].index_put((.., 1), &t[1]).square(), &[f64s(&[1.0, 2.0, 3.0, 4.0], (2, 2)), f64s(&[5.0, 6.0], 2)]).unwrap();
    assert!(message(x.index_put(0, Tensor::ones(2)).check()).contains("do not broadcast to the chosen part"));
    // Under a trace a mask is a choice.
    let step = compile(|x: Tensor, mask: Tensor| x.index_put(&mask, -1.0));
    compare_with_eager(&step, (Tensor::ones((2, 3)), Tensor::new([true, false])), 0.0).unwrap();
}

#[test]
fn variables_are_changed_in_place_to_look_at() {
    let w = Tensor::parameter(Tensor::new([1.0, 2.0, 3.0]));
    let before = w.detach();
    w.add_(1.0).unwrap();
    w.mul_(Tensor::new([1.0, 0.0, 2.0])).unwrap();
    w.masked_fill_(&w.equal(0.0), 5.0).unwrap();
    close(&w, &[2.0, 5.0, 8.0]);
    w.index_put_(-1, 0.5).unwrap();
    w.clamp_(1.0, 4.0).unwrap();
    close(&w, &[2.0, 4.0, 1.0]);
    close(&before, &[1.0, 2.0, 3.0]);
    assert!(message(before.add_(1.0)).contains("assign needs a variable"));
    assert!(message(w.copy_(&Tensor::ones(2))).contains("expand"));
    // A number of another kind does not change the type.
    let count = Tensor::variable(Tensor::new([1, 2]));
    count.add_(0.5).unwrap();
    assert_eq!(vec::<i64>(&count), [1, 2]);
    let step = compile(|x: Tensor| {
        count.index_put_add_(&x, 10)?;
        Ok(count.sum_all())
    });
    assert_eq!(step.run(Tensor::new([0, 0])).unwrap().item().unwrap(), 23.0);
}

#[test]
fn scatter_reductions() {
    let (x, index) = (Tensor::new([1.0, 2.0, 3.0]), Tensor::new([0, 0, 2]));
    let source = Tensor::new([4.0, -1.0, 5.0]);
    let with = |kind, initial| x.scatter_reduce(0, &index, &source, kind, initial);
    close(&with(ScatterKind::Sum, Initial::Kept), &[4.0, 2.0, 8.0]);
    close(&with(ScatterKind::Sum, Initial::Replaced), &[3.0, 2.0, 5.0]);
    close(&with(ScatterKind::Prod, Initial::Kept), &[-4.0, 2.0, 15.0]);
    close(&with(ScatterKind::Max, Initial::Replaced), &[4.0, 2.0, 5.0]);
    close(&with(ScatterKind::Min, Initial::Kept), &[-1.0, 2.0, 3.0]);
    close(&with(ScatterKind::Mean, Initial::Kept), &[4.0 / 3.0, 2.0, 4.0]);
    close(&with(ScatterKind::Mean, Initial::Replaced), &[1.5, 2.0, 5.0]);
}

#[test]
fn einsum_names_axes() {
    let (a, b) = (Tensor::arange(0, 6).reshape((2, 3)), Tensor::arange(0, 12).reshape((3, 4)));
    assert_eq!(vec::<i64>(&Tensor::einsum("ij,jk", &[&a, &b])), vec::<i64>(&a.matmul(&b)));
    assert_eq!(vec::<i64>(&Tensor::einsum("ij->ji", &[&a])), [0, 3, 1, 4, 2, 5]);
    assert_eq!(vec::<i64>(&Tensor::einsum("ij->", &[&a])), [15]);
    assert_eq!(vec::<i64>(&Tensor::einsum("i,i->i", &[&a.i(0), &a.i(1)])), [0, 4, 10]);
    let batch = Tensor::stack(&[&a, &a], 0);
    assert_eq!(vec::<i64>(&Tensor::einsum("...ij,jk->...ik", &[&batch, &b])), vec::<i64>(&batch.matmul(&b)));
    assert_eq!(vec::<i64>(&Tensor::einsum("ii->i", &[Tensor::arange(0, 9).reshape((3, 3))])), [0, 4, 8]);
    assert!(message(Tensor::einsum("ij,jk->il", &[&a, &b]).check()).contains("names `l`, which no tensor has"));
    assert!(message(Tensor::einsum("ij,ij->ij", &[&a, &b]).check()).contains("has the extents"));
}

#[test]
fn matrices_are_factored_and_solved() {
    let a = matrix();
    let spd = a.matmul(&a.t());
    let l = linalg::cholesky(&spd);
    assert_close(&l.matmul(&l.t()), &spd, 1e-12);
    let (q, r) = linalg::qr(&a);
    assert_close(&q.matmul(&r), &a, 1e-12);
    assert_close(&q.t().matmul(&q), &Tensor::eye(3).to_dtype(DType::F64), 1e-12);
    let (u, s, vt) = linalg::svd(&a.i((.., ..2)));
    assert_close(&(&u * s.unsqueeze(0)).matmul(&vt), &a.i((.., ..2)), 1e-12);
    let (w, v) = linalg::eigh(&spd);
    assert_close(&(&v * w.unsqueeze(0)).matmul(&v.t()), &spd, 1e-12);
    let b = f64s(&[1.0, 2.0, 3.0], 3);
    assert_close(&a.mv(&linalg::solve(&a, &b)), &b, 1e-12);
    assert_close(&linalg::inv(&a).matmul(&a), &Tensor::eye(3).to_dtype(DType::F64), 1e-12);
    assert_close(&linalg::solve_triangular(&r, &r.mv(&b), Triangle::Upper), &b, 1e-12);
    assert_close(&linalg::pinv(&a, 1e-12), &linalg::inv(&a), 1e-11);
    assert_close(&linalg::lstsq(&a, &a.mv(&b)), &b, 1e-11);
    assert_close(&linalg::matrix_power(&a, -2).matmul(&a).matmul(&a), &Tensor::eye(3).to_dtype(DType::F64), 1e-11);
    // 4·(15 − 0.77) − 1·(1.5 − 0.77) − 0.5·(... ) by the rule of Sarrus.
    let sarrus = 4.0 * 3.0 * 5.0 + 0.7 * 1.1 - 0.5 * 0.3 * -0.2 - 1.1 * 3.0 * -0.5 - (-0.2) * 0.7 * 4.0 - 5.0 * 0.3;
    assert!((linalg::det(&a).item().unwrap() - sarrus).abs() < 1e-12);
    assert_eq!(linalg::matrix_rank(&Tensor::ones((3, 3)), 1e-6).item().unwrap(), 1.0);
}

#[test]
fn factors_have_gradients_in_both_modes() {
    let a = matrix();
    let spd = |x: &Tensor| x.matmul(&x.t()) + Tensor::eye(3).to_dtype(DType::F64);
    gradcheck(|t| linalg::cholesky(&spd(&t[0])), std::slice::from_ref(&a)).unwrap();
    gradcheck(|t| linalg::qr(&t[0]).0 + linalg::qr(&t[0]).1, std::slice::from_ref(&a)).unwrap();
    gradcheck(|t| linalg::svd(&t[0]).1, std::slice::from_ref(&a)).unwrap();
    gradcheck(|t| linalg::eigh(&spd(&t[0])).1, std::slice::from_ref(&a)).unwrap();
    gradcheck(|t| linalg::det(&t[0]), std::slice::from_ref(&a)).unwrap();
    gradcheck(|t| linalg::solve(&t[0], &t[1]), &[a.clone(), f64s(&[1.0, 2.0, 3.0], 3)]).unwrap();
    let step = compile(|x: Tensor| {
        let x = x.requires_grad_();
        let y = linalg::inv(&x).sum_all() + linalg::slogdet(&x).1;
        Ok((y.clone(), igneous::grad(&y, &[&x])?))
    });
    compare_with_eager(&step, a, 1e-12).unwrap();
}

#[test]
fn a_matrix_without_a_result_fails_the_run() {
    let singular = Tensor::ones((2, 2));
    let count = Tensor::variable(Tensor::zeros(()));
    assert!(message(linalg::inv(&singular).check()).contains("singular"));
    assert!(message(linalg::cholesky(&-&singular).check()).contains("positive definite"));
    let step = compile(|x: Tensor| {
        count.add_(1.0)?;
        Ok(linalg::inv(&x))
    });
    assert!(message(step.run(singular)).contains("singular"));
    assert_eq!(count.item().unwrap(), 0.0, "a run that fails has changed no variable");
}

#[test]
fn transforms_invert_each_other_and_keep_the_sum_of_squares() {
    let _one = seeded(1);
    let x = Tensor::randn((3, 7)).to_dtype(DType::F64);
    let spectrum = fft::rfft(&x, -1, fft::Norm::Backward);
    assert_close(&fft::irfft(&spectrum, 7, -1, fft::Norm::Backward), &x, 1e-12);
    assert_close(&fft::real(&spectrum).i((.., 0)), &x.sum(-1), 1e-12);
    let z = fft::complex(&x, &x.cos());
    let both = fft::fft2(&z, fft::Norm::Ortho);
    assert_close(&both.square().sum_all(), &z.square().sum_all(), 1e-12);
    assert_close(&fft::ifft2(&both, fft::Norm::Ortho), &z, 1e-12);
    // One wave is one frequency.
    let wave = (Tensor::arange(0, 8).to_dtype(DType::F64) * std::f64::consts::FRAC_PI_2).cos();
    close(&fft::magnitude(&fft::rfft(&wave, 0, fft::Norm::Forward)), &[0.0, 0.0, 0.5, 0.0, 0.0]);
    close(&fft::fftfreq(5, 0.5), &[0.0, 0.4, 0.8, -0.8, -0.4]);
    gradcheck(
        |t| fft::irfft(&fft::rfft(&t[0], -1, fft::Norm::Ortho).square(), 6, -1, fft::Norm::Backward),
        &[f64s(&[1.0, -2.0, 0.5, 3.0, 1.5, -1.0], 6)],
    )
    .unwrap();
    assert!(message(fft::fft(&Tensor::zeros(3), 0, fft::Norm::Backward).check()).contains("real and imaginary parts"));
}

#[test]
fn a_transposed_convolution_is_the_gradient_of_a_convolution() {
    let _one = seeded(2);
    let (x, w) = (Tensor::randn((2, 4, 7, 5)).requires_grad_(), Tensor::randn((6, 2, 3, 2)));
    let options = Conv { stride: (2, 1).into(), padding: (1, 1).into(), dilation: (1, 2).into(), groups: 2, ..default() };
    let y = x.conv2d(&w, None, options);
    let dy = Tensor::randn(y.shape());
    let dx = igneous::grad_with(&y, &dy, &[&x]).unwrap().remove(0);
    let back = ConvTranspose { stride: (2, 1).into(), padding: (1, 1).into(), dilation: (1, 2).into(), groups: 2, ..default() };
    assert_close(&dy.conv_transpose2d(&w, None, back), &dx, 1e-5);
}

#[test]
fn pooling_counts_what_it_is_told_to() {
    let x = Tensor::ones((1, 1, 3, 3));
    close(&x.avg_pool2d(Pool::new(2).padding(1).stride(2)), &[0.25, 0.5, 0.5, 1.0]);
    close(&x.avg_pool2d(Pool::new(2).padding(1).stride(2).without_padding()), &[1.0; 4]);
    close(&x.avg_pool2d(Pool::new(2).divisor(8.0)), &[0.5]);
    close(&x.avg_pool2d(Pool::new(2).ceil()), &[1.0; 4]);
    let y = Tensor::arange(0, 9).reshape((1, 1, 3, 3)).to_dtype(DType::F32);
    assert_eq!(vec::<i64>(&y.max_pool2d_with_indices(Pool::new(2).stride(1)).1), [4, 5, 7, 8]);
    close(&y.adaptive_max_pool2d(2), &[4.0, 5.0, 7.0, 8.0]);
    close(&y.adaptive_avg_pool2d((1, 3)), &[3.0, 4.0, 5.0]);
}

#[test]
fn images_change_size() {
    let x = Tensor::new([[[1.0, 2.0]]]);
    close(&x.interpolate(&[4], Interpolation::Nearest, Corners::Apart), &[1.0, 1.0, 2.0, 2.0]);
    close(&x.interpolate(&[4], Interpolation::Linear, Corners::Apart), &[1.0, 1.25, 1.75, 2.0]);
    close(&x.interpolate(&[3], Interpolation::Linear, Corners::Aligned), &[1.0, 1.5, 2.0]);
    // A line is a line to the cubic convolution.
    let line = Tensor::arange(0, 8).to_dtype(DType::F64).reshape((1, 1, 8));
    let middle = line.interpolate(&[15], Interpolation::Cubic, Corners::Aligned).i((0, 0, 4..11));
    close(&middle, &[2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]);
    close(&x.pad_with(&[(1, 1)], PadMode::Reflect), &[2.0, 1.0, 2.0, 1.0]);
    close(&x.pad_with(&[(1, 1)], PadMode::Circular), &[2.0, 1.0, 2.0, 1.0]);
    close(&x.pad_with(&[(2, -1)], PadMode::Replicate), &[1.0, 1.0, 1.0]);
    let patches = Tensor::arange(0, 16).to_dtype(DType::F32).reshape((1, 1, 4, 4));
    let columns = patches.unfold_patches(2, 1, 0, 2);
    assert_close(&columns.fold_patches(4, 2, 1, 0, 2), &patches, 0.0);
}

#[test]
fn random_choices() {
    let _one = seeded(4);
    let order = Tensor::randperm(100usize);
    assert_eq!(vec::<i64>(&order.sort(0).0), (0..100).collect::<Vec<i64>>());
    let weights = Tensor::new([0.0, 1.0, 3.0]);
    let drawn = weights.expand((4000, 3)).multinomial_with_replacement(1);
    let share = drawn.equal(2).to_dtype(DType::F32).mean_all().item().unwrap();
    assert!((share - 0.75).abs() < 0.04 && drawn.equal(0).any_all().item().unwrap() == 0.0, "{share}");
    let without = weights.multinomial(2);
    assert_eq!(vec::<i64>(&without.sort(0).0), [1, 2]);
}

#[test]
fn numbers_that_clamp_and_norm_leave_alone() {
    let x = f64s(&[0.0, 0.0], 2).requires_grad_();
    close(&igneous::grad(&x.norm(0), &[&x]).unwrap()[0], &[0.0, 0.0]);
    let y = f64s(&[1.0, 2.0, 3.0], 3).requires_grad_();
    close(&igneous::grad(&y.clamp(1.0, 2.0).sum_all(), &[&y]).unwrap()[0], &[1.0, 1.0, 0.0]);
    let limits = Tensor::new([f64::NAN, -5.0]).clamp(Scalar::Float(-1.0), 1.0);
    close(&limits, &[f64::NAN, -1.0]);
}

/// Numbers of PyTorch 2.15 for an image of 6 × 8 and one of 2 × 2.
#[test]
fn images_are_made_smaller_with_antialiasing() {
    let data: Vec<f64> = (0..48).map(|i| ((i * 37 + 11) % 23) as f64 / 11.0 - 0.9).collect();
    let x = f64s(&data, (1, 1, 6, 8));
    let linear = [0.15472488, 0.118939394, 0.032715311, 0.181339713, 0.053192641, -0.009449761];
    close(&x.interpolate_antialiased(&[2, 3], Interpolation::Linear), &linear);
    let cubic = [0.136233705, 0.123877694, 0.045082938, 0.179803319, 0.05621371, -0.028695466];
    close(&x.interpolate_antialiased(&[2, 3], Interpolation::Cubic), &cubic);
    let small = x.i((.., .., ..2, ..2));
    let up = [0.153827751, -0.309090909, -0.772009569, -0.25645933, 0.463636364, 1.183732057];
    close(&small.interpolate_antialiased(&[2, 3], Interpolation::Cubic), &up);
    gradcheck(|t| t[0].interpolate_antialiased(&[1, 3], Interpolation::Linear), &[small]).unwrap();
    let told = message(x.interpolate_antialiased(&[2, 3], Interpolation::Nearest).check());
    assert!(told.contains("Linear or Cubic"), "{told}");
}

/// Places of PyTorch 2.15; of equal elements the first.
#[test]
fn adaptive_maxima_have_places() {
    let data: Vec<f64> = (0..48).map(|i| ((i * 37 + 11) % 23) as f64 / 11.0 - 0.9).collect();
    let x = f64s(&data, (1, 1, 6, 8));
    let (values, places) = x.adaptive_max_pool2d_with_indices([4, 3]);
    assert_eq!(vec::<i64>(&places), [9, 4, 7, 9, 12, 22, 32, 27, 30, 32, 45, 45]);
    assert_close(&values, &x.adaptive_max_pool2d([4, 3]), 0.0);
    let (values, places) = Tensor::new([[[1.0, 3.0, 3.0, 2.0, 3.0]]]).adaptive_max_pool1d_with_indices([2]);
    close(&values, &[3.0, 3.0]);
    assert_eq!(vec::<i64>(&places), [1, 2]);
    gradcheck(|t| t[0].adaptive_max_pool2d_with_indices([2, 2]).0, &[x.i((.., .., ..3, ..4))]).unwrap();
}

#[test]
fn histograms_count_what_is_inside() {
    close(&Tensor::new([1.0, 2.0, 1.0, 4.0, 9.0, f64::NAN]).histc(4, Some((0.0, 4.0))), &[0.0, 2.0, 1.0, 1.0]);
    close(&Tensor::new([3.0, 3.0, 3.0]).histc(3, None), &[0.0, 3.0, 0.0]);
    close(&Tensor::new([0.0, 0.5, 1.0, 0.99]).histc(2, None), &[1.0, 3.0]);
    assert!(message(Tensor::new([1.0]).histc(0, None).check()).contains("at least one bin"));
    assert!(message(Tensor::new([1.0]).histc(2, Some((1.0, 1.0))).check()).contains("from a smaller to a larger"));
}

#[test]
fn elements_are_repeated_as_often_as_a_tensor_says() {
    let x = Tensor::new([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
    let counts = Tensor::new([2i64, 0, 1]);
    close(&x.repeat_interleave_by(&counts, 0), &[1.0, 2.0, 1.0, 2.0, 5.0, 6.0]);
    assert!(message(x.repeat_interleave_by(&counts, 1).check()).contains("needs 2 counts"));
    assert!(message(x.repeat_interleave_by(&Tensor::new([1i64, -1, 1]), 0).check()).contains("-1 times"));
    let traced = compile(move |x: Tensor| x.repeat_interleave_by(&Tensor::new([2i64, 0, 1]), 0));
    assert!(message(traced.run(x)).contains("needs eager mode"));
}

#[test]
fn slices_go_backwards() {
    let x = Tensor::arange(0, 10);
    let part = |s: igneous::Slice| vec::<i64>(&x.i(s));
    assert_eq!(part((..).step(-1)), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(part((3..8).step(-2)), [7, 5, 3]);
    assert_eq!(part((-4..).step(-3)), [9, 6]);
    assert_eq!(part((..4).step(-1)), [3, 2, 1, 0]);
    assert_eq!(part((-20..20).step(-4)), [9, 5, 1]);
    assert_eq!(part((20..).step(-1)), [0i64; 0]);
    assert!(message(x.i((..).step(0)).check()).contains("not 0"));
    gradcheck(|t| t[0].i(((..).step(-1), 1..)), &[f64s(&[1.0, 2.0, 3.0, 4.0], (2, 2))]).unwrap();
}

#[test]
fn the_nuclear_norm_is_the_sum_of_singular_values() {
    close(&linalg::nuclear_norm(&f64s(&[3.0, 0.0, 0.0, 0.0, -4.0, 0.0], (2, 3))), &[7.0]);
    gradcheck(|t| linalg::nuclear_norm(&t[0]), &[matrix()]).unwrap();
    gradcheck(|t| linalg::qr(&t[0]).0.sin() * linalg::qr(&t[0]).1.i((.., 1..)), &[matrix().i(..2)]).unwrap();
}
