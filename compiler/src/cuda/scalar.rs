//! Scalar expressions as CUDA C++.
//!
//! Half types are held as `float` and rounded after each operation, bool as `bool`. Index arithmetic is `idx`, which
//! is `int` where everything fits; other integer arithmetic goes through helpers that wrap.

use super::prelude::{self, helper};
use super::range::Range;
use igneous_ir::dim::{Atom, Dim};
use igneous_ir::kernel::{Kernel, Section};
use igneous_ir::op::ReduceKind;
use igneous_ir::scalar::{Compare, ExprId, Exprs, MathFn, ScalarOp};
use igneous_ir::types::{DType, Literal};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

/// What the text of a kernel needs besides the kernel itself.
#[derive(Default)]
pub(super) struct Unit {
    pub helpers: BTreeSet<&'static str>,
    pub math: BTreeSet<(MathFn, DType)>,
    /// Element types and lengths of vector accesses.
    pub vectors: BTreeSet<(DType, u32)>,
    /// Bytes of shared memory through which the threads of a block exchange values. What one section or reduction leaves there the next
    /// one overwrites.
    pub exchange: usize,
}

/// How the expressions of one section are written.
pub(super) struct Writer<'a> {
    pub kernel: &'a Kernel,
    pub section: &'a Section,
    pub unit: &'a RefCell<Unit>,
    pub params: &'a [String],
    pub axes: Vec<String>,
    pub locals: Vec<String>,
    /// What follows the linear index of an element of a local, for locals that several points interleave.
    pub interleave: &'static str,
    pub ranges: Vec<Option<Range>>,
    pub short_index: bool,
    pub taken: HashSet<String>,
}

/// Other texts for some expressions: the elements of a vector.
pub(super) type Overrides = HashMap<ExprId, String>;

/// The type that values are held in.
pub(super) fn ctype(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "double",
        DType::F32 | DType::F16 | DType::BF16 => "float",
        DType::I64 => "long long",
        DType::I32 => "int",
        DType::U8 => "unsigned char",
        DType::I8 => "signed char",
        DType::U32 => "unsigned",
        DType::Bool => "bool",
    }
}

/// The type of elements in memory.
pub(super) fn storage(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 | DType::BF16 => "unsigned short",
        DType::Bool => "unsigned char",
        _ => ctype(dtype),
    }
}

/// Bytes of a value as it is held.
pub(super) fn held_size(dtype: DType) -> usize {
    match dtype {
        DType::F16 | DType::BF16 => 4,
        d => d.size(),
    }
}

/// The name of the type of a vector in memory.
pub(super) fn vector(dtype: DType, lanes: u32) -> String {
    format!("{dtype}x{lanes}")
}

/// A value in memory as it is computed with.
pub(super) fn from_memory(unit: &RefCell<Unit>, dtype: DType, text: String) -> String {
    match dtype {
        DType::F16 | DType::BF16 => call(unit, &format!("from_{dtype}"), &[text]),
        DType::Bool => format!("({text} != 0)"),
        _ => text,
    }
}

/// A computed value as it is kept in memory.
pub(super) fn to_memory(unit: &RefCell<Unit>, dtype: DType, text: String) -> String {
    match dtype {
        DType::F16 | DType::BF16 => call(unit, &format!("to_{dtype}"), &[text]),
        _ => text,
    }
}

fn call(unit: &RefCell<Unit>, name: &str, args: &[String]) -> String {
    unit.borrow_mut().helpers.insert(helper(name));
    format!("{name}({})", args.join(", "))
}

