//! Everything that can be seen of a compilation is the same bytes whenever and wherever it is compiled.

use crate::scratch::Scratch;
use igneous::nn::{Forward, Linear, ModuleExt, Relu, Sequential};
use igneous::optim::{Optimizer, Sgd};
use igneous::{DType, Lowered, Tensor, compile, spec};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The training step of a 784-512-10 network, compiled.
fn training_step() -> Lowered {
    let net = Sequential::new().push(Linear::new(784, 512)).push(Relu).push(Linear::new(512, 10));
    let sgd = Sgd::new(net.parameters(), 0.01).unwrap();
    let step = compile(|x: Tensor, y: Tensor| {
        let loss = net.forward(&x).cross_entropy(&y);
        loss.backward()?;
        sgd.step()?;
        Ok(loss)
    });
    step.name("step").lower((spec(DType::F32, (64, 784)), spec(DType::I64, 64))).unwrap()
}

/// All files below a directory by their paths.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap().map(|e| e.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
            } else {
                found.insert(entry.strip_prefix(dir).unwrap().to_owned(), std::fs::read(&entry).unwrap());
            }
        }
    }
    found
}

#[track_caller]
fn assert_equal(a: &BTreeMap<PathBuf, Vec<u8>>, b: &BTreeMap<PathBuf, Vec<u8>>) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for stage in
        ["traced.graph", "differentiated.graph", "rewrites", "fusion", "kernels", "code.clif", "code.cu", "memory", "cost"]
    {
        let written = a.iter().any(|(path, bytes)| path.to_string_lossy().contains(stage) && bytes.len() > 100);
        assert!(written, "no {stage} among {:?}", a.keys());
    }
    for (path, bytes) in a {
        assert!(*bytes == b[path], "{} differs", path.display());
    }
}

#[test]
fn compiled_twice_in_one_process() {
    let (one, two) = (Scratch::new("dump-one"), Scratch::new("dump-two"));
    training_step().dump(&one.0).unwrap();
    training_step().dump(&two.0).unwrap();
    assert_equal(&files(&one.0), &files(&two.0));
}

/// What the processes of the next test run: `IGNEOUS_DUMP` makes the compiler write its stages.
#[test]
fn a_step_to_dump() {
    training_step();
}

#[test]
fn compiled_in_two_processes() {
    let run = |name: &str| {
        let directory = Scratch::new(name);
        let this = std::env::current_exe().unwrap();
        let child = Command::new(this).args(["--exact", "dumps::a_step_to_dump"]).env("IGNEOUS_DUMP", &directory.0).output();
        let child = child.unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        files(&directory.0)
    };
    let (a, b) = (run("first"), run("second"));
    assert!(a.keys().all(|path| path.starts_with("00_step")), "{:?}", a.keys());
    assert_equal(&a, &b);
}
