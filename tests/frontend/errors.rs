//! Errors: what is told, and that nothing panics. The messages are snapshots; in them, the lines of this file are counted
//! from the line of the case.

use crate::scratch::Scratch;
use crate::{message, seeded};
use igneous::data::{DataLoader, Dataset, Mnist, read_images, read_labels};
use igneous::nn::{
    Conv, Conv2d, CrossEntropyLoss, Dropout, Forward, L1Loss, LayerNorm, Linear, MaxPool2d, ModuleExt, NllLoss, Padding, Pool,
    Relu, Sequential, StateDict,
};
use igneous::optim::{Adam, AdamOptions, AdamW, AdamWOptions, Optimizer, Sgd, SgdOptions};
use igneous::testing::{assert_values, compare_with_eager, gradcheck};
use igneous::{
    ConvTranspose, Corners, DType, Device, Ellipsis, Error, Interpolation, Outside, PadMode, Result, Tensor, compile, cond,
    default, fft, fori_loop, linalg, scan, while_loop,
};
use std::fmt::Write;

/// Titles and messages.
#[derive(Default)]
struct Messages(String);

impl Messages {
    /// Adds the error that `result` must be.
    #[track_caller]
    fn add<T>(&mut self, title: &str, result: Result<T>) {
        let here = std::panic::Location::caller().line();
        let Err(error) = result else { panic!("`{title}` is no error") };
        writeln!(self.0, "# {title}\n{}\n", relative(&error.to_string(), here)).unwrap();
    }
}

/// The text with the lines of this file counted from `base`; those above it are not told apart.
fn relative(text: &str, base: u32) -> String {
    let mut parts = text.split(concat!(file!(), ":"));
    let mut told = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let line: u32 = part[..digits].parse().unwrap();
        let place = line.checked_sub(base).map_or("above".to_owned(), |lines| format!("+{lines}"));
        write!(told, "errors.rs:{place}{}", &part[digits..]).unwrap();
    }
    told
}

/// The line is that of the failing call, and the message names both operands with where they come from.
#[test]
fn a_wrong_shape_names_its_operands_and_line() {
    let line = line!() + 1;
    let (x, w) = (Tensor::zeros((64, 784)), Tensor::zeros((512, 10)));
    let product = x.matmul(&w);
    let told = message(product.to_vec::<f32>());
    let file = file!();
    let expected = format!(
        "matmul needs the last dimension of the left operand to equal the second-to-last of the right one\n  \
         left   f32[64, 784]   from {file}:{line}\n  right  f32[512, 10]   from {file}:{line}\n  at {file}:{}",
        line + 1
    );
    assert_eq!(told, expected);
}

#[test]
fn a_parameter_is_named() {
    let w = Tensor::parameter(Tensor::zeros((512, 10)));
    w.set_name("fc2.weight");
    let told = message(Tensor::zeros((64, 784)).matmul(&w).check());
    assert!(told.contains("right  f32[512, 10]   parameter `fc2.weight`"), "{told}");
}

/// The first error stays, whatever is computed from it, and no result has a shape.
#[test]
fn an_invalid_tensor_carries_its_first_error() {
    let line = line!() + 1;
    let bad = Tensor::zeros((2, 3)) + Tensor::zeros((4, 5));
    let [a, b] = bad.dims();
    assert!(a.is_invalid() && b.is_invalid());
    let after = (bad.relu().sum_all() * 2.0 + Tensor::ones((a, b)).sum_all()).exp();
    let error = after.to_vec::<f32>().unwrap_err();
    assert_eq!(error.loc().map(|l| l.line), Some(line));
    assert!(error.message().contains("neither agree nor broadcast"), "{error}");
    for told in [message(after.item()), message(after.backward()), message(after.check())] {
        assert_eq!(told, error.to_string());
    }
    assert!(after.to_string().starts_with("invalid: "));
    let told = message(Tensor::ones((a, 2)).check());
    assert!(told.contains("read from an invalid tensor"), "{told}");
}

