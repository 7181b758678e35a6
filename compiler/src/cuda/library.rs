//! Operators over whole tensors that have a plain form on a device: cumulative operations and recurrences, a line by a thread; sorting of
//! lines of moderate length by the rank of each element. Others are computed on the host.

use super::out::Out;
use super::scalar::{self, Unit, dim};
use super::{RESIDENT, THREADS, Text, assemble};
use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::op::Op;
use igneous_ir::types::{DType, TensorType};
use igneous_runtime::cuda::CudaWork;
use igneous_runtime::program::LibraryWork;
use std::cell::RefCell;

/// The longest lines that are sorted by ranks, whose work is their length squared.
const LONGEST: i64 = 16384;

/// The kernel of an operator; none if the host computes it.
pub(super) fn emit(work: &LibraryWork) -> Option<CudaWork> {
    let x = &work.operands[0];
    match work.op.name() {
        "cumulative" | "recurrence" => {}
        "sort" | "topk" if x.shape[work.op.int("axis") as usize].bounds().1.is_some_and(|n| n <= LONGEST) => {}
        _ => return None,
    }
    let lines = Lines::of(&work.op, &x.shape);
    let unit = RefCell::new(Unit::default());
    let mut out = Out::default();
    let points = match work.op.name() {
        "sort" | "topk" => lines.count * lines.length,
        _ => lines.count,
    };
    out.open(format!("for (idx p = blockIdx.x * (idx)256 + threadIdx.x; p < {}; p += gridDim.x * (idx)256) {{", dim(points)));
    let inner = dim(lines.inner);
    match work.op.name() {
        "sort" | "topk" => rank(&mut out, &unit, work, &lines),
        name => {
            out.line(format!("const idx first = p / {inner} * {} + p % {inner};", dim(lines.length * lines.inner)));
            if name == "recurrence" {
                recurrence(&mut out, &unit, work, &lines)
            } else {
                cumulative(&mut out, &unit, work, &lines)
            }
        }
    }
    out.close();
    let grid = points.div_ceil(256).min(4096).max(1);
    let mut symbols: Vec<Symbol> = Vec::new();
    work.operands.iter().flat_map(|ty| &ty.shape).for_each(|d| d.collect_symbols(&mut symbols));
    let param =
        |(k, ty): (usize, &TensorType), name: &str, constant: &str| format!("{constant}{}* {name}{k}", scalar::storage(ty.dtype));
    let operands = work.operands.iter().enumerate().map(|o| param(o, "x", "const "));
    let results = work.results.iter().enumerate().map(|r| param(r, "y", ""));
    let text = Text {
        name: work.op.name().to_owned(),
        arguments: operands.chain(results).collect(),
        symbols,
        unit,
        short_index: false,
        scratch: Dim::ZERO,
        threads: THREADS,
        resident: RESIDENT,
    };
    assemble(text, grid, Dim::ZERO, out).ok()
}

/// The lines of a tensor along an axis.
struct Lines {
    count: Dim,
    length: Dim,
    /// From one element of a line to the next.
    inner: Dim,
}

impl Lines {
    fn of(op: &Op, shape: &[Dim]) -> Lines {
        let axis = op.int("axis") as usize;
        let product = |dims: &[Dim]| dims.iter().copied().product::<Dim>();
        let inner = product(&shape[axis + 1..]);
        Lines { count: product(&shape[..axis]) * inner, length: shape[axis], inner }
    }
}

/// The loop over the elements of a line, in the direction that the operator says: `k` is the number, `at` the place.
fn begin_line(out: &mut Out, work: &LibraryWork, lines: &Lines) {
    let length = dim(lines.length);
    out.open(format!("for (idx s = 0; s < {length}; ++s) {{"));
    out.line(if work.op.bool("reverse") { format!("const idx k = {length} - 1 - s;") } else { "const idx k = s;".into() });
    out.line(format!("const idx at = first + k * {};", dim(lines.inner)));
}

/// A double as an element.
fn rounded(unit: &RefCell<Unit>, dtype: DType, text: &str) -> String {
    match dtype {
        DType::F64 => text.to_owned(),
        DType::F16 | DType::BF16 => {
            unit.borrow_mut().helpers.insert("odd_f32");
            scalar::to_memory(unit, dtype, format!("odd_f32({text})"))
        }
        _ => format!("({})({text})", scalar::ctype(dtype)),
    }
}

