//! Sums over the steps of a loop, as expressions over stacked values.

use super::plan::{Class, Plan};
use igneous_ir::error::Result;
use igneous_ir::graph::{Graph, Value};

use igneous_ir::op::{Attr, Op, ReduceKind};
use igneous_ir::ops;
use std::collections::{BTreeMap, BTreeSet};

/// How the sum over the steps of a value of the body is made.
pub(super) struct Sum {
    value: Value,
    kind: Kind,
}

enum Kind {
    /// The sum over the first axis of the stacked value.
    Stacked,
    /// A product of two values that differ from step to step: contracted over the steps too.
    Product { op: Op, operands: [Value; 2] },
    /// A product with a constant: that of the sum.
    Scaled { op: Op, sum: Box<Sum>, constant: Value, constant_first: bool },
    /// The sum over some axes: over the steps too.
    Reduced { axes: Vec<usize>, operand: Value },
    /// The transpose of a sum.
    Transposed { op: Op, sum: Box<Sum> },
    /// A sum of sums.
    Added(Box<Sum>, Box<Sum>),
}

impl Sum {
    pub fn of(plan: &Plan<'_>, value: Value) -> Sum {
        let stacked = Sum { value, kind: Kind::Stacked };
        if !plan.is_moved(value) && plan.class(value) == Class::Varying {
            return stacked;
        }
        let node = plan.body.node(value.node);
        let varies = |v: Value| plan.class(v) >= Class::Sequence;
        let kind = match (node.op.name(), &node.operands[..]) {
            ("dot_general", &[a, b]) => match (varies(a), varies(b)) {
                (true, true) => Kind::Product { op: over_steps(&node.op), operands: [a, b] },
                (true, false) => {
                    Kind::Scaled { op: node.op.clone(), sum: Box::new(Sum::of(plan, a)), constant: b, constant_first: false }
                }
                _ => Kind::Scaled { op: node.op.clone(), sum: Box::new(Sum::of(plan, b)), constant: a, constant_first: true },
            },
            ("reduce", &[operand]) if *node.op.attr("kind") == Attr::Name(ReduceKind::Sum.name()) => {
                Kind::Reduced { axes: node.op.axes("axes").to_vec(), operand }
            }
            ("transpose", &[operand]) => Kind::Transposed { op: node.op.clone(), sum: Box::new(Sum::of(plan, operand)) },
            // A loop in the body starts its own sums at zero.
            ("add", &[a, b]) if is_zero(plan, a) => return Sum::of(plan, b),
            ("add", &[a, b]) if is_zero(plan, b) => return Sum::of(plan, a),
            ("add", &[a, b]) if varies(a) && varies(b) => Kind::Added(Box::new(Sum::of(plan, a)), Box::new(Sum::of(plan, b))),
            _ => return stacked,
        };
        Sum { value, kind }
    }

    /// What is added up.
    pub fn value(&self) -> Value {
        self.value
    }

    /// The values whose stacks it reads.
    pub fn stacks(&self, into: &mut BTreeSet<Value>) {
        match &self.kind {
            Kind::Stacked => {
                into.insert(self.value);
            }
            Kind::Product { operands, .. } => into.extend(operands),
            Kind::Scaled { sum, .. } | Kind::Transposed { sum, .. } => sum.stacks(into),
            Kind::Reduced { operand, .. } => {
                into.insert(*operand);
            }
            Kind::Added(a, b) => {
                a.stacks(into);
                b.stacks(into);
            }
        }
    }

    /// The values that are the same in every step and that it reads.
    pub fn constants(&self, into: &mut BTreeSet<Value>) {
        match &self.kind {
            Kind::Scaled { sum, constant, .. } => {
                into.insert(*constant);
                sum.constants(into);
            }
            Kind::Transposed { sum, .. } => sum.constants(into),
            Kind::Added(a, b) => {
                a.constants(into);
                b.constants(into);
            }
            _ => {}
        }
    }

    /// Appends it to the graph around the loop, where `outer` has the stacks and constants it reads.
    pub fn emit(&self, graph: &mut Graph, outer: &BTreeMap<Value, Value>) -> Result<Value> {
        let (op, operands) = match &self.kind {
            Kind::Stacked => (ops::reduce(ReduceKind::Sum, &[0]), vec![outer[&self.value]]),
            Kind::Product { op, operands } => (op.clone(), operands.iter().map(|v| outer[v]).collect()),
            Kind::Scaled { op, sum, constant, constant_first } => {
                let (sum, constant) = (sum.emit(graph, outer)?, outer[constant]);
                (op.clone(), if *constant_first { vec![constant, sum] } else { vec![sum, constant] })
            }
            Kind::Reduced { axes, operand } => {
                let axes: Vec<usize> = std::iter::once(0).chain(axes.iter().map(|a| a + 1)).collect();
                (ops::reduce(ReduceKind::Sum, &axes), vec![outer[operand]])
            }
            Kind::Transposed { op, sum } => (op.clone(), vec![sum.emit(graph, outer)?]),
            Kind::Added(a, b) => (ops::pointwise("add"), vec![a.emit(graph, outer)?, b.emit(graph, outer)?]),
        };
        Ok(graph.add(op, &operands)?[0])
    }
}

/// Whether a value is made of zeros, by its own definition.
fn is_zero(plan: &Plan<'_>, value: Value) -> bool {
    let node = plan.body.node(value.node);
    match node.op.name() {
        "broadcast" => is_zero(plan, node.operands[0]),
        "constant" => {
            let array = node.op.array("value");
            (0..array.len()).all(|i| array.literal(i).is(0.0))
        }
        _ => false,
    }
}

/// The product of stacked operands that is contracted over the steps too.
fn over_steps(op: &Op) -> Op {
    let behind = |name: &str, first: Option<usize>| {
        let axes = op.axes(name).into_iter().map(|a| a + 1);
        Attr::Ints(first.into_iter().chain(axes).map(|a| a as i64).collect())
    };
    let op = op.with_attr("lhs_contract", behind("lhs_contract", Some(0)));
    let op = op.with_attr("rhs_contract", behind("rhs_contract", Some(0)));
    let (lhs, rhs) = (behind("lhs_batch", None), behind("rhs_batch", None));
    op.with_attr("lhs_batch", lhs).with_attr("rhs_batch", rhs)
}
