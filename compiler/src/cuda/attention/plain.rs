//! Attention in single precision. A block has 32 queries or keys and passes over the others 32 at a time; eight threads have a row
//! together.

use super::{Attention, Blocks, Computed, INFINITY, Masking, NO_SUM, Order, Pass, Wanted, number};
use crate::cuda::THREADS;
use crate::cuda::out::Out;
use crate::cuda::scalar::dim;
use igneous_ir::dim::Dim;
use igneous_ir::scalar::MathFn;
use igneous_ir::types::DType;
use igneous_runtime::program::{AttentionMask, AttentionPass, Elements};

/// Rows of a block, and of what it passes over.
const ROWS: i64 = 32;
/// Threads that have a row together.
const TEAM: i64 = 8;

/// An array of rows in shared memory.
struct Rows<'a> {
    name: &'a str,
    elements: &'a Elements,
    width: i64,
    /// The first row, and how many there are.
    first: &'a str,
    count: Dim,
    scale: f64,
}

/// Names of variables below.
pub(super) const WORDS: &str = "row top sum scores keys values queries cotangents weights weighted first end i j q0 ds of_weight start query key \
    added seen score slope dot shift correction of_row delta_row lse_row lses deltas b0 b1 b2 b3 b4 b5 b6 b7";

/// Writes the kernel of a pass.
pub(super) fn write(attention: &Attention, pass: Pass, out: &mut Out) -> Blocks {
    out.line(format!("const int row = threadIdx.x / {TEAM}, part = threadIdx.x % {TEAM};"));
    out.line("extern __shared__ __align__(16) unsigned char shared[];");
    let shared = match pass {
        Pass::Forward(y, lse) => attention.forward(out, y, lse),
        Pass::OfQueries(dq) => attention.of_queries(out, dq),
        Pass::OfKeys(dk, dv) => attention.of_keys(out, [dk, dv]),
    };
    Blocks { rows: ROWS, threads: THREADS, shared }
}