/// What a user can get wrong with decisions and loops.
#[test]
fn messages_of_control_flow() {
    let mut m = Messages::default();
    let (x, yes) = (Tensor::zeros((2, 3)), Tensor::new(1.0).gt(0.0));
    let same = |x: Tensor| x;
    m.add("cond by a number", cond(&Tensor::new(1.0), x.clone(), same, same));
    m.add("cond by many bools", cond(&x.gt(0.0), x.clone(), same, same));
    m.add("cond by a tensor that is invalid", cond(&Tensor::zeros(-1), x.clone(), same, same));
    m.add("branches of different shapes", cond(&yes, x.clone(), same, |x: Tensor| x.sum_all()));
    m.add("branches of different element types", cond(&yes, x.clone(), |x: Tensor| x.gt(0.0), same));
    m.add("branches of different structures", cond(&yes, x.clone(), |x: Tensor| vec![x], |x: Tensor| vec![x.clone(), x]));
    m.add("a branch that fails", cond(&yes, x.clone(), same, |x: Tensor| x.reshape(5)));
    let w = Tensor::parameter(Tensor::new(1.0));
    m.add("backward in a branch", cond(&yes, (), |()| (&w * 2.0).backward(), |()| Ok(())));
    m.add("a gradient emptied in a branch", {
        w.square().backward().unwrap();
        cond(&yes, (), |()| w.zero_grad(), |()| ())
    });
    m.add("the value of a tensor in a branch", cond(&yes, x.clone(), |x: Tensor| x.item().map(|_| x), |x: Tensor| Ok(x)));
    m.add("a condition of floats", while_loop(x.clone(), |x: Tensor| x.sum_all(), same));
    m.add("a condition for each element", while_loop(x.clone(), |x: Tensor| x.gt(0.0), same));
    m.add("a carry that becomes a number", while_loop(x.clone(), |x: Tensor| x.sum_all().gt(0.0), |x: Tensor| x.sum_all()));
    let count = Tensor::variable(Tensor::new(0.0));
    let assigns = |x: Tensor| -> Result<Tensor> {
        count.assign(&(&count + 1.0))?;
        Ok(x.sum_all().gt(0.0))
    };
    m.add("a condition that assigns", while_loop(x.clone(), assigns, same));
    let halves = |x: Tensor| while_loop(x, |x: Tensor| x.gt(1.0), |x: Tensor| x / 2.0);
    let leaf = Tensor::new(8.0).requires_grad_();
    m.add("the gradient of a loop without a bound", halves(leaf.clone()).and_then(|y| y.backward()));
    let compiled = compile(|()| {
        let y = halves(&w * 8.0)?;
        y.backward()?;
        Ok(y)
    });
    m.add("the same compiled", compiled.run(()));
    m.add("fori_loop up to a fraction", fori_loop(0, 2.5, x.clone(), |_, x: Tensor| x));
    m.add("fori_loop up to a tensor of fractions", fori_loop(0, Tensor::new(2.5), x.clone(), |_, x: Tensor| x));
    m.add("fori_loop up to many numbers", fori_loop(0, Tensor::new([2, 3]), x.clone(), |_, x: Tensor| x));
    m.add("fori_loop with a carry of another shape", fori_loop(0, 3, x.clone(), |_, x: Tensor| x.sum_all()));
    insta::assert_snapshot!(m.0);
}

