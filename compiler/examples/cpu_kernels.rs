//! Time to compile a few kernels for this CPU, and how fast their code runs on one core with vectors of each width, against
//! what the machine can do at most.
//!
//!     cargo run --release -p igneous-compiler --example cpu_kernels [name part] [--code]
//!
//! The floor of a kernel is the larger of two times: that of its bytes at the bandwidth of the smallest memory that holds
//! them, and that of its products, quotients and fused multiply-adds at one 512-bit instruction in each cycle. The limits
//! are those of one core of a Zen 4 server, so fractions on other machines only compare with each other.

use igneous_compiler::cpu::{CpuCode, Target, compile_kernels};
use igneous_ir::kernel::Kernel;
use igneous_ir::math;
use igneous_ir::scalar::ScalarOp;
use igneous_runtime::program::{DotOut, ErrorWord, KernelFn, Operand, Work};
use std::time::Instant;

/// Bytes that fit, and bytes per nanosecond that one core reads and writes there: caches of the second and third level,
/// memory.
const MEMORIES: [(f64, f64); 3] = [(1e6, 117.0), (32e6, 97.0), (f64::INFINITY, 37.0)];
/// Multiplications of `f32`, fused with an addition or not, that one core does in a nanosecond.
const MULTIPLICATIONS: f64 = 59.0;

/// Kernels over `{n}` elements, timed with each of [`SIZES`].
const SIZED_KERNELS: &[(&str, &str)] = &[
    (
        "gelu(x·a+b)·sigmoid(c)",
        "kernel k(x: f32[{n}], a: f32[{n}], b: f32[{n}], c: f32[{n}]) -> (y: f32[{n}])
  axes i: par {n}
  map {
    let t1 = x[i] * a[i] + b[i]
    y[i] = t1 * 0.5 * (erf(t1 * 0.70710677) + 1.0) * sigmoid(c[i])
  }
",
    ),
    (
        "chain of 20",
        "kernel k(x: f32[{n}], a: f32[{n}]) -> (y: f32[{n}])
  axes i: par {n}
  map {
    let t1 = max(x[i] * 1.01 + a[i], -3.0)
    let t2 = abs(t1 - 0.5) * 0.9 + t1
    let t3 = min(t2 * t2 + 0.1, 4.0) - a[i]
    let t4 = select(t3 > 0.0, t3 * 0.3, t3 * 0.7) + t2
    let t5 = (t4 + 1.0) * 0.5 + t1
    y[i] = max(t5 * t3, 0.0)
  }
",
    ),
];

const SIZES: [(&str, &str); 2] = [("16k", "16384"), ("4M", "4194304")];

