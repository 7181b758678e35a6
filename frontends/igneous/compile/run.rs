//! Running a program: locks, inputs, the run, and its effects, all or none.

use super::entry::{Entry, Origin, Returned, SlotExit};
use super::tree::Tree;
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
        let mut inputs = self.inputs(arguments, &mut locks, recorded)?;
        let kept = if recorded || self.returns_inputs() { values(&inputs) } else { Vec::new() };
        let outputs = match self.execute(&mut inputs, times) {
            Ok(outputs) => outputs,
            Err(error) => {
                restore(inputs, &mut locks);
                return Err(error.at(loc));
            }
        };
        drop(inputs);
        let result = |origin: Origin| match origin {
            Origin::Output(k) => Eager::new(outputs[k].0.clone(), outputs[k].1.clone(), Some(loc)),
            Origin::Input(k) => Eager { source: None, slot: None, ..kept[k].clone() },
        };
        self.assign(&mut locks, &result);
        let left = self.fill_slots(&mut locks, &result);
        drop(locks);
        self.traced.effects.iter().for_each(|e| e.commit());
        add_to_arguments(left, arguments, loc)?;
        let node = recorded.then(|| self.record(&kept, &outputs, loc));
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

    /// The inputs in the order of the graph. A variable that the program overwrites is taken out of its place, so that its
    /// buffer has one handle; if somebody else holds it, the run works on a copy.
    fn inputs(&self, arguments: &[Tensor], locks: &mut Locks<'_>, recorded: bool) -> Result<Vec<Input>> {
        let mut inputs = Vec::new();
        for tensor in arguments {
            inputs.push(Input { value: Eager::clone(&*tensor.eager_value("its elements")?), taken: None });
        }
        for (k, capture) in self.traced.captures.iter().enumerate() {
            inputs.push(match &capture.source {
                CaptureSource::Eager(value) => Input { value: Eager::clone(&*value.dense()?), taken: None },
                CaptureSource::Outer(_) => return Err(Error::new("a program cannot capture a traced tensor")),
                CaptureSource::Slot(key, _) => {
                    let grad = shared(key).and_then(|slot| locks.slots[&slot.id()].clone());
                    let grad = grad.ok_or_else(|| Error::new("a gradient slot was emptied"))?;
                    Input { value: Eager::clone(&*grad.eager_value("its elements")?), taken: None }
                }
                CaptureSource::Variable(variable) => {
                    let overwritten = self.executable.in_place(self.traced.arguments + k);
                    let keep = recorded || self.returns_inputs();
                    variable_input(variable, locks, overwritten, keep)?
                }
            });
        }
        Ok(inputs)
    }

    fn execute(&self, inputs: &mut [Input], times: Option<&mut Vec<LaunchTime>>) -> Result<Vec<(TensorType, Buffer)>> {
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
        outputs
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
                *contents = Contents { ty: value.ty, buffer: value.buffer };
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
    fn record(&self, inputs: &[Eager], outputs: &[(TensorType, Buffer)], loc: Loc) -> Arc<Node> {
        let op = ops::call(Region::new(self.traced.graph.clone()));
        let results = outputs.iter().map(|(ty, buffer)| Eager::new(ty.clone(), buffer.clone(), Some(loc)));
        Node::new(op, inputs.iter(), results)
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
    let ty = lock.contents().ty.clone();
    let eager = |buffer| Eager { slot, ..Eager::new(ty, buffer, None) };
    match lock.contents_mut().filter(|_| overwritten && !keep) {
        Some(contents) => {
            let buffer = std::mem::replace(&mut contents.buffer, Buffer::new(0)?);
            Ok(Input { value: eager(buffer), taken: Some(id) })
        }
        None => Ok(Input { value: eager(lock.contents().buffer.clone()), taken: None }),
    }
}

/// Puts variables back after a run that failed.
fn restore(inputs: Vec<Input>, locks: &mut Locks<'_>) {
    for input in inputs {
        let place = input.taken.and_then(|id| locks.variables.get_mut(&id));
        if let Some(contents) = place.and_then(Lock::contents_mut) {
            contents.buffer = input.value.buffer;
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
