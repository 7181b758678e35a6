//! Rows of a half type in shared memory, and products of them by tensor cores. A warp has rows of the left side, sixteen at a time, and
//! all columns; what it has accumulated of one product it takes as the left side of the next.

use super::Attention;
use crate::cuda::out::Out;
use crate::cuda::scalar::{self, dim};
use igneous_ir::dim::Dim;
use igneous_ir::types::DType;
use igneous_runtime::program::Elements;

/// Warps of a block.
pub(super) const WARPS: i64 = 4;
/// Threads of a block.
pub(super) const THREADS: i64 = 32 * WARPS;

/// An array of rows in shared memory, in one or two stages.
pub(super) struct Tile<'a> {
    pub name: &'static str,
    pub elements: &'a Elements,
    /// Elements of a row, and how many there are with the zeros behind them.
    pub width: i64,
    pub padded: i64,
    pub rows: i64,
    pub stages: i64,
    /// How many rows there are to be had.
    pub count: Dim,
}

/// What lies in shared memory one after the other.
#[derive(Default)]
pub(super) struct Shared {
    pub bytes: i64,
}

impl Shared {
    /// Declares a tile.
    pub fn tile(&mut self, out: &mut Out, tile: &Tile) {
        self.array(out, "unsigned short", tile.name);
        self.bytes += tile.stages * tile.rows * tile.pitch() * 2;
    }

    /// Declares a tile of a mask.
    pub fn mask(&mut self, out: &mut Out, tile: &MaskTile) {
        self.array(out, scalar::storage(tile.dtype), "mask");
        self.bytes += tile.stages * tile.queries * tile.pitch() * tile.dtype.size() as i64;
    }

    /// Declares an array of numbers.
    pub fn numbers(&mut self, out: &mut Out, name: &str, count: i64) {
        self.array(out, "float", name);
        self.bytes += 4 * count;
    }

    fn array(&self, out: &mut Out, ty: &str, name: &str) {
        let start = if self.bytes == 0 { "shared".to_owned() } else { format!("(shared + {})", self.bytes) };
        out.line(format!("{ty}* {name} = ({ty}*){start};"));
    }
}

impl Tile<'_> {
    /// Whether the eights of a row are permuted, so that those of eight rows lie in different banks; else rows are moved apart.
    fn turned(&self) -> bool {
        self.padded % 64 == 0
    }

    /// Elements from one row to the next.
    fn pitch(&self) -> i64 {
        if self.turned() { self.padded } else { self.padded + 8 }
    }

    /// Where element `column` of row `l` is.
    fn place(&self, column: &str) -> String {
        let column = if self.turned() { format!("({column} ^ l % 8 * 8)") } else { column.to_owned() };
        format!("{}[(stage * {} + l) * {} + {column}]", self.name, self.rows, self.pitch())
    }

    /// The address of eight elements of a row whose number is that of the lane, modulo eight: those from `column`, a multiple of
    /// sixteen, or the next ones, as `half` of the lane says.
    fn address(&self, stage: &str, row: &str, column: &str, half: &str) -> String {
        let place = match self.turned() {
            true => format!("(({half} * 8 ^ lane % 8 * 8) ^ {column} % 64) + {column} / 64 * 64"),
            false => format!("{half} * 8 + {column}"),
        };
        let stage = if self.stages > 1 { format!("{stage} * {} + ", self.rows) } else { String::new() };
        format!("{} + ({stage}{row}) * {} + ({place})", self.name, self.pitch())
    }
}

/// A part of a mask in shared memory, a row for each query.
pub(super) struct MaskTile<'a> {
    pub elements: &'a Elements,
    pub dtype: DType,
    pub queries: i64,
    pub keys: i64,
    pub stages: i64,
}

