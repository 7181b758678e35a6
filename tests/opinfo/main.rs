//! PyTorch's operator samples: every call of the archive in eager and in compiled mode, its results and its gradients
//! against PyTorch's.
//!
//! The archive is `../shared/data/torch_opinfo/opinfo.tar.gz` beside the repository, or what `IGNEOUS_OPINFO` names: a
//! `.tar.gz` or a folder of the same format. Entries whose operator or arguments are not supported are listed with the
//! reason; everything else must agree.

mod archive;
mod call;
mod operators;

use archive::{Entry, Sample};
use call::{Call, Problem};
use igneous::{DType, Error, Result, Tensor, compile, grad};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

#[test]
fn opinfo() {
    let (path, chosen) = match std::env::var_os("IGNEOUS_OPINFO") {
        Some(path) => (PathBuf::from(path), true),
        None => (PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/torch_opinfo/opinfo.tar.gz"), false),
    };
    if !path.exists() && !chosen {
        println!("opinfo: skipped, there is no archive at {}; IGNEOUS_OPINFO names another one", path.display());
        return;
    }
    let entries = archive::read(&path).unwrap_or_else(|e| panic!("{} cannot be read: {e}", path.display()));
    assert!(!entries.is_empty(), "{} has no entries: no pairs NAME.json and NAME.npz", path.display());
    let only = std::env::var("IGNEOUS_OPINFO_ONLY").ok();
    let (mut passed, mut listed, mut failed) = (0, Vec::new(), Vec::new());
    let (mut calls, mut gradients) = (0, 0);
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err((name, why)) => {
                listed.push(format!("{name}: it cannot be read: {why}"));
                continue;
            }
        };
        if only.as_ref().is_some_and(|only| !entry.name.contains(only.as_str())) {
            continue;
        }
        let name = entry.name.clone();
        match check(entry) {
            Ok((c, g)) => {
                passed += 1;
                calls += c;
                gradients += g;
            }
            Err(Verdict::Listed(why)) => listed.push(format!("{name}: {why}")),
            Err(Verdict::Failed(why)) => failed.push(format!("{name}: {why}")),
        }
    }
    listed.iter().for_each(|line| println!("listed  {line}"));
    failed.iter().for_each(|line| println!("FAILED  {line}"));
    println!("opinfo: {passed} passed, {} listed ({calls} calls and {gradients} gradients, each in both modes)", listed.len());
    assert!(failed.is_empty(), "{} entries differ from PyTorch:\n{}", failed.len(), failed.join("\n"));
}

/// Why an entry did not pass.
enum Verdict {
    Listed(String),
    Failed(String),
}

/// Runs all samples of an entry; the numbers of calls and gradients compared.
fn check(entry: Entry) -> std::result::Result<(usize, usize), Verdict> {
    let Some(operator) = operators::find(&entry.op, &entry.variant) else {
        return Err(Verdict::Listed(format!("the operator {} is not known", entry.op)));
    };
    let (mut gradients, mut reason) = (0, None);
    let mut complaints = Vec::new();
    let calls = entry.samples.len();
    for (s, sample) in entry.samples.into_iter().enumerate() {
        let sample = Arc::new(sample);
        gradients += sample.gradients.len();
        for (name, mode) in [("eager", eager as Mode), ("compiled", compiled)] {
            let failed = |why: &dyn std::fmt::Display| format!("sample {s}{}, {name}: {why}", described(&sample));
            match mode(operator, &sample) {
                Err(Problem::Unsupported(why)) => {
                    // That follows from the arguments, in whatever mode.
                    reason = Some(format!("sample {s}: {why}"));
                    break;
                }
                Err(Problem::Failed(_)) if name == "compiled" && operators::needs_eager_mode(&entry.op) => {
                    reason = Some("eager mode only: the sizes of its results depend on elements".to_owned());
                }
                Err(Problem::Failed(error)) => complaints.push(failed(&error)),
                Ok(found) => match agree(operator, &sample, &found, entry.rtol, entry.atol) {
                    Ok(None) => {}
                    Ok(Some(why)) => reason = Some(format!("sample {s}: {why}")),
                    Err(why) => complaints.push(failed(&why)),
                },
            }
        }
    }
    match (complaints.is_empty(), reason) {
        (false, _) => Err(Verdict::Failed(complaints.join("\n        "))),
        (true, Some(reason)) => Err(Verdict::Listed(reason)),
        (true, None) => Ok((calls, gradients)),
    }
}

