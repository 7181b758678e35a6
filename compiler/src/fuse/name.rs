//! Names of kernels, and of the axes, parameters and locals in their text.

use super::units::{Role, Units};
use igneous_ir::graph::Graph;
use igneous_ir::kernel::{Access, Kernel, Stage};
use igneous_ir::op::ReduceKind;
use std::collections::{BTreeMap, BTreeSet};

/// Hands out names that are unique within a program.
#[derive(Default, Debug)]
pub struct Names(BTreeMap<String, usize>);

impl Names {
    /// A name from what the group computes: its hero, then what its stored maps end in.
    pub fn unique(&mut self, graph: &Graph, units: &Units, members: &BTreeSet<u32>) -> String {
        let mut parts: Vec<&str> = Vec::new();
        for role in [Role::Attention, Role::Contraction, Role::Scatter, Role::Reduction, Role::Map, Role::Check] {
            for &n in members.iter().filter(|&&n| units.role(n) == role) {
                let op = &graph.node(n).op;
                let part = match op.name() {
                    "dot_general" | "dot_general_i32" => "dot",
                    "convolution" => "conv",
                    "online_softmax" => "softmax",
                    "welford" => "norm",
                    "reduce" | "arg_reduce" | "reduce_window" => op.choice("kind"),
                    name => name,
                };
                if !parts.contains(&part) && parts.len() < 3 {
                    parts.push(part);
                }
            }
        }
        let base = parts.join("_");
        let count = self.0.entry(base.clone()).or_default();
        *count += 1;
        if *count == 1 { base } else { format!("{base}_{count}") }
    }
}

/// Gives axes, parameters and locals short names in order.
pub fn label(kernel: &mut Kernel) {
    let (mut reads, mut writes) = (0, 0);
    for param in &mut kernel.params {
        let (prefix, count) = match param.access {
            Access::Read => ("in", &mut reads),
            Access::Write => ("out", &mut writes),
        };
        param.name = format!("{prefix}{count}");
        *count += 1;
    }
    for section in &mut kernel.sections {
        // Without `m` and `s`, which the results of a softmax are called.
        const LETTERS: &[u8] = b"ijklnpqrtuvw";
        for (i, axis) in section.axes.iter_mut().enumerate() {
            let letter = char::from(LETTERS[i % LETTERS.len()]);
            axis.name = if i < LETTERS.len() { letter.to_string() } else { format!("{letter}{}", i / LETTERS.len()) };
        }
        let named = |stage: &Stage| -> (&[&str], Vec<u32>) {
            match stage {
                Stage::Reduce { kind, to, .. } => (local_names(*kind), to.clone()),
                Stage::Dot { to, .. } => (&["acc"], vec![*to]),
                _ => (&[], Vec::new()),
            }
        };
        let renamed: Vec<u32> = section.stages.iter().flat_map(|s| named(s).1).collect();
        let kept = (0..).zip(&section.locals).filter(|(l, _)| !renamed.contains(l)).map(|(_, local)| &local.name);
        let mut taken: BTreeSet<String> = section.axes.iter().map(|a| &a.name).chain(kept).cloned().collect();
        for stage in &section.stages {
            let (bases, to) = named(stage);
            for (base, local) in bases.iter().zip(to) {
                let numbered = (1..).map(|n| format!("{base}{n}"));
                let name = std::iter::once((*base).to_string()).chain(numbered).find(|name| !taken.contains(name));
                let name = name.expect("numbers do not end");
                taken.insert(name.clone());
                section.locals[local as usize].name = name;
            }
        }
    }
}

fn local_names(kind: ReduceKind) -> &'static [&'static str] {
    match kind {
        ReduceKind::Sum => &["sum"],
        ReduceKind::Prod => &["prod"],
        ReduceKind::Max => &["max"],
        ReduceKind::Min => &["min"],
        ReduceKind::And => &["all"],
        ReduceKind::Or => &["any"],
        ReduceKind::ArgMax | ReduceKind::ArgMin => &["at"],
        ReduceKind::OnlineSoftmax => &["m", "s"],
        ReduceKind::Welford => &["mean", "m2"],
    }
}
