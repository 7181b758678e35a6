//! Copying expressions from one section to another with changes.

use igneous_ir::kernel::{Section, Stage, Store, Target};
use igneous_ir::scalar::{ExprId, Exprs, ScalarOp};
use igneous_ir::types::DType;

/// Rebuilds the expressions of `section` into `target`; `change` gets each node's operation, its arguments (already
/// in `target`) and its type, and returns the node that replaces it. Returns the stages with the new expressions.
pub fn rebuild(
    section: &Section,
    target: &mut Exprs,
    mut change: impl FnMut(&mut Exprs, ScalarOp, &[ExprId], DType) -> Option<ExprId>,
) -> Vec<Stage> {
    let roots: Vec<ExprId> = section.stages.iter().flat_map(Stage::roots).collect();
    let mut map: Vec<Option<ExprId>> = vec![None; section.exprs.len()];
    for id in section.exprs.reachable(&roots) {
        let node = section.exprs.get(id);
        let args: Vec<ExprId> = node.args.iter().map(|a| map[a.0 as usize].expect("arguments come first")).collect();
        let changed = change(target, node.op, &args, node.dtype);
        map[id.0 as usize] = Some(changed.unwrap_or_else(|| target.add(node.op, &args, node.dtype)));
    }
    let new = |id: &ExprId| map[id.0 as usize].expect("every root was rebuilt");
    section
        .stages
        .iter()
        .map(|stage| match stage {
            Stage::Map { axes, stores } => {
                let stores = stores.iter().map(|s| Store {
                    value: new(&s.value),
                    to: match &s.to {
                        Target::Param { param, index, combine } => {
                            Target::Param { param: *param, index: index.iter().map(new).collect(), combine: *combine }
                        }
                        Target::Local(l) => Target::Local(*l),
                    },
                });
                Stage::Map { axes: axes.clone(), stores: stores.collect() }
            }
            Stage::Reduce { kind, axes, body, to } => {
                Stage::Reduce { kind: *kind, axes: axes.clone(), body: new(body), to: to.clone() }
            }
            Stage::Dot { batch, m, n, axes, lhs, rhs, to } => Stage::Dot {
                batch: batch.clone(),
                m: m.clone(),
                n: n.clone(),
                axes: axes.clone(),
                lhs: new(lhs),
                rhs: new(rhs),
                to: *to,
            },
            Stage::Check { axes, ok, value, code } => {
                Stage::Check { axes: axes.clone(), ok: new(ok), value: new(value), code: *code }
            }
        })
        .collect()
}