/// What a user can get wrong with the operators of whole families, each told at once and none a panic.
#[test]
fn messages_of_operators() {
    let mut m = Messages::default();
    let (x, square) = (Tensor::zeros((2, 3)), Tensor::eye(3));
    let images = Tensor::zeros((1, 3, 8, 8));
    m.add("sort along an axis that is not there", x.sort(2).0.check());
    m.add("topk of too many", x.topk(4, 1).0.check());
    m.add("kthvalue counted from 0", x.kthvalue(0, 1).0.check());
    m.add("cumsum along an axis that is not there", x.cumsum(-3).check());
    m.add("movedim with an axis twice", x.movedim([0, 0], [0, 1]).check());
    m.add("roll with a shift too few", x.roll(&[1], (0, 1)).check());
    m.add("unfold with slices too long", x.unfold(1, 4, 1).check());
    m.add("select out of range", x.select(0, -3).check());
    m.add("narrow_at out of range", x.narrow_at(1, &Tensor::scalar(2), 2usize).check());
    m.add("split_sizes that do not fill the axis", x.split_sizes(&[1, 1], 1));
    m.add("pixel_shuffle of other channels", images.pixel_shuffle(2).check());
    m.add("diagonal of one axis", x.diagonal(0, 1, -1).check());
    m.add("diag of images", images.diag(0).check());
    m.add("pad that cuts off too much", x.pad(&[(-2, -2)], 0.0).check());
    m.add("pad that mirrors too much", x.pad_with(&[(3, 0)], PadMode::Reflect).check());
    m.add("gather with an index of other rank", x.gather(1, &Tensor::new([0])).check());
    m.add("index_add of other slices", x.index_add(0, &Tensor::new([0, 1]), &Tensor::zeros((1, 3)), 1).check());
    m.add("index_put of other values", x.index_put((.., 0), Tensor::zeros(3)).check());
    m.add("masked_scatter from too few", x.masked_scatter(&x.equal(0.0), &Tensor::zeros(2)).check());
    m.add("mm of a vector", x.mm(&Tensor::zeros(3)).check());
    m.add("einsum with too few tensors", Tensor::einsum("ij,jk->ik", &[&x]).check());
    m.add("einsum with too few names", Tensor::einsum("i->i", &[&x]).check());
    m.add("conv_transpose2d of other channels", images.conv_transpose2d(&Tensor::zeros((4, 2, 3, 3)), None, default()).check());
    let wide = ConvTranspose { output_padding: 1.into(), ..default() };
    let kernels = Tensor::zeros((3, 2, 3, 3));
    m.add("conv_transpose2d with much output_padding", images.conv_transpose2d(&kernels, None, wide).check());
    m.add("adaptive pooling of nothing", Tensor::zeros((1, 3, 0, 8)).adaptive_avg_pool2d(2).check());
    m.add("interpolate with a size too few", images.interpolate(&[4], Interpolation::Linear, Corners::Apart).check());
    m.add("interpolate by 0", images.interpolate_by(&[0.0, 1.0], Interpolation::Nearest, Corners::Apart).check());
    m.add("grid_sample with a grid of triples", {
        images.grid_sample(&Tensor::zeros((1, 2, 2, 3)), Interpolation::Linear, Outside::Zeros, Corners::Apart).check()
    });
    m.add("group_norm with groups that do not divide", images.group_norm(2, None, None, 1e-5).check());
    m.add(
        "batch_norm with a weight of another length",
        images.batch_norm(&x.i(0), &x.i(0), Some(&x.i((.., 0))), None, 1e-5).check(),
    );
    m.add("rms_norm with another weight", x.rms_norm(1, Some(&x.i((.., 0))), 1e-5).check());
    m.add("glu of an odd axis", x.glu(1).check());
    m.add("cholesky of a rectangle", linalg::cholesky(&x).check());
    m.add("cholesky of what is not positive definite", linalg::cholesky(&-&square).check());
    m.add("solve with other rows", linalg::solve(&square, &x).check());
    m.add("solve of a singular matrix", linalg::solve(&Tensor::ones((3, 3)), &square).check());
    m.add("inv of a rectangle", linalg::inv(&x).check());
    m.add("fft of a real tensor", fft::fft(&x, 0, fft::Norm::Backward).check());
    m.add("rfft of nothing", fft::rfft(&Tensor::zeros(0), 0, fft::Norm::Backward).check());
    m.add("nll_loss of other classes", NllLoss::new().forward(&x, &Tensor::new([0, 1, 2])).check());
    m.add("l1_loss of shapes that would broadcast", L1Loss::new().forward(&x, &Tensor::zeros((2, 1))).check());
    m.add("an assignment to no variable", x.add_(1.0));
    m.add("bincount beyond its length", Tensor::new([0, 5]).bincount(3).check());
    insta::assert_snapshot!(m.0);
}

