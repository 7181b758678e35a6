//! What an operator is expected to cost: a roofline, in which what fusion will absorb is nearly free.

use igneous_ir::op::Lowering;
use igneous_ir::{Dim, Op, TensorType};

/// A machine as the cost model sees it.
#[derive(Clone, Debug)]
pub struct Roofline {
    /// Bytes per nanosecond from memory.
    pub bandwidth: f64,
    /// Arithmetic operations per nanosecond.
    pub flops: f64,
    /// Nanoseconds to start a kernel.
    pub launch: f64,
}

impl Default for Roofline {
    /// One core of a current server CPU.
    fn default() -> Roofline {
        Roofline { bandwidth: 20.0, flops: 100.0, launch: 1000.0 }
    }
}

/// The share of its result's traffic that a fused element-wise operator is charged.
const FUSED_TRAFFIC: f64 = 0.02;
/// The share that an operator is charged which moves elements: it may have to be computed on its own.
const MOVED_TRAFFIC: f64 = 0.25;
/// Nanoseconds for being there at all: of two graphs that differ in nothing else, the smaller is chosen.
const PRESENCE: f64 = 1.0;
/// How much slower a convolution is whose image has zeros between its elements: its windows are gathered one element at a time.
const SPREAD: f64 = 8.0;
/// The value assumed for a symbolic extent, kept within its range.
const ASSUMED_EXTENT: i64 = 128;

impl Roofline {
    /// The expected time of one operator, in nanoseconds.
    pub fn price(&self, op: &Op, operands: &[TensorType], results: &[TensorType]) -> f64 {
        let written: f64 = results.iter().map(bytes).sum();
        let read: f64 = operands.iter().map(bytes).sum();
        let elements = results.first().map_or(0.0, |ty| number(ty.elements()));
        let kernel = |flops: f64| self.launch + ((read + written) / self.bandwidth).max(flops / self.flops);
        let moved = |share: f64| PRESENCE + share * (read + written) / self.bandwidth;
        match op.name() {
            "input" | "constant" | "broadcast" | "extent" | "stop_gradient" => 0.1 * PRESENCE,
            "iota" | "reshape" | "slice" => PRESENCE,
            "transpose" | "flip" => moved(MOVED_TRAFFIC),
            "pad" | "concat" => moved(2.0 * MOVED_TRAFFIC),
            "gather" => 0.5 * self.launch + written / self.bandwidth,
            _ => match op.record().lowering {
                // One pass over the first operand; what follows the reduction inside of it is fused as it would be outside.
                Lowering::Composite(_) if !matches!(op.name(), "gelu" | "dropout" | "random_uniform" | "random_normal") => {
                    self.launch + operands.first().map_or(0.0, bytes) / self.bandwidth
                }
                Lowering::Map(_) | Lowering::Composite(_) => {
                    PRESENCE + elements * weight(op.name()) / self.flops + FUSED_TRAFFIC * written / self.bandwidth
                }
                Lowering::Structural => self.launch,
                _ => {
                    let spread = op.name() == "convolution" && op.ints("lhs_dilation").iter().any(|&d| d != 1);
                    kernel(number((op.record().flops)(op, operands, results)) * if spread { SPREAD } else { 1.0 })
                }
            },
        }
    }
}

/// Arithmetic operations for one element of a pointwise operator, as fast ones.
fn weight(name: &str) -> f64 {
    match name {
        "div" | "sqrt" | "rsqrt" | "reciprocal" | "rem" => 4.0,
        "exp" | "log" | "log1p" | "expm1" | "sin" | "cos" | "tanh" | "erf" | "sigmoid" | "silu" | "softplus" => 12.0,
        "gelu" | "dropout" | "random_bits" | "random_uniform" => 16.0,
        "pow" => 25.0,
        "random_normal" => 64.0,
        _ => 1.0,
    }
}

fn bytes(ty: &TensorType) -> f64 {
    number(ty.bytes())
}

fn number(dim: Dim) -> f64 {
    dim.eval(&|s| Some(ASSUMED_EXTENT.clamp(s.lo, s.hi.max(s.lo)))).unwrap_or(0) as f64
}
