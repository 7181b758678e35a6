//! Sections that are nothing but a convolution or a derivative of one: what a library is told of them. They are products of elements of
//! two tensors, one of them under windows; which axes of the three tensors are which says what is computed.

use super::product;
use crate::cpu::{Affine, WindowLoad};
use crate::precision::MatmulPrecision;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Kernel, Section, Stage};
use igneous_ir::scalar::{ExprId, Exprs, ScalarOp};
use igneous_runtime::cuda::{Convolution, Pass, Spatial, Whole};

/// The convolution that a section is, if a library can do it: without groups, with as many zeros before as behind.
pub(super) fn of(kernel: &Kernel, section: &Section, precision: MatmulPrecision) -> Option<Convolution> {
    let (Stage::Dot { lhs, rhs, .. }, _) = section.stages.split_first()? else { return None };
    let (local, param, index, value) = product::only_store(section)?;
    let exprs = &section.exprs;
    let [left, right] = [*lhs, *rhs].map(|side| {
        let load = WindowLoad::of(exprs, side, &kernel.params)?;
        Some((kernel.params[load.param as usize].ty.dtype, load))
    });
    let ((of_left, left), (of_right, right)) = (left?, right?);
    let result = kernel.params[param as usize].ty.dtype;
    let types = product::types([of_left, of_right], section.locals[local as usize].dtype, result, precision)?;
    let value = exprs.get(value);
    let plain =
        value.op == ScalarOp::Local(local) || value.op == ScalarOp::Cast && exprs.get(value.args[0]).op == ScalarOp::Local(local);
    let reader = Reader { section, exprs };
    let shape = |param: u32| kernel.params[param as usize].ty.shape.to_vec();
    let (of_left, of_right, of_out) = (shape(left.param), shape(right.param), shape(param));
    if !plain || left.padded || left.steps.iter().any(|&step| step != Dim::ONE) || of_out.len() < 3 {
        return None;
    }
    let out: Vec<Affine> = index.iter().map(|&i| Affine::of(exprs, i)).collect();
    let out = reader.along(&out, &of_out)?;
    let other = reader.along(&left.index, &of_left)?;
    let (pass, spatial) = reader
        .forward(&out, &other, &right, &of_right)
        .map(|spatial| (Pass::Forward, spatial))
        .or_else(|| Some((Pass::Weights, reader.weights(&out, &other, &right, &of_right)?)))
        .or_else(|| Some((Pass::Images, reader.images(&out, &other, &right, &of_right, &of_left)?)))?;
    let [left, right, out] = [(left.param, of_left), (right.param, of_right), (param, of_out)]
        .map(|(param, shape)| Whole { param: param as usize, shape });
    let tensors = match pass {
        Pass::Forward => [right, left, out],
        Pass::Weights => [right, out, left],
        Pass::Images => [out, left, right],
    };
    Some(Convolution { pass, types, tensors, spatial })
}

/// What an index runs along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Along {
    /// All of an axis, from the first element on.
    Axis(u32),
    /// All of an axis, from the last element on.
    Flipped(u32),
    /// The only element.
    Only,
}

impl Along {
    fn axis(self) -> Option<u32> {
        match self {
            Along::Axis(axis) | Along::Flipped(axis) => Some(axis),
            Along::Only => None,
        }
    }
}

struct Reader<'a> {
    section: &'a Section,
    exprs: &'a Exprs,
}

