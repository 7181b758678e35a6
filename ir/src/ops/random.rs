//! Random bits by a counter: Philox4x32-10.

use crate::dim::Dim;
use crate::op::*;
use crate::ops::type_rule::*;
use crate::types::{DType, Shape, TensorType};

/// The records of this family.
pub static RANDOM: &[&Record] = &[&RANDOM_BITS];

/// Uniform random `u32`s. The operand is the state, `i64[2]`: seed and counter. Element `e` (row-major) is word `e mod 4`
/// of Philox4x32-10 with the seed as key and the counter `(e / 4, counter)`, low words first.
/// Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
pub fn random_bits(shape: Shape) -> Op {
    Op::new(&RANDOM_BITS, [Attr::Dims(shape)])
}

/// See [`random_bits`].
pub static RANDOM_BITS: Record = Record {
    name: "random_bits",
    attrs: &[("shape", AttrKind::Dims)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [state] = rule.operands()?;
        rule.dtype(0, DType::I64)?;
        rule.rank(0, 1)?;
        rule.agree("the state's extent and 2", ("the extent", state.shape[0]), ("the state's", Dim::from(2usize)))?;
        one(TensorType::new(DType::U32, rule.all_extents("shape")?))
    },
    ..PENDING
};
