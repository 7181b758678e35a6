//! The training step of a small network, as fused.

use igneous_compiler::fuse::Sideways;
use igneous_compiler::lower::lower;
use igneous_compiler::{Backend, Options};
use igneous_ir::autodiff::expand_gradients;
use igneous_ir::graph::Graph;
use std::collections::BTreeSet;

const MLP_STEP: &str = r#"graph step(%0: f32[64, 784] "x", %1: i64[64] "y", %2: f32[512, 784] "w1", %3: f32[512] "b1", %4: f32[10, 512] "w2", %5: f32[10] "b2", %6: f32[] "lr") -> (f32[] "loss", f32[512, 784] "w1'", f32[512] "b1'", f32[10, 512] "w2'", f32[10] "b2'") {
  %7 = transpose {permutation=[1, 0]}(%2) : f32[784, 512]
  %8 = dot_general {lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}(%0, %7) : f32[64, 512]
  %9 = broadcast {axes=[1], shape=[64, 512]}(%3) : f32[64, 512]
  %10 = add(%8, %9) : f32[64, 512]
  %11 = relu(%10) : f32[64, 512]
  %12 = transpose {permutation=[1, 0]}(%4) : f32[512, 10]
  %13 = dot_general {lhs_batch=[], lhs_contract=[1], rhs_batch=[], rhs_contract=[0]}(%11, %12) : f32[64, 10]
  %14 = broadcast {axes=[1], shape=[64, 10]}(%5) : f32[64, 10]
  %15 = add(%13, %14) : f32[64, 10]
  %16, %17 = cross_entropy(%15, %1) : f32[64], f32[64]
  %18 = reduce {axes=[0], kind=sum}(%16) : f32[]
  %19 = constant {value=f32[] [0.015625]}() : f32[]
  %20 = mul(%18, %19) : f32[]
  %21, %22, %23, %24 = grad {seeded=false}(%20, %2, %3, %4, %5) : f32[512, 784], f32[512], f32[10, 512], f32[10]
  %25 = broadcast {axes=[], shape=[512, 784]}(%6) : f32[512, 784]
  %26 = mul(%21, %25) : f32[512, 784]
  %27 = sub(%2, %26) : f32[512, 784]
  %28 = broadcast {axes=[], shape=[512]}(%6) : f32[512]
  %29 = mul(%22, %28) : f32[512]
  %30 = sub(%3, %29) : f32[512]
  %31 = broadcast {axes=[], shape=[10, 512]}(%6) : f32[10, 512]
  %32 = mul(%23, %31) : f32[10, 512]
  %33 = sub(%4, %32) : f32[10, 512]
  %34 = broadcast {axes=[], shape=[10]}(%6) : f32[10]
  %35 = mul(%24, %34) : f32[10]
  %36 = sub(%5, %35) : f32[10]
  return %20, %27, %30, %33, %36
}"#;

#[test]
fn mlp_training_step() {
    let graph: Graph = MLP_STEP.parse().unwrap_or_else(|e| panic!("{e}"));
    let graph = expand_gradients(&graph).unwrap();
    println!("{graph}");
    let graph = igneous_compiler::decompose::decompose(&graph, Backend::Cpu).unwrap();
    println!("{graph}");
    let lowered =
        lower(&graph, &BTreeSet::from([1, 2, 3, 4]), Sideways::Freely, &Options::default()).unwrap_or_else(|e| panic!("{e}"));
    println!("{}", lowered.log);
    for k in &lowered.kernels {
        println!("{k}");
        k.verify().unwrap();
    }
    println!("{:#?}", igneous_compiler::plan::plan(&lowered.flat, &lowered.kernels, &[(2, 1), (3, 2), (4, 3), (5, 4)]));
    assert!(lowered.kernels.len() <= 12);
}

#[test]
fn mlp_training_step_runs() {
    use igneous_compiler::{Options, Variables, compile};
    use igneous_ir::array::Array;
    use igneous_ir::op::Fill;
    use igneous_runtime::Buffer;
    let graph: Graph = MLP_STEP.parse().unwrap_or_else(|e| panic!("{e}"));
    let variables = Variables { assigned: vec![(2, 1), (3, 2), (4, 3), (5, 4)], stable: vec![] };
    let t = std::time::Instant::now();
    let compiled = compile(&graph, &variables, &Options::default()).unwrap_or_else(|e| panic!("{e}"));
    println!("compiled in {:?}", t.elapsed());
    println!("{}", compiled.kernels_text());
    println!("{}", compiled.memory());
    println!("{}", compiled.cost());
    let inputs: Vec<Array> = graph
        .inputs()
        .iter()
        .enumerate()
        .map(|(i, (v, _))| {
            let ty = graph.ty(*v);
            let fill = if i == 1 { Fill::Range(0, 10) } else { Fill::Uniform(-0.1, 0.1) };
            igneous_ir::sample::array(ty, fill, i as u64, i).unwrap()
        })
        .collect();
    let expected = igneous_ir::interp::interpret(&graph, &inputs).unwrap();
    let buffers: Vec<Buffer> = inputs.iter().map(|a| Buffer::from_slice(&a.to_bytes()).unwrap()).collect();
    let outputs = compiled.program.run(&buffers).unwrap_or_else(|e| panic!("{e}"));
    for (k, (e, o)) in expected.iter().zip(&outputs).enumerate() {
        let got = Array::from_bytes(e.dtype(), e.shape(), o.bytes()).unwrap();
        let worst = (0..e.len()).map(|i| (e.f(i) - got.f(i)).abs()).fold(0.0, f64::max);
        println!("output {k}: worst difference {worst:e}");
        assert!(worst < 1e-5);
    }
}