impl MaskTile<'_> {
    /// Elements of sixteen bytes.
    fn at_once(&self) -> i64 {
        16 / self.dtype.size() as i64
    }

    /// Elements from one row to the next.
    fn pitch(&self) -> i64 {
        self.keys + self.at_once()
    }

    /// The value of an element.
    pub fn load(&self, attention: &Attention, stage: &str, query: &str, key: &str) -> String {
        let stage = if self.stages > 1 { format!("{stage} * {} + ", self.queries) } else { String::new() };
        let element = format!("mask[({stage}{query}) * {} + {key}]", self.pitch());
        scalar::from_memory(&attention.unit, self.dtype, element)
    }

    /// Defines the function that brings a part to a stage; `query` and `key` are where it begins. There are zeros outside.
    pub fn fill(&self, attention: &Attention, out: &mut Out, query: &str, key: &str) {
        let work = attention.work;
        let at_once = self.at_once();
        let whole = |d: &Dim| d.rem(at_once as usize) == Dim::ZERO;
        let e = self.elements;
        let copies = e.column == Dim::ONE && [e.offset, e.row, work.keys].iter().chain(&e.batch).all(whole);
        let at_once = if copies { at_once } else { 1 };
        let per_row = self.keys / at_once;
        out.open("auto fill_mask = [&](int stage, int from) {");
        out.line("#pragma unroll 4");
        out.open(format!("for (int e = threadIdx.x; e < {}; e += {THREADS}) {{", self.queries * per_row));
        let times = if copies { format!(" * {at_once}") } else { String::new() };
        out.line(format!("const int l = e / {per_row}, h = e % {per_row}{times};"));
        out.line(format!("const int i = {query} + l, j = {key} + h;"));
        out.line(format!("const bool inside = i < {} && j < {};", dim(work.queries), dim(work.keys)));
        let (place, to) = (attention.place(e, "i", "j"), format!("mask[(stage * {} + l) * {} + h]", self.queries, self.pitch()));
        if copies {
            attention.helper("copy_async");
            out.line(format!("copy_async(&{to}, inside ? &{place} : {}, inside);", attention.params[e.param]));
        } else {
            out.line(format!("{to} = inside ? {place} : 0;"));
        }
        out.close();
        out.close_with("};");
    }
}

/// What a warp multiplies.
pub(super) struct Products<'a> {
    pub attention: &'a Attention<'a>,
    pub half: DType,
    /// Sixteens of rows that a warp has.
    pub high: i64,
}

