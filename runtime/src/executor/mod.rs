//! Runs programs: resolves dimensions, connects memory, launches.

mod attention;
mod boxes;
mod control;
mod dot;
mod frame;
mod image;
mod inner;
mod layout;
mod library;
mod panels;
mod plan;
pub(crate) mod scope;
mod steps;
mod window;
mod winograd;

use crate::buffer::Buffer;
use crate::program::{ErrorWord, Place, Program};
use crate::threads::num_threads;
use frame::Frame;
use igneous_ir::error::{Error, Result};
use plan::{Plan, PlannedPlace};
use scope::{Values, bind_symbols};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// How many plans of a program are kept; when there are more, all are made again.
const MOST_PLANS: usize = 256;

/// What runs of a program have resolved, for each tuple of its symbols' values, and the memory they recycle.
#[derive(Default)]
pub struct Plans(Mutex<HashMap<Values, Arc<Plan>>>);

impl Plans {
    /// The plan of `program`, whose plans these are. The first `fixed` inputs are the same in all runs until the plan is prepared
    /// again.
    fn get(&self, program: &Program, values: Values, threads: usize, fixed: usize) -> Result<Arc<Plan>> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = lock().get(&values)
            && plan.threads == threads
        {
            return Ok(plan.clone());
        }
        // Not under the lock: an inner program is planned meanwhile.
        let plan = Arc::new(Plan::new(program, values.clone(), threads, fixed)?);
        let mut plans = lock();
        if plans.len() >= MOST_PLANS {
            plans.clear();
        }
        plans.insert(values, plan.clone());
        Ok(plan)
    }
}

/// How long a launch took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LaunchTime {
    /// The kernel's name.
    pub name: String,
    /// Nanoseconds.
    pub ns: u64,
}

/// The state of one run.
#[derive(Default)]
struct Run {
    word: ErrorWord,
    /// What the error word means: the innermost program it was set in says that first.
    error: Mutex<Option<Error>>,
}

impl Run {
    fn word_ptr(&self) -> *mut ErrorWord {
        std::ptr::from_ref(&self.word).cast_mut()
    }

    fn failed(&self) -> bool {
        self.word.code.load(Ordering::Acquire) != 0
    }

    /// Notes that the error word was set by a check of this program, unless an inner program has noted so before.
    fn explain(&self, program: &Program) {
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        error.get_or_insert_with(|| {
            let check = usize::try_from(self.word.code.load(Ordering::Acquire) - 1).ok().and_then(|c| program.checks.get(c));
            let Some((message, loc)) = check else {
                return Error::new(format!("a check that program `{}` does not have failed", program.name));
            };
            let error = Error::new(message).note("value", self.word.value.load(Ordering::Acquire));
            loc.map_or(error.clone(), |loc| error.at(loc))
        });
    }
}

impl Program {
    /// Runs a program without symbols on `inputs` and returns the outputs.
    ///
    /// An input that the program updates in place ([`Place::InOut`]) must be the only handle of its memory (move it into
    /// `inputs`; a caller whose variable keeps a handle gives a duplicate instead), and no slice of it may be alive during the run;
    /// the output is then another handle of that memory. An output that *is* an input is another handle, too.
    ///
    /// # Errors
    /// If the inputs do not fit the program's, one that is updated in place is shared, a check fails, or memory is short. Then no input
    /// has changed.
    pub fn run(&self, inputs: &[Buffer]) -> Result<Vec<Buffer>> {
        self.run_planned(inputs, &*self.plan_constant()?, None)
    }

    /// Like [`Program::run`], with the extents of every input, from which the symbols' values are read.
    ///
    /// # Errors
    /// As `run`, and if the extents do not fit the inputs' types or a symbol's range.
    pub fn run_with_shapes(&self, inputs: &[Buffer], shapes: &[&[usize]]) -> Result<Vec<Buffer>> {
        let plan = self.plans.get(self, bind_symbols(self, shapes)?, num_threads(), 0)?;
        self.run_planned(inputs, &plan, None)
    }

    /// Like [`Program::run_with_shapes`]; also measures each launch.
    ///
    /// # Errors
    /// As `run_with_shapes`.
    pub fn run_profiled(&self, inputs: &[Buffer], shapes: &[&[usize]]) -> Result<(Vec<Buffer>, Vec<LaunchTime>)> {
        let plan = self.plans.get(self, bind_symbols(self, shapes)?, num_threads(), 0)?;
        let mut times: Vec<_> = self.launches.iter().map(|l| LaunchTime { name: l.name.clone(), ns: 0 }).collect();
        let outputs = self.run_planned(inputs, &plan, Some(&mut times))?;
        Ok((outputs, times))
    }

    fn plan_constant(&self) -> Result<Arc<Plan>> {
        if let Some((symbol, ..)) = self.symbols.first() {
            let why = format!("program `{}` depends on dimension `{}`: run it with shapes", self.name, symbol.name);
            return Err(Error::new(why));
        }
        self.plans.get(self, Values::new(), num_threads(), 0)
    }

    fn run_planned(&self, inputs: &[Buffer], plan: &Plan, times: Option<&mut [LaunchTime]>) -> Result<Vec<Buffer>> {
        self.check_inputs(inputs, plan)?;
        let mut outputs: Vec<Buffer> = Vec::with_capacity(plan.outputs.len());
        for (j, &(buffer, bytes)) in plan.outputs.iter().enumerate() {
            let block = match plan.places[buffer] {
                PlannedPlace::Input(input) | PlannedPlace::InOut { input, .. } => inputs[input].clone(),
                PlannedPlace::Output(output) if output < j => outputs[output].clone(),
                _ => Buffer::new(bytes)?,
            };
            outputs.push(block);
        }
        let from: SmallVec<[*mut u8; 16]> = inputs.iter().map(Buffer::ptr).collect();
        let to: SmallVec<[*mut u8; 16]> = outputs.iter().map(Buffer::ptr).collect();
        let run = Run::default();
        let mut frame = Frame::take(self, plan)?;
        // SAFETY: inputs and outputs have the plan's sizes; fresh outputs are this run's alone, and so are the inputs updated
        // in place, as was checked.
        let result = unsafe { steps::execute(self, plan, &mut frame, &from, &to, &run, times) };
        frame.give_back(plan);
        result?;
        match run.error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(outputs),
        }
    }

    fn check_inputs(&self, inputs: &[Buffer], plan: &Plan) -> Result<()> {
        if inputs.len() != plan.inputs.len() {
            let given = format!("program `{}` has {} inputs, but {} are given", self.name, plan.inputs.len(), inputs.len());
            return Err(Error::new(given));
        }
        for (input, (buffer, &bytes)) in inputs.iter().zip(&plan.inputs).enumerate() {
            if buffer.len() != bytes {
                return Err(Error::new(format!(
                    "input {input} of program `{}` has {} bytes, not {bytes}",
                    self.name,
                    buffer.len()
                ))
                .note("type", &self.inputs[input]));
            }
        }
        for spec in &self.buffers {
            if let Place::InOut(input) = spec.place
                && !inputs[input].is_unique()
            {
                let why =
                    format!("input {input} of program `{}` is updated in place, but somebody else holds it, too", self.name);
                return Err(Error::new(why));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
