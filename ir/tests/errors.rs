//! The messages of the operators' type rules, one snapshot per family.

use igneous_ir::op::{Record, Samples};
use igneous_ir::ops;
use std::fmt::Write;

fn check<'a>(family: &str, records: impl IntoIterator<Item = &'a &'a Record>) {
    let mut text = String::new();
    for record in records {
        let mut samples = Samples::default();
        (record.error_samples)(&mut samples);
        for sample in samples.0 {
            let types: Vec<_> = sample.inputs.into_iter().map(|(ty, _)| ty).collect();
            let error = sample.op.infer(&types).expect_err(&format!("{} accepts {types:?}", sample.op));
            writeln!(text, "{}\n{error}\n", sample.op).expect("a string takes all text");
        }
    }
    assert!(!text.is_empty(), "no operator of this family has error samples");
    insta::assert_snapshot!(family, text);
}

#[test]
fn structural() {
    check("structural", ops::structural::STRUCTURAL);
}

#[test]
fn control_flow() {
    check("control", ops::control::CONTROL);
}

#[test]
fn pointwise() {
    check("pointwise", ops::pointwise::POINTWISE.iter().copied().flatten());
}

#[test]
fn views() {
    check("shape", ops::shape::SHAPE);
}

#[test]
fn indexing() {
    check("index", ops::index::INDEX);
}

#[test]
fn random() {
    check("random", ops::random::RANDOM);
}

#[test]
fn reductions() {
    check("reduction", ops::reduction::REDUCTION);
}

#[test]
fn contractions() {
    check("contraction", ops::contraction::CONTRACTION);
}

#[test]
fn composites() {
    check("composite", ops::composite::COMPOSITE);
}

#[test]
fn linear_algebra() {
    check("linalg", ops::linalg::LINALG);
}

#[test]
fn functions() {
    check("custom", ops::custom::CUSTOM);
}

#[test]
fn fourier_transforms() {
    check("fourier", ops::fourier::FOURIER);
}
