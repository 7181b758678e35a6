//! The dumps in the README are what the compiler prints.

use igneous::{DType, Lowered, Tensor, compile, spec};
use std::process::Command;

const README: &str = include_str!("../../README.md");

#[path = "../../examples/softmax.rs"]
#[allow(dead_code)]
mod softmax_example;

fn program() -> Lowered {
    compile(|x: Tensor| softmax_example::softmax(x)).name("softmax").lower(spec(DType::F32, (8, 1000))).unwrap()
}

#[test]
fn the_dumps_are_those_of_the_example() {
    let program = program();
    let texts = [program.traced().to_string(), program.derivation().to_string(), program.kernels_text()];
    for text in texts {
        let text = text.replace("tests/frontend/../../", "");
        assert!(README.contains(text.trim()), "the README does not contain\n{text}");
    }
    let cuda = program.cuda().to_string();
    let signature = cuda.lines().find(|l| l.starts_with("extern")).unwrap();
    assert!(README.contains(signature), "the README does not contain\n{signature}");
}

/// The code of the last pass, for the vectors that `IGNEOUS_CPU` asks for; it is read once in a process.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_code_is_that_of_the_example() {
    let excerpts: Vec<&str> = README.split("```text\n").filter_map(|part| part.split("```").next()).collect();
    let containing = |what: &str| excerpts.iter().find(|e| e.contains(what)).expect("the README has such an excerpt").trim_end();
    let (wide, portable) = (containing("zmm0"), containing("f32x4"));
    if std::env::var("IGNEOUS_CPU").is_ok_and(|name| name == "portable") {
        let code = program().code().to_string();
        return assert!(code.contains(portable), "no\n{portable}\nin\n{code}");
    }
    let name = "the_code_is_that_of_the_example";
    let mut again = Command::new(std::env::current_exe().unwrap());
    let done =
        again.args(["--exact", &format!("readme::{name}"), "--nocapture"]).env("IGNEOUS_CPU", "portable").output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && text.contains("1 passed"), "{text}\n{}", String::from_utf8_lossy(&done.stderr));
    if std::is_x86_feature_detected!("avx512dq") && std::env::var("IGNEOUS_CPU").is_err() {
        let code = program().code().to_string();
        assert!(code.contains(wide), "no\n{wide}\nin\n{code}");
    }
}
