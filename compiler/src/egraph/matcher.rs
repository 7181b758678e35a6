//! Finding the places of an e-graph that a pattern matches.

use super::analysis::{Content, Facts, TensorGraph};
use super::language::{ENode, Kind};
use super::pattern::{AttrTerm, Attrs, Head, Pattern, Slot, Term, TermId};
use super::rule::{Binding, Rule, value};
use egg::{EClass, Id, Language};
use igneous_ir::op::Attr;
use igneous_ir::{Literal, Value};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::VecDeque;

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

/// The classes of a rebuilt e-graph by their numbers.
pub struct View<'a> {
    egraph: &'a TensorGraph,
    classes: Vec<Option<&'a EClass<ENode, Facts>>>,
    /// The classes with a pointwise e-node.
    pointwise: Vec<Id>,
}

impl<'a> View<'a> {
    /// A view of a rebuilt e-graph.
    pub fn new(egraph: &'a TensorGraph) -> View<'a> {
        let mut classes = vec![None; egraph.nodes().len()];
        for class in egraph.classes() {
            classes[usize::from(class.id)] = Some(class);
        }
        let has_pointwise = |class: &&EClass<ENode, Facts>| class.nodes.iter().any(|n| n.kind.is_pointwise());
        let pointwise = classes.iter().copied().flatten().filter(has_pointwise).map(|c| c.id).collect();
        View { egraph, classes, pointwise }
    }

    fn class(&self, id: Id) -> &'a EClass<ENode, Facts> {
        self.classes[usize::from(id)].expect("e-nodes of a rebuilt e-graph have canonical operands")
    }

    /// For each class, how many steps below it the nearest of `changed` is.
    pub fn distances(&self, changed: impl IntoIterator<Item = Id>) -> Vec<u8> {
        let mut distances = vec![u8::MAX; self.classes.len()];
        let mut open: VecDeque<Id> = VecDeque::new();
        for id in changed {
            let id = self.egraph.find(id);
            if distances[usize::from(id)] != 0 {
                distances[usize::from(id)] = 0;
                open.push_back(id);
            }
        }
        while let Some(id) = open.pop_front() {
            let next = distances[usize::from(id)].saturating_add(1);
            for parent in self.class(id).parents() {
                let parent = self.egraph.find(parent);
                if distances[usize::from(parent)] > next {
                    distances[usize::from(parent)] = next;
                    open.push_back(parent);
                }
            }
        }
        distances
    }
}

/// The places that the left side of a rule matches and its clauses hold, in the order of their classes; at most `limit`
/// of those that `accept` takes. Places with no change as near below them as the pattern reaches are skipped.
pub fn search(view: &View, rule: &Rule, distances: &[u8], limit: usize, accept: &mut dyn FnMut(&Found) -> bool) -> Vec<Found> {
    let pattern = &rule.left;
    let mut search = Search {
        view,
        rule,
        pattern,
        distances,
        bindings: vec![None; rule.names.len()],
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

struct Search<'a, 'v> {
    view: &'v View<'a>,
    rule: &'v Rule,
    pattern: &'v Pattern,
    distances: &'v [u8],
    bindings: Vec<Option<Binding>>,
    /// The class and e-node of each term that is an application.
    terms: Vec<Option<(Id, &'a ENode)>>,
    roots: SmallVec<[Id; 1]>,
    found: Vec<Found>,
    limit: usize,
    accept: &'v mut dyn FnMut(&Found) -> bool,
}

impl<'a, 'v> Search<'a, 'v> {
    /// Tries every class for the next root. Several roots are in ascending order, so that no set is found twice.
    fn next_root(&mut self) {
        let Some(&root) = self.pattern.roots.get(self.roots.len()) else { return self.emit() };
        let (alone, depth) = (self.pattern.roots.len() == 1, self.pattern.depth);
        let mut goals = Vec::new();
        for &id in self.candidates(root).iter() {
            if self.found.len() >= self.limit {
                return;
            }
            let unchanged = alone && usize::from(self.distances[usize::from(id)]) > depth;
            if !unchanged && self.roots.last().is_none_or(|&last| last < id) && self.view.class(id).data.types.len() == 1 {
                self.roots.push(id);
                goals.push((root, id));
                self.solve(&mut goals);
                goals.clear();
                self.roots.pop();
            }
        }
    }

    fn candidates(&self, root: TermId) -> Cow<'v, [Id]> {
        let kind = match &self.pattern.terms[root] {
            Term::Apply(Head::Operator(kind, _), _) => *kind,
            Term::Apply(Head::Pointwise(_), _) => return Cow::Borrowed(&self.view.pointwise),
            Term::Get(..) => Kind::GET,
            Term::Value(_) | Term::Number(_) | Term::Rest(_) => {
                return self.view.classes.iter().flatten().map(|c| c.id).collect();
            }
        };
        let mut ids: Vec<Id> = self.view.egraph.classes_for_op(&kind).into_iter().flatten().collect();
        ids.sort_unstable();
        Cow::Owned(ids)
    }

    fn emit(&mut self) {
        if self.rule.holds(self.view.egraph, &mut self.bindings) {
            let matched = self.terms.iter().flatten().map(|(id, node)| (*id, (*node).clone())).collect();
            let found = Found { roots: self.roots.clone(), bindings: self.bindings.clone(), matched };
            if (self.accept)(&found) {
                self.found.push(found);
            }
        }
        self.rule.computed().for_each(|slot| self.bindings[slot] = None);
    }

    /// Solves all goals (that a term matches a class), then the remaining roots. Leaves `goals` as it was.
    fn solve(&mut self, goals: &mut Vec<(TermId, Id)>) {
        if self.found.len() >= self.limit {
            return;
        }
        let Some((term, id)) = goals.pop() else { return self.next_root() };
        let pattern = self.pattern;
        let class = self.view.class(id);
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

    fn node(&mut self, term: TermId, id: Id, node: &'a ENode, head: &'v Head, args: &'v [TermId], goals: &mut Vec<(TermId, Id)>) {
        let variadic = args.last().is_some_and(|&a| matches!(self.pattern.terms[a], Term::Rest(_)));
        let arity = args.len() - usize::from(variadic);
        let fits = if variadic { node.children().len() >= arity } else { node.children().len() == arity };
        if !fits {
            return;
        }
        let egraph = self.view.egraph;
        let op = || egraph.analysis.op(node.op);
        let both = |s: &mut Self, goals: &mut Vec<(TermId, Id)>| {
            s.apply(term, id, node, args, false, goals);
            if node.kind.is_symmetric() && arity == 2 && args[0] != args[1] && node.children()[0] != node.children()[1] {
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
                let values: Vec<Value> = children[i..].iter().map(|&c| value(c)).collect();
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
            Some(bound) if *bound == binding => then(self),
            Some(_) => {}
            None => {
                self.bindings[slot] = Some(binding);
                then(self);
                self.bindings[slot] = None;
            }
        }
    }
}
