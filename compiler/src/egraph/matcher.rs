//! Finding the places of an e-graph that a pattern matches.

use super::analysis::{Content, TensorGraph};
use super::language::{ENode, Kind};
use super::pattern::{AttrTerm, Attrs, Head, Pattern, Slot, Term, TermId};
use super::rule::{Binding, class, value};
use egg::{Id, Language};
use igneous_ir::op::Attr;
use igneous_ir::{Literal, Value};
use smallvec::SmallVec;

/// A place that a pattern matches.
#[derive(Clone, Debug)]
pub struct Found {
    /// The classes of the pattern's roots.
    pub roots: SmallVec<[Id; 1]>,
    /// What the names stand for.
    pub bindings: Vec<Option<Binding>>,
    /// The e-nodes that were matched, with their classes, in the order of the pattern's terms.
    pub matched: SmallVec<[(Id, ENode); 8]>,
}

/// All places that `pattern` matches, in the order of their classes; at most `limit`, counted after `accept`.
pub fn search(
    egraph: &TensorGraph,
    pattern: &Pattern,
    names: usize,
    limit: usize,
    accept: &mut dyn FnMut(&mut Found) -> bool,
) -> Vec<Found> {
    let mut search = Search {
        egraph,
        pattern,
        bindings: vec![None; names],
        terms: vec![None; pattern.terms.len()],
        roots: SmallVec::new(),
        found: Vec::new(),
        limit,
        accept,
    };
    search.next_root();
    search.found
}

/// Whether a constant is the number in a pattern: exactly (also the sign of a zero), if the type can hold that number,
/// else nearly.
fn is_number(literal: Literal, number: f64) -> bool {
    let wanted = Literal::float(literal.dtype(), number);
    let near = 4.0 * literal.dtype().epsilon() * number.abs();
    if wanted.as_f64() == number { literal == wanted } else { (literal.as_f64() - number).abs() <= near }
}

struct Search<'a> {
    egraph: &'a TensorGraph,
    pattern: &'a Pattern,
    bindings: Vec<Option<Binding>>,
    /// The class and e-node of each term that is an application.
    terms: Vec<Option<(Id, &'a ENode)>>,
    roots: SmallVec<[Id; 1]>,
    found: Vec<Found>,
    limit: usize,
    accept: &'a mut dyn FnMut(&mut Found) -> bool,
}

impl<'a> Search<'a> {
    /// Tries every class for the next root. Several roots are in ascending order, so that no set is found twice.
    fn next_root(&mut self) {
        let Some(&root) = self.pattern.roots.get(self.roots.len()) else { return self.emit() };
        for id in self.candidates(root) {
            if self.found.len() >= self.limit {
                return;
            }
            if self.roots.last().is_none_or(|&last| last < id) {
                self.roots.push(id);
                self.solve(&mut vec![(root, id)]);
                self.roots.pop();
            }
        }
    }

