//! The command line of igneous.
//!
//! What lives here: commands over the public API of `igneous`. What does not: anything a program could not do itself.
#![forbid(unsafe_code)]

mod bench;
mod depth;
mod dispatch;
mod length;
mod tune;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A deep-learning framework that is a compiler.
#[derive(Parser)]
#[command(name = "igneous", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Times standard workloads.
    Bench(bench::Arguments),
    /// Compiles models of growing depth, and prints how long it takes.
    Depth(depth::Arguments),
    /// Compiles a recurrent layer for sequences of growing length, and prints how long it takes.
    Length(length::Arguments),
    /// Times operations on a few elements in eager mode.
    Dispatch(dispatch::Arguments),
    /// Tries who is faster at the products of standard workloads, a library of the device or kernels, and writes that to a file.
    Tune(tune::Arguments),
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Depth(arguments) => depth::run(&arguments),
        Command::Length(arguments) => length::run(&arguments),
        Command::Dispatch(arguments) => dispatch::run(&arguments),
        Command::Tune(arguments) => tune::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
