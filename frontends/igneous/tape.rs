//! The tape of eager mode: recorded operations, owned by the tensors they made, and `backward` over them.

use crate::apply::{Tensors, try_apply};
use crate::autocast::no_autocast;
use crate::hooks::{GradientHook, Hooks};
use crate::location::here;
use crate::slot::Slot;
use crate::tensor::{Eager, Repr, Tensor};
use crate::trace;
use igneous_ir::autodiff::{self, TapeEntry};
use igneous_ir::emit::Emit;
use igneous_ir::graph::{Graph, Region, Value, Values};
use igneous_ir::op::Vjp;
use igneous_ir::ops::structural::BARRIER;
use igneous_ir::{Dim, Error, Loc, Op, Result, Shape, TensorType, ops};
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

/// Which result of a recorded operation a tensor is.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) node: Arc<Node>,
    pub(crate) result: usize,
}

/// A recorded operation. It owns its operands' values and thereby the operations before it.
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) operands: SmallVec<[Operand; 3]>,
    /// The results without their history, which derivatives may need.
    pub(crate) results: SmallVec<[Eager; 1]>,
    /// What sees the gradient of the result.
    hooks: Option<Arc<Hooks<GradientHook>>>,
}

/// An operand of a recorded operation. It does not own its slot: a gradient may depend on the operand, and would then
/// keep itself alive.
pub(crate) struct Operand {
    pub(crate) value: Eager,
    pub(crate) slot: Option<Weak<Slot>>,
}

impl Operand {
    fn new(value: &Eager) -> Operand {
        let slot = value.slot.as_ref().map(Arc::downgrade);
        Operand { value: Eager { slot: None, ..value.clone() }, slot }
    }
}

impl Node {
    /// A recorded operation.
    pub(crate) fn new<'a>(
        op: Op,
        operands: impl Iterator<Item = &'a Eager>,
        results: impl IntoIterator<Item = Eager>,
    ) -> Arc<Node> {
        Arc::new(Node { op, operands: operands.map(Operand::new).collect(), results: results.into_iter().collect(), hooks: None })
    }
}

/// Dropping a long chain must not recurse: nodes that nobody else owns are taken apart one after the other.
impl Drop for Node {
    fn drop(&mut self) {
        let mut operands = std::mem::take(&mut self.operands);
        let mut sources: Vec<Source> = Vec::new();
        loop {
            sources.extend(operands.drain(..).filter_map(|o| o.value.source));
            let Some(source) = sources.pop() else { return };
            if let Some(mut node) = Arc::into_inner(source.node) {
                operands = std::mem::take(&mut node.operands);
            }
        }
    }
}

/// A handle of a tensor whose gradient the hooks see.
pub(crate) fn hooked(tensor: &Tensor, hooks: Arc<Hooks<GradientHook>>) -> Result<Tensor> {
    let value = tensor.placed_value("its value")?;
    let result = Eager { source: None, slot: None, ..Eager::clone(&value) };
    let node = Node {
        op: ops::custom_vjp(passed_on(&value.ty)?),
        operands: SmallVec::from_iter([Operand::new(&value)]),
        results: SmallVec::from_iter([result.clone(), result.clone()]),
        hooks: Some(hooks),
    };
    Ok(Eager { source: Some(Source { node: Arc::new(node), result: 0 }), ..result }.into())
}

/// The identity. Its derivative passes the cotangent through a barrier behind the residual: there [`Replay`] calls the hooks.
fn passed_on(ty: &TensorType) -> Result<ops::CustomVjp> {
    let mut forward = Graph::new("hooked");
    let x = forward.input("x", ty.clone());
    ["y", "residual"].into_iter().for_each(|name| forward.output(name, x));
    let mut backward = Graph::new("hooks");
    let [_, residual, dy] = ["x", "residual", "dy"].map(|name| backward.input(name, ty.clone()));
    let seen = backward.add(ops::barrier(), &[dy, residual])?[0];
    backward.output("dx", seen);
    let (forward, backward) = (Region::new(forward), Some(Region::new(backward)));
    Ok(ops::CustomVjp { forward, backward, tangent: None, arguments: 1, outputs: 1 })
}

/// Records `op` if a result can have a gradient.
pub(crate) fn record(op: &Op, operands: &[Arc<Eager>], results: &mut [Eager]) {
    let differentiable = |ty: &TensorType| ty.dtype.is_float();
    if !operands.iter().any(|v| v.tracked() && differentiable(&v.ty)) || matches!(op.record().vjp, Vjp::Zero) {
        return;
    }
    if !results.iter().any(|v| differentiable(&v.ty)) {
        return;
    }
    let node = Node::new(op.clone(), operands.iter().map(|v| v.as_ref()), results.iter().cloned());
    for (result, value) in results.iter_mut().enumerate() {
        if differentiable(&value.ty) {
            value.source = Some(Source { node: node.clone(), result });
        }
    }
}

