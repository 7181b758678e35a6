//! Dimensions: constant, symbolic (a polynomial over named symbols, in normal form) or invalid.

use crate::error::Error;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::{LazyLock, RwLock};

/// The extent of one axis of a tensor. `Copy`, interned, in normal form: two dimensions are equal if
/// and only if their normal forms are. See [`Dim::compare`] for what ranges can decide.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dim(Repr);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Repr {
    Const(i64),
    Poly(u32),
    Invalid,
}

/// A named symbolic extent together with the range it may take at run time.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Symbol {
    /// The name, unique within a graph.
    pub name: &'static str,
    /// The smallest value allowed.
    pub lo: i64,
    /// The largest value allowed.
    pub hi: i64,
}

/// A factor of a monomial: a symbol, or an operation that polynomials are not closed under.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Atom {
    /// A named symbol.
    Symbol(Symbol),
    /// `⌊a / b⌋`
    FloorDiv(Dim, Dim),
    /// `a mod b`
    Rem(Dim, Dim),
    /// The larger of two.
    Max(Dim, Dim),
    /// The smaller of two.
    Min(Dim, Dim),
}

/// One term of a polynomial: `coefficient · Π atom`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Term {
    /// The integer factor, never zero.
    pub coefficient: i64,
    /// The factors in canonical order, repeated for powers; empty for the constant term.
    pub atoms: Vec<Atom>,
}

type Poly = Vec<Term>;

#[derive(Default)]
struct Interner {
    polys: Vec<Poly>,
    index: HashMap<Poly, u32>,
    names: HashMap<String, &'static str>,
}

static INTERNER: LazyLock<RwLock<Interner>> = LazyLock::new(Default::default);

/// Returns a `'static` copy of `text`; equal texts share one copy.
pub fn intern(text: &str) -> &'static str {
    let held = "the interner is never left locked by a panic";
    if let Some(found) = INTERNER.read().expect(held).names.get(text) {
        return found;
    }
    let mut interner = INTERNER.write().expect(held);
    if let Some(found) = interner.names.get(text) {
        return found;
    }
    let leaked: &'static str = Box::leak(text.to_owned().into_boxed_str());
    interner.names.insert(text.to_owned(), leaked);
    leaked
}

impl Atom {
    fn key(&self) -> String {
        self.to_string()
    }

    /// The interval that contains every value of this atom; `None` means unbounded above.
    fn bounds(&self) -> (i64, Option<i64>) {
        match *self {
            Atom::Symbol(s) => (s.lo, Some(s.hi)),
            Atom::FloorDiv(a, b) => {
                let ((al, ah), (bl, bh)) = (a.bounds(), b.bounds());
                let lo = bh.filter(|&h| h > 0).map_or(0, |h| al.div_euclid(h));
                (lo, ah.filter(|_| bl > 0).map(|h| h.div_euclid(bl)))
            }
            Atom::Rem(_, b) => (0, b.bounds().1.map(|h| h.saturating_sub(1))),
            Atom::Max(a, b) => {
                let ((al, ah), (bl, bh)) = (a.bounds(), b.bounds());
                (al.max(bl), ah.zip(bh).map(|(x, y)| x.max(y)))
            }
            Atom::Min(a, b) => {
                let ((al, ah), (bl, bh)) = (a.bounds(), b.bounds());
                let hi = match (ah, bh) {
                    (Some(x), Some(y)) => Some(x.min(y)),
                    (x, y) => x.or(y),
                };
                (al.min(bl), hi)
            }
        }
    }
}

impl Dim {
    /// The dimension of an invalid tensor; every operation on it is invalid again.
    pub const INVALID: Dim = Dim(Repr::Invalid);
    /// Extent one.
    pub const ONE: Dim = Dim(Repr::Const(1));
    /// Extent zero.
    pub const ZERO: Dim = Dim(Repr::Const(0));

    /// A named symbolic dimension that takes values in `lo..=hi` at run time.
    pub fn symbol(name: &str, lo: i64, hi: i64) -> Dim {
        let symbol = Symbol { name: intern(name), lo, hi };
        Dim::from_poly(vec![Term { coefficient: 1, atoms: vec![Atom::Symbol(symbol)] }])
    }

    /// A constant, which may be negative inside an expression but not as an extent.
    pub const fn constant(value: i64) -> Dim {
        Dim(Repr::Const(value))
    }

