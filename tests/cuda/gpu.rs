//! The same on a GPU, which there must be.

use crate::{attention, cases, compare_case, exact, resident, run_case};
use igneous::{Device, Result};
use igneous_runtime::cuda;
use std::time::Instant;

/// The first GPU; fails with what is missing.
fn gpu() -> std::sync::Arc<dyn cuda::Device> {
    cuda::device(0).unwrap_or_else(|error| panic!("these tests need an NVIDIA GPU: {error}"))
}

#[test]
fn graphs_on_the_gpu_compute_what_the_interpreter_does() {
    let (gpu, start) = (gpu(), Instant::now());
    let mut cases = cases();
    cases.compiled.extend(attention::cases());
    let mut failures: Vec<String> = Vec::new();
    for case in &cases.compiled {
        for program in [&case.program].into_iter().chain(&case.library) {
            let result = compare_case(case, &run_case(&gpu, case, program));
            failures.extend(result.err().map(|error| format!("{}: {error}", case.name)));
        }
    }
    for exact in exact::kernels() {
        for nans in [false, true] {
            failures.extend(exact.check(&gpu, nans).err().map(|error| error.to_string()));
        }
    }
    println!("{} graphs run in {:.1} s", cases.compiled.len(), start.elapsed().as_secs_f64());
    failures.iter().take(40).for_each(|failure| println!("{failure}"));
    assert!(failures.is_empty(), "{} of {} graphs fail", failures.len(), cases.compiled.len());
}

#[test]
fn training_on_the_gpu_goes_as_on_the_cpu() -> Result<()> {
    gpu();
    resident::train_beside(Device::cuda(0), 20, |_, _| {})
}
