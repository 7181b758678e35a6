//! What fusion makes of small graphs.

use igneous_compiler::fuse::Sideways;
use igneous_compiler::lower::lower;
use igneous_ir::array::Array;
use igneous_ir::graph::Graph;
use igneous_ir::kernel::Kernel;
use igneous_ir::kernel::interp::{Run, interpret};
use igneous_ir::op::Fill;
use igneous_ir::sample;
use igneous_ir::types::{DType, TensorType};
use std::collections::BTreeSet;

fn kernels_of(text: &str) -> Vec<Kernel> {
    let graph: Graph = text.parse().unwrap_or_else(|e| panic!("{e}"));
    let graph = igneous_compiler::decompose::decompose(&graph, igneous_compiler::Backend::Cpu).unwrap();
    let lowered = lower(&graph, &BTreeSet::new(), Sideways::Freely, &igneous_compiler::Options::default())
        .unwrap_or_else(|e| panic!("{e}"));
    println!("{}", lowered.log);
    for k in &lowered.kernels {
        println!("{k}");
        k.verify().unwrap_or_else(|e| panic!("{e}\n{k}"));
    }
    lowered.kernels
}

fn kernels(text: &str) -> Vec<String> {
    kernels_of(text).iter().map(ToString::to_string).collect()
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
    assert_eq!(k.len(), 1);
}

#[test]
fn softmax_is_one_kernel() {
    let k = kernels(
        "graph f(%0: f32[8, 32] \"x\") -> (f32[8, 32] \"y\") {
           %1, %2 = online_softmax {axes=[1]}(%0) : f32[8], f32[8]
           %3 = broadcast {axes=[0], shape=[8, 32]}(%1) : f32[8, 32]
           %4 = broadcast {axes=[0], shape=[8, 32]}(%2) : f32[8, 32]
           %5 = sub(%0, %3) : f32[8, 32]
           %6 = exp(%5) : f32[8, 32]
           %7 = div(%6, %4) : f32[8, 32]
           return %7
         }",
    );
    assert_eq!(k.len(), 1);
}

#[test]
fn mlp_block_is_two_kernels() {
    let k = kernels(
        "graph f(%0: f32[64, 784] \"x\", %1: f32[512, 784] \"w1\", %2: f32[512] \"b1\", %3: f32[10, 512] \"w2\", %4: f32[10] \"b2\") -> (f32[64, 10] \"y\") {
           %5 = transpose {permutation=[1, 0]}(%1) : f32[784, 512]
           %6 = dot_general {lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}(%0, %5) : f32[64, 512]
           %7 = broadcast {axes=[1], shape=[64, 512]}(%2) : f32[64, 512]
           %8 = add(%6, %7) : f32[64, 512]
           %9 = relu(%8) : f32[64, 512]
           %10 = transpose {permutation=[1, 0]}(%3) : f32[512, 10]
           %11 = dot_general {lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}(%9, %10) : f32[64, 10]
           %12 = broadcast {axes=[1], shape=[64, 10]}(%4) : f32[64, 10]
           %13 = add(%11, %12) : f32[64, 10]
           return %13
         }",
    );
    assert_eq!(k.len(), 2);
}

/// A counter that is advanced and used does not wait for a launch of its own.
#[test]
fn a_counter_that_is_advanced_and_used_is_one_kernel() {
    let k = kernels(
        "graph f(%0: f32[] \"t\", %1: f32[512] \"w\") -> (f32[] \"t'\", f32[512] \"w'\") {
           %2 = constant {value=f32[] [1]}() : f32[]
           %3 = add(%0, %2) : f32[]
           %4 = broadcast {axes=[], shape=[512]}(%3) : f32[512]
           %5 = div(%1, %4) : f32[512]
           return %3, %5
         }",
    );
    assert_eq!(k.len(), 1);
    assert!(k[0].contains("out0[i] = in0[i] / (in1 + 1.0)") && k[0].contains("out1 = in1 + 1.0"), "{}", k[0]);
}

