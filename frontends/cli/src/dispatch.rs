//! `igneous dispatch`: what an operation on a few elements takes in eager mode.

use igneous::{Result, Tensor, no_grad};
use std::hint::black_box;
use std::time::Instant;

/// The arguments of `igneous dispatch`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Calls of each operation in a sample.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
    /// Samples of each; their median counts.
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
}

type Operation = (&'static str, fn(&Tensor, &Tensor) -> Tensor);

const OPERATIONS: [Operation; 8] = [
    ("exp", |x, _| x.exp()),
    ("add", |x, y| x + y),
    ("add number", |x, _| x + 1.0),
    ("mul of a row and all rows", |x, y| x * y.i(0)),
    ("sum", |x, _| x.sum(-1)),
    ("matmul", |x, y| x.matmul(y)),
    ("reshape", |x, _| x.reshape(-1)),
    ("transpose", |x, _| x.transpose(0, 1)),
];

/// Runs the command.
///
/// # Errors
/// If an operation fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (x, y) = (Tensor::randn((4, 4)), Tensor::randn((4, 4)));
    let leaf = x.duplicate().requires_grad_();
    println!("{:28} {:>12} {:>12}", "operation on 16 elements", "ns", "ns recorded");
    for (name, operation) in OPERATIONS {
        let plain = no_grad(|| nanoseconds(arguments, || operation(&x, &y)))?;
        let recorded = nanoseconds(arguments, || operation(&leaf, &y))?;
        println!("{name:28} {plain:>12.0} {recorded:>12.0}");
    }
    Ok(())
}

/// The median time of a call.
fn nanoseconds(arguments: &Arguments, call: impl Fn() -> Tensor) -> Result<f64> {
    call().check()?;
    let mut samples: Vec<f64> = (0..arguments.samples)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..arguments.calls {
                black_box(call());
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(arguments.calls)
        })
        .collect();
    Ok(crate::median(&mut samples))
}
