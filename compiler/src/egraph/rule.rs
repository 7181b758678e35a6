//! A rule: two patterns, what must hold between them, and where it may be used.

use super::analysis::{Content, Facts, Known, TensorGraph};
use super::language::ENode;
use super::pattern::{self, Pattern, Slot};
use crate::precision::Licence;
use egg::Language;
use igneous_ir::op::{Attr, Float};
use igneous_ir::types::Shape;
use igneous_ir::{Array, DType, Dim, Literal, Op, TensorType, Value, dim};
use smallvec::SmallVec;

/// A rewrite rule as data. Written with [`rule!`](crate::rule).
pub struct Rule {
    /// `theme/what`
    pub name: &'static str,
    /// What it does to the numbers.
    pub licence: Licence,
    /// What is replaced.
    pub left: Pattern,
    /// What it is equal to.
    pub right: Pattern,
    /// The names that both sides and the clauses share.
    pub names: Vec<&'static str>,
    /// Conditions and computed names, in order.
    pub clauses: Vec<Clause>,
    /// Instances of the left side, each a list of what its names stand for: see [`crate::rules`].
    pub examples: &'static [&'static str],
}

/// A condition of a rule.
pub enum Clause {
    /// Binds names to computed values; the rule does not apply if there are none.
    Let(Vec<Slot>, fn(&Match) -> Option<Bindings>),
    /// Must hold.
    When(fn(&Match) -> bool),
}

/// What a clause computes: one binding for each name.
pub type Bindings = SmallVec<[Binding; 2]>;

/// What a name of a rule stands for.
#[derive(Clone, PartialEq, Debug)]
pub enum Binding {
    /// A value: in the e-graph, `node` is a class.
    Value(Value),
    /// All remaining operands of an operator.
    Values(Vec<Value>),
    /// An attribute.
    Attr(Attr),
    /// An operator, or all attributes of one.
    Operator(Op),
    /// A constant that is to be built.
    Constant(Constant),
}

/// A constant that a clause computes.
#[derive(Clone, PartialEq, Debug)]
pub enum Constant {
    /// One number everywhere.
    Filled(TensorType, Literal),
    /// These elements.
    Elements(Array),
}

impl Constant {
    /// A value of type `ty` filled with `value`.
    pub fn filled(ty: &TensorType, value: f64) -> Constant {
        Constant::Filled(ty.clone(), Literal::float(ty.dtype, value))
    }
}

/// Declares a rule: `rule!("theme/what" [Licence]: left => right; clauses; on examples)`.
///
/// A clause is `let name = function(names);` or `when function(names);`, where the functions are ordinary Rust on
/// attributes and `Operand`s. An example lists what the names of the left side stand for.
#[macro_export]
macro_rules! rule {
    (@clauses $rule:ident let $v:ident = $f:ident($($a:ident),*); $($rest:tt)*) => {
        $rule.bind(&[stringify!($v)], |_m| {
            Some([$crate::egraph::rule::IntoBinding::into_binding($f($(_m.get(stringify!($a))?),*)?)].into_iter().collect())
        });
        rule!(@clauses $rule $($rest)*);
    };
    (@clauses $rule:ident let ($v:ident, $w:ident) = $f:ident($($a:ident),*); $($rest:tt)*) => {
        $rule.bind(&[stringify!($v), stringify!($w)], |_m| {
            let (v, w) = $f($(_m.get(stringify!($a))?),*)?;
            use $crate::egraph::rule::IntoBinding;
            Some([v.into_binding(), w.into_binding()].into_iter().collect())
        });
        rule!(@clauses $rule $($rest)*);
    };
    (@clauses $rule:ident let ($v:ident, $w:ident, $u:ident) = $f:ident($($a:ident),*); $($rest:tt)*) => {
        $rule.bind(&[stringify!($v), stringify!($w), stringify!($u)], |_m| {
            let (v, w, u) = $f($(_m.get(stringify!($a))?),*)?;
            use $crate::egraph::rule::IntoBinding;
            Some([v.into_binding(), w.into_binding(), u.into_binding()].into_iter().collect())
        });
        rule!(@clauses $rule $($rest)*);
    };
    (@clauses $rule:ident when $f:ident($($a:ident),*); $($rest:tt)*) => {
        $rule.condition(|_m| (|| Some($f($(_m.get(stringify!($a))?),*)))().unwrap_or(false));
        rule!(@clauses $rule $($rest)*);
    };
    (@clauses $rule:ident on $($example:literal),+ $(,)?) => {
        $rule.examples = &[$($example),+];
    };
    ($name:literal [$licence:ident]: $left:expr => $right:expr; $($rest:tt)+) => {{
        let mut rule = $crate::egraph::rule::Rule::new(
            $name, $crate::precision::Licence::$licence, stringify!($left), stringify!($right));
        rule!(@clauses rule $($rest)+);
        rule
    }};
}

