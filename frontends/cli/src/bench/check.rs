//! Compares a workload's results with those of another framework, for equal weights and inputs.

use super::Mode;
use super::workloads::Workload;
use igneous::nn::StateDict;
use igneous::{DType, Device, Error, Result, Tensor};
use std::path::Path;

/// The largest difference of a result, relative to its largest element.
const TOLERANCE: f64 = 2e-5;
/// The same where products or results are of half types.
const HALF_TOLERANCE: f64 = 2e-2;
/// The largest difference of a parameter's change, relative to the largest change. Adam's first step divides each gradient by
/// its own size, and so magnifies the rounding of small ones: where that makes a larger difference, ours from double precision
/// may be [`EXCESS`] times theirs.
const CHANGE_TOLERANCE: f64 = 1e-2;
const EXCESS: f64 = 2.0;

/// Runs a step in both modes from the tensors `parameter.N` and `input.N` of a safetensors file, and compares with its
/// `output.N` and, where the file has them, the parameters after the step `after.N` (in double precision `exact.N`). On another
/// device than the CPU, compiled programs alone are compared.
///
/// # Errors
/// If a tensor is missing or does not fit, a step fails, or a result differs.
pub fn against(workload: &Workload, file: &Path, device: Device) -> Result<()> {
    let known = StateDict::load(file)?;
    let mut worst: f64 = 0.0;
    let modes: &[Mode] = if device == Device::Cpu { &[Mode::Eager, Mode::Compiled] } else { &[Mode::Compiled] };
    for &mode in modes {
        let mut case = (workload.build)()?;
        for (i, parameter) in case.parameters.iter().enumerate() {
            parameter.assign(find(&known, &format!("parameter.{i}"))?)?;
        }
        for (i, input) in case.inputs.iter_mut().enumerate() {
            *input = find(&known, &format!("input.{i}"))?.clone();
        }
        let case = case.on(device)?;
        for (i, output) in case.step(mode)?.iter().enumerate() {
            let name = format!("output.{i}");
            let half = workload.work.half_flops > 0.0 || output.dtype() == DType::BF16;
            let tolerance = if half { HALF_TOLERANCE } else { TOLERANCE };
            worst = worst.max(compare(&name, output, find(&known, &name)?, tolerance)?);
        }
        for (i, parameter) in case.parameters.iter().enumerate() {
            if known.get(&format!("after.{i}")).is_none() {
                continue;
            }
            let before = find(&known, &format!("parameter.{i}"))?;
            let change = |after: &Tensor| after.to_dtype(DType::F64) - before.to_dtype(DType::F64);
            let name = format!("after.{i}");
            let [ours, theirs, exact] = [parameter, find(&known, &name)?, find(&known, &format!("exact.{i}"))?].map(change);
            let from_exact = difference(&name, &theirs, &exact)?;
            if difference(&name, &ours, &exact)? > EXCESS * from_exact {
                compare(&name, &ours, &theirs, CHANGE_TOLERANCE)?;
            }
        }
    }
    println!("{:28} results agree: max difference {worst:.1e} of the largest element", workload.name);
    Ok(())
}

fn find<'a>(known: &'a StateDict, name: &str) -> Result<&'a Tensor> {
    known.get(name).ok_or_else(|| Error::new(format!("the file has no tensor `{name}`")))
}

/// The largest difference, relative to the largest expected element; NaN counts as infinitely far.
fn difference(name: &str, found: &Tensor, expected: &Tensor) -> Result<f64> {
    if found.shape() != expected.shape() {
        return Err(Error::new(format!("the shapes of `{name}` are {:?} and {:?}", found.shape(), expected.shape())));
    }
    let (found, expected) = (found.to_f64_vec()?, expected.to_f64_vec()?);
    let largest = expected.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
    let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / largest);
    Ok(differences.fold(0.0, |worst: f64, d| if d.is_nan() { f64::INFINITY } else { worst.max(d) }))
}

fn compare(name: &str, found: &Tensor, expected: &Tensor, tolerance: f64) -> Result<f64> {
    let worst = difference(name, found, expected)?;
    if worst > tolerance {
        return Err(Error::new(format!("`{name}` differs by {worst:.1e} of its largest element")));
    }
    Ok(worst)
}
