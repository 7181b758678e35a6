//! Graph to text.

use super::{is_plain, is_plain_path};
use crate::array::{Array, Data};
use crate::dim::{Dim, Symbol};
use crate::graph::{Graph, Node, Region, Value};
use crate::op::{Attr, Op};
use crate::ops::structural::INPUT;
use crate::types::TensorType;
use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write};

/// A header longer than this has one line for each input or output.
const HEADER_WIDTH: usize = 110;

pub(super) fn print(graph: &Graph, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut regions = Regions::default();
    regions.taken.insert(graph.name.clone());
    regions.collect(graph);
    for (region, name) in &regions.order {
        print_graph(region.graph(), name, &regions, f)?;
        f.write_str("\n\n")?;
    }
    print_graph(graph, &graph.name, &regions, f)
}

/// One node as in the text of its graph, without its line and scope: `%7 = add(%5, %6) : f32[2]`.
pub fn statement(graph: &Graph, node: u32) -> String {
    let mut text = String::new();
    let numbers = Numbers::of(graph);
    print_statement(graph, node, &numbers, &Regions::default(), &mut text).expect("writing to a string cannot fail");
    text
}

/// The regions of a graph, inner ones first, with unique names.
#[derive(Default)]
struct Regions {
    order: Vec<(Region, String)>,
    names: HashMap<Region, String>,
    taken: HashSet<String>,
}

impl Regions {
    fn collect(&mut self, graph: &Graph) {
        let attrs = graph.nodes().flat_map(|(_, n)| n.op.attrs());
        for attr in attrs {
            let Attr::Region(region) = attr else { continue };
            if self.names.contains_key(region) {
                continue;
            }
            self.collect(region.graph());
            let wanted = &region.graph().name;
            let suffixed = |k: usize| if k == 0 { wanted.clone() } else { format!("{wanted}_{k}") };
            let name = (0..).map(suffixed).find(|n| !self.taken.contains(n)).expect("there are enough numbers");
            self.taken.insert(name.clone());
            self.names.insert(region.clone(), name.clone());
            self.order.push((region.clone(), name));
        }
    }

    fn name<'a>(&'a self, region: &'a Region) -> &'a str {
        self.names.get(region).unwrap_or(&region.graph().name)
    }
}

/// The number of each node's first result: inputs first, then the others in order.
struct Numbers(Vec<usize>);

impl Numbers {
    fn of(graph: &Graph) -> Numbers {
        let mut first = vec![0; graph.len()];
        graph.inputs().iter().enumerate().for_each(|(i, (v, _))| first[v.node as usize] = i);
        let mut next = graph.inputs().len();
        for (i, node) in graph.nodes().filter(|(_, n)| !n.op.is(&INPUT)) {
            first[i as usize] = next;
            next += node.results.len();
        }
        Numbers(first)
    }

    fn get(&self, value: Value) -> usize {
        self.0[value.node as usize] + value.result as usize
    }
}

fn print_graph(graph: &Graph, name: &str, regions: &Regions, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let named = |ty: &TensorType, name: &str| if name.is_empty() { ty.to_string() } else { format!("{ty} {name:?}") };
    let input = |(i, (v, name)): (usize, &(Value, String))| format!("%{i}: {}", named(graph.ty(*v), name));
    let inputs: Vec<String> = graph.inputs().iter().enumerate().map(input).collect();
    let outputs: Vec<String> = graph.outputs().iter().map(|(v, name)| named(graph.ty(*v), name)).collect();
    write!(f, "graph {}{} -> {}", Name(name), parenthesised(&inputs), parenthesised(&outputs))?;
    for (i, s) in symbols(graph).iter().enumerate() {
        write!(f, "{}{} in {}..={}", if i == 0 { " where " } else { ", " }, s.name, s.lo, s.hi)?;
    }
    f.write_str(" {\n")?;
    let numbers = Numbers::of(graph);
    let mut scopes = Scopes::new(graph);
    for (i, node) in graph.nodes().filter(|(_, n)| !n.op.is(&INPUT)) {
        f.write_str("  ")?;
        print_statement(graph, i, &numbers, regions, f)?;
        print_origin(node, &mut scopes, f)?;
        f.write_str("\n")?;
    }
    f.write_str("  return")?;
    for (i, (v, _)) in graph.outputs().iter().enumerate() {
        write!(f, "{}%{}", if i == 0 { " " } else { ", " }, numbers.get(*v))?;
    }
    f.write_str("\n}")
}

fn parenthesised(items: &[String]) -> String {
    let line = items.join(", ");
    if line.len() <= HEADER_WIDTH { format!("({line})") } else { format!("(\n  {}\n)", items.join(",\n  ")) }
}