impl Rule {
    /// A rule without clauses and examples. Panics if a side cannot be read: rules are part of the program.
    pub fn new(name: &'static str, licence: Licence, left: &str, right: &str) -> Rule {
        let (left, right, names) = pattern::parse(left, right).unwrap_or_else(|e| panic!("rule {name}: {e}"));
        Rule { name, licence, left, right, names, clauses: Vec::new(), examples: &[] }
    }

    /// Adds a clause that binds `names`.
    pub fn bind(&mut self, names: &[&'static str], compute: fn(&Match) -> Option<Bindings>) {
        let slots = names.iter().map(|name| pattern::slot(&mut self.names, name)).collect();
        self.clauses.push(Clause::Let(slots, compute));
    }

    /// Adds a condition.
    pub fn condition(&mut self, holds: fn(&Match) -> bool) {
        self.clauses.push(Clause::When(holds));
    }

    /// Evaluates the clauses on a match of the left side, adding what they bind. Returns whether all hold.
    pub fn holds(&self, egraph: &TensorGraph, bindings: &mut [Option<Binding>]) -> bool {
        self.clauses.iter().all(|clause| {
            let view = Match { egraph, names: &self.names, bindings };
            match clause {
                Clause::When(condition) => condition(&view),
                Clause::Let(slots, compute) => {
                    let Some(values) = compute(&view) else { return false };
                    for (&slot, value) in slots.iter().zip(values) {
                        bindings[slot] = Some(value);
                    }
                    true
                }
            }
        })
    }
}

impl Rule {
    /// The names that clauses bind.
    pub fn computed(&self) -> impl Iterator<Item = Slot> {
        self.clauses
            .iter()
            .flat_map(|clause| match clause {
                Clause::Let(slots, _) => slots.as_slice(),
                Clause::When(_) => &[],
            })
            .copied()
    }
}

/// What the names of a rule stand for in one place of an e-graph.
#[derive(Clone, Copy)]
pub struct Match<'m> {
    egraph: &'m TensorGraph,
    names: &'m [&'static str],
    bindings: &'m [Option<Binding>],
}

impl<'m> Match<'m> {
    /// What `name` stands for, if it is of type `T`.
    pub fn get<T: FromBinding<'m>>(&self, name: &str) -> Option<T> {
        let slot = self.names.iter().position(|n| *n == name)?;
        T::from_binding(self.egraph, self.bindings.get(slot)?.as_ref()?)
    }
}

/// A value that a rule has matched.
#[derive(Clone, Copy)]
pub struct Operand<'m> {
    egraph: &'m TensorGraph,
    /// The value; `node` is a class.
    pub value: Value,
}

impl<'m> Operand<'m> {
    fn facts(self) -> &'m Facts {
        &self.egraph[class(self.value)].data
    }

    /// The type.
    pub fn ty(self) -> &'m TensorType {
        &self.facts().types[0]
    }

    /// The element type.
    pub fn dtype(self) -> DType {
        self.ty().dtype
    }

    /// The shape.
    pub fn shape(self) -> &'m [Dim] {
        &self.ty().shape
    }

    /// The number of axes.
    pub fn rank(self) -> usize {
        self.ty().rank()
    }

    /// The value, if it is the same in every run.
    pub fn known(self) -> Option<&'m Known> {
        self.facts().known.as_ref()
    }

    /// The one number that fills it, if that is known.
    pub fn uniform(self) -> Option<Literal> {
        match self.known()?.content {
            Content::Uniform(literal) => Some(literal),
            Content::Elements(_) => None,
        }
    }

    /// Whether some form of it is an instance of the operator called `name`.
    pub fn is(self, name: &str) -> bool {
        self.forms().any(|(_, op)| op.is_some_and(|op| op.name() == name))
    }

    /// The e-nodes of its class with their operators.
    pub fn forms(self) -> impl Iterator<Item = (&'m ENode, Option<&'m Op>)> {
        let egraph = self.egraph;
        egraph[class(self.value)].nodes.iter().map(move |n| (n, n.kind.record().map(|_| egraph.analysis.op(n.op))))
    }
}