/// A constant.
pub(super) fn literal(l: Literal) -> String {
    match l.dtype() {
        DType::F64 if l.as_f64().is_finite() => format!("{:?}", l.as_f64()),
        DType::F64 => format!("__longlong_as_double(0x{:x}ll)", l.as_f64().to_bits()),
        d if d.is_float() && l.as_f64().is_finite() => format!("{:?}f", l.as_f64() as f32),
        d if d.is_float() => format!("__int_as_float(0x{:x})", (l.as_f64() as f32).to_bits()),
        DType::Bool => (l.as_i64() != 0).to_string(),
        DType::U32 => format!("{}u", l.as_i64()),
        _ => match l.as_i64() {
            i64::MIN => "(-9223372036854775807ll - 1)".into(),
            v if v == i64::from(i32::MIN) => "(-2147483647 - 1)".into(),
            v if i32::try_from(v).is_ok() => v.to_string(),
            v => format!("{v}ll"),
        },
    }
}

/// The name of the variable that holds a symbol's value.
pub(super) fn symbol(name: &str) -> String {
    let word: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    format!("dim_{word}")
}

/// A dimension in terms of the kernel's symbols, as a factor of a product.
pub(super) fn dim(d: Dim) -> String {
    let binary = |a: Dim, op: &str, b: Dim| format!("{} {op} {}", dim(a), dim(b));
    let mut out = String::new();
    let terms = d.terms();
    for (i, term) in terms.iter().enumerate() {
        let sign = if term.coefficient < 0 { "-" } else { "+" };
        out.push_str(&match (i, sign) {
            (0, "-") => "-".to_owned(),
            (0, _) => String::new(),
            _ => format!(" {sign} "),
        });
        let atoms = term.atoms.iter().map(|a| match *a {
            Atom::Symbol(s) => symbol(s.name),
            Atom::FloorDiv(a, b) => format!("({})", binary(a, "/", b)),
            Atom::Rem(a, b) => format!("({})", binary(a, "%", b)),
            Atom::Max(a, b) => format!("({} ? {} : {})", binary(a, ">", b), dim(a), dim(b)),
            Atom::Min(a, b) => format!("({} ? {} : {})", binary(a, "<", b), dim(a), dim(b)),
        });
        let coefficient = term.coefficient.unsigned_abs();
        let number = (coefficient != 1 || term.atoms.is_empty()).then(|| coefficient.to_string());
        out.push_str(&number.into_iter().chain(atoms).collect::<Vec<_>>().join(" * "));
    }
    match terms.as_slice() {
        [] => "0".into(),
        [t] if t.coefficient >= 0 && (t.atoms.is_empty() || t.coefficient == 1 && t.atoms.len() == 1) => out,
        _ => format!("({out})"),
    }
}

/// How tightly operators bind.
const ATOM: u8 = 4;
pub(super) const UNARY: u8 = 3;
const PRODUCT: u8 = 2;
const SUM: u8 = 1;