/// Two reductions of different shapes whose results leave the graph are one launch.
#[test]
fn results_are_made_side_by_side() {
    let k = kernels(
        "graph f(%0: f32[64, 512] \"x\", %1: f32[32, 8] \"y\") -> (f32[512] \"a\", f32[8] \"b\") {
           %2 = reduce {axes=[0], kind=sum}(%0) : f32[512]
           %3 = reduce {axes=[0], kind=max}(%1) : f32[8]
           return %2, %3
         }",
    );
    assert_eq!(k.len(), 1);
    assert_eq!(k[0].matches("section").count(), 2, "{}", k[0]);
}

#[test]
fn groups_with_early_and_late_nodes_make_no_circle() {
    // %s + %w fuse over the scatter between them; %r cannot join: the scatter depends on it.
    let k = kernels(
        "graph f(%x: f64[8], %y: f64[5], %z: f64[5], %i: i64[]) -> (f64[5], f64[8]) {
           %s = reduce {axes=[0], kind=sum}(%x)
           %b = broadcast {axes=[], shape=[5]}(%s)
           %a = mul(%y, %b)
           %m = sub(%y, %z)
           %r = reduce {axes=[0], kind=sum}(%m)
           %c = constant {value=f64[] [0.0]}()
           %d = broadcast {axes=[], shape=[8]}(%c)
           %t = scatter {axes=[0], combine=sum}(%d, %i, %r)
           %u = reduce {axes=[0], kind=sum}(%t)
           %v = broadcast {axes=[], shape=[8]}(%u)
           %w = mul(%x, %v)
           return %a, %w
         }",
    );
    assert_eq!(k.len(), 3);
}

#[test]
fn an_axis_whose_index_is_taken_apart_is_split() {
    let k = kernels(
        "graph f(%0: f32[3, 8] \"x\") -> (f32[6, 16] \"y\") {
           %1 = broadcast {axes=[0, 2], shape=[3, 2, 8, 2]}(%0) : f32[3, 2, 8, 2]
           %2 = reshape {shape=[6, 16]}(%1) : f32[6, 16]
           %3 = exp(%2) : f32[6, 16]
           return %3
         }",
    );
    assert_eq!(k.len(), 1);
    let kernel = &k[0];
    assert!(kernel.contains("axes i: par 3, j: par 8\n") && kernel.matches("out0[").count() == 4, "{kernel}");
    assert!(!kernel.contains(" / "), "{kernel}");
}

/// A long reduction in two kernels gives the bits of the reduction by one, with elements behind the last whole chunk or not.
#[test]
fn long_reductions_are_done_in_parts() {
    for n in [16 * 4096, 17 * 4096 + 100] {
        let lowered = kernels_of(&format!(
            "graph f(%0: f32[2, {n}] \"x\") -> (f32[2] \"y\", f32[2] \"z\") {{
               %1 = reduce {{axes=[1], kind=sum}}(%0) : f32[2]
               %2 = reduce {{axes=[1], kind=max}}(%0) : f32[2]
               %3 = exp(%2) : f32[2]
               return %1, %3
             }}"
        ));
        let [parts, rest] = &lowered[..] else { panic!("{} kernels", lowered.len()) };
        let whole = Kernel::parse(&format!(
            "kernel k(x: f32[2, {n}]) -> (y: f32[2], z: f32[2])\n  axes i: par 2, j: ser {n}\n  a = reduce sum j {{ x[i, j] }}\n  \
             b = reduce max j {{ x[i, j] }}\n  map {{\n    y[i] = a\n    z[i] = exp(b)\n  }}\n"
        ));
        let x = sample::array(&TensorType::new(DType::F32, [2, n]), Fill::Normal, 3, 0).unwrap();
        let run = |kernel: &Kernel, inputs: &[&Array]| interpret(kernel, inputs, &|_| None, &Run::default()).unwrap().outputs;
        let expected = run(&whole.unwrap(), &[&x]);
        let made = run(parts, &[&x]);
        let mut inputs: Vec<&Array> = made.iter().collect();
        if n % 4096 != 0 {
            inputs.insert(0, &x);
        }
        let results = run(rest, &inputs);
        for (i, wanted) in expected.iter().enumerate() {
            assert!(results.iter().any(|r| r.to_bytes() == wanted.to_bytes()), "result {i} of {n} elements");
        }
    }
}
