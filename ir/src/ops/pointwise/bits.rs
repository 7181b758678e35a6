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

    /// `a · 2^b`, wrapping; the count `b` must be from 0 to the width less one.
    SHIFT_LEFT shift_left(a, b) int {
        kernel: a << b,
        int: a.wrapping_shl(b as u32),
        domain: [Fill::Range(-99, 99), Fill::Range(0, 8)],
    }

    /// `⌊a / 2^b⌋`; the count `b` must be from 0 to the width less one.
    SHIFT_RIGHT shift_right(a, b) int {
        kernel: a >> b,
        int: a.wrapping_shr(b as u32),
        domain: [Fill::Range(-99, 99), Fill::Range(0, 8)],
    }
}
