//! The messages of the operators' type rules, one file per family. `UPDATE_SNAPSHOTS=1 cargo test` writes them anew.

use igneous_ir::op::{Record, Samples};
use igneous_ir::ops;
use std::fmt::Write;
use std::path::Path;

fn messages(records: &[&Record]) -> String {
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
    text
}

fn check(family: &str, records: &[&Record]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors").join(format!("{family}.txt"));
    let found = messages(records);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().expect("the file lies in a folder")).expect("the folder can be made");
        std::fs::write(&path, &found).expect("the snapshot can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{} is not what is found:\n{found}", path.display());
    assert!(!found.is_empty(), "no operator of this family has error samples");
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
