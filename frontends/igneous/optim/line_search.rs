//! How far to go along a direction: Nocedal and Wright 2006, algorithms 3.5 and 3.6, with the safeguards of PyTorch's
//! `strong_wolfe`.

use crate::tensor::Tensor;
use igneous_ir::Result;

/// How much of the promised decrease is asked for.
const DECREASE: f64 = 1e-4;
/// How much of the slope may be left.
const CURVATURE: f64 = 0.9;

/// The loss at a distance along a direction.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub t: f64,
    pub loss: f64,
    pub gradient: Tensor,
    /// The derivative along the direction.
    pub slope: f64,
}

/// The lowest place of the cubic through two points with these values and slopes, inside of bounds.
fn cubic_minimum(a: &Point, b: &Point, (low, high): (f64, f64)) -> f64 {
    let (left, right) = if a.t <= b.t { (a, b) } else { (b, a) };
    let middle = a.slope + b.slope - 3.0 * (a.loss - b.loss) / (a.t - b.t);
    let square = middle * middle - a.slope * b.slope;
    if square.is_nan() || square < 0.0 {
        return (low + high) / 2.0;
    }
    let root = square.sqrt();
    let place = right.t - (right.t - left.t) * ((right.slope + root - middle) / (right.slope - left.slope + 2.0 * root));
    place.max(low).min(high)
}

/// A point where the loss has fallen and its slope is small. `start` is the point at 0, `t` the first distance tried, `longest`
/// the largest element of the direction, `most` how often the loss may be computed after the first time. Also how often it was.
pub(super) fn strong_wolfe(
    start: &Point,
    t: f64,
    longest: f64,
    tolerance: f64,
    most: usize,
    mut at: impl FnMut(f64) -> Result<Point>,
) -> Result<(Point, usize)> {
    let falls = |point: &Point| point.loss <= start.loss + DECREASE * point.t * start.slope;
    let is_flat = |point: &Point| point.slope.abs() <= -CURVATURE * start.slope;
    let mut before = start.clone();
    let mut now = at(t)?;
    let mut count = 0;
    // Out, until there is a bracket.
    let (mut a, mut b) = loop {
        if count == most {
            return Ok((if start.loss <= now.loss { start.clone() } else { now }, count + 1));
        }
        if !falls(&now) || count > 1 && now.loss >= before.loss {
            break (before, now);
        }
        if is_flat(&now) {
            return Ok((now, count + 1));
        }
        if now.slope >= 0.0 {
            break (before, now);
        }
        let bounds = (now.t + 0.01 * (now.t - before.t), now.t * 10.0);
        let next = cubic_minimum(&before, &now, bounds);
        before = std::mem::replace(&mut now, at(next)?);
        count += 1;
    };
    // In, until it is good: `a` is the lower end.
    if b.loss < a.loss {
        std::mem::swap(&mut a, &mut b);
    }
    let mut stuck = false;
    while count < most && (b.t - a.t).abs() * longest >= tolerance {
        let (low, high) = (a.t.min(b.t), a.t.max(b.t));
        let mut t = cubic_minimum(&a, &b, (low, high));
        let margin = 0.1 * (high - low);
        if (high - t).min(t - low) < margin {
            // Too near an end: allowed once, then moved inside.
            if stuck || t >= high || t <= low {
                t = if (t - high).abs() < (t - low).abs() { high - margin } else { low + margin };
                stuck = false;
            } else {
                stuck = true;
            }
        } else {
            stuck = false;
        }
        let point = at(t)?;
        count += 1;
        if !falls(&point) || point.loss >= a.loss {
            b = point;
            if b.loss < a.loss {
                std::mem::swap(&mut a, &mut b);
            }
            continue;
        }
        if is_flat(&point) {
            return Ok((point, count + 1));
        }
        if point.slope * (b.t - a.t) >= 0.0 {
            b = a;
        }
        a = point;
    }
    Ok((a, count + 1))
}
