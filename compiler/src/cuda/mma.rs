//! Products of half types and of bytes on tensor cores: eight warps compute a block of the result by `mma.sync`, from shared memory that is filled
//! while they do. Operands that lie along the contracted axis arrive by `cp.async`, sixteen bytes at a time; others are computed.

use super::out::Out;
use super::plan;
use super::scalar::{self, Overrides, dim};
use super::section::Emitter;
use super::tile::{Product, Tile};
use igneous_ir::dim::Dim;
use igneous_ir::scalar::{ExprId, ScalarOp};
use igneous_ir::types::DType;

/// Bytes along the contracted axis in a stage of shared memory.
const DEPTH: u32 = 64;
/// Bytes from one row of shared memory to the next: rows begin at different banks.
const ROW: u32 = DEPTH + 16;
/// Stages: one is computed with, the others are being filled.
const STAGES: u32 = 3;

/// An operand.
struct Side<'a> {
    name: &'static str,
    first: &'static str,
    /// The expression in the narrow type.
    expression: ExprId,
    axes: &'a [u32],
    extent: u32,
}

impl Product<'_> {
    /// The type of both operands that tensor cores take: a half type if sums are in single precision, bytes if they are in `i32`. Bytes
    /// beside a half type, which has all their numbers, are converted to that.
    pub fn narrow(&self, exprs: &igneous_ir::scalar::Exprs) -> Option<DType> {
        let of = |side: ExprId| {
            let node = exprs.get(side);
            (node.op == ScalarOp::Cast).then(|| exprs.dtype(node.args[0]))
        };
        match (of(self.lhs)?, of(self.rhs)?, self.dtype) {
            (DType::I8, DType::I8, DType::I32) => Some(DType::I8),
            (half @ (DType::F16 | DType::BF16), other, DType::F32) | (other, half @ (DType::F16 | DType::BF16), DType::F32) => {
                (other == half || other == DType::I8).then_some(half)
            }
            _ => None,
        }
    }
}

/// The least rows and columns of a block: each of two by four warps has its part.
pub(super) const LEAST: u32 = 32;

/// Bytes of shared memory.
pub(super) fn shared_bytes(tile: Tile) -> i64 {
    i64::from(STAGES * (tile.m + tile.n) * ROW)
}

