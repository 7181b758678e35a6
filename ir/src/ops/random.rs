//! Random bits by a counter: Philox4x32-10.

use crate::array::Array;
use crate::dim::Dim;
use crate::error::Result;
use crate::graph::{Graph, Region};
use crate::op::*;
use crate::ops::inputs::*;
use crate::ops::scan;
use crate::ops::type_rule::*;
use crate::scalar::{S, ScalarOp};
use crate::types::{DType, Shape, TensorType, contiguous_strides};

/// The records of this family.
pub static RANDOM: &[&Record] = &[&RANDOM_BITS];

/// Uniform random `u32`s. The operand is the state, `i64[2]`: seed and counter. Element `e` (row-major) is word `e mod 4`
/// of Philox4x32-10 with the seed as key and `(e / 4, counter)` as counter, low words first.
/// Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
pub fn random_bits(shape: Shape) -> Op {
    Op::new(&RANDOM_BITS, [Attr::Dims(shape)])
}

/// Checks that an operand is a state of [`random_bits`].
pub(crate) fn check_state(rule: TypeRule, operand: usize, state: &TensorType) -> Result<()> {
    rule.dtype(operand, DType::I64)?;
    rule.rank(operand, 1)?;
    let numbers = state.shape[0];
    rule.ensure(numbers == 2usize, || format!("needs two numbers, seed and counter, in operand {operand}, not {numbers}"))
}

/// See [`random_bits`].
pub static RANDOM_BITS: Record = Record {
    name: "random_bits",
    attrs: &[("shape", AttrKind::Dims)],
    infer: |op, operands| {
        let rule = TypeRule::new(op, operands);
        let [state] = rule.operands()?;
        check_state(rule, 0, state)?;
        one(TensorType::new(DType::U32, rule.all_extents("shape")?))
    },
    reference: |r| {
        let (shape, state) = (r.results[0].sizes()?, [r.inputs[0].i(0) as u64, r.inputs[0].i(1) as u64]);
        let elements: usize = shape.iter().product();
        let blocks = (0..elements.div_ceil(4) as u64)
            .flat_map(|block| philox4x32([words(block), words(state[1])].concat(), words(state[0])));
        Ok(vec![Array::ints(DType::U32, shape, blocks.take(elements).map(i64::from).collect())])
    },
    lowering: Lowering::Map(element),
    vjp: Vjp::Zero,
    jvp: Jvp::Zero,
    batch: Batch::Rule(|b| {
        // Each state has its own sequence, which starts at element 0.
        let mut one = Graph::new("random_bits");
        let state = one.input("state", TensorType::new(DType::I64, [2usize]));
        let bits = one.push(b.op.clone(), &[state], Types::from_iter([TensorType::new(DType::U32, b.op.dims("shape"))]));
        one.output("bits", bits[0]);
        vec![b.emitter.one(scan(Region::new(one), 0, 0, false, b.extent), &[b.operands[0]])]
    }),
    flops: |_, _, results| results[0].elements() * 60usize,
    samples: |s| {
        let any = (TensorType::new(DType::I64, [2usize]), Fill::Range(i64::MIN / 2, i64::MAX / 2));
        for extents in [&[][..], &[1], &[11], &[2, 3, 5], &[3, 0]] {
            s.add(random_bits(shape(extents.iter().copied())), [any.clone()]);
        }
    },
    error_samples: |s| {
        s.add(random_bits(shape([4])), []);
        s.add(random_bits(shape([4])), [range(DType::I32, [2], 0, 9)]);
        s.add(random_bits(shape([4])), [range(DType::I64, [], 0, 9)]);
        s.add(random_bits(shape([4])), [range(DType::I64, [3], 0, 9)]);
        s.add(random_bits(Shape::from_iter([Dim::INVALID])), [range(DType::I64, [2], 0, 9)]);
    },
};

const ROUNDS: u32 = 10;
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The low and the high word.
fn words(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

/// Philox4x32-10: four random words for each counter and key. Salmon et al. 2011.
pub fn philox4x32(counter: impl AsRef<[u32]>, mut key: [u32; 2]) -> [u32; 4] {
    let mut c: [u32; 4] = counter.as_ref().try_into().expect("a counter has four words");
    for _ in 0..ROUNDS {
        let [low0, high0] = words(u64::from(MULTIPLIERS[0]) * u64::from(c[0]));
        let [low1, high1] = words(u64::from(MULTIPLIERS[1]) * u64::from(c[2]));
        c = [high1 ^ c[1] ^ key[0], low1, high0 ^ c[3] ^ key[1], low0];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    c
}

/// The element of the result at an index, as an expression.
fn element<'a>(at: &Indexing<'a>) -> S<'a> {
    let mut position = at.int(0);
    for (&i, stride) in at.index.iter().zip(contiguous_strides(&at.results[0].shape)) {
        position = position + i * at.extent(stride);
    }
    let u32s = |x: u32| S::int(at.exprs, DType::U32, x.into());
    let low = |x: S<'a>| x.cast(DType::U32);
    let high = |x: S<'a>| x.binary(ScalarOp::Shr, at.int(32)).cast(DType::U32);
    let (block, word) = (position / at.int(4), position.binary(ScalarOp::Rem, at.int(4)));
    let (seed, counter) = (at.load(0, &[at.int(0)]), at.load(0, &[at.int(1)]));
    let few_blocks = at.results[0].elements().bounds().1.is_some_and(|n| n <= 1 << 34);
    let mut c = [low(block), if few_blocks { u32s(0) } else { high(block) }, low(counter), high(counter)];
    let key = [low(seed), high(seed)];
    for round in 0..ROUNDS {
        let product = |i: usize, x: S<'a>| (u32s(MULTIPLIERS[i]) * x, u32s(MULTIPLIERS[i]).binary(ScalarOp::MulHi, x));
        let ((low0, high0), (low1, high1)) = (product(0, c[0]), product(1, c[2]));
        let key = |i: usize| key[i] + u32s(KEY_STEPS[i].wrapping_mul(round));
        let mix = |high: S<'a>, c: S<'a>, key: S<'a>| high.binary(ScalarOp::Xor, c).binary(ScalarOp::Xor, key);
        c = [mix(high1, c[1], key(0)), low1, mix(high0, c[3], key(1)), low0];
    }
    let is = |i: i64| word.equals(at.int(i));
    is(0).select(c[0], is(1).select(c[1], is(2).select(c[2], c[3])))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that Random123 publishes (`kat_vectors`, philox4x32 10).
    #[test]
    fn philox_gives_the_published_vectors() {
        let ones = u32::MAX;
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([ones; 4], [ones; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let counter = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let expected = [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1];
        assert_eq!(philox4x32(counter, [0xa409_3822, 0x299f_31d0]), expected);
    }
}
