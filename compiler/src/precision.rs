//! How much freedom the compiler has with numerics, and what a rewrite needs of it.

use std::fmt;

/// What a rewrite does to the numbers it replaces.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Licence {
    /// The same bits for every input.
    Exact,
    /// Equal in real arithmetic wherever both sides are finite; rounding differs.
    Reassociate,
    /// An approximation, or equal only away from special values.
    Approximate,
}

impl fmt::Display for Licence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the user asks for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Precision {
    /// Compiled equals eager bit for bit: exact rewrites only, and nothing is recognised.
    Strict,
    /// Reassociation and recognised composites.
    #[default]
    Default,
    /// Approximations too.
    Fast,
}

impl Precision {
    /// The licences it grants.
    pub const fn licences(self) -> Licences {
        match self {
            Precision::Strict => Licences(Licence::Exact),
            Precision::Default => Licences(Licence::Reassociate),
            Precision::Fast => Licences(Licence::Approximate),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::Strict => "strict",
            Precision::Default => "default",
            Precision::Fast => "fast",
        })
    }
}

/// How products of single precision multiply (PyTorch's `set_float32_matmul_precision`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum MatmulPrecision {
    /// Numbers as they are.
    #[default]
    Full,
    /// Numbers that may be rounded to ten bits of mantissa (TF32): several times as fast on devices that have instructions
    /// for it. [`Precision::Fast`] asks for it, too; under [`Precision::Strict`] it is not granted.
    Tf32,
}

impl MatmulPrecision {
    /// What is granted under this precision.
    pub(crate) fn under(self, precision: Precision) -> MatmulPrecision {
        match precision {
            Precision::Strict => MatmulPrecision::Full,
            Precision::Default => self,
            Precision::Fast => MatmulPrecision::Tf32,
        }
    }
}

/// The licences granted: all up to one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Licences(Licence);

impl Licences {
    /// Whether `licence` is granted.
    pub fn grant(self, licence: Licence) -> bool {
        licence <= self.0
    }
}

impl From<Precision> for Licences {
    fn from(precision: Precision) -> Licences {
        precision.licences()
    }
}
