//! Bodies of contiguous innermost loops at the full width of an x86-64 machine: AVX-512, or AVX2 with FMA.
//!
//! A strip is a function that does for a range of indices what the 128-bit loop would do, bit for bit. [`select`] turns
//! expressions into instructions on values ([`body`]), [`allocate`] gives the values registers, [`assemble`] lays out the
//! loops, [`encode`] writes the bytes. What a strip cannot do (an operation without an instruction, bytes that do not lie
//! one after the other) stays with the 128-bit form.
//!
//! A vector has as many elements as fill a register with the widest type of the body, and each value takes one register.
//! The addresses and numbers that a strip needs are in a table in memory, 8 bytes each.

mod allocate;
mod assemble;
mod body;
mod call;
mod divide;
mod encode;
mod fold;
mod gather;
mod half;
mod pair;
mod scale;
mod select;
mod table;
#[cfg(test)]
mod tests;

pub(super) use assemble::Strip;
pub(super) use call::{End, To, Turns};
pub(super) use encode::Listing;
