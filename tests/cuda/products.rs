//! Which products and convolutions are left to a library, how it is told of them, and what it gives; on the stand-in for one.

use crate::resident::{between, stand_in};
use igneous::{
    Choice, Choices, Conv, DType, Device, MatmulPrecision, Precision, Result, Tensor, compile, default, grad_with, manual_seed,
};
use std::fmt::Write;

/// A product as users write it, with its operands.
struct Written {
    name: &'static str,
    operands: Vec<Tensor>,
    f: fn(Vec<Tensor>) -> Tensor,
}

/// In half precision, with a bias, as `autocast` makes it.
fn half_linear(t: &[Tensor]) -> Tensor {
    let [x, w, b] = [0, 1, 2].map(|k| t[k].to_dtype(DType::BF16));
    x.matmul(&w.t()) + b
}

impl Written {
    /// With operands of another type.
    fn of(self, dtype: DType) -> Written {
        let operands = self.operands.iter().map(|x| x.to_dtype(dtype)).collect();
        Written { operands, ..self }
    }
}

fn written() -> Vec<Written> {
    manual_seed(3);
    let randn = |shape: &[usize]| Tensor::randn(shape.to_vec());
    let case = |name, shapes: &[&[usize]], f| Written { name, operands: shapes.iter().map(|s| randn(s)).collect(), f };
    vec![
        case("rows by columns", &[&[5, 7], &[7, 6]], |t| t[0].matmul(&t[1])),
        case("left transposed", &[&[7, 5], &[7, 6]], |t| t[0].t().matmul(&t[1])),
        case("right transposed", &[&[5, 7], &[6, 7]], |t| t[0].matmul(&t[1].t())),
        case("result transposed", &[&[5, 7], &[7, 6]], |t| t[0].matmul(&t[1]).t()),
        case("linear", &[&[5, 7], &[6, 7], &[6]], |t| t[0].matmul(&t[1].t()) + &t[2]),
        case("linear, relu", &[&[5, 7], &[6, 7], &[6]], |t| (t[0].matmul(&t[1].t()) + &t[2]).relu()),
        case("linear, gelu", &[&[5, 7], &[6, 7], &[6]], |t| (t[0].matmul(&t[1].t()) + &t[2]).gelu_tanh()),
        case("relu", &[&[5, 7], &[7, 6]], |t| t[0].matmul(&t[1]).relu()),
        case("gelu", &[&[5, 7], &[7, 6]], |t| t[0].matmul(&t[1]).gelu_tanh()),
        case("linear on tokens", &[&[2, 5, 7], &[6, 7], &[6]], |t| t[0].matmul(&t[1].t()) + &t[2]),
        case("batches", &[&[3, 5, 7], &[3, 7, 6]], |t| t[0].matmul(&t[1]).relu()),
        case("heads in between", &[&[5, 3, 7], &[6, 3, 7]], |t| {
            t[0].transpose(0, 1).matmul(&t[1].transpose(0, 1).transpose(1, 2))
        }),
        case("a batch for all", &[&[3, 5, 7], &[7, 6]], |t| t[0].transpose(1, 2).transpose(1, 2).matmul(&t[1])),
        case("a part of a row", &[&[5, 9], &[7, 6]], |t| t[0].i((.., 1..8)).matmul(&t[1])),
        case("one row", &[&[1, 7], &[7, 6]], |t| t[0].matmul(&t[1])),
        case("a bias for each row", &[&[5, 7], &[7, 6], &[5, 1]], |t| t[0].matmul(&t[1]) + &t[2]),
        case("added to", &[&[5, 7], &[7, 6], &[5, 6]], |t| t[0].matmul(&t[1]) + &t[2]),
        case("of a function", &[&[5, 7], &[7, 6]], |t| t[0].exp().matmul(&t[1])),
        case("double", &[&[5, 7], &[7, 6]], |t| t[0].matmul(&t[1])).of(DType::F64),
        case("half", &[&[5, 7], &[7, 6]], |t| t[0].matmul(&t[1])).of(DType::F16),
        case("half, linear, relu", &[&[5, 7], &[6, 7], &[6]], |t| half_linear(&t).relu()).of(DType::BF16),
        case("half, single precision", &[&[5, 7], &[7, 6]], |t| t[0].to_dtype(DType::F32).matmul(&t[1].to_dtype(DType::F32)))
            .of(DType::F16),
        case("bytes", &[&[5, 16], &[8, 16]], |t| t[0].int_mm(&t[1].t())).of(DType::I8),
        case("bytes, rows by columns", &[&[5, 16], &[16, 8]], |t| t[0].int_mm(&t[1])).of(DType::I8),
        case("bytes, scaled", &[&[5, 16], &[8, 16]], |t| t[0].int_mm(&t[1].t()).to_dtype(DType::F32) * 0.25 + 1.0).of(DType::I8),
        case("bytes beside halves", &[&[5, 16], &[8, 16]], |t| {
            let [x, w] = [t[0].to_dtype(DType::BF16), t[1].to_dtype(DType::I8)].map(|t| t.to_dtype(DType::F32));
            x.matmul(&w.t()) * 0.5
        }),
    ]
}

