//! Carrying out a program's launch list on a device.

use super::buffer::DeviceBuffer;
use super::fetch::Fetch;
use super::outcome::{self, Depends, Epoch, Outcome, Token, WORD};
use super::plan::{self, Action, At, Inner, Library, Loaded, Overwrites, Plan, Scan, While};
use super::restore::Restore;
use super::{Choice, Device, Done, ErrorTag, Launch, Recording, kernels};
use crate::library::{Arguments, find};
use crate::program::{Place, Program};
use igneous_ir::error::{Error, Result};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// A program with its constants on a device.
pub struct Executable {
    device: Arc<dyn Device>,
    programs: Arc<Vec<Loaded>>,
    /// For each of the programs, its constants.
    constants: Vec<Vec<DeviceBuffer>>,
    /// Code and value of the first check that failed since the last failure was reported, and what they are before one has.
    error: DeviceBuffer,
    no_error: DeviceBuffer,
    /// What keeps variables as they were when a check has failed.
    restores: Vec<Restore>,
    /// One run at a time asks the device for its steps.
    runs: Mutex<Runs>,
}

/// What runs leave for the next.
struct Runs {
    /// By the extents of the inputs.
    prepared: HashMap<Vec<Vec<usize>>, Prepared>,
    epoch: Arc<Epoch>,
    /// Of the last runs with checks, the oldest first.
    outcomes: VecDeque<Arc<Outcome>>,
}

/// What runs with the same extents have in common.
struct Prepared {
    plan: Plan,
    frame: DeviceBuffer,
    /// For each output the blocks that runs have put it in: one that nobody else holds any more is used again.
    results: Vec<Vec<DeviceBuffer>>,
    /// The memory that runs used, the last one's last, and their steps if they are asked for again: in a loop addresses soon repeat.
    seen: Vec<(Vec<u64>, Option<Recording>)>,
}

/// So many runs with checks may be under way: the next waits for the first of them.
const MOST_UNDER_WAY: usize = 64;

/// How many extents are kept; when there are more, all are prepared again.
const MOST_PREPARED: usize = 32;

/// How many buffers an error about memory lists.
const LISTED: usize = 10;

/// How many blocks are kept for an output.
const MOST_RESULTS: usize = 2;

/// How many sets of addresses are remembered, and the recordings for them.
const MOST_SEEN: usize = 8;

/// Whether the steps of a program may go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    /// A check has failed.
    Stop,
}

impl Executable {
    /// Puts what the program and those inside of it need on the device.
    ///
    /// # Errors
    /// If the device has not enough memory.
    pub fn new(device: &Arc<dyn Device>, program: &Arc<Program>) -> Result<Executable> {
        let restores = if has_checks(program) { Restore::all(program) } else { Vec::new() };
        let of_program = kernels(program).into_iter();
        device.prepare(&of_program.chain(restores.iter().map(|restore| restore.kernel.clone())).collect::<Vec<_>>())?;
        let programs = Arc::new(Loaded::all(program));
        let constants = programs
            .iter()
            .map(|loaded| loaded.program.constants.iter().map(|bytes| DeviceBuffer::from_bytes(device, bytes)).collect())
            .collect::<Result<_>>()?;
        Ok(Executable {
            device: device.clone(),
            constants,
            error: DeviceBuffer::from_bytes(device, &[0; WORD])?,
            no_error: DeviceBuffer::from_bytes(device, &[0; WORD])?,
            runs: Mutex::new(Runs { prepared: HashMap::new(), epoch: Epoch::new(&programs), outcomes: VecDeque::new() }),
            restores,
            programs,
        })
    }