fn described(sample: &Sample) -> String {
    let inputs: Vec<String> = sample.inputs.iter().map(|(k, t)| format!("${k}: {}{:?}", t.dtype(), t.shape())).collect();
    format!(" ({:?} {:?}; {})", sample.args, sample.kwargs, inputs.join(", "))
}

/// Outputs, then the gradients of the inputs that have one in PyTorch.
type Found = (Vec<Tensor>, Vec<Tensor>);
type Mode = fn(operators::Operator, &Arc<Sample>) -> std::result::Result<Found, Problem>;

fn eager(operator: operators::Operator, sample: &Arc<Sample>) -> std::result::Result<Found, Problem> {
    let inputs: Vec<Tensor> = sample.inputs.values().cloned().collect();
    differentiated(operator, sample, &inputs)
}

fn compiled(operator: operators::Operator, sample: &Arc<Sample>) -> std::result::Result<Found, Problem> {
    let own = sample.clone();
    // What is not supported is known from the arguments alone: eager mode has said so.
    let step = compile(move |inputs: Vec<Tensor>| -> Result<(Vec<Tensor>, Vec<Tensor>)> {
        differentiated(operator, &own, &inputs).map_err(|problem| match problem {
            Problem::Failed(error) => error,
            Problem::Unsupported(why) => Error::new(why),
        })
    });
    let inputs: Vec<Tensor> = sample.inputs.values().cloned().collect();
    Ok(step.run((inputs,))?)
}

/// The outputs of the call, and the gradients of `Σ outputs · seeds`.
fn differentiated(
    operator: operators::Operator,
    sample: &Sample,
    inputs: &[Tensor],
) -> std::result::Result<(Vec<Tensor>, Vec<Tensor>), Problem> {
    let mut tensors = BTreeMap::new();
    for (&k, input) in sample.inputs.keys().zip(inputs) {
        let differentiable = sample.gradients.contains_key(&k);
        tensors.insert(k, if differentiable { input.requires_grad_() } else { input.clone() });
    }
    let call = Call::new(&sample.args, &sample.kwargs, &tensors);
    let outputs = operator(&call)?;
    call.all_asked()?;
    for output in &outputs {
        output.check()?;
    }
    let loss = loss(sample, &outputs);
    let leaves: Vec<&Tensor> = sample.gradients.keys().map(|k| &tensors[k]).collect();
    let gradients = match loss {
        Some(loss) if !leaves.is_empty() && loss.requires_grad() => grad(&loss, &leaves)?,
        _ => leaves.iter().map(|leaf| leaf.zeros_like()).collect(),
    };
    Ok((outputs, gradients))
}

/// `Σ outputs · seeds`, if an output has one.
fn loss(sample: &Sample, outputs: &[Tensor]) -> Option<Tensor> {
    let terms = sample.seeds.iter().filter_map(|(j, seed)| Some((outputs.get(*j)? * seed).sum_all()));
    terms.reduce(|a, b| a + b)
}