/// The launch lists of products at default precision.
#[test]
fn launch_lists_of_products() -> Result<()> {
    let mut text = String::new();
    for Written { name, operands, f } in written() {
        let lowered = compile(f).device(Device::cuda(0)).lower(operands)?;
        let _ = write!(text, "{name}:\n{}", lowered.launch_list());
    }
    insta::assert_snapshot!("products", text);
    Ok(())
}

#[test]
fn a_library_gives_what_kernels_do() -> Result<()> {
    let Some((device, emulator)) = stand_in(75) else { return Ok(()) };
    for Written { name, operands, f } in written() {
        let step = compile(f).device(device).choices(Choices::from(0));
        let asked = step.lower(operands.clone())?.launch_list().to_string().contains("or by a library");
        let before = emulator.counts();
        let found = step.run(operands.clone())?;
        let after = between(before, emulator.counts());
        assert_eq!((after.products, after.launches), if asked { (1, 0) } else { (0, 1) }, "{name}");
        let here = compile(f).run(operands)?;
        let half = matches!(here.dtype(), DType::F16 | DType::BF16);
        let [found, expected] = [found, here].map(|t| t.to_dtype(DType::F64).to_vec::<f64>());
        let (found, expected) = (found?, expected?);
        assert!(expected.iter().any(|e| *e != 0.0), "{name} says nothing");
        let tolerance = if half { 1e-2 } else { 1e-5 };
        for (f, e) in found.iter().zip(&expected) {
            assert!((f - e).abs() <= tolerance * (1.0 + e.abs()), "{name}: {f} is not {e}");
        }
    }
    Ok(())
}

#[test]
fn numbers_are_rounded_to_tf32_where_that_is_granted() -> Result<()> {
    let Some((device, _emulator)) = stand_in(76) else { return Ok(()) };
    manual_seed(4);
    let operands = || (Tensor::full((4, 4), 1.0 + f64::from(f32::EPSILON) * 1024.0), Tensor::ones((4, 4)));
    let product = |t: Tensor, u: Tensor| t.matmul(&u);
    let result = |precision: Precision, matmul: MatmulPrecision| {
        let step = compile(product).device(device).choices(Choices::from(0)).precision(precision).matmul_precision(matmul);
        let list = step.lower(operands())?.launch_list().to_string();
        Ok::<_, igneous::Error>((list, step.run(operands())?.to_vec::<f32>()?[0]))
    };
    let (full, rounded) = (4.0 + 4.0 * 1024.0 * f32::EPSILON, 4.0);
    for (precision, matmul, asked, expected) in [
        (Precision::Default, MatmulPrecision::Full, Some("f32 1×4×4×4"), full),
        (Precision::Default, MatmulPrecision::Tf32, Some("tf32 1×4×4×4"), rounded),
        (Precision::Fast, MatmulPrecision::Full, Some("tf32 1×4×4×4"), rounded),
        (Precision::Strict, MatmulPrecision::Tf32, None, full),
    ] {
        let (list, found) = result(precision, matmul)?;
        match asked {
            Some(asked) => assert!(list.contains(&format!("or by a library: {asked}")), "{list}"),
            None => assert!(!list.contains("by a library"), "{list}"),
        }
        assert_eq!(found, expected, "{precision} {matmul:?}");
    }
    Ok(())
}

