//! Programs inside programs: calls of outlined blocks and loops over steps. Those that decide are in [`super::control`].

use super::Run;
use super::frame::Frame;
use super::plan::{Plan, PlannedPlace};
use super::scope::{Scope, bind_symbols};
use super::steps::{Context, execute, prepare};
use crate::buffer::ALIGNMENT;
use crate::program::{Program, ScanWork};
use igneous_ir::error::{Error, Result};
use smallvec::SmallVec;
use std::sync::Arc;

/// A parameter of the launch.
pub(super) struct Param {
    /// Its extents.
    pub sizes: Vec<usize>,
    /// Its size.
    pub bytes: usize,
}

/// A program and its plan for the shapes at hand.
pub(super) struct Body {
    pub program: Arc<Program>,
    pub plan: Arc<Plan>,
}

impl Body {
    /// The first `fixed` inputs are the same in all runs between two preparations.
    pub fn new(program: &Arc<Program>, shapes: &[&[usize]], threads: usize, fixed: usize) -> Result<Body> {
        let plan = program.plans.get(program, bind_symbols(program, shapes)?, threads, fixed)?;
        Ok(Body { program: program.clone(), plan })
    }
}

/// A call of an outlined block. The parameters are its inputs, then its outputs.
pub(super) struct PlannedCall(Body);

impl PlannedCall {
    pub fn new(program: &Arc<Program>, params: &[Param], threads: usize) -> Result<PlannedCall> {
        let inputs = program.inputs.len();
        if params.len() != inputs + program.outputs.len() {
            return Err(Error::new("a call has not the parameters of its block"));
        }
        let shapes: Vec<&[usize]> = params[..inputs].iter().map(|p| &p.sizes[..]).collect();
        let body = Body::new(program, &shapes, threads, 0)?;
        if params[inputs..].iter().map(|p| p.bytes).ne(body.plan.outputs.iter().map(|o| o.1)) {
            return Err(Error::new("a call has outputs of other sizes than its block"));
        }
        Ok(PlannedCall(body))
    }

    /// # Safety
    /// The context is that of the launch the call was planned for; outputs overlap no input.
    pub unsafe fn run(&self, context: &Context, run: &Run) -> Result<()> {
        let PlannedCall(Body { program, plan }) = self;
        let mut frame = Frame::take(program, plan)?;
        let count = plan.inputs.len();
        // SAFETY: by the caller, the launch has these parameters.
        let result = unsafe {
            let inputs = std::slice::from_raw_parts(context.params, count);
            let outputs = std::slice::from_raw_parts(context.params.add(count), plan.outputs.len());
            execute(program, plan, &mut frame, inputs, outputs, run, None)
        };
        frame.give_back(plan);
        result
    }
}

/// A loop over steps.
pub(super) struct PlannedScan {
    body: Body,
    steps: usize,
    constants: usize,
    carries: Vec<Carry>,
    sequences: usize,
    reverse: bool,
    /// How many bytes of the frame's memory it uses.
    pub memory: usize,
}

/// How a carried value gets from step to step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Carry {
    /// The body updates it in place.
    InPlace,
    /// The body returns it as it was.
    Unchanged,
    /// Steps write to the final place and to this offset of the frame's memory in turn.
    Alternates(usize),
    /// This output of the body is the carry as it came: steps write to the next step's element of it.
    Stacked(usize),
}

impl PlannedScan {
    /// Plans a scan that may use the frame's memory from `offset` on.
    pub fn new(scan: &ScanWork, params: &[Param], scope: Scope, threads: usize, offset: usize) -> Result<PlannedScan> {
        let ScanWork { body: program, constants, carries, sequences, .. } = scan;
        let (constants, carries, sequences) = (*constants, *carries, *sequences);
        let inputs = constants + carries + sequences;
        let outputs = program.outputs.len();
        if program.inputs.len() != inputs || outputs < carries || params.len() != inputs + outputs {
            return Err(Error::new("a scan has not the parameters of its body"));
        }
        let steps = scope.size(scan.steps)?;
        let shapes: Result<Vec<&[usize]>> = params[..inputs]
            .iter()
            .enumerate()
            .map(|(i, p)| match &p.sizes[..] {
                all if i < constants + carries => Ok(all),
                [first, rest @ ..] if *first == steps => Ok(rest),
                _ => Err(Error::new("a sequence of a scan has not one element for each step")),
            })
            .collect();
        let body = Body::new(program, &shapes?, threads, constants)?;
        for (j, &(_, bytes)) in body.plan.outputs.iter().enumerate() {
            let count = if j < carries { 1 } else { steps };
            if params[inputs + j].bytes != bytes * count || (j < carries && params[constants + j].bytes != bytes) {
                return Err(Error::new("a scan has carries or results of other sizes than its body"));
            }
        }
        let stacked = |input: usize| {
            let is_input = |&j: &usize| body.plan.places[body.plan.outputs[j].0] == PlannedPlace::Input(input);
            (carries..outputs).find(is_input)
        };
        let mut memory = 0;
        let carries = (constants..constants + carries).zip(&body.plan.outputs).map(|(input, &(buffer, bytes))| {
            match body.plan.places[buffer] {
                PlannedPlace::InOut { input: i, .. } if i == input => Carry::InPlace,
                PlannedPlace::Input(i) if i == input => Carry::Unchanged,
                _ if let Some(output) = stacked(input) => Carry::Stacked(output),
                _ => {
                    let at = offset + memory;
                    memory += bytes.next_multiple_of(ALIGNMENT);
                    Carry::Alternates(at)
                }
            }
        });
        let carries = carries.collect();
        Ok(PlannedScan { body, steps, constants, carries, sequences, reverse: scan.reverse, memory })
    }