    /// The value if it is constant and not negative.
    ///
    /// # Errors
    /// If the dimension is symbolic, negative, or belongs to an invalid tensor.
    pub fn get(self) -> Result<usize, Error> {
        match self.0 {
            Repr::Const(n) if n >= 0 => Ok(n as usize),
            Repr::Const(n) => Err(Error::new(format!("a dimension is negative: {n}"))),
            Repr::Poly(_) => Err(Error::new(format!("dimension `{self}` is symbolic: it has no value before the program runs"))),
            Repr::Invalid => Err(Error::new("this is a dimension of an invalid tensor")),
        }
    }

    /// The value if it is constant.
    pub fn as_const(self) -> Option<i64> {
        match self.0 {
            Repr::Const(n) => Some(n),
            _ => None,
        }
    }

    /// Whether this is a dimension of an invalid tensor.
    pub fn is_invalid(self) -> bool {
        self.0 == Repr::Invalid
    }

    /// Whether this depends on a symbol.
    pub fn is_symbolic(self) -> bool {
        matches!(self.0, Repr::Poly(_))
    }

    /// The terms of the normal form (empty for zero). Invalid dimensions have none.
    pub fn terms(self) -> Vec<Term> {
        match self.0 {
            Repr::Const(0) | Repr::Invalid => Vec::new(),
            Repr::Const(n) => vec![Term { coefficient: n, atoms: Vec::new() }],
            Repr::Poly(i) => INTERNER.read().expect("the interner is never left locked by a panic").polys[i as usize].clone(),
        }
    }

    fn from_poly(mut poly: Poly) -> Dim {
        for term in &mut poly {
            term.atoms.sort_by_cached_key(Atom::key);
        }
        let mut merged: BTreeMap<(std::cmp::Reverse<usize>, Vec<String>), Term> = BTreeMap::new();
        for term in poly {
            let key = (std::cmp::Reverse(term.atoms.len()), term.atoms.iter().map(Atom::key).collect());
            match merged.entry(key) {
                std::collections::btree_map::Entry::Vacant(e) => {
                    e.insert(term);
                }
                std::collections::btree_map::Entry::Occupied(mut e) => {
                    e.get_mut().coefficient = e.get().coefficient.saturating_add(term.coefficient);
                }
            }
        }
        let poly: Poly = merged.into_values().filter(|t| t.coefficient != 0).collect();
        match poly.as_slice() {
            [] => return Dim(Repr::Const(0)),
            [t] if t.atoms.is_empty() => return Dim(Repr::Const(t.coefficient)),
            _ => {}
        }
        let mut interner = INTERNER.write().expect("the interner is never left locked by a panic");
        if let Some(&i) = interner.index.get(&poly) {
            return Dim(Repr::Poly(i));
        }
        let i = interner.polys.len() as u32;
        interner.polys.push(poly.clone());
        interner.index.insert(poly, i);
        Dim(Repr::Poly(i))
    }

    fn from_atom(atom: Atom) -> Dim {
        Dim::from_poly(vec![Term { coefficient: 1, atoms: vec![atom] }])
    }

    /// `⌊self / divisor⌋`; invalid when the divisor is zero.
    pub fn div_floor(self, divisor: impl Into<Dim>) -> Dim {
        let divisor = divisor.into();
        match (self.0, divisor.0) {
            (Repr::Invalid, _) | (_, Repr::Invalid | Repr::Const(0)) => Dim::INVALID,
            (Repr::Const(a), Repr::Const(b)) => a.checked_div_euclid(b).map_or(Dim::INVALID, Dim::constant),
            _ if self == divisor => Dim::ONE,
            _ => {
                let (whole, rest) = self.split_multiples(divisor);
                let fraction = match rest.as_const().zip(divisor.as_const()) {
                    Some((a, b)) => a.checked_div_euclid(b).map_or(Dim::INVALID, Dim::constant),
                    None if rest == Dim::ZERO => Dim::ZERO,
                    None => match rest.extremum().filter(|_| divisor.as_const().is_some_and(|d| d > 0)) {
                        // A quotient by a positive number rises with the dividend.
                        Some((Atom::Max(x, y), c)) => (x + c).div_floor(divisor).max((y + c).div_floor(divisor)),
                        Some((Atom::Min(x, y), c)) => (x + c).div_floor(divisor).min((y + c).div_floor(divisor)),
                        _ => Dim::from_atom(Atom::FloorDiv(rest, divisor)),
                    },
                };
                whole + fraction
            }
        }
    }