const KERNELS: &[(&str, &str)] = &[
    (
        "add (memory)",
        "kernel k(a: f32[8388608], b: f32[8388608]) -> (y: f32[8388608])\n  axes i: par 8388608\n  y[i] = a[i] + b[i]\n",
    ),
    (
        "sums of columns 4096×1024",
        "kernel k(x: f32[4096, 1024]) -> (y: f32[1024])\n  axes i: par 1024, j: ser 4096\n  s = reduce sum j { x[j, i] }\n  y[i] = s\n",
    ),
    (
        "sums of columns 128×1024",
        "kernel k(x: f32[128, 1024]) -> (y: f32[1024])\n  axes i: par 1024, j: ser 128\n  s = reduce sum j { x[j, i] }\n  y[i] = s\n",
    ),
    ("add (cache)", "kernel k(a: f32[4096], b: f32[4096]) -> (y: f32[4096])\n  axes i: par 4096\n  y[i] = a[i] + b[i]\n"),
    (
        "sum 4M",
        "kernel k(x: f32[4194304]) -> (y: f32[])\n  axes j: ser 4194304\n  s = reduce sum j { x[j] }\n  y[] = s\n",
    ),
    ("exp", "kernel k(a: f32[4096]) -> (y: f32[4096])\n  axes i: par 4096\n  y[i] = exp(a[i])\n"),
    ("tanh", "kernel k(a: f32[4096]) -> (y: f32[4096])\n  axes i: par 4096\n  y[i] = tanh(a[i])\n"),
    ("sin f64", "kernel k(a: f64[4096]) -> (y: f64[4096])\n  axes i: par 4096\n  y[i] = sin(a[i])\n"),
    (
        "sum of rows (memory)",
        "kernel k(x: f32[2048, 4096]) -> (y: f32[2048])\n  axes i: par 2048, j: ser 4096\n  s = reduce sum j { x[i, j] }\n  y[i] = s\n",
    ),
    (
        "sum of rows (cache)",
        "kernel k(x: f32[4, 4096]) -> (y: f32[4])\n  axes i: par 4, j: ser 4096\n  s = reduce sum j { x[i, j] }\n  y[i] = s\n",
    ),
    (
        "sum of rows of 100",
        "kernel k(x: f32[64, 100]) -> (y: f32[64])\n  axes i: par 64, j: ser 100\n  s = reduce sum j { x[i, j] }\n  y[i] = s\n",
    ),
    (
        "sum of columns (cache)",
        "kernel k(x: f32[64, 512]) -> (y: f32[512])\n  axes i: par 512, j: ser 64\n  s = reduce sum j { x[j, i] }\n  y[i] = s\n",
    ),
    (
        "sum of columns (memory)",
        "kernel k(x: f32[8192, 1024]) -> (y: f32[1024])\n  axes i: par 1024, j: ser 8192\n  s = reduce sum j { x[j, i] }\n  y[i] = s\n",
    ),
    (
        "softmax of rows",
        "kernel k(x: f32[4096, 1024]) -> (y: f32[4096, 1024])
  axes i: par 4096, j: ser 1024
  m, s = reduce online_softmax j { x[i, j] }
  map j { y[i, j] = exp(x[i, j] - m) / s }
",
    ),
    (
        "softmax of rows of 10",
        "kernel k(x: f32[64, 10]) -> (y: f32[64, 10])
  axes i: par 64, j: ser 10
  m, s = reduce online_softmax j { x[i, j] }
  map j { y[i, j] = exp(x[i, j] - m) / s }
",
    ),
    (
        "layer norm",
        "kernel k(x: f32[4096, 1024], w: f32[1024], b: f32[1024]) -> (y: f32[4096, 1024], mean: f32[4096], rstd: f32[4096])
  axes i: par 4096, j: ser 1024
  m, m2 = reduce welford j { x[i, j] }
  map { r = 1.0 / sqrt(m2 * 0.0009765625 + 1e-5) }
  map j { y[i, j] = (x[i, j] - m) * r * w[j] + b[j] }
  map { mean[i] = m }
  map { rstd[i] = r }
",
    ),
    (
        "layer norm (cache)",
        "kernel k(x: f32[16, 1024], w: f32[1024], b: f32[1024]) -> (y: f32[16, 1024])
  axes i: par 16, j: ser 1024
  m, m2 = reduce welford j { x[i, j] }
  map { r = 1.0 / sqrt(m2 * 0.0009765625 + 1e-5) }
  map j { y[i, j] = (x[i, j] - m) * r * w[j] + b[j] }
",
    ),
    (
        "batch norm statistics",
        "kernel k(x: f32[32, 16, 784]) -> (mean: f32[16], var: f32[16])
  axes c: par 16, n: ser 32, p: ser 784
  m, s = reduce welford n p { x[n, c, p] }
  mean[c] = m
  var[c] = s
",
    ),
    (
        "transpose",
        "kernel k(x: f32[1024, 1024]) -> (y: f32[1024, 1024])\n  axes i: par 1024, j: par 1024\n  y[i, j] = x[j, i]\n",
    ),
    (
        "max pool 2x2",
        "kernel k(x: f32[32, 16, 28, 28]) -> (y: f32[32, 16, 14, 14])
  axes n: par 32, c: par 16, p: par 14, q: par 14, r: ser 2, s: ser 2
  m = reduce max r s { x[n, c, p * 2 + r, q * 2 + s] }
  y[n, c, p, q] = m
",
    ),
    (
        "embedding",
        "kernel k(t: f32[1000, 256], ids: i64[512]) -> (y: f32[512, 256])
  axes i: par 512, j: par 256
  y[i, j] = t[max(min(ids[i], 999), 0), j]
",
    ),
    (
        "adam",
        "kernel k(w: f32[401408], g: f32[401408], m: f32[401408], v: f32[401408]) -> (w2: f32[401408], m2: f32[401408], v2: f32[401408])
  axes i: par 401408
  map {
    let t1 = m[i] * 0.9 + g[i] * 0.1
    let t2 = v[i] * 0.999 + g[i] * g[i] * 0.001
    w2[i] = w[i] - 0.001 * t1 / (sqrt(t2) + 1e-8)
    m2[i] = t1
    v2[i] = t2
  }
",
    ),
    (
        "conv 64ch 56² 3×3",
        "kernel k(x: f32[1, 64, 56, 56], w: f32[64, 64, 3, 3], b: f32[64]) -> (y: f32[1, 64, 56, 56])
  axes o: par 64, p: par 56, q: par 56, c: ser 64, r: ser 3, s: ser 3
  acc = dot c r s m(o) n(p, q) { w[o, c, r, s] } { select((p + r - 1 >= 0) & (p + r - 1 < 56) & (q + s - 1 >= 0) & (q + s - 1 < 56), x[0, c, max(min(p + r - 1, 55), 0), max(min(q + s - 1, 55), 0)], 0.0) }
  y[0, o, p, q] = max(acc + b[o], 0.0)
",
    ),
    (
        "conv dw 64ch 56² 3×3",
        "kernel k(x: f32[1, 64, 56, 56], d: f32[1, 64, 56, 56]) -> (y: f32[64, 64, 3, 3])
  axes o: par 64, c: par 64, r: par 3, s: par 3, p: ser 56, q: ser 56
  acc = dot p q m(o) n(c, r, s) { d[0, o, p, q] } { select((p + r - 1 >= 0) & (p + r - 1 < 56) & (q + s - 1 >= 0) & (q + s - 1 < 56), x[0, c, max(min(p + r - 1, 55), 0), max(min(q + s - 1, 55), 0)], 0.0) }
  y[o, c, r, s] = acc
",
    ),
    (
        "linear with epilogue",
        "kernel k(x: f32[64, 784], w: f32[784, 512], b: f32[512]) -> (y: f32[64, 512])
  axes i: par 64, j: par 512, k: ser 784
  acc = dot k m(i) n(j) { max(x[i, k], 0.0) } { w[k, j] }
  y[i, j] = max(acc + b[j], 0.0)
",
    ),
];

