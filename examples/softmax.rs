//! Softmax, written out by hand: prints what the compiler makes of it, stage by stage.
//!
//!     cargo run --release --example softmax

use igneous::{DType, Result, Tensor, compile, spec};

/// As it stands in textbooks: five operators, one of them twice over all elements.
pub fn softmax(x: Tensor) -> Tensor {
    let e = (&x - x.max_keepdim(-1)).exp();
    &e / e.sum_keepdim(-1)
}

fn main() -> Result<()> {
    let program = compile(softmax).lower(spec(DType::F32, (8, 1000)))?;
    let texts = [
        ("the graph as traced", program.traced().to_string()),
        ("the rewrites", program.derivation().to_string()),
        ("the graph that was fused", program.graph().to_string()),
        ("fusion", program.fusion_log().to_string()),
        ("the kernel", program.kernels_text()),
        ("its Cranelift IR", program.code().to_string()),
        ("its CUDA", program.cuda().to_string()),
        ("memory", program.memory().to_string()),
        ("cost", program.cost().to_string()),
    ];
    texts.iter().for_each(|(title, text)| println!("──── {title} ────\n{text}"));
    Ok(())
}
