//! Eager mode: every operator compiled alone, by the options eager mode has, and run one after the other.

use super::programs::{compiled, run};
use igneous_compiler::{Compiled, Options, Precision};
use igneous_ir::array::Array;
use igneous_ir::autodiff::expand_gradients;
use igneous_ir::error::{Error, Result};
use igneous_ir::graph::{Graph, Value};
use igneous_ir::op::Op;
use igneous_ir::ops;
use igneous_ir::types::TensorType;
use std::collections::HashMap;
use std::rc::Rc;

/// Programs of single operators, by operator and types of its operands.
#[derive(Default)]
pub struct Eager(HashMap<(Op, Vec<TensorType>), Rc<Compiled>>);

/// So many programs are kept.
const MOST: usize = 2000;

impl Eager {
    /// The outputs of the graph, whose gradients are expanded first.
    ///
    /// # Errors
    /// If an operator cannot be compiled, or a check fails.
    pub fn run(&mut self, graph: &Graph, inputs: &[Array]) -> Result<Vec<Array>> {
        let graph = expand_gradients(graph)?;
        let mut values: HashMap<Value, Array> = graph.inputs().iter().map(|(v, _)| *v).zip(inputs.iter().cloned()).collect();
        let live = graph.live();
        for (n, node) in graph.nodes().filter(|(n, node)| live[*n as usize] && !node.op.is(&ops::structural::INPUT)) {
            let operands: Vec<Array> = node.operands.iter().map(|v| values[v].clone()).collect();
            let results = self.operator(&node.op, &operands).map_err(|e| e.note("operator", &node.op))?;
            values.extend(graph.results(n).into_iter().zip(results));
        }
        let missing = || Error::new("an output is not computed");
        graph.outputs().iter().map(|(v, _)| values.get(v).cloned().ok_or_else(missing)).collect()
    }

    fn operator(&mut self, op: &Op, operands: &[Array]) -> Result<Vec<Array>> {
        let key = (op.clone(), operands.iter().map(Array::ty).collect::<Vec<_>>());
        let program = match self.0.get(&key) {
            Some(program) => program.clone(),
            None => {
                let mut graph = Graph::new(op.name());
                let inputs: Vec<Value> = key.1.iter().map(|ty| graph.input("x", ty.clone())).collect();
                graph.add(op.clone(), &inputs)?.into_iter().for_each(|v| graph.output("y", v));
                let options = Options {
                    precision: Precision::Strict,
                    egraph: false,
                    recognise: false,
                    outline: false,
                    ..Options::default()
                };
                let program = Rc::new(compiled(&graph, &options)?);
                if self.0.len() >= MOST {
                    self.0.clear();
                }
                self.0.insert(key, program.clone());
                program
            }
        };
        run(&program.program, operands)
    }
}
