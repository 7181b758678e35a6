//! What is known about a class: its types, its value where that is constant, and where it came from.

use super::language::{Children, ENode, Kind, OpId};
use crate::precision::{Licence, Licences};
use egg::{Analysis, DidMerge, EGraph, Id, Justification, Language};
use igneous_ir::array::Data;
use igneous_ir::op::{Lowering, Reference};
use igneous_ir::{Array, Literal, Op, TensorType};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

/// An e-graph of tensors.
pub type TensorGraph = EGraph<ENode, Tensors>;

/// Constants above this size are not folded.
const FOLD_BYTES: usize = 1024;

/// What is known about a class.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The types of the results; more than one for an operator with several.
    pub types: Arc<[TensorType]>,
    /// The value, if it is the same in every run.
    pub known: Option<Known>,
    /// The first node of the original graph that this class computes, or that it helps to replace.
    pub origin: u32,
    /// The first e-node that was added to this class: one of the original graph's, if there is one.
    pub first: Id,
}

/// A value that is the same in every run.
#[derive(Clone, Debug)]
pub struct Known {
    /// The value.
    pub content: Content,
    /// Whether every back end computes these very bits.
    pub exact: bool,
}

/// The elements of a constant.
#[derive(Clone, PartialEq, Debug)]
pub enum Content {
    /// One number everywhere; the shape may be symbolic.
    Uniform(Literal),
    /// Different numbers.
    Elements(Arc<Array>),
}

/// Why two classes were united.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// A rewrite: an index into the log.
    Rewrite(u32),
    /// The same operator on equal operands.
    Congruence,
}

/// The analysis: operators and licences, and the log of unions.
pub struct Tensors {
    ops: Vec<Op>,
    ids: HashMap<Op, OpId>,
    licences: Licences,
    /// Types and origin of the e-node being added; its class has no other way to know.
    incoming: Option<(Arc<[TensorType]>, u32)>,
    /// The rewrite being applied.
    rewrite: Option<u32>,
    unions: RefCell<Vec<(Id, Id, Why)>>,
    touched: Vec<Id>,
}

impl Tensors {
    /// An analysis that folds what `licences` allow.
    pub fn new(licences: Licences) -> Tensors {
        Tensors {
            ops: Vec::new(),
            ids: HashMap::new(),
            licences,
            incoming: None,
            rewrite: None,
            unions: RefCell::default(),
            touched: Vec::new(),
        }
    }

    /// The operator of an e-node.
    pub fn op(&self, id: OpId) -> &Op {
        &self.ops[id.0 as usize]
    }

    /// The number of an operator.
    pub fn intern(&mut self, op: &Op) -> OpId {
        if let Some(&id) = self.ids.get(op) {
            return id;
        }
        let id = self.intern_unique(op);
        self.ids.insert(op.clone(), id);
        id
    }

    /// A number that no other e-node with this operator has.
    pub fn intern_unique(&mut self, op: &Op) -> OpId {
        self.ops.push(op.clone());
        OpId(self.ops.len() as u32 - 1)
    }

    /// The number of an operator that occurs already.
    pub fn number_of(&self, op: &Op) -> Option<OpId> {
        self.ids.get(op).copied()
    }

    /// The classes that are new or know more, or other e-nodes, than at the last call.
    pub fn take_touched(&mut self) -> Vec<Id> {
        std::mem::take(&mut self.touched)
    }

    /// The unions in order: two e-nodes and why they are equal.
    pub fn unions(&self) -> Vec<(Id, Id, Why)> {
        self.unions.borrow().clone()
    }
}

/// Adds an e-node whose results have these types; its own id, which need not be its class's.
pub fn add(egraph: &mut TensorGraph, node: ENode, types: Arc<[TensorType]>, origin: u32) -> Id {
    egraph.analysis.incoming = Some((types, origin));
    egraph.add_uncanonical(node)
}

/// Adds the e-node that selects result `i` of a class with several.
pub fn add_get(egraph: &mut TensorGraph, tuple: Id, i: u32, origin: u32) -> Id {
    let ty = egraph[tuple].data.types[i as usize].clone();
    add(egraph, ENode::new(Kind::GET, OpId(i), Children::from_slice(&[tuple])), Arc::from([ty]), origin)
}

/// Unites two classes by rewrite number `rewrite`. Returns whether they were different.
pub fn unite(egraph: &mut TensorGraph, a: Id, b: Id, rewrite: u32) -> bool {
    egraph.analysis.rewrite = Some(rewrite);
    let changed = egraph.union(a, b);
    egraph.analysis.rewrite = None;
    changed
}

impl Analysis<ENode> for Tensors {
    type Data = Facts;

    fn make(egraph: &mut TensorGraph, node: &ENode, first: Id) -> Facts {
        let (types, origin) = egraph.analysis.incoming.take().expect("e-nodes are only added with their types");
        let known = known(egraph, node, &types);
        Facts { types, known, origin, first }
    }

    fn remake(egraph: &mut TensorGraph, node: &ENode, id: Id) -> Facts {
        let Facts { types, origin, first, .. } = egraph[id].data.clone();
        let known = known(egraph, node, &types);
        Facts { types, known, origin, first }
    }

    fn pre_union(egraph: &TensorGraph, a: Id, b: Id, justification: &Option<Justification>) {
        if egraph.find(a) == egraph.find(b) {
            return;
        }
        let why = match (justification, egraph.analysis.rewrite) {
            (None, Some(rewrite)) => Why::Rewrite(rewrite),
            _ => Why::Congruence,
        };
        egraph.analysis.unions.borrow_mut().push((a, b, why));
    }