impl Attention<'_> {
    /// Declares arrays of rows in shared memory, one after the other; gives the bytes.
    fn arrays(&self, out: &mut Out, arrays: &[(&str, i64)]) -> i64 {
        let mut offset = 0;
        for (name, elements) in arrays {
            out.line(format!("float* {name} = (float*)shared + {offset};"));
            offset += elements;
        }
        4 * offset
    }

    fn fill(&self, out: &mut Out, rows: &Rows) {
        let Rows { name, elements, width, first, count, scale } = rows;
        if *width == 0 {
            return;
        }
        let value = self.load(elements, &format!("({first} + l)"), "h");
        let scaled = if *scale == 1.0 { value } else { format!("{value} * {}", number(*scale)) };
        out.open(format!("for (int e = threadIdx.x; e < {}; e += {THREADS}) {{", ROWS * width));
        out.line(format!("const int l = e / {width}, h = e % {width};"));
        out.line(format!("{name}[l * {} + h] = {first} + l < {} ? {scaled} : 0.0f;", width + 1, dim(*count)));
        out.close();
    }

    /// `dot`, the sum of products of a row of one array and one of another.
    fn dot(&self, out: &mut Out, name: &str, [left, left_row]: [&str; 2], [right, right_row]: [&str; 2], width: i64) {
        out.line(format!("float {name} = 0.0f;"));
        out.line("#pragma unroll 8");
        let stride = width + 1;
        out.line(format!(
            "for (int h = 0; h < {width}; ++h) {name} = fmaf({left}[{left_row} * {stride} + h], {right}[{right_row} * {stride} + h], {name});"
        ));
    }

    /// `score` and whether it is `seen`, from `dot`, for query `i` and key `j`; the slope of a function, if that is wanted.
    fn score(&self, out: &mut Out, wanted: Wanted) -> Option<String> {
        let mut seen = "true".to_owned();
        out.line(format!("const bool inside = i < {} && j < {};", dim(self.work.queries), dim(self.work.keys)));
        let Computed { mask, score, slope } = self.compute(out, "dot", wanted);
        let mut score = score.unwrap_or_else(|| "dot".to_owned());
        let given = match &self.work.mask {
            Some(AttentionMask::Added(mask) | AttentionMask::Seen(mask, _)) => self.load(mask, "i", "j"),
            None => mask.unwrap_or_default(),
        };
        match self.masking() {
            Masking::Nothing => {}
            Masking::Adds => score = format!("inside ? {score} + {given} : 0.0f"),
            Masking::Hides(hidden) => {
                seen = format!("inside && {given}");
                score = format!("seen ? {score} : {}", number(hidden));
            }
        }
        out.line(format!("bool seen = {seen};"));
        out.line(format!("float score = {score};"));
        if let outside @ [_, ..] = &self.band.outside()[..] {
            out.line(format!("if ({}) {{ seen = false; score = {INFINITY}; }}", outside.join(" || ")));
        }
        out.line(format!("if (!inside) {{ seen = false; score = {INFINITY}; }}"));
        slope
    }

    fn exp(&self, argument: &str) -> String {
        self.unit.borrow_mut().math.insert((MathFn::Exp, DType::F32));
        format!("exp_f32({argument})")
    }

    /// The sum or the maximum over the threads of a row.
    fn across(&self, out: &mut Out, name: &str, combine: impl Fn(&str) -> String) {
        for by in [4, 2, 1] {
            out.line(format!("{name} = {};", combine(&format!("__shfl_xor_sync(0xffffffffu, {name}, {by})"))));
        }
    }

    /// Adds to a thread's part of a row the rows of another array, each with a weight.
    fn weigh(&self, out: &mut Out, sums: &str, weights: &str, rows: &str, width: i64) {
        if width == 0 {
            return;
        }
        out.line("#pragma unroll 4");
        out.open(format!("for (int l = 0; l < {ROWS}; ++l) {{"));
        out.line(format!("const float w = {weights}[row * {} + l];", ROWS + 1));
        out.line("#pragma unroll");
        out.open(format!("for (int e = 0; e < {}; ++e) {{", parts(width)));
        let place = format!("part + e * {TEAM}");
        let guard = if width % TEAM == 0 { String::new() } else { format!("if ({place} < {width}) ") };
        out.line(format!("{guard}{sums}[e] = fmaf(w, {rows}[l * {} + {place}], {sums}[e]);", width + 1));
        out.close();
        out.close();
    }

    /// Stores a thread's part of a row.
    fn store_part(&self, out: &mut Out, to: &Elements, row: &str, width: i64, value: &str) {
        if width == 0 {
            return;
        }
        out.line("#pragma unroll");
        out.open(format!("for (int e = 0; e < {}; ++e) {{", parts(width)));
        out.line(format!("const int h = part + e * {TEAM};"));
        let guard = if width % TEAM == 0 { String::new() } else { format!("if (h < {width}) ") };
        out.line(format!("{guard}{}", self.store(to, row, "h", value)));
        out.close();
    }

    fn rows<'r>(&'r self, name: &'r str, which: usize, first: &'r str) -> Rows<'r> {
        let work = self.work;
        let (width, count) = match which {
            0 => (self.features, work.queries),
            1 => (self.features, work.keys),
            _ => (self.values, work.keys),
        };
        let scale = if which == 0 { work.scale } else { 1.0 };
        Rows { name, elements: &work.operands[which], width, first, count, scale }
    }

    fn forward(&self, out: &mut Out, y: Option<&Elements>, lse: Option<&Elements>) -> i64 {
        let (f, v, work) = (self.features, if y.is_some() { self.values } else { 0 }, self.work);
        self.helper("max_f32");
        self.begin(out, ROWS, work.queries, Order::Backwards);
        let shared = self.arrays(
            out,
            &[("queries", ROWS * (f + 1)), ("keys", ROWS * (f + 1)), ("values", ROWS * (v + 1)), ("weights", ROWS * (ROWS + 1))],
        );
        out.line("const int i = first + row;");
        self.fill(out, &self.rows("queries", 0, "first"));
        out.line(format!("float top = {INFINITY}, sum = 0.0f, weighted[{}] = {{}};", parts(v).max(1)));
        let [start, end] = self.keys_seen(ROWS, ROWS);
        out.line(format!("const int start = {start}, end = {end};"));
        out.open(format!("for (int k0 = start; k0 < end; k0 += {ROWS}) {{"));
        self.fill(out, &self.rows("keys", 1, "k0"));
        self.fill(out, &Rows { width: v, ..self.rows("values", 2, "k0") });
        out.line("__syncthreads();");
        let columns = ROWS / TEAM;
        out.line(format!("float scores[{columns}], shift = {INFINITY}, added = 0.0f;"));
        out.line("#pragma unroll");
        out.open(format!("for (int e = 0; e < {columns}; ++e) {{"));
        out.line(format!("const int column = part + e * {TEAM};"));
        out.line("const int j = k0 + column;");
        self.dot(out, "dot", ["queries", "row"], ["keys", "column"], f);
        self.score(out, Wanted::Value);
        out.line("scores[e] = score;");
        out.line("shift = max_f32(shift, score);");
        out.close();
        self.across(out, "shift", |other| format!("max_f32(shift, {other})"));
        out.line("shift = max_f32(top, shift);");
        // While nothing is seen, the sum stays zero.
        out.line(format!("const float base = shift == {INFINITY} ? 0.0f : shift;"));
        out.line(format!("const float correction = {};", self.exp("top - base")));
        out.line("#pragma unroll");
        out.open(format!("for (int e = 0; e < {columns}; ++e) {{"));
        out.line(format!("const float w = {};", self.exp("scores[e] - base")));
        out.line(format!("weights[row * {} + part + e * {TEAM}] = w;", ROWS + 1));
        out.line("added += w;");
        out.close();
        self.across(out, "added", |other| format!("added + {other}"));
        out.line("sum = sum * correction + added;");
        out.line("top = shift;");
        out.line("#pragma unroll");
        out.line(format!("for (int e = 0; e < {}; ++e) weighted[e] *= correction;", parts(v)));
        out.line("__syncwarp();");
        self.weigh(out, "weighted", "weights", "values", v);
        out.line("__syncthreads();");
        out.close();
        out.open(format!("if (i < {}) {{", dim(work.queries)));
        if let Some(y) = y {
            self.store_part(out, y, "i", v, "sum == 0.0f ? 0.0f : weighted[e] / sum");
        }
        if let Some(lse) = lse {
            self.unit.borrow_mut().math.insert((MathFn::Log, DType::F32));
            let value = format!("sum == 0.0f ? {NO_SUM} : top + log_f32(sum)");
            out.line(format!("if (part == 0) {}", self.store(lse, "i", "0", &value)));
        }
        out.close();
        out.line("__syncthreads();");
        out.close();
        shared
    }

    /// The probability and the cotangent of the product of query `i` and key `j`.
    fn cotangent(&self, out: &mut Out, query: &str, key: &str, lse: &str, delta: &str) {
        self.dot(out, "dot", ["queries", query], ["keys", key], self.features);
        let slope = self.score(out, Wanted::Derivative);
        self.dot(out, "of_weight", ["cotangents", query], ["values", key], self.values);
        let seen = self.exp(&format!("score - {lse}"));
        let weight = self.unseen(lse).map_or(seen.clone(), |unseen| format!("seen ? {seen} : {unseen}"));
        out.line(format!("const float w = inside ? {weight} : 0.0f;"));
        let slope = slope.map_or(String::new(), |slope| format!(" * {slope}"));
        out.line(format!("const float ds = seen ? w * (of_weight - {delta}){slope} : 0.0f;"));
    }

    fn of_queries(&self, out: &mut Out, dq: &Elements) -> i64 {
        let AttentionPass::Backward { lse, delta, dy, .. } = &self.work.pass else { unreachable!("the caller saw the pass") };
        let (f, v, work) = (self.features, self.values, self.work);
        self.begin(out, ROWS, work.queries, Order::Backwards);
        let rows = |width: i64| ROWS * (width + 1);
        let shared = self.arrays(
            out,
            &[("queries", rows(f)), ("keys", rows(f)), ("values", rows(v)), ("cotangents", rows(v)), ("weights", rows(ROWS))],
        );
        out.line("const int i = first + row;");
        self.fill(out, &self.rows("queries", 0, "first"));
        self.fill(out, &Rows { name: "cotangents", elements: dy, width: v, first: "first", count: work.queries, scale: 1.0 });
        let inside = format!("i < {}", dim(work.queries));
        out.line(format!("const float lse_row = {inside} ? {} : 0.0f;", self.load(lse, "i", "0")));
        out.line(format!("const float delta_row = {inside} ? {} : 0.0f;", self.load(delta, "i", "0")));
        out.line(format!("float weighted[{}] = {{}};", parts(f).max(1)));
        let [start, end] = self.keys_seen(ROWS, ROWS);
        out.line(format!("const int start = {start}, end = {end};"));
        out.open(format!("for (int k0 = start; k0 < end; k0 += {ROWS}) {{"));
        self.fill(out, &self.rows("keys", 1, "k0"));
        self.fill(out, &self.rows("values", 2, "k0"));
        out.line("__syncthreads();");
        out.open(format!("for (int column = part; column < {ROWS}; column += {TEAM}) {{"));
        out.line("const int j = k0 + column;");
        self.cotangent(out, "row", "column", "lse_row", "delta_row");
        out.line(format!("weights[row * {} + column] = ds;", ROWS + 1));
        out.close();
        out.line("__syncwarp();");
        self.weigh(out, "weighted", "weights", "keys", f);
        out.line("__syncthreads();");
        out.close();
        out.open(format!("if ({inside}) {{"));
        self.store_part(out, dq, "i", f, &format!("weighted[e] * {}", number(work.scale)));
        out.close();
        out.line("__syncthreads();");
        out.close();
        shared
    }

    fn of_keys(&self, out: &mut Out, [dk, dv]: [Option<&Elements>; 2]) -> i64 {
        let AttentionPass::Backward { lse, delta, dy, .. } = &self.work.pass else { unreachable!("the caller saw the pass") };
        let (f, v, work) = (self.features, self.values, self.work);
        self.begin(out, ROWS, work.keys, Order::Forwards);
        let rows = |width: i64| ROWS * (width + 1);
        let shared = self.arrays(
            out,
            &[
                ("queries", rows(f)),
                ("keys", rows(f)),
                ("values", rows(v)),
                ("cotangents", rows(v)),
                ("weights", rows(ROWS)),
                ("scores", rows(ROWS)),
                ("lses", ROWS),
                ("deltas", ROWS),
            ],
        );
        out.line("const int j = first + row;");
        self.fill(out, &self.rows("keys", 1, "first"));
        self.fill(out, &self.rows("values", 2, "first"));
        out.line(format!("float weighted[{}] = {{}}, of_row[{}] = {{}};", parts(f).max(1), parts(v).max(1)));
        let [start, end] = self.queries_seen(ROWS, ROWS);
        out.line(format!("const int start = {start}, end = {end};"));
        out.open(format!("for (int q0 = start; q0 < end; q0 += {ROWS}) {{"));
        self.fill(out, &self.rows("queries", 0, "q0"));
        self.fill(out, &Rows { name: "cotangents", elements: dy, width: v, first: "q0", count: work.queries, scale: 1.0 });
        out.open(format!("if (threadIdx.x < {ROWS}) {{"));
        out.line(format!("const bool inside = q0 + threadIdx.x < {};", dim(work.queries)));
        for (name, elements) in [("lses", lse), ("deltas", delta)] {
            out.line(format!("{name}[threadIdx.x] = inside ? {} : 0.0f;", self.load(elements, "(q0 + threadIdx.x)", "0")));
        }
        out.close();
        out.line("__syncthreads();");
        out.open(format!("for (int column = part; column < {ROWS}; column += {TEAM}) {{"));
        out.line("const int i = q0 + column;");
        self.cotangent(out, "column", "row", "lses[column]", "deltas[column]");
        out.line(format!("weights[row * {} + column] = ds;", ROWS + 1));
        out.line(format!("scores[row * {} + column] = w;", ROWS + 1));
        out.close();
        out.line("__syncwarp();");
        self.weigh(out, "weighted", "weights", "queries", f);
        self.weigh(out, "of_row", "scores", "cotangents", v);
        out.line("__syncthreads();");
        out.close();
        out.open(format!("if (j < {}) {{", dim(work.keys)));
        for (to, width, value) in [(dk, f, "weighted[e]"), (dv, v, "of_row[e]")] {
            if let Some(to) = to {
                self.store_part(out, to, "j", width, value);
            }
        }
        out.close();
        out.line("__syncthreads();");
        out.close();
        shared
    }
}

/// How many elements of a row a thread has.
fn parts(width: i64) -> i64 {
    (width + TEAM - 1) / TEAM
}