impl<'a> Writer<'a> {
    pub fn exprs(&self) -> &'a Exprs {
        &self.section.exprs
    }

    fn call(&self, name: &str, args: &[String]) -> String {
        call(self.unit, name, args)
    }

    /// The type of the variable that holds `id`.
    pub fn ctype(&self, id: ExprId) -> &'static str {
        match self.ranges[id.0 as usize] {
            Some(_) => "idx",
            None => ctype(self.exprs().dtype(id)),
        }
    }

    /// Definitions of the subexpressions that `roots` share, and the texts by which expressions refer to them.
    pub fn block(&self, roots: &[ExprId], overrides: &Overrides) -> (Vec<String>, Overrides) {
        let mut named = overrides.clone();
        let mut lines = Vec::new();
        let mut fresh = (1..).map(|i| format!("t{i}")).filter(|n| !self.taken.contains(n));
        for id in self.exprs().shared(roots) {
            if overrides.contains_key(&id) {
                continue;
            }
            let text = self.node(id, &named, 0);
            let name = fresh.next().expect("there are enough names");
            lines.push(format!("const {} {name} = {text};", self.ctype(id)));
            named.insert(id, name);
        }
        (lines, named)
    }

    /// The offset of an element in elements.
    pub fn offset(&self, index: &[ExprId], shape: &[Dim], named: &Overrides) -> String {
        let Some((&first, rest)) = index.split_first() else { return "0".into() };
        let mut out = self.text(first, named, if rest.is_empty() { 0 } else { PRODUCT });
        for (k, &i) in rest.iter().enumerate() {
            let sum = format!("{out} * {} + {}", dim(shape[k + 1]), self.text(i, named, SUM));
            out = if k + 1 == rest.len() { sum } else { format!("({sum})") };
        }
        out
    }

    /// An element of a local.
    pub fn local(&self, local: u32, linear: &str) -> String {
        let name = &self.locals[local as usize];
        match (self.section.locals[local as usize].axes.is_empty(), self.interleave) {
            (true, _) => name.clone(),
            (_, "") => format!("{name}[{linear}]"),
            (_, interleave) => format!("{name}[({linear}){interleave}]"),
        }
    }

    pub fn text(&self, id: ExprId, named: &Overrides, tightness: u8) -> String {
        match named.get(&id) {
            Some(name) => name.clone(),
            None => self.node(id, named, tightness),
        }
    }

    fn node(&self, id: ExprId, named: &Overrides, tightness: u8) -> String {
        let (text, level) = self.operation(id, named);
        if level < tightness { format!("({text})") } else { text }
    }

    /// The text of a node and how tightly its outermost operator binds.
    fn operation(&self, id: ExprId, named: &Overrides) -> (String, u8) {
        let exprs = self.exprs();
        let node = exprs.get(id);
        let dtype = node.dtype;
        let ranged = self.ranges[id.0 as usize].is_some();
        let arg = |k: usize, tightness: u8| self.text(node.args[k], named, tightness);
        let all = || (0..node.args.len()).map(|k| arg(k, 0)).collect::<Vec<String>>();
        let infix = |symbol: &str, level: u8| (format!("{} {symbol} {}", arg(0, level), arg(1, level + 1)), level);
        let helped = |name: &str| (self.call(&format!("{name}_{dtype}"), &all()), ATOM);
        let byte = |text: String| (format!("({})({text})", ctype(dtype)), UNARY);
        match node.op {
            ScalarOp::Literal(l) => {
                let text = literal(l);
                let level = if text.starts_with('-') { UNARY } else { ATOM };
                (text, level)
            }
            ScalarOp::Axis(a) => (self.axes[a as usize].clone(), ATOM),
            ScalarOp::Extent(d) => (dim(d), ATOM),
            ScalarOp::Load(p) => {
                let ty = &self.kernel.params[p as usize].ty;
                let element = format!("{}[{}]", self.params[p as usize], self.offset(&node.args, &ty.shape, named));
                (from_memory(self.unit, dtype, element), ATOM)
            }
            ScalarOp::Local(l) => {
                let axes = &self.section.locals[l as usize].axes;
                let shape: Vec<Dim> = axes.iter().map(|&a| self.section.axes[a as usize].extent).collect();
                (self.local(l, &self.offset(&node.args, &shape, named)), ATOM)
            }
            ScalarOp::Add | ScalarOp::Sub | ScalarOp::Mul => {
                let (symbol, level, name) = match node.op {
                    ScalarOp::Add => ("+", SUM, "add"),
                    ScalarOp::Sub => ("-", SUM, "sub"),
                    _ => ("*", PRODUCT, "mul"),
                };
                match dtype {
                    DType::I64 | DType::I32 if !ranged => helped(name),
                    DType::U8 | DType::I8 => byte(infix(symbol, level).0),
                    _ => self.rounded(dtype, infix(symbol, level)),
                }
            }
            ScalarOp::Div | ScalarOp::Rem => {
                let (symbol, name) = if node.op == ScalarOp::Div { ("/", "div") } else { ("%", "rem") };
                let natural = ranged && self.ranges[node.args[0].0 as usize].is_some_and(|(lo, _)| lo >= 0);
                match dtype {
                    _ if natural => infix(symbol, PRODUCT),
                    d if d.is_float() && node.op == ScalarOp::Div => self.rounded(dtype, infix(symbol, PRODUCT)),
                    DType::F16 | DType::BF16 => self.rounded(dtype, (self.call("rem_f32", &all()), ATOM)),
                    DType::U8 => byte(self.call(&format!("{name}_u32"), &all())),
                    DType::I8 => byte(self.call(&format!("{name}_i32"), &all())),
                    _ => helped(name),
                }
            }
            ScalarOp::Min | ScalarOp::Max => (
                self.combine(
                    if node.op == ScalarOp::Min { ReduceKind::Min } else { ReduceKind::Max },
                    dtype,
                    arg(0, SUM),
                    arg(1, SUM),
                    ranged,
                ),
                ATOM,
            ),
            ScalarOp::And | ScalarOp::Or | ScalarOp::Xor => {
                let symbol = match node.op {
                    ScalarOp::And => "&",
                    ScalarOp::Or => "|",
                    _ => "^",
                };
                (format!("({} {symbol} {})", arg(0, SUM), arg(1, SUM)), ATOM)
            }
            ScalarOp::Not if dtype == DType::Bool => (format!("!{}", arg(0, UNARY)), UNARY),
            ScalarOp::Not if matches!(dtype, DType::U8 | DType::I8) => byte(format!("~{}", arg(0, ATOM))),
            ScalarOp::Not => (format!("~{}", arg(0, ATOM)), UNARY),
            ScalarOp::Neg => match dtype {
                DType::I64 | DType::I32 if !ranged => (self.call(&format!("sub_{dtype}"), &["0".into(), arg(0, 0)]), ATOM),
                DType::U8 | DType::I8 => byte(format!("-{}", arg(0, ATOM))),
                DType::U32 => (format!("0u - {}", arg(0, PRODUCT)), SUM),
                _ => (format!("-{}", arg(0, ATOM)), UNARY),
            },
            ScalarOp::Abs => match dtype {
                DType::F64 => (format!("fabs({})", arg(0, 0)), ATOM),
                DType::I64 | DType::I32 => helped("abs"),
                DType::I8 => byte(self.call("abs_i32", &all())),
                DType::U8 | DType::U32 | DType::Bool => (arg(0, ATOM), ATOM),
                _ => (format!("fabsf({})", arg(0, 0)), ATOM),
            },
            ScalarOp::Shl | ScalarOp::Shr => {
                let symbol = if node.op == ScalarOp::Shl { "<<" } else { ">>" };
                let unsigned = match dtype {
                    DType::I64 if node.op == ScalarOp::Shl => "(long long)(unsigned long long)",
                    DType::I32 if node.op == ScalarOp::Shl => "(int)(unsigned)",
                    DType::I8 if node.op == ScalarOp::Shl => "(signed char)(unsigned)",
                    DType::U8 => "(unsigned char)",
                    DType::I8 => "(signed char)",
                    _ => "",
                };
                let (to, from) = unsigned.split_at(unsigned.find(")(").map_or(0, |i| i + 1));
                match dtype {
                    DType::U8 | DType::I8 if to.is_empty() => {
                        (format!("{unsigned}({} {symbol} {})", arg(0, ATOM), arg(1, ATOM)), UNARY)
                    }
                    _ => (format!("{to}({from}{} {symbol} {})", arg(0, ATOM), arg(1, ATOM)), UNARY),
                }
            }
            ScalarOp::MulHi => (format!("__umulhi({})", all().join(", ")), ATOM),
            ScalarOp::Sqrt | ScalarOp::Floor | ScalarOp::Ceil | ScalarOp::Round | ScalarOp::Trunc | ScalarOp::Fma => {
                let double = dtype == DType::F64;
                let name = match node.op {
                    ScalarOp::Sqrt if double => "__dsqrt_rn",
                    ScalarOp::Sqrt => "__fsqrt_rn",
                    ScalarOp::Floor if double => "floor",
                    ScalarOp::Floor => "floorf",
                    ScalarOp::Ceil if double => "ceil",
                    ScalarOp::Ceil => "ceilf",
                    ScalarOp::Round if double => "rint",
                    ScalarOp::Round => "rintf",
                    ScalarOp::Trunc if double => "trunc",
                    ScalarOp::Trunc => "truncf",
                    _ if double => "fma",
                    _ => "fmaf",
                };
                self.rounded(dtype, (format!("{name}({})", all().join(", ")), ATOM))
            }
            ScalarOp::Math(f) => {
                self.unit.borrow_mut().math.insert((f, dtype));
                (format!("{}_{dtype}({})", f.name(), all().join(", ")), ATOM)
            }
            ScalarOp::Compare(c) => {
                let symbol = match c {
                    Compare::Eq => "==",
                    Compare::Ne => "!=",
                    Compare::Lt => "<",
                    Compare::Le => "<=",
                    Compare::Gt => ">",
                    Compare::Ge => ">=",
                };
                (format!("{} {symbol} {}", arg(0, SUM), arg(1, SUM)), 0)
            }
            ScalarOp::Select => (format!("{} ? {} : {}", arg(0, SUM), arg(1, SUM), arg(2, SUM)), 0),
            ScalarOp::Cast => self.cast(exprs.dtype(node.args[0]), dtype, &|t| arg(0, t)),
            ScalarOp::Bitcast => (bitcast(self, exprs.dtype(node.args[0]), dtype, arg(0, 0)), ATOM),
        }
    }

    /// Rounds the result of an operation on half types.
    pub fn rounded(&self, dtype: DType, (text, level): (String, u8)) -> (String, u8) {
        match dtype {
            DType::F16 | DType::BF16 => (self.call(&format!("round_{dtype}"), &[text]), ATOM),
            _ => (text, level),
        }
    }

    /// `a ∘ b` as a reduction combines them.
    pub fn combine(&self, kind: ReduceKind, dtype: DType, a: String, b: String, index: bool) -> String {
        let name = match kind {
            ReduceKind::Min => "min",
            ReduceKind::Max => "max",
            ReduceKind::Sum => "add",
            ReduceKind::Prod => "mul",
            ReduceKind::And => return format!("({a} & {b})"),
            _ => return format!("({a} | {b})"),
        };
        if matches!(kind, ReduceKind::Sum | ReduceKind::Prod) {
            let text = format!("{a} {} {b}", if kind == ReduceKind::Sum { "+" } else { "*" });
            return match dtype {
                DType::I64 | DType::I32 => self.call(&format!("{name}_{dtype}"), &[a, b]),
                DType::U8 | DType::I8 => format!("({})({text})", ctype(dtype)),
                DType::F16 | DType::BF16 => self.call(&format!("round_{dtype}"), &[text]),
                _ => text,
            };
        }
        let suffix = match dtype {
            DType::F16 | DType::BF16 => "f32",
            DType::U8 | DType::Bool => "u32",
            DType::I8 => "i32",
            DType::I64 if index && self.short_index => "i32",
            d => d.name(),
        };
        self.call(&format!("{name}_{suffix}"), &[a, b])
    }

    fn cast(&self, from: DType, to: DType, arg: &dyn Fn(u8) -> String) -> (String, u8) {
        let plain = || (format!("({}){}", ctype(to), arg(UNARY)), UNARY);
        let half = matches!(to, DType::F16 | DType::BF16);
        let wide = if from == DType::F64 { "f64" } else { "f32" };
        match (from, to) {
            (_, DType::Bool) => (format!("{} != 0", arg(SUM)), 0),
            (DType::F16 | DType::BF16, DType::F32) => (arg(ATOM), ATOM),
            (DType::F64, _) if half => {
                let odd = self.call("odd_f32", &[arg(0)]);
                (self.call(&format!("round_{to}"), &[odd]), ATOM)
            }
            _ if half => (self.call(&format!("round_{to}"), &[format!("(float){}", arg(UNARY))]), ATOM),
            (f, t) if f.is_float() && !t.is_float() => (self.call(&format!("{wide}_to_{t}"), &[arg(0)]), ATOM),
            _ => plain(),
        }
    }
}

