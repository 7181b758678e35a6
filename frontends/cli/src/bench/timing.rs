//! Samples of the time of a step: the first call apart, warm-up, then groups of calls of at least 2 ms.

use super::process::cpu_seconds;
use igneous::Result;
use std::hint::black_box;
use std::time::Instant;

/// Times of one step, in milliseconds.
pub struct Times {
    /// The median of the samples.
    pub median_ms: f64,
    /// The fastest sample.
    pub min_ms: f64,
    /// The slowest sample.
    pub max_ms: f64,
    /// How many calls the samples hold.
    pub runs: usize,
    /// Microseconds until a call of a step returns, before what it began is finished: the least of the samples.
    pub host_us: f64,
    /// Seconds of the first call: with tracing and compilation.
    pub first_s: f64,
    /// Cores that this process kept busy during the samples.
    pub own_cores: Option<f64>,
    /// Cores that everybody else kept busy meanwhile.
    pub other_cores: Option<f64>,
    /// Milliseconds of a fixed piece of scalar work, before or after, whichever took longer: shows slow phases of a machine
    /// that no load figure shows.
    pub probe_ms: f64,
}

fn probe_ms() -> f64 {
    let once = || {
        let start = Instant::now();
        black_box((0..black_box(3_000_000_u32)).fold(1_u32, |x, i| x.wrapping_mul(1_664_525).wrapping_add(i)));
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..3).map(|_| once()).fold(f64::INFINITY, f64::min)
}

/// Times `step` for about `seconds`; `finish` waits for all that steps have begun.
pub fn measure(step: impl Fn() -> Result<()>, finish: impl Fn() -> Result<()>, seconds: f64) -> Result<Times> {
    // Seconds until the calls have returned, and until all is finished.
    let time = |calls: usize| {
        let start = Instant::now();
        (0..calls).try_for_each(|_| step())?;
        let returned = start.elapsed();
        finish()?;
        Ok::<[f64; 2], igneous::Error>([returned, start.elapsed()].map(|t| t.as_secs_f64()))
    };
    let [_, first_s] = time(1)?;
    let warm = Instant::now();
    let mut calls = 0;
    while calls < 3 || (warm.elapsed().as_secs_f64() < 0.25 && calls < 200) {
        time(1)?;
        calls += 1;
    }
    let one = time(1)?[1].max(1e-7);
    let group = ((0.002 / one) as usize).max(1);
    let samples = ((seconds / (one * group as f64)) as usize).clamp(5, 300);
    let probe = probe_ms();
    let (start, before) = (Instant::now(), cpu_seconds());
    let (mut ms, mut host_us) = (Vec::with_capacity(samples), f64::INFINITY);
    for _ in 0..samples {
        let [returned, finished] = time(group)?.map(|t| t / group as f64);
        ms.push(finished * 1e3);
        host_us = host_us.min(returned * 1e6);
    }
    let wall = start.elapsed().as_secs_f64();
    let cores = before.zip(cpu_seconds()).map(|(a, b)| {
        let own = b.0 - a.0;
        (own / wall, ((b.1 - a.1 - own) / wall).max(0.0))
    });
    ms.sort_by(f64::total_cmp);
    let middle = (ms[(samples - 1) / 2] + ms[samples / 2]) / 2.0;
    Ok(Times {
        median_ms: middle,
        min_ms: ms[0],
        max_ms: ms[samples - 1],
        runs: samples * group,
        host_us,
        first_s,
        own_cores: cores.map(|c| c.0),
        other_cores: cores.map(|c| c.1),
        probe_ms: probe.max(probe_ms()),
    })
}
