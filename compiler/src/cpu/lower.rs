//! From the stages of a section to passes: mathematical functions expanded, compound reductions cut into simple ones,
//! neighbouring maps over the same axes merged.

use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Axis, Local, Section, Stage, Store, Target};

use igneous_ir::math;
use igneous_ir::op::ReduceKind;
use igneous_ir::scalar::{ExprId, Exprs, MathFn, S, ScalarOp};
use igneous_ir::types::{DType, Literal};
use smallvec::SmallVec;
use std::cell::RefCell;

/// A section in a form that code is generated from.
pub(super) struct Lowered {
    pub axes: Vec<Axis>,
    pub locals: Vec<Local>,
    pub exprs: Exprs,
    pub passes: Vec<Pass>,
}

/// One loop nest over serial axes.
#[derive(Clone, Debug)]
pub(super) enum Pass {
    /// Computes values and stores them.
    Map { axes: Vec<u32>, stores: Vec<Store> },
    /// Combines elements by the reduction tree, and stores them to the local `keep`. The kind has one result and a tree.
    Fold { kind: ReduceKind, axes: Vec<u32>, body: ExprId, to: u32, keep: Option<u32> },
    /// The position of the first element that equals `extremum`, or is NaN if that is; 0 if there is none.
    Find { axes: Vec<u32>, body: ExprId, extremum: ExprId, to: u32 },
    /// Reports the first index at which `ok` is false.
    Check { axes: Vec<u32>, ok: ExprId, value: ExprId, code: u32 },
    /// Computes a value once per point; the code around it knows where it goes.
    Element { body: ExprId },
}

impl Pass {
    /// The serial axes, outermost first.
    pub fn axes(&self) -> &[u32] {
        match self {
            Pass::Map { axes, .. } | Pass::Fold { axes, .. } | Pass::Find { axes, .. } | Pass::Check { axes, .. } => axes,
            Pass::Element { .. } => &[],
        }
    }

    /// The values that are computed at each index, without the indices of stores.
    pub fn roots(&self) -> Vec<ExprId> {
        match self {
            Pass::Map { stores, .. } => stores.iter().map(|s| s.value).collect(),
            Pass::Fold { body, .. } | Pass::Element { body } => vec![*body],
            Pass::Find { body, extremum, .. } => vec![*body, *extremum],
            Pass::Check { ok, value, .. } => vec![*ok, *value],
        }
    }
}

/// Builds [`Lowered`] from expressions of another arena.
pub(super) struct Lowering<'a> {
    source: &'a Exprs,
    result: Lowered,
    /// What each source expression became.
    map: Vec<Option<ExprId>>,
    /// Locals whose value at the current index is known: set by the map that is being merged into.
    inlined: Vec<Option<ExprId>>,
}

