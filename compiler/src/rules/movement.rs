//! Views moved from the operands of pointwise operators to their results, where they meet and cancel, and where a
//! broadcast leaves less to compute.

use super::axes::{inverse, reshape_groups};
use crate::egraph::rule::{Axes, Constant, Operand, Rule};
use crate::rule;
use igneous_ir::types::Shape;
use igneous_ir::{Dim, Op, ops};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        rule!("move/unary-broadcast" [Exact]: unary[f](broadcast[(s, p)](x)) => broadcast[(s, p)](unary[f](x));
            on "x: f32[3], f = exp, s = [2, 3], p = [1]"),
        rule!("move/binary-broadcast" [Exact]:
            binary[f](broadcast[(s, p)](x), broadcast[(s, p)](y)) => broadcast[(s, p)](binary[f](x, y));
            on "x: f32[3], y: f32[3], f = sub, s = [2, 3], p = [1]"),
        rule!("move/binary-broadcast-constant" [Exact]:
            binary[f](broadcast[(s, p)](x), c) => broadcast[(s, p)](binary[f](x, d)); let d = filled_like(c, x);
            on "x: f32[3], c: f32[2, 3] = 2.0, f = pow, s = [2, 3], p = [1]"),
        rule!("move/binary-constant-broadcast" [Exact]:
            binary[f](c, broadcast[(s, p)](x)) => broadcast[(s, p)](binary[f](d, x)); let d = filled_like(c, x);
            on "x: f32[3], c: f32[2, 3] = 2.0, f = sub, s = [2, 3], p = [1]"),
        rule!("move/ternary-broadcast" [Exact]:
            ternary[f](broadcast[(s, p)](x), broadcast[(s, p)](y), broadcast[(s, p)](z)) => broadcast[(s, p)](ternary[f](x, y, z));
            on "x: bool[3], y: f32[3], z: f32[3], f = select, s = [2, 3], p = [1]"),
        rule!("move/unary-reshape" [Exact]: unary[f](reshape[s](x)) => reshape[s](unary[f](x));
            on "x: f32[2, 3], f = exp, s = [6]"),
        rule!("move/binary-reshape" [Exact]: binary[f](reshape[s](x), reshape[s](y)) => reshape[s](binary[f](x, y));
            when have_one_shape(x, y);
            on "x: f32[2, 3], y: f32[2, 3], f = sub, s = [6]"),
        rule!("move/binary-reshape-constant" [Exact]: binary[f](reshape[s](x), c) => reshape[s](binary[f](x, d));
            let d = filled_like(c, x);
            on "x: f32[2, 3], c: f32[6] = 2.0, f = sub, s = [6]"),
        rule!("move/binary-constant-reshape" [Exact]: binary[f](c, reshape[s](x)) => reshape[s](binary[f](d, x));
            let d = filled_like(c, x);
            on "x: f32[2, 3], c: f32[6] = 2.0, f = sub, s = [6]"),
        rule!("move/binary-reshape-broadcast" [Exact]:
            binary[f](reshape[s](x), broadcast[(s, p)](y)) => reshape[s](binary[f](x, broadcast[(t, q)](y)));
            let (t, q) = before_reshape(x, s, p);
            on "x: f32[6, 4], y: f32[4], f = sub, s = [2, 3, 4], p = [2]"),
        rule!("move/binary-broadcast-reshape" [Exact]:
            binary[f](broadcast[(s, p)](y), reshape[s](x)) => reshape[s](binary[f](broadcast[(t, q)](y), x));
            let (t, q) = before_reshape(x, s, p);
            on "x: f32[6, 4], y: f32[4], f = sub, s = [2, 3, 4], p = [2]"),
        rule!("move/unary-transpose" [Exact]: unary[f](transpose[p](x)) => transpose[p](unary[f](x));
            on "x: f32[2, 3], f = exp, p = [1, 0]"),
        rule!("move/binary-transpose" [Exact]: binary[f](transpose[p](x), transpose[p](y)) => transpose[p](binary[f](x, y));
            on "x: f32[2, 3], y: f32[2, 3], f = sub, p = [1, 0]"),
        rule!("move/binary-transpose-constant" [Exact]: binary[f](transpose[p](x), c) => transpose[p](binary[f](x, d));
            let d = filled_like(c, x);
            on "x: f32[2, 3], c: f32[3, 2] = 2.0, f = sub, p = [1, 0]"),
        rule!("move/binary-constant-transpose" [Exact]: binary[f](c, transpose[p](x)) => transpose[p](binary[f](d, x));
            let d = filled_like(c, x);
            on "x: f32[2, 3], c: f32[3, 2] = 2.0, f = sub, p = [1, 0]"),
        rule!("move/binary-transpose-broadcast" [Exact]:
            binary[f](transpose[r](x), broadcast[(s, p)](y)) => transpose[r](binary[f](x, transpose[q](broadcast[(s, p)](y))));
            let q = inverted(r);
            on "x: f32[2, 3], y: f32[2], f = sub, r = [1, 0], s = [3, 2], p = [1]"),
        rule!("move/binary-broadcast-transpose" [Exact]:
            binary[f](broadcast[(s, p)](y), transpose[r](x)) => transpose[r](binary[f](transpose[q](broadcast[(s, p)](y)), x));
            let q = inverted(r);
            on "x: f32[2, 3], y: f32[2], f = sub, r = [1, 0], s = [3, 2], p = [1]"),
        rule!("move/slice-unary" [Exact]: slice[s](unary[f](x)) => unary[f](slice[s](x));
            on "x: f32[6], f = exp, s = {start=[1], limit=[4], stride=[1]}"),
        rule!("move/slice-binary" [Exact]: slice[s](binary[f](x, y)) => binary[f](slice[s](x), slice[s](y));
            on "x: f32[6], y: f32[6], f = sub, s = {start=[1], limit=[4], stride=[1]}"),
        rule!("move/slice-transpose" [Exact]: slice[s](transpose[p](x)) => transpose[p](slice[t](x)); let t = before_transpose(s, p);
            on "x: f32[4, 6], p = [1, 0], s = {start=[1, 0], limit=[5, 2], stride=[2, 1]}"),
    ]
}