fn bitcast(writer: &Writer, from: DType, to: DType, arg: String) -> String {
    match (from, to) {
        (DType::F32, DType::I32) => format!("__float_as_int({arg})"),
        (DType::F32, DType::U32) => format!("__float_as_uint({arg})"),
        (DType::I32, DType::F32) => format!("__int_as_float({arg})"),
        (DType::U32, DType::F32) => format!("__uint_as_float({arg})"),
        (DType::F64, DType::I64) => format!("__double_as_longlong({arg})"),
        (DType::I64, DType::F64) => format!("__longlong_as_double({arg})"),
        (DType::F16, DType::BF16) | (DType::BF16, DType::F16) => {
            let bits = writer.call(&format!("to_{from}"), &[arg]);
            writer.call(&format!("from_{to}"), &[bits])
        }
        _ => format!("({})({arg})", ctype(to)),
    }
}

/// `l · r + a` as a dot adds it up: floats in single precision or the type's own, with one rounding.
pub(super) fn multiply_add(unit: &RefCell<Unit>, dtype: DType, l: &str, r: &str, a: &str) -> String {
    match dtype {
        DType::F64 => format!("fma({l}, {r}, {a})"),
        d if d.is_float() => format!("fmaf({l}, {r}, {a})"),
        DType::I64 | DType::I32 => {
            let product = call(unit, &format!("mul_{dtype}"), &[l.into(), r.into()]);
            call(unit, &format!("add_{dtype}"), &[a.into(), product])
        }
        _ => format!("({})(({l}) * ({r}) + {a})", ctype(dtype)),
    }
}