impl<'a> Lowering<'a> {
    pub fn new(section: &'a Section) -> Lowering<'a> {
        let mut exprs = Exprs::default();
        exprs.axes = section.axes.iter().map(|a| a.extent).collect();
        let result = Lowered { axes: section.axes.clone(), locals: section.locals.clone(), exprs, passes: Vec::new() };
        Lowering {
            source: &section.exprs,
            result,
            map: vec![None; section.exprs.len()],
            inlined: vec![None; section.locals.len()],
        }
    }

    /// Lowers all `stages`.
    pub fn stages(mut self, stages: &[Stage]) -> Lowered {
        stages.iter().for_each(|s| self.stage(s));
        self.result.drop_unread_locals();
        self.result
    }

    /// Lowers to the value of one expression.
    pub fn element(mut self, id: ExprId) -> Lowered {
        let body = self.expr(id);
        self.result.passes.push(Pass::Element { body });
        self.result
    }

    fn stage(&mut self, stage: &Stage) {
        let merges = match self.result.passes.last() {
            Some(Pass::Map { axes, stores }) => self.merges(stage, axes, stores),
            _ => false,
        };
        if !merges {
            self.inlined.fill(None);
        }
        self.map.fill(None);
        let pass = match stage {
            Stage::Map { axes, stores } => {
                let stores: Vec<Store> = stores.iter().map(|s| self.store(s)).collect();
                for store in &stores {
                    if let Target::Local(l) = store.to {
                        self.inlined[l as usize] = Some(store.value);
                    }
                }
                if merges && let Some(Pass::Map { stores: merged, .. }) = self.result.passes.last_mut() {
                    merged.extend(stores);
                    return;
                }
                Pass::Map { axes: axes.clone(), stores }
            }
            Stage::Reduce { kind, axes, body, to } => {
                let body = self.expr(*body);
                return self.reduce(*kind, axes, body, to);
            }
            Stage::Dot { axes, lhs, rhs, to, .. } => {
                // A dot that the library cannot do: a sum like any other.
                let (lhs, rhs) = (self.expr(*lhs), self.expr(*rhs));
                let dtype = self.result.exprs.dtype(lhs);
                let product = self.result.exprs.add(ScalarOp::Mul, &[lhs, rhs], dtype);
                Pass::Fold { kind: ReduceKind::Sum, axes: axes.clone(), body: product, to: *to, keep: None }
            }
            Stage::Check { axes, ok, value, code } => {
                Pass::Check { axes: axes.clone(), ok: self.expr(*ok), value: self.expr(*value), code: *code }
            }
        };
        self.result.passes.push(pass);
    }

    /// Whether `stage` may do its work for an index right after the map of `stores` over `axes` has: it touches no
    /// parameter that the map writes, and of the map's locals only the elements at that index.
    fn merges(&self, stage: &Stage, axes: &[u32], stores: &[Store]) -> bool {
        let Stage::Map { axes: own_axes, stores: own_stores } = stage else { return false };
        let written = |p: u32| stores.iter().any(|s| matches!(s.to, Target::Param { param, .. } if param == p));
        let made = |l: u32| stores.iter().any(|s| s.to == Target::Local(l));
        let stores_apart = |s: &Store| match s.to {
            Target::Param { param, .. } => !written(param),
            Target::Local(l) => !made(l),
        };
        let here = |args: &[ExprId]| {
            args.len() == axes.len() && args.iter().zip(axes).all(|(&id, &a)| self.source.get(id).op == ScalarOp::Axis(a))
        };
        let reads_apart = |id: ExprId| match self.source.get(id).op {
            ScalarOp::Load(p) => !written(p),
            ScalarOp::Local(l) => !made(l) || here(&self.source.get(id).args),
            _ => true,
        };
        own_axes == axes
            && own_stores.iter().all(stores_apart)
            && self.source.reachable(&stage.roots()).into_iter().all(reads_apart)
    }

    fn store(&mut self, store: &Store) -> Store {
        let to = match &store.to {
            Target::Param { param, index, combine } => {
                let index = index.iter().map(|&i| self.expr(i)).collect();
                Target::Param { param: *param, index, combine: *combine }
            }
            Target::Local(l) => Target::Local(*l),
        };
        Store { value: self.expr(store.value), to }
    }

    /// The same expression in the result's arena.
    fn expr(&mut self, id: ExprId) -> ExprId {
        for id in self.source.reachable(&[id]) {
            if self.map[id.0 as usize].is_some() {
                continue;
            }
            let node = self.source.get(id);
            let args: Vec<ExprId> =
                node.args.iter().map(|a| self.map[a.0 as usize].expect("arguments precede their users")).collect();
            let exprs = &mut self.result.exprs;
            let new = match node.op {
                ScalarOp::Math(f) => expand(exprs, f, &args),
                ScalarOp::Local(l) => match self.inlined[l as usize] {
                    Some(value) => value,
                    None => exprs.raw(node.op, &args, node.dtype),
                },
                op => exprs.add(op, &args, node.dtype),
            };
            self.map[id.0 as usize] = Some(new);
        }
        self.map[id.0 as usize].expect("just made")
    }

    fn local(&mut self, dtype: DType) -> u32 {
        self.result.locals.push(Local { name: String::new(), dtype, axes: Vec::new() });
        self.inlined.push(None);
        self.result.locals.len() as u32 - 1
    }

    fn reduce(&mut self, kind: ReduceKind, axes: &[u32], body: ExprId, to: &[u32]) {
        let dtype = self.result.exprs.dtype(body);
        let fold = |kind, body, to| Pass::Fold { kind, axes: axes.to_vec(), body, to, keep: None };
        match kind {
            ReduceKind::Welford => {
                let sum = self.local(dtype);
                let count: Dim = axes.iter().map(|&a| self.result.axes[a as usize].extent).product();
                let exprs = &mut self.result.exprs;
                let total = exprs.raw(ScalarOp::Local(sum), &[], dtype);
                let n = match count.as_const() {
                    Some(n) => exprs.constant(Literal::int(dtype, n)),
                    None => {
                        let n = exprs.extent(count);
                        exprs.add(ScalarOp::Cast, &[n], dtype)
                    }
                };
                let quotient = exprs.raw(ScalarOp::Div, &[total, n], dtype);
                let mean = exprs.raw(ScalarOp::Local(to[0]), &[], dtype);
                let difference = exprs.add(ScalarOp::Sub, &[body, mean], dtype);
                let square = exprs.raw(ScalarOp::Mul, &[difference, difference], dtype);
                let set_mean = Store { value: quotient, to: Target::Local(to[0]) };
                self.result.passes.extend([
                    fold(ReduceKind::Sum, body, sum),
                    Pass::Map { axes: Vec::new(), stores: vec![set_mean] },
                    fold(ReduceKind::Sum, square, to[1]),
                ]);
            }
            ReduceKind::OnlineSoftmax => {
                let exprs = &mut self.result.exprs;
                let max = exprs.raw(ScalarOp::Local(to[0]), &[], dtype);
                let difference = exprs.add(ScalarOp::Sub, &[body, max], dtype);
                let power = expand(exprs, MathFn::Exp, &[difference]);
                self.result.passes.extend([fold(ReduceKind::Max, body, to[0]), fold(ReduceKind::Sum, power, to[1])]);
            }
            ReduceKind::ArgMax | ReduceKind::ArgMin => {
                let extremum = self.local(dtype);
                let value = self.result.exprs.raw(ScalarOp::Local(extremum), &[], dtype);
                let simple = if kind == ReduceKind::ArgMax { ReduceKind::Max } else { ReduceKind::Min };
                self.result
                    .passes
                    .extend([fold(simple, body, extremum), Pass::Find { axes: axes.to_vec(), body, extremum: value, to: to[0] }]);
            }
            _ => self.result.passes.push(fold(kind, body, to[0])),
        }
    }
}

impl Lowered {
    /// Stores to locals that merging left without a reader are dropped.
    fn drop_unread_locals(&mut self) {
        let mut read = vec![false; self.locals.len()];
        for pass in &self.passes {
            let mut roots = pass.roots();
            if let Pass::Map { stores, .. } = pass {
                for store in stores {
                    if let Target::Param { index, .. } = &store.to {
                        roots.extend(index);
                    }
                }
            }
            for id in self.exprs.reachable(&roots) {
                if let ScalarOp::Local(l) = self.exprs.get(id).op {
                    read[l as usize] = true;
                }
            }
        }
        for pass in &mut self.passes {
            if let Pass::Map { stores, .. } = pass {
                stores.retain(|s| !matches!(s.to, Target::Local(l) if !read[l as usize]));
            }
        }
        self.passes.retain(|p| !matches!(p, Pass::Map { stores, .. } if stores.is_empty()));
    }
}

/// The operation that combines two elements.
pub(super) fn combiner(kind: ReduceKind) -> ScalarOp {
    match kind {
        ReduceKind::Sum | ReduceKind::Welford => ScalarOp::Add,
        ReduceKind::Prod => ScalarOp::Mul,
        ReduceKind::Max | ReduceKind::ArgMax | ReduceKind::OnlineSoftmax => ScalarOp::Max,
        ReduceKind::Min | ReduceKind::ArgMin => ScalarOp::Min,
        ReduceKind::And => ScalarOp::And,
        ReduceKind::Or => ScalarOp::Or,
    }
}

/// A number `e` with `e ∘ x = x` for every `x`, to the bit: accumulators may start with it instead of an element.
pub(super) fn neutral(kind: ReduceKind, dtype: DType) -> Literal {
    match kind {
        // 0 + -0 is 0, but -0 + x is x.
        ReduceKind::Sum if dtype.is_float() => Literal::float(dtype, -0.0),
        _ => identity(kind, dtype),
    }
}

/// The value of a reduction of nothing.
pub(super) fn identity(kind: ReduceKind, dtype: DType) -> Literal {
    let extreme = |largest: bool| match dtype {
        d if d.is_float() => Literal::float(d, if largest { f64::INFINITY } else { f64::NEG_INFINITY }),
        _ => Literal::int(dtype, if largest { dtype.int_limits().1 } else { dtype.int_limits().0 }),
    };
    match kind {
        ReduceKind::Sum | ReduceKind::Welford | ReduceKind::Or => Literal::int(dtype, 0),
        ReduceKind::Prod => Literal::int(dtype, 1),
        ReduceKind::Max | ReduceKind::ArgMax | ReduceKind::OnlineSoftmax => extreme(false),
        ReduceKind::Min | ReduceKind::ArgMin => extreme(true),
        ReduceKind::And => Literal::int(dtype, -1),
    }
}

/// The definition of a mathematical function, added to `exprs`.
fn expand(exprs: &mut Exprs, f: MathFn, args: &[ExprId]) -> ExprId {
    let arena = RefCell::new(std::mem::take(exprs));
    let id = {
        let args: SmallVec<[S; 2]> = args.iter().map(|&a| S::of(&arena, a)).collect();
        math::define(f, &args).id
    };
    *exprs = arena.into_inner();
    id
}
