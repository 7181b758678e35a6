//! The canonical text of kernels. Equal kernels give equal bytes, and [`Kernel::parse`] reads them back.
//!
//! Expressions are infix mathematics with Rust's precedence. A subexpression that occurs more than once in a
//! block becomes a `let` line, and so does one that would make a line too long (see [`Exprs::shared`]): text is linear
//! in the size of the expression graph, and recursion is shallow. A literal carries its type only where neither its
//! neighbours nor its place give it.

use super::{AxisKind, Directive, Kernel, Section, Stage, Store, Target};
use crate::dim::{Dim, Symbol};
use crate::op::ReduceKind;
use crate::scalar::{Compare, ExprId, MathFn, ScalarOp};
use crate::types::DType;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt::{self, Write};

/// Words that cannot name a parameter, an axis or a local.
pub(super) const RESERVED: [&str; 14] =
    ["axes", "check", "dims", "dot", "false", "inf", "kernel", "let", "map", "NaN", "reduce", "schedule", "section", "true"];

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Printer { kernel: self, anonymous: false }.print())
    }
}

impl Kernel {
    /// The text with neutral names and no source lines. Two kernels with equal structure compute the same thing
    /// from parameters in the same positions, and can share code.
    pub fn structure(&self) -> String {
        Printer { kernel: self, anonymous: true }.print()
    }

    /// The symbols that extents and expressions depend on, in order of first occurrence.
    pub fn symbols(&self) -> Vec<Symbol> {
        let mut symbols = Vec::new();
        self.for_each_dim(|d| d.collect_symbols(&mut symbols));
        symbols
    }

    /// Calls `visit` with every dimension that the kernel's meaning depends on.
    pub(super) fn for_each_dim(&self, mut visit: impl FnMut(Dim)) {
        self.params.iter().flat_map(|p| &p.ty.shape).for_each(|&d| visit(d));
        for section in &self.sections {
            section.axes.iter().for_each(|a| visit(a.extent));
            let roots: Vec<ExprId> = section.stages.iter().flat_map(Stage::roots).collect();
            for id in section.exprs.depth_first(&roots) {
                if let ScalarOp::Extent(d) = section.exprs.get(id).op {
                    visit(d);
                }
            }
        }
    }
}

struct Printer<'a> {
    kernel: &'a Kernel,
    anonymous: bool,
}

/// What is known while the lines of one section are printed.
struct Scope<'a> {
    printer: &'a Printer<'a>,
    section: &'a Section,
    indent: &'static str,
}

/// The lets of one block of expressions.
struct Block<'a> {
    scope: &'a Scope<'a>,
    order: Vec<ExprId>,
    names: HashMap<ExprId, String>,
}

impl Printer<'_> {
    fn print(&self) -> String {
        let mut out = String::new();
        self.write(&mut out).expect("writing to a string succeeds");
        out
    }

    fn param(&self, i: u32) -> Cow<'_, str> {
        match self.kernel.params.get(i as usize) {
            Some(p) if !self.anonymous => p.name.as_str().into(),
            _ => format!("p{i}").into(),
        }
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let kernel = self.kernel;
        write!(out, "kernel {}(", if self.anonymous { "_" } else { &kernel.name })?;
        for (n, (i, p)) in kernel.reads().enumerate() {
            write!(out, "{}{}: {}", if n > 0 { ", " } else { "" }, self.param(i as u32), p.ty)?;
        }
        out.push_str(") -> (");
        for (n, (i, p)) in kernel.writes().enumerate() {
            write!(out, "{}{}: {}", if n > 0 { ", " } else { "" }, self.param(i as u32), p.ty)?;
        }
        out.push(')');
        if !self.anonymous {
            for (i, loc) in kernel.locs.iter().enumerate() {
                write!(out, "{}{loc}", if i == 0 { "  // " } else { ", " })?;
            }
        }
        for (i, s) in kernel.symbols().iter().enumerate() {
            write!(out, "{}{}: {}..={}", if i == 0 { "\n  dims " } else { ", " }, s.name, s.lo, s.hi)?;
        }
        out.push('\n');
        for section in &kernel.sections {
            let several = kernel.sections.len() > 1;
            out.push_str(if several { "  section\n" } else { "" });
            Scope { printer: self, section, indent: if several { "    " } else { "  " } }.write(out)?;
        }
        Ok(())
    }
}