/// Words that generated names must not be.
pub(super) fn reserved() -> HashSet<String> {
    const WORDS: &str = "alignas alignof and asm auto bitand bitor bool break case catch char class compl concept const constexpr \
        continue decltype default delete do double else enum explicit export extern false float for friend goto if inline int \
        long mutable namespace new noexcept not nullptr operator or private protected public register requires return short \
        signed sizeof static struct switch template this throw true try typedef typename union unsigned using virtual void \
        volatile while xor main threadIdx blockIdx gridDim blockDim fabs fabsf floor floorf ceil ceilf rint rintf trunc truncf \
        fma fmaf fmod fmodf \
        idx p q l e r v w a b c o h lo hi lane warp column block blocks base kept element error active part tree shared best \
        v_at w_at a_at b_at c_at o_at part_at tree_at best_at run scratch there lanes lanes_at tx ty \
        left right left_k right_k tile tile0 tile1 tile2 tile3 exchange acc m0 n0 k0 mi ni steps fill group pair row0 column0 stage inside from";
    let math = MathFn::ALL.iter().flat_map(|f| [format!("{}_f32", f.name()), format!("{}_f64", f.name())]);
    WORDS.split_whitespace().map(str::to_owned).chain(prelude::names().map(str::to_owned)).chain(math).collect()
}

/// A C++ identifier like `name` that is not in `taken`, which it is added to, nor one that templates number.
pub(super) fn identifier(name: &str, taken: &mut HashSet<String>) -> String {
    let numbered = |n: &str| {
        ["t", "value"].iter().any(|p| n.strip_prefix(p).is_some_and(|r| !r.is_empty() && r.chars().all(|c| c.is_ascii_digit())))
    };
    let mut unique = name.replace('.', "_");
    while numbered(&unique) || !taken.insert(unique.clone()) {
        unique.push('_');
    }
    unique
}
