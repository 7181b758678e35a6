//! Attention of half types on tensor cores: four warps have sixteen or 32 queries (or keys) each, and pass over the others, which
//! `cp.async` brings to shared memory meanwhile. Scores and probabilities stay in registers.

use super::band::RowsAre;
use super::scores::Scores;
use super::tiles::{Products, Shared, THREADS, Tile, WARPS};
use super::{Attention, Blocks, INFINITY, Masking, NO_SUM, Order, Pass, number};
use crate::cuda::out::Out;
use crate::cuda::scalar::dim;
use igneous_ir::dim::Dim;
use igneous_ir::scalar::MathFn;
use igneous_ir::types::DType;
use igneous_runtime::program::{AttentionPass, Elements};

/// Names of variables below.
pub(super) const WORDS: &str = "queries keys values cotangents lses deltas mask fill_queries fill_keys fill_values fill_cotangents \
    fill_rows fill_mask given query key first start end i j q0 k n s x row top sum product score slope of_weight weighted of_row seen sees \
    weight shift correction factor b0 b1 b2 b3 b4 b5 b6 b7";

/// The most features and values together whose sums a thread keeps for sixteen rows.
const TOGETHER: i64 = 256;

/// Whether the cotangents of keys and values are computed together.
pub(super) fn together(features: i64, values: i64) -> bool {
    padded(features) + padded(values) <= TOGETHER
}

/// With zeros behind, so that there are whole sixteens.
fn padded(width: i64) -> i64 {
    (width + 15) / 16 * 16
}

/// How much of a product is in registers at a time.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Sixteens of rows of a warp.
    pub high: i64,
    /// Rows of the others.
    pub block: i64,
}

impl Shape {
    /// As much as there are registers for, so that machine code spills none. A mask takes some for its elements, and a function of the
    /// scores for what it computes.
    fn of(pass: Pass, features: i64, values: i64, masked: bool) -> Shape {
        let widest = features.max(values);
        match pass {
            Pass::Forward(..) if widest <= 64 && !masked => Shape { high: 2, block: 64 },
            Pass::Forward(..) if widest <= 128 && !masked => Shape { high: 2, block: 32 },
            Pass::Forward(..) if widest <= 128 || !masked => Shape { high: 1, block: 64 },
            Pass::OfQueries(_) if widest <= 64 && !masked => Shape { high: 2, block: 32 },
            Pass::OfQueries(_) | Pass::OfKeys(..) if widest <= 64 => Shape { high: 1, block: 64 },
            _ => Shape { high: 1, block: 32 },
        }
    }

    /// Rows of a block.
    pub fn rows(self) -> i64 {
        WARPS * 16 * self.high
    }
}

/// Writes the kernel of a pass.
pub(super) fn write(attention: &Attention, half: DType, pass: Pass, out: &mut Out) -> Blocks {
    let masked = attention.masking() != Masking::Nothing || attention.function.is_some();
    let shape = Shape::of(pass, padded(attention.features), padded(attention.values), masked);
    out.line("const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, pair = lane % 4 * 2;");
    out.line(format!("const int row0 = warp * {};", 16 * shape.high));
    out.line("extern __shared__ __align__(16) unsigned char shared[];");
    let products = Products { attention, half, high: shape.high };
    let tensor = Tensor { attention, products, shape };
    let shared = match pass {
        Pass::Forward(y, lse) => tensor.forward(out, y, lse),
        Pass::OfQueries(dq) => tensor.of_queries(out, dq),
        Pass::OfKeys(dk, dv) => tensor.of_keys(out, dk, dv),
    };
    Blocks { rows: shape.rows(), threads: THREADS as u32, shared }
}

pub(super) struct Tensor<'a> {
    pub attention: &'a Attention<'a>,
    pub products: Products<'a>,
    pub shape: Shape,
}

