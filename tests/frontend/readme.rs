//! The dumps in the README are what the compiler prints.

use igneous::{DType, Tensor, compile, spec};

const README: &str = include_str!("../../README.md");

#[path = "../../examples/softmax.rs"]
#[allow(dead_code)]
mod softmax_example;

#[test]
fn the_dumps_are_those_of_the_example() {
    let program = compile(|x: Tensor| softmax_example::softmax(x)).name("softmax").lower(spec(DType::F32, (8, 1000))).unwrap();
    let texts = [program.traced().to_string(), program.derivation().to_string(), program.kernels_text()];
    for text in texts {
        let text = text.replace("tests/frontend/../../", "");
        assert!(README.contains(text.trim()), "the README does not contain\n{text}");
    }
    let cuda = program.cuda().to_string();
    let signature = cuda.lines().find(|l| l.starts_with("extern")).unwrap();
    assert!(README.contains(signature), "the README does not contain\n{signature}");
}