impl<'m> Operand<'m> {
    /// Operand `i` of one of its forms.
    pub fn operand(self, form: &ENode, i: usize) -> Operand<'m> {
        Operand { egraph: self.egraph, value: value(self.egraph.find(form.children()[i])) }
    }
}

/// The class behind a value of the e-graph.
pub fn class(value: Value) -> egg::Id {
    egg::Id::from(value.node as usize)
}

/// The value of a class.
pub fn value(class: egg::Id) -> Value {
    Value { node: usize::from(class) as u32, result: 0 }
}

/// What a clause's function can take as an argument.
pub trait FromBinding<'m>: Sized {
    /// The argument, if the binding is of this type.
    fn from_binding(egraph: &'m TensorGraph, binding: &'m Binding) -> Option<Self>;
}

impl<'m> FromBinding<'m> for Operand<'m> {
    fn from_binding(egraph: &'m TensorGraph, binding: &'m Binding) -> Option<Self> {
        match binding {
            Binding::Value(value) => Some(Operand { egraph, value: *value }),
            _ => None,
        }
    }
}

impl<'m> FromBinding<'m> for Vec<Operand<'m>> {
    fn from_binding(egraph: &'m TensorGraph, binding: &'m Binding) -> Option<Self> {
        match binding {
            Binding::Values(values) => Some(values.iter().map(|&value| Operand { egraph, value }).collect()),
            _ => None,
        }
    }
}

impl<'m> FromBinding<'m> for &'m Op {
    fn from_binding(_: &'m TensorGraph, binding: &'m Binding) -> Option<Self> {
        match binding {
            Binding::Operator(op) => Some(op),
            _ => None,
        }
    }
}

macro_rules! from_attribute {
    ($($type:ty: $pattern:pat => $value:expr;)+) => {$(
        impl<'m> FromBinding<'m> for $type {
            fn from_binding(_: &'m TensorGraph, binding: &'m Binding) -> Option<Self> {
                match binding {
                    Binding::Attr($pattern) => Some($value),
                    _ => None,
                }
            }
        }
    )+};
}

from_attribute! {
    i64: Attr::Int(i) => *i;
    f64: Attr::Float(x) => x.get();
    DType: Attr::DType(d) => *d;
    &'static str: Attr::Name(n) => n;
    &'m [Dim]: Attr::Dims(d) => d;
    Axes: Attr::Ints(v) => v.iter().map(|&a| a as usize).collect();
}

/// A list of axes, a permutation, or other small numbers.
pub type Axes = SmallVec<[usize; 4]>;

/// What a clause's function can return.
pub trait IntoBinding {
    /// The binding.
    fn into_binding(self) -> Binding;
}

macro_rules! into_binding {
    ($($type:ty: $self:ident => $binding:expr;)+) => {$(
        impl IntoBinding for $type {
            fn into_binding($self) -> Binding {
                $binding
            }
        }
    )+};
}

into_binding! {
    Op: self => Binding::Operator(self);
    Attr: self => Binding::Attr(self);
    usize: self => Binding::Attr(Attr::Int(self as i64));
    f64: self => Binding::Attr(Attr::Float(Float::new(self)));
    DType: self => Binding::Attr(Attr::DType(self));
    Axes: self => Binding::Attr(Attr::Ints(self.iter().map(|&a| a as i64).collect()));
    Shape: self => Binding::Attr(Attr::Dims(self));
    Operand<'_>: self => Binding::Value(self.value);
    Constant: self => Binding::Constant(self);
}

impl IntoBinding for &str {
    fn into_binding(self) -> Binding {
        Binding::Attr(Attr::Name(dim::intern(self)))
    }
}
