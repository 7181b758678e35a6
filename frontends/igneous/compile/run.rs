//! Running a program: locks, inputs, the run, and its effects, all or none.

use super::entry::{Entry, Origin, Returned, SlotExit};
use super::tree::Tree;
use crate::backend::{Elements, Sent};
use crate::device::{Device, Remote};
use crate::slot::{Slot, SlotKey};
use crate::tape::{Node, Source};
use crate::tensor::{Eager, Repr, Tensor};
use crate::trace::{self, CaptureSource};
use crate::variable::{Contents, Variable};
use igneous_ir::graph::Region;
use igneous_ir::{Error, Loc, Result, TensorType, ops};
use igneous_runtime::{Buffer, LaunchTime};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, RwLockReadGuard, RwLockWriteGuard};

/// A variable locked for a run.
enum Lock<'a> {
    Shared(RwLockReadGuard<'a, Contents>),
    Exclusive(RwLockWriteGuard<'a, Contents>),
}

impl Lock<'_> {
    fn contents(&self) -> &Contents {
        match self {
            Lock::Shared(guard) => guard,
            Lock::Exclusive(guard) => guard,
        }
    }

    fn contents_mut(&mut self) -> Option<&mut Contents> {
        match self {
            Lock::Shared(_) => None,
            Lock::Exclusive(guard) => Some(guard),
        }
    }
}

/// What a run has locked, by number: always in this order, so that two runs cannot wait for each other.
struct Locks<'a> {
    variables: BTreeMap<u64, Lock<'a>>,
    slots: BTreeMap<u64, MutexGuard<'a, Option<Tensor>>>,
}

/// An input of a run.
struct Input {
    value: Eager,
    /// The variable it was taken from, which is restored if the run fails.
    taken: Option<u64>,
}

impl Input {
    fn new(value: &Eager) -> Input {
        Input { value: value.clone(), taken: None }
    }

    /// Brings the elements to the host.
    fn fetch(&mut self) -> Result<()> {
        if let Some(remote) = &self.value.remote {
            self.value.buffer = remote.host()?;
        }
        Ok(())
    }
}

impl<R: Tree> Entry<R> {
    /// Runs the program; `None` if what it was traced for is no longer so.
    ///
    /// # Errors
    /// If the run fails. Then nothing has changed.
    pub(super) fn run(&self, arguments: &[Tensor], loc: Loc, times: Option<&mut Vec<LaunchTime>>) -> Result<Option<R>> {
        let mut locks = self.lock();
        if !self.still_fits(&locks) {
            return Ok(None);
        }
        let recorded = self.is_recorded();
        let mut inputs = Vec::new();
        let ran = self.take_inputs(&mut inputs, arguments, &mut locks, recorded).and_then(|()| {
            let kept = if recorded || self.returns_inputs() { values(&inputs) } else { Vec::new() };
            let outputs = match self.executable.device() {
                Device::Cpu => self.execute(&mut inputs, times)?,
                _ => self.execute_on_device(&mut inputs, &locks)?,
            };
            Ok((kept, outputs))
        });
        let (kept, outputs) = match ran {
            Ok(ran) => ran,
            Err(error) => {
                restore(inputs, &mut locks);
                return Err(error.at(loc));
            }
        };
        drop(inputs);
        let result = |origin: Origin| match origin {
            Origin::Output(k) => Eager { loc: Some(loc), ..outputs[k].clone() },
            Origin::Input(k) => Eager { source: None, slot: None, ..kept[k].clone() },
        };
        self.assign(&mut locks, &result);
        let left = self.fill_slots(&mut locks, &result);
        drop(locks);
        self.traced.effects.iter().for_each(|e| e.commit());
        add_to_arguments(left, arguments, loc)?;
        let node = recorded.then(|| self.record(&kept, &outputs));
        let mut tensors = self.traced.returned.iter().map(|returned| match returned {
            Returned::Outside(tensor) => tensor.clone(),
            Returned::Value { origin: Origin::Input(k), .. } if *k < arguments.len() => arguments[*k].clone(),
            Returned::Value { origin, tracked } => {
                let mut value = result(*origin);
                if let (Origin::Output(result), true, Some(node)) = (*origin, *tracked, &node) {
                    value.source = Some(Source { node: node.clone(), result });
                }
                value.into()
            }
        });
        Ok(Some(self.traced.template.rebuild(&mut tensors)))
    }

