//! `igneous bench`: times workloads by name, one record each.

mod check;
mod kernels;
mod large;
mod limits;
mod process;
mod timing;
mod workloads;

use clap::ValueEnum;
use igneous::{Choices, Device, Error, Result, set_num_threads};
use limits::Machine;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;
use workloads::Workload;
pub use workloads::find;

/// The arguments of `igneous bench`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Workloads to run: names, or beginnings of names followed by `*`; if none is given, all that are made for the device.
    workloads: Vec<String>,
    /// Operator by operator, or compiled.
    #[arg(long, value_enum, default_value_t = Mode::Compiled)]
    mode: Mode,
    /// Where compiled programs run: cpu, cuda, cuda:1. The rates of the machine below are a core's; for a GPU give its own with
    /// `--threads 1`.
    #[arg(long, default_value_t = Device::Cpu)]
    device: Device,
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
    /// The same for products of half types; that of `--gflops` if it is not given.
    #[arg(long)]
    half_gflops: Option<f64>,
    /// What a core reads from the last-level cache at most: 10⁹ bytes a second.
    #[arg(long, default_value_t = 97.0)]
    cache_gbps: f64,
    /// A core's share of what memory gives: 10⁹ bytes a second.
    #[arg(long, default_value_t = 26.0)]
    memory_gbps: f64,
    /// The last-level cache, in MiB.
    #[arg(long, default_value_t = 32.0)]
    cache_mb: f64,
    /// Run one step of each workload, say so in a line of JSON, and stop: what the start of a process costs.
    #[arg(long, conflicts_with_all = ["kernels", "check"])]
    once: bool,
    /// Run once with the weights and inputs of this safetensors file, in both modes (on a GPU compiled), and compare with the results in it.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Who runs which product, as `igneous tune` found.
    #[arg(long, value_name = "FILE")]
    choices: Option<PathBuf>,
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

impl Arguments {
    /// The cores in use, together.
    fn machine(&self) -> Result<Machine> {
        let rates = [self.gflops, self.half_gflops.unwrap_or(self.gflops), self.cache_gbps, self.memory_gbps];
        if !(rates.iter().all(|&r| r > 0.0) && self.seconds > 0.0 && self.cache_mb >= 0.0) {
            return Err(Error::new(
                "--seconds, --gflops, --half-gflops, --cache-gbps and --memory-gbps must be above 0, --cache-mb not below",
            ));
        }
        let [flops_per_ns, half_flops_per_ns, cache_bytes_per_ns, memory_bytes_per_ns] =
            rates.map(|r| r * f64::from(self.threads));
        let cache_bytes = self.cache_mb * MIB;
        Ok(Machine { flops_per_ns, half_flops_per_ns, cache_bytes_per_ns, memory_bytes_per_ns, cache_bytes })
    }
}

const MIB: f64 = 1_048_576.0;

/// Runs the command.
///
/// # Errors
/// If a name is unknown or a workload fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    let chosen = find(&arguments.workloads, arguments.device)?;
    if arguments.list {
        chosen.iter().for_each(|w| println!("{:28} {}", w.name, w.about));
        return Ok(());
    }
    let machine = arguments.machine()?;
    arguments.device.check()?;
    if arguments.device != Device::Cpu && (arguments.mode == Mode::Eager || arguments.kernels) {
        return Err(Error::new("on a device whole programs are timed: --mode eager and --kernels are for the cpu"));
    }
    set_num_threads(arguments.threads.into());
    if let Some(file) = &arguments.check {
        let [workload] = chosen[..] else { return Err(Error::new("--check takes one workload")) };
        return check::against(workload, file, arguments.device);
    }
    for workload in chosen {
        record(workload, arguments, &machine).map_err(|e| e.context(format!("workload `{}`", workload.name)))?;
    }
    Ok(())
}

fn record(workload: &Workload, arguments: &Arguments, machine: &Machine) -> Result<()> {
    let (start, rss_start) = (Instant::now(), process::rss_mb());
    let mut case = (workload.build)()?.on(arguments.device)?;
    if let Some(file) = &arguments.choices {
        case = case.choices(Choices::load(file)?);
    }
    let setup = start.elapsed().as_secs_f64();
    let step = || case.step(arguments.mode).map(drop);
    let finish = || arguments.device.synchronize();
    let mode = if arguments.mode == Mode::Eager { "eager" } else { "compiled" };
    let mut line = json!({
        "peer": "igneous", "version": env!("CARGO_PKG_VERSION"), "workload": workload.name, "mode": mode,
        "device": arguments.device.to_string(), "threads": arguments.threads, "setup_s": setup, "rss_start_mb": rss_start,
    });
    if arguments.once {
        let start = Instant::now();
        step()?;
        finish()?;
        line["first_call_s"] = json!(start.elapsed().as_secs_f64());
        return print(&line.to_string());
    }
    let times = timing::measure(step, finish, arguments.seconds)?;
    let rate = workload.units / (times.median_ms / 1e3);
    let least = machine.least(workload.work);
    let fraction = least.ns / 1e6 / times.median_ms;
    if !arguments.json {
        print(&format!(
            "{:28} {:>10.4} ms (min {:.4}, max {:.4})  {:>5.1} % of the limit  first call {:.1} ms   {rate:.4e} {}/s",
            workload.name,
            times.median_ms,
            times.min_ms,
            times.max_ms,
            fraction * 100.0,
            times.first_s * 1e3,
            workload.unit
        ))?;
    } else {
        let fields = json!({
            "ms_median": times.median_ms, "ms_min": times.min_ms, "ms_max": times.max_ms, "runs": times.runs,
            "first_call_s": times.first_s, "compile_s": (times.first_s - times.median_ms / 1e3).max(0.0),
            "cpu_util": times.own_cores, "other_cpu": times.other_cores, "probe_ms": times.probe_ms,
            "peak_rss_mb": process::peak_rss_mb(), "buffers_mb": arguments.device.memory()?.peak as f64 / MIB,
            "arena_mb": match arguments.mode {
                Mode::Compiled => Some(case.arena_bytes()? as f64 / MIB),
                Mode::Eager => None,
            },
            "host_us": times.host_us, "limit_ms": least.ns / 1e6, "limit_fraction": fraction, "limited_by": least.by,
            "tokens_or_samples_per_s": rate, "unit": workload.unit,
        });
        for (name, value) in fields.as_object().into_iter().flatten() {
            line[name] = value.clone();
        }
        print(&line.to_string())?;
    }
    if arguments.kernels && arguments.mode == Mode::Compiled {
        println!("{}", kernels::table(&case, machine)?);
    }
    Ok(())
}

/// Prints a line at once, also into a pipe.
fn print(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::other)
}