impl<'a> Scope<'a> {
    fn axis(&self, i: u32) -> Cow<'_, str> {
        match self.section.axes.get(i as usize) {
            Some(a) if !self.printer.anonymous => a.name.as_str().into(),
            _ => format!("a{i}").into(),
        }
    }

    fn local(&self, i: u32) -> Cow<'_, str> {
        match self.section.locals.get(i as usize) {
            Some(l) if !self.printer.anonymous => l.name.as_str().into(),
            _ => format!("v{i}").into(),
        }
    }

    fn list(&self, axes: &[u32], separator: &str) -> String {
        axes.iter().map(|&a| self.axis(a)).collect::<Vec<_>>().join(separator)
    }

    /// The names of the axes of a stage, each with a space behind it.
    fn loops(&self, axes: &[u32]) -> String {
        axes.iter().map(|&a| format!("{} ", self.axis(a))).collect()
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        let section = self.section;
        for (i, axis) in section.axes.iter().enumerate() {
            let kind = match axis.kind {
                AxisKind::Parallel => "par",
                AxisKind::Serial => "ser",
            };
            out.push_str(if i == 0 { self.indent } else { "" });
            write!(out, "{}{}: {kind} {}", if i == 0 { "axes " } else { ", " }, self.axis(i as u32), axis.extent)?;
        }
        out.push_str(if section.axes.is_empty() { "" } else { "\n" });
        for stage in &section.stages {
            out.push_str(self.indent);
            self.stage(out, stage)?;
            out.push('\n');
        }
        for (i, directive) in section.schedule.iter().enumerate() {
            out.push_str(if i == 0 { self.indent } else { "" });
            out.push_str(if i == 0 { "schedule " } else { " " });
            match directive {
                Directive::Bind(a) => write!(out, "bind({}, core)", self.axis(*a))?,
                Directive::Vec(a, n) => write!(out, "vec({}, {n})", self.axis(*a))?,
                Directive::Unroll(n) => write!(out, "unroll({n})")?,
                Directive::Tile(a, n) => write!(out, "tile({}, {n})", self.axis(*a))?,
                Directive::Split(a, n) => write!(out, "split({}, {n})", self.axis(*a))?,
                Directive::PackLhs => out.push_str("pack(lhs)"),
                Directive::PackRhs => out.push_str("pack(rhs)"),
            }
        }
        out.push_str(if section.schedule.is_empty() { "" } else { "\n" });
        Ok(())
    }

    fn stage(&self, out: &mut String, stage: &Stage) -> fmt::Result {
        match stage {
            Stage::Map { axes, stores } => {
                let block = Block::new(self, &stage.roots());
                let lines: Vec<String> = stores.iter().map(|s| block.store(axes, s)).collect();
                if let ([line], [], []) = (lines.as_slice(), axes.as_slice(), block.order.as_slice()) {
                    out.push_str(line);
                    return Ok(());
                }
                write!(out, "map {}", self.loops(axes))?;
                block.braces(out, &lines)
            }
            Stage::Reduce { kind, axes, body, to } => {
                let to: Vec<_> = to.iter().map(|&l| self.local(l)).collect();
                write!(out, "{} = reduce {} {}", to.join(", "), kind.name(), self.loops(axes))?;
                self.value(out, *body)
            }
            Stage::Dot { batch, m, n, axes, lhs, rhs, to } => {
                let own = &self.section.locals[*to as usize].axes;
                let index = if own.is_empty() { String::new() } else { format!("[{}]", self.list(own, ", ")) };
                write!(out, "{}{index} = dot {}", self.local(*to), self.loops(axes))?;
                for (role, axes) in [("batch", batch), ("m", m), ("n", n)] {
                    if !axes.is_empty() {
                        write!(out, "{role}({}) ", self.list(axes, ", "))?;
                    }
                }
                self.value(out, *lhs)?;
                out.push(' ');
                self.value(out, *rhs)
            }
            Stage::Check { axes, ok, value, code } => {
                write!(out, "check {code} {}", self.loops(axes))?;
                self.value(out, *ok)?;
                out.push(' ');
                self.value(out, *value)
            }
        }
    }

    /// `{ value }`
    fn value(&self, out: &mut String, value: ExprId) -> fmt::Result {
        let block = Block::new(self, &[value]);
        let mut line = String::new();
        block.expr(&mut line, value, None, 0);
        block.braces(out, &[line])
    }
}

