//! A graph as TensorBoard's page of graphs takes it.

use super::events::{Attribute, AttributeList, GraphDef, NodeDef, TensorShape, Versions, attribute};
use igneous::ir::{Graph, graph::Node};
use std::collections::BTreeMap;

/// Nodes named by the layers they stand in, which become groups, their operator and their number.
pub(super) fn of(graph: &Graph) -> GraphDef {
    let names: Vec<String> = graph.nodes().map(|(number, node)| name(graph, number, node)).collect();
    let mut nodes: Vec<NodeDef> = Vec::new();
    for (number, node) in graph.nodes() {
        let input = node.operands.iter().map(|value| match value.result {
            0 => names[value.node as usize].clone(),
            result => format!("{}:{result}", names[value.node as usize]),
        });
        nodes.push(NodeDef {
            name: names[number as usize].clone(),
            op: node.op.name().to_owned(),
            input: input.collect(),
            device: String::new(),
            attr: attributes(node),
        });
    }
    for (i, (value, label)) in graph.outputs().iter().enumerate() {
        nodes.push(NodeDef {
            name: format!("outputs/{i}_{}", allowed(label)),
            op: "output".to_owned(),
            input: vec![names[value.node as usize].clone()],
            ..NodeDef::default()
        });
    }
    // What tools that write such files today declare.
    GraphDef { node: nodes, versions: Some(Versions { producer: 22 }) }
}

fn name(graph: &Graph, number: u32, node: &Node) -> String {
    let label = graph.inputs().iter().find(|(value, _)| value.node == number).map(|(_, label)| allowed(label));
    let own = label.map_or_else(|| format!("{}_{number}", node.op.name()), |label| format!("inputs/{number}_{label}"));
    match graph.scope_path(node.scope) {
        path if path.is_empty() => own,
        path => format!("{}/{own}", allowed(&path).replace('.', "/")),
    }
}

/// A text with only those signs that names may have.
fn allowed(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' }).collect()
}

/// The operator as it is printed, the line that made it, and the shapes of its results.
fn attributes(node: &Node) -> BTreeMap<String, Attribute> {
    let text = |text: String| Attribute { what: Some(attribute::What::Text(text.into_bytes())) };
    let mut attributes = BTreeMap::from([("operator".to_owned(), text(node.op.to_string()))]);
    if let Some(loc) = node.loc {
        attributes.insert("line".to_owned(), text(loc.to_string()));
    }
    // An extent that is known only at run time is −1, as the page expects it.
    let size = |dim: &igneous::Dim| dim.get().map_or(-1, |n| n as i64);
    let shape = node.results.iter().map(|ty| TensorShape::of(ty.shape.iter().map(size))).collect();
    attributes.insert("_output_shapes".to_owned(), Attribute { what: Some(attribute::What::List(AttributeList { shape })) });
    attributes
}
