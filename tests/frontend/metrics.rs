//! Measures of quality against their definitions, worked out by hand.

use crate::message;
use igneous::metrics::*;
use igneous::testing::compare_with_eager;
use igneous::{Tensor, compile};

fn scores() -> (Tensor, Tensor) {
    let scores = Tensor::new([[0.5, 0.25, 0.25], [0.0, 0.25, 0.75], [0.25, 0.5, 0.0], [0.5, 0.25, 0.125], [0.0, 0.5, 0.25]]);
    (scores, Tensor::new([0, 1, 2, 1, 1]))
}

#[test]
fn accuracies() {
    let (x, classes) = scores();
    assert!((accuracy(&x, &classes).item().unwrap() - 0.4).abs() < 1e-7);
    assert!((top_k_accuracy(&x, &classes, 2).item().unwrap() - 0.8).abs() < 1e-7);
    assert_eq!(top_k_accuracy(&x, &classes, 3).item().unwrap(), 1.0);
    let both = compile(|x: Tensor, classes: Tensor| (accuracy(&x, &classes), top_k_accuracy(&x, &classes, 2)));
    compare_with_eager(&both, (x.clone(), classes.clone()), 1e-6).unwrap();
    let images = accuracy(&x.t().unsqueeze(0), &classes.unsqueeze(0));
    assert!((images.item().unwrap() - 0.4).abs() < 1e-7, "axis 1 has the classes");
    for wrong in [accuracy(&x, &x), accuracy(&x, &Tensor::new([1])), top_k_accuracy(&x, &classes, 4)] {
        assert!(wrong.error().is_some());
    }
}

#[test]
fn confusion() {
    let mut counts = ConfusionMatrix::new(3);
    counts.update(&Tensor::new([0, 0, 1, 2]), &Tensor::new([0, 1, 1, 2])).unwrap();
    counts.update(&Tensor::new([[1, 0]]), &Tensor::new([[1, 0]])).unwrap();
    // Rows: class 0 has 2 samples, 1 has 3, 2 has 1.
    assert_eq!(counts.matrix().to_vec::<i64>().unwrap(), [2, 0, 0, 1, 2, 0, 0, 0, 1]);
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
    close(counts.accuracy(), 5.0 / 6.0);
    close(counts.precision(0), 2.0 / 3.0);
    close(counts.recall(1), 2.0 / 3.0);
    close(counts.f1(0), 0.8);
    close(counts.mean_precision(Average::Macro), (2.0 / 3.0 + 1.0 + 1.0) / 3.0);
    close(counts.mean_recall(Average::Macro), (1.0 + 2.0 / 3.0 + 1.0) / 3.0);
    close(counts.mean_f1(Average::Macro), (0.8 + 0.8 + 1.0) / 3.0);
    close(counts.mean_f1(Average::Weighted), (0.8 * 2.0 + 0.8 * 3.0 + 1.0) / 6.0);
    for micro in [counts.mean_precision(Average::Micro), counts.mean_recall(Average::Micro), counts.mean_f1(Average::Micro)] {
        close(micro, 5.0 / 6.0);
    }
    let before = counts.matrix().to_vec::<i64>().unwrap();
    assert!(message(counts.update(&Tensor::new([0, 3]), &Tensor::new([0, 0]))).contains("no class 3"));
    assert!(message(counts.update(&Tensor::new([0, 1]), &Tensor::new([0]))).contains("one true class"));
    assert!(counts.update(&Tensor::new([0.5]), &Tensor::new([0])).is_err());
    assert_eq!(counts.matrix().to_vec::<i64>().unwrap(), before);
    assert_eq!((ConfusionMatrix::new(2).accuracy(), ConfusionMatrix::new(2).f1(7)), (0.0, 0.0));
}

#[test]
fn ranking() {
    // Of the four pairs of a true and a false sample three are in order.
    let auc = roc_auc(&Tensor::new([0.1, 0.4, 0.35, 0.8]), &Tensor::new([0, 0, 1, 1])).unwrap();
    assert_eq!(auc, 0.75);
    assert_eq!(roc_auc(&Tensor::new([1.0, 1.0, 1.0]), &Tensor::new([true, false, true])).unwrap(), 0.5);
    assert_eq!(roc_auc(&Tensor::new([3.0, 1.0]), &Tensor::new([0, 1])).unwrap(), 0.0);
    // A tie counts half: (1 + 0.5) / 2.
    assert_eq!(roc_auc(&Tensor::new([0.0, 0.5, 0.5]), &Tensor::new([0, 0, 1])).unwrap(), 0.75);
    assert!(message(roc_auc(&Tensor::new([0.0, 1.0]), &Tensor::new([1, 1]))).contains("true and false"));
    assert!(message(roc_auc(&Tensor::new([f64::NAN, 1.0]), &Tensor::new([0, 1]))).contains("NaN"));
    assert!(message(roc_auc(&Tensor::new([1.0]), &Tensor::new([0, 1]))).contains("one truth"));
}

#[test]
fn errors_of_numbers() {
    let (prediction, target) = (Tensor::new([2.5, 0.0, 2.0, 8.0]), Tensor::new([3.0, -0.5, 2.0, 7.0]));
    let of = |f: fn(&Tensor, &Tensor) -> Tensor| f(&prediction, &target).item().unwrap();
    assert!((of(mean_squared_error) - 0.375).abs() < 1e-6);
    assert!((of(mean_absolute_error) - 0.5).abs() < 1e-6);
    // Σ(y − 2.875)² = 29.1875.
    assert!((of(r2_score) - (1.0 - 1.5 / 29.1875)).abs() < 1e-6);
    assert!((perplexity(&Tensor::zeros((3, 7)), &Tensor::new([0, 3, 6])).item().unwrap() - 7.0).abs() < 1e-4);
}

#[test]
fn translations() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let references = || vec![vec![words("the cat is on the mat"), words("there is a cat on the mat")]];
    // The example of the paper: "the" occurs at most twice in a reference, so 2 of 7.
    let clipped = bleu(&[words("the the the the the the the")], &references(), 1).unwrap();
    assert!((clipped - 2.0 / 7.0).abs() < 1e-12);
    // 5 of 5 words, 2 of 4 pairs, and a length of 5 where 6 is nearest.
    let short = bleu(&[words("the cat on a mat")], &references(), 2).unwrap();
    assert!((short - (0.5f64).sqrt() * (1.0f64 - 6.0 / 5.0).exp()).abs() < 1e-12, "{short}");
    assert_eq!(bleu(&[words("the cat")], &references(), 4).unwrap(), 0.0);
    assert!(bleu(&[words("a")], &[], 4).is_err() && bleu(&[words("a")], &[vec![]], 4).is_err());
    assert!(bleu(&[words("a")], &references(), 0).is_err());
}