impl<'a> Block<'a> {
    fn new(scope: &'a Scope<'a>, roots: &[ExprId]) -> Block<'a> {
        let exprs = &scope.section.exprs;
        let order = exprs.shared(roots);
        let mut taken: BTreeSet<Cow<'_, str>> =
            (0..scope.printer.kernel.params.len()).map(|i| scope.printer.param(i as u32)).collect();
        taken.extend((0..scope.section.axes.len()).map(|i| scope.axis(i as u32)));
        taken.extend((0..scope.section.locals.len()).map(|i| scope.local(i as u32)));
        let free = (1..).map(|i| format!("t{i}")).filter(|n| !taken.contains(n.as_str()));
        let names = order.iter().copied().zip(free).collect();
        Block { scope, order, names }
    }

    /// The lets and `lines` in braces, on one line if there is only one.
    fn braces(&self, out: &mut String, lines: &[String]) -> fmt::Result {
        if let ([], [line]) = (self.order.as_slice(), lines) {
            return write!(out, "{{ {line} }}");
        }
        out.push_str("{\n");
        for id in &self.order {
            write!(out, "{}  let {} = ", self.scope.indent, self.names[id])?;
            self.node(out, *id, None, 0);
            out.push('\n');
        }
        for line in lines {
            writeln!(out, "{}  {line}", self.scope.indent)?;
        }
        write!(out, "{}}}", self.scope.indent)
    }

    fn store(&self, axes: &[u32], store: &Store) -> String {
        let mut out = String::new();
        match &store.to {
            Target::Param { param, index, combine } => {
                out.push_str(&self.scope.printer.param(*param));
                self.index(&mut out, index);
                let symbol = match combine {
                    None => " = ".to_owned(),
                    Some(ReduceKind::Sum) => " += ".to_owned(),
                    Some(ReduceKind::Prod) => " *= ".to_owned(),
                    Some(ReduceKind::And) => " &= ".to_owned(),
                    Some(ReduceKind::Or) => " |= ".to_owned(),
                    Some(kind) => format!(" {}= ", kind.name()),
                };
                out.push_str(&symbol);
                let expected = self.scope.printer.kernel.params.get(*param as usize).map(|p| p.ty.dtype);
                self.expr(&mut out, store.value, expected, 0);
            }
            Target::Local(local) => {
                out.push_str(&self.scope.local(*local));
                if !axes.is_empty() {
                    out.push_str(&format!("[{}]", self.scope.list(axes, ", ")));
                }
                out.push_str(" = ");
                self.expr(&mut out, store.value, None, 0);
            }
        }
        out
    }

    fn index(&self, out: &mut String, index: &[ExprId]) {
        for (i, &e) in index.iter().enumerate() {
            out.push_str(if i == 0 { "[" } else { ", " });
            self.expr(out, e, Some(DType::I64), 0);
        }
        out.push_str(if index.is_empty() { "" } else { "]" });
    }

    /// Whether the text of `id` shows its type without help from its place.
    fn shows_type(&self, id: ExprId) -> bool {
        let node = self.scope.section.exprs.get(id);
        match node.op {
            _ if self.names.contains_key(&id) => true,
            ScalarOp::Literal(l) => l.dtype() == DType::Bool,
            ScalarOp::Axis(_) | ScalarOp::Extent(_) | ScalarOp::Load(_) | ScalarOp::Local(_) => true,
            ScalarOp::Compare(_) | ScalarOp::Cast | ScalarOp::Bitcast => true,
            ScalarOp::Select => node.args[1..].iter().any(|&a| self.shows_type(a)),
            _ => node.args.iter().any(|&a| self.shows_type(a)),
        }
    }

    /// Writes the name of a let, or the node. `expected` is the type if the place gives it; parentheses are written
    /// around an operator that binds less tightly than `tightness`.
    fn expr(&self, out: &mut String, id: ExprId, expected: Option<DType>, tightness: u8) {
        match self.names.get(&id) {
            Some(name) => out.push_str(name),
            None => self.node(out, id, expected, tightness),
        }
    }

    fn node(&self, out: &mut String, id: ExprId, expected: Option<DType>, tightness: u8) {
        let exprs = &self.scope.section.exprs;
        let node = exprs.get(id);
        let args = node.args.as_slice();
        // What the arguments of an operator on equal types can rely on.
        let common = |args: &[ExprId]| match args.iter().any(|&a| self.shows_type(a)) {
            true => args.first().map(|&a| exprs.dtype(a)),
            false => None,
        };
        match node.op {
            ScalarOp::Literal(l) => {
                let _ = write!(out, "{l}");
                if expected.is_none() && l.dtype() != DType::Bool {
                    out.push_str(l.dtype().name());
                }
            }
            ScalarOp::Axis(a) => out.push_str(&self.scope.axis(a)),
            ScalarOp::Extent(d) => {
                let _ = write!(out, "dim({d})");
            }
            ScalarOp::Load(p) => {
                out.push_str(&self.scope.printer.param(p));
                self.index(out, args);
            }
            ScalarOp::Local(l) => {
                out.push_str(&self.scope.local(l));
                self.index(out, args);
            }
            ScalarOp::Neg | ScalarOp::Not => {
                out.push(if node.op == ScalarOp::Neg { '-' } else { '!' });
                let literal = exprs.literal(args[0]).is_some();
                out.push_str(if literal { "(" } else { "" });
                self.expr(out, args[0], expected, UNARY);
                out.push_str(if literal { ")" } else { "" });
            }
            op => {
                if let Some((symbol, level)) = infix(op) {
                    let comparison = matches!(op, ScalarOp::Compare(_));
                    let expected = if comparison { common(args) } else { expected.or_else(|| common(args)) };
                    out.push_str(if level < tightness { "(" } else { "" });
                    self.expr(out, args[0], expected, level + comparison as u8);
                    let _ = write!(out, " {symbol} ");
                    self.expr(out, args[1], expected, level + 1);
                    out.push_str(if level < tightness { ")" } else { "" });
                    return;
                }
                match op {
                    ScalarOp::Cast => out.push_str(node.dtype.name()),
                    ScalarOp::Bitcast => out.push_str(&format!("bitcast_{}", node.dtype)),
                    _ => out.push_str(function(op).unwrap_or("?")),
                }
                let types: Vec<Option<DType>> = match op {
                    ScalarOp::Cast | ScalarOp::Bitcast => vec![None],
                    ScalarOp::Select => {
                        let branches = expected.or_else(|| common(&args[1..]));
                        vec![Some(DType::Bool), branches, branches]
                    }
                    _ => vec![expected.or_else(|| common(args)); args.len()],
                };
                for (i, (&a, ty)) in args.iter().zip(types).enumerate() {
                    out.push_str(if i == 0 { "(" } else { ", " });
                    self.expr(out, a, ty, 0);
                }
                out.push(')');
            }
        }
    }
}

