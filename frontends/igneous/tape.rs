//! The tape of eager mode: recorded operations, owned by the tensors they made, and `backward` over them.

use crate::slot::Slot;
use crate::tensor::{Eager, Repr, Tensor};
use crate::trace;
use igneous_ir::op::Vjp;
use igneous_ir::{Error, Loc, Op, Result, TensorType};
use igneous_runtime::Buffer;
use smallvec::SmallVec;
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
    /// Types and elements of the results, which derivatives may need.
    pub(crate) results: SmallVec<[(TensorType, Buffer); 1]>,
    pub(crate) loc: Loc,
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

/// Records `op` if a result can have a gradient.
pub(crate) fn record(op: &Op, operands: &[Arc<Eager>], results: &mut [Eager], loc: Loc) {
    let differentiable = |ty: &TensorType| ty.dtype.is_float();
    if !operands.iter().any(|v| v.tracked() && differentiable(&v.ty)) || matches!(op.record().vjp, Vjp::Zero) {
        return;
    }
    if !results.iter().any(|v| differentiable(&v.ty)) {
        return;
    }
    let node = Arc::new(Node {
        op: op.clone(),
        operands: operands.iter().map(|v| Operand::new(v)).collect(),
        results: results.iter().map(|v| (v.ty.clone(), v.buffer.clone())).collect(),
        loc,
    });
    for (result, value) in results.iter_mut().enumerate() {
        if differentiable(&value.ty) {
            value.source = Some(Source { node: node.clone(), result });
        }
    }
}

/// Adds the gradients of `loss` to the slots of the leaves it depends on.
pub(crate) fn backward(loss: &Tensor, cotangent: Option<&Tensor>, loc: Loc) -> Result<()> {
    check_loss(loss, cotangent, loc)?;
    if trace::is_tracing() {
        return trace::backward(loss, cotangent).map_err(|e| e.at(loc));
    }
    Err(Error::new("backward").at(loc))
}

/// The gradients of `loss` with respect to `inputs`, which are not added to any slot (PyTorch's
/// `torch.autograd.grad` with `create_graph`). Where the loss does not depend on an input, they are zero.
///
/// # Errors
/// If a tensor is invalid, the loss has axes, or an input does not require gradients.
#[track_caller]
pub fn grad(loss: &Tensor, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let loc = Loc::caller();
    check_loss(loss, None, loc)?;
    for input in inputs {
        input.check()?;
    }
    if trace::is_tracing() {
        return trace::grad(loss, None, inputs).map_err(|e| e.at(loc));
    }
    Err(Error::new("grad").at(loc))
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

impl Eager {
    pub(crate) fn into_tensor(self) -> Tensor {
        Tensor(Repr::Eager(Arc::new(self)))
    }
}