/// Compares what was found with what PyTorch has. `Some` reason where the two differ because PyTorch's gradient is rounding
/// alone.
fn agree(
    operator: operators::Operator,
    sample: &Sample,
    (outputs, gradients): &Found,
    rtol: f64,
    atol: f64,
) -> std::result::Result<Option<String>, String> {
    if outputs.len() != sample.outputs.len() {
        return Err(format!("{} outputs instead of {}", outputs.len(), sample.outputs.len()));
    }
    for (j, (found, expected)) in outputs.iter().zip(&sample.outputs).enumerate() {
        same(found, expected, rtol, atol).map_err(|e| format!("output {j}: {e}"))?;
    }
    let mut rounded = None;
    for ((&k, expected), found) in sample.gradients.iter().zip(gradients) {
        if let Err(why) = same(found, expected, rtol, atol) {
            let exact = by_differences(operator, sample, k);
            if exact.is_none_or(|exact| !only_rounded(found, expected, &exact)) {
                return Err(format!("gradient of input {k}: {why}"));
            }
            rounded = Some(format!("gradient of input {k}: {why}; by differences in f64 it is rounding on both sides"));
        }
    }
    Ok(rounded)
}

/// The gradient of input `k` by central differences in f64. The outputs that the differences are of have been compared.
fn by_differences(operator: operators::Operator, sample: &Sample, k: usize) -> Option<Vec<f64>> {
    const STEP: f64 = 1e-5;
    let wide = |t: &Tensor| if t.dtype().is_float() { t.to_dtype(DType::F64) } else { t.clone() };
    let at = |x: &[f64]| -> Option<f64> {
        let mut tensors: BTreeMap<usize, Tensor> = sample.inputs.iter().map(|(&i, t)| (i, wide(t))).collect();
        let shape = tensors[&k].shape();
        tensors.insert(k, Tensor::from_slice(x, shape));
        let outputs = operator(&Call::new(&sample.args, &sample.kwargs, &tensors)).ok()?;
        let all = loss(sample, &outputs.iter().map(wide).collect::<Vec<_>>())?;
        all.item().ok()
    };
    let mut x = sample.inputs[&k].to_f64_vec().ok()?;
    let mut slope = |i: usize| {
        let here = x[i];
        x[i] = here + STEP;
        let above = at(&x)?;
        x[i] = here - STEP;
        let below = at(&x)?;
        x[i] = here;
        Some((above - below) / (2.0 * STEP))
    };
    (0..sample.inputs[&k].elements().get().ok()?).map(&mut slope).collect()
}

/// Whether PyTorch's gradient misses the exact one by rounding, and what was found by at most three times as much: in single precision,
/// where terms cancel, rounding is all that is left.
fn only_rounded(found: &Tensor, expected: &Tensor, exact: &[f64]) -> bool {
    let (Ok(found), Ok(expected)) = (found.to_f64_vec(), expected.to_f64_vec()) else { return false };
    let largest = exact.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    let rounding = expected.iter().zip(exact).all(|(a, b)| (a - b).abs() <= 1e-3 * largest);
    let rmse = |of: &[f64]| (of.iter().zip(exact).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / of.len().max(1) as f64).sqrt();
    rounding && rmse(&found) <= 3.0 * rmse(&expected) + 1e-7 * largest
}

/// One type, and elements within `atol + rtol · |expected|`; NaN equals NaN.
fn same(found: &Tensor, expected: &Tensor, rtol: f64, atol: f64) -> std::result::Result<(), String> {
    let (a, b) = (found.ty().map_err(|e| e.to_string())?, expected.ty().map_err(|e| e.to_string())?);
    if a != b {
        return Err(format!("{a} instead of {b}"));
    }
    let (a, b) = (found.to_f64_vec().map_err(|e| e.to_string())?, expected.to_f64_vec().map_err(|e| e.to_string())?);
    let wrong = |(a, b): (&f64, &f64)| !(a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= atol + rtol * b.abs());
    let count = a.iter().zip(&b).filter(|&pair| wrong(pair)).count();
    match a.iter().zip(&b).position(wrong) {
        None => Ok(()),
        Some(i) => Err(format!("element {i} is {} instead of {} ({count} of {} differ)", a[i], b[i], a.len())),
    }
}