    /// Runs the program on `inputs`, whose extents are `shapes`, and returns the outputs. As for [`Program::run_with_shapes`], an
    /// input that is updated in place must be the only handle of its memory. The device may still be at work: a check that fails is
    /// an error of whoever reads an output, of a later run, or of [`synchronize`](super::synchronize), and no later run overwrites an
    /// input until it has been reported.
    ///
    /// # Errors
    /// If the inputs do not fit the program's, one that is updated in place is shared, a check fails or failed in an earlier run, memory
    /// is short, or the device fails. Unless the device fails no input has changed.
    pub fn run(&self, inputs: &[&DeviceBuffer], shapes: &[&[usize]]) -> Result<Vec<DeviceBuffer>> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let Runs { prepared: all, epoch, outcomes } = &mut *runs;
        while let Some(first) = outcomes.front().filter(|o| o.is_known() || outcomes.len() >= MOST_UNDER_WAY) {
            first.unreported().map_err(|e| e.note("failed in", "an earlier run, whose results mean nothing"))?;
            outcomes.pop_front();
        }
        let key: Vec<Vec<usize>> = shapes.iter().map(|s| s.to_vec()).collect();
        if !all.contains_key(&key) {
            if all.len() >= MOST_PREPARED {
                all.clear();
            }
            let plan = Plan::new(&self.programs, 0, shapes)?;
            let frame = DeviceBuffer::new(&self.device, plan.memory).map_err(|e| self.out_of_memory(&plan, e))?;
            all.insert(key.clone(), Prepared { results: vec![Vec::new(); plan.outputs.len()], plan, frame, seen: Vec::new() });
        }
        let prepared = all.get_mut(&key).expect("it was made above");
        self.check_inputs(inputs, &prepared.plan)?;
        if prepared.plan.overwrites == Overwrites::Unguarded {
            outcomes.drain(..).try_for_each(|outcome| outcome.unreported())?;
        }
        let inherited = inherited(inputs, &prepared.plan, epoch)?;
        if epoch.is_over() {
            // SAFETY: both have as many bytes.
            unsafe { self.device.copy(self.no_error.address(), self.error.address(), WORD)? };
            *epoch = Epoch::new(&self.programs);
        }
        let mut outputs: Vec<DeviceBuffer> = Vec::with_capacity(prepared.plan.outputs.len());
        for (j, &(buffer, bytes)) in prepared.plan.outputs.iter().enumerate() {
            outputs.push(match prepared.plan.places[buffer] {
                At::Input(input) | At::InOut { input, .. } => inputs[input].clone(),
                At::Output(output) if output < j => outputs[output].clone(),
                _ => self.result(&mut prepared.results[j], bytes).map_err(|e| self.out_of_memory(&prepared.plan, e))?,
            });
        }
        let addresses: Vec<u64> = inputs.iter().copied().chain(&outputs).map(DeviceBuffer::address).collect();
        // SAFETY: all blocks have the plan's sizes; fresh outputs and the frame are this run's alone, because the device does the
        // steps of one run after those of another, and so are the inputs that are updated in place, as was checked.
        unsafe { self.perform(prepared, addresses, inputs.len())? };
        let plan = &prepared.plan;
        let outcome = if plan.checks { Some(self.outcome(plan, epoch)?) } else { None };
        // A point of its own costs as much as a launch.
        let written = if plan.steps.len() > 1 { Some(Arc::new(self.device.mark()?)) } else { None };
        let after = |(k, (output, &(buffer, _))): (usize, (DeviceBuffer, &(usize, usize)))| {
            let depends = match plan.places[buffer] {
                At::Input(_) => return output,
                At::InOut { .. } => Depends::Kept,
                _ if self.restores.iter().any(|restore| restore.has(k)) => Depends::Kept,
                _ => Depends::Computed,
            };
            let own = outcome.clone().map(|outcome| Token { outcome, depends });
            output.written_by(inherited.iter().cloned().chain(own).collect(), written.clone())
        };
        let outputs = outputs.into_iter().zip(&plan.outputs).enumerate().map(after).collect();
        outcomes.extend(outcome);
        Ok(outputs)
    }

    /// Whether the checks of the run held that was asked for last: an error if that is known by now.
    fn outcome(&self, plan: &Plan, epoch: &Arc<Epoch>) -> Result<Arc<Outcome>> {
        // SAFETY: the error word has as many bytes.
        let word = unsafe { Fetch::in_order(&self.device, self.error.address(), WORD)? };
        let known = plan.waits || word.is_done();
        let outcome = Outcome::new(epoch, word);
        if known {
            outcome.unreported()?;
        } else {
            outcome::note(&self.device, &outcome);
        }
        Ok(outcome)
    }

    /// A block for an output. What becomes the next run's input is put in two blocks by turns.
    fn result(&self, blocks: &mut Vec<DeviceBuffer>, bytes: usize) -> Result<DeviceBuffer> {
        if let Some(free) = blocks.iter().find(|b| b.is_unique()) {
            return Ok(free.clone());
        }
        let block = DeviceBuffer::new(&self.device, bytes)?;
        if blocks.len() >= MOST_RESULTS {
            blocks.remove(0);
        }
        blocks.push(block.clone());
        Ok(block)
    }

    /// Asks for the steps of a run; if one has used the same memory before, at once.
    ///
    /// # Safety
    /// As [`execute`](Self::execute); the addresses are those of inputs, then outputs.
    unsafe fn perform(&self, prepared: &mut Prepared, addresses: Vec<u64>, inputs: usize) -> Result<()> {
        let Prepared { plan, frame, seen, .. } = prepared;
        let mut work = || {
            let (from, to) = addresses.split_at(inputs);
            // SAFETY: by the caller.
            unsafe {
                self.execute(plan, from, to, frame.address())?;
                let bytes = |output: usize| plan.outputs[output].1;
                let launch =
                    |restore: &Restore| restore.launch([from, to], bytes, self.error.address(), |l| self.device.launch(l));
                if plan.checks { self.restores.iter().try_for_each(launch) } else { Ok(()) }
            }
        };
        if plan.waits {
            return work();
        }
        let Some(k) = seen.iter().position(|(known, _)| *known == addresses) else {
            work()?;
            if seen.len() >= MOST_SEEN {
                seen.remove(0);
            }
            seen.push((addresses, None));
            return Ok(());
        };
        let (known, recording) = seen.remove(k);
        let recording = match recording {
            Some(recording) => recording,
            None => self.device.record(&mut work)?,
        };
        // SAFETY: by the caller; the constants and the frame are kept as long as the recording.
        let done = unsafe { self.device.replay(&recording) };
        seen.push((known, Some(recording)));
        done
    }

    fn out_of_memory(&self, plan: &Plan, error: Error) -> Error {
        let program = &self.programs[0].program;
        let sum = |bytes: &mut dyn Iterator<Item = usize>| format!("{} bytes", bytes.sum::<usize>());
        let mut largest: Vec<usize> = (0..program.buffers.len()).collect();
        largest.sort_by_key(|&b| std::cmp::Reverse(plan.sizes[b]));
        let line = |&b: &usize| {
            let place = match plan.places[b] {
                At::Input(input) | At::InOut { input, .. } => format!("input {input}"),
                At::Output(output) => format!("output {output}"),
                At::Memory(offset) => format!("temporary at {offset}"),
                At::Constant(constant) => format!("constant {constant}"),
            };
            format!("\n    {} bytes: {}, {place}", plan.sizes[b], program.buffers[b].ty)
        };
        let largest: String = largest.iter().take(LISTED).map(line).collect();
        error
            .context(format!("memory of program `{}`", program.name))
            .note("inputs", sum(&mut plan.inputs.iter().copied()))
            .note("outputs", sum(&mut plan.outputs.iter().map(|o| o.1)))
            .note("temporaries", format!("{} bytes", plan.memory))
            .note("largest", largest)
    }

    fn check_inputs(&self, inputs: &[&DeviceBuffer], plan: &Plan) -> Result<()> {
        let program = &self.programs[0].program;
        let of = |input: usize| format!("input {input} of program `{}`", program.name);
        if inputs.len() != plan.inputs.len() {
            let given = format!("program `{}` has {} inputs, but {} are given", program.name, plan.inputs.len(), inputs.len());
            return Err(Error::new(given));
        }
        for (input, (buffer, &bytes)) in inputs.iter().zip(&plan.inputs).enumerate() {
            if !buffer.is_on(&self.device) {
                return Err(Error::new(format!("{} lies on another device", of(input))));
            }
            if buffer.len() != bytes {
                return Err(Error::new(format!("{} has {} bytes, not {bytes}", of(input), buffer.len())));
            }
        }
        for spec in &program.buffers {
            if let Place::InOut(input) = spec.place
                && !inputs[input].is_unique()
            {
                return Err(Error::new(format!("{} is updated in place, but somebody else holds it, too", of(input))));
            }
        }
        Ok(())
    }

    /// Whether no check has failed yet; waits for the device.
    fn go(&self, plan: &Plan) -> Result<Go> {
        if !plan.checks {
            return Ok(Go::On);
        }
        let mut word = [0; WORD];
        // SAFETY: the error word has as many bytes.
        unsafe { self.device.download(self.error.address(), &mut word)? };
        Ok(if word == [0; WORD] { Go::On } else { Go::Stop })
    }

    /// Asks for all steps of a program.
    ///
    /// # Safety
    /// There are as many addresses as the program has inputs and outputs, each of memory of the size that the plan says; no
    /// output's memory is used by anybody else, nor overlaps an input, except that it may be that of the input which the output
    /// is or is made from in place. The frame is this run's alone.
    unsafe fn execute(&self, plan: &Plan, inputs: &[u64], outputs: &[u64], frame: u64) -> Result<Go> {
        let device = &*self.device;
        let address = |buffer: usize| match plan.places[buffer] {
            At::Input(input) => inputs[input],
            At::InOut { output, .. } | At::Output(output) => outputs[output],
            At::Memory(offset) => frame + offset as u64,
            At::Constant(constant) => self.constants[plan.program][constant].address(),
        };
        for &place in &plan.places {
            if let At::InOut { input, output } = place
                && inputs[input] != outputs[output]
            {
                // SAFETY: by the caller.
                unsafe { device.copy(inputs[input], outputs[output], plan.inputs[input])? };
            }
        }
        for step in &plan.steps {
            let params: Vec<u64> = step.params.iter().map(|&p| address(p)).collect();
            // SAFETY: the addresses are those of the launch's parameters; what lies behind the arena is one step's at a time.
            let go = unsafe {
                match &step.action {
                    Action::Kernel(kernel) => {
                        if self.compute(kernel, &params)? == Done::No {
                            let tag = ErrorTag::new(plan.program, step.commits && plan.checks);
                            let arguments = kernel.arguments(params, self.error.address(), tag, frame);
                            let plan::Kernel { kernel, grid, shared, .. } = kernel;
                            device.launch(Launch { kernel, grid: *grid, shared: *shared, arguments: &arguments })?;
                        }
                        Go::On
                    }
                    Action::Copy { bytes } => {
                        device.copy(params[0], params[1], *bytes)?;
                        Go::On
                    }
                    Action::Library(library) => match self.go(plan)? {
                        Go::Stop => Go::Stop,
                        Go::On => self.library(library, &params)?,
                    },
                    Action::Call(body) => self.inner(body, &params, frame)?,
                    Action::Scan(scan) => self.scan(scan, &params, frame)?,
                    Action::Cond { then, otherwise } => match self.go(plan)? {
                        Go::Stop => Go::Stop,
                        Go::On => {
                            let body = if self.holds(params[0])? { then } else { otherwise };
                            self.inner(body, &params[1..], frame)?
                        }
                    },
                    Action::While(repeated) => self.repeat(repeated, plan, &params, frame)?,
                }
            };
            if go == Go::Stop {
                return Ok(Go::Stop);
            }
        }
        for (&(buffer, bytes), &output) in plan.outputs.iter().zip(outputs) {
            let from = address(buffer);
            if from != output {
                // SAFETY: both have that many bytes, and are apart by the caller.
                unsafe { device.copy(from, output, bytes)? };
            }
        }
        Ok(Go::On)
    }

    /// Has a library do what a kernel does, if that is the choice.
    ///
    /// # Safety
    /// The addresses are those of the launch's parameters.
    unsafe fn compute(&self, kernel: &plan::Kernel, params: &[u64]) -> Result<Done> {
        match &kernel.library {
            // SAFETY: by the caller.
            Some(library) if library.choice == Choice::Library => unsafe {
                self.device.compute(&library.call, &library.addresses(params))
            },
            _ => Ok(Done::No),
        }
    }

    /// Runs a program whose inputs and outputs are `params`.
    ///
    /// # Safety
    /// As [`execute`](Self::execute).
    unsafe fn inner(&self, inner: &Inner, params: &[u64], frame: u64) -> Result<Go> {
        let (inputs, outputs) = params.split_at(inner.plan.inputs.len());
        // SAFETY: by the caller.
        unsafe { self.execute(&inner.plan, inputs, outputs, frame + inner.frame as u64) }
    }

    /// Reads a bool; waits for the device.
    ///
    /// # Safety
    /// There is one.
    unsafe fn holds(&self, address: u64) -> Result<bool> {
        let mut byte = [0];
        // SAFETY: by the caller.
        unsafe { self.device.download(address, &mut byte)? };
        Ok(byte[0] != 0)
    }

    /// A function of the host: operands are copied to it, and results back.
    ///
    /// # Safety
    /// The addresses are those of its operands and results.
    unsafe fn library(&self, library: &Library, params: &[u64]) -> Result<Go> {
        let (from, to) = params.split_at(library.operands.len());
        // Eight bytes at a time, because elements are aligned.
        let blocks = |layouts: &[crate::library::Layout]| -> Vec<Vec<u64>> {
            layouts.iter().map(|l| vec![0; l.bytes().div_ceil(8)]).collect()
        };
        let (mut operands, mut results) = (blocks(&library.operands), blocks(&library.results));
        for ((block, layout), &address) in operands.iter_mut().zip(&library.operands).zip(from) {
            // SAFETY: by the caller.
            unsafe { self.device.download(address, bytes_of(block, layout.bytes()))? };
        }
        let name = library.work.op.name();
        let function = find(name).ok_or_else(|| Error::new(format!("no function computes {name}")))?;
        let mut arguments = Arguments {
            op: &library.work.op,
            operands: operands.iter_mut().zip(&library.operands).map(|(b, l)| (l, &*bytes_of(b, l.bytes()))).collect(),
            results: results.iter_mut().zip(&library.results).map(|(b, l)| (l, bytes_of(b, l.bytes()))).collect(),
        };
        function(&mut arguments).map_err(|e| library.work.loc.map_or(e.clone(), |loc| e.at(loc)))?;
        drop(arguments);
        for ((block, layout), &address) in results.iter_mut().zip(&library.results).zip(to) {
            // SAFETY: by the caller.
            unsafe { self.device.upload(address, bytes_of(block, layout.bytes()))? };
        }
        Ok(Go::On)
    }

    /// A loop over steps: nothing is waited for.
    ///
    /// # Safety
    /// As [`execute`](Self::execute).
    unsafe fn scan(&self, scan: &Scan, params: &[u64], frame: u64) -> Result<Go> {
        let plan = &scan.body.plan;
        let carries = scan.spare.len();
        let (initial, last) = params.split_at(plan.inputs.len());
        let mut inputs = initial.to_vec();
        let mut outputs = last.to_vec();
        for step in 0..scan.steps {
            let at = if scan.reverse { scan.steps - 1 - step } else { step };
            for s in scan.constants + carries..inputs.len() {
                inputs[s] = initial[s] + (at * plan.inputs[s]) as u64;
            }
            for j in carries..outputs.len() {
                outputs[j] = last[j] + (at * plan.outputs[j].1) as u64;
            }
            for (c, spare) in scan.spare.iter().enumerate() {
                // The last step writes to the final place.
                outputs[c] = match spare {
                    None => inputs[scan.constants + c],
                    Some(_) if (scan.steps - 1 - step).is_multiple_of(2) => last[c],
                    Some(spare) => frame + *spare as u64,
                };
            }
            // SAFETY: by the caller; a step writes where the one before did not, and never to the initial carries, which no
            // final one overlaps.
            if unsafe { self.execute(plan, &inputs, &outputs, frame + scan.body.frame as u64)? } == Go::Stop {
                return Ok(Go::Stop);
            }
            inputs[scan.constants..scan.constants + carries].copy_from_slice(&outputs[..carries]);
        }
        // SAFETY: by the caller.
        unsafe { self.settle(plan, &inputs[scan.constants..], &last[..carries])? };
        Ok(Go::On)
    }

    /// A loop that ends when its condition does, which is read after each step.
    ///
    /// # Safety
    /// As [`execute`](Self::execute).
    unsafe fn repeat(&self, repeated: &While, outer: &Plan, params: &[u64], frame: u64) -> Result<Go> {
        let plan = &repeated.body.plan;
        let (initial, last) = params.split_at(plan.inputs.len());
        let mut inputs = initial.to_vec();
        let holds = frame + repeated.holds as u64;
        let mut steps = 0;
        while repeated.bound.is_none_or(|bound| steps < bound) {
            // SAFETY: by the caller; the byte is this loop's.
            unsafe {
                self.execute(&repeated.condition.plan, &inputs, &[holds], frame + repeated.condition.frame as u64)?;
                if self.go(outer)? == Go::Stop {
                    return Ok(Go::Stop);
                }
                if !self.holds(holds)? {
                    break;
                }
            }
            let place = |(c, spare): (usize, &Option<usize>)| match spare {
                None => inputs[repeated.constants + c],
                Some(spare) if inputs[repeated.constants + c] == last[c] => frame + *spare as u64,
                Some(_) => last[c],
            };
            let outputs: Vec<u64> = repeated.spare.iter().enumerate().map(place).collect();
            // SAFETY: by the caller; a step writes where the one before did not, and never to the initial carries.
            if unsafe { self.execute(plan, &inputs, &outputs, frame + repeated.body.frame as u64)? } == Go::Stop {
                return Ok(Go::Stop);
            }
            inputs[repeated.constants..].copy_from_slice(&outputs);
            steps = steps.saturating_add(1);
        }
        // SAFETY: by the caller.
        unsafe { self.settle(plan, &inputs[repeated.constants..], last)? };
        Ok(Go::On)
    }

    /// Copies the carries of the last step to where they belong.
    ///
    /// # Safety
    /// The addresses are those of carries of the body.
    unsafe fn settle(&self, body: &Plan, carries: &[u64], last: &[u64]) -> Result<()> {
        for ((&from, &to), &(_, bytes)) in carries.iter().zip(last).zip(&body.outputs) {
            if from != to {
                // SAFETY: by the caller.
                unsafe { self.device.copy(from, to, bytes)? };
            }
        }
        Ok(())
    }
}

