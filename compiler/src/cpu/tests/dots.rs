//! Matrix products: operands that are read in place or packed, epilogues, and products that the library cannot do.

use super::*;
use igneous_ir::dim::Dim;
use igneous_ir::types::Literal;
use igneous_runtime::program::{DotOut, DotWork, KernelFn, Operand};

/// Numbers of either type of products.
trait Real: Copy + Default + std::ops::Mul<Output = Self> + std::ops::Add<Output = Self> {
    fn of(x: f64) -> Self;
}
impl Real for f32 {
    fn of(x: f64) -> f32 {
        x as f32
    }
}
impl Real for f64 {
    fn of(x: f64) -> f64 {
        x
    }
}

struct Call<'a> {
    pointers: &'a [*mut u8],
    dims: &'a [i64],
    values: Values<'a>,
}

impl Call<'_> {
    fn eval(&self, d: Dim) -> i64 {
        d.eval(&value_of(self.values)).unwrap()
    }

    fn function(&self, function: KernelFn, bounds: &[[i64; 2]], scratch: &mut [u8]) {
        let mut error = ErrorWord::default();
        let bounds: Vec<i64> = bounds.iter().flatten().copied().collect();
        assert_eq!(scratch.as_ptr().align_offset(64), 0);
        // SAFETY: as in `run_loop`; scratch is as large as the contract of the function says.
        unsafe { function(self.pointers.as_ptr(), self.dims.as_ptr(), bounds.as_ptr(), scratch.as_mut_ptr(), &mut error) };
    }

    /// The matrix `[outer][k]` of an operand, packed in pieces of `piece` along k.
    fn operand<T: Real>(&self, operand: &Operand, batch: &[i64], outer: [i64; 2], k: i64, piece: i64) -> Vec<T> {
        let rows = outer[1] - outer[0];
        let mut matrix = vec![T::default(); (rows * k) as usize];
        match operand {
            Operand::Strided { param, dtype, offset, batch: strides, outer: row, k: column } => {
                let start = self.eval(*offset) + batch.iter().zip(strides).map(|(i, &s)| i * self.eval(s)).sum::<i64>();
                for i in 0..rows {
                    for j in 0..k {
                        let at = start + (outer[0] + i) * self.eval(*row) + j * self.eval(*column);
                        // SAFETY: the operand says that this is an element of the parameter.
                        let element = unsafe {
                            let start = self.pointers[*param].offset(at as isize * dtype.size() as isize);
                            match dtype {
                                DType::F16 | DType::BF16 => {
                                    let bits = start.cast::<u16>().read();
                                    T::of(Literal::from_bits(*dtype, bits.into()).as_f64())
                                }
                                _ => start.cast::<T>().read(),
                            }
                        };
                        matrix[(i * k + j) as usize] = element;
                    }
                }
            }
            Operand::Window(window) | Operand::Winograd(window) => {
                let digits = |extents: &[Dim], i: i64| {
                    let shape: Vec<usize> = extents.iter().map(|&d| self.eval(d) as usize).collect();
                    igneous_ir::array::unravel(i as usize, &shape)
                };
                let sum = |axes: &[Dim], at: &[usize]| axes.iter().zip(at).map(|(&c, &i)| self.eval(c) * i as i64).sum::<i64>();
                let batch: Vec<usize> = batch.iter().map(|&i| i as usize).collect();
                for i in 0..rows {
                    let outer = digits(&window.outer, outer[0] + i);
                    for j in 0..k {
                        let inner = digits(&window.k, j);
                        let place = window.index.iter().try_fold(0, |place, index| {
                            let own = sum(&index.batch, &batch) + sum(&index.outer, &outer) + sum(&index.k, &inner);
                            let [at, extent, step] = [index.offset, index.extent, index.step].map(|d| self.eval(d));
                            let (at, between) = ((at + own).div_euclid(step), (at + own).rem_euclid(step));
                            ((0..extent).contains(&at) && between == 0).then_some(place * extent + at)
                        });
                        if let Some(place) = place {
                            // SAFETY: every index is inside of the parameter.
                            let element = unsafe { *self.pointers[window.param].cast::<T>().offset(place as isize) };
                            matrix[(i * k + j) as usize] = element;
                        }
                    }
                }
            }
            Operand::Packed { function } => {
                for lo in (0..k).step_by(piece as usize) {
                    let hi = (lo + piece).min(k);
                    let mut scratch = Scratch::new((rows * (hi - lo)) as usize * size_of::<T>());
                    let mut bounds: Vec<[i64; 2]> = batch.iter().map(|&i| [i, i + 1]).collect();
                    bounds.extend([outer, [lo, hi]]);
                    self.function(*function, &bounds, scratch.bytes());
                    scratch.check();
                    for j in lo..hi {
                        for i in 0..rows {
                            let at = ((j - lo) * rows + i) as usize * size_of::<T>();
                            // SAFETY: within scratch, which the function filled with elements.
                            matrix[(i * k + j) as usize] =
                                unsafe { scratch.bytes().as_ptr().add(at).cast::<T>().read_unaligned() };
                        }
                    }
                }
            }
        }
        matrix
    }

    fn run<T: Real>(&self, work: &DotWork, seed: u64) {
        let mut noise = Noise(seed);
        let (m, n, k) = (self.eval(work.m), self.eval(work.n), self.eval(work.k));
        let batch: Vec<i64> = work.batch.iter().map(|&d| self.eval(d)).collect();
        let mut ranges = |n: i64| {
            let mut cuts = vec![0, n];
            (0..2).for_each(|_| cuts.push(noise.below(n as u64 + 1) as i64));
            cuts.sort();
            cuts.windows(2).filter(|w| w[0] < w[1]).map(|w| [w[0], w[1]]).collect::<Vec<_>>()
        };
        let (rows, columns) = (ranges(m), ranges(n));
        let piece = noise.below(k.max(1) as u64) as i64 + 1;
        for position in 0..batch.iter().product::<i64>() {
            let shape: Vec<usize> = batch.iter().map(|&n| n as usize).collect();
            let index: Vec<i64> = igneous_ir::array::unravel(position as usize, &shape).iter().map(|&i| i as i64).collect();
            for &row in &rows {
                for &column in &columns {
                    self.block::<T>(work, &index, row, column, k, piece);
                }
            }
        }
    }

    fn block<T: Real>(&self, work: &DotWork, batch: &[i64], row: [i64; 2], column: [i64; 2], k: i64, piece: i64) {
        let lhs: Vec<T> = self.operand(&work.lhs, batch, row, k, piece);
        let rhs: Vec<T> = self.operand(&work.rhs, batch, column, k, piece);
        let width = column[1] - column[0];
        let part = (k as usize).div_ceil(work.split_k).max(1);
        let product = |i: i64, j: i64| {
            let pairs = |v: &[T], i: i64| v[(i * k) as usize..((i + 1) * k) as usize].to_vec();
            let (a, b) = (pairs(&lhs, i), pairs(&rhs, j));
            let sum = |a: &[T], b: &[T]| a.iter().zip(b).map(|(&x, &y)| x * y).reduce(|x, y| x + y);
            let parts = a.chunks(part).zip(b.chunks(part)).map(|(a, b)| sum(a, b).unwrap());
            parts.reduce(|x, y| x + y).unwrap_or_default()
        };
        match &work.out {
            DotOut::Param { param, batch: strides, m, n } => {
                let start = batch.iter().zip(strides).map(|(i, &s)| i * self.eval(s)).sum::<i64>();
                for i in row[0]..row[1] {
                    for j in column[0]..column[1] {
                        let at = start + i * self.eval(*m) + j * self.eval(*n);
                        // SAFETY: an element of the written parameter.
                        unsafe { *self.pointers[*param].cast::<T>().offset(at as isize) = product(i - row[0], j - column[0]) };
                    }
                }
            }
            DotOut::Epilogue { function, scratch } => {
                let block = ((row[1] - row[0]) * width) as usize * size_of::<T>();
                let own = self.eval(*scratch) as usize;
                let mut memory = Scratch::new(block.next_multiple_of(64) + own);
                for i in 0..row[1] - row[0] {
                    for j in 0..width {
                        let at = (i * width + j) as usize * size_of::<T>();
                        // SAFETY: within the block.
                        unsafe { memory.bytes().as_mut_ptr().add(at).cast::<T>().write_unaligned(product(i, j)) };
                    }
                }
                let mut bounds: Vec<[i64; 2]> = batch.iter().map(|&i| [i, i + 1]).collect();
                bounds.extend([row, column]);
                self.function(*function, &bounds, memory.bytes());
                memory.check();
            }
        }
    }
}

