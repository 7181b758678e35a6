//! What fusion makes of small graphs.

use igneous_compiler::lower::lower;
use igneous_ir::graph::Graph;
use std::collections::BTreeSet;

fn kernels(text: &str) -> Vec<String> {
    let graph: Graph = text.parse().unwrap_or_else(|e| panic!("{e}"));
    let lowered = lower(&graph, &BTreeSet::new()).unwrap_or_else(|e| panic!("{e}"));
    println!("{}", lowered.log);
    lowered.kernels.iter().map(|k| {k.verify().unwrap_or_else(|e| panic!("{e}\n{k}")); k.to_string()}).collect()
}

#[test]
fn pointwise_chain_is_one_kernel() {
    let k = kernels(
        "graph f(%0: f32[64, 512] \"x\", %1: f32[512] \"b\") -> (f32[64, 512] \"y\") {
           %2 = broadcast {axes=[1], shape=[64, 512]}(%1) : f32[64, 512]
           %3 = add(%0, %2) : f32[64, 512]
           %4 = relu(%3) : f32[64, 512]
           %5 = mul(%4, %4) : f32[64, 512]
           return %5
         }",
    );
    println!("{}", k.join("\n"));
    assert_eq!(k.len(), 1);
}