impl Emitter<'_> {
    /// The blocks of a product on tensor cores, one after the other.
    pub fn narrow_product(&self, out: &mut Out, tile: Tile) {
        let exprs = &self.section.exprs;
        let product = Product::of(self.section).expect("the plan saw a product");
        let narrow = product.narrow(exprs).expect("the plan saw types of tensor cores");
        let (held, size) = (scalar::storage(narrow), narrow.size() as u32);
        // Elements in a stage, from row to row, in the depth of one multiplication, and in a word.
        let (stage, pitch, step, word) = (DEPTH / size, ROW / size, 32 / size, 4 / size);
        let inner = |side: ExprId| exprs.get(side).args[0];
        let sides = [
            Side { name: "left", first: "m0", expression: inner(product.lhs), axes: product.m, extent: tile.m },
            Side { name: "right", first: "n0", expression: inner(product.rhs), axes: product.n, extent: tile.n },
        ];
        let (high, wide) = (tile.m / 32, tile.n / 32);
        self.helpers(&["copy_async", "copy_commit", "copy_wait"]);
        out.line("const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, pair = lane % 4 * 2;");
        out.line(format!("const int row0 = warp / 4 * {}, column0 = warp % 4 * {};", tile.m / 2, tile.n / 4));
        out.line("extern __shared__ __align__(16) unsigned char shared[];");
        let array = |name: &str, extent: u32, from: &str| {
            format!("{held} (*{name})[{extent}][{pitch}] = ({held} (*)[{extent}][{pitch}]){from};")
        };
        out.line(array("left", tile.m, "shared"));
        out.line(array("right", tile.n, &format!("(left + {STAGES})")));
        self.begin_block(out, tile, &product);
        let depth = dim(plan::extent(self.section, product.k));
        out.line(format!("const idx steps = ({depth} + {}) / {stage};", stage - 1));
        out.line(format!("{} acc[{high}][{wide}][4] = {{}};", scalar::ctype(product.dtype)));
        out.open("auto fill = [&](int stage, idx k0) {");
        for side in &sides {
            self.fill_narrow(out, &product, side, narrow, &depth);
        }
        out.close_with("};");
        out.open(format!("for (int s = 0; s < {}; ++s) {{", STAGES - 1));
        out.line(format!("if (s < steps) fill(s, s * {stage});"));
        out.line("copy_commit();");
        out.close();
        out.open("for (idx s = 0; s < steps; ++s) {");
        out.line(format!("copy_wait(); // for all but the last {}", STAGES - 2));
        out.line("__syncthreads();");
        let next = format!("s + {}", STAGES - 1);
        out.line(format!("if ({next} < steps) fill(({next}) % {STAGES}, ({next}) * {stage});"));
        out.line("copy_commit();");
        out.line(format!("const int stage = s % {STAGES};"));
        out.line("#pragma unroll");
        out.open(format!("for (int k = 0; k < {stage}; k += {step}) {{"));
        out.line(format!("unsigned left_k[{high}][4], right_k[{wide}][2];"));
        out.line("#pragma unroll");
        out.open(format!("for (int e = 0; e < {high}; ++e) {{"));
        let within = if word == 2 { "pair" } else { "pair * 2" };
        out.line(format!("const {held}* at = &left[stage][row0 + e * 16 + group][k + {within}];"));
        let other = 4 * word;
        for (register, offset) in [0, 8 * pitch, other, 8 * pitch + other].into_iter().enumerate() {
            out.line(format!("left_k[e][{register}] = *(const unsigned*)(at + {offset});"));
        }
        out.close();
        out.line("#pragma unroll");
        out.open(format!("for (int h = 0; h < {wide}; ++h) {{"));
        out.line(format!("const {held}* at = &right[stage][column0 + h * 8 + group][k + {within}];"));
        out.line("right_k[h][0] = *(const unsigned*)at;");
        out.line(format!("right_k[h][1] = *(const unsigned*)(at + {other});"));
        out.close();
        let multiply = match narrow {
            DType::F16 => "mma_f16",
            DType::BF16 => "mma_bf16",
            _ => "mma_i8",
        };
        self.helpers(&[multiply]);
        out.line("#pragma unroll");
        out.open(format!("for (int e = 0; e < {high}; ++e) {{"));
        out.line("#pragma unroll");
        out.line(format!("for (int h = 0; h < {wide}; ++h) {multiply}(acc[e][h], left_k[e], right_k[h]);"));
        out.close();
        out.close();
        out.close();
        // Before the next block fills what this one reads.
        out.line("__syncthreads();");
        out.line("#pragma unroll");
        out.open(format!("for (int e = 0; e < {high}; ++e) {{"));
        out.line("#pragma unroll");
        out.open(format!("for (int h = 0; h < {wide}; ++h) {{"));
        out.line("#pragma unroll");
        out.open("for (int r = 0; r < 4; ++r) {");
        out.line("const idx mi = m0 + row0 + e * 16 + group + r / 2 * 8, ni = n0 + column0 + h * 8 + pair + r % 2;");
        self.sum(out, &product, "acc[e][h][r]");
        out.close();
        out.close();
        out.close();
        out.close();
    }

    fn helpers(&self, names: &[&str]) {
        let mut unit = self.writer.unit.borrow_mut();
        unit.helpers.extend(names.iter().map(|n| super::prelude::helper(n)));
    }

    /// Puts a part of an operand into a stage of shared memory, zeros where there is nothing.
    fn fill_narrow(&self, out: &mut Out, product: &Product, side: &Side, narrow: DType, depth: &str) {
        let Side { name, first, extent, .. } = side;
        let count = dim(plan::extent(self.section, side.axes));
        let (held, size) = (scalar::storage(narrow), narrow.size() as u32);
        let same = self.section.exprs.dtype(side.expression) == narrow;
        let raw = if same { self.load_along_depth(product, side, 16 / size) } else { None };
        let at_once = if raw.is_some() { 16 / size } else { 1 };
        let per_row = DEPTH / size / at_once;
        // Elements that are computed one by one take registers, of which the sums have most.
        out.line(if raw.is_some() { "#pragma unroll" } else { "#pragma unroll 8" });
        out.open(format!("for (int e = threadIdx.x; e < {}; e += 256) {{", extent * per_row));
        match raw.is_some() || self.along_depth(product, side.expression) {
            true => out.line(format!(
                "const int l = e / {per_row}, h = e % {per_row}{};",
                if at_once > 1 { format!(" * {at_once}") } else { String::new() }
            )),
            false => out.line(format!("const int l = e % {extent}, h = e / {extent};")),
        }
        out.line(format!("const bool inside = {first} + l < {count} && k0 + h < {depth};"));
        if let Some(param) = raw {
            out.line(format!("const {held}* from = {};", self.writer.params[param as usize]));
            out.open("if (inside) {");
            self.indices(out, side.axes, &format!("({first} + l)"));
            self.indices(out, product.k, "(k0 + h)");
            let node = self.section.exprs.get(side.expression);
            let (lines, named) = self.writer.block(&node.args, &Overrides::new());
            lines.iter().for_each(|l| out.line(l));
            out.line(format!(
                "from += {};",
                self.writer.offset(&node.args, &self.kernel.params[param as usize].ty.shape, &named)
            ));
            out.close();
            out.line(format!("copy_async(&{name}[stage][l][h], from, inside);"));
        } else {
            out.line(format!("{held} v = 0;"));
            out.open("if (inside) {");
            self.indices(out, side.axes, &format!("({first} + l)"));
            self.indices(out, product.k, "(k0 + h)");
            let node = self.section.exprs.get(side.expression);
            let (lines, named) = self.writer.block(&[side.expression], &Overrides::new());
            lines.iter().for_each(|l| out.line(l));
            let value = match node.op {
                // The bits as they are.
                ScalarOp::Load(p) if same && !named.contains_key(&side.expression) => {
                    let offset = self.writer.offset(&node.args, &self.kernel.params[p as usize].ty.shape, &named);
                    format!("{}[{offset}]", self.writer.params[p as usize])
                }
                _ => scalar::to_memory(self.writer.unit, narrow, self.writer.text(side.expression, &named, 0)),
            };
            out.line(format!("v = {value};"));
            out.close();
            out.line(format!("{name}[stage][l][h] = v;"));
        }
        out.close();
    }

    /// The parameter of an operand that is nothing but a load whose neighbours in memory are those along the one contracted axis,
    /// `together` of them at an address that is a multiple of sixteen bytes.
    fn load_along_depth(&self, product: &Product, side: &Side, together: u32) -> Option<u32> {
        let exprs = &self.section.exprs;
        let &[k] = product.k else { return None };
        let node = exprs.get(side.expression);
        let ScalarOp::Load(param) = node.op else { return None };
        let (&last, outer) = node.args.split_last()?;
        let of_k = |id: &ExprId| exprs.reachable(&[*id]).iter().any(|&e| exprs.get(e).op == ScalarOp::Axis(k));
        let shape = &self.kernel.params[param as usize].ty.shape;
        let aligned = |d: Dim| d.rem(together as usize) == Dim::ZERO;
        let along = exprs.get(last).op == ScalarOp::Axis(k) && !outer.iter().any(of_k);
        let fits = aligned(*shape.last()?) && aligned(self.section.axes[k as usize].extent);
        (along && fits).then_some(param)
    }
}