impl Products<'_> {
    fn multiply(&self) -> &'static str {
        let name = if self.half == DType::F16 { "mma_f16" } else { "mma_bf16" };
        self.attention.helper(name);
        name
    }

    /// Two numbers, rounded.
    pub fn pair(&self, a: &str, b: &str) -> String {
        let name = if self.half == DType::F16 { "pack_f16" } else { "pack_bf16" };
        self.attention.helper(name);
        format!("{name}({a}, {b})")
    }

    /// Defines the function that brings rows to a stage: those from a number on, and zeros where there are none. They are there after the
    /// next wait.
    pub fn fill(&self, out: &mut Out, tile: &Tile) {
        let (name, count) = (tile.name, dim(tile.count));
        out.open(format!("auto fill_{name} = [&](int stage, int from) {{"));
        if self.copies(tile) {
            self.attention.helper("copy_async");
            let eights = tile.padded / 8;
            // Each copy at once would take registers for all addresses, beside what a pass keeps in them.
            out.line(format!("#pragma unroll {}", if tile.stages > 1 { 2 } else { 4 }));
            out.open(format!("for (int e = threadIdx.x; e < {}; e += {THREADS}) {{", tile.rows * eights));
            out.line(format!("const int l = e / {eights}, h = e % {eights} * 8;"));
            let along = if tile.width < tile.padded { format!(" && h < {}", tile.width) } else { String::new() };
            out.line(format!("const bool inside = from + l < {count}{along};"));
            let place = self.attention.place(tile.elements, "(from + l)", "h");
            let anywhere = &self.attention.params[tile.elements.param];
            out.line(format!("copy_async(&{}, inside ? &{place} : {anywhere}, inside);", tile.place("h")));
            out.close();
        } else {
            out.open(format!("for (int e = threadIdx.x; e < {}; e += {THREADS}) {{", tile.rows * tile.padded));
            match tile.elements.row == Dim::ONE {
                true => out.line(format!("const int l = e % {}, h = e / {0};", tile.rows)),
                false => out.line(format!("const int l = e / {}, h = e % {0};", tile.padded)),
            }
            let along = if tile.width < tile.padded { format!(" && h < {}", tile.width) } else { String::new() };
            let place = self.attention.place(tile.elements, "(from + l)", "h");
            out.line(format!("{} = from + l < {count}{along} ? {place} : 0;", tile.place("h")));
            out.close();
        }
        out.close_with("};");
    }

    /// Whether rows lie at multiples of sixteen bytes, eights of elements beside each other.
    fn copies(&self, tile: &Tile) -> bool {
        let e = tile.elements;
        let whole = |d: &Dim| d.rem(8) == Dim::ZERO;
        e.column == Dim::ONE && tile.width % 8 == 0 && [e.offset, e.row].iter().chain(&e.batch).all(whole)
    }

    /// Declares sums for so many columns.
    pub fn zeros(&self, out: &mut Out, name: &str, columns: i64) {
        out.line(format!("float {name}[{}][{}][4] = {{}};", self.high, columns / 8));
    }

    /// Adds to `to[r][n]` the products of a warp's rows of a tile with all rows of another one in a stage.
    pub fn with_rows(&self, out: &mut Out, to: &str, left: &Tile, right: &Tile, stage: &str) {
        let multiply = self.multiply();
        self.attention.helper("load_matrices");
        out.line("#pragma unroll");
        out.open(format!("for (int k = 0; k < {}; k += 16) {{", right.padded));
        out.line(format!("unsigned left_k[{}][4];", self.high));
        out.line("#pragma unroll");
        let rows = left.address("0", "row0 + r * 16 + lane % 16", "k", "lane / 16");
        out.line(format!("for (int r = 0; r < {}; ++r) load_matrices(left_k[r], {rows});", self.high));
        out.line("#pragma unroll");
        out.open(format!("for (int n = 0; n < {}; n += 16) {{", right.rows));
        out.line("unsigned right_k[4];");
        let row = "n + lane / 16 * 8 + lane % 8";
        out.line(format!("load_matrices(right_k, {});", right.address(stage, row, "k", "lane / 8 % 2")));
        self.both(out, multiply, to);
        out.close();
        out.close();
    }

    /// Adds to `to[r][n]` the products of `weights[r][k]`, as they were accumulated, with the columns of a tile in a stage.
    pub fn with_columns(&self, out: &mut Out, to: &str, weights: &str, right: &Tile, stage: &str) {
        let multiply = self.multiply();
        self.attention.helper("load_matrices_turned");
        out.line("#pragma unroll");
        out.open(format!("for (int k = 0; k < {}; k += 16) {{", right.rows));
        out.line(format!("unsigned left_k[{}][4];", self.high));
        out.line("#pragma unroll");
        out.open(format!("for (int r = 0; r < {}; ++r) {{", self.high));
        for register in 0..4 {
            let next = if register < 2 { "" } else { " + 1" };
            let of = |e: i32| format!("{weights}[r][k / 8{next}][{}]", register % 2 * 2 + e);
            out.line(format!("left_k[r][{register}] = {};", self.pair(&of(0), &of(1))));
        }
        out.close();
        out.line("#pragma unroll");
        out.open(format!("for (int n = 0; n < {}; n += 16) {{", right.padded));
        out.line("unsigned right_k[4];");
        out.line(format!("load_matrices_turned(right_k, {});", right.address(stage, "k + lane % 16", "n", "lane / 16")));
        self.both(out, multiply, to);
        out.close();
        out.close();
    }

    /// Two columns of eights at once.
    fn both(&self, out: &mut Out, multiply: &str, to: &str) {
        out.line("#pragma unroll");
        out.open(format!("for (int r = 0; r < {}; ++r) {{", self.high));
        out.line(format!("{multiply}({to}[r][n / 8], left_k[r], right_k);"));
        out.line(format!("{multiply}({to}[r][n / 8 + 1], left_k[r], right_k + 2);"));
        out.close();
    }

    /// Stores `values[r][n]` of row `row`, which are those numbered `h`, times a factor if there is one.
    pub fn store(&self, out: &mut Out, to: &Elements, row: &str, width: i64, values: &str, factor: Option<&str>) {
        let even = |d: &Dim| d.rem(2) == Dim::ZERO;
        let pairs = to.column == Dim::ONE && width % 2 == 0 && [to.offset, to.row].iter().chain(&to.batch).all(even);
        out.line("#pragma unroll");
        out.open(format!("for (int n = 0; n < {}; ++n) {{", (width + 7) / 8));
        out.line("const int column = n * 8 + pair;");
        let times = factor.map_or(String::new(), |factor| format!(" * {factor}"));
        let of = |e: i32| format!("{values}[r][n][h * 2{}]{times}", if e == 0 { "" } else { " + 1" });
        if pairs {
            let guard = if width % 8 == 0 { String::new() } else { format!("if (column < {width}) ") };
            let place = self.attention.place(to, row, "column");
            out.line(format!("{guard}*(unsigned*)&{place} = {};", self.pair(&of(0), &of(1))));
        } else {
            for e in 0..2 {
                let store = self.attention.store(to, row, &format!("(column + {e})"), &of(e));
                let guard = if width % 8 == 0 { String::new() } else { format!("if (column + {e} < {width}) ") };
                out.line(format!("{guard}{store}"));
            }
        }
        out.close();
    }
}