    fn candidates(&self, root: TermId) -> Vec<Id> {
        let kinds: &[Kind] = match &self.pattern.terms[root] {
            Term::Apply(Head::Operator(kind, _), _) => &[*kind],
            Term::Apply(Head::Pointwise(_), _) => Kind::pointwise(),
            Term::Get(..) => &[Kind::GET],
            Term::Value(_) | Term::Number(_) | Term::Rest(_) => {
                let mut all: Vec<Id> = self.egraph.classes().map(|c| c.id).collect();
                all.sort_unstable();
                return all;
            }
        };
        let mut ids: Vec<Id> = kinds.iter().filter_map(|k| self.egraph.classes_for_op(k)).flatten().collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    fn emit(&mut self) {
        let matched = self.terms.iter().flatten().map(|(id, node)| (*id, (*node).clone())).collect();
        let mut found = Found { roots: self.roots.clone(), bindings: self.bindings.clone(), matched };
        if (self.accept)(&mut found) {
            self.found.push(found);
        }
    }

    /// Solves all goals (that a term matches a class), then the remaining roots. Leaves `goals` as it was.
    fn solve(&mut self, goals: &mut Vec<(TermId, Id)>) {
        if self.found.len() >= self.limit {
            return;
        }
        let Some((term, id)) = goals.pop() else { return self.next_root() };
        let (egraph, pattern) = (self.egraph, self.pattern);
        let id = egraph.find(id);
        let class = &egraph[id];
        match &pattern.terms[term] {
            Term::Value(slot) => {
                if class.data.types.len() == 1 {
                    self.with(*slot, Binding::Value(value(id)), |s| s.solve(goals));
                }
            }
            Term::Rest(_) => unreachable!("remaining operands are bound with their operator"),
            Term::Number(number) => {
                let known = class.data.known.as_ref().map(|k| &k.content);
                if matches!(known, Some(Content::Uniform(literal)) if is_number(*literal, number.get())) {
                    self.solve(goals);
                }
            }
            Term::Get(tuple, i) => {
                for node in class.nodes.iter().filter(|n| n.kind == Kind::GET && n.op.0 == *i) {
                    self.apply(term, id, node, &[*tuple], false, goals);
                }
            }
            Term::Apply(head, args) => match self.terms[term] {
                Some((same, _)) if same == id => self.solve(goals),
                Some(_) => {}
                None => {
                    // A constant is folded, not rewritten: arithmetic on constants would make ever new ones.
                    let constant = class.data.known.is_some();
                    for node in class.nodes.iter().filter(|n| !constant || n.kind.is_view()) {
                        self.node(term, id, node, head, args, goals);
                    }
                }
            },
        }
        goals.push((term, id));
    }

    fn node(&mut self, term: TermId, id: Id, node: &'a ENode, head: &'a Head, args: &'a [TermId], goals: &mut Vec<(TermId, Id)>) {
        let variadic = args.last().is_some_and(|&a| matches!(self.pattern.terms[a], Term::Rest(_)));
        let arity = args.len() - usize::from(variadic);
        let fits = if variadic { node.children().len() >= arity } else { node.children().len() == arity };
        if !fits {
            return;
        }
        let egraph = self.egraph;
        let op = || egraph.analysis.op(node.op);
        let both = |s: &mut Self, goals: &mut Vec<(TermId, Id)>| {
            s.apply(term, id, node, args, false, goals);
            let swaps = node.kind.commutes() || matches!(op().name(), "maximum" | "minimum");
            if swaps && arity == 2 && args[0] != args[1] && node.children()[0] != node.children()[1] {
                s.apply(term, id, node, args, true, goals);
            }
        };
        match head {
            Head::Pointwise(slot) if node.kind.is_pointwise() => {
                self.with(*slot, Binding::Operator(op().clone()), |s| s.apply(term, id, node, args, false, goals));
            }
            Head::Operator(kind, attrs) if *kind == node.kind => match attrs {
                Attrs::Any => both(self, goals),
                Attrs::All(slot) => self.with(*slot, Binding::Operator(op().clone()), |s| both(s, goals)),
                Attrs::Each(terms) => self.attributes(terms, op().attrs(), &mut |s| both(s, goals)),
            },
            _ => {}
        }
    }

    /// Adds the operands of a matched e-node to the goals and goes on.
    fn apply(&mut self, term: TermId, id: Id, node: &'a ENode, args: &[TermId], swap: bool, goals: &mut Vec<(TermId, Id)>) {
        let previous = self.terms[term].replace((id, node));
        let depth = goals.len();
        let children = node.children();
        let mut rest = None;
        for (i, &arg) in args.iter().enumerate().rev() {
            if let Term::Rest(slot) = self.pattern.terms[arg] {
                let values: Vec<Value> = children[i..].iter().map(|&c| value(self.egraph.find(c))).collect();
                rest = Some((slot, Binding::Values(values)));
            } else {
                goals.push((arg, children[if swap { 1 - i } else { i }]));
            }
        }
        match rest {
            Some((slot, values)) => self.with(slot, values, |s| s.solve(goals)),
            None => self.solve(goals),
        }
        goals.truncate(depth);
        self.terms[term] = previous;
    }

    fn attributes(&mut self, terms: &[AttrTerm], attrs: &[Attr], then: &mut dyn FnMut(&mut Self)) {
        let Some((first, terms)) = terms.split_first() else { return then(self) };
        let (attr, attrs) = (&attrs[0], &attrs[1..]);
        match first {
            AttrTerm::Any => self.attributes(terms, attrs, then),
            AttrTerm::Is(wanted) if wanted == attr => self.attributes(terms, attrs, then),
            AttrTerm::Is(_) => {}
            AttrTerm::Bind(slot) => self.with(*slot, Binding::Attr(attr.clone()), |s| s.attributes(terms, attrs, then)),
        }
    }

    /// Goes on with `slot` bound, if it is free or bound to the same already.
    fn with(&mut self, slot: Slot, binding: Binding, then: impl FnOnce(&mut Self)) {
        match &self.bindings[slot] {
            Some(bound) if same(self.egraph, bound, &binding) => then(self),
            Some(_) => {}
            None => {
                self.bindings[slot] = Some(binding);
                then(self);
                self.bindings[slot] = None;
            }
        }
    }
}

fn same(egraph: &TensorGraph, a: &Binding, b: &Binding) -> bool {
    match (a, b) {
        (Binding::Value(a), Binding::Value(b)) => egraph.find(class(*a)) == egraph.find(class(*b)),
        _ => a == b,
    }
}