/// Aligned memory that notices writes behind its end.
struct Scratch {
    words: Vec<u64>,
    skip: usize,
    bytes: usize,
}

impl Scratch {
    fn new(bytes: usize) -> Scratch {
        let words = vec![0xdead_beef_dead_beef; bytes / 8 + 32];
        let skip = words.as_ptr().align_offset(64);
        Scratch { words, skip, bytes }
    }

    fn bytes(&mut self) -> &mut [u8] {
        let words = &mut self.words[self.skip..];
        // SAFETY: the same memory as bytes.
        unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 8) }
    }

    fn check(&self) {
        let end = self.skip + self.bytes.div_ceil(8);
        assert!(self.words[end..].iter().all(|&w| w == 0xdead_beef_dead_beef), "scratch is overrun");
    }
}

/// What a section became, in one line.
fn describe(work: &Work) -> String {
    let Work::Dot(dot) = work else { return "loop".into() };
    let side = |o: &Operand| match o {
        Operand::Strided { outer, k, dtype, .. } if dtype.size() == 2 => format!("{dtype}({outer}, {k})"),
        Operand::Strided { outer, k, .. } => format!("strided({outer}, {k})"),
        Operand::Packed { .. } => "packed".into(),
        Operand::Window(_) => "window".into(),
        Operand::Winograd(_) => "winograd".into(),
    };
    let out = match &dot.out {
        DotOut::Param { m, n, .. } => format!("param({m}, {n})"),
        DotOut::Epilogue { .. } => "epilogue".into(),
    };
    format!("batch {:?} {}x{}x{} {} {} {out}", dot.batch, dot.m, dot.n, dot.k, side(&dot.lhs), side(&dot.rhs))
}

