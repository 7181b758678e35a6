//! Instances of an operator with inputs, from which its tests are made.

use super::Op;
use crate::types::TensorType;

/// How the values of a sample's input are made. Every choice is a function of sample and position only.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Fill {
    /// Standard normal.
    Normal,
    /// Uniform in a range.
    Uniform(f64, f64),
    /// Integers in `lo..hi`.
    Range(i64, i64),
    /// ±0, ±1, ±inf, NaN, tiny and huge numbers in turn. Never used for gradients.
    Specials,
    /// Distinct numbers in random order: no ties for max, min and sorting.
    Distinct,
}

/// One instance of an operator with inputs.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The operator.
    pub op: Op,
    /// Types and contents of the operands.
    pub inputs: Vec<(TensorType, Fill)>,
}

/// Collects samples.
#[derive(Default, Debug)]
pub struct Samples(pub Vec<Sample>);

impl Samples {
    /// Adds a sample.
    pub fn add(&mut self, op: Op, inputs: impl IntoIterator<Item = (TensorType, Fill)>) {
        self.0.push(Sample { op, inputs: inputs.into_iter().collect() });
    }
}
