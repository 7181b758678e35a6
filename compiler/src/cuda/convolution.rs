//! Sections that are nothing but a convolution or a derivative of one: what a library is told of them. They are products of elements of
//! two tensors, one of them under windows; which axes of the three tensors are which says what is computed.

use super::product;
use crate::cpu::{Affine, WindowLoad};
use crate::precision::MatmulPrecision;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::{Kernel, Section, Stage};
use igneous_ir::scalar::{ExprId, Exprs, ScalarOp};
use igneous_runtime::cuda::{Convolution, Pass, Spatial, Whole};

/// The convolution that a section is, if a library can do it: with as many zeros before as behind.
pub(super) fn of(kernel: &Kernel, section: &Section, precision: MatmulPrecision) -> Option<Convolution> {
    let (Stage::Dot { lhs, rhs, batch, .. }, _) = section.stages.split_first()? else { return None };
    let (local, param, index, value) = product::only_store(section)?;
    let exprs = &section.exprs;
    let [left, right] = [*lhs, *rhs].map(|side| {
        let load = WindowLoad::of(exprs, side, &kernel.params)?;
        Some((kernel.params[load.param as usize].ty.dtype, load))
    });
    let ((of_left, mut left), (of_right, mut right)) = (left?, right?);
    let result = kernel.params[param as usize].ty.dtype;
    let types = product::types([of_left, of_right], section.locals[local as usize].dtype, result, precision)?;
    let value = exprs.get(value);
    let plain =
        value.op == ScalarOp::Local(local) || value.op == ScalarOp::Cast && exprs.get(value.args[0]).op == ScalarOp::Local(local);
    let group = match batch[..] {
        [] => None,
        [group] => Some(group),
        _ => return None,
    };
    let reader = Reader { section, exprs, group };
    let shape = |param: u32| kernel.params[param as usize].ty.shape.to_vec();
    let (mut of_left, mut of_right, mut of_out) = (shape(left.param), shape(right.param), shape(param));
    if !plain || left.padded || left.steps.iter().any(|&step| step != Dim::ONE) {
        return None;
    }
    let mut out: Vec<Affine> = index.iter().map(|&i| Affine::of(exprs, i)).collect();
    let rank = of_left.len().min(of_right.len()).min(of_out.len());
    reader.merge_groups(&mut left.index, &mut of_left, rank);
    reader.merge_groups(&mut out, &mut of_out, rank);
    if let Some(axis) = reader.merge_groups(&mut right.index, &mut of_right, rank)
        && right.steps.remove(axis) != Dim::ONE
    {
        return None;
    }
    if rank < 3 || [of_left.len(), of_right.len(), of_out.len()] != [rank; 3] {
        return None;
    }
    let out = reader.along(&out, &of_out)?;
    let other = reader.along(&left.index, &of_left)?;
    // The only channel of an image, or of a group, may come first as well as behind the others.
    let across: Vec<Along> = [out[1], out[0]].into_iter().chain(out[2..].iter().copied()).collect();
    let weights = |out: &[Along]| Some((Pass::Weights, reader.weights(out, &other, &right, &of_right)?));
    let swapped = if of_out[0] == Dim::ONE { weights(&across) } else { None };
    if swapped.is_some() {
        of_out.swap(0, 1);
    }
    let (pass, spatial) = swapped
        .or_else(|| Some((Pass::Forward, reader.forward(&out, &other, &right, &of_right)?)))
        .or_else(|| weights(&out))
        .or_else(|| Some((Pass::Images, reader.images(&out, &other, &right, &of_right, &of_left)?)))?;
    let [left, right, out] = [(left.param, of_left), (right.param, of_right), (param, of_out)]
        .map(|(param, shape)| Whole { param: param as usize, shape });
    let tensors = match pass {
        Pass::Forward => [right, left, out],
        Pass::Weights => [right, out, left],
        Pass::Images => [out, left, right],
    };
    let groups = group.map_or(Some(1), |axis| usize::try_from(section.axes[axis as usize].extent.as_const()?).ok())?;
    Some(Convolution { pass, types, tensors, groups, spatial })
}

/// What an index runs along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Along {
    /// All of an axis, from the first element on.
    Axis(u32),
    /// All of an axis, from the last element on.
    Flipped(u32),
    /// All of the channels: as many for each point of an axis of groups, and those of a group along another one; one for each without it.
    Groups(u32, Option<u32>),
    /// The only element.
    Only,
}

