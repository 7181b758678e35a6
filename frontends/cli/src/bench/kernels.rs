//! The table of launches: flops, bytes, measured time, and the fraction of what the machine could do.

use super::limits::{Machine, Work};
use super::workloads::Case;
use igneous::Result;
use std::fmt::Write;

/// Runs that the medians are taken of.
const RUNS: usize = 101;

/// The launches of a case beside what the machine could do.
pub fn table(case: &Case, machine: &Machine) -> Result<String> {
    let program = case.program()?;
    let costs = program.launch_costs();
    let mut samples: Vec<Vec<f64>> = vec![Vec::new(); costs.len()];
    for _ in 0..RUNS {
        for (sample, time) in samples.iter_mut().zip(case.profile()?) {
            sample.push(time.ns as f64);
        }
    }
    let mut text =
        format!("  {:40} {:>12} {:>12} {:>10} {:>10}  {:>5}  limit\n", "launch", "flops", "bytes", "us", "least us", "%");
    let (mut sum, mut least_sum) = (0.0, 0.0);
    for (cost, sample) in costs.iter().zip(&mut samples) {
        sample.sort_by(f64::total_cmp);
        let ns = sample.get(sample.len() / 2).copied().unwrap_or(0.0);
        let least = machine.least(Work { flops: cost.flops, half_flops: 0.0, bytes: cost.bytes });
        let _ = writeln!(
            text,
            "  {:40} {:>12.0} {:>12.0} {:>10.2} {:>10.2}  {:>5.1}  {}",
            cost.name,
            cost.flops,
            cost.bytes,
            ns / 1e3,
            least.ns / 1e3,
            100.0 * least.ns / ns.max(1.0),
            least.by
        );
        (sum, least_sum) = (sum + ns, least_sum + least.ns);
    }
    let fraction = 100.0 * least_sum / sum.max(1.0);
    let _ = writeln!(text, "  {:40} {:>12} {:>12} {:>10.2} {:>10.2}  {fraction:>5.1}", "sum", "", "", sum / 1e3, least_sum / 1e3);
    Ok(text)
}