/// A constant of `x`'s shape with the number that fills `c`, if there is one and `x` is not known itself.
fn filled_like(c: Operand, x: Operand) -> Option<Constant> {
    let literal = c.uniform()?;
    x.known().is_none().then(|| Constant::Filled(x.ty().with_dtype(c.dtype()), literal))
}

fn have_one_shape(x: Operand, y: Operand) -> bool {
    x.shape() == y.shape()
}

fn inverted(p: Axes) -> Option<Axes> {
    Some(inverse(&p))
}

/// Shape and places of a broadcast before a reshape of `x` to `s`, if the reshape leaves the places' axes alone.
fn before_reshape(x: Operand, s: &[Dim], p: Axes) -> Option<(Shape, Axes)> {
    let groups = reshape_groups(x.shape(), s)?;
    let before = |a: &usize| {
        let (from, to) = groups.iter().find(|(_, to)| to.contains(a))?;
        match (from.as_slice(), to.as_slice()) {
            ([one], [_]) => Some(*one),
            _ => None,
        }
    };
    Some((x.shape().into(), p.iter().map(before).collect::<Option<_>>()?))
}

fn before_transpose(s: &Op, p: Axes) -> Option<Op> {
    let back = inverse(&p);
    let take = |dims: &[Dim]| back.iter().map(|&a| dims[a]).collect::<Shape>();
    let stride: Vec<i64> = back.iter().map(|&a| s.ints("stride")[a]).collect();
    Some(ops::slice(&take(s.dims("start")), &take(s.dims("limit")), &stride))
}
