//! Walks a small model through every stage of the compiler and prints what it finds there.
//!
//!     cargo run --release --example inspect

use igneous::nn::{Forward, Gelu, LayerNorm, Linear, ModuleExt, Sequential};
use igneous::optim::{Optimizer, Sgd};
use igneous::{DType, Result, Tensor, compile, manual_seed, spec};

fn main() -> Result<()> {
    manual_seed(0);
    let net = Sequential::new().push(LayerNorm::new(32)).push(Linear::new(32, 64)).push(Gelu).push(Linear::new(64, 8));
    let sgd = Sgd::new(net.parameters(), 0.1)?;
    println!("{}\n", net.summary());
    let step = compile(move |x: Tensor, y: Tensor| {
        let loss = net.forward(&x).cross_entropy(&y);
        loss.backward()?;
        sgd.step()?;
        Ok(loss)
    })
    .name("step");
    let program = step.lower((spec(DType::F32, (16, 32)), spec(DType::I64, 16)))?;
    for (pass, graph) in program.stages() {
        title(&format!("the graph, {pass}"));
        println!("{graph}");
    }
    title("the rewrites");
    println!("{}", program.derivation());
    title("fusion");
    println!("{}", program.fusion_log());
    title("the kernels");
    println!("{}", program.kernels_text());
    title("Cranelift IR");
    println!("{}", program.code());
    title("CUDA");
    println!("{}", program.cuda());
    title("memory");
    println!("{}", program.memory());
    title("cost");
    println!("{}", program.cost());
    Ok(())
}

fn title(text: &str) {
    println!("──── {text} ────");
}