/// Adds the gradients of `loss` to the slots of the leaves it depends on.
pub(crate) fn backward(loss: &Tensor, cotangent: Option<&Tensor>, loc: Loc) -> Result<()> {
    let loss = scalar_loss(loss, cotangent, loc)?;
    if trace::is_tracing() {
        return trace::backward(&loss, cotangent).map_err(|e| e.at(loc));
    }
    let root = loss.placed_value("its value")?;
    let mut emit = Replay::of(&root, loc);
    let leaves = std::mem::take(&mut emit.leaves);
    let wrt: Vec<Value> = leaves.iter().map(|(value, _)| *value).collect();
    let grads = emit.gradients(&root, cotangent, &wrt).map_err(|e| e.at(loc))?;
    let sums = leaves.iter().zip(grads).map(|((_, slot), grad)| {
        let grad = slot.hooks.call(grad, loc)?;
        let before = slot.lock().clone();
        let sum = match before {
            Some(before) => try_apply(ops::add(), &[&before, &grad.to(before.device())], loc)?.remove(0),
            None => grad,
        };
        Ok((slot, sum))
    });
    for (slot, sum) in sums.collect::<Result<Vec<_>>>()? {
        *slot.lock() = Some(sum);
    }
    Ok(())
}

/// The gradients of `loss` with respect to `inputs`, which are not added to any slot (PyTorch's
/// `torch.autograd.grad` with `create_graph`). Where the loss does not depend on an input, they are zero.
///
/// # Errors
/// If a tensor is invalid, the loss has axes, or an input does not require gradients.
#[track_caller]
pub fn grad(loss: &Tensor, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    gradients(loss, None, inputs, here())
}

/// [`grad`] of a tensor of any shape, with its cotangent.
///
/// # Errors
/// As `grad`, and if the cotangent has another type than the tensor.
#[track_caller]
pub fn grad_with(output: &Tensor, cotangent: &Tensor, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    gradients(output, Some(cotangent), inputs, here())
}

fn gradients(loss: &Tensor, cotangent: Option<&Tensor>, inputs: &[&Tensor], loc: Loc) -> Result<Vec<Tensor>> {
    let loss = scalar_loss(loss, cotangent, loc)?;
    for input in inputs {
        input.check()?;
        if !input.requires_grad() {
            let error = Error::new("grad: this tensor does not require gradients").note("tensor", input.describe());
            return Err(error.note("remedy", "make it a leaf first: `let x = x.requires_grad_();`").at(loc));
        }
    }
    if trace::is_tracing() {
        return trace::grad(&loss, cotangent, inputs).map_err(|e| e.at(loc));
    }
    let root = loss.placed_value("its value")?;
    let mut emit = Replay::of(&root, loc);
    let mut wrt = Vec::new();
    for input in inputs {
        wrt.push(emit.value_of(&*input.placed_value("its value")?));
    }
    emit.gradients(&root, cotangent, &wrt).map_err(|e| e.at(loc))
}

/// The loss as a tensor without axes, unless there is a cotangent.
fn scalar_loss(loss: &Tensor, cotangent: Option<&Tensor>, loc: Loc) -> Result<Tensor> {
    let ty = loss.ty()?;
    let one = ty.rank() > 0 && ty.elements() == Dim::ONE && cotangent.is_none();
    let loss = if one { try_apply(ops::reshape(Shape::new()), &[loss], loc)?.remove(0) } else { loss.clone() };
    check_loss(&loss, cotangent, loc)?;
    Ok(loss)
}

fn check_loss(loss: &Tensor, cotangent: Option<&Tensor>, loc: Loc) -> Result<()> {
    let ty = loss.ty()?;
    match cotangent {
        Some(cotangent) if cotangent.ty()? != ty => {
            let error = Error::new("a cotangent has the type of its tensor");
            Err(error.note("tensor", loss.describe()).note("cotangent", cotangent.describe()).at(loc))
        }
        None if ty.rank() != 0 => {
            let error = Error::new("backward needs a scalar: reduce the loss to one number or give a cotangent to backward_with");
            Err(error.note("loss", loss.describe()).at(loc))
        }
        _ if !loss.requires_grad() => {
            let error = Error::new("backward: this tensor depends on nothing that requires gradients");
            Err(error.note("loss", loss.describe()).at(loc))
        }
        _ => Ok(()),
    }
}

/// The recorded operations behind a tensor, and the place where their derivatives are applied: eager mode itself, so
/// that derivatives can be differentiated again.
struct Replay {
    /// Every value of the tape, then what is emitted.
    tensors: Vec<Tensor>,
    /// First value of each recorded operation's results.
    nodes: HashMap<*const Node, usize>,
    /// Operations in the order they were applied: operator, operands, results.
    entries: Vec<(Op, Values, Values)>,
    /// The values of operands with a slot but no history, by slot.
    by_slot: HashMap<u64, usize>,
    /// Values with a slot.
    leaves: Vec<(Value, Arc<Slot>)>,
    /// The residuals of the operations that pass a value on, with what sees its gradient.
    hooks: HashMap<usize, Arc<Hooks<GradientHook>>>,
    /// The line of the operation whose derivative is being emitted.
    loc: Loc,
}