/// Compiles a kernel with one dot, compares it with the interpreter, and gives what became of it.
fn check_dot(text: &str, values: Values) -> String {
    let kernel = Kernel::parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let at = value_of(values);
    let mut noise = Noise(text.len() as u64);
    let reads = kernel.reads().map(|(_, p)| {
        let shape: Vec<usize> = p.ty.shape.iter().map(|d| d.eval(&at).unwrap() as usize).collect();
        input(p.ty.dtype, &shape, Fill::Ordinary, &mut noise)
    });
    let inputs: Vec<Array> = reads.collect();
    let expected =
        interpret(&kernel, &inputs.iter().collect::<Vec<_>>(), &at, &Run::default()).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let symbols = kernel.symbols();
    let dims: Vec<i64> = symbols.iter().map(|&s| at(s).unwrap()).collect();
    let mut description = String::new();
    for target in [Target::host(), Target::baseline()] {
        let code = compile_kernels(std::slice::from_ref(&kernel), &symbols, &target).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
        description = describe(&code.work[0][0]);
        for seed in 0..3 {
            let mut memory = Memory::new(&kernel, &inputs, values);
            let pointers = memory.pointers();
            match &code.work[0][0] {
                Work::Dot(work) => {
                    let call = Call { pointers: &pointers, dims: &dims, values };
                    if work.dtype == DType::F64 { call.run::<f64>(work, seed) } else { call.run::<f32>(work, seed) }
                }
                Work::Loop(work) => run_loop(work, &pointers, &dims, values, Boxes::Random(seed), &mut ErrorWord::default()),
                _ => panic!("neither a dot nor a loop"),
            }
            for (g, e) in memory.outputs(&kernel, values).iter().zip(&expected.outputs) {
                let at = (0..g.len()).find(|&i| g.literal(i) != e.literal(i));
                if let Some(at) = at {
                    panic!("differs at {at}: {:?} instead of {:?}\n{description}\n{text}", g.literal(at), e.literal(at));
                }
            }
        }
    }
    description
}

