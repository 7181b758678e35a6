//! Time to compile a few kernels for this CPU, and how fast their code runs on one core, against the memory's floor.
//!
//!     cargo run --release -p igneous-compiler --example cpu_kernels [name part] [--clif]

use igneous_compiler::cpu::{Target, compile_kernels};
use igneous_ir::kernel::Kernel;
use igneous_runtime::program::{DotOut, ErrorWord, KernelFn, Operand, Work};
use std::time::Instant;

/// Bytes per nanosecond that one core reads and writes of arrays far larger than its caches: the floor of a kernel that
/// touches each element once.
const MEMORY_GB_PER_S: f64 = 25.0;

const KERNELS: &[(&str, &str)] = &[
    (
        "add (memory)",
        "kernel k(a: f32[8388608], b: f32[8388608]) -> (y: f32[8388608])\n  axes i: par 8388608\n  y[i] = a[i] + b[i]\n",
    ),
    ("add (cache)", "kernel k(a: f32[4096], b: f32[4096]) -> (y: f32[4096])\n  axes i: par 4096\n  y[i] = a[i] + b[i]\n"),
    (
        "gelu(x·a+b)·sigmoid(c)",
        "kernel k(x: f32[4096], a: f32[4096], b: f32[4096], c: f32[4096]) -> (y: f32[4096])
  axes i: par 4096
  map {
    let t1 = x[i] * a[i] + b[i]
    y[i] = t1 * 0.5 * (erf(t1 * 0.70710677) + 1.0) * sigmoid(c[i])
  }
",
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

fn main() {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let listing = names.iter().any(|n| n == "--clif");
    names.retain(|n| n != "--clif");
    println!("{:32} {:>10} {:>10} {:>10} {:>8} {:>8}", "kernel", "compile µs", "run µs", "Gelem/s", "GB/s", "of floor");
    for (name, text) in KERNELS.iter().filter(|(name, _)| names.is_empty() || names.iter().any(|n| name.contains(n.as_str()))) {
        let kernel = Kernel::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let mut fastest = f64::INFINITY;
        let mut code = None;
        for _ in 0..5 {
            let start = Instant::now();
            code = Some(compile_kernels(std::slice::from_ref(&kernel), &[], &Target::host()).unwrap_or_else(|e| panic!("{e}")));
            fastest = fastest.min(start.elapsed().as_secs_f64() * 1e6);
        }
        let code = code.expect("compiled above");
        if listing {
            code.listings.iter().for_each(|listing| println!("{listing}"));
        }
        let mut memory = Memory::new(&kernel);
        let pointers = memory.pointers();
        let whole: f64 = kernel.params.iter().map(|p| p.ty.bytes().get().expect("constant extents") as f64).sum();
        for call in calls(&code.work[0][0]) {
            let mut scratch = vec![0u64; call.scratch / 8 + 16];
            let skip = scratch.as_ptr().align_offset(64);
            let mut error = ErrorWord::default();
            let mut run = |times: usize| {
                let start = Instant::now();
                for _ in 0..times {
                    // SAFETY: the buffers are those of the kernel's parameters, scratch is large enough and aligned, and the
                    // code's memory is alive.
                    unsafe {
                        let scratch = scratch[skip..].as_mut_ptr().cast();
                        (call.function)(pointers.as_ptr(), std::ptr::null(), call.bounds.as_ptr(), scratch, &mut error);
                    }
                }
                start.elapsed().as_secs_f64() / times as f64
            };
            let once = run(1);
            let times = (2e-4 / once).clamp(1.0, 1e6) as usize;
            let seconds =
                (0..(0.3 / (once * times as f64)).clamp(7.0, 1000.0) as usize).map(|_| run(times)).fold(f64::INFINITY, f64::min);
            // A part of a dot reads and writes each of its elements.
            let bytes = if call.what.is_empty() { whole } else { 8.0 * call.elements };
            let elements = if call.what.is_empty() { whole / 4.0 } else { call.elements };
            let floor = bytes / (MEMORY_GB_PER_S * 1e9);
            println!(
                "{:32} {:10.0} {:10.2} {:10.2} {:8.1} {:8.2}",
                format!("{name}{}", call.what),
                fastest,
                seconds * 1e6,
                elements / seconds * 1e-9,
                bytes / seconds * 1e-9,
                floor / seconds
            );
        }
    }
}