fn value(index: usize) -> Value {
    Value { node: index as u32, result: 0 }
}

impl Replay {
    fn of(root: &Eager, loc: Loc) -> Replay {
        let mut replay = Replay {
            tensors: Vec::new(),
            nodes: HashMap::new(),
            entries: Vec::new(),
            by_slot: HashMap::new(),
            leaves: Vec::new(),
            hooks: HashMap::new(),
            loc,
        };
        for node in in_order(root) {
            let operands = node.operands.iter().map(|o| replay.operand(o)).collect();
            let first = replay.tensors.len();
            let made = Arc::as_ptr(&node);
            replay.nodes.insert(made, first);
            replay.hooks.extend(node.hooks.iter().map(|hooks| (first + 1, hooks.clone())));
            for (result, value) in node.results.iter().enumerate() {
                let source = value.ty.dtype.is_float().then(|| Source { node: node.clone(), result });
                replay.tensors.push(Eager { source, ..value.clone() }.into());
            }
            let results = (first..replay.tensors.len()).map(value).collect();
            replay.entries.push((node.op.clone(), operands, results));
        }
        // The loss itself may be a leaf.
        replay.value_of(root);
        replay
    }

    fn operand(&mut self, operand: &Operand) -> Value {
        let slot = operand.slot.as_ref().and_then(Weak::upgrade);
        self.value(&operand.value, slot)
    }

    fn value_of(&mut self, tensor: &Eager) -> Value {
        self.value(tensor, tensor.slot.clone())
    }

    fn value(&mut self, tensor: &Eager, slot: Option<Arc<Slot>>) -> Value {
        let known = match (&tensor.source, &slot) {
            (Some(source), _) => self.nodes.get(&Arc::as_ptr(&source.node)).map(|first| first + source.result),
            (None, Some(slot)) => self.by_slot.get(&slot.id()).copied(),
            (None, None) => None,
        };
        let index = known.unwrap_or_else(|| {
            self.tensors.push(Eager { slot: slot.clone(), ..tensor.clone() }.into());
            self.tensors.len() - 1
        });
        if let Some(slot) = slot
            && self.by_slot.insert(slot.id(), index).is_none()
        {
            self.leaves.push((value(index), slot));
        }
        value(index)
    }

    fn gradients(&mut self, root: &Eager, cotangent: Option<&Tensor>, wrt: &[Value]) -> Result<Vec<Tensor>> {
        let loss = self.value_of(root);
        let seed = cotangent.map(|tensor| {
            self.tensors.push(tensor.clone());
            value(self.tensors.len() - 1)
        });
        let entries = std::mem::take(&mut self.entries);
        let tape: Vec<TapeEntry> = entries.iter().map(|(op, operands, results)| TapeEntry { op, operands, results }).collect();
        // Derivatives are computed in the types of what they are of.
        let grads = no_autocast(|| autodiff::backward(self, &tape, loss, seed, wrt))?;
        Ok(grads.into_iter().map(|v| self.tensors[v.node as usize].clone()).collect())
    }
}

impl Emit for Replay {
    fn emit(&mut self, op: Op, operands: &[Value]) -> Result<Values> {
        let inputs: SmallVec<[&Tensor; 4]> = operands.iter().map(|v| &self.tensors[v.node as usize]).collect();
        let hooks = operands.get(1).and_then(|v| self.hooks.get(&(v.node as usize))).filter(|_| op.is(&BARRIER));
        let results = match hooks {
            Some(hooks) => Tensors::from_iter([hooks.call(inputs[0].clone(), self.loc)?]),
            None => try_apply(op, &inputs, self.loc)?,
        };
        drop(inputs);
        let first = self.tensors.len();
        self.tensors.extend(results);
        Ok((first..self.tensors.len()).map(value).collect())
    }

    fn type_of(&self, value: Value) -> TensorType {
        self.tensors[value.node as usize].ty().expect("only valid tensors are kept")
    }

    fn attribute_to(&mut self, value: Value) {
        if let Repr::Eager(made) = &self.tensors[value.node as usize].0 {
            self.loc = made.loc.unwrap_or(self.loc);
        }
    }
}

/// The recorded operations behind a tensor, each after those it depends on. Without recursion: chains can be long.
fn in_order(root: &Eager) -> Vec<Arc<Node>> {
    let mut order = Vec::new();
    let mut seen: HashSet<*const Node> = HashSet::new();
    let mut open: Vec<(Arc<Node>, usize)> = root.source.iter().map(|s| (s.node.clone(), 0)).collect();
    seen.extend(open.iter().map(|(node, _)| Arc::as_ptr(node)));
    while let Some((node, next)) = open.pop() {
        let sources = node.operands[next..].iter().enumerate().find_map(|(k, operand)| {
            let source = operand.value.source.as_ref()?;
            seen.insert(Arc::as_ptr(&source.node)).then(|| (next + k + 1, source.node.clone()))
        });
        match sources {
            Some((after, before)) => {
                open.push((node, after));
                open.push((before, 0));
            }
            None => order.push(node),
        }
    }
    order
}
