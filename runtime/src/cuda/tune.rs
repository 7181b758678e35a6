//! Trying on a device who is faster at the products and convolutions of a program: a library, or the program's own kernels.

use super::plan::{Action, Kernel, Loaded, Plan};
use super::{Choice, Device, DeviceBuffer, Done, ErrorTag, Launch, kernels};
use crate::program::Program;
use igneous_ir::error::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// How long both take for a product or a convolution.
#[derive(Clone, PartialEq, Debug)]
pub struct Timing {
    /// What [`Choices`](super::Choices) call it.
    pub name: String,
    /// How many multiplications it takes.
    pub multiplications: u64,
    /// Microseconds of the program's kernel.
    pub kernel: f64,
    /// Microseconds of the library; none if it has no way to do it.
    pub library: Option<f64>,
}

impl Timing {
    /// Who is faster.
    pub fn choice(&self) -> Choice {
        if self.library.is_some_and(|library| library < self.kernel) { Choice::Library } else { Choice::Kernel }
    }
}

/// Runs that are waited for together.
const RUNS: u32 = 10;
/// How often that is timed; the median counts.
const ROUNDS: usize = 7;
/// Every byte of the operands: small numbers in all types.
const BYTE: u8 = 0x3c;

/// Times the products and convolutions of a program, each once, on numbers that say nothing. `shapes` are the extents of the inputs.
///
/// # Errors
/// If the program has some but the device no library for any of them, memory is short, or the device fails.
pub fn tune(device: &Arc<dyn Device>, program: &Arc<Program>, shapes: &[&[usize]]) -> Result<Vec<Timing>> {
    device.prepare(&kernels(program))?;
    let plan = Plan::new(&Loaded::all(program), 0, shapes)?;
    let mut timings = BTreeMap::new();
    of_plan(device, &plan, &mut timings)?;
    let timings: Vec<Timing> = timings.into_values().collect();
    match !timings.is_empty() && timings.iter().all(|t| t.library.is_none()) {
        true => Err(Error::new(format!("there is nothing to choose from: no library did any of {} operations", timings.len()))
            .note(
                "remedy",
                "install cuBLASLt and cuDNN: `pip install nvidia-cublas nvidia-cudnn-cu13`, or set IGNEOUS_CUBLASLT and IGNEOUS_CUDNN to the \
                 paths of libcublasLt.so and libcudnn.so",
            )),
        false => Ok(timings),
    }
}

fn of_plan(device: &Arc<dyn Device>, plan: &Plan, timings: &mut BTreeMap<String, Timing>) -> Result<()> {
    for step in &plan.steps {
        step.action.inner().into_iter().try_for_each(|inner| of_plan(device, &inner.plan, timings))?;
        let Action::Kernel(kernel @ Kernel { library: Some(library), .. }) = &step.action else { continue };
        let name = library.call.to_string();
        if timings.contains_key(&name) {
            continue;
        }
        let filled = |bytes: usize| DeviceBuffer::from_bytes(device, &vec![BYTE; bytes]);
        let blocks = step.params.iter().map(|&p| filled(plan.sizes[p])).collect::<Result<Vec<_>>>()?;
        let (frame, error) = (DeviceBuffer::new(device, plan.memory)?, DeviceBuffer::from_bytes(device, &[0; 16])?);
        let params: Vec<u64> = blocks.iter().map(DeviceBuffer::address).collect();
        let addresses = library.addresses(&params);
        let arguments = kernel.arguments(params, error.address(), ErrorTag::new(0, false), frame.address());
        let Kernel { kernel, grid, shared, .. } = kernel;
        // SAFETY: all blocks have the sizes that the plan gives them.
        let launch = || unsafe {
            device.launch(Launch { kernel, grid: *grid, shared: *shared, arguments: &arguments })?;
            Ok(Done::Yes)
        };
        // SAFETY: as above.
        let compute = || unsafe { device.compute(&library.call, &addresses) };
        let timing = Timing {
            multiplications: library.call.multiplications(),
            kernel: microseconds(device, launch)?.unwrap_or(f64::INFINITY),
            library: microseconds(device, compute)?,
            name: name.clone(),
        };
        timings.insert(name, timing);
    }
    Ok(())
}

/// The time of one run; none if nothing was done.
fn microseconds(device: &Arc<dyn Device>, run: impl Fn() -> Result<Done>) -> Result<Option<f64>> {
    // The first run finds algorithms and loads code.
    if run()? == Done::No {
        return Ok(None);
    }
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        device.synchronize()?;
        let start = Instant::now();
        (0..RUNS).try_for_each(|_| run().map(drop))?;
        device.synchronize()?;
        times.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(RUNS));
    }
    times.sort_by(f64::total_cmp);
    Ok(Some(times[ROUNDS / 2]))
}