impl<'a> Tensor<'a> {
    /// Queries (0), keys (1), values (2), or the cotangents of the result (3) in shared memory.
    fn tile(&self, which: usize, rows: i64, stages: i64) -> Tile<'a> {
        let Attention { work, features, values, .. } = *self.attention;
        let name = ["queries", "keys", "values", "cotangents"][which];
        let elements = match &work.pass {
            AttentionPass::Backward { dy, .. } if which == 3 => dy,
            _ => &work.operands[which],
        };
        let width = if which < 2 { features } else { values };
        let count = if matches!(which, 0 | 3) { work.queries } else { work.keys };
        Tile { name, elements, width, padded: padded(width), rows, stages, count }
    }

    /// From where to where a block passes over the others.
    fn range(&self, out: &mut Out, [start, end]: [String; 2]) {
        out.line(format!("const int start = {start}, end = {end};"));
    }

    /// Waits for what was asked for, and until all threads are here.
    fn wait(&self, out: &mut Out) {
        self.attention.helper("copy_wait_all");
        out.line("copy_wait_all();");
        out.line("__syncthreads();");
    }

    fn commit(&self, out: &mut Out) {
        self.attention.helper("copy_commit");
        out.line("copy_commit();");
    }

    fn forward(&self, out: &mut Out, y: Option<&Elements>, lse: Option<&Elements>) -> i64 {
        let Attention { work, .. } = self.attention;
        let Shape { high, block } = self.shape;
        let rows = self.shape.rows();
        let [queries, keys, values] = [(0, rows), (1, block), (2, block)].map(|(which, rows)| self.tile(which, rows, 1));
        let mut shared = Shared::default();
        [&queries, &keys].into_iter().chain(y.map(|_| &values)).for_each(|tile| shared.tile(out, tile));
        let mask = self.mask(RowsAre::Queries, 1);
        mask.iter().for_each(|mask| shared.mask(out, mask));
        self.attention.begin(out, rows, work.queries, Order::Backwards);
        [&queries, &keys].into_iter().chain(y.map(|_| &values)).for_each(|tile| self.products.fill(out, tile));
        mask.iter().for_each(|mask| mask.fill(self.attention, out, "first", "from"));
        self.range(out, self.attention.keys_seen(rows, block));
        out.line("fill_queries(0, first);");
        out.line("fill_keys(0, start);");
        mask.iter().for_each(|_| out.line("fill_mask(0, start);"));
        self.commit(out);
        out.line(format!("float top[{high}][2], sum[{high}][2] = {{}};"));
        out.line("#pragma unroll");
        out.line(format!("for (int r = 0; r < {high}; ++r) top[r][0] = top[r][1] = {INFINITY};"));
        if y.is_some() {
            self.products.zeros(out, "weighted", values.padded);
        }
        out.open(format!("for (int k0 = start; k0 < end; k0 += {block}) {{"));
        self.wait(out);
        if y.is_some() {
            out.line("fill_values(0, k0);");
            self.commit(out);
        }
        let sees = self.sees(out, RowsAre::Queries, "k0");
        self.products.zeros(out, "score", block);
        self.where_it(out, sees, |out| {
            self.products.with_rows(out, "score", &queries, &keys, "0");
            self.softmax(out, mask.as_ref(), y.map(|_| values.padded));
        });
        match y {
            Some(_) => self.wait(out),
            None => out.line("__syncthreads();"),
        }
        out.open(format!("if (k0 + {block} < end) {{"));
        out.line(format!("fill_keys(0, k0 + {block});"));
        mask.iter().for_each(|_| out.line(format!("fill_mask(0, k0 + {block});")));
        out.close();
        self.commit(out);
        if y.is_some() {
            self.where_it(out, sees, |out| self.products.with_columns(out, "weighted", "score", &values, "0"));
        }
        out.close();
        self.finish(out, y, lse);
        self.end(out);
        shared.bytes
    }

    /// What is done if a condition holds, or always.
    fn where_it(&self, out: &mut Out, holds: Option<&str>, write: impl FnOnce(&mut Out)) {
        if let Some(condition) = holds {
            out.open(format!("if ({condition}) {{"));
        }
        write(out);
        if holds.is_some() {
            out.close();
        }
    }

    /// The loops over the rows of a thread, with the number of each and whether there is such a row.
    fn each_row(&self, out: &mut Out, name: &str, count: Dim) {
        for (variable, end) in [("r", self.shape.high), ("h", 2)] {
            out.line("#pragma unroll");
            out.open(format!("for (int {variable} = 0; {variable} < {end}; ++{variable}) {{"));
        }
        out.line(format!("const int {name} = first + row0 + r * 16 + group + h * 8;"));
        out.line(format!("const bool inside = {name} < {};", dim(count)));
    }

    /// Stores the results of the rows.
    fn finish(&self, out: &mut Out, y: Option<&Elements>, lse: Option<&Elements>) {
        let Attention { work, values, .. } = self.attention;
        self.each_row(out, "i", work.queries);
        for by in [1, 2] {
            out.line(format!("sum[r][h] += __shfl_xor_sync(0xffffffffu, sum[r][h], {by});"));
        }
        out.open("if (inside) {");
        if let Some(y) = y {
            out.line("const float factor = sum[r][h] == 0.0f ? 0.0f : 1.0f / sum[r][h];");
            self.products.store(out, y, "i", *values, "weighted", Some("factor"));
        }
        if let Some(lse) = lse {
            self.attention.unit.borrow_mut().math.insert((MathFn::Log, DType::F32));
            let times = if self.raw() { format!(" * {}", number(work.scale)) } else { String::new() };
            let value = format!("sum[r][h] == 0.0f ? {NO_SUM} : top[r][h]{times} + log_f32(sum[r][h])");
            out.line(format!("if (pair == 0) {}", self.attention.store(lse, "i", "0", &value)));
        }
        out.close();
        out.close();
        out.close();
    }

    /// The end of the loop over blocks: the next one uses the same shared memory.
    fn end(&self, out: &mut Out) {
        self.wait(out);
        out.close();
    }

    fn of_queries(&self, out: &mut Out, dq: &Elements) -> i64 {
        let Attention { work, features, .. } = self.attention;
        let AttentionPass::Backward { lse, delta, .. } = &work.pass else { unreachable!("the caller saw the pass") };
        let Shape { high, block } = self.shape;
        let rows = self.shape.rows();
        let [queries, cotangents] = [0, 3].map(|which| self.tile(which, rows, 1));
        let [keys, values] = [1, 2].map(|which| self.tile(which, block, 2));
        let all = [&queries, &cotangents, &keys, &values];
        let mut shared = Shared::default();
        all.iter().for_each(|tile| shared.tile(out, tile));
        let mask = self.mask(RowsAre::Queries, 2);
        mask.iter().for_each(|mask| shared.mask(out, mask));
        self.attention.begin(out, rows, work.queries, Order::Backwards);
        all.iter().for_each(|tile| self.products.fill(out, tile));
        mask.iter().for_each(|mask| mask.fill(self.attention, out, "first", "from"));
        let names: Vec<&str> = ["keys", "values"].into_iter().chain(mask.as_ref().map(|_| "mask")).collect();
        self.range(out, self.attention.keys_seen(rows, block));
        for name in ["queries", "cotangents"] {
            out.line(format!("fill_{name}(0, first);"));
        }
        names.iter().for_each(|name| out.line(format!("fill_{name}(start / {block} % 2, start);")));
        self.commit(out);
        out.line(format!("float lses[{high}][2], deltas[{high}][2], weighted[{high}][{}][4] = {{}};", queries.padded / 8));
        self.each_row(out, "i", work.queries);
        out.line(format!("lses[r][h] = inside ? {} : 0.0f;", self.less(&self.attention.load(lse, "i", "0"))));
        out.line(format!("deltas[r][h] = inside ? {} : 0.0f;", self.attention.load(delta, "i", "0")));
        out.close();
        out.close();
        out.open(format!("for (int k0 = start; k0 < end; k0 += {block}) {{"));
        self.next(out, "k0", &names);
        let sees = self.sees(out, RowsAre::Queries, "k0");
        self.where_it(out, sees, |out| {
            self.products.zeros(out, "score", block);
            self.products.with_rows(out, "score", &queries, &keys, "stage");
            self.products.zeros(out, "of_weight", block);
            self.products.with_rows(out, "of_weight", &cotangents, &values, "stage");
            let scores = Scores { rows: RowsAre::Queries, column0: "k0", mask: mask.as_ref() };
            self.cotangents(out, &scores, ["lses[r][e / 2]", "deltas[r][e / 2]"], true);
            self.products.with_columns(out, "weighted", "of_weight", &keys, "stage");
        });
        out.close();
        self.each_row(out, "i", work.queries);
        out.open("if (inside) {");
        self.products.store(out, dq, "i", *features, "weighted", Some(&number(work.scale)));
        out.close();
        out.close();
        out.close();
        self.end(out);
        shared.bytes
    }

    /// Waits for a stage and asks for the next one of what has these names.
    fn next(&self, out: &mut Out, at: &str, names: &[&str]) {
        let block = self.shape.block;
        out.line(format!("const int stage = {at} / {block} % 2;"));
        self.wait(out);
        out.open(format!("if ({at} + {block} < end) {{"));
        names.iter().for_each(|name| out.line(format!("fill_{name}(stage ^ 1, {at} + {block});")));
        out.close();
        self.commit(out);
    }

    fn of_keys(&self, out: &mut Out, dk: Option<&Elements>, dv: Option<&Elements>) -> i64 {
        let Attention { work, features, values: width, .. } = self.attention;
        let AttentionPass::Backward { lse, delta, .. } = &work.pass else { unreachable!("the caller saw the pass") };
        let block = self.shape.block;
        let rows = self.shape.rows();
        let [keys, values] = [1, 2].map(|which| self.tile(which, rows, 1));
        let [queries, cotangents] = [0, 3].map(|which| self.tile(which, block, 2));
        let all: Vec<&Tile> = [&keys].into_iter().chain(dk.map(|_| &values)).chain([&queries, &cotangents]).collect();
        let mut shared = Shared::default();
        all.iter().for_each(|tile| shared.tile(out, tile));
        let mask = self.mask(RowsAre::Keys, 2);
        mask.iter().for_each(|mask| shared.mask(out, mask));
        shared.numbers(out, "lses", 2 * block);
        shared.numbers(out, "deltas", 2 * block);
        self.attention.begin(out, rows, work.keys, Order::Forwards);
        all.iter().for_each(|tile| self.products.fill(out, tile));
        self.fill_rows(out, [("lses", lse), ("deltas", delta)]);
        mask.iter().for_each(|mask| mask.fill(self.attention, out, "from", "first"));
        self.range(out, self.attention.queries_seen(rows, block));
        let names: Vec<&str> = ["queries", "cotangents", "rows"].into_iter().chain(mask.as_ref().map(|_| "mask")).collect();
        for tile in all.iter().filter(|tile| tile.stages == 1) {
            out.line(format!("fill_{}(0, first);", tile.name));
        }
        names.iter().for_each(|name| out.line(format!("fill_{name}(start / {block} % 2, start);")));
        self.commit(out);
        for (name, _, tile) in [("weighted", dk, &keys), ("of_row", dv, &values)].into_iter().filter(|s| s.1.is_some()) {
            self.products.zeros(out, name, tile.padded);
        }
        out.open(format!("for (int q0 = start; q0 < end; q0 += {block}) {{"));
        self.next(out, "q0", &names);
        let sees = self.sees(out, RowsAre::Keys, "q0");
        let column = format!("[stage * {block} + n * 8 + pair + e % 2]");
        let less = self.less(&format!("lses{column}"));
        let less = if self.raw() { format!("({less})") } else { less };
        self.where_it(out, sees, |out| {
            self.products.zeros(out, "score", block);
            self.products.with_rows(out, "score", &keys, &queries, "stage");
            if dk.is_some() {
                self.products.zeros(out, "of_weight", block);
                self.products.with_rows(out, "of_weight", &values, &cotangents, "stage");
            }
            let scores = Scores { rows: RowsAre::Keys, column0: "q0", mask: mask.as_ref() };
            self.cotangents(out, &scores, [&less, &format!("deltas{column}")], dk.is_some());
            if dv.is_some() {
                self.products.with_columns(out, "of_row", "score", &cotangents, "stage");
            }
            if dk.is_some() {
                self.products.with_columns(out, "weighted", "of_weight", &queries, "stage");
            }
        });
        out.close();
        self.each_row(out, "j", work.keys);
        out.open("if (inside) {");
        if let Some(dk) = dk {
            self.products.store(out, dk, "j", *features, "weighted", Some(&number(work.scale)));
        }
        if let Some(dv) = dv {
            self.products.store(out, dv, "j", *width, "of_row", None);
        }
        out.close();
        out.close();
        out.close();
        self.end(out);
        shared.bytes
    }

    /// Defines the function that brings a number for each query to a stage.
    fn fill_rows(&self, out: &mut Out, arrays: [(&str, &Elements); 2]) {
        self.attention.helper("copy_async_word");
        let block = self.shape.block;
        out.open("auto fill_rows = [&](int stage, int from) {");
        out.open(format!("if (threadIdx.x < {block}) {{"));
        out.line(format!("const bool inside = from + threadIdx.x < {};", dim(self.attention.work.queries)));
        for (name, elements) in arrays {
            let place = self.attention.place(elements, "(from + threadIdx.x)", "0");
            let anywhere = &self.attention.params[elements.param];
            out.line(format!("copy_async_word(&{name}[stage * {block} + threadIdx.x], inside ? &{place} : {anywhere}, inside);"));
        }
        out.close();
        out.close_with("};");
    }
}