/// What a user can get wrong with tensors, each told at once and none a panic.
#[test]
fn messages_of_tensors() {
    let mut m = Messages::default();
    let x = Tensor::zeros((2, 3));
    let images = Tensor::zeros((1, 3, 8, 8));
    m.add("add shapes that do not broadcast", (&x + Tensor::zeros((4, 5))).check());
    m.add("matmul", x.matmul(&Tensor::zeros((4, 2))).check());
    m.add("matmul of a number", x.matmul(&Tensor::scalar(1.0)).check());
    m.add("reshape to another number of elements", x.reshape((4, 2)).check());
    m.add("reshape with two unknowns", x.reshape((-1, -1)).check());
    m.add("reshape that divides no further", x.reshape((5, -1)).check());
    m.add("an axis that is not there", x.transpose(0, 5).check());
    m.add("sum over an axis that is not there", x.sum(7).check());
    m.add("permute with an axis twice", x.permute([0, 0]).check());
    m.add("expand", x.expand((3, 3)).check());
    m.add("cat of other ranks", Tensor::cat(&[x.clone(), Tensor::zeros((2, 3, 1))], 0).check());
    m.add("cat of nothing", Tensor::cat(&[&x][..0], 0).check());
    m.add("split into nothing", x.split(0, 0));
    m.add("index out of range", x.i(2).check());
    m.add("index with too many axes", x.i((0, 0, 0)).check());
    m.add("two ellipses", x.i((Ellipsis, Ellipsis)).check());
    m.add("index tensor out of range", x.i(Tensor::new([5])).check());
    m.add("index tensor of floats", x.i(Tensor::new([0.5])).check());
    m.add("cross_entropy with a label out of range", x.cross_entropy(&Tensor::new([0, 3])).check());
    m.add("cross_entropy with float labels", x.cross_entropy(&Tensor::new([0.0, 1.0])).check());
    m.add("cross_entropy with too few labels", x.cross_entropy(&Tensor::new([0])).check());
    m.add("cross_entropy of integers", Tensor::zeros((2, 3)).to_dtype(DType::I64).cross_entropy(&Tensor::new([0, 1])).check());
    m.add("mse_loss of shapes that would broadcast", x.mse_loss(&Tensor::zeros((2, 1))).check());
    m.add("conv2d of a matrix", x.conv2d(&x, None, default()).check());
    m.add("conv2d with other channels", images.conv2d(&Tensor::zeros((4, 2, 3, 3)), None, default()).check());
    m.add("conv2d with a bias of another length", images.conv2d(&Tensor::zeros((4, 3, 3, 3)), Some(&x.i(0)), default()).check());
    m.add("conv2d with a kernel larger than the image", images.conv2d(&Tensor::zeros((4, 3, 9, 9)), None, default()).check());
    m.add("max_pool2d with a window larger than the image", images.max_pool2d(9).check());
    m.add("max_pool2d of a vector", Tensor::zeros(4).max_pool2d(2).check());
    m.add("avg_pool2d with a dilation", images.avg_pool2d(Pool::new(2).dilation(2)).check());
    m.add("where_ with a condition of floats", x.where_(&x, 0.0).check());
    m.add("mean of integers", Tensor::new([1, 2]).mean(0).check());
    m.add("gradients of integers", Tensor::new([1]).requires_grad_().check());
    m.add("too few elements", Tensor::from_vec(vec![1.0f32; 5], (2, 3)).check());
    m.add("elements for a shape that no number counts", Tensor::from_vec(vec![1.0f32], (1usize << 40, 1usize << 40)).check());
    m.add("ragged rows", Tensor::new(vec![vec![1.0], vec![1.0, 2.0]]).check());
    m.add("a negative extent", Tensor::zeros((-2, 3)).check());
    m.add("more elements than memory has", Tensor::zeros((1usize << 40, 1usize << 40)).check());
    m.add("a step of zero", Tensor::arange_step(0, 5, 0).check());
    m.add("an empty range of random integers", Tensor::randint(5, 5, 3).check());
    m.add("dropout with a probability above 1", x.dropout(1.5).check());
    m.add("layer_norm with another weight", x.layer_norm(&Tensor::ones(4), &Tensor::zeros(4), 1e-5).check());
    m.add("elements of another type", x.to_vec::<i64>());
    m.add("item of many elements", x.item());
    m.add("assign to a value", x.assign(&x));
    m.add("backward of a matrix", x.requires_grad_().backward());
    m.add("backward of what needs no gradients", x.sum_all().backward());
    m.add("the name of a device", "gpu".parse::<Device>());
    insta::assert_snapshot!(m.0);
}

