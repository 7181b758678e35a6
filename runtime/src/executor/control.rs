//! Programs inside programs that the data decide about: branches, and loops that end when a condition does.

use super::Run;
use super::frame::Frame;
use super::inner::{Body, Param};
use super::plan::PlannedPlace;
use super::steps::{Context, execute};
use crate::buffer::ALIGNMENT;
use crate::program::{CondWork, WhileWork};
use igneous_ir::error::{Error, Result};
use smallvec::SmallVec;

/// One of two programs.
pub(super) struct PlannedCond {
    then: Body,
    otherwise: Body,
}

impl PlannedCond {
    pub fn new(cond: &CondWork, params: &[Param], threads: usize) -> Result<PlannedCond> {
        let inputs = cond.then.inputs.len();
        let outputs = cond.then.outputs.len();
        if params.len() != 1 + inputs + outputs || params[0].bytes != 1 {
            return Err(Error::new("a decision has not the parameters of its branches"));
        }
        let shapes: Vec<&[usize]> = params[1..1 + inputs].iter().map(|p| &p.sizes[..]).collect();
        let branch = |program| {
            let body = Body::new(program, &shapes, threads)?;
            if params[1 + inputs..].iter().map(|p| p.bytes).ne(body.plan.outputs.iter().map(|o| o.1)) {
                return Err(Error::new("a decision has outputs of other sizes than its branches"));
            }
            Ok(body)
        };
        Ok(PlannedCond { then: branch(&cond.then)?, otherwise: branch(&cond.otherwise)? })
    }

    /// # Safety
    /// The context is that of the launch the decision was planned for; outputs overlap no input.
    pub unsafe fn run(&self, context: &Context, run: &Run) -> Result<()> {
        // SAFETY: by the caller, the first parameter is a bool: one byte.
        let predicate = unsafe { **context.params } != 0;
        let Body { program, plan } = if predicate { &self.then } else { &self.otherwise };
        let mut frame = Frame::take(program, plan)?;
        let count = plan.inputs.len();
        // SAFETY: by the caller, the launch has these parameters.
        let result = unsafe {
            let inputs = std::slice::from_raw_parts(context.params.add(1), count);
            let outputs = std::slice::from_raw_parts(context.params.add(1 + count), plan.outputs.len());
            execute(program, plan, &mut frame, inputs, outputs, run, None)
        };
        frame.give_back(plan);
        result
    }
}

/// A loop that ends when its condition does.
pub(super) struct PlannedWhile {
    condition: Body,
    body: Body,
    constants: usize,
    carries: Vec<Carry>,
    bound: Option<u32>,
    /// Where in the frame's memory the condition says whether it holds.
    holds: usize,
    /// How many bytes of the frame's memory it uses.
    pub memory: usize,
}

/// How a carried value gets from step to step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Carry {
    /// The body returns it as it was.
    Unchanged,
    /// Steps write to the final place and to this offset of the frame's memory in turn.
    Alternates(usize),
}

impl PlannedWhile {
    /// Plans a loop that may use the frame's memory from `offset` on.
    pub fn new(repeated: &WhileWork, params: &[Param], threads: usize, offset: usize) -> Result<PlannedWhile> {
        let WhileWork { condition, body, constants, bound } = repeated;
        let (inputs, outputs) = (body.inputs.len(), body.outputs.len());
        if inputs != constants + outputs || params.len() != inputs + outputs {
            return Err(Error::new("a loop has not the parameters of its body"));
        }
        let shapes: Vec<&[usize]> = params[..inputs].iter().map(|p| &p.sizes[..]).collect();
        let condition = Body::new(condition, &shapes, threads)?;
        if condition.plan.outputs.iter().map(|o| o.1).ne([1]) {
            return Err(Error::new("the condition of a loop has not one bool as its output"));
        }
        let body = Body::new(body, &shapes, threads)?;
        for (k, &(_, bytes)) in body.plan.outputs.iter().enumerate() {
            if params[inputs + k].bytes != bytes || params[constants + k].bytes != bytes {
                return Err(Error::new("a loop has carries of other sizes than its body"));
            }
        }
        let mut memory = ALIGNMENT;
        let carries = (*constants..inputs).zip(&body.plan.outputs).map(|(input, &(buffer, bytes))| {
            if body.plan.places[buffer] == PlannedPlace::Input(input) {
                return Carry::Unchanged;
            }
            let at = offset + memory;
            memory += bytes.next_multiple_of(ALIGNMENT);
            Carry::Alternates(at)
        });
        let carries = carries.collect();
        Ok(PlannedWhile { condition, body, constants: *constants, carries, bound: *bound, holds: offset, memory })
    }

    /// # Safety
    /// The context is that of the launch the loop was planned for; outputs overlap no input.
    pub unsafe fn run(&self, context: &Context, run: &Run) -> Result<()> {
        let mut frames =
            [Frame::take(&self.condition.program, &self.condition.plan)?, Frame::take(&self.body.program, &self.body.plan)?];
        // SAFETY: by the caller.
        let result = unsafe { self.repeat(context, run, &mut frames) };
        let [condition, body] = frames;
        condition.give_back(&self.condition.plan);
        body.give_back(&self.body.plan);
        result
    }

    /// # Safety
    /// As for `run`; the frames are those of the condition and of the body.
    unsafe fn repeat(&self, context: &Context, run: &Run, [of_condition, of_body]: &mut [Frame; 2]) -> Result<()> {
        let Body { program, plan } = &self.body;
        let count = plan.inputs.len();
        // SAFETY: by the caller, the launch has these parameters.
        let (initial, last) = unsafe {
            (
                std::slice::from_raw_parts(context.params, count),
                std::slice::from_raw_parts(context.params.add(count), self.carries.len()),
            )
        };
        let mut inputs: SmallVec<[*mut u8; 16]> = initial.into();
        let mut outputs: SmallVec<[*mut u8; 16]> = last.into();
        for (c, &carry) in self.carries.iter().enumerate() {
            if carry == Carry::Unchanged {
                outputs[c] = initial[self.constants + c];
            }
        }
        let holds = context.memory.wrapping_add(self.holds);
        let mut steps = 0u32;
        while self.bound.is_none_or(|bound| steps < bound) {
            // SAFETY: the memory behind `holds` is this loop's, and the inputs are those of the step.
            unsafe { execute(&self.condition.program, &self.condition.plan, of_condition, &inputs, &[holds], run, None)? };
            // SAFETY: the condition has written it, unless the run has failed.
            if run.failed() || unsafe { *holds } == 0 {
                break;
            }
            // SAFETY: a step writes where the one before did not, and never to the initial carries.
            unsafe { execute(program, plan, of_body, &inputs, &outputs, run, None)? };
            if run.failed() {
                return Ok(());
            }
            for (c, &carry) in self.carries.iter().enumerate() {
                if let Carry::Alternates(offset) = carry {
                    inputs[self.constants + c] = outputs[c];
                    let spare = context.memory.wrapping_add(offset);
                    outputs[c] = if outputs[c] == last[c] { spare } else { last[c] };
                }
            }
            steps = steps.saturating_add(1);
        }
        for (c, &to) in last.iter().enumerate() {
            let from = inputs[self.constants + c];
            if from != to {
                // SAFETY: both have the bytes of the carry, and different pointers are to memory that is apart.
                unsafe { from.copy_to_nonoverlapping(to, plan.outputs[c].1) };
            }
        }
        Ok(())
    }
}
