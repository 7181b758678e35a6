//! The kernel verifier: everything that the back ends, the interpreter and the text form rely on.

use super::{Access, AxisKind, Directive, Kernel, Section, Stage, Target, print};
use crate::dim::{Dim, Symbol};
use crate::error::{Error, Result};
use crate::op::ReduceKind;
use crate::scalar::{ExprId, MathFn, ScalarOp};
use crate::types::DType;
use std::collections::HashMap;
use std::fmt;

impl Kernel {
    /// Checks that the kernel is well formed.
    ///
    /// # Errors
    /// What is wrong first, with the section, stage or expression it is about.
    pub fn verify(&self) -> Result<()> {
        let whole = |e: Error| e.context(format!("kernel {}", self.name));
        self.verify_signature().map_err(whole)?;
        let mut written = vec![false; self.params.len()];
        for (i, section) in self.sections.iter().enumerate() {
            let mut checker = Checker { kernel: self, section, defined: vec![false; section.locals.len()], stored: vec![] };
            checker.section().map_err(|e| whole(if self.sections.len() > 1 { e.context(format!("section {i}")) } else { e }))?;
            checker.stored.into_iter().for_each(|p| written[p as usize] = true);
        }
        match self.writes().find(|(i, _)| !written[*i]) {
            Some((_, p)) => Err(whole(fail(format!("parameter {} is never written", p.name)))),
            None => Ok(()),
        }
    }

    fn verify_signature(&self) -> Result<()> {
        ensure(is_name(&self.name), || format!("{:?} cannot be a name", self.name))?;
        let mut names = Vec::new();
        for p in &self.params {
            distinct(&mut names, &p.name)?;
        }
        if self.params.windows(2).any(|w| w[0].access == Access::Write && w[1].access == Access::Read) {
            return Err(fail("parameters that are read come before those that are written"));
        }
        if self.sections.is_empty() {
            return Err(fail("there is no section"));
        }
        let mut symbols: HashMap<&str, Symbol> = HashMap::new();
        for s in self.symbols() {
            if *symbols.entry(s.name).or_insert(s) != s {
                return Err(fail(format!("symbol {} has two ranges", s.name)));
            }
        }
        let mut invalid = false;
        self.for_each_dim(|d: Dim| invalid |= d.is_invalid());
        ensure(!invalid, || "a dimension is invalid".into())
    }
}

fn fail(message: impl Into<String>) -> Error {
    Error::new(message)
}

fn ensure(holds: bool, message: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(fail(message())) }
}

/// Words of letters, digits and `_`, joined by dots, not starting with a digit: what the text form can carry.
fn is_name(text: &str) -> bool {
    let word = |w: &str| !w.is_empty() && w.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    text.split('.').all(word) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// A name that means nothing else inside a kernel.
fn name(text: &str) -> Result<()> {
    let literal = ["inf", "NaN"].iter().any(|p| text.strip_prefix(p).is_some_and(|d| DType::from_name(d).is_some()));
    ensure(is_name(text) && !literal && !print::RESERVED.contains(&text), || format!("{text:?} cannot be a name"))
}

fn distinct<'a>(names: &mut Vec<&'a str>, new: &'a str) -> Result<()> {
    name(new)?;
    ensure(!names.contains(&new), || format!("two things are called {new}"))?;
    names.push(new);
    Ok(())
}

struct Checker<'a> {
    kernel: &'a Kernel,
    section: &'a Section,
    defined: Vec<bool>,
    stored: Vec<u32>,
}