    /// The maximum or minimum and the constant whose sum this is.
    fn extremum(self) -> Option<(Atom, Dim)> {
        let (constant, others): (Vec<Term>, Vec<Term>) = self.terms().into_iter().partition(|t| t.atoms.is_empty());
        match others.as_slice() {
            [Term { coefficient: 1, atoms }] => match atoms.as_slice() {
                [atom @ (Atom::Max(..) | Atom::Min(..))] => Some((*atom, Dim::from_poly(constant))),
                _ => None,
            },
            _ => None,
        }
    }

    /// `(q, r)` with `self = q · divisor + r`, where `q` takes the terms that `divisor` divides and, if the divisor
    /// is a positive constant, as much of the constant term as leaves a remainder in `0..divisor`.
    fn split_multiples(self, divisor: Dim) -> (Dim, Dim) {
        let (mut quotient, mut rest) = (Dim::ZERO, Dim::ZERO);
        for term in self.terms() {
            let constant = term.atoms.is_empty().then_some(term.coefficient);
            let term = Dim::from_poly(vec![term]);
            match (constant, divisor.as_const()) {
                (Some(c), Some(d)) if d > 0 => {
                    quotient = quotient + Dim::constant(c.div_euclid(d));
                    rest = rest + Dim::constant(c.rem_euclid(d));
                }
                _ => match term.div_exact(divisor) {
                    Some(q) => quotient = quotient + q,
                    None => rest = rest + term,
                },
            }
        }
        (quotient, rest)
    }

    /// `⌈self / divisor⌉`.
    pub fn div_ceil(self, divisor: impl Into<Dim>) -> Dim {
        let divisor = divisor.into();
        (self + divisor - 1).div_floor(divisor)
    }

    /// The quotient if the normal forms show that `divisor` (one term) divides every term.
    pub fn div_exact(self, divisor: Dim) -> Option<Dim> {
        let d = divisor.terms();
        let [d] = d.as_slice() else { return None };
        let mut quotient = Vec::new();
        for term in self.terms() {
            if term.coefficient.checked_rem(d.coefficient)? != 0 {
                return None;
            }
            let mut atoms = term.atoms.clone();
            for atom in &d.atoms {
                let position = atoms.iter().position(|a| a == atom)?;
                atoms.remove(position);
            }
            quotient.push(Term { coefficient: term.coefficient / d.coefficient, atoms });
        }
        Some(Dim::from_poly(quotient))
    }

    /// `self mod divisor`, not negative. In the normal form this is `self - divisor · ⌊self / divisor⌋` if the divisor is
    /// one term, so that quotient and remainder cancel where they meet.
    #[allow(clippy::should_implement_trait, reason = "the operator `%` would not say that the result is never negative")]
    pub fn rem(self, divisor: impl Into<Dim>) -> Dim {
        let divisor = divisor.into();
        match (self.0, divisor.0) {
            (Repr::Invalid, _) | (_, Repr::Invalid | Repr::Const(0)) => Dim::INVALID,
            (Repr::Const(a), Repr::Const(b)) => a.checked_rem_euclid(b).map_or(Dim::INVALID, Dim::constant),
            _ if self == divisor => Dim::ZERO,
            _ => match self.split_multiples(divisor).1 {
                rest if rest == Dim::ZERO => Dim::ZERO,
                rest => match rest.as_const().zip(divisor.as_const()) {
                    Some((a, b)) => a.checked_rem_euclid(b).map_or(Dim::INVALID, Dim::constant),
                    None if divisor.terms().len() == 1 => rest - divisor * Dim::from_atom(Atom::FloorDiv(rest, divisor)),
                    None => Dim::from_atom(Atom::Rem(rest, divisor)),
                },
            },
        }
    }

    /// The larger of two, decided by range where possible.
    pub fn max(self, other: impl Into<Dim>) -> Dim {
        let other = other.into();
        if self.is_invalid() || other.is_invalid() {
            return Dim::INVALID;
        }
        match self.at_least(other) {
            Some(true) => self,
            _ if other.at_least(self) == Some(true) => other,
            _ => Dim::from_atom(Atom::Max(self, other)),
        }
    }

