//! `igneous length`: the compile time of a recurrent layer's training step against the number of steps in time.

use crate::depth::Passes;
use crate::median;
use igneous::nn::{Forward, ModuleExt};
use igneous::optim::{Adam, Optimizer};
use igneous::{DType, Error, Result, Tensor, compile, manual_seed, spec};
use igneous_models::LstmClassifier;
use std::sync::Arc;
use std::time::Instant;

/// The arguments of `igneous length`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Numbers of steps of an LSTM to compile for.
    #[arg(value_delimiter = ',', default_value = "32,4096")]
    steps: Vec<usize>,
    /// Compilations for each, in turn; their median counts.
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Print the milliseconds of each pass.
    #[arg(long)]
    passes: bool,
}

/// What was measured for one number of steps.
#[derive(Default)]
struct Row {
    times: Vec<f64>,
    passes: Passes,
    nodes: usize,
    launches: usize,
}

/// Compiles a training step of an LSTM with 128 inputs and 256 hidden numbers, a linear layer on the last step, and Adam.
///
/// # Errors
/// If the model does not compile.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.steps.contains(&0) {
        return Err(Error::new("a sequence that is classified by its last step has at least one"));
    }
    manual_seed(0);
    let net = Arc::new(LstmClassifier::new(128, 256, 10));
    let adam = Arc::new(Adam::new(net.parameters(), 1e-3)?);
    let mut rows: Vec<Row> = arguments.steps.iter().map(|_| Row::default()).collect();
    for _ in 0..arguments.runs {
        for (&steps, row) in arguments.steps.iter().zip(&mut rows) {
            let (net, adam) = (net.clone(), adam.clone());
            let step = compile(move |x: Tensor, labels: Tensor| {
                let loss = net.forward(&x).cross_entropy(&labels);
                loss.backward()?;
                adam.step()?;
                Ok(loss)
            })
            .name("step");
            let start = Instant::now();
            let program = step.lower((spec(DType::F32, (32, steps, 128)), spec(DType::I64, 32)))?;
            row.times.push(start.elapsed().as_secs_f64() * 1e3);
            row.passes.add(program.pass_times());
            (row.nodes, row.launches) = (program.traced().len(), program.launches());
        }
    }
    println!("{:>6} {:>7} {:>9} {:>12}", "steps", "nodes", "launches", "compile ms");
    for (steps, row) in arguments.steps.iter().zip(&mut rows) {
        println!("{steps:>6} {:>7} {:>9} {:>12.2}", row.nodes, row.launches, median(&mut row.times));
        if arguments.passes {
            row.passes.print();
        }
    }
    Ok(())
}
