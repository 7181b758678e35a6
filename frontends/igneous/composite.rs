//! tmp
use igneous_ir::op::{Attr, Float};
use igneous_ir::{Op, ops};
fn op(name: &str, attrs: Vec<Attr>) -> Op {
    Op::new(ops::record(name).unwrap(), attrs)
}
pub(crate) fn softmax(axis: usize) -> Op {
    op("softmax", vec![Attr::Int(axis as i64)])
}
pub(crate) fn log_softmax(axis: usize) -> Op {
    op("log_softmax", vec![Attr::Int(axis as i64)])
}
pub(crate) fn gelu(approximate: &'static str) -> Op {
    op("gelu", vec![Attr::Name(approximate)])
}
pub(crate) fn layer_norm(axes: usize, eps: f64) -> Op {
    op("layer_norm", vec![Attr::Int(axes as i64), Attr::Float(Float::new(eps))])
}
pub(crate) fn cross_entropy() -> Op {
    op("cross_entropy", vec![])
}
pub(crate) fn dropout(p: f64) -> Op {
    op("dropout", vec![Attr::Float(Float::new(p))])
}
