//! Every operator's record keeps its promises on its own samples.

use igneous_ir::conformance::{check, is_smooth};
use igneous_ir::op::{Record, Sample, Samples, Vjp};
use igneous_ir::ops;

fn samples(of: fn(&Record) -> fn(&mut Samples)) -> Vec<Sample> {
    let mut samples = Samples::default();
    for record in ops::records() {
        let before = samples.0.len();
        of(record)(&mut samples);
        for sample in &samples.0[before..] {
            assert_eq!(sample.op.name(), record.name, "a sample of another operator");
        }
    }
    samples.0
}

fn describe(sample: &Sample) -> String {
    let types: Vec<String> = sample.inputs.iter().map(|(ty, fill)| format!("{ty} {fill:?}")).collect();
    format!("{}({})", sample.op, types.join(", "))
}

#[test]
fn every_operator_conforms() {
    let mut failures = Vec::new();
    let samples = samples(|r| r.samples);
    for sample in &samples {
        for (aspect, error) in check(sample) {
            failures.push(format!("{aspect} of {}\n    {}", describe(sample), error.to_string().replace('\n', "\n    ")));
        }
    }
    assert!(failures.is_empty(), "{} failures in {} samples:\n{}", failures.len(), samples.len(), failures.join("\n"));
}

#[test]
fn every_operator_has_samples_and_names_are_unique() {
    let names: Vec<&str> = ops::records().map(|r| r.name).collect();
    for (k, name) in names.iter().enumerate() {
        assert!(!names[..k].contains(name), "two operators are called {name}");
    }
    let sampled = samples(|r| r.samples);
    for name in names.into_iter().filter(|n| *n != "input") {
        let own = || sampled.iter().filter(|s| s.op.name() == name);
        assert!(own().next().is_some(), "{name} has no samples");
        let differentiable = !matches!(ops::record(name).expect("a record").vjp, Vjp::Zero);
        // `grad` has a meaning only in a graph, and `host` has the derivative that its user gives.
        let apart = matches!(name, "grad" | "host");
        assert!(!differentiable || apart || own().any(is_smooth), "{name} has no sample to differentiate at");
    }
}