/// Arguments of layers and losses.
#[test]
fn messages_of_layers() {
    let _one = seeded(1);
    let mut m = Messages::default();
    let (x, images) = (Tensor::zeros((2, 3)), Tensor::zeros((1, 3, 8, 8)));
    let conv = |options: Conv| Conv2d::with(3, 6, 3, options).forward(&images).check();
    m.add("Linear with other features", Linear::new(4, 2).forward(&x).check());
    let named = Sequential::new().push(Relu).push(Linear::new(4, 2));
    named.name_variables();
    m.add("Linear with other features in a Sequential", named.forward(&x).check());
    let nested = Sequential::new().push(named).push(Dropout::new(2.0));
    m.add("Dropout with a wrong probability in a Sequential", nested.forward(&Tensor::zeros((2, 4))).check());
    m.add("Linear larger than memory", Linear::new(1 << 40, 1 << 40).weight.check());
    m.add("Conv2d larger than memory", Conv2d::new(1 << 40, 1 << 40, 1 << 20).weight.check());
    m.add("Conv2d in 0 groups", conv(Conv { groups: 0, ..default() }));
    m.add("Conv2d in groups that do not divide", conv(Conv { groups: 2, ..default() }));
    m.add("Conv2d with stride 0", conv(Conv { stride: (1, 0).into(), ..default() }));
    m.add("Conv2d with dilation 0", conv(Conv { dilation: 0.into(), ..default() }));
    m.add("Conv2d with stride and padding `same`", conv(Conv { stride: 2.into(), padding: Padding::Same, ..default() }));
    m.add("Conv2d with a kernel of nothing", Conv2d::new(3, 6, 0).forward(&images).check());
    m.add("Conv2d with a kernel larger than the image", Conv2d::new(3, 6, (3, 9)).forward(&images).check());
    m.add("Conv2d with a dilation larger than the image", conv(Conv { dilation: 4.into(), ..default() }));
    m.add("Conv2d of other channels", Conv2d::new(1, 6, 3).forward(&images).check());
    m.add("Conv2d of a matrix", Conv2d::new(3, 6, 3).forward(&images.i((0, 0))).check());
    m.add("an optimizer of a layer that is invalid", Sgd::new(Conv2d::new(3, 6, 0).parameters(), 0.1));
    m.add("the state of a layer that is invalid", Conv2d::new(3, 6, 0).state_dict().save("unwritten"));
    m.add("MaxPool2d without a window", MaxPool2d::new(0).forward(&images).check());
    m.add("MaxPool2d with stride 0", MaxPool2d::new(Pool::new(2).stride(0)).forward(&images).check());
    m.add("MaxPool2d with dilation 0", MaxPool2d::new(Pool::new(2).dilation(0)).forward(&images).check());
    m.add("MaxPool2d with much padding", MaxPool2d::new(Pool::new(2).padding(2)).forward(&images).check());
    m.add("LayerNorm of another shape", LayerNorm::new(4).forward(&x).check());
    m.add("LayerNorm over nothing", LayerNorm::new(()).forward(&x).check());
    m.add("LayerNorm with a negative extent", LayerNorm::new(-3).forward(&x).check());
    m.add("Dropout with a negative probability", Dropout::new(-0.1).forward(&x).check());
    let evaluated = Dropout::new(f64::NAN);
    evaluated.eval();
    m.add("Dropout with NaN, evaluated", evaluated.forward(&x).check());
    let labels = Tensor::new([0, 2]);
    let loss = |loss: CrossEntropyLoss, labels: &Tensor| loss.forward(&x, labels).check();
    m.add("label_smoothing above 1", loss(CrossEntropyLoss { label_smoothing: 1.5, ..default() }, &labels));
    m.add("too few weights", loss(CrossEntropyLoss { weight: Some(Tensor::ones(2)), ..default() }, &labels));
    m.add(
        "a label that is not the ignored one",
        loss(CrossEntropyLoss { ignore_index: Some(-100), ..default() }, &Tensor::new([0, -1])),
    );
    m.add("probabilities of another shape", loss(default(), &Tensor::ones((2, 4))));
    insta::assert_snapshot!(m.0);
}

