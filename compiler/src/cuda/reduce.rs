//! Reductions by the documented tree: 32 accumulators, chunks of 4,096 elements.

use super::out::Out;
use super::plan::{self, Team};
use super::scalar::{Overrides, ctype, dim, held_size, literal};
use super::section::Emitter;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{CHUNK, LANES};
use igneous_ir::op::ReduceKind;
use igneous_ir::scalar::ExprId;
use igneous_ir::types::DType;

/// Rows up to this length are kept in registers for a second pass: 32 numbers in each lane.
const KEPT: i64 = 1024;

/// A pass over the elements: a sum, a maximum, an extremum with its index.
struct Pass {
    kind: ReduceKind,
    dtype: DType,
    /// The variable that gets the result; for an arg-reduction the extremum, with the index in `…_at`.
    result: String,
    /// The second pass of a kind computes this from the element `v`.
    element: Option<String>,
}

impl Pass {
    fn is_arg(&self) -> bool {
        matches!(self.kind, ReduceKind::ArgMax | ReduceKind::ArgMin)
    }
}

/// Elements of a kept row in each lane.
fn rounds(n: i64) -> i64 {
    (n + LANES as i64 - 1) / LANES as i64
}

impl Emitter<'_> {
    fn passes(&self, kind: ReduceKind, dtype: DType, to: &[u32]) -> Vec<Pass> {
        let local = |k: usize| self.writer.locals[to[k] as usize].clone();
        let pass = |kind, result, element| Pass { kind, dtype, result, element };
        match kind {
            ReduceKind::OnlineSoftmax => {
                let power = self.math("exp", dtype, &format!("v - {}", local(0)));
                vec![pass(ReduceKind::Max, local(0), None), pass(ReduceKind::Sum, local(1), Some(power))]
            }
            ReduceKind::Welford => {
                let difference = self.rounded(dtype, format!("v - {}", local(0)));
                let square =
                    self.writer.combine(ReduceKind::Prod, dtype, format!("({difference})"), format!("({difference})"), false);
                let mean = pass(ReduceKind::Sum, local(0), None);
                vec![mean, pass(ReduceKind::Sum, local(1), Some(square))]
            }
            ReduceKind::ArgMax | ReduceKind::ArgMin => vec![pass(kind, "best".into(), None)],
            _ => vec![pass(kind, local(0), None)],
        }
    }

    fn math(&self, name: &str, dtype: DType, argument: &str) -> String {
        let f = igneous_ir::scalar::MathFn::ALL.into_iter().find(|f| f.name() == name).expect("a function of this name exists");
        self.writer.unit.borrow_mut().math.insert((f, dtype));
        format!("{name}_{dtype}({})", self.rounded(dtype, argument.to_owned()))
    }

    fn rounded(&self, dtype: DType, text: String) -> String {
        self.writer.rounded(dtype, (text, 0)).0
    }

    /// After the first pass of a Welford reduction: the sum becomes the mean.
    fn after(&self, out: &mut Out, kind: ReduceKind, pass: usize, dtype: DType, elements: Dim, to: &[u32]) {
        if kind == ReduceKind::Welford && pass == 0 {
            let mean = &self.writer.locals[to[0] as usize];
            let quotient = self.rounded(dtype, format!("{mean} / ({}){}", ctype(dtype), dim(elements)));
            out.line(format!("{mean} = {quotient};"));
        }
    }

    /// `a = v`, or `a = a ∘ v`, with indices for arg-reductions.
    fn take(&self, out: &mut Out, pass: &Pass, a: &str, v: &str, first: Option<&str>) {
        if pass.is_arg() {
            let suffix = match pass.dtype {
                DType::F32 | DType::F16 | DType::BF16 => "f32",
                DType::F64 => "f64",
                _ => "i64",
            };
            let name = format!("{}_{suffix}", pass.kind.name());
            self.writer.unit.borrow_mut().helpers.insert(super::prelude::helper(&name));
            let better = format!("{name}({v}, {v}_at, {a}, {a}_at)");
            let condition = first.map_or(better.clone(), |f| format!("{f} || {better}"));
            out.line(format!("if ({condition}) {{ {a} = {v}; {a}_at = {v}_at; }}"));
            return;
        }
        let combined = self.writer.combine(pass.kind, pass.dtype, a.into(), v.into(), false);
        match first {
            Some(first) => out.line(format!("{a} = {first} ? {v} : {combined};")),
            None => out.line(format!("{a} = {combined};")),
        }
    }

    /// Declares an accumulator; without elements this is the result.
    fn accumulator(&self, out: &mut Out, pass: &Pass, name: &str, array: &str) {
        let zero = match array {
            "" => format!(" = {}", literal(igneous_ir::kernel::interp::identity(pass.kind, pass.dtype))),
            _ => String::new(),
        };
        out.line(format!("{} {name}{array}{zero};", ctype(pass.dtype)));
        if pass.is_arg() {
            out.line(format!("long long {name}_at{array}{};", if array.is_empty() { " = 0" } else { "" }));
        }
    }

    /// Sets the result of a pass that is not declared yet, or is a local.
    fn start(&self, out: &mut Out, pass: &Pass) {
        if pass.is_arg() {
            self.accumulator(out, pass, &pass.result, "");
        } else {
            out.line(format!("{} = {};", pass.result, literal(igneous_ir::kernel::interp::identity(pass.kind, pass.dtype))));
        }
    }

    fn finish(&self, out: &mut Out, pass: &Pass, to: &[u32]) {
        if pass.is_arg() {
            out.line(format!("{} = {}_at;", self.writer.locals[to[0] as usize], pass.result));
        }
    }

    /// Defines `v`, the element at position `e`.
    fn element(&self, out: &mut Out, axes: &[u32], body: ExprId, name: &str, define: bool) {
        self.decode(out, axes.to_vec(), "e", None);
        let (lines, named) = self.writer.block(&[body], &Overrides::new());
        lines.iter().for_each(|l| out.line(l));
        let ty = if define { format!("const {} ", ctype(self.section.exprs.dtype(body))) } else { String::new() };
        out.line(format!("{ty}{name} = {};", self.writer.text(body, &named, 0)));
    }

    /// A few elements, all by one thread, in registers.
    pub fn reduce_alone(&self, out: &mut Out, kind: ReduceKind, axes: &[u32], body: ExprId, to: &[u32]) {
        let elements = plan::extent(self.section, axes);
        let count = elements.as_const().unwrap_or(0);
        let dtype = self.section.exprs.dtype(body);
        out.open("{");
        if count > 0 {
            out.line(format!("{} r[{count}];", ctype(dtype)));
            out.line("#pragma unroll");
            out.open(format!("for (int e = 0; e < {count}; ++e) {{"));
            self.element(out, axes, body, "r[e]", false);
            out.close();
        }
        for (i, pass) in self.passes(kind, dtype, to).iter().enumerate() {
            self.start(out, pass);
            if count > 0 {
                self.tree_in_registers(out, pass, count);
            }
            self.finish(out, pass, to);
            self.after(out, kind, i, dtype, elements, to);
        }
        out.close();
    }

    /// Elements one after the other, by one thread.
    pub fn reduce_in_order(&self, out: &mut Out, kind: ReduceKind, axes: &[u32], body: ExprId, to: &[u32]) {
        let elements = plan::extent(self.section, axes);
        let (n, dtype) = (dim(elements), self.section.exprs.dtype(body));
        out.open("{");
        for (i, pass) in self.passes(kind, dtype, to).iter().enumerate() {
            self.start(out, pass);
            out.open(format!("for (idx base = 0; base < {n}; base += {CHUNK}) {{"));
            out.line(format!("const idx hi = base + {CHUNK} < {n} ? base + {CHUNK} : {n};"));
            out.line(format!("{} lanes[{LANES}];", ctype(dtype)));
            if pass.is_arg() {
                out.line(format!("long long lanes_at[{LANES}];"));
            }
            out.open("for (idx e = base; e < hi; ++e) {");
            self.element(out, axes, body, "element", true);
            self.second(out, pass, "element");
            out.line(format!("{}& a = lanes[e % {LANES}];", ctype(dtype)));
            if pass.is_arg() {
                out.line(format!("long long& a_at = lanes_at[e % {LANES}];"));
            }
            let first = format!("e < base + {LANES}");
            self.take(out, pass, "a", "w", Some(&first));
            out.close();
            out.open(format!("for (int h = {}; h > 0; h /= 2) {{", LANES / 2));
            out.open("for (int l = 0; l < h && base + l + h < hi; ++l) {");
            out.line(format!("{}& a = lanes[l];", ctype(dtype)));
            out.line(format!("const {} o = lanes[l + h];", ctype(dtype)));
            if pass.is_arg() {
                out.line("long long& a_at = lanes_at[l];");
                out.line("const long long o_at = lanes_at[l + h];");
            }
            self.take(out, pass, "a", "o", None);
            out.close();
            out.close();
            out.line(format!("const {} c = lanes[0];", ctype(dtype)));
            if pass.is_arg() {
                out.line("const long long c_at = lanes_at[0];");
            }
            self.take(out, pass, &pass.result, "c", Some("base == 0"));
            out.close();
            self.finish(out, pass, to);
            self.after(out, kind, i, dtype, elements, to);
        }
        out.close();
    }

    fn tree_in_registers(&self, out: &mut Out, pass: &Pass, count: i64) {
        out.open("{");
        self.accumulator(out, pass, "a", &format!("[{count}]"));
        out.line("#pragma unroll");
        out.open(format!("for (int e = 0; e < {count}; ++e) {{"));
        out.line(format!("const {} v = r[e];", ctype(pass.dtype)));
        out.line(format!("a[e] = {};", pass.element.as_deref().unwrap_or("v")));
        if pass.is_arg() {
            out.line("a_at[e] = e;");
        }
        out.close();
        let (mut half, mut n) = (LANES as i64 / 2, count);
        while half > 0 {
            for i in half..n.min(2 * half) {
                self.take_indexed(out, pass, i - half, i);
            }
            n = n.min(half);
            half /= 2;
        }
        out.line(format!("{} = a[0];", pass.result));
        if pass.is_arg() {
            out.line(format!("{}_at = a_at[0];", pass.result));
        }
        out.close();
    }

    fn take_indexed(&self, out: &mut Out, pass: &Pass, to: i64, from: i64) {
        if !pass.is_arg() {
            return self.take(out, pass, &format!("a[{to}]"), &format!("a[{from}]"), None);
        }
        out.open("{");
        out.line(format!("const {} v = a[{from}];", ctype(pass.dtype)));
        out.line(format!("const long long v_at = a_at[{from}];"));
        out.line(format!("{0}& b = a[{to}];", ctype(pass.dtype)));
        out.line(format!("long long& b_at = a_at[{to}];"));
        self.take(out, pass, "b", "v", None);
        out.close();
    }

    /// All elements of a point by the lanes of its team.
    pub fn reduce_together(&self, out: &mut Out, kind: ReduceKind, axes: &[u32], body: ExprId, to: &[u32]) {
        let elements = plan::extent(self.section, axes);
        let dtype = self.section.exprs.dtype(body);
        let passes = self.passes(kind, dtype, to);
        let kept = elements.as_const().filter(|&n| passes.len() > 1 && n <= KEPT && self.plan.team == Team::Warps(1));
        out.open("{");
        if let Some(n) = kept {
            self.keep(out, axes, body, n);
        }
        for (i, pass) in passes.iter().enumerate() {
            self.start(out, pass);
            match kept {
                Some(n) => self.kept_pass(out, pass, n),
                None => self.pass(out, pass, axes, body, elements),
            }
            if let Team::Warps(1) = self.plan.team {
                out.line(format!("{0} = __shfl_sync(0xffffffffu, {0}, 0);", pass.result));
                if pass.is_arg() {
                    out.line(format!("{0}_at = __shfl_sync(0xffffffffu, {0}_at, 0);", pass.result));
                }
            }
            self.finish(out, pass, to);
            self.after(out, kind, i, dtype, elements, to);
        }
        out.close();
    }

    /// Computes the elements of a short row once.
    fn keep(&self, out: &mut Out, axes: &[u32], body: ExprId, n: i64) {
        let rounds = rounds(n);
        out.line(format!("{} kept[{rounds}];", ctype(self.section.exprs.dtype(body))));
        out.line("#pragma unroll");
        out.open(format!("for (int r = 0; r < {rounds}; ++r) {{"));
        out.line("const idx e = r * 32 + lane;");
        out.open(format!("if (e < {n}) {{"));
        self.element(out, axes, body, "kept[r]", false);
        out.close();
        out.close();
    }

    fn kept_pass(&self, out: &mut Out, pass: &Pass, n: i64) {
        out.open("{");
        self.accumulator(out, pass, "a", "");
        out.line("#pragma unroll");
        out.open(format!("for (int r = 0; r < {}; ++r) {{", rounds(n)));
        out.open(format!("if (r * 32 + lane < {n}) {{"));
        self.second(out, pass, "kept[r]");
        self.take(out, pass, "a", "w", Some("r == 0"));
        out.close();
        out.close();
        self.tree(out, pass, &n.to_string());
        out.line(format!("{} = a;", pass.result));
        out.close();
    }

    /// Defines `w`, what the pass combines, from an element.
    fn second(&self, out: &mut Out, pass: &Pass, element: &str) {
        match &pass.element {
            Some(text) => {
                out.line(format!("const {} v = {element};", ctype(pass.dtype)));
                out.line(format!("const {} w = {text};", ctype(pass.dtype)));
            }
            None => out.line(format!("const {} w = {element};", ctype(pass.dtype))),
        }
        if pass.is_arg() {
            out.line("const long long w_at = e;");
        }
    }

    /// Lanes go through the elements, chunk by chunk.
    fn pass(&self, out: &mut Out, pass: &Pass, axes: &[u32], body: ExprId, elements: Dim) {
        let n = dim(elements);
        let warps = if let Team::Warps(w) = self.plan.team { w } else { 1 };
        let one_chunk = elements.at_least(CHUNK + 1) == Some(false) && warps == 1;
        if one_chunk {
            out.open("{");
            out.line(format!("const idx lo = 0, hi = {n};"));
        } else {
            let step = CHUNK as u32 * warps;
            out.open(format!("for (idx base = 0; base < {n}; base += {step}) {{"));
            let own = if warps > 1 { format!("base + warp * {CHUNK}") } else { "base".into() };
            out.line(format!("const idx lo = {own}, hi = lo + {CHUNK} < {n} ? lo + {CHUNK} : {n};"));
        }
        self.accumulator(out, pass, "a", "");
        let active = if self.plan.team == Team::Column { "active && " } else { "" };
        out.open(format!("for (idx e = lo + lane; {active}e < hi; e += {LANES}) {{"));
        self.element(out, axes, body, "element", true);
        self.second(out, pass, "element");
        self.take(out, pass, "a", "w", Some(&format!("e < lo + {LANES}")));
        out.close();
        self.tree(out, pass, "hi - lo");
        match (warps, one_chunk) {
            (1, true) => {
                out.line(format!("{} = a;", pass.result));
                if pass.is_arg() {
                    out.line(format!("{}_at = a_at;", pass.result));
                }
            }
            (1, false) => self.take(out, pass, &pass.result, "a", Some("base == 0")),
            _ => self.across_warps(out, pass, warps, &n),
        }
        out.close();
    }

    /// Combines the chunks of all warps, in order.
    fn across_warps(&self, out: &mut Out, pass: &Pass, warps: u32, n: &str) {
        let bytes = warps as usize * held_size(pass.dtype);
        self.exchange(bytes + if pass.is_arg() { warps as usize * 8 } else { 0 });
        out.line(format!("{0}* part = ({0}*)exchange;", ctype(pass.dtype)));
        if pass.is_arg() {
            out.line(format!("long long* part_at = (long long*)(exchange + {bytes});"));
        }
        let also = if pass.is_arg() { " part_at[warp] = a_at;" } else { "" };
        out.line(format!("if (lane == 0) {{ part[warp] = a;{also} }}"));
        out.line("__syncthreads();");
        out.open(format!("for (int w = 0; w < {warps} && base + w * {CHUNK} < {n}; ++w) {{"));
        out.line(format!("const {} c = part[w];", ctype(pass.dtype)));
        if pass.is_arg() {
            out.line("const long long c_at = part_at[w];");
        }
        self.take(out, pass, &pass.result, "c", Some("base + w == 0"));
        out.close();
        out.line("__syncthreads();");
    }

    /// Combines the accumulators `a` of the lanes, by halves; those of `n` lanes at most have a value.
    fn tree(&self, out: &mut Out, pass: &Pass, n: &str) {
        let ty = ctype(pass.dtype);
        if self.plan.team != Team::Column {
            out.line("#pragma unroll");
            out.open("for (int h = 16; h > 0; h /= 2) {");
            out.line(format!("const {ty} o = __shfl_down_sync(0xffffffffu, a, h);"));
            if pass.is_arg() {
                out.line("const long long o_at = __shfl_down_sync(0xffffffffu, a_at, h);");
            }
            out.open(format!("if (lane < h && lane + h < {n}) {{"));
            self.take(out, pass, "a", "o", None);
            out.close();
            out.close();
            return;
        }
        let bytes = LANES * 8 * held_size(pass.dtype);
        self.exchange(bytes + if pass.is_arg() { LANES * 8 * 8 } else { 0 });
        out.line(format!("{ty} (*tree)[8] = ({ty} (*)[8])exchange;"));
        if pass.is_arg() {
            out.line(format!("long long (*tree_at)[8] = (long long (*)[8])(exchange + {bytes});"));
        }
        let put = if pass.is_arg() { "tree[lane][column] = a; tree_at[lane][column] = a_at;" } else { "tree[lane][column] = a;" };
        out.line(put);
        out.line("__syncthreads();");
        out.open("for (int h = 16; h > 0; h /= 2) {");
        out.open(format!("if (lane < h && lane + h < {n}) {{"));
        out.line(format!("const {ty} o = tree[lane + h][column];"));
        if pass.is_arg() {
            out.line("const long long o_at = tree_at[lane + h][column];");
        }
        self.take(out, pass, "a", "o", None);
        out.line(put);
        out.close();
        out.line("__syncthreads();");
        out.close();
        out.line("a = tree[0][column];");
        if pass.is_arg() {
            out.line("a_at = tree_at[0][column];");
        }
        out.line("__syncthreads();");
    }
}
