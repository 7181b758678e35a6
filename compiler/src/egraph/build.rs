//! Building what a pattern says, in a graph or beside an e-graph.

use super::analysis::{TensorGraph, add, add_get};
use super::language::{Children, ENode, Kind};
use super::pattern::{AttrTerm, Attrs, Head, Pattern, Term, TermId};
use super::rule::{Binding, Constant, class};
use egg::Id;
use igneous_ir::emit::Emit;
use igneous_ir::graph::Values;
use igneous_ir::op::{Attr, Op, Types};
use igneous_ir::{Array, Dim, Error, Result, TensorType, Value, ops};
use smallvec::SmallVec;

/// Emits the roots of `pattern`. A number takes the type of the operands beside it, and at the root the type in `types`.
///
/// # Errors
/// If an operator does not accept its operands.
pub fn build(target: &mut dyn Emit, pattern: &Pattern, bindings: &[Option<Binding>], types: &[TensorType]) -> Result<Vec<Value>> {
    let mut builder = Builder { target, pattern, bindings, made: vec![None; pattern.terms.len()] };
    let mut roots = Vec::new();
    for (i, &root) in pattern.roots.iter().enumerate() {
        let like = types.get(i).or(types.last());
        let values = builder.term(root, like)?;
        roots.push(values[0]);
    }
    Ok(roots)
}

struct Builder<'a> {
    target: &'a mut dyn Emit,
    pattern: &'a Pattern,
    bindings: &'a [Option<Binding>],
    made: Vec<Option<Values>>,
}

impl Builder<'_> {
    fn binding(&self, slot: usize) -> Result<&Binding> {
        let binding = self.bindings.get(slot).and_then(Option::as_ref);
        binding.ok_or_else(|| Error::new("a name of the right side stands for nothing"))
    }

    fn term(&mut self, id: TermId, like: Option<&TensorType>) -> Result<Values> {
        if let Some(values) = &self.made[id] {
            return Ok(values.clone());
        }
        let pattern = self.pattern;
        let values = match &pattern.terms[id] {
            Term::Value(slot) => match self.binding(*slot)?.clone() {
                Binding::Value(value) => Values::from_slice(&[value]),
                Binding::Constant(constant) => self.constant(constant)?,
                other => return Err(Error::new(format!("{other:?} is no value"))),
            },
            Term::Number(number) => {
                let ty = like.ok_or_else(|| Error::new("a number stands where its type is unknown"))?;
                return self.constant(Constant::filled(ty, number.get()));
            }
            Term::Get(tuple, i) => {
                let results = self.term(*tuple, None)?;
                Values::from_slice(&[results[*i as usize]])
            }
            Term::Apply(head, args) => self.apply(head, args, like)?,
            Term::Rest(_) => return Err(Error::new("`..` stands outside of operands")),
        };
        self.made[id] = Some(values.clone());
        Ok(values)
    }

    fn apply(&mut self, head: &Head, args: &[TermId], like: Option<&TensorType>) -> Result<Values> {
        let op = self.operator(head)?;
        let mut operands: SmallVec<[Option<Value>; 4]> = SmallVec::new();
        let mut numbers = false;
        for &arg in args {
            match &self.pattern.terms[arg] {
                Term::Rest(slot) => match self.binding(*slot)? {
                    Binding::Values(values) => operands.extend(values.iter().copied().map(Some)),
                    other => return Err(Error::new(format!("{other:?} is no list of values"))),
                },
                Term::Number(_) => {
                    numbers = true;
                    operands.push(None);
                }
                _ => operands.push(Some(self.term(arg, like)?[0])),
            }
        }
        if numbers {
            // The condition of a selection says nothing about its branches.
            let branches = usize::from(op.name() == "select");
            let beside = operands.iter().skip(branches).flatten().next().map(|&v| self.target.type_of(v));
            let ty = match (op.name(), beside) {
                ("pad", Some(ty)) => Some(TensorType::scalar(ty.dtype)),
                (_, beside) => beside.or(like.cloned()),
            };
            for (operand, &arg) in operands.iter_mut().zip(args) {
                if operand.is_none() {
                    *operand = Some(self.term(arg, ty.as_ref())?[0]);
                }
            }
        }
        let operands: SmallVec<[Value; 4]> = operands.into_iter().flatten().collect();
        self.target.emit(op, &operands)
    }

    fn operator(&self, head: &Head) -> Result<Op> {
        match head {
            Head::Pointwise(slot) => match self.binding(*slot)? {
                Binding::Operator(op) => Ok(op.clone()),
                other => Err(Error::new(format!("{other:?} is no operator"))),
            },
            Head::Operator(kind, attrs) => {
                let record = kind.record().ok_or_else(|| Error::new("only operators can be built"))?;
                let attrs: SmallVec<[Attr; 4]> = match attrs {
                    Attrs::Any => SmallVec::new(),
                    Attrs::All(slot) => match self.binding(*slot)? {
                        Binding::Operator(op) => op.attrs().iter().cloned().collect(),
                        other => return Err(Error::new(format!("{other:?} is no list of attributes"))),
                    },
                    Attrs::Each(terms) => terms.iter().map(|t| self.attribute(t)).collect::<Result<_>>()?,
                };
                if attrs.len() != record.attrs.len() {
                    return Err(Error::new(format!(
                        "{} has {} attributes, not {}",
                        record.name,
                        record.attrs.len(),
                        attrs.len()
                    )));
                }
                Ok(Op::new(record, attrs))
            }
        }
    }

    fn attribute(&self, term: &AttrTerm) -> Result<Attr> {
        match term {
            AttrTerm::Is(attr) => Ok(attr.clone()),
            AttrTerm::Bind(slot) => match self.binding(*slot)? {
                Binding::Attr(attr) => Ok(attr.clone()),
                other => Err(Error::new(format!("{other:?} is no attribute"))),
            },
            AttrTerm::Any => Err(Error::new("`_` stands for nothing on a right side")),
        }
    }

    fn constant(&mut self, constant: Constant) -> Result<Values> {
        match constant {
            Constant::Elements(array) => self.target.emit(ops::constant(array), &[]),
            Constant::Filled(ty, literal) => {
                let scalar = self.target.emit(ops::constant(Array::scalar(literal)), &[])?;
                if ty.rank() == 0 { Ok(scalar) } else { self.target.emit(ops::broadcast(ty.shape, &[]), &scalar) }
            }
        }
    }
}

