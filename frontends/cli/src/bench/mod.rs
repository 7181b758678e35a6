//! `igneous bench`: times workloads by name, one record each.

mod check;
mod kernels;
mod models;
mod process;
mod timing;
mod workloads;

use clap::ValueEnum;
use igneous::{Error, Result, set_num_threads};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;
use workloads::{Workload, find};

/// The arguments of `igneous bench`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Workloads to run: names, or beginnings of names followed by `*`; all of them if none is given.
    workloads: Vec<String>,
    /// Operator by operator, or compiled.
    #[arg(long, value_enum, default_value_t = Mode::Compiled)]
    mode: Mode,
    /// Threads to use, the main one included.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Print one line of JSON for each workload.
    #[arg(long)]
    json: bool,
    /// Print flops, bytes, time and fraction of the limit of each launch (compiled mode).
    #[arg(long, conflicts_with = "json")]
    kernels: bool,
    /// Seconds of samples for each workload.
    #[arg(long, default_value_t = 0.8)]
    seconds: f64,
    /// What a core computes at most: 10⁹ floating-point operations a second.
    #[arg(long, default_value_t = 117.0)]
    gflops: f64,
    /// What a core reads and writes at most: 10⁹ bytes a second.
    #[arg(long, default_value_t = 97.0)]
    gbps: f64,
    /// Run once with the weights and inputs of this safetensors file, in both modes, and compare with the results in it.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// List the workloads and do nothing else.
    #[arg(long)]
    list: bool,
}

/// How a workload runs.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub enum Mode {
    /// Operator by operator.
    Eager,
    /// Traced and compiled.
    Compiled,
}

/// Runs the command.
///
/// # Errors
/// If a name is unknown or a workload fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    let chosen = find(&arguments.workloads)?;
    if arguments.list {
        chosen.iter().for_each(|w| println!("{:28} {}", w.name, w.about));
        return Ok(());
    }
    if !(arguments.seconds > 0.0 && arguments.gflops > 0.0 && arguments.gbps > 0.0) {
        return Err(Error::new("--seconds, --gflops and --gbps must be above 0"));
    }
    set_num_threads(arguments.threads.into());
    if let Some(file) = &arguments.check {
        let [workload] = chosen[..] else { return Err(Error::new("--check takes one workload")) };
        return check::against(workload, file);
    }
    for workload in chosen {
        record(workload, arguments).map_err(|e| e.context(format!("workload `{}`", workload.name)))?;
    }
    Ok(())
}

fn record(workload: &Workload, arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let case = (workload.build)()?;
    let setup = start.elapsed().as_secs_f64();
    let step = || case.step(arguments.mode).map(drop);
    let times = timing::measure(step, arguments.seconds)?;
    let rate = workload.units / (times.median_ms / 1e3);
    if arguments.json {
        let line = json!({
            "peer": "igneous", "workload": workload.name,
            "mode": if arguments.mode == Mode::Eager { "eager" } else { "compiled" }, "threads": arguments.threads,
            "ms_median": times.median_ms, "ms_min": times.min_ms, "ms_max": times.max_ms, "runs": times.runs,
            "first_call_s": times.first_s, "compile_s": (times.first_s - times.median_ms / 1e3).max(0.0),
            "cpu_util": times.own_cores, "other_cpu": times.other_cores, "setup_s": setup,
            "peak_rss_mb": process::peak_rss_mb(), "tokens_or_samples_per_s": rate, "unit": workload.unit,
            "version": env!("CARGO_PKG_VERSION"),
        });
        println!("{line}");
    } else {
        println!(
            "{:28} {:>10.4} ms (min {:.4}, max {:.4})   first call {:.1} ms   {rate:.4e} {}/s",
            workload.name,
            times.median_ms,
            times.min_ms,
            times.max_ms,
            times.first_s * 1e3,
            workload.unit
        );
    }
    std::io::stdout().flush().map_err(Error::other)?;
    if arguments.kernels && arguments.mode == Mode::Compiled {
        let threads = f64::from(arguments.threads);
        println!("{}", kernels::table(&case, arguments.gflops * threads, arguments.gbps * threads)?);
    }
    Ok(())
}