/// Whether a check of a program or of one inside of it can fail.
fn has_checks(program: &Program) -> bool {
    let mut found = false;
    program.visit(&mut |program| found |= !program.checks.is_empty());
    found
}

/// The runs of other programs that what a run computes depends on; waits for those whose failure would have to keep it from overwriting
/// something.
fn inherited(inputs: &[&DeviceBuffer], plan: &Plan, epoch: &Arc<Epoch>) -> Result<Vec<Token>> {
    let mut found: Vec<Token> = Vec::new();
    for token in inputs.iter().flat_map(|input| input.tokens()) {
        let outcome = &token.outcome;
        if outcome.is_known() || token.is_kept() && outcome.is_over() {
            token.settle()?;
        } else if outcome.spoils(epoch) && plan.checks {
            // The error word stays as it is, so that this run fails, too.
        } else if plan.waits || plan.overwrites != Overwrites::Nothing {
            token.settle()?;
        } else if !found.iter().any(|f| Arc::ptr_eq(&f.outcome, outcome) && f.depends == token.depends) {
            found.push(token.clone());
        }
    }
    Ok(found)
}

/// The first bytes of a block.
fn bytes_of(block: &mut [u64], bytes: usize) -> &mut [u8] {
    let (_, all, _) = {
        // SAFETY: every byte of a number is a byte.
        unsafe { block.align_to_mut::<u8>() }
    };
    &mut all[..bytes]
}
