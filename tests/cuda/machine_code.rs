//! What NVRTC makes of kernels, and what resources they need.

use igneous_runtime::cuda::{KernelText, Nvrtc};
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Kernels that are compiled together, each in a namespace of its own: most of the time goes into starting.
const BATCH: usize = 24;

/// What a kernel needs on one architecture.
#[derive(Clone, Debug)]
pub struct Resources {
    /// The kernel.
    pub kernel: Arc<KernelText>,
    /// The architecture.
    pub architecture: &'static str,
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of registers that did not fit, stored and loaded.
    pub spilled: u32,
    /// Bytes of local arrays.
    pub stack: u32,
    /// Bytes of static shared memory.
    pub shared: u32,
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Resources { kernel, architecture, registers, spilled, stack, shared } = self;
        let name = &kernel.name;
        write!(f, "{name} for {architecture}: {registers} registers, {spilled} bytes spilled, {stack} of stack, {shared} shared")
    }
}

/// Compiles every kernel for every architecture, several at a time. A batch that does not compile gives an error with the log.
pub fn compile(nvrtc: &Nvrtc, kernels: &[Arc<KernelText>], architectures: &[&'static str]) -> Result<Vec<Resources>, String> {
    let jobs: Vec<(&[Arc<KernelText>], &'static str)> =
        kernels.chunks(BATCH).flat_map(|batch| architectures.iter().map(move |&a| (batch, a))).collect();
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Result<Vec<Resources>, String>>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, |n| n.get()) {
            scope.spawn(|| {
                while let Some(&(batch, architecture)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = compile_batch(nvrtc, batch, architecture);
                    results.lock().expect("nobody panics with it").push(result);
                }
            });
        }
    });
    let all: Result<Vec<_>, String> = results.into_inner().expect("nobody panics with it").into_iter().collect();
    let mut all = all?.concat();
    all.sort_by(|a, b| (&a.kernel, a.architecture).cmp(&(&b.kernel, b.architecture)));
    Ok(all)
}

fn compile_batch(nvrtc: &Nvrtc, batch: &[Arc<KernelText>], architecture: &'static str) -> Result<Vec<Resources>, String> {
    let mut text = String::new();
    for (k, kernel) in batch.iter().enumerate() {
        let _ = writeln!(text, "namespace k{k} {{\n{}}}", kernel.source.replace("extern \"C\" ", ""));
    }
    let compiled = nvrtc.compile(&text, architecture, &["--ptxas-options=-v"]).map_err(|e| format!("{e}\n{text}"))?;
    let mut found: Vec<Resources> = Vec::new();
    for line in compiled.log.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let kernel = batch[number(rest)].clone();
            found.push(Resources { kernel, architecture, registers: 0, spilled: 0, stack: 0, shared: 0 });
        }
        let Some(last) = found.last_mut() else { continue };
        let words: Vec<&str> = line.split_whitespace().collect();
        let before = |what: &[&str]| -> u32 {
            let at = words.windows(what.len()).position(|w| w.iter().zip(what).all(|(w, x)| w.trim_end_matches(',') == *x));
            at.and_then(|i| words[..i].last()).and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        last.stack += before(&["bytes", "stack", "frame"]);
        last.spilled += before(&["bytes", "spill", "stores"]) + before(&["bytes", "spill", "loads"]);
        last.registers += before(&["registers"]);
        last.shared += before(&["bytes", "smem"]);
    }
    match found.len() == batch.len() && found.iter().all(|r| r.registers > 0) {
        true => Ok(found),
        false => Err(format!("the log does not name all kernels:\n{}", compiled.log)),
    }
}

/// The number in a mangled name: `_ZN3k12…` is 12.
fn number(mangled: &str) -> usize {
    let digits: String = mangled.chars().skip_while(|&c| c != 'k').skip(1).take_while(char::is_ascii_digit).collect();
    // The length of the kernel's own name follows the number.
    let length: usize = mangled.chars().skip(3).take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
    digits[..length.saturating_sub(1).min(digits.len())].parse().unwrap_or(0)
}