    /// The smaller of two, decided by range where possible.
    pub fn min(self, other: impl Into<Dim>) -> Dim {
        let other = other.into();
        if self.is_invalid() || other.is_invalid() {
            return Dim::INVALID;
        }
        match self.at_least(other) {
            Some(true) => other,
            _ if other.at_least(self) == Some(true) => self,
            _ => Dim::from_atom(Atom::Min(self, other)),
        }
    }

    /// Symbol, factor and constant, if this is `factor · symbol + constant`.
    pub fn linear(self) -> Option<(Symbol, i64, i64)> {
        let (mut found, mut constant) = (None, 0);
        for term in self.terms() {
            match term.atoms.as_slice() {
                [] => constant = term.coefficient,
                [Atom::Symbol(s)] if found.is_none() => found = Some((*s, term.coefficient)),
                _ => return None,
            }
        }
        found.map(|(symbol, factor)| (symbol, factor, constant))
    }

    /// An interval that contains every value; `None` means unbounded above.
    pub fn bounds(self) -> (i64, Option<i64>) {
        if let Repr::Const(n) = self.0 {
            return (n, Some(n));
        }
        let (mut lo, mut hi) = self.bounds_of_terms();
        let mut narrow = |(l, h): (i64, Option<i64>)| {
            lo = lo.max(l);
            hi = hi.into_iter().chain(h).min();
        };
        for term in self.terms() {
            let rest = || self - Dim::from_poly(vec![term.clone()]);
            let c = Dim::constant(term.coefficient);
            match term.atoms[..] {
                // An extremum is no less, or no more, than either of the two.
                [atom @ (Atom::Max(x, y) | Atom::Min(x, y))] => {
                    let below = matches!(atom, Atom::Max(..)) == (term.coefficient > 0);
                    for other in [x, y] {
                        let (l, h) = (rest() + c * other).bounds();
                        narrow(if below { (l, None) } else { (i64::MIN, h) });
                    }
                }
                // A quotient is at most the fraction, and at least that of the dividend less what may be left.
                [Atom::FloorDiv(a, b)] if b.as_const().is_some_and(|b| b > 0) => {
                    let divisor = b.as_const().unwrap_or(1);
                    let (most, least) = (rest() * b + c * a, rest() * b + c * (a - b + 1));
                    let (small, large) = if term.coefficient > 0 { (least, most) } else { (most, least) };
                    let (l, h) = (small.bounds_of_terms().0, large.bounds_of_terms().1);
                    narrow((l.saturating_neg().div_euclid(divisor).saturating_neg(), h.map(|h| h.div_euclid(divisor))));
                }
                _ => {}
            }
            // Where `b·⌊a / b⌋` stands beside `a`, the terms taken one by one say too little; `a - (a mod b)` says more.
            let quotient = term.atoms.iter().enumerate().find_map(|(i, atom)| match *atom {
                Atom::FloorDiv(a, b) => Some((i, a, b)),
                _ => None,
            });
            let Some((i, a, b)) = quotient else { continue };
            let mut outer = term.clone();
            outer.atoms.remove(i);
            let Some(factor) = Dim::from_poly(vec![outer]).div_exact(b) else { continue };
            narrow((rest() + factor * (a - Dim::from_atom(Atom::Rem(a, b)))).bounds_of_terms());
        }
        (lo, hi)
    }

    fn bounds_of_terms(self) -> (i64, Option<i64>) {
        let (mut lo, mut hi) = (0i64, Some(0i64));
        for term in self.terms() {
            let (mut tl, mut th) = (1i64, Some(1i64));
            for atom in &term.atoms {
                let (al, ah) = atom.bounds();
                tl = tl.saturating_mul(al);
                th = th.zip(ah).map(|(x, y)| x.saturating_mul(y));
            }
            let c = term.coefficient;
            if c > 0 {
                lo = lo.saturating_add(c.saturating_mul(tl));
                hi = hi.zip(th).map(|(h, t)| h.saturating_add(c.saturating_mul(t)));
            } else {
                lo = th.map_or(i64::MIN, |t| lo.saturating_add(c.saturating_mul(t)));
                hi = hi.map(|h| h.saturating_add(c.saturating_mul(tl)));
            }
        }
        (lo, hi)
    }

