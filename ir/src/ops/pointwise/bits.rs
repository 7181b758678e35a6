//! Logic and operations on bits.

use super::*;

pointwise! { BITS;
    /// Complement of the bits; of the truth value for bool.
    NOT not(x) bits {
        kernel: !x,
        int: !x,
    }

    /// Bitwise or logical and.
    AND and(a, b) bits {
        kernel: a & b,
        int: a & b,
    }

    /// Bitwise or logical or.
    OR or(a, b) bits {
        kernel: a | b,
        int: a | b,
    }

    /// Bitwise or logical exclusive or.
    XOR xor(a, b) bits {
        kernel: a ^ b,
        int: a ^ b,
    }

    /// `a · 2^b`, wrapping: 0 where the count `b` is negative or not below the width.
    SHIFT_LEFT shift_left(a, b) int {
        kernel: is_count(b).select(a << (b & last_bit(b)), a.lit(0.0)),
        int: if (0..64).contains(&b) { a << b } else { 0 },
        domain: [Fill::Range(-99, 99), Fill::Range(0, 70)],
    }

    /// `⌊a / 2^b⌋`: what is left is the sign, 0 or -1, where the count `b` is negative or not below the width.
    SHIFT_RIGHT shift_right(a, b) int {
        kernel: is_count(b).select(a >> (b & last_bit(b)), (a >> last_bit(b)) >> b.lit(1.0)),
        int: if (0..64).contains(&b) { a >> b } else { a >> 63 },
        domain: [Fill::Range(-99, 99), Fill::Range(0, 70)],
    }
}

/// The largest count of a shift: machines differ in what they do beyond it.
fn last_bit(count: S<'_>) -> S<'_> {
    count.lit((8 * count.dtype().size() - 1) as f64)
}

fn is_count(count: S<'_>) -> S<'_> {
    count.ge(count.lit(0.0)) & count.le(last_bit(count))
}