    /// The element that a step visits.
    fn place(&self, step: usize) -> usize {
        if self.reverse { self.steps - 1 - step } else { step }
    }

    /// Where an element of a stacked result lies.
    fn element(&self, output: usize, at: usize, last: &[*mut u8]) -> *mut u8 {
        last[output].wrapping_add(at * self.body.plan.outputs[output].1)
    }

    /// # Safety
    /// The context is that of the launch the scan was planned for; outputs overlap no input, except that a final carry may
    /// lie where the initial one does.
    pub unsafe fn run(&self, context: &Context, run: &Run) -> Result<()> {
        let Body { program, plan } = &self.body;
        let mut frame = Frame::take(program, plan)?;
        let first_sequence = self.constants + self.carries.len();
        let count = first_sequence + self.sequences;
        // SAFETY: by the caller, the launch has these parameters.
        let (initial, last) = unsafe {
            (
                std::slice::from_raw_parts(context.params, count),
                std::slice::from_raw_parts(context.params.add(count), plan.outputs.len()),
            )
        };
        let mut inputs: SmallVec<[*mut u8; 16]> = initial.into();
        let mut outputs: SmallVec<[*mut u8; 16]> = last.into();
        for (c, &carry) in self.carries.iter().enumerate() {
            let (from, to) = (initial[self.constants + c], last[c]);
            // SAFETY: all of these have the bytes of the carry, and different pointers are to memory that is apart.
            let copy = |from: *mut u8, to: *mut u8| unsafe {
                if from != to {
                    from.copy_to_nonoverlapping(to, plan.outputs[c].1);
                }
            };
            match carry {
                Carry::Alternates(offset) if self.steps > 0 => {
                    if from == to && self.steps % 2 == 1 {
                        // The first step would write what it reads.
                        let spare = context.memory.wrapping_add(offset);
                        copy(from, spare);
                        inputs[self.constants + c] = spare;
                    }
                }
                Carry::Stacked(output) if self.steps > 0 => {
                    let first = self.element(output, self.place(0), last);
                    copy(from, first);
                    inputs[self.constants + c] = first;
                }
                _ => copy(from, to),
            }
            if carry == Carry::InPlace {
                inputs[self.constants + c] = to;
            }
            if carry == Carry::Unchanged {
                outputs[c] = from;
            }
        }

        if self.steps > 0 {
            // SAFETY: by the caller; what is prepared reads constants alone.
            unsafe { prepare(plan, &mut frame, &inputs, &outputs, run)? };
        }
        for step in 0..self.steps {
            let at = self.place(step);
            for s in first_sequence..count {
                inputs[s] = initial[s].wrapping_add(at * plan.inputs[s]);
            }
            for j in self.carries.len()..outputs.len() {
                outputs[j] = self.element(j, at, last);
            }
            for (c, &carry) in self.carries.iter().enumerate() {
                let next = match carry {
                    Carry::Alternates(_) if (self.steps - 1 - step).is_multiple_of(2) => last[c],
                    Carry::Alternates(offset) => context.memory.wrapping_add(offset),
                    Carry::Stacked(_) if step + 1 == self.steps => last[c],
                    Carry::Stacked(output) => self.element(output, self.place(step + 1), last),
                    Carry::InPlace | Carry::Unchanged => continue,
                };
                if step > 0 {
                    inputs[self.constants + c] = outputs[c];
                }
                outputs[c] = next;
            }
            // SAFETY: by the caller and by the choice of places above.
            unsafe { execute(program, plan, &mut frame, &inputs, &outputs, run, None)? };
            if run.failed() {
                break;
            }
        }
        frame.give_back(plan);
        Ok(())
    }
}
