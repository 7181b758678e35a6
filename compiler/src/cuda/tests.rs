//! The text of a handful of kernels.

use super::emit;
use super::test_kernels::KERNELS;
use crate::driver::{Backend, Options, Variables, compile};
use igneous_ir::dim::Dim;
use igneous_ir::graph::Graph;
use igneous_ir::kernel::Kernel;
use igneous_runtime::cuda::CudaWork;
use igneous_runtime::program::Work;

fn cuda(text: &str) -> igneous_ir::Result<Vec<CudaWork>> {
    emit(&Kernel::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}")), &Options::default())
}

#[test]
fn text_of_kernels() {
    for (name, text) in KERNELS {
        let works = cuda(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let texts = works.iter().map(|cuda| {
            let text = &cuda.kernel;
            let launch =
                format!("// {}: {} blocks of {} threads, {} bytes shared", text.name, cuda.grid, text.block, cuda.shared);
            let scratch = if cuda.scratch == Dim::ZERO { String::new() } else { format!(", {} bytes scratch", cuda.scratch) };
            format!("{launch}{scratch}\n{}", text.source)
        });
        insta::assert_snapshot!(name, texts.collect::<String>());
    }
}

#[test]
fn large_buffers_are_indexed_with_64_bits() {
    let text =
        |rows: &str| format!("kernel k(x: f32[{rows}, 1000]) -> (y: f32[1000])\n axes j: par 1000\n y[j] = x[{rows} - 1, j]\n");
    assert!(cuda(&text("1000")).unwrap()[0].kernel.source.starts_with("typedef int idx;"));
    assert!(cuda(&text("2000000")).unwrap()[0].kernel.source.starts_with("typedef long long idx;"));
}

#[test]
fn names_do_not_clash_with_the_words_of_the_language() {
    let text = "kernel float(t1: f32[4], double: f32[4], w.new: f32[4]) -> (w_new: f32[4])\n axes int: par 4\n \
                w_new[int] = t1[int] * double[int] + w.new[int]\n";
    let source = &cuda(text).unwrap()[0].kernel.source;
    let signature = "float_(const float* t1_, const float* double_, const float* w_new, float* w_new_, ";
    assert!(source.contains(signature), "{source}");
}

#[test]
fn text_of_attention_on_tensor_cores() {
    let backward = "
        graph attention(%q: f16[2, 100, 64], %k: f16[2, 70, 64], %v: f16[2, 70, 64], %dy: f16[2, 100, 64], %m: bool[1, 100, 70]) ->
            (f16[2, 100, 64], f16[2, 70, 64], f16[2, 70, 64]) {
          %y, %lse = attention {causal=false, hidden=-inf, scale=0.125}(%q, %k, %v, %m)
          %w = cast {dtype=f32}(%y) %u = cast {dtype=f32}(%dy) %p = mul(%w, %u)
          %l = reduce {axes=[0, 1, 2], kind=sum}(%p)
          %dq, %dk, %dv = grad {seeded=false}(%l, %q, %k, %v)
          return %dq, %dk, %dv
        }";
    let forward = "
        graph attention(%q: bf16[2, T, 128], %k: bf16[2, T, 128], %v: bf16[2, T, 128]) -> (bf16[2, T, 128])
            where T in 1..=1000 {
          %y, %lse = attention {causal=true, hidden=-inf, scale=0.125}(%q, %k, %v)
          return %y
        }";
    let options = Options { backend: Backend::Cuda, ..Options::default() };
    for (name, text) in [("attention_forward", forward), ("attention_backward", backward)] {
        let graph = Graph::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let compiled = compile(&graph, &Variables::default(), &options).unwrap();
        let launches = compiled.program.launches.iter().flat_map(|launch| &launch.work);
        let texts = launches.filter_map(|work| match work {
            Work::Cuda(cuda) if cuda.kernel.source.contains("mma_") => Some(format!(
                "// {}: {} blocks of {} threads, {} bytes shared\n{}",
                cuda.kernel.name, cuda.grid, cuda.kernel.block, cuda.shared, cuda.kernel.source
            )),
            _ => None,
        });
        insta::assert_snapshot!(name, texts.collect::<String>());
    }
}
