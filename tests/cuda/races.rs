//! The emulator finds races: kernels that are right until a barrier is taken out.

use crate::emulator::{Emulator, compiler};
use crate::exact;
use crate::programs::program_of;
use igneous_compiler::Options;
use igneous_compiler::cuda::emit;
use igneous_ir::error::Error;
use igneous_ir::kernel::Kernel;
use igneous_runtime::cuda::{CudaWork, Device};
use igneous_runtime::program::Work;
use std::sync::Arc;

/// The error of a run of a kernel whose text was changed, in either order of the threads.
fn error_of(name: &str, change: impl Fn(&str) -> String) -> Option<Error> {
    let compiler = compiler()?;
    let emulator = Arc::new(Emulator::new(compiler, &format!("races-{name}")));
    let device: Arc<dyn Device> = emulator.clone();
    let mut exact = exact::kernels().into_iter().find(|e| e.name == name).expect("there is such a kernel");
    let works = emit(&exact.kernel, &Options::default()).expect("the kernel can be written").into_iter().map(|work| {
        let text = igneous_runtime::cuda::KernelText { source: change(&work.kernel.source), ..(*work.kernel).clone() };
        Work::Cuda(Box::new(CudaWork { kernel: Arc::new(text), ..work }))
    });
    let kernel: &Kernel = &exact.kernel;
    exact.program = Arc::new(program_of(kernel, &kernel.symbols(), works.collect(), Arc::new(())));
    let run = |backwards| {
        emulator.run_backwards(backwards);
        exact.check(&device, false).err()
    };
    run(false).or_else(|| run(true))
}

/// Takes out the `nth` line that is a barrier.
fn without(barrier: &'static str, nth: usize) -> impl Fn(&str) -> String {
    move |source| {
        let mut seen = 0;
        let keep = |line: &&str| {
            seen += usize::from(line.trim() == barrier);
            line.trim() != barrier || seen != nth + 1
        };
        let text: String = source.lines().filter(keep).flat_map(|line| [line, "\n"]).collect();
        assert!(seen > nth, "the kernel has {seen} barriers");
        text
    }
}

#[test]
fn a_barrier_that_is_missing_is_a_race() {
    if compiler().is_none() {
        return;
    }
    for (name, barrier, nth) in
        [("columns", "__syncthreads();", 0), ("columns", "__syncthreads();", 1), ("kept_row", "__syncwarp();", 0)]
    {
        let unchanged = error_of(name, str::to_owned);
        assert!(unchanged.is_none(), "{name}: {unchanged:?}");
        let error = error_of(name, without(barrier, nth)).unwrap_or_else(|| panic!("{name} without a barrier passes"));
        let text = error.to_string();
        assert!(text.contains("race in kernel") && text.contains("with no barrier between"), "{text}");
        assert!(text.contains("shared memory at byte"), "{text}");
    }
}

#[test]
fn blocks_that_write_to_one_element_race() {
    if compiler().is_none() {
        return;
    }
    let all_first = |source: &str| source.replace("block = blockIdx.x", "block = 0");
    let error = error_of("transposed", all_first).expect("all blocks write the same elements");
    let text = error.to_string();
    assert!(text.contains("of block 1 writes") && text.contains("of block 0 wrote"), "{text}");
    assert!(text.contains("the device's memory at byte"), "{text}");
}
