//! When a result may be written over an operand.

use super::{Access, Kernel, Section, Stage, Store, Target};
use crate::scalar::{ExprId, ScalarOp};

impl Kernel {
    /// Whether the written parameter may be the same memory as the read one.
    ///
    /// It may if both have one type, only one section touches them, and an element is loaded only by the point that
    /// stores it, before it does: every load is in the first stage that stores to `write` or in an earlier one, at
    /// exactly the index of the one store there. What a dot multiplies is loaded by many points, in the library's order.
    pub fn can_alias(&self, read: usize, write: usize) -> bool {
        let (Some(r), Some(w)) = (self.params.get(read), self.params.get(write)) else { return false };
        if r.access != Access::Read || w.access != Access::Write || r.ty != w.ty {
            return false;
        }
        let mut touching = self.sections.iter().filter(|s| s.touches(read as u32, write as u32));
        match (touching.next(), touching.next()) {
            (Some(section), None) => section.can_alias(read as u32, write as u32),
            (only, _) => only.is_none(),
        }
    }
}

impl Section {
    fn touches(&self, read: u32, write: u32) -> bool {
        self.stages.iter().any(|s| stores_to(s, write).next().is_some() || !self.loads_of(s, &[read, write]).is_empty())
    }

    /// The loads of any of `params` in a stage.
    fn loads_of(&self, stage: &Stage, params: &[u32]) -> Vec<ExprId> {
        let mut loads = self.exprs.reachable(&stage.roots());
        loads.retain(|&id| matches!(self.exprs.get(id).op, ScalarOp::Load(p) if params.contains(&p)));
        loads
    }

    fn can_alias(&self, read: u32, write: u32) -> bool {
        let Some(first) = self.stages.iter().position(|s| stores_to(s, write).next().is_some()) else { return true };
        let mut stores = stores_to(&self.stages[first], write);
        let (Some(Target::Param { index, combine: None, .. }), None) = (stores.next().map(|s| &s.to), stores.next()) else {
            return false;
        };
        // Each index of the serial axes stores another element, or what one stores, a later one may load.
        let distinct =
            self.stages[first].axes().iter().all(|&a| index.iter().any(|&i| self.exprs.get(i).op == ScalarOp::Axis(a)));
        self.stages.iter().enumerate().all(|(i, stage)| {
            let loads = self.loads_of(stage, &[read]);
            loads.is_empty()
                || !matches!(stage, Stage::Dot { .. })
                    && i <= first
                    && (i < first || distinct)
                    && loads.iter().all(|&l| self.exprs.get(l).args[..] == index[..])
        })
    }
}

fn stores_to(stage: &Stage, write: u32) -> impl Iterator<Item = &Store> {
    let stores: &[Store] = match stage {
        Stage::Map { stores, .. } => stores,
        _ => &[],
    };
    stores.iter().filter(move |s| matches!(&s.to, Target::Param { param, .. } if *param == write))
}
