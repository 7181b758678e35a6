//! `igneous tune`: tries who is faster at the products of workloads, a library of the device or the program's own kernels.

use crate::bench::find;
use igneous::{Choices, Device, Result};
use std::path::PathBuf;

/// The arguments of `igneous tune`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Workloads of `igneous bench`: names, or beginnings of names followed by `*`; those that it runs on such a device if none is given.
    workloads: Vec<String>,
    /// Where to try.
    #[arg(long, default_value_t = Device::Cuda(0))]
    device: Device,
    /// The file of choices; what it says of other products stays. A program reads it with `Choices::load`.
    #[arg(long, default_value = "choices.txt")]
    out: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// If a name is unknown, the device or its library is not there, or the file cannot be read or written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let chosen = find(&arguments.workloads, arguments.device)?;
    arguments.device.check()?;
    let mut choices = if arguments.out.exists() { Choices::load(&arguments.out)? } else { Choices::default() };
    for workload in chosen {
        let program = || (workload.build)()?.on(arguments.device)?.program();
        let timings =
            program().and_then(|program| program.tune()).map_err(|e| e.context(format!("workload `{}`", workload.name)))?;
        for timing in timings {
            let library = timing.library.map_or("-".to_owned(), |us| format!("{us:.1}"));
            println!("{:48} kernel {:>10.1} µs  library {library:>10} µs  {}", timing.name, timing.kernel, timing.choice());
            choices.set(timing.name.clone(), timing.choice());
        }
    }
    choices.save(&arguments.out)
}
