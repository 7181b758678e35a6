//! The very text of kernels, compiled for the CPU by a C++ compiler under `emulate.h` and compared with the kernel
//! interpreter bit for bit.

use super::tests::KERNELS;
use super::{CudaKernel, emit};
use igneous_ir::array::Array;
use igneous_ir::dim::Symbol;
use igneous_ir::kernel::interp::{Run, interpret};
use igneous_ir::kernel::{Access, Kernel};
use igneous_ir::types::DType;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

/// The size of every symbolic dimension: rows longer than a chunk, and not a multiple of anything.
fn size(symbol: Symbol) -> Option<i64> {
    Some(symbol.hi.min(if symbol.name == "T" { 5003 } else { 3 }))
}

/// Numbers of both signs, and zeros; with `nans`, a few of those. Integers are odd, so that products are not zero.
fn array(dtype: DType, shape: &[usize], seed: u64, nans: bool) -> Array {
    let mut state = seed;
    let mut next = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as i64
    };
    let float = |_| match next() % 97 {
        0 if nans => f64::NAN,
        1 => -0.0,
        k => (next() % 20011 - 10000) as f64 / 1000.0 * if k % 50 == 7 { 8.0 } else { 1.0 },
    };
    if dtype.is_float() {
        return Array::from_fn_f64(dtype, shape, float).rounded();
    }
    let lowest = if matches!(dtype, DType::I32 | DType::I64) { -300 } else { 0 };
    Array::from_fn_i64(dtype, shape, |_| (next() % 500 + lowest) * 2 + 1)
}

/// The program that reads inputs, launches the kernel in both orders and writes outputs.
fn program(kernel: &Kernel, cuda: &CudaKernel, dir: &Path) -> String {
    let own = |line: &&str| {
        !line.starts_with("__device__ inline float from_f16(") && !line.starts_with("__device__ inline unsigned short to_f16(")
    };
    let text: String = cuda.source.lines().filter(own).flat_map(|l| [l, "\n"]).collect();
    let mut out = format!("#include \"emulate.h\"\n{}\n", text.replace("extern __shared__", "extern"));
    let n = kernel.params.len();
    let _ = writeln!(out, "static void* params[{n}];\nstatic unsigned long long errors[2];\nstatic void run_thread() {{");
    let mut arguments: Vec<String> = Vec::new();
    for (i, param) in kernel.params.iter().enumerate() {
        arguments.push(format!("({}*)params[{i}]", super::scalar::storage(param.ty.dtype)));
    }
    arguments.extend(cuda.symbols.iter().map(|&s| size(s).unwrap().to_string()));
    arguments.extend(cuda.reports.then(|| "errors".to_owned()));
    let _ = writeln!(out, "  {}({});\n}}\nint main() {{", cuda.name, arguments.join(", "));
    let _ = writeln!(out, "  for (int backwards = 0; backwards < 2; ++backwards) {{\n    errors[0] = 0;");
    for (i, param) in kernel.params.iter().enumerate() {
        let file = dir.join(format!("in{i}"));
        match param.access {
            Access::Read => writeln!(out, "    params[{i}] = aligned(read_file({file:?}));"),
            Access::Write => {
                let bytes = param.ty.bytes().eval(&size).unwrap();
                writeln!(out, "    params[{i}] = aligned(std::vector<unsigned char>({bytes}, 0xcd));")
            }
        }
        .unwrap();
    }
    let _ = writeln!(out, "    launch({}, backwards);", cuda.grid.eval(&size).unwrap());
    for (i, param) in kernel.writes() {
        let bytes = param.ty.bytes().eval(&size).unwrap();
        for order in 0..2 {
            let file = dir.join(format!("out{i}.{order}"));
            let _ = writeln!(out, "    if (backwards == {order}) write_file({file:?}, params[{i}], {bytes});");
        }
    }
    let _ = writeln!(out, "  }}\n  printf(\"%llu %lld\", errors[0], (long long)errors[1]);\n}}");
    out
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("the command can be started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "needs a C++ compiler with _Float16: run with --ignored"]
fn text_computes_what_the_interpreter_does() {
    for (name, text) in KERNELS {
        compare(name, text);
    }
}

fn compare(name: &str, text: &str) {
    let kernel = Kernel::parse(text).unwrap();
    let cuda = emit(&kernel).unwrap();
    let dir = std::env::temp_dir().join(format!("igneous-cuda-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("emulate.h"), include_str!("emulate.h")).unwrap();
    std::fs::write(dir.join("kernel.cpp"), program(&kernel, &cuda, &dir)).unwrap();
    let options = ["-std=c++17", "-O1", "-ffp-contract=off", "-mfma", "-w", "-o"];
    run(Command::new("c++").args(options).arg(dir.join("kernel")).arg(dir.join("kernel.cpp")));
    for nans in [false, true] {
        let mut inputs = Vec::new();
        for (i, param) in kernel.reads() {
            let shape: Vec<usize> = param.ty.shape.iter().map(|d| d.eval(&size).unwrap() as usize).collect();
            inputs.push(array(param.ty.dtype, &shape, i as u64 + 1, nans));
            std::fs::write(dir.join(format!("in{i}")), inputs[i].to_bytes()).unwrap();
        }
        let expected =
            interpret(&kernel, &inputs.iter().collect::<Vec<_>>(), &size, &Run::default()).unwrap_or_else(|e| panic!("{e}"));
        let report = run(&mut Command::new(dir.join("kernel")));
        let failed = expected.failed.map_or(0, |(code, _)| u64::from(code) + 1);
        assert!(report.starts_with(&format!("{failed} ")), "{name}: {report}");
        for ((i, param), expected) in kernel.writes().zip(&expected.outputs) {
            assert!(
                nans || (0..expected.len()).any(|e| expected.f(e).is_finite() && expected.f(e) != 0.0),
                "{name}: {} says nothing",
                param.name
            );
            for order in 0..2 {
                let bytes = std::fs::read(dir.join(format!("out{i}.{order}"))).unwrap();
                let found = Array::from_bytes(param.ty.dtype, expected.shape(), &bytes).unwrap();
                let same = |e: usize| found.literal(e) == expected.literal(e) || found.f(e).is_nan() && expected.f(e).is_nan();
                if let Some(e) = (0..found.len()).find(|&e| !same(e)) {
                    panic!(
                        "{name}, {}[{e}]: {:?}, the interpreter gives {:?}",
                        param.name,
                        found.literal(e),
                        expected.literal(e)
                    );
                }
            }
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