#[test]
fn what_was_tried_decides() -> Result<()> {
    let Some((device, emulator)) = stand_in(77) else { return Ok(()) };
    manual_seed(5);
    let (x, w) = (Tensor::randn((40, 30)), Tensor::randn((30, 20)));
    let product = |x: Tensor, w: Tensor| x.matmul(&w).relu();
    let timings = compile(product).device(device).lower((x.clone(), w.clone()))?.tune()?;
    let names: Vec<&str> = timings.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["f32 1×40×20×30 nn relu"]);
    assert!(timings[0].kernel > 0.0 && timings[0].library.is_some_and(|us| us > 0.0));
    for (choice, expected) in [(Choice::Library, 1), (Choice::Kernel, 0)] {
        let mut choices = Choices::default();
        choices.set(names[0].to_owned(), choice);
        let read: Choices = choices.to_string().parse()?;
        let step = compile(product).device(device).choices(read);
        let before = emulator.counts();
        step.run((x.clone(), w.clone()))?;
        assert_eq!(between(before, emulator.counts()).products, expected, "{choice}");
    }
    let error = compile(product).lower((x, w))?.tune().expect_err("the cpu has no libraries to choose from").to_string();
    assert!(error.contains("has nothing to choose from"), "{error}");
    Ok(())
}

#[test]
fn a_recorded_run_has_its_products_in_it() -> Result<()> {
    let Some((device, emulator)) = stand_in(78) else { return Ok(()) };
    manual_seed(6);
    let w = Tensor::randn((6, 6)).to(device);
    let x = Tensor::randn((6, 6)).to(device);
    let step = compile(|x: Tensor, w: Tensor| x.matmul(&w).exp().sum_all()).device(device).choices(Choices::from(0));
    let first = step.run((x.clone(), w.clone()))?.item()?;
    for _ in 0..6 {
        assert_eq!(step.run((x.clone(), w.clone()))?.item()?, first);
    }
    let counts = emulator.counts();
    assert!(counts.replays > 0 && counts.products == 7, "{counts:?}");
    Ok(())
}

/// A name, the extents of images and weights, options, and how many of the convolution and its two derivatives a library does.
type Windows = (&'static str, [usize; 4], [usize; 4], Conv, usize);

fn convolutions() -> Vec<Windows> {
    vec![
        ("plain", [2, 3, 7, 6], [4, 3, 3, 2], default(), 3),
        ("padding", [2, 3, 5, 6], [4, 3, 3, 3], Conv { padding: 1.into(), ..default() }, 3),
        ("stride", [2, 3, 8, 7], [4, 3, 3, 3], Conv { stride: 2.into(), padding: 1.into(), ..default() }, 3),
        ("dilation", [2, 3, 9, 8], [4, 3, 3, 2], Conv { dilation: 2.into(), padding: 2.into(), ..default() }, 3),
        ("stride without windows", [2, 3, 8, 6], [4, 3, 1, 1], Conv { stride: 2.into(), ..default() }, 2),
        ("one place", [2, 3, 4, 4], [4, 3, 4, 4], default(), 0),
        ("groups", [2, 4, 5, 5], [4, 2, 3, 3], Conv { groups: 2, ..default() }, 0),
    ]
}

#[test]
fn convolutions_and_their_derivatives() -> Result<()> {
    let on_device = stand_in(79);
    manual_seed(7);
    let mut text = String::new();
    for dtype in [DType::F32, DType::BF16] {
        for (name, images, weights, options, least) in convolutions() {
            let [x, w] = [images, weights].map(|shape| Tensor::randn(shape).to_dtype(dtype));
            let dy = Tensor::randn(x.conv2d(&w, None, options).shape()).to_dtype(dtype);
            let all = move |x: Tensor, w: Tensor, dy: Tensor| {
                let (x, w) = (x.requires_grad_(), w.requires_grad_());
                let y = x.conv2d(&w, None, options);
                let cotangents = grad_with(&y, &dy, &[&x, &w])?;
                Ok((y, cotangents))
            };
            let step = compile(all).device(Device::cuda(79)).choices(Choices::from(0));
            let operands = || (x.clone(), w.clone(), dy.clone());
            let list = step.lower(operands())?.launch_list().to_string();
            let _ = write!(text, "{name}, {dtype}:\n{list}");
            let Some((_, emulator)) = &on_device else { continue };
            let before = emulator.counts();
            let (y, cotangents) = step.run(operands())?;
            let asked = between(before, emulator.counts());
            assert!(asked.convolutions + asked.products >= least, "{name}, {dtype}: {asked:?}\n{list}");
            let (here, theirs) = compile(all).run(operands())?;
            let tolerance = if dtype == DType::F32 { 1e-5 } else { 5e-2 };
            for (k, (a, b)) in [y].iter().chain(&cotangents).zip([here].iter().chain(&theirs)).enumerate() {
                for (a, b) in a.to_f64_vec()?.into_iter().zip(b.to_f64_vec()?) {
                    assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "{name}, {dtype}, result {k}: {a} is not {b}");
                }
            }
        }
    }
    insta::assert_snapshot!("convolutions", text);
    Ok(())
}