#[test]
fn messages_of_optimizers() {
    let mut m = Messages::default();
    let made = || vec![Tensor::parameter(Tensor::new([1.0]))];
    m.add("no parameters", Sgd::new(vec![], 0.1));
    m.add("a value as parameter", Sgd::new(vec![Tensor::new([1.0])], 0.1));
    m.add("integers as parameter", Adam::new(vec![Tensor::parameter(Tensor::new([1]))], 0.1));
    m.add("a negative learning rate", Sgd::new(made(), -0.1));
    m.add("a learning rate of NaN", Adam::new(made(), f64::NAN));
    m.add("a negative momentum", Sgd::with(made(), 0.1, SgdOptions { momentum: -0.9, ..default() }));
    m.add("a negative weight decay", AdamW::with(made(), 0.1, AdamWOptions { weight_decay: -1.0, ..default() }));
    m.add("nesterov without momentum", Sgd::with(made(), 0.1, SgdOptions { nesterov: true, ..default() }));
    m.add("a beta of 1", Adam::with(made(), 0.1, AdamOptions { betas: (0.9, 1.0), ..default() }));
    m.add("a negative eps", Adam::with(made(), 0.1, AdamOptions { eps: -1e-8, ..default() }));
    let sgd = Sgd::new(made(), 0.1).unwrap();
    m.add("set a negative learning rate", sgd.set_lr(-1.0));
    let adam = AdamW::new(made(), 0.1).unwrap();
    m.add("set a learning rate of NaN", adam.set_lr(f64::NAN));
    let w = Tensor::parameter(Tensor::new([1.0]));
    m.add("a gradient of another type", w.set_grad(Some(Tensor::new([1.0, 2.0]))));
    m.add(
        "an optimizer made in a compiled function",
        compile(|x: Tensor| Sgd::new(vec![x], 0.1).map(|_| ())).run(Tensor::ones(1)),
    );
    insta::assert_snapshot!(m.0);
}

/// The bytes of an IDX file.
fn idx(header: &[u32], data: &[u8]) -> Vec<u8> {
    header.iter().flat_map(|n| n.to_be_bytes()).chain(data.iter().copied()).collect()
}

struct Ragged;

impl Dataset for Ragged {
    type Sample = (Tensor, i64);

    fn len(&self) -> usize {
        3
    }

    fn get(&self, index: usize) -> Result<(Tensor, i64)> {
        match index {
            2 => Err(Error::new("sample 2 cannot be read")),
            _ => Ok((Tensor::zeros(2 + index), 0)),
        }
    }
}

#[test]
fn messages_of_data() {
    let mut m = Messages::default();
    let files = Scratch::new("data");
    let (images, labels) = (2051, 2049);
    m.add("no directory", Mnist::train(files.file("nowhere")));
    m.add("a missing file", read_images(files.file("nothing")));
    m.add("an empty file", read_images(files.write("empty", &[])));
    m.add("a header cut off", read_images(files.write("header", &idx(&[images, 2], &[0, 0]))));
    m.add("images cut off", read_images(files.write("images", &idx(&[images, 2, 3, 3], &[0; 17]))));
    m.add("labels cut off", read_labels(files.write("labels", &idx(&[labels, 5], &[0; 3]))));
    m.add("too much data", read_labels(files.write("long", &idx(&[labels, 5], &[0; 6]))));
    m.add("labels as images", read_images(files.write("swapped", &idx(&[labels, 1], &[0]))));
    m.add("no IDX file", read_labels(files.write("text", b"P5 28 28 255\n")));
    m.add("extents that no memory holds", read_images(files.write("huge", &idx(&[images, u32::MAX, u32::MAX, u32::MAX], &[]))));
    m.add("a packed file that is cut off", read_labels(files.write("cut.gz", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1])));
    m.add("a packed file that is not packed", read_labels(files.write("plain.gz", &idx(&[labels, 1], &[0]))));
    files.write("train-images-idx3-ubyte", &idx(&[images, 2, 1, 1], &[0; 2]));
    files.write("train-labels-idx1-ubyte", &idx(&[labels, 3], &[0; 3]));
    m.add("other numbers of images and labels", Mnist::train(&files.0));
    files.write("t10k-images-idx3-ubyte", &idx(&[images, 2, 1, 1], &[0; 2]));
    files.write("t10k-labels-idx1-ubyte", &idx(&[labels, 2], &[0; 2]));
    m.add("a sample that is not there", Mnist::test(&files.0).unwrap().get(2));
    m.add("a batch size of 0", DataLoader::new(Ragged, 0).iter().collect::<Result<Vec<_>>>());
    m.add("samples of different shapes", DataLoader::new(Ragged, 2).iter().next().unwrap());
    m.add("a sample that cannot be read", DataLoader::new(Ragged, 1).iter().collect::<Result<Vec<_>>>());
    insta::assert_snapshot!(files.hide(&m.0));
}

