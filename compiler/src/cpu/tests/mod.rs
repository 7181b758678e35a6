//! Compiled kernels against the kernel interpreter, bit for bit.

mod dots;
mod folds;
mod halves;
mod maps;
mod strips;

use super::{Target, compile_kernels, winograd_pays};
use igneous_ir::array::Array;
use igneous_ir::dim::Symbol;
use igneous_ir::kernel::interp::{Outcome, Run, interpret};
use igneous_ir::kernel::{Access, Kernel};
use igneous_ir::types::DType;
use igneous_runtime::program::{ErrorWord, LoopWork, Work};
use std::sync::atomic::Ordering;

/// SplitMix64: the same numbers in every run.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

/// What the elements of the inputs are.
#[derive(Clone, Copy, PartialEq)]
pub enum Fill {
    /// Numbers around 0 whose sums round.
    Ordinary,
    /// Also zeros of both signs, infinities, NaN and extreme integers.
    Special,
}

fn input(dtype: DType, shape: &[usize], fill: Fill, noise: &mut Noise) -> Array {
    const FLOATS: [f64; 10] = [0.0, -0.0, 1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-40, 3e38, -2.5];
    const INTS: [i64; 8] = [0, 1, -1, i64::MIN, i64::MAX, i32::MIN as i64, i32::MAX as i64, 255];
    let special = |noise: &mut Noise| fill == Fill::Special && noise.below(3) == 0;
    if dtype.is_float() {
        return Array::from_fn_f64(dtype, shape, |_| {
            let x = if special(noise) {
                FLOATS[noise.below(10) as usize]
            } else {
                noise.below(1 << 24) as f64 / (1 << 22) as f64 - 2.0
            };
            dtype.round(x)
        });
    }
    Array::from_fn_i64(dtype, shape, |_| if special(noise) { INTS[noise.below(8) as usize] } else { noise.below(41) as i64 - 20 })
}

/// How the points of a section are cut into boxes.
#[derive(Clone, Copy)]
pub enum Boxes {
    Whole,
    Random(u64),
}

/// The values of a kernel's symbols: `B: 1..=64` in its text is given by name here.
pub type Values<'a> = &'a [(&'a str, i64)];

pub fn value_of<'a>(values: Values<'a>) -> impl Fn(Symbol) -> Option<i64> + 'a {
    move |s| values.iter().find(|(name, _)| *name == s.name).map(|(_, v)| *v)
}

/// Buffers of a kernel's parameters, 64-byte aligned, and the pointers to them.
pub struct Memory {
    blocks: Vec<(Vec<u64>, usize)>,
}

impl Memory {
    pub fn new(kernel: &Kernel, inputs: &[Array], values: Values) -> Memory {
        let at = value_of(values);
        let mut inputs = inputs.iter();
        let blocks = kernel.params.iter().map(|p| {
            let n = p.ty.bytes().eval(&at).unwrap() as usize;
            let bytes = match p.access {
                Access::Read => inputs.next().unwrap().to_bytes(),
                Access::Write => vec![0xa5; n],
            };
            assert_eq!(bytes.len(), n);
            let mut block = vec![0u64; n.div_ceil(8) + 8];
            let skip = block.as_ptr().align_offset(64);
            for (i, b) in bytes.iter().enumerate() {
                block[skip + i / 8] |= u64::from(*b) << (8 * (i % 8));
            }
            (block, skip)
        });
        Memory { blocks: blocks.collect() }
    }

    pub fn pointers(&mut self) -> Vec<*mut u8> {
        self.blocks.iter_mut().map(|(block, skip)| block[*skip..].as_mut_ptr().cast()).collect()
    }

    pub fn outputs(&self, kernel: &Kernel, values: Values) -> Vec<Array> {
        let at = value_of(values);
        let written = kernel.writes().map(|(i, p)| {
            let (block, skip) = &self.blocks[i];
            let n = p.ty.bytes().eval(&at).unwrap() as usize;
            let bytes: Vec<u8> = block[*skip..].iter().flat_map(|w| w.to_le_bytes()).take(n).collect();
            let shape: Vec<usize> = p.ty.shape.iter().map(|d| d.eval(&at).unwrap() as usize).collect();
            Array::from_bytes(p.ty.dtype, shape, &bytes).unwrap()
        });
        written.collect()
    }
}

/// Calls the function on boxes that cover the extents.
pub fn run_loop(work: &LoopWork, pointers: &[*mut u8], dims: &[i64], values: Values, boxes: Boxes, error: &mut ErrorWord) {
    let at = value_of(values);
    let extents: Vec<i64> = work.extents.iter().map(|d| d.eval(&at).unwrap()).collect();
    let scratch_bytes = work.scratch.eval(&at).unwrap() as usize;
    let mut scratch = vec![0xdead_beef_dead_beefu64; scratch_bytes / 8 + 16];
    let skip = scratch.as_ptr().align_offset(64);
    let mut open = vec![extents.iter().map(|&n| (0, n)).collect::<Vec<(i64, i64)>>()];
    if let Boxes::Random(seed) = boxes {
        let mut noise = Noise(seed);
        for _ in 0..12 {
            let pick = noise.below(open.len() as u64) as usize;
            if extents.is_empty() {
                break;
            }
            let axis = noise.below(extents.len() as u64) as usize;
            let (lo, hi) = open[pick][axis];
            let middle = lo + noise.below((hi - lo) as u64 + 1) as i64;
            let mut other = open[pick].clone();
            open[pick][axis] = (lo, middle);
            other[axis] = (middle, hi);
            open.push(other);
        }
        open.reverse();
    }
    for bounds in open {
        let bounds: Vec<i64> = bounds.iter().flat_map(|&(lo, hi)| [lo, hi]).collect();
        // SAFETY: `pointers` are those of the kernel's parameters, with all their elements; scratch has the size that
        // was asked for (checked below) and its alignment; the code's memory outlives the call.
        unsafe { (work.function)(pointers.as_ptr(), dims.as_ptr(), bounds.as_ptr(), scratch[skip..].as_mut_ptr().cast(), error) };
        let guard = skip + scratch_bytes.div_ceil(8);
        assert!(scratch[guard..].iter().all(|&w| w == 0xdead_beef_dead_beef), "scratch is overrun");
    }
}

