//! Reports on a compiled program.

use crate::fuse::estimate;
use igneous_runtime::program::{Launch, Program};
use std::fmt;

/// A `Display` made of a closure.
pub fn from_fn<'a>(write: impl Fn(&mut fmt::Formatter<'_>) -> fmt::Result + 'a) -> impl fmt::Display + 'a {
    struct FromFn<F>(F);
    impl<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> fmt::Display for FromFn<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            (self.0)(f)
        }
    }
    FromFn(write)
}

/// What a core of a current server processor reaches: the rates behind predicted times.
pub mod machine {
    /// Floating-point operations a nanosecond.
    pub const FLOPS_PER_NS: f64 = 100.0;
    /// Bytes a nanosecond from memory.
    pub const BYTES_PER_NS: f64 = 20.0;
    /// Nanoseconds a launch costs by itself.
    pub const LAUNCH_NS: f64 = 500.0;
}

/// What a launch does at least. Symbolic extents count as 64, within their range.
#[derive(Clone, Debug)]
pub struct LaunchCost {
    /// The kernel's name.
    pub name: String,
    /// Arithmetic operations.
    pub flops: f64,
    /// Bytes read and written.
    pub bytes: f64,
}

/// The launches of a program in order.
pub fn launch_costs(program: &Program) -> Vec<LaunchCost> {
    let cost = |l: &Launch| LaunchCost { name: l.name.clone(), flops: estimate(l.flops), bytes: estimate(l.bytes) };
    program.launches.iter().map(cost).collect()
}

/// A table of launches: operations, bytes, and the time that the slower of the two needs on one core.
/// Symbolic extents count as 64, within their range.
pub fn cost(program: &Program) -> impl fmt::Display + '_ {
    from_fn(move |f| {
        writeln!(f, "{:32} {:>14} {:>14} {:>12}  limited by", "launch", "flops", "bytes", "least us")?;
        let (mut flops, mut bytes, mut time) = (0.0, 0.0, 0.0);
        for LaunchCost { name, flops: fl, bytes: by } in launch_costs(program) {
            let (compute, memory) = (fl / machine::FLOPS_PER_NS, by / machine::BYTES_PER_NS);
            let ns = compute.max(memory) + machine::LAUNCH_NS;
            let limit = if compute > memory { "arithmetic" } else { "memory" };
            writeln!(f, "{:32} {fl:>14.0} {by:>14.0} {:>12.2}  {limit}", name, ns / 1000.0)?;
            (flops, bytes, time) = (flops + fl, bytes + by, time + ns);
        }
        writeln!(f, "{:32} {flops:>14.0} {bytes:>14.0} {:>12.2}", "sum", time / 1000.0)
    })
}