#[test]
fn messages_of_states() {
    let _one = seeded(2);
    let mut m = Messages::default();
    let files = Scratch::new("states");
    let net = Linear::new(3, 2);
    let good = files.file("good.safetensors");
    net.state_dict().save(&good).unwrap();
    let bytes = std::fs::read(&good).unwrap();
    m.add("a missing file", StateDict::load(files.file("nothing.safetensors")));
    m.add("an empty file", StateDict::load(files.write("empty.safetensors", &[])));
    m.add("a header cut off", StateDict::load(files.write("header.safetensors", &bytes[..20])));
    m.add("values cut off", StateDict::load(files.write("short.safetensors", &bytes[..bytes.len() - 1])));
    m.add(
        "a header that is no text",
        StateDict::load(files.write("noise.safetensors", &[8, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8])),
    );
    m.add("a header of another length", StateDict::load(files.write("length.safetensors", &[0xff; 64])));
    let header = br#"{"w":{"dtype":"U64","shape":[1],"data_offsets":[0,8]}}"#;
    let unsupported = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
    m.add("an element type that is not supported", StateDict::load(files.write("u64.safetensors", &unsupported)));
    m.add("a directory that is not there", net.state_dict().save(files.file("no/such/file.safetensors")));
    m.add("names that differ", net.load_state_dict(&Conv2d::new(1, 2, 3).without_bias().state_dict()));
    m.add("shapes that differ", net.load_state_dict(&Linear::new(4, 3).state_dict()));
    let before = net.weight.to_vec::<f32>().unwrap();
    let mut state = net.state_dict();
    state.insert("extra", Tensor::ones(1));
    state.insert("weight", Tensor::zeros((2, 3)));
    m.add("an unexpected name", net.load_state_dict(&state));
    assert_eq!(net.weight.to_vec::<f32>().unwrap(), before, "nothing was loaded");
    insta::assert_snapshot!(files.hide(&m.0));
}

/// Traced values where they have no meaning, and what else goes wrong in compiled functions.
#[test]
fn messages_of_compiled_functions() {
    let mut m = Messages::default();
    let x = || Tensor::ones(2);
    m.add("a traced value asked for its element", compile(|x: Tensor| x.sum_all().item().map(|_| x)).run(x()));
    m.add("a traced value asked for its elements", compile(|x: Tensor| (x * 2.0).to_vec::<f32>().map(|_| ())).run(x()));
    m.add("a variable assigned in a trace asked for its value", {
        let w = Tensor::variable(Tensor::scalar(1.0));
        compile(|x: Tensor| w.assign(&x.sum_all()).and_then(|()| w.item()).map(|_| ())).run(x())
    });
    let kept = std::sync::Mutex::new(None);
    compile(|x: Tensor| {
        *kept.lock().unwrap() = Some(&x + 1.0);
        x
    })
    .run(x())
    .unwrap();
    let stale = kept.lock().unwrap().take().unwrap();
    m.add("a traced value used after its trace", (&stale + 1.0).check());
    m.add("a traced value asked for its elements after its trace", stale.to_vec::<f32>());
    m.add("a traced value used in another trace", compile(|x: Tensor| x + &stale).run(x()));
    m.add("a traced value used on another thread", {
        let f = compile(|x: Tensor| std::thread::scope(|s| s.spawn(|| (&x + 1.0).check()).join().unwrap()));
        f.run(x())
    });
    m.add("a variable made in a compiled function", compile(|x: Tensor| Tensor::variable(x)).run(x()));
    m.add("wrong shapes in a compiled function", compile(|x: Tensor| x.matmul(&Tensor::ones((3, 1)))).run(x()));
    m.add("an invalid argument", compile(|x: Tensor| x).run(Tensor::ones(2) + Tensor::ones(3)));
    m.add(
        "a label out of range in a compiled function",
        compile(|x: Tensor, y: Tensor| x.cross_entropy(&y)).run((Tensor::zeros((2, 3)), Tensor::new([0, 7]))),
    );
    m.add("backward of a matrix in a compiled function", compile(|x: Tensor| (x.requires_grad_() * 2.0).backward()).run(x()));
    m.add("an index out of range in a compiled function", compile(|x: Tensor, i: Tensor| x.i(&i)).run((x(), Tensor::new([2]))));
    m.add("an extent outside of its range", compile(|x: Tensor| x).input(0, "N").range("N", 3..=4).run(x()));
    m.add("a symbolic extent that would have to be known", compile(|x: Tensor| x.reshape((2, 1))).input(0, "N").run(x()));
    m.add("a symbolic extent that does not broadcast", compile(|x: Tensor| x + Tensor::ones(2)).input(0, "N").run(x()));
    m.add("lower under a trace", {
        let inner = compile(|x: Tensor| x);
        compile(|x: Tensor| inner.lower(x).map(|_| ())).run(x())
    });
    m.add(
        "a loop whose carry changes its shape",
        scan(x(), Tensor::ones(3), |c: Tensor, s: Tensor| (Tensor::stack(&[&c, &c], 0), s)),
    );
    m.add("eager and compiled that differ", {
        let calls = std::sync::atomic::AtomicUsize::new(0);
        let f = compile(|x: Tensor| x * calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) as f64);
        compare_with_eager(&f, x(), 1e-6)
    });
    m.add("a gradient that differs", gradcheck(|t| &t[0] * t[0].detach(), &[Tensor::from_vec(vec![0.5f64], 1)]));
    m.add("gradcheck of f32", gradcheck(|t| t[0].exp(), &[x()]));
    insta::assert_snapshot!(m.0);
}