/// E-nodes that are not in the e-graph yet: so that a right side of the wrong type never gets there.
pub struct Stage<'g> {
    egraph: &'g TensorGraph,
    nodes: Vec<Staged>,
}

struct Staged {
    op: Op,
    operands: SmallVec<[Value; 3]>,
    types: Types,
}

/// Values from here on are staged; below are classes.
const STAGED: u32 = 1 << 31;

impl<'g> Stage<'g> {
    /// Nothing beside `egraph`.
    pub fn new(egraph: &'g TensorGraph) -> Stage<'g> {
        Stage { egraph, nodes: Vec::new() }
    }

    /// Ends staging; the result can be committed to the e-graph.
    pub fn finish(self) -> Plan {
        Plan(self.nodes)
    }
}

/// What [`Stage`] has collected.
pub struct Plan(Vec<Staged>);

impl Plan {
    /// Adds the e-nodes to the e-graph; the e-nodes behind `roots`.
    pub fn commit(self, egraph: &mut TensorGraph, roots: &[Value], origin: u32) -> SmallVec<[Id; 1]> {
        let mut ids: Vec<Id> = Vec::with_capacity(self.0.len());
        for staged in self.0 {
            let children: Children = staged.operands.iter().map(|&v| committed(egraph, &ids, v, origin)).collect();
            let op = egraph.analysis.intern(&staged.op);
            let types = staged.types.into_iter().collect();
            ids.push(add(egraph, ENode::new(Kind::of(&staged.op), op, children), types, origin));
        }
        roots.iter().map(|&v| committed(egraph, &ids, v, origin)).collect()
    }
}

fn committed(egraph: &mut TensorGraph, ids: &[Id], v: Value, origin: u32) -> Id {
    let Some(staged) = v.node.checked_sub(STAGED) else { return class(v) };
    let id = ids[staged as usize];
    if egraph[id].data.types.len() == 1 { id } else { add_get(egraph, id, v.result, origin) }
}

impl Emit for Stage<'_> {
    fn emit(&mut self, op: Op, operands: &[Value]) -> Result<Values> {
        let inputs: SmallVec<[TensorType; 4]> = operands.iter().map(|&v| self.type_of(v)).collect();
        if let [x] = inputs.as_slice()
            && is_identity(&op, x)
        {
            return Ok(Values::from_slice(operands));
        }
        let types = op.infer(&inputs)?;
        let node = STAGED + self.nodes.len() as u32;
        let results = (0..types.len() as u32).map(|result| Value { node, result }).collect();
        self.nodes.push(Staged { op, operands: operands.into(), types });
        Ok(results)
    }

    fn type_of(&self, v: Value) -> TensorType {
        match v.node.checked_sub(STAGED) {
            Some(staged) => self.nodes[staged as usize].types[v.result as usize].clone(),
            None => self.egraph[class(v)].data.types[v.result as usize].clone(),
        }
    }
}

/// Whether an operator returns its operand of type `x` as it is.
fn is_identity(op: &Op, x: &TensorType) -> bool {
    match op.name() {
        "reshape" | "broadcast" => op.dims("shape") == x.shape.as_slice(),
        "transpose" => op.ints("permutation").iter().enumerate().all(|(i, &p)| i as i64 == p),
        "cast" => op.dtype("dtype") == x.dtype,
        "flip" | "reduce" => op.ints("axes").is_empty(),
        "concat" => true,
        "slice" => {
            let whole = op.dims("start").iter().all(|&d| d == Dim::ZERO) && op.dims("limit") == x.shape.as_slice();
            whole && op.ints("stride").iter().all(|&s| s == 1)
        }
        _ => false,
    }
}