    /// `Some(true)` if `self ≥ other` for every value in range, `Some(false)` if for none.
    pub fn at_least(self, other: impl Into<Dim>) -> Option<bool> {
        let other = other.into();
        if self.is_invalid() || other.is_invalid() {
            return None;
        }
        let (lo, hi) = (self - other).bounds();
        if lo >= 0 {
            Some(true)
        } else if hi.is_some_and(|h| h < 0) {
            Some(false)
        } else {
            None
        }
    }

    /// The order of two dimensions if it is the same for every value in range.
    pub fn compare(self, other: impl Into<Dim>) -> Option<Ordering> {
        let other = other.into();
        if self.is_invalid() || other.is_invalid() {
            return None;
        }
        if self == other {
            return Some(Ordering::Equal);
        }
        match (self - other).bounds() {
            (0, Some(0)) => Some(Ordering::Equal),
            (lo, _) if lo > 0 => Some(Ordering::Greater),
            (_, Some(hi)) if hi < 0 => Some(Ordering::Less),
            _ => None,
        }
    }

    /// The value under an assignment of the symbols; `None` if one is missing or a division by zero occurs.
    pub fn eval(self, values: &dyn Fn(Symbol) -> Option<i64>) -> Option<i64> {
        if self.is_invalid() {
            return None;
        }
        let mut sum = 0i64;
        for term in self.terms() {
            let mut product = term.coefficient;
            for atom in &term.atoms {
                let value = match *atom {
                    Atom::Symbol(s) => values(s)?,
                    Atom::FloorDiv(a, b) => a.eval(values)?.checked_div_euclid(b.eval(values)?)?,
                    Atom::Rem(a, b) => a.eval(values)?.checked_rem_euclid(b.eval(values)?)?,
                    Atom::Max(a, b) => a.eval(values)?.max(b.eval(values)?),
                    Atom::Min(a, b) => a.eval(values)?.min(b.eval(values)?),
                };
                product = product.checked_mul(value)?;
            }
            sum = sum.checked_add(product)?;
        }
        Some(sum)
    }

    /// The dimension with every symbol for which `values` has an answer replaced by it.
    pub fn substitute(self, values: &dyn Fn(Symbol) -> Option<Dim>) -> Dim {
        if !self.is_symbolic() {
            return self;
        }
        let mut sum = Dim::ZERO;
        for term in self.terms() {
            let mut product = Dim::constant(term.coefficient);
            for atom in &term.atoms {
                product = product
                    * match *atom {
                        Atom::Symbol(s) => values(s).unwrap_or_else(|| Dim::from_atom(*atom)),
                        Atom::FloorDiv(a, b) => a.substitute(values).div_floor(b.substitute(values)),
                        Atom::Rem(a, b) => a.substitute(values).rem(b.substitute(values)),
                        Atom::Max(a, b) => a.substitute(values).max(b.substitute(values)),
                        Atom::Min(a, b) => a.substitute(values).min(b.substitute(values)),
                    };
            }
            sum = sum + product;
        }
        sum
    }

    /// Appends the symbols that occur, each once, in order of first occurrence.
    pub fn collect_symbols(self, into: &mut Vec<Symbol>) {
        for term in self.terms() {
            for atom in term.atoms {
                match atom {
                    Atom::Symbol(s) if into.contains(&s) => {}
                    Atom::Symbol(s) => into.push(s),
                    Atom::FloorDiv(a, b) | Atom::Rem(a, b) | Atom::Max(a, b) | Atom::Min(a, b) => {
                        a.collect_symbols(into);
                        b.collect_symbols(into);
                    }
                }
            }
        }
    }
}

