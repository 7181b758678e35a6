//! Products by blocks: 256 threads compute a block of the result, whose operands pass through shared memory sixteen
//! contracted elements at a time. Operands are any expressions (a convolution's windows, a cast), and so is what becomes of the sums.

use super::out::Out;
use super::plan;
use super::scalar::{self, Overrides, ctype, dim};
use super::section::Emitter;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Section, Stage, Store, Target};
use igneous_ir::scalar::{ExprId, ScalarOp};
use igneous_ir::types::DType;
use std::collections::HashMap;

/// Contracted elements that are in shared memory at once.
const DEPTH: u32 = 16;
/// Threads along each side of a block.
pub(super) const SIDE: u32 = 16;
/// Elements behind each row of shared memory, so that rows begin at different banks.
const PADDING: u32 = 4;
/// Blocks of results that keep the smallest of today's large devices busy.
const ENOUGH: i64 = 108;

/// Rows and columns of a block of results.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tile {
    pub m: u32,
    pub n: u32,
}

/// The dot of a section that is nothing but a dot and what becomes of each sum.
pub(super) struct Product<'a> {
    pub batch: &'a [u32],
    pub m: &'a [u32],
    pub n: &'a [u32],
    pub k: &'a [u32],
    pub lhs: ExprId,
    pub rhs: ExprId,
    pub to: u32,
    pub dtype: DType,
}

impl<'a> Product<'a> {
    pub fn of(section: &'a Section) -> Option<Product<'a>> {
        let Some((Stage::Dot { batch, m, n, axes, lhs, rhs, to }, rest)) = section.stages.split_first() else { return None };
        let plain = |s: &Store| !matches!(s.to, Target::Param { combine: Some(_), .. });
        let pointwise = |s: &Stage| match s {
            Stage::Map { axes, stores } => axes.is_empty() && stores.iter().all(plain),
            Stage::Check { axes, .. } => axes.is_empty(),
            Stage::Reduce { .. } | Stage::Dot { .. } => false,
        };
        let local = &section.locals[*to as usize];
        let fits = local.axes.is_empty() && rest.iter().all(pointwise);
        fits.then_some(Product { batch, m, n, k: axes, lhs: *lhs, rhs: *rhs, to: *to, dtype: local.dtype })
    }

    /// The largest blocks of which there are enough, or as small ones as there are results; none smaller than `least`.
    pub fn tile(&self, section: &Section, least: u32) -> Tile {
        let [batch, m, n] = [self.batch, self.m, self.n].map(|axes| plan::extent(section, axes).as_const());
        let (Some(m), Some(n)) = (m, n) else { return Tile { m: 64, n: 64 } };
        let most = if self.dtype.size() > 4 { 64 } else { 128 };
        let fitting = |extent: i64, most: u32| {
            let sizes = [128, 64, 32].into_iter().filter(|&t| t <= most && t >= least);
            sizes.into_iter().find(|&t| i64::from(t) <= extent).unwrap_or(least)
        };
        let of = |most: u32| Tile { m: fitting(m, most), n: fitting(n, most) };
        let blocks = |extent: i64, tile: u32| (extent + i64::from(tile) - 1) / i64::from(tile);
        let count = |t: Tile| batch.unwrap_or(1) * blocks(m, t.m) * blocks(n, t.n);
        [128, 64].into_iter().filter(|&t| t <= most).map(of).find(|&t| count(t) >= ENOUGH).unwrap_or_else(|| of(32))
    }
}

impl Tile {
    /// The number of blocks along the rows and along the columns.
    pub fn counts(self, section: &Section, product: &Product) -> [Dim; 2] {
        let count = |axes: &[u32], tile: u32| plan::extent(section, axes).div_ceil(tile as usize);
        [count(product.m, self.m), count(product.n, self.n)]
    }