/// How tightly `-x` and `!x` bind.
pub(super) const UNARY: u8 = 8;

/// Infix operators: how they are written and how tightly they bind.
pub(super) const INFIX: [(ScalarOp, &str, u8); 16] = [
    (ScalarOp::Compare(Compare::Eq), "==", 1),
    (ScalarOp::Compare(Compare::Ne), "!=", 1),
    (ScalarOp::Compare(Compare::Lt), "<", 1),
    (ScalarOp::Compare(Compare::Le), "<=", 1),
    (ScalarOp::Compare(Compare::Gt), ">", 1),
    (ScalarOp::Compare(Compare::Ge), ">=", 1),
    (ScalarOp::Or, "|", 2),
    (ScalarOp::Xor, "^", 3),
    (ScalarOp::And, "&", 4),
    (ScalarOp::Shl, "<<", 5),
    (ScalarOp::Shr, ">>", 5),
    (ScalarOp::Add, "+", 6),
    (ScalarOp::Sub, "-", 6),
    (ScalarOp::Mul, "*", 7),
    (ScalarOp::Div, "/", 7),
    (ScalarOp::Rem, "%", 7),
];

fn infix(op: ScalarOp) -> Option<(&'static str, u8)> {
    INFIX.iter().find(|(o, ..)| *o == op).map(|&(_, symbol, level)| (symbol, level))
}

/// Operators written as functions, with their number of arguments; mathematical functions have their own names.
pub(super) const FUNCTIONS: [(ScalarOp, &str, usize); 11] = [
    (ScalarOp::Abs, "abs", 1),
    (ScalarOp::Sqrt, "sqrt", 1),
    (ScalarOp::Floor, "floor", 1),
    (ScalarOp::Ceil, "ceil", 1),
    (ScalarOp::Round, "round", 1),
    (ScalarOp::Trunc, "trunc", 1),
    (ScalarOp::Min, "min", 2),
    (ScalarOp::Max, "max", 2),
    (ScalarOp::MulHi, "mulhi", 2),
    (ScalarOp::Fma, "fma", 3),
    (ScalarOp::Select, "select", 3),
];

fn function(op: ScalarOp) -> Option<&'static str> {
    match op {
        ScalarOp::Math(f) => Some(MathFn::name(f)),
        _ => FUNCTIONS.iter().find(|(o, ..)| *o == op).map(|&(_, name, _)| name),
    }
}