impl Checker<'_> {
    fn section(&mut self) -> Result<()> {
        let section = self.section;
        let mut names: Vec<&str> = self.kernel.params.iter().map(|p| p.name.as_str()).collect();
        for new in section.axes.iter().map(|a| &a.name).chain(section.locals.iter().map(|l| &l.name)) {
            distinct(&mut names, new)?;
        }
        for local in &section.locals {
            self.serial(&local.axes).map_err(|e| e.context(format!("local {}", local.name)))?;
        }
        ensure(!section.stages.is_empty(), || "there is no stage".into())?;
        for (i, stage) in section.stages.iter().enumerate() {
            self.stage(stage).map_err(|e| e.context(format!("stage {i}")))?;
        }
        for (local, defined) in section.locals.iter().zip(&self.defined) {
            ensure(*defined, || format!("local {} is never set", local.name))?;
        }
        self.schedule().map_err(|e| e.context("schedule"))
    }

    fn axis(&self, a: u32) -> Result<&super::Axis> {
        self.section.axes.get(a as usize).ok_or_else(|| fail(format!("there is no axis {a}")))
    }

    /// Distinct serial axes.
    fn serial(&self, axes: &[u32]) -> Result<()> {
        for (i, &a) in axes.iter().enumerate() {
            let axis = self.axis(a)?;
            ensure(axis.kind == AxisKind::Serial, || format!("axis {} is parallel, it cannot be looped over", axis.name))?;
            ensure(!axes[..i].contains(&a), || format!("axis {} is looped over twice", axis.name))?;
        }
        Ok(())
    }

    fn stage(&mut self, stage: &Stage) -> Result<()> {
        self.serial(stage.axes())?;
        let scope: Vec<u32> = self.section.parallel().chain(stage.axes().iter().copied()).collect();
        match stage {
            Stage::Map { axes, stores } => self.map(axes, stores, &scope),
            Stage::Reduce { kind, body, to, .. } => {
                let element = self.expression(*body, &scope)?;
                ensure(reducible(*kind, element), || format!("{} of {element} is not defined", kind.name()))?;
                let result = match kind {
                    ReduceKind::ArgMax | ReduceKind::ArgMin => DType::I64,
                    _ => element,
                };
                ensure(to.len() == kind.results(), || {
                    format!("{} has {} results, {} are named", kind.name(), kind.results(), to.len())
                })?;
                to.iter().try_for_each(|&l| self.define(l, result, &[]))
            }
            Stage::Dot { batch, m, n, lhs, rhs, to, .. } => {
                let own = self.section.locals.get(*to as usize).map_or(&[][..], |l| &l.axes);
                if let Some(&both) = own.iter().find(|a| scope.contains(a)) {
                    let name = &self.axis(both)?.name;
                    return Err(fail(format!("axis {name} is contracted and of the result")));
                }
                let scope: Vec<u32> = scope.iter().chain(own).copied().collect();
                let mut roles: Vec<u32> = batch.iter().chain(m).chain(n).copied().collect();
                let mut axes: Vec<u32> = self.section.parallel().chain(own.iter().copied()).collect();
                roles.sort_unstable();
                axes.sort_unstable();
                ensure(roles == axes, || "each axis of the result has one role in a dot: batch, m or n".into())?;
                let side = |other: &[u32]| scope.iter().copied().filter(|a| !other.contains(a)).collect::<Vec<u32>>();
                let left = self.expression(*lhs, &side(n)).map_err(|e| e.context("left side"))?;
                let right = self.expression(*rhs, &side(m)).map_err(|e| e.context("right side"))?;
                ensure(left == right, || format!("the sides of a dot are {left} and {right}"))?;
                ensure(left != DType::Bool, || "a dot of bool is not defined".into())?;
                self.define(*to, left, own)
            }
            Stage::Check { ok, value, .. } => {
                let ok = self.expression(*ok, &scope)?;
                ensure(ok == DType::Bool, || format!("the condition is {ok}, not bool"))?;
                let value = self.expression(*value, &scope)?;
                ensure(value == DType::I64, || format!("the reported number is {value}, not i64"))
            }
        }
    }

    fn map(&mut self, axes: &[u32], stores: &[super::Store], scope: &[u32]) -> Result<()> {
        ensure(!stores.is_empty(), || "a map stores nothing".into())?;
        // Stores of one stage do not see each other, so definitions take effect at its end.
        let mut types = Vec::new();
        for store in stores {
            types.push(self.expression(store.value, scope)?);
            if let Target::Param { index, .. } = &store.to {
                self.index(index, scope)?;
            }
        }
        for (store, ty) in stores.iter().zip(types) {
            match &store.to {
                Target::Local(l) => self.define(*l, ty, axes)?,
                Target::Param { param, index, combine } => {
                    let p =
                        self.kernel.params.get(*param as usize).ok_or_else(|| fail(format!("there is no parameter {param}")))?;
                    ensure(p.access == Access::Write, || format!("parameter {} is stored to but only read", p.name))?;
                    ensure(index.len() == p.ty.rank(), || rank_message(&p.name, p.ty.rank(), index.len()))?;
                    ensure(p.ty.dtype == ty, || format!("{ty} is stored to {}, which is {}", p.name, p.ty.dtype))?;
                    if let Some(kind) = combine {
                        let scalar = kind.results() == 1 && !matches!(kind, ReduceKind::ArgMax | ReduceKind::ArgMin);
                        ensure(scalar && reducible(*kind, ty), || format!("{} does not combine {ty}", kind.name()))?;
                    }
                    self.stored.push(*param);
                }
            }
        }
        Ok(())
    }

    fn define(&mut self, local: u32, dtype: DType, axes: &[u32]) -> Result<()> {
        let l = self.section.locals.get(local as usize).ok_or_else(|| fail(format!("there is no local {local}")))?;
        ensure(l.dtype == dtype, || format!("local {} is {}, its value {dtype}", l.name, l.dtype))?;
        ensure(l.axes == axes, || format!("local {} has other axes than the stage that sets it", l.name))?;
        let again = std::mem::replace(&mut self.defined[local as usize], true);
        ensure(!again, || format!("local {} is set twice", l.name))
    }

    /// Indices are `i64`.
    fn index(&self, index: &[ExprId], scope: &[u32]) -> Result<()> {
        for &i in index {
            let ty = self.expression(i, scope)?;
            ensure(ty == DType::I64, || format!("an index is {ty}, not i64"))?;
        }
        Ok(())
    }

    /// Checks everything below `root` and gives its type.
    fn expression(&self, root: ExprId, scope: &[u32]) -> Result<DType> {
        let exprs = &self.section.exprs;
        ensure((root.0 as usize) < exprs.len(), || format!("there is no expression {root:?}"))?;
        for id in exprs.reachable(&[root]) {
            let node = exprs.get(id);
            let args: Vec<DType> = node.args.iter().map(|&a| exprs.dtype(a)).collect();
            let ty = self.node(node.op, &args, node.dtype, scope)?;
            ensure(ty == node.dtype, || format!("{:?} of {args:?} is {ty}, it is recorded as {}", node.op, node.dtype))?;
        }
        Ok(exprs.dtype(root))
    }

    fn node(&self, op: ScalarOp, args: &[DType], recorded: DType, scope: &[u32]) -> Result<DType> {
        let wrong = || fail(format!("{op:?} of {args:?} is not defined"));
        let number = |d: DType| d != DType::Bool;
        let integral = |d: DType| !d.is_float();
        let same = |ok: fn(DType) -> bool| match args {
            [first, rest @ ..] if ok(*first) && rest.iter().all(|r| r == first) => Ok(*first),
            _ => Err(wrong()),
        };
        let arity = |n: usize| if args.len() == n { Ok(()) } else { Err(wrong()) };
        match op {
            ScalarOp::Literal(l) => arity(0).map(|()| l.dtype()),
            ScalarOp::Extent(_) => arity(0).map(|()| DType::I64),
            ScalarOp::Axis(a) => {
                arity(0)?;
                let axis = self.axis(a)?;
                ensure(scope.contains(&a), || format!("axis {} has no value here", axis.name))?;
                Ok(DType::I64)
            }
            ScalarOp::Load(p) => {
                let param = self.kernel.params.get(p as usize).ok_or_else(|| fail(format!("there is no parameter {p}")))?;
                ensure(args.len() == param.ty.rank(), || rank_message(&param.name, param.ty.rank(), args.len()))?;
                ensure(args.iter().all(|&a| a == DType::I64), || format!("an index of {} is not i64", param.name))?;
                ensure(param.access == Access::Read || self.stored.contains(&p), || {
                    format!("parameter {} is loaded before it is stored", param.name)
                })?;
                Ok(param.ty.dtype)
            }
            ScalarOp::Local(l) => {
                let local = self.section.locals.get(l as usize).ok_or_else(|| fail(format!("there is no local {l}")))?;
                ensure(args.len() == local.axes.len(), || rank_message(&local.name, local.axes.len(), args.len()))?;
                ensure(args.iter().all(|&a| a == DType::I64), || format!("an index of {} is not i64", local.name))?;
                ensure(self.defined[l as usize], || format!("local {} is used before it is set", local.name))?;
                Ok(local.dtype)
            }
            ScalarOp::Math(f) => arity(if f == MathFn::Pow { 2 } else { 1 }).and_then(|()| same(DType::is_float)),
            ScalarOp::Neg | ScalarOp::Abs => arity(1).and_then(|()| same(number)),
            ScalarOp::Sqrt | ScalarOp::Floor | ScalarOp::Ceil | ScalarOp::Round | ScalarOp::Trunc => {
                arity(1).and_then(|()| same(DType::is_float))
            }
            ScalarOp::Not => arity(1).and_then(|()| same(integral)),
            ScalarOp::Add | ScalarOp::Sub | ScalarOp::Mul | ScalarOp::Div | ScalarOp::Rem => arity(2).and_then(|()| same(number)),
            ScalarOp::Min | ScalarOp::Max => arity(2).and_then(|()| same(|_| true)),
            ScalarOp::And | ScalarOp::Or | ScalarOp::Xor => arity(2).and_then(|()| same(integral)),
            ScalarOp::Shl | ScalarOp::Shr => arity(2).and_then(|()| same(DType::is_int)),
            ScalarOp::MulHi => arity(2).and_then(|()| same(|d| d == DType::U32)),
            ScalarOp::Fma => arity(3).and_then(|()| same(DType::is_float)),
            ScalarOp::Compare(_) => arity(2).and_then(|()| same(|_| true)).map(|_| DType::Bool),
            ScalarOp::Select => match args {
                [DType::Bool, a, b] if a == b => Ok(*a),
                _ => Err(wrong()),
            },
            ScalarOp::Cast => arity(1).map(|()| recorded),
            ScalarOp::Bitcast => match args {
                [a] if a.size() == recorded.size() && number(*a) && number(recorded) => Ok(recorded),
                _ => Err(wrong()),
            },
        }
    }

    fn schedule(&self) -> Result<()> {
        let schedule = &self.section.schedule;
        ensure(schedule.is_sorted_by(|a, b| a < b), || "directives are sorted, each once".into())?;
        let dot = self.section.stages.iter().find_map(|s| match s {
            Stage::Dot { axes, .. } => Some(axes),
            _ => None,
        });
        for directive in schedule {
            match *directive {
                Directive::Bind(a) => {
                    let axis = self.axis(a)?;
                    ensure(axis.kind == AxisKind::Parallel, || format!("bind({}): the axis is serial", axis.name))?;
                }
                Directive::Vec(a, n) | Directive::Tile(a, n) | Directive::Split(a, n) => {
                    let axis = self.axis(a)?;
                    ensure(n > 0, || format!("a count of zero for axis {}", axis.name))?;
                    if let (Directive::Split(..), Some(contracted)) = (directive, dot) {
                        ensure(contracted.contains(&a), || format!("split({}): the axis is not contracted", axis.name))?;
                    }
                }
                Directive::Unroll(n) => ensure(n > 0, || "unroll(0)".into())?,
                Directive::PackLhs | Directive::PackRhs => {}
            }
            let only_dots =
                matches!(directive, Directive::Tile(..) | Directive::Split(..) | Directive::PackLhs | Directive::PackRhs);
            ensure(!only_dots || dot.is_some(), || format!("{directive:?} without a dot"))?;
        }
        Ok(())
    }
}

fn rank_message(name: &str, rank: usize, given: impl fmt::Display) -> String {
    format!("{name} has {rank} axes, {given} indices are given")
}

/// Whether elements of this type can be reduced that way.
fn reducible(kind: ReduceKind, dtype: DType) -> bool {
    match kind {
        ReduceKind::Sum | ReduceKind::Prod => dtype != DType::Bool,
        ReduceKind::Max | ReduceKind::Min | ReduceKind::ArgMax | ReduceKind::ArgMin => true,
        ReduceKind::And | ReduceKind::Or => !dtype.is_float(),
        ReduceKind::OnlineSoftmax | ReduceKind::Welford => dtype.is_float(),
    }
}
