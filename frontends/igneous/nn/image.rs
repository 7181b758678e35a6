//! Layers that resize and rearrange images.

use super::Forward;
use super::stateless::stateless_layers;
use super::visit::{Module, Visitor};
use crate::location::here;
use crate::tensor::{Corners, Extents, Interpolation, Tensor};
use igneous_ir::{Dim, Error, Shape};

/// Images `[N, C, …]` of another size (`torch.nn.Upsample`): one to three spatial axes.
///
/// ```
/// use igneous::nn::{Forward, Upsample};
/// let x = igneous::Tensor::new([[[[1.0, 2.0]]]]);
/// assert_eq!(Upsample::by([1.0, 2.0]).forward(&x).to_vec::<f32>()?, [1.0, 1.0, 2.0, 2.0]);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Upsample {
    /// The new size.
    pub target: UpsampleTarget,
    /// How elements between those of an image are made; [`Interpolation::Nearest`] by default.
    pub interpolation: Interpolation,
    /// What the ends of an axis mean.
    pub corners: Corners,
}

/// The size of what [`Upsample`] makes.
#[derive(Clone, PartialEq, Debug)]
pub enum UpsampleTarget {
    /// These spatial extents.
    Size(Vec<usize>),
    /// The input's extents times a factor for each spatial axis.
    Factors(Vec<f64>),
}

impl Upsample {
    /// To these spatial extents.
    pub fn to(size: impl Into<Vec<usize>>) -> Upsample {
        Upsample::with(UpsampleTarget::Size(size.into()))
    }

    /// By a factor for each spatial axis.
    pub fn by(factors: impl Into<Vec<f64>>) -> Upsample {
        Upsample::with(UpsampleTarget::Factors(factors.into()))
    }

    fn with(target: UpsampleTarget) -> Upsample {
        Upsample { target, interpolation: Interpolation::Nearest, corners: Corners::default() }
    }

    /// The same with another interpolation.
    #[must_use]
    pub fn interpolation(self, interpolation: Interpolation) -> Upsample {
        Upsample { interpolation, ..self }
    }

    /// The same with another meaning of the ends of an axis (`align_corners`).
    #[must_use]
    pub fn corners(self, corners: Corners) -> Upsample {
        Upsample { corners, ..self }
    }
}

impl Module for Upsample {
    fn visit(&self, _: &mut dyn Visitor) {}
}

impl Forward for Upsample {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        match &self.target {
            UpsampleTarget::Size(size) => x.interpolate(size, self.interpolation, self.corners),
            UpsampleTarget::Factors(factors) => x.interpolate_by(factors, self.interpolation, self.corners),
        }
    }
}

stateless_layers! {
    /// Channels `[N, C·r², H, W]` as images `[N, C, H·r, W·r]` (`torch.nn.PixelShuffle`). Shi et al. 2016, arXiv:1609.05158.
    PixelShuffle {
        /// By how much height and width grow.
        factor: usize,
    } (x) x.pixel_shuffle(factor);
    /// Images `[N, C, H·r, W·r]` as channels `[N, C·r², H, W]` (`torch.nn.PixelUnshuffle`).
    PixelUnshuffle {
        /// By how much height and width shrink.
        factor: usize,
    } (x) x.pixel_unshuffle(factor);
    /// Takes channels `[N, C, …]` in turn from each of some groups (`torch.nn.ChannelShuffle`). Zhang et al. 2017,
    /// arXiv:1707.01083.
    ChannelShuffle {
        /// Into how many groups the channels are divided.
        groups: usize,
    } (x) channels_shuffled(x, groups);
}

#[track_caller]
fn channels_shuffled(x: &Tensor, groups: usize) -> Tensor {
    let shape = x.shape();
    if x.error().is_some() {
        return x.clone();
    }
    if shape.len() < 3 || groups == 0 || shape[1].rem(groups) != 0 {
        let error = Error::new(format!("ChannelShuffle needs a tensor [N, C, …] whose channels {groups} divides"));
        return error.note("tensor", x.describe()).at(here()).into();
    }
    let groups = Dim::from(groups);
    let split: Shape = [shape[0], groups, shape[1].div_floor(groups)].into_iter().chain(shape[2..].iter().copied()).collect();
    x.reshape(split).transpose(1, 2).reshape(shape)
}

/// What [`Unfold`] and [`Fold`] share: how a kernel moves over an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PatchOptions {
    /// The distance of the kernel's points. Default 1.
    pub dilation: Extents<2>,
    /// Zeros around the image. Default 0.
    pub padding: Extents<2>,
    /// How far the kernel moves. Default 1.
    pub stride: Extents<2>,
}

impl Default for PatchOptions {
    fn default() -> PatchOptions {
        PatchOptions { dilation: 1.into(), padding: 0.into(), stride: 1.into() }
    }
}

/// The patches of images `[N, C, H, W]` that a kernel would see, as columns `[N, C·h·w, places]` (`torch.nn.Unfold`).
#[derive(Clone, Copy, Debug)]
pub struct Unfold {
    /// The extents of a patch.
    pub kernel: Extents<2>,
    /// How patches lie.
    pub options: PatchOptions,
}

impl Unfold {
    /// Patches with stride 1 and no padding.
    pub fn new(kernel: impl Into<Extents<2>>) -> Unfold {
        Unfold::with(kernel, PatchOptions::default())
    }

    /// With options.
    pub fn with(kernel: impl Into<Extents<2>>, options: PatchOptions) -> Unfold {
        Unfold { kernel: kernel.into(), options }
    }
}

impl Module for Unfold {
    fn visit(&self, _: &mut dyn Visitor) {}
}

impl Forward for Unfold {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let PatchOptions { dilation, padding, stride } = self.options;
        x.unfold_patches(self.kernel, dilation, padding, stride)
    }
}

/// Columns `[N, C·h·w, places]` added up at the places of their patches in images `[N, C, H, W]` (`torch.nn.Fold`).
#[derive(Clone, Copy, Debug)]
pub struct Fold {
    /// The extents of the images.
    pub size: Extents<2>,
    /// The extents of a patch.
    pub kernel: Extents<2>,
    /// How patches lie.
    pub options: PatchOptions,
}

impl Fold {
    /// Patches with stride 1 and no padding.
    pub fn new(size: impl Into<Extents<2>>, kernel: impl Into<Extents<2>>) -> Fold {
        Fold::with(size, kernel, PatchOptions::default())
    }

    /// With options.
    pub fn with(size: impl Into<Extents<2>>, kernel: impl Into<Extents<2>>, options: PatchOptions) -> Fold {
        Fold { size: size.into(), kernel: kernel.into(), options }
    }
}

impl Module for Fold {
    fn visit(&self, _: &mut dyn Visitor) {}
}

impl Forward for Fold {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let PatchOptions { dilation, padding, stride } = self.options;
        x.fold_patches(self.size, self.kernel, dilation, padding, stride)
    }
}
