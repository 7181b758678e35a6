//! The text of a handful of kernels.

use super::emit;
use super::test_kernels::KERNELS;
use crate::driver::Options;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::Kernel;
use igneous_runtime::cuda::CudaWork;

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