struct Memory(Vec<Vec<u64>>);

impl Memory {
    fn new(kernel: &Kernel) -> Memory {
        let size = |p: &igneous_ir::kernel::Param| p.ty.bytes().get().expect("constant extents") / 8 + 16;
        Memory(kernel.params.iter().map(|p| vec![0; size(p)]).collect())
    }

    fn pointers(&mut self) -> Vec<*mut u8> {
        let aligned = |v: &mut Vec<u64>| {
            let skip = v.as_ptr().align_offset(64);
            v[skip..].as_mut_ptr().cast()
        };
        self.0.iter_mut().map(aligned).collect()
    }
}

/// Calls of one function.
struct Call {
    what: &'static str,
    function: KernelFn,
    bounds: Vec<i64>,
    scratch: usize,
    elements: f64,
}

fn calls(work: &Work) -> Vec<Call> {
    let get = |d: igneous_ir::Dim| d.get().expect("constant extents");
    match work {
        Work::Loop(work) => {
            let bounds = work.extents.iter().flat_map(|&d| [0, get(d) as i64]).collect();
            let elements = work.extents.iter().map(|&d| get(d) as f64).product();
            vec![Call { what: "", function: work.function, bounds, scratch: get(work.scratch), elements }]
        }
        Work::Dot(dot) => {
            let (m, n, k) = (get(dot.m).min(get(dot.block.0)), get(dot.n).min(get(dot.block.1)), get(dot.k).min(256));
            let batch: Vec<i64> = dot.batch.iter().flat_map(|_| [0, 1]).collect();
            let mut calls = Vec::new();
            let mut add = |what, function, a: usize, b: usize, own: usize| {
                let bounds = [&batch[..], &[0, a as i64, 0, b as i64]].concat();
                calls.push(Call { what, function, bounds, scratch: a * b * 8 + 64 + own, elements: (a * b) as f64 });
            };
            if let Operand::Packed { function } = dot.lhs {
                add(", packing lhs", function, m, k, 0);
            }
            if let Operand::Packed { function } = dot.rhs {
                add(", packing rhs", function, n, k, 0);
            }
            if let DotOut::Epilogue { function, scratch } = &dot.out {
                add(", epilogue", *function, m, n, get(*scratch));
            }
            calls
        }
        _ => Vec::new(),
    }
}

/// How many multiplications a kernel does, and the points of its longest loops.
fn work(kernel: &Kernel) -> (f64, f64) {
    let (mut multiplications, mut points) = (0.0, 0f64);
    for section in &kernel.sections {
        let extent = |a: u32| section.axes[a as usize].extent.get().expect("constant extents") as f64;
        let outer: f64 = section.parallel().map(extent).product();
        for stage in &section.stages {
            let turns = outer * stage.axes().iter().map(|&a| extent(a)).product::<f64>();
            let (exprs, roots) = math::expand(&section.exprs, &stage.roots());
            let counts = exprs.reachable(&roots).into_iter().map(|id| exprs.get(id));
            let counts = counts.filter(|e| e.dtype.is_float() && matches!(e.op, ScalarOp::Mul | ScalarOp::Div | ScalarOp::Fma));
            multiplications += turns * counts.map(|e| e.dtype.size() as f64 / 4.0).sum::<f64>();
            points = points.max(turns);
        }
    }
    (multiplications, points)
}