impl From<usize> for Dim {
    fn from(n: usize) -> Dim {
        Dim::constant(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<&Dim> for Dim {
    fn from(d: &Dim) -> Dim {
        *d
    }
}

impl From<i32> for Dim {
    fn from(n: i32) -> Dim {
        Dim::constant(n.into())
    }
}

impl<D: Into<Dim>> Add<D> for Dim {
    type Output = Dim;
    fn add(self, other: D) -> Dim {
        let other = other.into();
        match (self.0, other.0) {
            (Repr::Invalid, _) | (_, Repr::Invalid) => Dim::INVALID,
            (Repr::Const(a), Repr::Const(b)) => Dim::constant(a.saturating_add(b)),
            _ => Dim::from_poly(self.terms().into_iter().chain(other.terms()).collect()),
        }
    }
}

impl<D: Into<Dim>> Sub<D> for Dim {
    type Output = Dim;
    fn sub(self, other: D) -> Dim {
        self + other.into() * -1
    }
}

impl<D: Into<Dim>> Mul<D> for Dim {
    type Output = Dim;
    fn mul(self, other: D) -> Dim {
        let other = other.into();
        match (self.0, other.0) {
            (Repr::Invalid, _) | (_, Repr::Invalid) => Dim::INVALID,
            (Repr::Const(a), Repr::Const(b)) => Dim::constant(a.saturating_mul(b)),
            _ => {
                let mut product = Vec::new();
                for a in self.terms() {
                    for b in other.terms() {
                        product.push(Term {
                            coefficient: a.coefficient.saturating_mul(b.coefficient),
                            atoms: a.atoms.iter().chain(&b.atoms).copied().collect(),
                        });
                    }
                }
                Dim::from_poly(product)
            }
        }
    }
}

impl std::iter::Product for Dim {
    fn product<I: Iterator<Item = Dim>>(iter: I) -> Dim {
        iter.fold(Dim::ONE, |a, b| a * b)
    }
}

/// Structural order, the same in every process: constants by value, then expressions by text, then invalid.
impl Ord for Dim {
    fn cmp(&self, other: &Dim) -> Ordering {
        match (self.0, other.0) {
            (Repr::Const(a), Repr::Const(b)) => a.cmp(&b),
            (Repr::Const(_), _) => Ordering::Less,
            (_, Repr::Const(_)) => Ordering::Greater,
            (Repr::Poly(a), Repr::Poly(b)) if a == b => Ordering::Equal,
            (Repr::Poly(_), Repr::Poly(_)) => self.to_string().cmp(&other.to_string()),
            (Repr::Poly(_), Repr::Invalid) => Ordering::Less,
            (Repr::Invalid, Repr::Poly(_)) => Ordering::Greater,
            (Repr::Invalid, Repr::Invalid) => Ordering::Equal,
        }
    }
}

/// See [`Ord`]: a structural order, not a comparison of values (that is [`Dim::compare`]).
impl PartialOrd for Dim {
    fn partial_cmp(&self, other: &Dim) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq<usize> for Dim {
    fn eq(&self, other: &usize) -> bool {
        self.as_const() == i64::try_from(*other).ok()
    }
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Symbol(s) => f.write_str(s.name),
            Atom::FloorDiv(a, b) => write!(f, "div({a}, {b})"),
            Atom::Rem(a, b) => write!(f, "rem({a}, {b})"),
            Atom::Max(a, b) => write!(f, "max({a}, {b})"),
            Atom::Min(a, b) => write!(f, "min({a}, {b})"),
        }
    }
}

impl fmt::Debug for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Repr::Const(n) => write!(f, "{n}"),
            Repr::Invalid => f.write_str("?"),
            Repr::Poly(_) => {
                for (i, term) in self.terms().iter().enumerate() {
                    let (sign, magnitude) = (term.coefficient < 0, term.coefficient.unsigned_abs());
                    match (i, sign) {
                        (0, true) => f.write_str("-")?,
                        (0, false) => {}
                        (_, true) => f.write_str(" - ")?,
                        (_, false) => f.write_str(" + ")?,
                    }
                    if term.atoms.is_empty() {
                        write!(f, "{magnitude}")?;
                        continue;
                    }
                    if magnitude != 1 {
                        write!(f, "{magnitude}*")?;
                    }
                    for (k, atom) in term.atoms.iter().enumerate() {
                        if k > 0 {
                            f.write_str("*")?;
                        }
                        write!(f, "{atom}")?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_form_decides_equality() {
        let (b, t) = (Dim::symbol("B", 1, 64), Dim::symbol("T", 1, 32));
        assert_eq!((b + 1) * t, t * b + t);
        assert_eq!((b * t - t * b), Dim::ZERO);
        assert_eq!((b * t * 4).div_floor(b * 2), t * 2);
        assert_eq!((b * 4).rem(2), Dim::ZERO);
        assert_eq!(((b + 1) * t).to_string(), "B*T + T");
        assert_eq!((b - 3).to_string(), "B - 3");
        assert_eq!((b + 1).div_floor(2).to_string(), "div(B + 1, 2)");
    }

    #[test]
    fn quotients_and_remainders_have_a_normal_form() {
        let (b, t) = (Dim::symbol("B", 1, 64), Dim::symbol("T", 1, 32));
        assert_eq!((b + 7).div_floor(2), (b + 1).div_floor(2) + 3);
        assert_eq!((b * t * 4 + b * 2 + 3).div_floor(2), b * t * 2 + b + 1);
        assert_eq!((b - 5).rem(3), (b + 1).rem(3));
        assert_eq!((b - 5).div_floor(3) * 3 + (b + 1).rem(3), b - 5);
        assert_eq!((b.div_floor(t) * t + b.rem(t)) * t, b * t);
        let at = |n| move |_: Symbol| Some(n);
        for n in 1..12 {
            assert_eq!((b - 5).div_floor(3).eval(&at(n)), Some((n - 5).div_euclid(3)));
            assert_eq!((b - 5).rem(3).eval(&at(n)), Some((n - 5).rem_euclid(3)));
        }
    }

    #[test]
    fn quotients_of_extrema_are_extrema_of_quotients() {
        let n = Dim::symbol("N", 0, 64);
        let padded = (n * 2 - 1).max(0);
        assert_eq!((padded + 1).div_floor(2), n);
        let at = |n| move |_: Symbol| Some(n);
        for value in 0..12i64 {
            for c in -5..5i64 {
                let constant = Dim::constant(c);
                let expected = ((2 * value - 1).max(0) + c).div_euclid(3);
                assert_eq!((padded + constant).div_floor(3).eval(&at(value)), Some(expected));
                let expected = (value.min(7) - c).div_euclid(2);
                assert_eq!((n.min(7) - constant).div_floor(2).eval(&at(value)), Some(expected));
            }
        }
    }

    #[test]
    fn linear_dimensions() {
        let (b, t) = (Dim::symbol("B", 1, 64), Dim::symbol("T", 1, 32));
        let symbol = |d: Dim| d.linear().map(|(s, factor, constant)| (s.name, factor, constant));
        assert_eq!(symbol(b), Some(("B", 1, 0)));
        assert_eq!(symbol(b * 3 - 2), Some(("B", 3, -2)));
        assert_eq!([b * t, b + t, b * b, b.div_floor(2), Dim::ONE].map(symbol), [None; 5]);
    }

    #[test]
    fn ranges_decide_comparisons() {
        let b = Dim::symbol("B", 1, 64);
        assert_eq!(b.compare(65), Some(Ordering::Less));
        assert_eq!(b.compare(64), None);
        assert_eq!(b.at_least(1), Some(true));
        assert_eq!((b + 1).max(b), b + 1);
        assert_eq!(b.compare(Dim::INVALID), None);
    }

    #[test]
    fn ranges_know_what_a_division_leaves() {
        let n = Dim::symbol("N", 4, 64);
        let blocks = n.div_floor(3) * 3;
        assert_eq!((n - blocks).bounds(), (0, Some(2)));
        assert_eq!((blocks + 2).at_least(n), Some(true));
        assert_eq!((blocks + 1).at_least(n), None);
    }

    #[test]
    fn ranges_know_halves_and_extrema() {
        let (t, n) = (Dim::symbol("T", 1, 64), Dim::symbol("N", 0, 64));
        let half = (t + 1).div_floor(2);
        assert_eq!(t.at_least(half), Some(true));
        assert_eq!(half.at_least(t), None);
        assert_eq!(half.min(t), half);
        assert_eq!((t - half).bounds(), (0, Some(32)));
        assert_eq!((n - n.div_floor(3)).at_least(0), Some(true));
        assert_eq!((n.div_floor(3) * 2 - n).bounds().1, Some(0));
        let unknown = t.min(n);
        assert_eq!([t.at_least(unknown), n.at_least(unknown)], [Some(true); 2]);
        assert_eq!(t.max(n).at_least(t), Some(true));
        assert_eq!(unknown.at_least(t), None);
    }

    #[test]
    fn invalid_spreads_and_values_evaluate() {
        let b = Dim::symbol("B", 1, 64);
        assert!((b * Dim::INVALID).is_invalid());
        assert!(b.div_floor(0).is_invalid());
        let at = |n| move |_: Symbol| Some(n);
        assert_eq!((b * b - 1).div_floor(2).eval(&at(7)), Some(24));
        assert_eq!((b * b - 1).substitute(&|_| Some(Dim::from(7usize))), 48);
        assert!(b.get().is_err());
    }
}