fn linear(body: &str, epilogue: &str) -> String {
    format!(
        "kernel k(x: f32[13, 37], w: f32[37, 21], bias: f32[21]) -> (y: f32[13, 21])
  axes i: par 13, j: par 21, k: ser 37
  acc = dot k m(i) n(j) {body}
  y[i, j] = {epilogue}
  schedule bind(i, core)
"
    )
}

#[test]
fn plain_operands_and_results_are_the_librarys() {
    let got = check_dot(&linear("{ x[i, k] } { w[k, j] }", "acc"), &[]);
    assert_eq!(got, "batch [] 13x21x37 strided(37, 1) strided(1, 21) param(21, 1)");
    let text = "\
kernel k(x: f64[37, 13], w: f64[21, 37]) -> (y: f64[21, 13])
  axes i: par 13, j: par 21, k: ser 37
  acc = dot k m(i) n(j) { x[k, i] } { w[j, k] }
  y[j, i] = acc
";
    assert_eq!(check_dot(text, &[]), "batch [] 13x21x37 strided(1, 13) strided(37, 1) param(1, 13)");
}

#[test]
fn epilogues_and_packed_operands() {
    assert_eq!(
        check_dot(&linear("{ x[i, k] } { w[k, j] }", "max(acc + bias[j], 0.0) * x[i, 0]"), &[]),
        "batch [] 13x21x37 strided(37, 1) strided(1, 21) epilogue"
    );
    assert_eq!(
        check_dot(&linear("{ max(x[i, k], 0.0) } { w[k, j] * bias[j] }", "acc"), &[]),
        "batch [] 13x21x37 packed packed param(21, 1)"
    );
    check_dot(&linear("{ f32(i - k) } { 2.0f32 }", "acc - bias[j]"), &[]);
}

#[test]
fn operands_of_half_types_are_converted_by_the_runtime() {
    for half in ["f16", "bf16"] {
        let text = format!(
            "kernel k(x: {half}[13, 37], w: {half}[21, 37], b: f32[21]) -> (y: {half}[13, 21])
  axes i: par 13, j: par 21, k: ser 37
  acc = dot k m(i) n(j) {{ f32(x[i, k]) }} {{ f32(w[j, k]) }}
  y[i, j] = {half}(acc + b[j])
"
        );
        assert_eq!(check_dot(&text, &[]), format!("batch [] 13x21x37 {half}(37, 1) {half}(37, 1) epilogue"));
    }
}

#[test]
fn axes_that_do_not_walk_as_one_go_to_the_batch() {
    let text = "\
kernel attention(q: f32[2, 11, 3, 8], k: f32[2, 11, 3, 8]) -> (y: f32[2, 3, 11, 11])
  axes b: par 2, h: par 3, i: par 11, j: par 11, d: ser 8
  acc = dot d batch(b, h) m(i) n(j) { q[b, i, h, d] } { k[b, j, h, d] }
  y[b, h, i, j] = acc
";
    assert_eq!(check_dot(text, &[]), "batch [2, 3] 11x11x8 strided(24, 1) strided(24, 1) param(11, 1)");
    let text = "\
kernel outer(x: f32[2, 5, 3, 8], w: f32[8, 9]) -> (y: f32[2, 3, 5, 9])
  axes b: par 2, i: par 5, h: par 3, j: par 9, d: ser 8
  acc = dot d m(b, i, h) n(j) { x[b, i, h, d] } { w[d, j] }
  y[b, h, i, j] = acc
";
    check_dot(text, &[]);
}