fn print_statement(graph: &Graph, i: u32, numbers: &Numbers, regions: &Regions, f: &mut dyn Write) -> fmt::Result {
    let node = graph.node(i);
    for (k, value) in graph.results(i).into_iter().enumerate() {
        write!(f, "{}%{}", if k == 0 { "" } else { ", " }, numbers.get(value))?;
    }
    f.write_str(if node.results.is_empty() { "" } else { " = " })?;
    print_op(&node.op, regions, f)?;
    for (k, &value) in node.operands.iter().enumerate() {
        write!(f, "{}%{}", if k == 0 { "(" } else { ", " }, numbers.get(value))?;
    }
    f.write_str(if node.operands.is_empty() { "()" } else { ")" })?;
    for (k, ty) in node.results.iter().enumerate() {
        write!(f, "{}{ty}", if k == 0 { " : " } else { ", " })?;
    }
    Ok(())
}

fn print_op(op: &Op, regions: &Regions, f: &mut dyn Write) -> fmt::Result {
    let mut attrs: Vec<(&str, &Attr)> = op.record().attrs.iter().map(|(n, _)| *n).zip(op.attrs()).collect();
    attrs.sort_by_key(|(name, _)| *name);
    f.write_str(op.name())?;
    for (k, (name, value)) in attrs.iter().enumerate() {
        write!(f, "{}{name}=", if k == 0 { " {" } else { ", " })?;
        match value {
            Attr::Region(region) => write!(f, "@{}", Name(regions.name(region)))?,
            Attr::Array(array) => print_array(array, f)?,
            Attr::Float(x) if x.get().is_nan() => print_nan(x.get(), f)?,
            other => write!(f, "{other}")?,
        }
    }
    f.write_str(if attrs.is_empty() { "" } else { "}" })
}

fn print_array(array: &Array, f: &mut dyn Write) -> fmt::Result {
    write!(f, "{} [", array.ty())?;
    for i in 0..array.len() {
        f.write_str(if i == 0 { "" } else { ", " })?;
        match array.data() {
            Data::Float(v) if v[i].is_nan() => print_nan(v[i], f)?,
            _ => write!(f, "{}", array.literal(i))?,
        }
    }
    f.write_str("]")
}

/// The usual NaN has no bits in its text; others do.
fn print_nan(x: f64, f: &mut dyn Write) -> fmt::Result {
    match x.to_bits() == f64::NAN.to_bits() {
        true => f.write_str("NaN"),
        false => write!(f, "NaN({:#x})", x.to_bits()),
    }
}

/// The symbols of a graph in order of first occurrence.
fn symbols(graph: &Graph) -> Vec<Symbol> {
    let mut symbols = Vec::new();
    let shape = |dims: &[Dim], symbols: &mut Vec<Symbol>| dims.iter().for_each(|d| d.collect_symbols(symbols));
    graph.inputs().iter().for_each(|(v, _)| shape(&graph.ty(*v).shape, &mut symbols));
    for (_, node) in graph.nodes() {
        for attr in node.op.attrs() {
            match attr {
                Attr::Dim(d) => d.collect_symbols(&mut symbols),
                Attr::Dims(d) => shape(d, &mut symbols),
                _ => {}
            }
        }
        node.results.iter().for_each(|t| shape(&t.shape, &mut symbols));
    }
    symbols
}

/// The source line and the scopes of a node, as a comment.
fn print_origin(node: &Node, scopes: &mut Scopes, f: &mut dyn Write) -> fmt::Result {
    if let Some(loc) = node.loc {
        let plain = loc.file.split('/').all(|part| part.is_empty() || is_plain_path(part)) && !loc.file.is_empty();
        match plain {
            true => write!(f, "  // {loc}")?,
            false => write!(f, "  // {:?}:{}", loc.file, loc.line)?,
        }
    }
    if node.scope != 0 {
        f.write_str(if node.loc.is_some() { " " } else { "  // " })?;
        scopes.print(node.scope, f)?;
    }
    Ok(())
}

/// Numbers the calls of a layer within one enclosing call, in the order they are printed.
struct Scopes<'a> {
    graph: &'a Graph,
    /// The number of each scope that was printed.
    numbers: HashMap<u32, usize>,
    calls: HashMap<(u32, &'a str), usize>,
}

impl<'a> Scopes<'a> {
    fn new(graph: &'a Graph) -> Scopes<'a> {
        Scopes { graph, numbers: HashMap::new(), calls: HashMap::new() }
    }

    fn print(&mut self, scope: u32, f: &mut dyn Write) -> fmt::Result {
        let graph = self.graph;
        let s = &graph.scopes()[scope as usize];
        if s.parent != 0 {
            self.print(s.parent, f)?;
            f.write_str("/")?;
        }
        let calls = self.calls.entry((s.parent, s.name)).or_default();
        let number = *self.numbers.entry(scope).or_insert_with(|| {
            *calls += 1;
            *calls
        });
        match is_plain_path(s.name) {
            true => f.write_str(s.name)?,
            false => write!(f, "{:?}", s.name)?,
        }
        if number > 1 { write!(f, "#{number}") } else { Ok(()) }
    }
}

/// A graph's name, in quotes if it is not an identifier.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain(self.0) { f.write_str(self.0) } else { write!(f, "{:?}", self.0) }
    }
}