/// Runs compiled code.
pub fn run_compiled(kernel: &Kernel, inputs: &[Array], values: Values, target: &Target, boxes: Boxes) -> Outcome {
    let symbols = kernel.symbols();
    let code = compile_kernels(std::slice::from_ref(kernel), &symbols, target).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
    let at = value_of(values);
    let dims: Vec<i64> = symbols.iter().map(|&s| at(s).unwrap()).collect();
    let mut memory = Memory::new(kernel, inputs, values);
    let pointers = memory.pointers();
    let mut error = ErrorWord::default();
    for work in &code.work[0] {
        match work {
            Work::Loop(work) => run_loop(work, &pointers, &dims, values, boxes, &mut error),
            _ => panic!("not a loop"),
        }
    }
    let code = error.code.load(Ordering::Relaxed);
    let failed = (code > 0).then(|| (code as u32 - 1, error.value.load(Ordering::Relaxed)));
    Outcome { outputs: memory.outputs(kernel, values), failed }
}

fn same(a: &Array, b: &Array) -> bool {
    if a.dtype() != b.dtype() || a.shape() != b.shape() {
        return false;
    }
    if !a.dtype().is_float() {
        return a == b;
    }
    (0..a.len()).all(|i| a.f(i).to_bits() == b.f(i).to_bits() || a.f(i).is_nan() && b.f(i).is_nan())
}

/// Compiles the kernel and compares it with the interpreter, over one box and over several.
pub fn check_with(text: &str, values: Values, fill: Fill, targets: &[Target]) {
    let kernel = Kernel::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let at = value_of(values);
    let mut noise = Noise(text.len() as u64);
    let inputs: Vec<Array> = kernel
        .reads()
        .map(|(_, p)| {
            let shape: Vec<usize> = p.ty.shape.iter().map(|d| d.eval(&at).unwrap() as usize).collect();
            input(p.ty.dtype, &shape, fill, &mut noise)
        })
        .collect();
    let expected =
        interpret(&kernel, &inputs.iter().collect::<Vec<_>>(), &at, &Run::default()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    for target in targets {
        for boxes in [Boxes::Whole, Boxes::Random(3), Boxes::Random(4)] {
            let got = run_compiled(&kernel, &inputs, values, target, boxes);
            for (i, (g, e)) in got.outputs.iter().zip(&expected.outputs).enumerate() {
                if !same(g, e) {
                    let at =
                        (0..g.len()).find(|&i| g.literal(i) != e.literal(i) && !(g.f(i).is_nan() && e.f(i).is_nan())).unwrap();
                    panic!(
                        "output {i} differs at {at}: {:?} instead of {:?}\n{values:?} {target:?}\n{text}",
                        g.literal(at),
                        e.literal(at)
                    );
                }
            }
            assert_eq!(got.failed.is_some(), expected.failed.is_some(), "{text}");
        }
    }
}

/// This machine with each of its widths, and the poorest of its kind.
fn targets() -> Vec<Target> {
    Target::widths().into_iter().chain([Target::baseline()]).collect()
}

/// [`check_with`] on all targets.
pub fn check(text: &str, values: Values) {
    check_with(text, values, Fill::Ordinary, &targets());
}

/// [`check`] with special numbers among the inputs.
pub fn check_special(text: &str, values: Values) {
    check_with(text, values, Fill::Special, &targets());
}

/// Lengths around the sizes of groups, lanes and chunks.
pub const LENGTHS: [i64; 10] = [0, 1, 3, 31, 32, 33, 100, 4096, 4097, 9000];

#[test]
fn compiling_and_dropping_many_times_leaks_no_memory() {
    let kernel = Kernel::parse("kernel k(x: f32[64]) -> (y: f32[64])\n  axes i: par 64\n  y[i] = x[i] + 1.0\n").unwrap();
    let mapped = || {
        std::fs::read_to_string("/proc/self/maps")
            .map_or(0, |m| m.lines().filter(|l| l.contains("r-xp") && l.ends_with(" 0 ")).count())
    };
    let before = mapped();
    for _ in 0..200 {
        compile_kernels(std::slice::from_ref(&kernel), &[], &Target::host()).unwrap();
    }
    assert!(mapped() <= before + 8, "executable mappings grew from {before} to {}", mapped());
}

#[test]
fn equal_sections_share_code_and_listings_are_deterministic() {
    let text = "kernel a(x: f32[64]) -> (y: f32[64])\n  axes i: par 64\n  y[i] = x[i] * 3.0\n";
    let a = Kernel::parse(text).unwrap();
    let b = Kernel::parse(&text.replace("kernel a", "kernel b")).unwrap();
    let code = compile_kernels(&[a.clone(), b], &[], &Target::host()).unwrap();
    assert_eq!(code.listings.len(), 1);
    assert_eq!(code.listings[0].name, "a");
    let again = compile_kernels(&[a], &[], &Target::host()).unwrap();
    assert_eq!(code.listings[0].to_string(), again.listings[0].to_string());
}