    /// Elements of shared memory.
    pub fn shared_elements(self) -> i64 {
        i64::from(DEPTH * (self.m + self.n + 2 * PADDING))
    }
}

/// An operand of a product.
struct Side<'a> {
    /// What it is called in shared memory, and where its rows or columns begin.
    name: &'static str,
    first: &'static str,
    expression: ExprId,
    axes: &'a [u32],
    /// Rows or columns in a block.
    extent: u32,
}

impl Emitter<'_> {
    /// The blocks of a product, one after the other.
    pub fn product(&self, out: &mut Out, tile: Tile) {
        let product = Product::of(self.section).expect("the plan saw a product");
        let ty = ctype(product.dtype);
        let (tm, tn) = (tile.m / SIDE, tile.n / SIDE);
        out.line(format!("const int tx = threadIdx.x % {SIDE}, ty = threadIdx.x / {SIDE};"));
        out.line("extern __shared__ __align__(16) unsigned char shared[];");
        let row = tile.m + PADDING;
        out.line(format!("{ty} (*left)[{row}] = ({ty} (*)[{row}])shared;"));
        let column = tile.n + PADDING;
        out.line(format!("{ty} (*right)[{column}] = ({ty} (*)[{column}])(left + {DEPTH});"));
        self.begin_block(out, tile, &product);
        out.line(format!("{ty} acc[{tm}][{tn}] = {{}};"));
        let depth = dim(plan::extent(self.section, product.k));
        out.open(format!("for (idx k0 = 0; k0 < {depth}; k0 += {DEPTH}) {{"));
        let sides = [
            Side { name: "left", first: "m0", expression: product.lhs, axes: product.m, extent: tile.m },
            Side { name: "right", first: "n0", expression: product.rhs, axes: product.n, extent: tile.n },
        ];
        for side in &sides {
            self.fill(out, &product, side, &depth);
        }
        out.line("__syncthreads();");
        // Of a sum of that many terms all would be loaded at once, into registers that there are not.
        out.line("#pragma unroll 8");
        out.open(format!("for (int k = 0; k < {DEPTH}; ++k) {{"));
        for (side, (own, count)) in sides.iter().zip([("ty", tm), ("tx", tn)]) {
            let name = side.name;
            out.line(format!("{ty} {name}_k[{count}];"));
            out.line("#pragma unroll");
            out.line(format!("for (int e = 0; e < {count}; ++e) {name}_k[e] = {name}[k][{}];", position("e", own, count)));
        }
        out.line("#pragma unroll");
        out.open(format!("for (int e = 0; e < {tm}; ++e) {{"));
        out.line("#pragma unroll");
        let sum = scalar::multiply_add(self.writer.unit, product.dtype, "left_k[e]", "right_k[h]", "acc[e][h]");
        out.line(format!("for (int h = 0; h < {tn}; ++h) acc[e][h] = {sum};"));
        out.close();
        out.close();
        out.line("__syncthreads();");
        out.close();
        self.sums(out, &product, tm, tn);
        out.close();
    }

    /// Begins the loop over blocks.
    pub fn begin_block(&self, out: &mut Out, tile: Tile, product: &Product) {
        let [rows, columns] = tile.counts(self.section, product);
        out.open(format!("for (idx tile = block; tile < {}; tile += blocks) {{", dim(self.plan.points)));
        out.line(format!("const idx n0 = tile % {} * {};", dim(columns), tile.n));
        out.line(format!("const idx m0 = tile / {} % {} * {};", dim(columns), dim(rows), tile.m));
        self.indices(out, product.batch, &format!("tile / {}", dim(rows * columns)));
    }

    /// Puts a part of an operand into shared memory, zeros where there is nothing. Neighbouring threads take neighbours in memory.
    fn fill(&self, out: &mut Out, product: &Product, side: &Side, depth: &str) {
        let (extent, name) = (side.extent, side.name);
        out.line("#pragma unroll");
        out.open(format!("for (int e = threadIdx.x; e < {}; e += 256) {{", DEPTH * extent));
        match self.along_depth(product, side.expression) {
            true => out.line(format!("const int h = e % {DEPTH}, l = e / {DEPTH};")),
            false => out.line(format!("const int h = e / {extent}, l = e % {extent};")),
        }
        out.line(format!("{} v = 0;", ctype(product.dtype)));
        let count = dim(plan::extent(self.section, side.axes));
        out.open(format!("if ({} + l < {count} && k0 + h < {depth}) {{", side.first));
        self.indices(out, side.axes, &format!("({} + l)", side.first));
        self.indices(out, product.k, "(k0 + h)");
        let (lines, named) = self.writer.block(&[side.expression], &Overrides::new());
        lines.iter().for_each(|l| out.line(l));
        out.line(format!("v = {};", self.writer.text(side.expression, &named, 0)));
        out.close();
        out.line(format!("{name}[h][l] = v;"));
        out.close();
    }

    /// Whether neighbours in memory are neighbours along the contracted axes.
    pub fn along_depth(&self, product: &Product, side: ExprId) -> bool {
        let Some(&innermost) = product.k.last() else { return false };
        let exprs = &self.section.exprs;
        exprs.reachable(&[side]).iter().any(|&id| {
            let node = exprs.get(id);
            let last = node.args.last().filter(|_| matches!(node.op, ScalarOp::Load(_)));
            last.is_some_and(|&last| exprs.reachable(&[last]).iter().any(|&e| exprs.get(e).op == ScalarOp::Axis(innermost)))
        })
    }

    /// What becomes of each sum of a thread.
    fn sums(&self, out: &mut Out, product: &Product, tm: u32, tn: u32) {
        out.line("#pragma unroll");
        out.open(format!("for (int e = 0; e < {tm}; ++e) {{"));
        out.line("#pragma unroll");
        out.open(format!("for (int h = 0; h < {tn}; ++h) {{"));
        out.line(format!("const idx mi = m0 + {}, ni = n0 + {};", position("e", "ty", tm), position("h", "tx", tn)));
        self.sum(out, product, "acc[e][h]");
        out.close();
        out.close();
    }

    /// What becomes of the sum at row `mi` and column `ni`, if there is one.
    pub fn sum(&self, out: &mut Out, product: &Product, value: &str) {
        let [m, n] = [product.m, product.n].map(|axes| dim(plan::extent(self.section, axes)));
        out.open(format!("if (mi < {m} && ni < {n}) {{"));
        self.indices(out, product.m, "mi");
        self.indices(out, product.n, "ni");
        self.declare_locals(out);
        let local = &self.writer.locals[product.to as usize];
        out.line(format!("{local} = {};", self.writer.rounded(product.dtype, (value.to_owned(), 0)).0));
        for stage in &self.section.stages[1..] {
            self.once(out, stage, &Overrides::new(), &HashMap::new(), None);
        }
        out.close();
    }

    /// Defines the indices of `axes` at a row-major position, each by itself.
    pub fn indices(&self, out: &mut Out, axes: &[u32], position: &str) {
        for (i, &a) in axes.iter().enumerate() {
            let inner = plan::extent(self.section, &axes[i + 1..]);
            let quotient = if inner == Dim::ONE { position.to_owned() } else { format!("{position} / {}", dim(inner)) };
            let extent = dim(self.section.axes[a as usize].extent);
            let index = if i == 0 { quotient } else { format!("{quotient} % {extent}") };
            out.line(format!("const idx {} = {index};", self.writer.axes[a as usize]));
        }
    }
}

/// The row or column of the `e`-th of a thread's `count` results along a side: four neighbours at a time.
fn position(e: &str, own: &str, count: u32) -> String {
    match count {
        1 => own.to_owned(),
        2 => format!("{own} * 2 + {e}"),
        4 => format!("{own} * 4 + {e}"),
        _ => format!("{e} / 4 * {} + {own} * 4 + {e} % 4", 4 * SIDE),
    }
}
