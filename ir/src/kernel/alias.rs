//! When a result may be written over an operand.

use super::{Access, Kernel, Section, Stage, Store, Target};
use crate::scalar::{ExprId, ScalarOp};
use smallvec::SmallVec;

impl Kernel {
    /// Whether the written parameter may be the same memory as the read one; see [`Aliases::allow`].
    pub fn can_alias(&self, read: usize, write: usize) -> bool {
        Aliases::of(self).allow(read, write)
    }
}

/// Which sections of a kernel touch which of its parameters: asked once for the many parameters of an update.
pub struct Aliases<'k> {
    kernel: &'k Kernel,
    /// For each parameter the sections that load from it or store to it, in order.
    touching: Vec<SmallVec<[u32; 2]>>,
}

impl<'k> Aliases<'k> {
    /// Looks through the kernel.
    pub fn of(kernel: &'k Kernel) -> Aliases<'k> {
        let mut touching: Vec<SmallVec<[u32; 2]>> = vec![SmallVec::new(); kernel.params.len()];
        for (number, section) in kernel.sections.iter().enumerate() {
            let mut touch = |param: u32| {
                let sections = &mut touching[param as usize];
                if sections.last() != Some(&(number as u32)) {
                    sections.push(number as u32);
                }
            };
            for stage in &section.stages {
                for id in section.exprs.reachable(&stage.roots()) {
                    if let ScalarOp::Load(param) = section.exprs.get(id).op {
                        touch(param);
                    }
                }
                for store in stores(stage) {
                    if let Target::Param { param, .. } = store.to {
                        touch(param);
                    }
                }
            }
        }
        Aliases { kernel, touching }
    }

    /// Whether the written parameter may be the same memory as the read one.
    ///
    /// It may if both have one type, only one section touches them, and an element is loaded only by the point that
    /// stores it, before it does: every load is in the first stage that stores to `write` or in an earlier one, at
    /// exactly the index of the one store there. What a dot multiplies is loaded by many points, in the library's order.
    pub fn allow(&self, read: usize, write: usize) -> bool {
        let params = &self.kernel.params;
        let (Some(r), Some(w)) = (params.get(read), params.get(write)) else { return false };
        if r.access != Access::Read || w.access != Access::Write || r.ty != w.ty {
            return false;
        }
        let mut touching: SmallVec<[u32; 4]> = self.touching[read].iter().chain(&self.touching[write]).copied().collect();
        touching.sort_unstable();
        touching.dedup();
        match touching[..] {
            [] => true,
            [only] => self.kernel.sections[only as usize].can_alias(read as u32, write as u32),
            _ => false,
        }
    }
}

impl Section {
    /// The loads of a parameter in a stage.
    fn loads_of(&self, stage: &Stage, param: u32) -> Vec<ExprId> {
        let mut loads = self.exprs.reachable(&stage.roots());
        loads.retain(|&id| matches!(self.exprs.get(id).op, ScalarOp::Load(p) if p == param));
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
            let loads = self.loads_of(stage, read);
            loads.is_empty()
                || !matches!(stage, Stage::Dot { .. })
                    && i <= first
                    && (i < first || distinct)
                    && loads.iter().all(|&l| self.exprs.get(l).args[..] == index[..])
        })
    }
}

fn stores(stage: &Stage) -> &[Store] {
    match stage {
        Stage::Map { stores, .. } => stores,
        _ => &[],
    }
}

fn stores_to(stage: &Stage, write: u32) -> impl Iterator<Item = &Store> {
    stores(stage).iter().filter(move |s| matches!(&s.to, Target::Param { param, .. } if *param == write))
}