/// A convolution in the form that the operator's lowering gives it.
#[allow(clippy::too_many_arguments)] // one for each attribute of a convolution
fn convolution(
    images: &str,
    channels: usize,
    size: usize,
    outputs: usize,
    window: usize,
    stride: usize,
    pad: i64,
    epilogue: &str,
) -> String {
    let out = (size + 2 * pad as usize - window) / stride + 1;
    let along = |o: &str, k: &str| format!("{o} * {stride} + {k} - {pad}");
    let (row, column) = (along("p", "r"), along("q", "s"));
    let last = size - 1;
    let inside = |x: &str| format!("({x} >= 0) & ({x} < {size})");
    let rhs = if pad > 0 {
        format!(
            "select({} & {}, x[g, c, max(min({row}, {last}), 0), max(min({column}, {last}), 0)], 0.0)",
            inside(&row),
            inside(&column)
        )
    } else {
        format!("x[g, c, {row}, {column}]")
    };
    format!(
        "kernel conv(x: f32[{images}, {channels}, {size}, {size}], w: f32[{outputs}, {channels}, {window}, {window}], bias: f32[{outputs}]) -> (y: f32[{images}, {outputs}, {out}, {out}])
  dims B: 0..=100
  axes o: par {outputs}, g: par {images}, p: par {out}, q: par {out}, c: ser {channels}, r: ser {window}, s: ser {window}
  acc = dot c r s m(o) n(g, p, q) {{ w[o, c, r, s] }} {{ {rhs} }}
  y[g, o, p, q] = {epilogue}
"
    )
}

#[test]
fn convolutions() {
    for (channels, size, outputs, window, stride, pad) in
        [(3, 9, 5, 3, 1, 1), (2, 12, 4, 5, 2, 2), (1, 8, 3, 3, 1, 0), (4, 7, 6, 1, 1, 0), (2, 20, 3, 7, 2, 3), (2, 2, 3, 3, 1, 1)]
    {
        for epilogue in ["acc", "max(acc + bias[o], 0.0)"] {
            for images in [1, 3] {
                let text = convolution(&images.to_string(), channels, size, outputs, window, stride, pad, epilogue);
                let got = check_dot(&text.replace("  dims B: 0..=100\n", ""), &[]);
                assert_eq!(got.contains("window window"), window > 1, "{got}");
            }
            let text = convolution("B", channels, size, outputs, window, stride, pad, epilogue);
            for images in [0, 2] {
                check_dot(&text, &[("B", images)]);
            }
        }
    }
    let pointwise = convolution("3", 4, 7, 6, 1, 1, 0, "acc").replace("  dims B: 0..=100\n", "");
    assert_eq!(check_dot(&pointwise, &[]), "batch [3] 6x49x4 strided(4, 1) strided(1, 49) param(49, 1)");
}

/// What a schedule asks for is done where windows are 3×3 and move by one; blocks are of whole rows.
#[test]
fn convolutions_from_transformed_tiles() {
    let scheduled = |text: String| format!("{text}  schedule bind(o, core) winograd(2)\n");
    for (channels, size, outputs, pad) in [(3, 9, 5, 1), (2, 12, 4, 0), (1, 30, 3, 2)] {
        for epilogue in ["acc", "max(acc + bias[o], 0.0)"] {
            for images in [1, 3] {
                let text = convolution(&images.to_string(), channels, size, outputs, 3, 1, pad, epilogue);
                let got = check_dot(&scheduled(text.replace("  dims B: 0..=100\n", "")), &[]);
                assert!(got.contains("window winograd"), "{got}");
            }
            let text = scheduled(convolution("B", channels, size, outputs, 3, 1, pad, epilogue));
            for images in [0, 2] {
                assert!(check_dot(&text, &[("B", images)]).contains("window winograd"));
            }
        }
    }
    let refused = |window, stride| {
        let text = convolution("2", 2, 12, 4, window, stride, 1, "acc");
        !check_dot(&scheduled(text.replace("  dims B: 0..=100\n", "")), &[]).contains("winograd")
    };
    assert!(refused(5, 1) && refused(3, 2));
}

