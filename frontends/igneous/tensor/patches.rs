//! Patches of images as columns of a matrix, and back.

use super::window::int;
use super::{Extents, Tensor, or_invalid};
use crate::location::entered;
use igneous_ir::{DType, Dim, Error, Result, Shape};

impl Tensor {
    /// The patches of images `[N, C, H, W]` that a kernel would see, as columns `[N, C·h·w, places]`
    /// (`torch.nn.functional.unfold`). An image may come without the batch axis.
    #[track_caller]
    pub fn unfold_patches(
        &self,
        kernel: impl Into<Extents<2>>,
        dilation: impl Into<Extents<2>>,
        padding: impl Into<Extents<2>>,
        stride: impl Into<Extents<2>>,
    ) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let options = [kernel.into(), dilation.into(), padding.into(), stride.into()];
        if self.error().is_none() && self.rank() == 3 {
            let [kernel, dilation, padding, stride] = options;
            return self.unsqueeze(0).unfold_patches(kernel, dilation, padding, stride).squeeze(0);
        }
        or_invalid(self.patches(options).map_err(|e| e.note("tensor", self.describe()).at(loc)))
    }

    #[track_caller]
    fn patches(&self, [kernel, dilation, padding, stride]: [Extents<2>; 4]) -> Result<Tensor> {
        let shape = self.ty()?.shape;
        if shape.len() != 4 || kernel.has_zero() || dilation.has_zero() || stride.has_zero() {
            return Err(Error::new("unfold_patches needs images [N, C, H, W], and a kernel, dilation and stride of at least 1"));
        }
        for (what, extents) in [("a kernel", kernel), ("a dilation", dilation), ("a padding", padding), ("a stride", stride)] {
            extents.reasonable(what)?;
        }
        let [p0, p1] = padding.0.map(int);
        let padded = self.pad(&[(p1, p1), (p0, p0)], 0.0);
        padded.check()?;
        let mut places = Vec::new();
        for i in 0..2 {
            let extent = shape[2 + i].get()? as i64 + 2 * int(padding.0[i]);
            let reach = int(dilation.0[i]) * (int(kernel.0[i]) - 1) + 1;
            if extent < reach {
                return Err(Error::new(format!("unfold_patches has a kernel that reaches over {reach} of {extent} elements")));
            }
            let count = (extent - reach) / int(stride.0[i]) + 1;
            let within = (Tensor::arange(0, kernel.0[i]) * int(dilation.0[i])).unsqueeze(1);
            places.push((within + (Tensor::arange(0, count) * int(stride.0[i])).unsqueeze(0), count as usize));
        }
        // [N, C, h, H', w, W'] → [N, C·h·w, H'·W']
        let rows = padded.chosen(2, &places[0].0);
        let all = rows.chosen(4, &places[1].0);
        let ordered = all.permuted(&[0, 1, 2, 4, 3, 5]);
        let channels = shape[1] * kernel.0[0] * kernel.0[1];
        Ok(ordered.reshape_to(Shape::from_iter([shape[0], channels, Dim::from(places[0].1 * places[1].1)])))
    }

    /// Columns `[N, C·h·w, places]` added up at the places of their patches in images of this size: the transpose of
    /// [`unfold_patches`](Tensor::unfold_patches) (`torch.nn.functional.fold`).
    #[track_caller]
    pub fn fold_patches(
        &self,
        size: impl Into<Extents<2>>,
        kernel: impl Into<Extents<2>>,
        dilation: impl Into<Extents<2>>,
        padding: impl Into<Extents<2>>,
        stride: impl Into<Extents<2>>,
    ) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let (size, kernel, dilation, padding, stride) =
            (size.into(), kernel.into(), dilation.into(), padding.into(), stride.into());
        if self.error().is_none() && self.rank() == 2 {
            return self.unsqueeze(0).fold_patches(size, kernel, dilation, padding, stride).squeeze(0);
        }
        let made = self.ty().and_then(|ty| {
            let area = Dim::from(kernel.0[0]) * kernel.0[1];
            if ty.rank() != 3 || area == Dim::ZERO || ty.shape[1].rem(area) != Dim::ZERO {
                return Err(Error::new("fold_patches needs columns [N, C·h·w, places]"));
            }
            let channels = ty.shape[1].div_floor(area);
            // Each element of the columns goes where unfolding numbered places would have taken it from.
            let elements = Dim::from(size.0[0]) * size.0[1];
            let numbers = (Tensor::arange(0, elements) + 1).reshape((1, 1, size.0[0], size.0[1])).to_dtype(DType::F64);
            let places = numbers.patches([kernel, dilation, padding, stride])?.to_dtype(DType::I64);
            let count = places.shape()[2];
            if count != ty.shape[2] {
                return Err(Error::new(format!("fold_patches needs {count} columns for images of size {size}")));
            }
            let flat = self.reshape((ty.shape[0] * channels, -1));
            let mut zeros = Shape::from_iter([ty.shape[0] * channels]);
            zeros.push(elements + 1);
            let index = places.reshape((1, -1)).expand(flat.shape());
            // Place 0 is padding.
            let sums = Tensor::filled(zeros, 0.into(), ty.dtype).scatter_add(1, &index, &flat);
            Ok(sums.narrow(1, 1, elements).reshape((ty.shape[0], channels, size.0[0], size.0[1])))
        });
        or_invalid(made.map_err(|e| e.note("tensor", self.describe()).at(loc)))
    }
}
