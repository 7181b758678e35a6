//! Functions of the scores of attention as loops over a part of them, which tiles call.

use super::attention::{ComputedScore, elements};
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Access, Axis, AxisKind, Param, Section, Stage, Store, Target};
use igneous_ir::scalar::{Compare, ExprId, Exprs, ScalarOp};
use igneous_ir::types::{DType, Literal, TensorType};
use igneous_runtime::program::{Elements, ScoreOperand};
use std::collections::HashMap;

/// More numbers than a tile has at a time.
const MOST: i64 = 1 << 20;

/// The section of a function and its parameters: products, what it is given, scores and, where they are needed, slopes, each as many
/// numbers of single precision (bools are zero or not). And where what it is given lies. None if it reads anything else.
pub(super) fn score_loop(function: &ComputedScore, params: &[Param]) -> Option<(Section, Vec<Param>, Vec<ScoreOperand>)> {
    let extent = Dim::constant(MOST);
    let mut exprs = Exprs::with_axes(vec![extent]);
    let index = exprs.raw(ScalarOp::Axis(0), &[], DType::I64);
    let mut copy = Copy { function, params, exprs, index, given: Vec::new(), loads: HashMap::new() };
    let results = function.roots().into_iter().map(|root| copy.expression(root)).collect::<Option<Vec<ExprId>>>()?;
    let Copy { exprs, given, .. } = copy;
    let param = |name: String, access: Access| Param { name, ty: TensorType::new(DType::F32, [extent]), access };
    let inputs = (0..=given.len()).map(|k| param(format!("x{k}"), Access::Read));
    let outputs = (0..results.len()).map(|k| param(format!("y{k}"), Access::Write));
    let own: Vec<Param> = inputs.chain(outputs).collect();
    let store = |(k, &value): (usize, &ExprId)| {
        let param = (1 + given.len() + k) as u32;
        Store { value, to: Target::Param { param, index: vec![index], combine: None } }
    };
    let stores = results.iter().enumerate().map(store).collect();
    let section = Section {
        axes: vec![Axis { name: "i".to_owned(), extent, kind: AxisKind::Parallel }],
        locals: Vec::new(),
        exprs,
        stages: vec![Stage::Map { axes: Vec::new(), stores }],
        schedule: Vec::new(),
    };
    Some((section, own, given))
}

/// Copies expressions, with loads along a tile instead of those by query and key.
struct Copy<'f, 'k> {
    function: &'f ComputedScore<'k>,
    params: &'f [Param],
    exprs: Exprs,
    index: ExprId,
    given: Vec<ScoreOperand>,
    /// The copies so far.
    loads: HashMap<ExprId, ExprId>,
}

impl Copy<'_, '_> {
    fn expression(&mut self, root: ExprId) -> Option<ExprId> {
        let place = self.function.place;
        for id in place.section.exprs.reachable(&[root]) {
            if self.loads.contains_key(&id) {
                continue;
            }
            let node = place.section.exprs.get(id);
            let copied = match node.op {
                ScalarOp::Local(local) if local == self.function.product => {
                    self.exprs.raw(ScalarOp::Load(0), &[self.index], DType::F32)
                }
                ScalarOp::Load(param) => {
                    let tail = [Some(place.query), Some(place.key)];
                    let of = elements(&place.section.exprs, self.params, place.batch, param, &node.args, tail)?;
                    self.given_element(of, node.dtype)?
                }
                ScalarOp::Local(_) => return None,
                // Indices of loads; where one counts as a number, its copy is missed.
                ScalarOp::Axis(_) => continue,
                op => {
                    let args: Option<Vec<ExprId>> = node.args.iter().map(|a| self.loads.get(a).copied()).collect();
                    let Some(args) = args else { continue };
                    self.exprs.raw(op, &args, node.dtype)
                }
            };
            self.loads.insert(id, copied);
        }
        self.loads.get(&root).copied()
    }

    fn given_element(&mut self, of: Elements, dtype: DType) -> Option<ExprId> {
        let number = self.exprs.raw(ScalarOp::Load(1 + self.given.len() as u32), &[self.index], DType::F32);
        match dtype {
            DType::F32 => {
                self.given.push(ScoreOperand::Numbers(of));
                Some(number)
            }
            DType::Bool => {
                self.given.push(ScoreOperand::Bools(of));
                let zero = self.exprs.constant(Literal::float(DType::F32, 0.0));
                Some(self.exprs.raw(ScalarOp::Compare(Compare::Ne), &[number, zero], DType::Bool))
            }
            _ => None,
        }
    }
}
