//! The text of one section: the loop over points and the stages at each of them.

use super::out::Out;
use super::plan::{self, Lanes, Plan, Team};
use super::range::ranges;
use super::scalar::{self, Overrides, Unit, Writer, ctype, dim};
use super::scatter;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Access, Kernel, Local, Section, Stage, Store, Target};
use igneous_ir::op::ReduceKind;
use igneous_ir::scalar::{ExprId, Exprs, ScalarOp};
use igneous_ir::types::DType;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// Writes one section.
pub(super) struct Emitter<'a> {
    pub kernel: &'a Kernel,
    pub section: &'a Section,
    pub plan: &'a Plan,
    pub writer: Writer<'a>,
    /// Where in the scratch memory that of this section begins.
    pub scratch: Dim,
}

impl<'a> Emitter<'a> {
    pub fn new(
        kernel: &'a Kernel,
        section: &'a Section,
        plan: &'a Plan,
        params: &'a [String],
        unit: &'a RefCell<Unit>,
        short_index: bool,
        taken: &HashSet<String>,
    ) -> Emitter<'a> {
        let mut taken = taken.clone();
        let axes = section.axes.iter().map(|a| scalar::identifier(&a.name, &mut taken)).collect();
        let locals = section.locals.iter().map(|l| scalar::identifier(&l.name, &mut taken)).collect();
        let interleave = if plan.team == Team::Column { " * 8 + column" } else { "" };
        let ranges = ranges(section, &plan::roots(section));
        let writer = Writer { kernel, section, unit, params, axes, locals, interleave, ranges, short_index, taken };
        Emitter { kernel, section, plan, writer, scratch: Dim::ZERO }
    }

    /// The number of blocks.
    pub fn blocks(&self) -> Dim {
        self.plan.blocks(self.section)
    }

    /// Bytes of dynamic shared memory.
    pub fn shared(&self) -> Dim {
        self.plan.shared(self.section)
    }

    /// Writes the section; `block` and `blocks` are this block's number and how many work on the section.
    pub fn write(&self, out: &mut Out, block: String, blocks: String) {
        out.line(format!("const idx block = {block}, blocks = {blocks};"));
        match self.plan.team {
            Team::Thread { vector: 1, .. } | Team::Alone => {
                let points = dim(self.plan.points);
                out.open(format!("for (idx p = block * 256 + threadIdx.x; p < {points}; p += blocks * 256) {{"));
                self.point(out);
                out.close();
            }
            Team::Thread { vector, flat } => self.vectors(out, vector, flat),
            Team::Tile(tile) => self.product(out, tile),
            Team::NarrowTile(tile) => self.narrow_product(out, tile),
            Team::Transposed => self.transposed(out),
            Team::Warps(_) | Team::Column => self.team(out),
        }
    }

    /// One point by one thread.
    fn point(&self, out: &mut Out) {
        self.decode(out, self.axes_of_points(), "p", None);
        self.declare_locals(out);
        for stage in &self.section.stages {
            match stage {
                Stage::Reduce { kind, axes, body, to } if plan::few(plan::extent(self.section, axes)) => {
                    self.reduce_alone(out, *kind, axes, *body, to);
                }
                Stage::Reduce { kind, axes, body, to } => self.reduce_in_order(out, *kind, axes, *body, to),
                Stage::Dot { axes, lhs, rhs, to, .. } => self.dot_in_order(out, axes, *lhs, *rhs, *to),
                _ => {
                    // The names of one stage's values may be those of the next one's.
                    let alone = stage.axes().is_empty() && self.section.stages.len() > 1;
                    if alone {
                        out.open("{");
                    }
                    for &a in stage.axes() {
                        let (axis, extent) = (&self.writer.axes[a as usize], dim(self.section.axes[a as usize].extent));
                        out.open(format!("for (idx {axis} = 0; {axis} < {extent}; ++{axis}) {{"));
                    }
                    self.once(out, stage, &Overrides::new(), &HashMap::new(), None);
                    (0..stage.axes().len() + usize::from(alone)).for_each(|_| out.close());
                }
            }
        }
    }

    /// Asks for so many bytes through which the threads of a block exchange values.
    pub fn exchange(&self, bytes: usize) {
        let mut unit = self.writer.unit.borrow_mut();
        unit.exchange = unit.exchange.max(bytes);
    }

    fn axes_of_points(&self) -> Vec<u32> {
        self.section.parallel().collect()
    }

    /// Defines the indices of `axes` from a row-major position; `innermost` is another name for the last one.
    pub fn decode(&self, out: &mut Out, axes: Vec<u32>, position: &str, innermost: Option<&str>) {
        let name = |a: u32| self.writer.axes[a as usize].as_str();
        let Some((&first, inner)) = axes.split_first() else { return };
        let last_name = innermost.unwrap_or(name(axes[axes.len() - 1]));
        if inner.is_empty() {
            out.line(format!("const idx {last_name} = {position};"));
            return;
        }
        out.line(format!("idx q = {position};"));
        for (k, &a) in inner.iter().enumerate().rev() {
            let name = if k + 1 == inner.len() { last_name } else { name(a) };
            let extent = dim(self.section.axes[a as usize].extent);
            out.line(format!("const idx {name} = q % {extent};"));
            out.line(format!("q /= {extent};"));
        }
        out.line(format!("const idx {} = q;", name(first)));
    }

    pub fn declare_locals(&self, out: &mut Out) {
        let mut offset = self.scratch;
        for (number, local) in self.plan.scratch_locals(self.section) {
            let (ty, name) = (ctype(local.dtype), &self.writer.locals[number]);
            let bytes = plan::scratch_bytes(self.section, local);
            let at = format!("(block * 256 + threadIdx.x) * {}", dim(bytes));
            out.line(format!("{ty}* {name} = ({ty}*)(scratch + {} + {at});", dim(offset)));
            offset = offset + bytes * self.plan.scratch_points(self.section);
        }
        for (local, name) in self.section.locals.iter().zip(&self.writer.locals) {
            let array = match (local.axes.is_empty(), self.plan.team) {
                (true, _) => String::new(),
                (_, Team::Thread { .. } | Team::Alone) if plan::few(plan::extent(self.section, &local.axes)) => {
                    format!("[{}]", dim(plan::extent(self.section, &local.axes)))
                }
                _ => continue,
            };
            out.line(format!("{} {name}{array};", ctype(local.dtype)));
        }
    }

    /// One index of a map or check stage. Values are computed before any of them is stored. `vectors` holds the names of
    /// the vectors that collect the lanes of a store, `guard` the condition under which parameters are stored to.
    pub fn once(
        &self,
        out: &mut Out,
        stage: &Stage,
        overrides: &Overrides,
        vectors: &HashMap<usize, String>,
        guard: Option<&str>,
    ) {
        let (lines, named) = self.writer.block(&stage.roots(), overrides);
        lines.iter().for_each(|l| out.line(l));
        let text = |id: ExprId| self.writer.text(id, &named, 0);
        match stage {
            Stage::Check { ok, value, code, .. } => {
                self.writer.unit.borrow_mut().helpers.insert("report");
                let condition = self.writer.text(*ok, &named, scalar::UNARY);
                let guard = guard.map_or(String::new(), |g| format!("{g} && "));
                let code = u64::from(*code) + 1;
                out.line(format!("if ({guard}!{condition}) report(error, run, {code}ull, {});", text(*value)));
            }
            Stage::Map { axes, stores } => {
                let values: Vec<String> =
                    stores.iter().enumerate().map(|(k, s)| self.value(out, k, stores, s, text(s.value))).collect();
                let offset = |s: &Store| match &s.to {
                    Target::Param { param, index, .. } => {
                        self.writer.offset(index, &self.kernel.params[*param as usize].ty.shape, &named)
                    }
                    Target::Local(_) => self.position(axes),
                };
                for (k, (store, value)) in stores.iter().zip(values).enumerate() {
                    match (&store.to, vectors.get(&k)) {
                        (Target::Param { .. }, Some(vector)) => out.line(format!("{vector}.v[l] = {value};")),
                        (Target::Param { param, combine: Some(kind), .. }, None) => {
                            let dtype = self.kernel.params[*param as usize].ty.dtype;
                            match axes.is_empty() && scatter::is_atomic(*kind, dtype) {
                                true => self.add(out, *param, &offset(store), &value),
                                false => self.combine(out, *param, &offset(store), *kind, value),
                            }
                        }
                        (Target::Param { param, .. }, None) => {
                            let guard = guard.map_or(String::new(), |g| format!("if ({g}) "));
                            out.line(format!("{guard}{}[{}] = {value};", self.writer.params[*param as usize], offset(store)));
                        }
                        (Target::Local(l), _) => out.line(format!("{} = {value};", self.writer.local(*l, &offset(store)))),
                    }
                }
            }
            Stage::Reduce { .. } | Stage::Dot { .. } => unreachable!("these stages have no stores"),
        }
    }

    /// Adds to an element that other threads may add to, too.
    fn add(&self, out: &mut Out, param: u32, offset: &str, value: &str) {
        let place = format!("&{}[{offset}]", self.writer.params[param as usize]);
        match self.kernel.params[param as usize].ty.dtype {
            DType::I64 => out.line(format!("atomicAdd((unsigned long long*){place}, (unsigned long long)({value}));")),
            dtype => out.line(format!("atomicAdd({place}, ({})({value}));", ctype(dtype))),
        }
    }

    /// Combines an element with what is there.
    fn combine(&self, out: &mut Out, param: u32, offset: &str, kind: ReduceKind, value: String) {
        let dtype = self.kernel.params[param as usize].ty.dtype;
        let unit = self.writer.unit;
        out.open("{");
        out.line(format!("{}& there = {}[{offset}];", scalar::storage(dtype), self.writer.params[param as usize]));
        let [old, new] = ["there".to_owned(), value].map(|text| scalar::from_memory(unit, dtype, text));
        let combined = self.writer.combine(kind, dtype, old, format!("({new})"), false);
        out.line(format!("there = {};", scalar::to_memory(unit, dtype, combined)));
        out.close();
    }

    /// Sums of products by one thread, an element of the local after the other. Half types are summed in single precision.
    fn dot_in_order(&self, out: &mut Out, axes: &[u32], lhs: ExprId, rhs: ExprId, to: u32) {
        let local = &self.section.locals[to as usize];
        let dtype = local.dtype;
        let begin = |out: &mut Out, axes: &[u32]| {
            for &a in axes {
                let (axis, extent) = (&self.writer.axes[a as usize], dim(self.section.axes[a as usize].extent));
                out.open(format!("for (idx {axis} = 0; {axis} < {extent}; ++{axis}) {{"));
            }
        };
        out.open("{");
        begin(out, &local.axes);
        out.line(format!("{} a = 0;", ctype(dtype)));
        begin(out, axes);
        let (lines, named) = self.writer.block(&[lhs, rhs], &Overrides::new());
        lines.iter().for_each(|l| out.line(l));
        let [l, r] = [lhs, rhs].map(|side| self.writer.text(side, &named, 0));
        out.line(format!("a = {};", scalar::multiply_add(self.writer.unit, dtype, &l, &r, "a")));
        axes.iter().for_each(|_| out.close());
        let place = self.writer.local(to, &self.position(&local.axes));
        out.line(format!("{place} = {};", self.writer.rounded(dtype, ("a".into(), 0)).0));
        local.axes.iter().for_each(|_| out.close());
        out.close();
    }

    /// The row-major position of the current indices of these axes.
    fn position(&self, axes: &[u32]) -> String {
        let names: Vec<&str> = axes.iter().map(|&a| self.writer.axes[a as usize].as_str()).collect();
        let extents: Vec<String> = axes.iter().map(|&a| dim(self.section.axes[a as usize].extent)).collect();
        row_major(&names, &extents)
    }

    /// The value of a store as it is kept, in a variable if other stores come before it.
    fn value(&self, out: &mut Out, k: usize, stores: &[Store], store: &Store, text: String) -> String {
        let (kept, dtype) = match &store.to {
            Target::Param { param, .. } => {
                let dtype = self.kernel.params[*param as usize].ty.dtype;
                (scalar::to_memory(self.writer.unit, dtype, text), scalar::storage(dtype))
            }
            Target::Local(l) => (text, ctype(self.section.locals[*l as usize].dtype)),
        };
        if stores.len() == 1 {
            return kept;
        }
        let name = format!("value{k}");
        out.line(format!("const {dtype} {name} = {kept};"));
        name
    }

    /// Whole vectors of points by one thread; if accesses are flat, the points behind the last vector one by one.
    fn vectors(&self, out: &mut Out, vector: u32, flat: bool) {
        let points = dim(self.plan.points);
        let step = super::THREADS * vector;
        out.open(format!("for (idx p = (block * 256 + threadIdx.x) * {vector}; p < {points}; p += blocks * {step}) {{"));
        let tail = flat && self.plan.points.rem(plan::i64_dim(vector)) != Dim::ZERO;
        if tail {
            out.open(format!("if (p + {vector} <= {points}) {{"));
        }
        let axes = self.axes_of_points();
        let axis = axes[axes.len() - 1];
        let first = self.first(axis);
        if !flat || axes.len() == 1 {
            self.decode(out, axes, "p", Some(&first));
        }
        self.lanes(out, &self.section.stages, axis, vector, &first, flat);
        if tail {
            out.close();
            out.open("else {");
            out.open(format!("for (; p < {points}; ++p) {{"));
            self.point(out);
            out.close();
            out.close();
        }
        out.close();
    }

    /// Stages at `vector` neighbouring indices of `axis`, the first of which is called `first`.
    pub fn lanes(&self, out: &mut Out, stages: &[Stage], axis: u32, vector: u32, first: &str, flat: bool) {
        let mut taken = self.writer.taken.clone();
        let position = self.axis_overrides(axis, first);
        let contiguous = |p: u32, index: &[ExprId]| match flat {
            true => plan::is_whole(self.kernel, self.section, p, index),
            false => {
                plan::lanes(self.section, index, &self.kernel.params[p as usize].ty.shape, axis, vector) == Lanes::Contiguous
            }
        };
        let pointer = |p: u32, index: &[ExprId]| {
            let shape = &self.kernel.params[p as usize].ty.shape;
            let offset = if flat { "p".into() } else { self.writer.offset(index, shape, &position) };
            format!("({} + {offset})", self.writer.params[p as usize])
        };
        let mut loaded = Overrides::new();
        let mut stored: Vec<(usize, usize, String, String)> = Vec::new();
        let roots: Vec<ExprId> = stages.iter().flat_map(Stage::roots).collect();
        for id in self.section.exprs.depth_first(&roots) {
            let node = self.section.exprs.get(id);
            let ScalarOp::Load(p) = node.op else { continue };
            if !contiguous(p, &node.args) || self.kernel.params[p as usize].access == Access::Write {
                continue;
            }
            let dtype = node.dtype;
            let (ty, name) = (self.vector_type(dtype, vector), self.vector_name(p, &mut taken));
            out.line(format!("const {ty} {name} = *(const {ty}*){};", pointer(p, &node.args)));
            loaded.insert(id, scalar::from_memory(self.writer.unit, dtype, format!("{name}.v[l]")));
        }
        for (s, stage) in stages.iter().enumerate() {
            let Stage::Map { stores, .. } = stage else { continue };
            for (k, store) in stores.iter().enumerate() {
                let Target::Param { param, index, .. } = &store.to else { continue };
                if contiguous(*param, index) {
                    let ty = self.vector_type(self.kernel.params[*param as usize].ty.dtype, vector);
                    let name = self.vector_name(*param, &mut taken);
                    out.line(format!("{ty} {name};"));
                    stored.push((s, k, name, format!("*({ty}*){}", pointer(*param, index))));
                }
            }
        }
        out.line("#pragma unroll");
        out.open(format!("for (int l = 0; l < {vector}; ++l) {{"));
        if !flat || self.section.parallel().count() == 1 {
            out.line(format!("const idx {} = {first} + l;", self.writer.axes[axis as usize]));
        }
        if self.plan.team == (Team::Thread { vector, flat }) {
            self.declare_locals(out);
        }
        for (s, stage) in stages.iter().enumerate() {
            let vectors = stored.iter().filter(|v| v.0 == s).map(|v| (v.1, v.2.clone())).collect();
            self.once(out, stage, &loaded, &vectors, None);
        }
        out.close();
        stored.iter().for_each(|(_, _, name, place)| out.line(format!("{place} = {name};")));
    }

    /// The name of the first of the indices that the lanes of a vector have.
    fn first(&self, axis: u32) -> String {
        scalar::identifier(&format!("{}0", self.writer.axes[axis as usize]), &mut self.writer.taken.clone())
    }

    /// The text of an axis outside the loop over its lanes.
    fn axis_overrides(&self, axis: u32, text: &str) -> Overrides {
        let exprs = &self.section.exprs;
        let node = (0..exprs.len() as u32).map(ExprId).find(|&e| exprs.get(e).op == ScalarOp::Axis(axis));
        node.map(|e| (e, text.to_owned())).into_iter().collect()
    }

    fn vector_type(&self, dtype: DType, vector: u32) -> String {
        self.writer.unit.borrow_mut().vectors.insert((dtype, vector));
        scalar::vector(dtype, vector)
    }

    fn vector_name(&self, param: u32, taken: &mut HashSet<String>) -> String {
        scalar::identifier(&format!("{}_v", self.writer.params[param as usize]), taken)
    }

    /// Points by teams of threads.
    fn team(&self, out: &mut Out) {
        let points = dim(self.plan.points);
        match self.plan.team {
            Team::Warps(1) => {
                out.line("const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;");
                self.shared_locals(out, "warp");
                out.open(format!("for (idx p = block * 8 + warp; p < {points}; p += blocks * 8) {{"));
            }
            Team::Warps(_) => {
                out.line("const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;");
                self.shared_locals(out, "0");
                out.open(format!("for (idx p = block; p < {points}; p += blocks) {{"));
            }
            _ => {
                out.line("const int column = threadIdx.x % 8, lane = threadIdx.x / 8;");
                self.shared_locals(out, "0");
                out.open(format!("for (idx o = block * 8; o < {points}; o += blocks * 8) {{"));
                out.line("const idx p = o + column;");
                out.line(format!("const bool active = p < {points};"));
            }
        }
        self.decode(out, self.axes_of_points(), "p", None);
        self.declare_locals(out);
        let last = self.section.stages.len() - 1;
        for (i, stage) in self.section.stages.iter().enumerate() {
            match stage {
                Stage::Reduce { kind, axes, body, to } => {
                    self.reduce_together(out, *kind, axes, *body, to);
                    // Shuffles wait for values, but order no accesses: a later stage may write over what was reduced.
                    if self.plan.team == Team::Warps(1) && i < last {
                        out.line(self.barrier());
                    }
                }
                _ => {
                    self.spread(out, stage);
                    if i < last || !self.section.locals.iter().all(|l| l.axes.is_empty()) {
                        out.line(self.barrier());
                    }
                }
            }
        }
        out.close();
    }

    /// What makes the threads of a team wait for each other and see each other's stores.
    pub fn barrier(&self) -> &'static str {
        if self.plan.team == Team::Warps(1) { "__syncwarp();" } else { "__syncthreads();" }
    }

    /// Pointers to locals with axes, which live in shared memory.
    fn shared_locals(&self, out: &mut Out, team: &str) {
        let with_axes = |l: &&Local| !l.axes.is_empty();
        if self.section.locals.iter().filter(with_axes).count() == 0 {
            return;
        }
        out.line("extern __shared__ __align__(16) unsigned char shared[];");
        let mut offset = Dim::ZERO;
        for (local, name) in self.section.locals.iter().zip(&self.writer.locals).filter(|(l, _)| !l.axes.is_empty()) {
            let ty = ctype(local.dtype);
            let own =
                if team == "0" { String::new() } else { format!(" + {team} * {}", dim(plan::extent(self.section, &local.axes))) };
            out.line(format!("{ty}* {name} = ({ty}*)(shared + {}){own};", dim(offset)));
            offset = offset + self.plan.local_bytes(self.section, local);
        }
    }

    /// A map or check stage, its indices spread over the lanes of a team; without axes, by one lane.
    fn spread(&self, out: &mut Out, stage: &Stage) {
        let axes = stage.axes();
        let (start, step) = match self.plan.team {
            Team::Warps(8) => ("threadIdx.x", 256),
            _ => ("lane", 32),
        };
        let active = if self.plan.team == Team::Column { "active" } else { "" };
        if axes.is_empty() {
            let one = format!("{start} == 0");
            let guarded = |condition: &str| match (active, condition) {
                ("", "") => "{".to_owned(),
                (_, "") => format!("if ({active}) {{"),
                ("", _) => format!("if ({condition}) {{"),
                _ => format!("if ({active} && {condition}) {{"),
            };
            // Every lane computes the locals; one lane stores to parameters, and none reads there what it has overwritten.
            let (all, alone, guard) = match self.parts(stage) {
                Some([locals, params]) => (locals, params, None),
                None => (Some(stage.clone()), None, Some(one.as_str())),
            };
            if let Some(stage) = &all {
                out.open(guarded(""));
                self.once(out, stage, &Overrides::new(), &HashMap::new(), guard);
                out.close();
            }
            if let Some(stage) = &alone {
                if all.is_some() {
                    out.line(self.barrier());
                }
                out.open(guarded(&one));
                self.once(out, stage, &Overrides::new(), &HashMap::new(), None);
                out.close();
            }
            return;
        }
        let count = plan::extent(self.section, axes);
        let condition = if active.is_empty() { String::new() } else { "active && ".to_owned() };
        let vector = self.stage_vector(stage, count);
        let scale = if vector > 1 { format!("{start} * {vector}") } else { start.to_owned() };
        out.open(format!("for (idx e = {scale}; {condition}e < {}; e += {}) {{", dim(count), step * vector));
        let axis = axes[axes.len() - 1];
        if vector > 1 {
            let first = self.first(axis);
            self.decode(out, axes.to_vec(), "e", Some(&first));
            self.lanes(out, std::slice::from_ref(stage), axis, vector, &first, false);
        } else {
            self.decode(out, axes.to_vec(), "e", None);
            self.once(out, stage, &Overrides::new(), &HashMap::new(), None);
        }
        out.close();
    }

    /// The stores of a stage to locals, and those to parameters; none if these are computed from locals that the stage replaces.
    fn parts(&self, stage: &Stage) -> Option<[Option<Stage>; 2]> {
        let Stage::Map { axes, stores } = stage else { return Some([None, Some(stage.clone())]) };
        let (locals, params): (Vec<Store>, Vec<Store>) = stores.iter().cloned().partition(|s| matches!(s.to, Target::Local(_)));
        let replaced = |op: ScalarOp| matches!(op, ScalarOp::Local(l) if locals.iter().any(|s| s.to == Target::Local(l)));
        let part = |stores: Vec<Store>| (!stores.is_empty()).then(|| Stage::Map { axes: axes.clone(), stores });
        let of_params = part(params.clone());
        let roots = of_params.as_ref().map(Stage::roots).unwrap_or_default();
        let depends = self.section.exprs.reachable(&roots).into_iter().any(|e| replaced(self.section.exprs.get(e).op));
        (!depends).then(|| [part(locals.clone()), of_params])
    }

    /// How many neighbouring indices a lane takes at once.
    fn stage_vector(&self, stage: &Stage, count: Dim) -> u32 {
        let axes = stage.axes();
        let axis = axes[axes.len() - 1];
        let accesses = plan::accesses(self.section, std::slice::from_ref(stage));
        let along = accesses.iter().filter(|a| a.1.last().is_some_and(|&l| self.section.exprs.get(l).op == ScalarOp::Axis(axis)));
        let vector = plan::vector_length(self.kernel, along.map(|a| a.0));
        let contiguous = |a: &(u32, &[ExprId], bool)| {
            plan::lanes(self.section, a.1, &self.kernel.params[a.0 as usize].ty.shape, axis, vector) == Lanes::Contiguous
        };
        let whole = self.section.axes[axis as usize].extent.rem(plan::i64_dim(vector)) == Dim::ZERO;
        let enough = count.at_least(Dim::constant(32 * i64::from(vector))) == Some(true);
        if whole && enough && self.plan.team != Team::Column && accesses.iter().any(contiguous) { vector } else { 1 }
    }
}

