//! Every rule alone: it fires on its examples, and both sides have the same values and gradients.

use super::*;
use crate::egraph::pattern::{self, AttrTerm, Attrs, Head, Pattern, Slot, Term};
use crate::egraph::rule::Binding;
use crate::egraph::testing::{apply_alone, build_like, instantiate};
use crate::precision::Licence;
use igneous_ir::graph::Graph;
use igneous_ir::op::{Attr, AttrKind, Fill, Float, Op};
use igneous_ir::types::Shape;
use igneous_ir::{Array, DType, Dim, TensorType, dim, ops, sample};

#[test]
fn rules_have_unique_names_and_examples() {
    let mut names: Vec<&str> = RULES.iter().map(|(r, _)| r.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for (rule, _) in RULES.iter() {
        assert!(!rule.examples.is_empty(), "{} has no example", rule.name);
    }
    for licence in [Licence::Exact, Licence::Reassociate, Licence::Approximate] {
        assert!(RULES.iter().any(|(r, _)| r.licence == licence));
    }
    for phase in [Phase::Canonicalise, Phase::Recognise, Phase::Algebra, Phase::Choose] {
        assert!(!rules(phase).is_empty());
    }
}

#[test]
fn every_rule_fires_and_keeps_values() {
    check_all(|rule, example| {
        let proof = apply_alone(&example.graph, rule)?;
        proof.compare_values(&example.inputs(Fill::Normal)?)?;
        match rule.licence {
            Licence::Exact => (0..8).try_for_each(|round| proof.compare_bits(&example.special_inputs(round)?)),
            _ => Ok(()),
        }
    });
}

#[test]
fn rules_before_differentiation_keep_gradients() {
    check_all(|rule, example| {
        let phases = RULES.iter().find(|(r, _)| std::ptr::eq(r, rule)).expect("it is one of them").1;
        if !phases.iter().any(|p| matches!(p, Phase::Canonicalise | Phase::Recognise)) {
            return Ok(());
        }
        apply_alone(&example.graph, rule)?.compare_gradients(&example.inputs(Fill::Normal)?)
    });
}

/// Checks all rules on all examples and reports all that fail.
fn check_all(check: impl Fn(&'static Rule, &Example) -> igneous_ir::Result<()>) {
    let mut failures = Vec::new();
    for (rule, _) in RULES.iter() {
        for text in rule.examples {
            let outcome = Example::parse(rule, text).and_then(|example| check(rule, &example));
            if let Err(error) = outcome {
                failures.push(format!("{} on `{text}`:\n{error}", rule.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n\n"));
}

/// An instance of a rule's left side as a graph.
struct Example {
    graph: Graph,
    /// The type of each input, and its range where the example gives one.
    inputs: Vec<(TensorType, Option<(f64, f64)>)>,
}

impl Example {
    /// Reads `name: type`, `name: type in lo..hi`, `name: type = term` and `name = attribute`, separated by commas.
    fn parse(rule: &Rule, text: &str) -> igneous_ir::Result<Example> {
        let mut example = Example { graph: Graph::new("example"), inputs: Vec::new() };
        let mut bindings: Vec<Option<Binding>> = vec![None; rule.names.len()];
        for item in split(text, ',') {
            let (name, binding) = match item.split_once(':') {
                Some((name, rest)) => (name.trim(), example.value(name.trim(), rest)?),
                None => {
                    let (name, value) = item.split_once('=').expect("an item is `name: type` or `name = attribute`");
                    let slot = slot_of(rule, name.trim());
                    (name.trim(), attribute_of_slot(&rule.left, slot, value.trim()))
                }
            };
            bindings[slot_of(rule, name)] = Some(binding);
        }
        instantiate(&mut example.graph, &rule.left, &bindings)?;
        Ok(example)
    }

    fn value(&mut self, name: &str, text: &str) -> igneous_ir::Result<Binding> {
        if let Some((ty, term)) = text.split_once('=') {
            let ty = parse_type(ty);
            let (pattern, _, _) = pattern::parse(term, "1.0").expect("a term");
            return Ok(Binding::Value(build_like(&mut self.graph, &pattern, &ty)?[0]));
        }
        let (types, range) = match text.split_once(" in ") {
            Some((types, range)) => {
                let (lo, hi) = range.split_once("..").expect("a range is `lo..hi`");
                let number = |s: &str| s.trim().parse::<f64>().expect("a number");
                (types, Some((number(lo), number(hi))))
            }
            None => (text, None),
        };
        let mut values = Vec::new();
        for ty in types.split_inclusive(']').filter(|t| !t.trim().is_empty()) {
            let ty = parse_type(ty);
            values.push(self.graph.input(format!("{name}{}", values.len()), ty.clone()));
            self.inputs.push((ty, range));
        }
        Ok(if values.len() == 1 { Binding::Value(values[0]) } else { Binding::Values(values) })
    }

    /// Special values for the inputs, in another combination each round.
    fn special_inputs(&self, round: usize) -> igneous_ir::Result<Vec<Array>> {
        const NUMBERS: [f64; 9] = [0.0, -0.0, 1.0, -1.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e30, 1e-30];
        let mut inputs = self.inputs(Fill::Normal)?;
        for (i, x) in inputs.iter_mut().enumerate().filter(|(_, x)| x.dtype().is_float()) {
            let number = |k: usize| NUMBERS[(k * (i + 1) + round * (2 * i + 1)) % NUMBERS.len()];
            *x = Array::from_fn_f64(x.dtype(), x.shape(), number).rounded();
        }
        Ok(inputs)
    }

    /// Values for the inputs: where the example gives a range, in it, otherwise `fill`.
    fn inputs(&self, fill: Fill) -> igneous_ir::Result<Vec<Array>> {
        let arrays = self.inputs.iter().enumerate().map(|(i, (ty, range))| {
            let fill = match range {
                Some((lo, hi)) if ty.dtype.is_float() => Fill::Uniform(*lo, *hi),
                Some((lo, hi)) => Fill::Range(*lo as i64, *hi as i64),
                None if ty.dtype == DType::Bool => Fill::Range(0, 2),
                None if !ty.dtype.is_float() => Fill::Range(-5, 6),
                None => fill,
            };
            sample::array(ty, fill, 7, i)
        });
        arrays.collect()
    }
}

fn slot_of(rule: &Rule, name: &str) -> Slot {
    rule.names.iter().position(|n| *n == name).unwrap_or_else(|| panic!("rule {} has no name `{name}`", rule.name))
}

/// Splits at `separator` outside of brackets.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '[' | '(' | '{' => depth += 1,
            ']' | ')' | '}' => depth -= 1,
            c if c == separator && depth == 0 => {
                parts.push(text[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|p| !p.is_empty());
    parts
}

fn numbers(text: &str) -> Vec<i64> {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    inner.split(',').filter(|s| !s.trim().is_empty()).map(|s| s.trim().parse().expect("an integer")).collect()
}

fn parse_type(text: &str) -> TensorType {
    let (dtype, shape) = text.trim().split_once('[').expect("a type is `dtype[shape]`");
    let dtype = DType::from_name(dtype).expect("an element type");
    TensorType::new(dtype, numbers(shape).into_iter().map(Dim::constant))
}

/// What `text` means for the name that the left side uses for an attribute, for all attributes or for an operator.
fn attribute_of_slot(left: &Pattern, slot: Slot, text: &str) -> Binding {
    for term in &left.terms {
        match term {
            Term::Apply(Head::Pointwise(s), _) if *s == slot => return Binding::Operator(ops::pointwise(text)),
            Term::Apply(Head::Operator(kind, Attrs::All(s)), _) if *s == slot => {
                let record = kind.record().expect("patterns name operators");
                let given = split(text.trim_start_matches('{').trim_end_matches('}'), ',');
                let attr = |(name, kind): &(&str, AttrKind)| {
                    let value = given.iter().find_map(|g| g.split_once('=').filter(|(n, _)| n.trim() == *name));
                    parse_attribute(*kind, value.unwrap_or_else(|| panic!("attribute {name} is missing")).1)
                };
                return Binding::Operator(Op::new(record, record.attrs.iter().map(attr)));
            }
            Term::Apply(Head::Operator(kind, Attrs::Each(terms)), _) => {
                let record = kind.record().expect("patterns name operators");
                if let Some(i) = terms.iter().position(|t| *t == AttrTerm::Bind(slot)) {
                    return Binding::Attr(parse_attribute(record.attrs[i].1, text));
                }
            }
            _ => {}
        }
    }
    panic!("`{text}` is for no attribute of the left side")
}

fn parse_attribute(kind: AttrKind, text: &str) -> Attr {
    let text = text.trim();
    match kind {
        AttrKind::Int => Attr::Int(text.parse().expect("an integer")),
        AttrKind::Bool => Attr::Bool(text == "true"),
        AttrKind::Float => Attr::Float(Float::new(text.parse().expect("a number"))),
        AttrKind::DType => Attr::DType(DType::from_name(text).expect("an element type")),
        AttrKind::Ints => Attr::Ints(numbers(text).into_iter().collect()),
        AttrKind::Dims => Attr::Dims(numbers(text).into_iter().map(Dim::constant).collect::<Shape>()),
        AttrKind::Name(_) => Attr::Name(dim::intern(text)),
        other => panic!("examples have no attribute of type {other:?}"),
    }
}