/// The seconds that a kernel takes at least.
fn floor(bytes: f64, multiplications: f64) -> f64 {
    let (_, bandwidth) = MEMORIES.into_iter().find(|(size, _)| bytes <= *size).expect("the last one holds everything");
    1e-9 * (bytes / bandwidth).max(multiplications / MULTIPLICATIONS)
}

/// The fastest of some compilations, in microseconds.
fn compile(kernel: &Kernel, target: &Target) -> (CpuCode, f64) {
    let mut fastest = f64::INFINITY;
    let mut code = None;
    for _ in 0..7 {
        let start = Instant::now();
        code = Some(compile_kernels(std::slice::from_ref(kernel), &[], target).unwrap_or_else(|e| panic!("{e}")));
        fastest = fastest.min(start.elapsed().as_secs_f64() * 1e6);
    }
    (code.expect("compiled above"), fastest)
}

/// Names and texts of all kernels.
fn kernels() -> Vec<(String, String)> {
    let sized =
        SIZED_KERNELS.iter().flat_map(|(name, text)| SIZES.map(|(size, n)| (format!("{name} {size}"), text.replace("{n}", n))));
    sized.chain(KERNELS.iter().map(|(name, text)| (name.to_string(), text.to_string()))).collect()
}

fn main() {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let listing = names.iter().any(|n| n == "--code");
    names.retain(|n| n != "--code");
    println!(
        "{:32} {:9} {:>10} {:>10} {:>9} {:>8} {:>8}",
        "kernel", "vectors", "compile µs", "run µs", "Gpoint/s", "GB/s", "of floor"
    );
    let wanted = |name: &str| names.is_empty() || names.iter().any(|n| name.contains(n.as_str()));
    for (name, text) in kernels().iter().filter(|(name, _)| wanted(name)) {
        let kernel = Kernel::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let compiled: Vec<(Target, CpuCode, f64)> = Target::widths()
            .into_iter()
            .map(|target| {
                let (code, time) = compile(&kernel, &target);
                (target, code, time)
            })
            .collect();
        if listing {
            compiled.iter().for_each(|(_, code, _)| code.listings.iter().for_each(|l| println!("{l}")));
        }
        let mut memory = Memory::new(&kernel);
        let pointers = memory.pointers();
        let bytes: f64 = kernel.params.iter().map(|p| p.ty.bytes().get().expect("constant extents") as f64).sum();
        let (multiplications, points) = work(&kernel);
        let all: Vec<Vec<Call>> = compiled.iter().map(|(_, code, _)| calls(&code.work[0][0])).collect();
        for part in 0..all[0].len() {
            let mut fastest = vec![f64::INFINITY; all.len()];
            let mut times = 1;
            // Turns of all widths, so that a slow phase of the machine meets each of them.
            for round in 0..12 {
                for (fastest, calls) in fastest.iter_mut().zip(&all) {
                    let call = &calls[part];
                    let mut scratch = vec![0u64; call.scratch / 8 + 16];
                    let skip = scratch.as_ptr().align_offset(64);
                    let mut error = ErrorWord::default();
                    let start = Instant::now();
                    for _ in 0..times {
                        // SAFETY: the buffers are those of the kernel's parameters, scratch is large enough and aligned, and
                        // the code's memory is alive.
                        unsafe {
                            let scratch = scratch[skip..].as_mut_ptr().cast();
                            (call.function)(pointers.as_ptr(), std::ptr::null(), call.bounds.as_ptr(), scratch, &mut error);
                        }
                    }
                    *fastest = fastest.min(start.elapsed().as_secs_f64() / times as f64);
                }
                if round == 0 {
                    times = (0.01 / fastest[0]).clamp(1.0, 1e6) as usize;
                }
            }
            for ((target, _, compile), (seconds, calls)) in compiled.iter().zip(fastest.iter().zip(&all)) {
                let call = &calls[part];
                // A part of a dot reads and writes each of its elements.
                let own = !call.what.is_empty();
                let (bytes, points) = if own { (8.0 * call.elements, call.elements) } else { (bytes, points) };
                let floor = floor(bytes, if own { 0.0 } else { multiplications });
                println!(
                    "{:32} {:9} {compile:10.0} {:10.2} {:9.2} {:8.1} {:8.2}",
                    format!("{name}{}", call.what),
                    target.width.name(),
                    seconds * 1e6,
                    points / seconds * 1e-9,
                    bytes / seconds * 1e-9,
                    floor / seconds
                );
            }
        }
    }
}