    fn lock(&self) -> Locks<'_> {
        let mut variables: BTreeMap<u64, (&Arc<Variable>, bool)> = BTreeMap::new();
        for capture in &self.traced.captures {
            if let CaptureSource::Variable(variable) = &capture.source {
                variables.insert(variable.id(), (variable, false));
            }
        }
        for (variable, _) in &self.traced.assigned {
            variables.insert(variable.id(), (variable, true));
        }
        let slots: BTreeMap<u64, &Arc<Slot>> =
            self.traced.slots.iter().filter_map(|s| shared(&s.key)).map(|s| (s.id(), s)).collect();
        let mut locked = BTreeMap::new();
        for (id, (variable, exclusive)) in variables {
            let guard = if exclusive { Lock::Exclusive(variable.lock()) } else { Lock::Shared(variable.lock_shared()) };
            locked.insert(id, guard);
        }
        Locks { variables: locked, slots: slots.into_iter().map(|(id, slot)| (id, slot.lock())).collect() }
    }

    /// Types of variables and fullness of slots, now that nobody can change them.
    fn still_fits(&self, locks: &Locks<'_>) -> bool {
        let inputs = self.traced.graph.inputs();
        let types = self.traced.captures.iter().enumerate().all(|(k, capture)| match &capture.source {
            CaptureSource::Variable(v) => {
                let expected = self.traced.graph.ty(inputs[self.traced.arguments + k].0);
                locks.variables[&v.id()].contents().ty == *expected
            }
            _ => true,
        });
        types && self.traced.slots.iter().all(|s| shared(&s.key).is_none_or(|slot| s.fits(&locks.slots[&slot.id()])))
    }

    /// Whether this run becomes an operation on the tape. After its own `backward` there is nothing left to record.
    fn is_recorded(&self) -> bool {
        let tracked = |r: &Returned| matches!(r, Returned::Value { origin: Origin::Output(_), tracked: true });
        self.signature.modes.grad_enabled && !self.traced.ran_backward && self.traced.returned.iter().any(tracked)
    }

    fn returns_inputs(&self) -> bool {
        let input = |o: &Origin| matches!(o, Origin::Input(_));
        self.traced.returned.iter().any(|r| matches!(r, Returned::Value { origin, .. } if input(origin)))
            || self.traced.assigned.iter().any(|(_, o)| input(o))
            || self.traced.slots.iter().any(|s| matches!(&s.exit, SlotExit::Full(o) if input(o)))
    }

    /// The inputs in the order of the graph; those that were found if one is missing. A variable that the program overwrites is taken
    /// out of its place, so that its elements have one handle; if somebody else holds them, the run works on a copy.
    fn take_inputs(&self, inputs: &mut Vec<Input>, arguments: &[Tensor], locks: &mut Locks<'_>, recorded: bool) -> Result<()> {
        for tensor in arguments {
            inputs.push(Input::new(&*tensor.placed_value("its elements")?));
        }
        for (k, capture) in self.traced.captures.iter().enumerate() {
            inputs.push(match &capture.source {
                CaptureSource::Eager(value) => Input::new(&*value.placed()?),
                CaptureSource::Outer(_) => return Err(Error::new("a program cannot capture a traced tensor")),
                CaptureSource::Slot(key, _) => {
                    let grad = shared(key).and_then(|slot| locks.slots[&slot.id()].clone());
                    let grad = grad.ok_or_else(|| Error::new("a gradient slot was emptied"))?;
                    Input::new(&*grad.placed_value("its elements")?)
                }
                CaptureSource::Variable(variable) => {
                    let overwritten = self.executable.in_place(self.traced.arguments + k);
                    let keep = recorded || self.returns_inputs();
                    variable_input(variable, locks, overwritten, keep)?
                }
            });
        }
        if self.executable.device() == Device::Cpu {
            inputs.iter_mut().try_for_each(|input| input.fetch())?;
        }
        Ok(())
    }

    /// Runs the program on its device. What it overwrites there is given up for that time.
    fn execute_on_device(&self, inputs: &mut [Input], locks: &Locks<'_>) -> Result<Vec<Eager>> {
        let device = self.executable.device();
        for input in inputs.iter_mut().filter(|i| i.value.device() != device) {
            input.fetch()?;
        }
        let send = |(k, input): (usize, &mut Input)| {
            let elements = match input.value.remote.take_if(|remote| remote.device != device || self.executable.in_place(k)) {
                Some(remote) if remote.device == device => Elements::Device(remote.block),
                _ => match &input.value.remote {
                    Some(remote) => Elements::Device(remote.block.clone()),
                    None => Elements::Host(input.value.buffer.clone()),
                },
            };
            Sent { elements, version: self.version_of_contents(k) }
        };
        let sent: Vec<Sent> = inputs.iter_mut().enumerate().map(send).collect();
        let types: Vec<&TensorType> = inputs.iter().map(|i| &i.value.ty).collect();
        let ran = self.executable.run_on_device(&sent, &types, |input| self.version(input));
        self.runs.fetch_add(1, Ordering::Relaxed);
        let outputs = ran.and_then(|outputs| self.settle(&outputs, locks).map(|()| outputs));
        if outputs.is_err() {
            for (k, sent) in sent.into_iter().enumerate() {
                if let Elements::Device(block) = sent.elements
                    && self.executable.in_place(k)
                {
                    inputs[k].value.remote = Some(Remote::new(device, block));
                }
            }
        }
        outputs?.into_iter().map(|(ty, remote)| Eager::remote(ty, remote, None)).collect()
    }

    /// Waits for the checks of a run where a failure could not be undone later: before something other than a variable that the program
    /// overwrites in place becomes what the run has computed.
    fn settle(&self, outputs: &[(TensorType, Remote)], locks: &Locks<'_>) -> Result<()> {
        let moved = |(_, origin): &(_, Origin)| matches!(*origin, Origin::Output(k) if !outputs[k].1.block.is_kept());
        let emptied = |key: &SlotKey| shared(key).is_some_and(|slot| locks.slots[&slot.id()].is_some());
        let slots = self.traced.slots.iter().any(|effect| match effect.exit {
            SlotExit::Unchanged => false,
            SlotExit::Empty => emptied(&effect.key),
            SlotExit::Full(_) => true,
        });
        if slots || !self.traced.effects.is_empty() || self.traced.assigned.iter().any(moved) {
            outputs.iter().try_for_each(|(_, remote)| remote.block.settle())?;
        }
        Ok(())
    }

    /// Numbers the contents of an input that may be sent to a device once; none if it must be sent each time.
    fn version_of_contents(&self, input: usize) -> Option<u64> {
        let capture = input.checked_sub(self.traced.arguments).map(|k| &self.traced.captures[k].source)?;
        matches!(capture, CaptureSource::Variable(_) | CaptureSource::Eager(_)).then(|| self.version(input))
    }

    fn execute(&self, inputs: &mut [Input], times: Option<&mut Vec<LaunchTime>>) -> Result<Vec<Eager>> {
        let mut buffers = Vec::new();
        let mut moved = Vec::new();
        for (k, input) in inputs.iter_mut().enumerate() {
            let buffer = &mut input.value.buffer;
            buffers.push(match self.executable.in_place(k) {
                true if buffer.is_unique() => {
                    moved.push(k);
                    std::mem::replace(buffer, Buffer::new(0)?)
                }
                true => buffer.duplicate()?,
                false => buffer.clone(),
            });
        }
        let types: Vec<&TensorType> = inputs.iter().map(|i| &i.value.ty).collect();
        let outputs = self.executable.run(&mut buffers, &types, |input| self.version(input), times);
        self.runs.fetch_add(1, Ordering::Relaxed);
        if outputs.is_err() {
            for k in moved {
                inputs[k].value.buffer = buffers[k].clone();
            }
        }
        Ok(outputs?.into_iter().map(|(ty, buffer)| Eager::new(ty, buffer, None)).collect())
    }

    /// Numbers the contents of an input: those of a variable change, what was captured by value does not.
    fn version(&self, input: usize) -> u64 {
        match input.checked_sub(self.traced.arguments).map(|k| &self.traced.captures[k].source) {
            Some(CaptureSource::Variable(variable)) => variable.version(),
            _ => 0,
        }
    }

    fn assign(&self, locks: &mut Locks<'_>, result: &dyn Fn(Origin) -> Eager) {
        for (variable, origin) in &self.traced.assigned {
            let value = result(*origin);
            if let Some(contents) = locks.variables.get_mut(&variable.id()).and_then(Lock::contents_mut) {
                *contents = Contents::of(&value);
                variable.changed();
            }
        }
    }

    /// Fills and empties slots; returns the gradients of arguments.
    fn fill_slots(&self, locks: &mut Locks<'_>, result: &dyn Fn(Origin) -> Eager) -> Vec<(usize, Tensor)> {
        let mut left = Vec::new();
        for effect in &self.traced.slots {
            let grad = match effect.exit {
                SlotExit::Unchanged => continue,
                SlotExit::Empty => None,
                SlotExit::Full(origin) => Some(Tensor::from(result(origin))),
            };
            match (&effect.key, grad) {
                (SlotKey::Shared(slot), grad) => {
                    if let Some(place) = locks.slots.get_mut(&slot.id()) {
                        **place = grad;
                    }
                }
                (SlotKey::Argument(place), Some(grad)) => left.push((*place, grad)),
                _ => {}
            }
        }
        left
    }

    /// The run as one operation of the tape.
    fn record(&self, inputs: &[Eager], outputs: &[Eager]) -> Arc<Node> {
        let op = ops::call(Region::new(self.traced.graph.clone()));
        Node::new(op, inputs.iter(), outputs.iter().cloned())
    }
}