    fn modify(egraph: &mut TensorGraph, id: Id) {
        egraph.analysis.touched.push(id);
    }

    fn merge(&mut self, a: &mut Facts, b: Facts) -> DidMerge {
        debug_assert_eq!(a.types, b.types, "values of different types were united");
        a.origin = a.origin.min(b.origin);
        a.first = a.first.min(b.first);
        match (&a.known, &b.known) {
            (None, Some(_)) => {
                a.known = b.known;
                DidMerge(true, false)
            }
            (Some(_), None) => DidMerge(false, true),
            (Some(x), Some(y)) if !x.exact && y.exact => {
                a.known = b.known;
                DidMerge(true, false)
            }
            (Some(x), Some(y)) => DidMerge(false, x.exact && !y.exact),
            (None, None) => DidMerge(false, false),
        }
    }
}

/// The value of an e-node if its operands' are known, it is small or uniform, and the licences allow it.
fn known(egraph: &TensorGraph, node: &ENode, types: &[TensorType]) -> Option<Known> {
    let [ty] = types else { return None };
    let record = node.kind.record()?;
    let op = egraph.analysis.op(node.op);
    if record.name == "constant" {
        return Some(Known { content: content(op.array("value").clone()), exact: true });
    }
    if matches!(record.lowering, Lowering::Structural | Lowering::Library | Lowering::Composite(_)) {
        return None;
    }
    let operands: SmallVec<[&Facts; 3]> = node.children().iter().map(|&c| &egraph[c].data).collect();
    let inputs: SmallVec<[&Known; 3]> = operands.iter().map(|f| f.known.as_ref()).collect::<Option<_>>()?;
    let exact = inputs.iter().all(|k| k.exact) && is_exact(record.name, op, ty, &operands);
    if !exact && !egraph.analysis.licences.grant(Licence::Reassociate) {
        return None;
    }
    let uniform: Option<SmallVec<[Literal; 3]>> = inputs
        .iter()
        .map(|k| match k.content {
            Content::Uniform(literal) => Some(literal),
            Content::Elements(_) => None,
        })
        .collect();
    if let Some(literals) = uniform
        && !literals.is_empty()
    {
        let same = literals.iter().all(|l| *l == literals[0]);
        match record.name {
            "broadcast" | "reshape" | "transpose" | "slice" | "flip" => {
                return Some(Known { content: Content::Uniform(literals[0]), exact });
            }
            "concat" | "pad" if same => return Some(Known { content: Content::Uniform(literals[0]), exact }),
            "reduce" if matches!(op.choice("kind"), "max" | "min") && ty.dtype != igneous_ir::DType::Bool => {
                let nonempty = operands[0].types[0].elements().at_least(1) == Some(true);
                return nonempty.then_some(Known { content: Content::Uniform(literals[0]), exact });
            }
            _ if node.kind.is_pointwise() => {
                let scalars: Vec<Array> = literals.iter().map(|l| Array::scalar(*l)).collect();
                let result = TensorType::scalar(ty.dtype);
                return Some(Known { content: content(evaluate(op, &scalars, result)?), exact });
            }
            _ => {}
        }
    }
    let bytes = ty.bytes().as_const()?;
    if bytes as usize > FOLD_BYTES {
        return None;
    }
    let arrays: Vec<Array> = inputs.iter().zip(&operands).map(|(k, f)| materialise(k, &f.types[0])).collect::<Option<_>>()?;
    Some(Known { content: content(evaluate(op, &arrays, ty.clone())?), exact })
}

fn evaluate(op: &Op, inputs: &[Array], result: TensorType) -> Option<Arc<Array>> {
    let inputs: Vec<&Array> = inputs.iter().collect();
    let results = (op.record().reference)(&Reference { op, inputs: &inputs, results: &[result] }).ok()?;
    Some(Arc::new(results.into_iter().next()?.rounded()))
}

fn materialise(known: &Known, ty: &TensorType) -> Option<Array> {
    match &known.content {
        Content::Elements(array) => Some((**array).clone()),
        Content::Uniform(literal) => {
            let small = ty.bytes().as_const().is_some_and(|b| b as usize <= FOLD_BYTES);
            small.then(|| ty.sizes().ok().map(|shape| Array::full(*literal, shape))).flatten()
        }
    }
}

fn content(array: Arc<Array>) -> Content {
    let uniform = !array.is_empty()
        && match array.data() {
            Data::Float(v) => v.iter().all(|x| x.to_bits() == v[0].to_bits()),
            Data::Int(v) => v.iter().all(|x| *x == v[0]),
        };
    if uniform { Content::Uniform(array.literal(0)) } else { Content::Elements(array) }
}

/// Whether the operator's result is correctly rounded, and so the same wherever it is computed.
fn is_exact(name: &str, op: &Op, result: &TensorType, operands: &[&Facts]) -> bool {
    let discrete = !result.dtype.is_float() && operands.iter().all(|f| !f.types[0].dtype.is_float());
    match name {
        "iota" | "broadcast" | "reshape" | "transpose" | "slice" | "pad" | "concat" | "flip" | "gather" => true,
        "neg" | "abs" | "sign" | "sqrt" | "relu" | "square" | "reciprocal" | "floor" | "ceil" | "round" | "trunc" => true,
        "not" | "isnan" | "isfinite" | "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "select" | "cast" | "bitcast" => true,
        "add" | "sub" | "mul" | "div" | "maximum" | "minimum" => true,
        "reduce" => discrete || matches!(op.choice("kind"), "max" | "min"),
        _ => discrete,
    }
}
