//! Which subexpressions get names of their own when expressions are written as text.

use crate::scalar::{ExprId, Exprs, ScalarOp};
use std::collections::HashMap;

/// The largest number of nodes written as one expression.
const LINE: u32 = 40;

impl Exprs {
    /// The expressions reachable from `roots`, arguments first, in the order of a depth-first walk: independent of
    /// the order in which the arena was filled.
    pub fn depth_first(&self, roots: &[ExprId]) -> Vec<ExprId> {
        let mut seen = vec![false; self.len()];
        let mut order = Vec::new();
        let mut stack: Vec<(ExprId, usize)> = Vec::new();
        for &root in roots {
            stack.push((root, 0));
            while let Some((id, next)) = stack.pop() {
                if next == 0 && std::mem::replace(&mut seen[id.0 as usize], true) {
                    continue;
                }
                match self.get(id).args.get(next) {
                    Some(&arg) => stack.extend([(id, next + 1), (arg, 0)]),
                    None => order.push(id),
                }
            }
        }
        order
    }

    /// The subexpressions of `roots` that are written once and then referred to by name, in an order in which they can be:
    /// what occurs more than once and is not trivial, and what would make an expression larger than 40 nodes.
    pub fn shared(&self, roots: &[ExprId]) -> Vec<ExprId> {
        let order = self.depth_first(roots);
        let mut uses = HashMap::new();
        for &id in roots.iter().chain(order.iter().flat_map(|&id| &self.get(id).args)) {
            *uses.entry(id).or_insert(0u32) += 1;
        }
        let mut size: HashMap<ExprId, u32> = HashMap::new();
        let mut shared = Vec::new();
        for &id in &order {
            let nodes = 1 + self.get(id).args.iter().map(|a| size[a]).sum::<u32>();
            let only_root = uses[&id] == 1 && roots.contains(&id);
            let named = !self.is_trivial(id) && !only_root && (uses[&id] > 1 || nodes > LINE);
            if named {
                shared.push(id);
            }
            size.insert(id, if named { 1 } else { nodes });
        }
        shared
    }

    /// Short enough to be repeated.
    fn is_trivial(&self, id: ExprId) -> bool {
        let leaf = |id: ExprId| matches!(self.get(id).op, ScalarOp::Literal(_) | ScalarOp::Axis(_) | ScalarOp::Extent(_));
        match self.get(id).op {
            ScalarOp::Load(_) | ScalarOp::Local(_) => self.get(id).args.iter().all(|&a| leaf(a)),
            _ => leaf(id),
        }
    }
}