/// NaN and infinity are numbers: no operation, loss, optimizer or compiled step calls them an error.
#[test]
fn nan_is_no_error() {
    let x = Tensor::new([[f64::NAN, 1.0], [f64::INFINITY, -1.0]]);
    let labels = Tensor::new([0, 1]);
    assert!(x.cross_entropy(&labels).item().unwrap().is_nan());
    assert_eq!(x.argmax(-1).to_vec::<i64>().unwrap(), [0, 0]);
    assert_eq!(x.to_dtype(DType::Bool).to_vec::<bool>().unwrap(), [true; 4]);
    for compiled in [false, true] {
        let w = Tensor::parameter(Tensor::new([[1.0, 0.0], [0.0, 1.0]]));
        let adam = Adam::new(vec![w.clone()], 0.1).unwrap();
        let step = |x: Tensor, y: Tensor| {
            let loss = x.matmul(&w).cross_entropy(&y);
            loss.backward()?;
            adam.step()?;
            Ok::<_, Error>(loss)
        };
        let program = compile(step);
        let arguments = (x.clone(), labels.clone());
        let loss = if compiled { program.run(arguments) } else { step(arguments.0, arguments.1) };
        assert!(loss.unwrap().item().unwrap().is_nan());
        assert!(w.to_vec::<f32>().unwrap().iter().all(|w| w.is_nan()));
    }
    // The largest of a window with NaN is NaN, like PyTorch's.
    assert_values(&Tensor::new([[[1.0, f64::NAN], [3.0, 2.0]]]).max_pool2d(2), &[f64::NAN], 0.0);
}

#[test]
fn a_traced_tensor_ends_with_its_trace() {
    let kept = std::sync::Mutex::new(None);
    let f = compile(|x: Tensor| {
        *kept.lock().unwrap() = Some(x.clone());
        x * 2.0
    });
    f.run(Tensor::ones(2)).unwrap();
    let stale = kept.lock().unwrap().take().unwrap();
    let told = message((&stale + 1.0).check());
    assert!(told.contains("after its trace has ended"), "{told}");
    assert!(message(stale.to_vec::<f32>()).contains("after its trace has ended"));
    assert_eq!(stale.to_string(), "traced f32[2]");
    // Also inside another trace.
    let told = message(compile(|x: Tensor| x + &stale).run(Tensor::ones(2)));
    assert!(told.contains("after its trace has ended"), "{told}");
}

/// An out-of-range label in a compiled function: the check of the graph reports the value and the line.
#[test]
fn a_check_fails_in_a_compiled_function() {
    let line = line!() + 1;
    let f = compile(|x: Tensor, labels: Tensor| x.cross_entropy(&labels));
    let x = Tensor::zeros((2, 3));
    f.run((x.clone(), Tensor::new([0, 2]))).unwrap();
    let told = message(f.run((x, Tensor::new([0, 7]))));
    assert!(told.contains("a label is out of range") && told.contains('7'), "{told}");
    assert!(told.contains(&format!("{}:{line}", file!())), "{told}");
}