/// The row-major position of an index.
fn row_major(names: &[&str], extents: &[String]) -> String {
    let Some((first, rest)) = names.split_first() else { return "0".into() };
    rest.iter().zip(&extents[1..]).fold((*first).to_owned(), |sum, (name, extent)| {
        let sum = if sum.contains(' ') { format!("({sum})") } else { sum };
        format!("{sum} * {extent} + {name}")
    })
}

/// The lines of a function of scalars and its value; argument `i` is `ScalarOp::Local(i)`.
pub(super) fn straight_line(
    exprs: Exprs,
    names: &[&str],
    dtype: DType,
    result: ExprId,
    unit: &RefCell<Unit>,
) -> (Vec<String>, String) {
    let kernel = Kernel { name: String::new(), params: vec![], sections: vec![], locs: vec![] };
    let locals = names.iter().map(|n| Local { name: (*n).to_owned(), dtype, axes: vec![] }).collect();
    let section = Section { axes: vec![], locals, exprs, stages: vec![], schedule: vec![] };
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let ranges = ranges(&section, &[result]);
    let taken = names.iter().cloned().collect();
    let writer = Writer {
        kernel: &kernel,
        section: &section,
        unit,
        params: &[],
        axes: vec![],
        locals: names,
        interleave: "",
        ranges,
        short_index: false,
        taken,
    };
    let (lines, named) = writer.block(&[result], &Overrides::new());
    let value = writer.text(result, &named, 0);
    (lines, value)
}