fn cumulative(out: &mut Out, unit: &RefCell<Unit>, work: &LibraryWork, lines: &Lines) {
    let dtype = work.operands[0].dtype;
    let kind = work.op.choice("kind");
    let element = scalar::from_memory(unit, dtype, "x0[at]".into());
    if matches!(kind, "argmax" | "argmin") {
        // The last extremum so far; the last NaN counts as one.
        out.line("idx best = -1;");
        out.line(format!("{} b = 0;", scalar::ctype(dtype)));
        begin_line(out, work, lines);
        out.line(format!("const {} v = {element};", scalar::ctype(dtype)));
        let better = if kind == "argmax" { ">=" } else { "<=" };
        out.line(format!("if (best < 0 || v != v || (b == b && v {better} b)) {{ best = k; b = v; }}"));
        out.line("y0[at] = best;");
        out.close();
        return;
    }
    let step = |out: &mut Out, start: &str, ty: &str, next: &str, result: &str| {
        out.line(format!("{ty} a = {start};"));
        begin_line(out, work, lines);
        out.line(format!("const {ty} v = {element};"));
        out.line(next);
        out.line(format!("y0[at] = {result};"));
        out.close();
    };
    match kind {
        "logsumexp" => {
            let infinity = "__longlong_as_double(0x7ff0000000000000ll)";
            let next = format!(
                "{{ const double lo = a < v ? a : v, hi = a < v ? v : a; \
                 a = hi == {infinity} && lo == lo || hi == -{infinity} && lo == hi ? hi : hi + log1p(exp(lo - hi)); }}"
            );
            step(out, &format!("-{infinity}"), "double", &next, &rounded(unit, dtype, "a"));
        }
        _ if dtype.is_float() => {
            // Wider than the elements, and rounded once each.
            let (start, next) = if kind == "sum" { ("0", "a = a + v;") } else { ("1", "a = a * v;") };
            step(out, start, "double", next, &rounded(unit, dtype, "a"));
        }
        _ => {
            let unsigned = if dtype.size() == 8 { "unsigned long long" } else { "unsigned" };
            let (start, next) = if kind == "sum" { ("0", "a = a + v;") } else { ("1", "a = a * v;") };
            step(out, start, unsigned, next, &format!("({})a", scalar::ctype(dtype)));
        }
    }
}

fn recurrence(out: &mut Out, unit: &RefCell<Unit>, work: &LibraryWork, lines: &Lines) {
    let dtype = work.operands[0].dtype;
    let element = |param: &str| scalar::from_memory(unit, dtype, format!("{param}[at]"));
    out.line("double a = 0;");
    begin_line(out, work, lines);
    out.line(format!("const double b = {};", element("x1")));
    out.line(format!("a = s == 0 ? b : b + (double){} * a;", element("x0")));
    out.line(format!("y0[at] = {};", rounded(unit, dtype, "a")));
    out.close();
}

/// Each element finds its place: the number of those of its line that go before it.
fn rank(out: &mut Out, unit: &RefCell<Unit>, work: &LibraryWork, lines: &Lines) {
    let dtype = work.operands[0].dtype;
    let (ty, inner, length) = (scalar::ctype(dtype), dim(lines.inner), dim(lines.length));
    let sorts = work.op.name() == "sort";
    let descending = work.op.bool(if sorts { "descending" } else { "largest" });
    out.line(format!("const idx k = p / {inner} % {length}, first = p - k * {inner};"));
    out.line(format!("const {ty} v = {};", scalar::from_memory(unit, dtype, "x0[p]".into())));
    out.line("idx before = 0;");
    out.open(format!("for (idx j = 0; j < {length}; ++j) {{"));
    out.line(format!("const {ty} w = {};", scalar::from_memory(unit, dtype, format!("x0[first + j * {inner}]"))));
    // NaN is larger than all numbers.
    let less = |a: &str, b: &str| format!("({a} < {b} || ({b} != {b} && {a} == {a}))");
    let order = if descending { less("v", "w") } else { less("w", "v") };
    out.line(format!("before += {order} || (j < k && (w == v || (w != w && v != v)));"));
    out.close();
    let place = match sorts {
        true => format!("first + before * {inner}"),
        false => {
            let chosen = work.op.int("k");
            out.line(format!("if (before >= {chosen}) continue;"));
            format!(
                "p / {} * {} + before * {inner} + p % {inner}",
                dim(lines.length * lines.inner),
                dim(lines.inner * Dim::constant(chosen))
            )
        }
    };
    out.line(format!("const idx to = {place};"));
    out.line("y0[to] = x0[p];");
    out.line("y1[to] = k;");
}