impl Reader<'_> {
    fn along_one(&self, index: &Affine, extent: Dim) -> Option<Along> {
        match index.terms[..] {
            [] => (index.constant == Dim::ZERO && extent == Dim::ONE).then_some(Along::Only),
            [(atom, coefficient)] => {
                let ScalarOp::Axis(axis) = self.exprs.get(atom).op else { return None };
                let whole = self.section.axes[axis as usize].extent == extent;
                match coefficient.as_const()? {
                    1 if whole && index.constant == Dim::ZERO => Some(Along::Axis(axis)),
                    -1 if whole && index.constant == extent - 1 => Some(Along::Flipped(axis)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// What the indices of a whole tensor run along.
    fn along(&self, index: &[Affine], shape: &[Dim]) -> Option<Vec<Along>> {
        index.iter().zip(shape).map(|(index, &extent)| self.along_one(index, extent)).collect()
    }

    /// The first two axes of the tensor under windows, if it is not flipped along them.
    fn outer(&self, windows: &WindowLoad, shape: &[Dim]) -> Option<[Along; 2]> {
        let steps = windows.steps.get(..2)?.iter().all(|&step| step == Dim::ONE);
        let [a, b] = [0, 1].map(|k| self.along_one(windows.index.get(k)?, shape[k]));
        steps.then_some([a?, b?])
    }

    /// Coefficients of two axes in an index that has no others, and its constant.
    fn sum(&self, index: &Affine, axes: [Along; 2]) -> Option<([i64; 2], i64)> {
        let of = |along: Along| along.axis().map_or(Dim::ZERO, |axis| index.coefficient(self.exprs, axis));
        let known =
            |atom: ExprId| axes.iter().any(|a| a.axis().is_some_and(|axis| self.exprs.get(atom).op == ScalarOp::Axis(axis)));
        let only = index.terms.iter().all(|&(atom, _)| known(atom));
        let [a, b] = axes.map(|along| of(along).as_const());
        only.then_some(([a?, b?], index.constant.as_const()?))
    }

    /// Windows whose places and elements run along these axes: a tensor without an axis says nothing of its step.
    fn windows(&self, windows: &WindowLoad, places: &[Along], elements: &[Along]) -> Option<Vec<Spatial>> {
        let spatial = |(k, (&place, &element)): (usize, (&Along, &Along))| {
            let plain = |a: Along| !matches!(a, Along::Flipped(_));
            let ([stride, dilation], constant) = self.sum(&windows.index[k], [place, element])?;
            let step =
                |of: i64, along: Along| if along == Along::Only { Some(1) } else { usize::try_from(of).ok().filter(|&n| n > 0) };
            let fits = plain(place) && plain(element) && windows.steps[k] == Dim::ONE;
            let padding = usize::try_from(constant.checked_neg()?).ok()?;
            fits.then_some(Spatial { stride: step(stride, place)?, padding, dilation: step(dilation, element)? })
        };
        places.iter().zip(elements).enumerate().skip(2).map(spatial).collect()
    }

    /// `out[n, o, p…]`, weights `[o, c, r…]`, windows of `[n, c, …]`.
    fn forward(&self, out: &[Along], weights: &[Along], images: &WindowLoad, shape: &[Dim]) -> Option<Vec<Spatial>> {
        let [n, c] = self.outer(images, shape)?;
        let fits = weights.len() == out.len() && [out[0], out[1], weights[1]] == [n, weights[0], c];
        if fits { self.windows(images, out, weights) } else { None }
    }

    /// `out[o, c, r…]`, results `[n, o, p…]`, windows of `[n, c, …]`.
    fn weights(&self, out: &[Along], results: &[Along], images: &WindowLoad, shape: &[Dim]) -> Option<Vec<Spatial>> {
        let [n, c] = self.outer(images, shape)?;
        let fits = results.len() == out.len() && [results[0], results[1], out[1]] == [n, out[0], c];
        if fits { self.windows(images, results, out) } else { None }
    }

    /// `out[n, c, …]`, weights `[o, c, r…]` from the last element on, results `[n, o, …]` with zeros between them.
    fn images(
        &self,
        out: &[Along],
        weights: &[Along],
        results: &WindowLoad,
        shape: &[Dim],
        of_weights: &[Dim],
    ) -> Option<Vec<Spatial>> {
        let [n, o] = self.outer(results, shape)?;
        if weights.len() != out.len() || [out[0], out[1], weights[0]] != [n, weights[1], o] {
            return None;
        }
        let spatial = |(k, (&position, &element)): (usize, (&Along, &Along))| {
            let ([one, dilation], constant) = self.sum(&results.index[k], [position, element])?;
            let extent = of_weights[k].as_const()?;
            // Place `p` of the result and element `r` of the weight meet the image at `p · stride + r · dilation - padding`.
            let (dilation, padding) = match element {
                Along::Flipped(_) => (dilation, (extent - 1).checked_mul(dilation)?.checked_add(constant)?),
                Along::Axis(_) => (dilation.checked_neg()?, constant),
                Along::Only => (1, constant),
            };
            let fits = (one == 1 || position == Along::Only) && !matches!(position, Along::Flipped(_)) && dilation > 0;
            let stride = usize::try_from(results.steps[k].as_const()?).ok()?;
            let padding = usize::try_from(padding).ok()?;
            fits.then_some(Spatial { stride, padding, dilation: usize::try_from(dilation).ok()? })
        };
        out.iter().zip(weights).enumerate().skip(2).map(spatial).collect()
    }
}
