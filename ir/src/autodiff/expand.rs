//! The graph pass: `grad` nodes become the operators that compute them.

use super::block::is_block;
use super::path::{Usage, entries};
use super::reverse::SavedAt;
use super::{Engine, Entry, TapeEntry};
use crate::error::Result;
use crate::graph::{Graph, Region, Value};
use crate::op::{Attr, Op};
use crate::ops::structural::GRAD;
use std::collections::HashMap;

impl Engine {
    /// See [`super::expand_gradients`]. Every round expands the gradients that no other gradient lies inside of; so
    /// there are as many rounds as gradients are nested.
    pub fn expand(&mut self, graph: &Graph) -> Result<Graph> {
        let mut graph = self.expand_regions(graph)?;
        loop {
            let level = self.level(&graph);
            if level.paths.is_empty() {
                return Ok(graph);
            }
            graph = self.expand_level(&graph, &level)?;
        }
    }

    /// A region without `grad` nodes.
    pub fn expand_region(&mut self, region: &Region) -> Result<Region> {
        if !contains_grad(region.graph()) {
            return Ok(region.clone());
        }
        if let Some(known) = self.expanded.get(region) {
            return Ok(known.clone());
        }
        let expanded = Region::new(self.expand(region.graph())?);
        self.expanded.insert(region.clone(), expanded.clone());
        Ok(expanded)
    }

    fn expand_regions(&mut self, graph: &Graph) -> Result<Graph> {
        graph.rewrite(|new, _, node, operands| {
            let mut op = node.op.clone();
            for ((name, _), attr) in op.record().attrs.iter().zip(node.op.attrs()) {
                if let Attr::Region(region) = attr {
                    op = op.with_attr(name, Attr::Region(self.expand_region(region)?));
                }
            }
            Ok(new.push(op, operands, node.results.clone()))
        })
    }

    /// The gradients that can be expanded now.
    fn level(&mut self, graph: &Graph) -> Level {
        let mut level = Level::default();
        if !graph.nodes().any(|(_, n)| n.op.is(&GRAD)) {
            return level;
        }
        let entries = entries(graph);
        let tape: Vec<TapeEntry> = entries.iter().map(Entry::borrow).collect();
        let mut merged: HashMap<Op, Usage> = HashMap::new();
        for (i, node) in graph.nodes().filter(|(_, n)| n.op.is(&GRAD)) {
            let (loss, _, wrt) = parts(&node.op, &node.operands);
            let usages = self.paths(&|v| graph.ty(v).dtype, &tape[..i as usize], &[loss], wrt);
            let path: Vec<u32> = (0..i).filter(|&k| usages[k as usize].is_some()).collect();
            if path.iter().any(|&k| graph.node(k).op.is(&GRAD)) {
                continue;
            }
            for &k in path.iter().filter(|&&k| is_block(&graph.node(k).op)) {
                let usage = usages[k as usize].as_ref().expect("on the path");
                merged.entry(graph.node(k).op.clone()).and_modify(|u| u.merge(usage)).or_insert_with(|| usage.clone());
                level.blocks.insert(k, usage.clone());
            }
            level.paths.insert(i, path);
        }
        // Equal bodies are derived for everything that one of them needs, so that they still share code.
        for (k, usage) in &mut level.blocks {
            *usage = merged[&graph.node(*k).op].clone();
        }
        level
    }

    fn expand_level(&mut self, graph: &Graph, level: &Level) -> Result<Graph> {
        let mut on_path = vec![false; graph.len()];
        level.paths.values().flatten().for_each(|&k| on_path[k as usize] = true);
        let mut applied: Vec<Option<Entry>> = vec![None; graph.len()];
        let mut saved = SavedAt::new();
        graph.rewrite(|new, i, node, operands| {
            if let Some(path) = level.paths.get(&i) {
                let tape: Vec<TapeEntry> =
                    path.iter().map(|&k| applied[k as usize].as_ref().expect("precedes").borrow()).collect();
                let (loss, seed, wrt) = parts(&node.op, operands);
                return Ok(self.gradients(new, &tape, &saved, loss, seed, wrt)?.into());
            }
            let results = match level.blocks.get(&i) {
                Some(usage) => {
                    let forward = self.block_forward(new, &node.op, operands, usage);
                    let (results, kept) = forward.map_err(|e| node.loc.map_or(e.clone(), |loc| e.at(loc)))?;
                    saved.insert(results[0], kept);
                    results
                }
                None => new.push(node.op.clone(), operands, node.results.clone()),
            };
            if on_path[i as usize] {
                let entry = Entry { op: node.op.clone(), operands: operands.into(), results: results.clone() };
                applied[i as usize] = Some(entry);
            }
            Ok(results)
        })
    }
}

/// What one round expands.
#[derive(Default)]
struct Level {
    /// For each `grad` node, the nodes that it differentiates.
    paths: HashMap<u32, Vec<u32>>,
    /// The nodes with regions among them, and what of them is used.
    blocks: HashMap<u32, Usage>,
}

/// The loss, seed and values to differentiate by among the operands of `grad`.
fn parts<'a>(op: &Op, operands: &'a [Value]) -> (Value, Option<Value>, &'a [Value]) {
    match op.bool("seeded") {
        true => (operands[0], Some(operands[1]), &operands[2..]),
        false => (operands[0], None, &operands[1..]),
    }
}

fn contains_grad(graph: &Graph) -> bool {
    graph
        .nodes()
        .any(|(_, n)| n.op.is(&GRAD) || n.op.attrs().iter().any(|a| matches!(a, Attr::Region(r) if contains_grad(r.graph()))))
}