/// The weights of the gradient of the image are turned round, and their channels change places.
#[test]
fn the_image_gradient_from_transformed_tiles() {
    let text = "\
kernel k(w: f32[5, 3, 3, 3], dy: f32[2, 5, 8, 6]) -> (dx: f32[2, 3, 8, 6])
  axes c: par 3, b: par 2, p: par 8, q: par 6, o: ser 5, r: ser 3, s: ser 3
  acc = dot o r s m(c) n(b, p, q) { w[o, c, 2 - r, 2 - s] } { select((p + r - 1 >= 0) & (p + r - 1 < 8) & (q + s - 1 >= 0) & (q + s - 1 < 6), dy[b, o, max(min(p + r - 1, 7), 0), max(min(q + s - 1, 5), 0)], 0.0) }
  dx[b, c, p, q] = acc
  schedule winograd(2)
";
    let got = check_dot(text, &[]);
    assert!(got.contains("window winograd"), "{got}");
}

#[test]
fn transformed_tiles_are_chosen_where_they_pay() {
    let pays = |channels, size, outputs, window, stride, pad| {
        let text = convolution("B", channels, size, outputs, window, stride, pad, "acc");
        let kernel = Kernel::parse(&text).unwrap();
        winograd_pays(&kernel.sections[0], &kernel.params)
    };
    assert!(pays(64, 56, 64, 3, 1, 1) && pays(256, 14, 256, 3, 1, 1) && pays(16, 32, 32, 3, 1, 0));
    assert!(!pays(3, 56, 64, 3, 1, 1), "few channels");
    assert!(!pays(64, 56, 3, 3, 1, 1), "few results");
    assert!(!pays(64, 7, 64, 3, 1, 1), "few tiles");
    assert!(!pays(64, 56, 64, 3, 2, 1) && !pays(64, 56, 64, 5, 1, 2) && !pays(64, 56, 64, 1, 1, 0));
}

#[test]
fn the_weight_gradient_of_a_convolution() {
    let text = "\
kernel wgrad(x: f32[2, 3, 9, 9], dy: f32[2, 4, 9, 9]) -> (dw: f32[4, 3, 3, 3])
  axes o: par 4, c: par 3, r: par 3, s: par 3, g: ser 2, p: ser 9, q: ser 9
  acc = dot g p q m(o) n(c, r, s) { dy[g, o, p, q] } { select((p + r - 1 >= 0) & (p + r - 1 < 9) & (q + s - 1 >= 0) & (q + s - 1 < 9), x[g, c, max(min(p + r - 1, 8), 0), max(min(q + s - 1, 8), 0)], 0.0) }
  dw[o, c, r, s] = acc
";
    assert_eq!(check_dot(text, &[]), "batch [] 4x27x162 window window param(27, 1)");
    check_dot(&format!("{text}  schedule tile(o, 2) split(g, 3)\n"), &[]);
}

#[test]
fn groups_and_dilated_windows() {
    let text = "\
kernel k(x: f32[2, 6, 9, 8], w: f32[4, 3, 2, 3]) -> (y: f32[2, 4, 9, 4])
  axes g: par 2, o: par 2, b: par 2, p: par 9, q: par 4, c: ser 3, r: ser 2, s: ser 3
  acc = dot c r s batch(g) m(o) n(b, p, q) { w[g * 2 + o, c, r, s] } { select((p + r * 2 - 1 >= 0) & (p + r * 2 < 10), x[b, g * 3 + c, max(min(p + r * 2 - 1, 8), 0), q + s * 2], 0.0) }
  y[b, g * 2 + o, p, q] = acc
";
    let got = check_dot(text, &[]);
    assert!(got.starts_with("batch [2] 2x72x18 window window"), "{got}");
}

