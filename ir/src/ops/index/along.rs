//! Indices for all axes of a tensor from indices along one.

use crate::emit::X;
use crate::op::ReduceKind;
use crate::ops::{gather, iota, scatter};
use crate::types::DType;

/// The index operands that name, for each element of `places` (`i64`), the element of a tensor of the same axes whose index
/// along `axis` is that place and whose other indices are the element's own.
fn indices<'b, 'e>(places: X<'b, 'e>, axis: usize) -> Vec<X<'b, 'e>> {
    let own = |a: usize| places.emitter.one(iota(DType::I64, places.shape(), a), &[]);
    (0..places.rank()).map(|a| if a == axis { places } else { own(a) }).collect()
}

/// `x` at `places` along `axis`: `y[i, j] = x[places[i, j], j]` for axis 0.
pub(crate) fn take_along<'b, 'e>(x: X<'b, 'e>, places: X<'b, 'e>, axis: usize) -> X<'b, 'e> {
    let all: Vec<usize> = (0..x.rank()).collect();
    x.emitter.one(gather(&all), &[&[x], &indices(places, axis)[..]].concat())
}

/// The transpose of [`take_along`]: `dy` added at `places` along `axis` into zeros like `x`.
pub(crate) fn add_along<'b, 'e>(x: X<'b, 'e>, places: X<'b, 'e>, axis: usize, dy: X<'b, 'e>) -> X<'b, 'e> {
    let all: Vec<usize> = (0..x.rank()).collect();
    let operands = [&[x.zeros_like()], &indices(places, axis)[..], &[dy]].concat();
    x.emitter.one(scatter(&all, Some(ReduceKind::Sum)), &operands)
}