fn shared(key: &SlotKey) -> Option<&Arc<Slot>> {
    match key {
        SlotKey::Shared(slot) => Some(slot),
        _ => None,
    }
}

fn values(inputs: &[Input]) -> Vec<Eager> {
    inputs.iter().map(|i| i.value.clone()).collect()
}

fn variable_input(variable: &Arc<Variable>, locks: &mut Locks<'_>, overwritten: bool, keep: bool) -> Result<Input> {
    let id = variable.id();
    let slot = variable.requires_grad().get().then(|| variable.slot().clone());
    let lock = locks.variables.get_mut(&id).ok_or_else(|| Error::new("a variable is not locked"))?;
    let value = Eager { slot, ..lock.contents().value(None) };
    match lock.contents_mut().filter(|_| overwritten && !keep) {
        Some(contents) => {
            (contents.buffer, contents.remote) = (Buffer::new(0)?, None);
            Ok(Input { value, taken: Some(id) })
        }
        None => Ok(Input { value, taken: None }),
    }
}

/// Puts variables back after a run that failed.
fn restore(inputs: Vec<Input>, locks: &mut Locks<'_>) {
    for input in inputs {
        let place = input.taken.and_then(|id| locks.variables.get_mut(&id));
        if let Some(contents) = place.and_then(Lock::contents_mut) {
            (contents.buffer, contents.remote) = (input.value.buffer, input.value.remote);
        }
    }
}

/// Adds gradients to the slots of the arguments themselves.
fn add_to_arguments(grads: Vec<(usize, Tensor)>, arguments: &[Tensor], loc: Loc) -> Result<()> {
    for (place, grad) in grads {
        let Repr::Eager(value) = &arguments[place].0 else { continue };
        if let Some(slot) = &value.slot {
            let grad = slot.hooks.call(grad, loc)?;
            let key = SlotKey::Shared(slot.clone());
            let sum = match trace::slot_value(&key) {
                Some(before) => before + grad,
                None => grad,
            };
            sum.check()?;
            trace::set_slot(&key, Some(sum));
        }
    }
    Ok(())
}