/// The gradient of the image of a convolution with stride 2.
#[test]
fn windows_of_a_dilated_image() {
    let text = "\
kernel k(w: f32[5, 3, 3, 2], dy: f32[2, 5, 4, 6]) -> (dx: f32[2, 3, 9, 11])
  axes c: par 3, b: par 2, p: par 9, q: par 11, o: ser 5, r: ser 3, s: ser 2
  acc = dot o r s m(c) n(b, p, q) { w[o, c, 2 - r, 1 - s] } { select((p + r - 2 >= 0) & (p + r - 2 < 7) & ((p + r - 2) % 2 == 0) & (q + s - 1 >= 0) & (q + s - 1 < 11) & ((q + s - 1) % 2 == 0), dy[b, o, max(min(p + r - 2, 6), 0) / 2, max(min(q + s - 1, 10), 0) / 2], 0.0) }
  dx[b, c, p, q] = acc
";
    let got = check_dot(text, &[]);
    assert!(got.contains("window window"), "{got}");
    assert!(!check_dot(&text.replace("& ((p + r - 2) % 2 == 0) ", ""), &[]).contains("window"));
}

/// Windows are read in place only where the tests of indices say no more than what a zero outside of the image does.
#[test]
fn tests_that_are_not_those_of_windows() {
    let kernel = |test: &str, index: &str, zero: &str| {
        let text = format!(
            "kernel k(x: f32[3, 9], w: f32[4, 3, 3]) -> (y: f32[4, 9])
  axes o: par 4, p: par 9, c: ser 3, s: ser 3
  acc = dot c s m(o) n(p) {{ w[o, c, s] }} {{ select({test}, x[c, {index}], {zero}) }}
  y[o, p] = acc
"
        );
        check_dot(&text, &[]).contains("window")
    };
    let inside = "(p + s - 1 >= 0) & (p + s - 1 < 9)";
    let clamped = "max(min(p + s - 1, 8), 0)";
    assert!(kernel(inside, clamped, "0.0"));
    assert!(kernel("(0 <= p + s - 1) & (9 > p + s - 1)", "min(max(p + s - 1, 0), 8)", "0.0"));
    assert!(!kernel(inside, clamped, "1.0"));
    assert!(!kernel("(p + s - 1 >= 0) & (p + s - 1 < 8)", clamped, "0.0"));
    assert!(!kernel("p + s - 1 >= 0", clamped, "0.0"));
    assert!(!kernel(&format!("{inside} & (c < 2)"), clamped, "0.0"));
    assert!(!kernel(inside, "max(min(p + s - 1, 7), 0)", "0.0"));
    assert!(!kernel("p >= 4", clamped, "0.0"));
}

#[test]
fn one_column_one_row_and_no_axes() {
    let text = "\
kernel k(x: f32[70, 5], w: f32[5]) -> (y: f32[70])
  axes i: par 70, k: ser 5
  acc = dot k m(i) { max(x[i, k], 0.0) } { w[k] }
  y[i] = acc * 2.0 + 1.0
";
    check_dot(text, &[]);
    check_dot(&text.replace("m(i)", "n(i)").replace("{ max(x[i, k], 0.0) } { w[k] }", "{ w[k] } { max(x[i, k], 0.0) }"), &[]);
    let text = "\
kernel k(x: f32[5], w: f32[5]) -> (y: f32[])
  axes k: ser 5
  acc = dot k { x[k] * 2.0 } { w[k] }
  y[] = acc + 1.0
";
    check_dot(text, &[]);
}

#[test]
fn epilogues_with_reductions_and_checks() {
    let text = "\
kernel k(x: f32[13, 37], w: f32[37, 150], t: f32[150, 6]) -> (y: f32[13, 150], z: f32[13, 150])
  axes i: par 13, j: par 150, k: ser 37, q: ser 6
  acc = dot k m(i) n(j) { x[i, k] } { w[k, j] }
  s = reduce sum q { t[j, q] * acc }
  y[i, j] = s
  map { z[i, j] = acc - s }
";
    check_dot(text, &[]);
}

#[test]
fn products_of_integers_run_as_loops() {
    let text = "\
kernel k(x: i64[13, 37], w: i64[37, 21]) -> (y: i64[13, 21])
  axes i: par 13, j: par 21, k: ser 37
  acc = dot k m(i) n(j) { x[i, k] } { w[k, j] }
  y[i, j] = acc
";
    assert_eq!(check_dot(text, &[]), "loop");
}