impl Along {
    fn axis(self) -> Option<u32> {
        match self {
            Along::Axis(axis) | Along::Flipped(axis) => Some(axis),
            Along::Only | Along::Groups(..) => None,
        }
    }
}

impl Along {
    /// The groups of channels, and what runs along those of one.
    fn group(self) -> (Option<u32>, Along) {
        match self {
            Along::Groups(group, inner) => (Some(group), inner.map_or(Along::Only, Along::Axis)),
            along => (None, along),
        }
    }
}

struct Reader<'a> {
    section: &'a Section,
    exprs: &'a Exprs,
    /// The axis of groups.
    group: Option<u32>,
}

impl Reader<'_> {
    /// Makes an axis of groups one with the axis of the channels of a group behind it, if there is one axis too many; the place of it.
    fn merge_groups(&self, index: &mut Vec<Affine>, shape: &mut Vec<Dim>, rank: usize) -> Option<usize> {
        let of_groups = |index: &Affine, extent: Dim| match self.group {
            Some(group) => {
                let axis = |&(atom, step): &(ExprId, Dim)| self.exprs.get(atom).op == ScalarOp::Axis(group) && step == Dim::ONE;
                index.constant == Dim::ZERO && index.terms.len() == 1 && index.terms.iter().all(axis)
            }
            None => extent == Dim::ONE && index.terms.is_empty() && index.constant == Dim::ZERO,
        };
        if shape.len() != rank + 1 {
            return None;
        }
        let axis = (0..2).find(|&k| of_groups(&index[k], shape[k]))?;
        let groups = (index.remove(axis), shape.remove(axis));
        index[axis] = index[axis].clone().plus(&groups.0, shape[axis]);
        shape[axis] = shape[axis] * groups.1;
        Some(axis)
    }

    fn along_one(&self, index: &Affine, extent: Dim) -> Option<Along> {
        match index.terms[..] {
            [] => (index.constant == Dim::ZERO && extent == Dim::ONE).then_some(Along::Only),
            [(atom, coefficient)] => {
                let ScalarOp::Axis(axis) = self.exprs.get(atom).op else { return None };
                let whole = self.section.axes[axis as usize].extent == extent;
                match coefficient.as_const()? {
                    1 if whole && index.constant == Dim::ZERO && self.group == Some(axis) => Some(Along::Groups(axis, None)),
                    1 if whole && index.constant == Dim::ZERO => Some(Along::Axis(axis)),
                    -1 if whole && index.constant == extent - 1 => Some(Along::Flipped(axis)),
                    _ => None,
                }
            }
            [_, _] => {
                let group = self.group?;
                let groups = self.section.axes[group as usize].extent;
                let step = index.coefficient(self.exprs, group);
                let axis = |&(atom, _): &(ExprId, Dim)| match self.exprs.get(atom).op {
                    ScalarOp::Axis(axis) if axis != group => Some(axis),
                    _ => None,
                };
                let inner = index.terms.iter().find_map(axis)?;
                let own = self.section.axes[inner as usize].extent;
                let fits = index.coefficient(self.exprs, inner) == Dim::ONE && step == own && index.constant == Dim::ZERO;
                (fits && groups * own == extent).then_some(Along::Groups(group, Some(inner)))
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
        let of_group = c.group() == (out[1].group().0, weights[1]);
        let fits = [out[0], out[1]] == [n, weights[0]] && of_group;
        if fits { self.windows(images, out, weights) } else { None }
    }

    /// `out[o, c, r…]`, results `[n, o, p…]`, windows of `[n, c, …]`.
    fn weights(&self, out: &[Along], results: &[Along], images: &WindowLoad, shape: &[Dim]) -> Option<Vec<Spatial>> {
        let [n, c] = self.outer(images, shape)?;
        let of_group = c.group() == (out[0].group().0, out[1]);
        let fits = [results[0], results[1]] == [n, out[0]] && of_group;
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
        let of_group = out[1].group() == (o.group().0, weights[1]);
        if [out[0], weights[0]] != [n, o] || !of_group {
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
                Along::Groups(..) => return None,
            };
            let fits = (one == 1 || position == Along::Only) && !matches!(position, Along::Flipped(_)) && dilation > 0;
            let stride = usize::try_from(results.steps[k].as_const()?).ok()?;
            let padding = usize::try_from(padding).ok()?;
            fits.then_some(Spatial { stride, padding, dilation: usize::try_from(dilation).ok()? })
        };
        out.iter().zip(weights).enumerate().skip(2).map(spatial).collect()
    }
}
