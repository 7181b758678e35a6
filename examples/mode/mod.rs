//! What all examples take on the command line: where and how they run.

use clap::Args;
use igneous::testing::compare_with_eager;
use igneous::{Arguments, Compiled, Device, Function, Outputs, Result, Tensor, Tree};

/// Where and how an example runs.
#[derive(Args, Clone, Copy)]
pub struct Mode {
    /// Seed of everything that is random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where to run.
    #[arg(long, default_value = "cpu", value_parser = available)]
    pub device: Device,
    /// Run operator by operator instead of compiling.
    #[arg(long)]
    pub eager: bool,
    /// Compare the first steps in eager and compiled mode, and end.
    #[arg(long)]
    pub check: bool,
}

/// A device of this machine.
fn available(name: &str) -> Result<Device> {
    let device: Device = name.parse()?;
    device.check().map(|()| device)
}

impl Mode {
    /// Runs a compiled function, or with `--eager` the function itself, on the device.
    pub fn run<F, A>(&self, function: &Compiled<F, A>, arguments: impl Arguments<A>) -> Result<<F::Outputs as Outputs>::Value>
    where
        F: Function<A>,
        A: Tree + Arguments<A>,
    {
        let arguments = self.moved(arguments.arguments());
        if self.eager { function.run_eagerly(arguments) } else { function.run(arguments) }
    }

    /// Runs a step on each of these inputs in both modes, and compares all results, weights and gradients.
    ///
    /// # Errors
    /// If they differ by more than `tolerance`, relative to an element or to 1.
    pub fn compare<F, A, B>(&self, step: &Compiled<F, A>, inputs: impl Iterator<Item = Result<B>>, tolerance: f64) -> Result<()>
    where
        F: Function<A>,
        A: Tree + Arguments<A>,
        B: Arguments<A>,
    {
        let (mut largest, mut steps) = (0.0f64, 0);
        for input in inputs {
            largest = largest.max(compare_with_eager(step, self.moved(input?.arguments()), tolerance)?);
            steps += 1;
        }
        let programs = step.programs();
        println!(
            "eager and compiled agree: max relative difference {largest:.1e}, {steps} steps, {programs} compiled program(s)"
        );
        Ok(())
    }

    /// The same tensors on the device.
    fn moved<A: Tree>(&self, arguments: A) -> A {
        let mut tensors: Vec<Tensor> = Vec::new();
        arguments.flatten(&mut tensors, &mut Vec::new());
        arguments.rebuild(&mut tensors.iter().map(|tensor| tensor.to(self.device)))
    }
}
