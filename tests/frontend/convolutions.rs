//! Convolutions from transformed tiles: where they are used, and that they are as exact as those in eager mode, which sums
//! products of elements.

use crate::seeded;
use igneous::nn::{Conv, Padding};
use igneous::{DType, Precision, Result, Tensor, compile, default};

fn convolve(x: &Tensor, w: &Tensor, padding: usize) -> Tensor {
    x.conv2d(w, None, Conv { padding: Padding::from(padding), ..default() })
}

/// The root of the mean of the squares.
fn rms(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len() as f64;
    (numbers.map(|x| x * x).sum::<f64>() / count).sqrt()
}

/// The rule for results that round differently: compared with f64, they may be twice as far off as those of eager mode.
#[track_caller]
fn assert_as_exact(compiled: &Tensor, eager: &Tensor, exact: &Tensor) {
    let [compiled, eager, exact] = [compiled, eager, exact].map(|t| t.to_f64_vec().unwrap());
    let error = |values: &[f64]| rms(values.iter().zip(&exact).map(|(a, b)| a - b).collect::<Vec<_>>().into_iter());
    let (found, allowed) = (error(&compiled), 2.0 * error(&eager) + 1e-7 * rms(exact.iter().copied()));
    assert!(compiled != eager, "both were computed in the same way");
    assert!(found <= allowed, "an error of {found:e}, {} of what is allowed", found / allowed);
}

const SHAPES: [([usize; 4], usize, usize); 6] = [
    ([1, 64, 56, 56], 64, 1),
    ([3, 17, 21, 30], 35, 0),
    ([2, 16, 33, 18], 16, 2),
    ([1, 40, 19, 25], 23, 1),
    ([2, 256, 14, 14], 48, 1),
    ([1, 33, 80, 12], 130, 1),
];

#[test]
fn transformed_tiles_are_as_exact_as_sums_of_products() -> Result<()> {
    let _guard = seeded(5);
    for (shape, outputs, padding) in SHAPES {
        let (x, w) = (Tensor::randn(shape.to_vec()), Tensor::randn(vec![outputs, shape[1], 3, 3]));
        let bias = Tensor::randn((outputs, 1, 1));
        let wide = |t: &Tensor| t.to_dtype(DType::F64);
        let exact = (convolve(&wide(&x), &wide(&w), padding) + wide(&bias)).relu();
        let eager = (convolve(&x, &w, padding) + &bias).relu();
        let program = compile(move |x: Tensor, w: Tensor, bias: Tensor| (convolve(&x, &w, padding) + bias).relu());
        let text = program.lower((x.clone(), w.clone(), bias.clone()))?.kernels_text();
        assert!(text.contains("winograd(2)"), "{shape:?}: {text}");
        assert_as_exact(&program.run((x, w, bias))?, &eager, &exact);
    }
    Ok(())
}

/// The gradient of the image is such a convolution, too; that of the weight is not.
#[test]
fn gradients_of_transformed_tiles() -> Result<()> {
    let _guard = seeded(6);
    let gradients = |x: &Tensor, w: &Tensor, dy: &Tensor, padding: usize| -> Result<[Tensor; 2]> {
        let [x, w] = [x, w].map(|t| t.detach().requires_grad_());
        convolve(&x, &w, padding).backward_with(dy)?;
        Ok([&x, &w].map(|t| t.take_grad().expect("both take part")))
    };
    for (shape, outputs, padding) in &SHAPES[1..4] {
        let padding = *padding;
        let (x, w) = (Tensor::randn(shape.to_vec()), Tensor::randn(vec![*outputs, shape[1], 3, 3]));
        let dy = Tensor::randn(convolve(&x, &w, padding).shape());
        let [exact, eager] = [DType::F64, DType::F32].map(|dtype| {
            let [x, w, dy] = [&x, &w, &dy].map(|t| t.to_dtype(dtype));
            gradients(&x, &w, &dy, padding)
        });
        let (exact, eager) = (exact?, eager?);
        let program = compile(move |x: Tensor, w: Tensor, dy: Tensor| gradients(&x, &w, &dy, padding).map(|[dx, _]| dx));
        let text = program.lower((x.clone(), w.clone(), dy.clone()))?.kernels_text();
        assert!(text.contains("winograd(2)"), "{shape:?}: {text}");
        assert_as_exact(&program.run((x.clone(), w.clone(), dy.clone()))?, &eager[0], &exact[0]);
        let both = compile(move |x: Tensor, w: Tensor, dy: Tensor| gradients(&x, &w, &dy, padding).map(|[_, dw]| dw));
        let text = both.lower((x, w, dy))?.kernels_text();
        assert!(!text.contains("winograd"), "{text}");
    }
    Ok(())
}

#[test]
fn strict_programs_sum_products_as_eager_mode_does() -> Result<()> {
    let _guard = seeded(7);
    let (x, w) = (Tensor::randn((2, 32, 20, 20)), Tensor::randn((32, 32, 3, 3)));
    let program = compile(|x: Tensor, w: Tensor| convolve(&x, &w, 1)).precision(Precision::Strict);
    let text = program.lower((x.clone(), w.clone()))?.kernels_text();
    assert!(!text.contains("winograd"), "{text}");
    assert_eq!(program.run((x.clone(), w.clone()))?.to_vec::<f32>()?, convolve(&x, &w, 1).to_vec::<f32>()?);
    Ok(())
}
