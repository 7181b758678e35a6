//! Views: broadcast, reshape, transpose, slice, pad, concat, flip.
use crate::dim::Dim;
use crate::op::*;
use crate::types::Shape;
/// stub
pub static SHAPE: &[&Record] = &[];
/// stub
pub fn broadcast(_shape: Shape, _axes: &[usize]) -> Op { unimplemented!() }
/// stub
pub fn reshape(_shape: Shape) -> Op { unimplemented!() }
/// stub
pub fn transpose(_permutation: &[usize]) -> Op { unimplemented!() }
/// stub
pub fn slice(_start: &[Dim], _limit: &[Dim], _stride: &[i64]) -> Op { unimplemented!() }
/// stub
pub fn pad(_low: &[Dim], _high: &[Dim], _interior: &[i64]) -> Op { unimplemented!() }
/// stub
pub fn concat(_axis: usize) -> Op { unimplemented!() }
/// stub
pub fn flip(_axes: &[usize]) -> Op { unimplemented!() }
