//! Options of convolution and pooling over one to three axes.

use igneous_ir::{Dim, Error, Result};
use std::fmt;

/// A number for each spatial axis: `3` for all of them, `(3, 5)`, `[3, 5]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Extents<const N: usize>(pub [usize; N]);

/// Two numbers, for height and width: `3`, `(3, 5)`.
pub type Pair = Extents<2>;

impl<const N: usize> From<usize> for Extents<N> {
    fn from(n: usize) -> Extents<N> {
        Extents([n; N])
    }
}

impl<const N: usize> From<[usize; N]> for Extents<N> {
    fn from(each: [usize; N]) -> Extents<N> {
        Extents(each)
    }
}

impl From<(usize, usize)> for Extents<2> {
    fn from((height, width): (usize, usize)) -> Extents<2> {
        Extents([height, width])
    }
}

impl From<(usize, usize, usize)> for Extents<3> {
    fn from((depth, height, width): (usize, usize, usize)) -> Extents<3> {
        Extents([depth, height, width])
    }
}

impl<const N: usize> fmt::Display for Extents<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, n) in self.0.iter().enumerate() {
            write!(f, "{}{n}", if i > 0 { "×" } else { "" })?;
        }
        Ok(())
    }
}

impl<const N: usize> Extents<N> {
    pub(super) fn ints(self) -> [i64; N] {
        self.0.map(int)
    }

    pub(crate) fn has_zero(self) -> bool {
        self.0.contains(&0)
    }

    /// The same if no number is larger than any image.
    pub(super) fn reasonable(self, what: &str) -> Result<Extents<N>> {
        match self.0.iter().find(|&&n| n > LARGEST) {
            Some(n) => Err(Error::new(format!("{what} of {n} is larger than any image (at most {LARGEST})"))),
            None => Ok(self),
        }
    }
}

/// The largest stride, padding or dilation, and extent of a window.
const LARGEST: usize = 1 << 24;

/// As an attribute; what no image is as large as becomes the largest number that arithmetic on it can hold.
pub(super) fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX).min(i64::from(i32::MAX))
}

/// What is added around an image.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PaddingOptions<const N: usize> {
    /// So many on each side of each axis.
    Each(Extents<N>),
    /// As many as keep the image's size (`padding='same'`); where that is an odd number, one more behind than in front. Needs
    /// a stride of 1.
    Same,
}

/// What is added around an image of two axes.
pub type Padding = PaddingOptions<2>;

impl<const N: usize, P: Into<Extents<N>>> From<P> for PaddingOptions<N> {
    fn from(each: P) -> PaddingOptions<N> {
        PaddingOptions::Each(each.into())
    }
}

/// What stands around an image where a convolution pads it (PyTorch's `padding_mode`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Border {
    /// Zeros.
    #[default]
    Zeros,
    /// The image mirrored at its border, whose elements are not repeated.
    Reflect,
    /// The element at the border.
    Replicate,
    /// The image again, from its other end.
    Circular,
}

/// Options of a convolution over `N` axes, with PyTorch's defaults.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConvOptions<const N: usize> {
    /// How far the kernel moves. Default 1.
    pub stride: Extents<N>,
    /// What is added around the image. Default 0.
    pub padding: PaddingOptions<N>,
    /// What it is filled with. Default zeros.
    pub border: Border,
    /// The distance of the kernel's points. Default 1.
    pub dilation: Extents<N>,
    /// Into how many groups the channels are divided. Default 1.
    pub groups: usize,
}

/// Options of a convolution of images.
pub type Conv = ConvOptions<2>;

impl<const N: usize> Default for ConvOptions<N> {
    fn default() -> ConvOptions<N> {
        ConvOptions {
            stride: 1.into(),
            padding: PaddingOptions::Each(0.into()),
            border: Border::Zeros,
            dilation: 1.into(),
            groups: 1,
        }
    }
}

impl<const N: usize> ConvOptions<N> {
    /// What is wrong with the options whatever the image is.
    pub(crate) fn check(&self) -> Result<()> {
        self.stride.reasonable("a stride")?;
        self.dilation.reasonable("a dilation")?;
        if let PaddingOptions::Each(padding) = self.padding {
            padding.reasonable("a padding")?;
        }
        let problem = if self.groups == 0 {
            "a convolution needs at least one group".to_owned()
        } else if self.stride.has_zero() {
            format!("a convolution needs a stride of at least 1, not {}", self.stride)
        } else if self.dilation.has_zero() {
            format!("a convolution needs a dilation of at least 1, not {}", self.dilation)
        } else if self.padding == PaddingOptions::Same && self.stride != 1.into() {
            format!("a convolution with padding `Same` needs a stride of 1, not {}", self.stride)
        } else {
            return Ok(());
        };
        Err(Error::new(problem))
    }

    /// What is added in front and behind of each axis, for a kernel of these extents.
    pub(super) fn around(&self, kernel: &[Dim]) -> Result<([i64; N], [i64; N])> {
        match self.padding {
            PaddingOptions::Each(each) => Ok((each.ints(), each.ints())),
            PaddingOptions::Same => {
                let dilation = self.dilation.ints();
                let mut total = [0; N];
                for i in 0..N {
                    total[i] = dilation[i] * (kernel[i].get()? as i64 - 1).max(0);
                }
                let low = total.map(|t| t / 2);
                Ok((low, std::array::from_fn(|i| total[i] - low[i])))
            }
        }
    }
}

/// Options of a transposed convolution over `N` axes, with PyTorch's defaults.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConvTransposeOptions<const N: usize> {
    /// How far the kernel moves in the result. Default 1.
    pub stride: Extents<N>,
    /// What is cut off on each side of the result. Default 0.
    pub padding: Extents<N>,
    /// What is added behind each axis of the result: it decides among the images that a strided convolution makes equally
    /// large. Default 0.
    pub output_padding: Extents<N>,
    /// The distance of the kernel's points. Default 1.
    pub dilation: Extents<N>,
    /// Into how many groups the channels are divided. Default 1.
    pub groups: usize,
}

/// Options of a transposed convolution of images.
pub type ConvTranspose = ConvTransposeOptions<2>;

impl<const N: usize> Default for ConvTransposeOptions<N> {
    fn default() -> ConvTransposeOptions<N> {
        ConvTransposeOptions { stride: 1.into(), padding: 0.into(), output_padding: 0.into(), dilation: 1.into(), groups: 1 }
    }
}

impl<const N: usize> ConvTransposeOptions<N> {
    /// What is wrong with the options whatever the image is.
    pub(crate) fn check(&self) -> Result<()> {
        let ConvTransposeOptions { stride, dilation, groups, .. } = *self;
        ConvOptions { stride, dilation, groups, ..ConvOptions::default() }.check()?;
        let larger = (0..N).any(|i| self.output_padding.0[i] >= stride.0[i].max(dilation.0[i]));
        if larger {
            let message = "a transposed convolution needs an output_padding below its stride or dilation, not";
            return Err(Error::new(format!("{message} {}", self.output_padding)));
        }
        Ok(())
    }
}

/// The window of a pooling operation over `N` axes and how it moves: `2`, `(2, 3)`, `Pool::new(3).stride(2).padding(1)`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct PoolOptions<const N: usize> {
    /// The extent of the window.
    pub window: Extents<N>,
    /// How far it moves; by default its own extent.
    pub stride: Option<Extents<N>>,
    /// What is added on each side: never chosen by a maximum, zeros in an average. Default 0.
    pub padding: Extents<N>,
    /// The distance of the window's points. Default 1.
    pub dilation: Extents<N>,
    /// Whether a window that begins inside the image may reach over its end (PyTorch's `ceil_mode`). Default false.
    pub ceil: bool,
    /// Whether an average counts padding, as zeros (PyTorch's `count_include_pad`). Default true.
    pub count_padding: bool,
    /// What the sum is divided by to make an average (PyTorch's `divisor_override`); by default the number of elements.
    pub divisor: Option<f64>,
}

/// The window of pooling over images.
pub type Pool = PoolOptions<2>;

impl<const N: usize> PoolOptions<N> {
    /// A window that moves by its own extent.
    pub fn new(window: impl Into<Extents<N>>) -> PoolOptions<N> {
        PoolOptions {
            window: window.into(),
            stride: None,
            padding: 0.into(),
            dilation: 1.into(),
            ceil: false,
            count_padding: true,
            divisor: None,
        }
    }

    /// The same, moving by `stride`.
    #[must_use]
    pub fn stride(self, stride: impl Into<Extents<N>>) -> PoolOptions<N> {
        PoolOptions { stride: Some(stride.into()), ..self }
    }

    /// The same, with padding on each side.
    #[must_use]
    pub fn padding(self, padding: impl Into<Extents<N>>) -> PoolOptions<N> {
        PoolOptions { padding: padding.into(), ..self }
    }

    /// The same, with points that are `dilation` apart.
    #[must_use]
    pub fn dilation(self, dilation: impl Into<Extents<N>>) -> PoolOptions<N> {
        PoolOptions { dilation: dilation.into(), ..self }
    }

    /// The same, with windows that reach over the end: the result's extent is rounded up, not down.
    #[must_use]
    pub fn ceil(self) -> PoolOptions<N> {
        PoolOptions { ceil: true, ..self }
    }

    /// The same; an average does not count padding (`count_include_pad=False`).
    #[must_use]
    pub fn without_padding(self) -> PoolOptions<N> {
        PoolOptions { count_padding: false, ..self }
    }

    /// The same; an average is the sum divided by `divisor` (`divisor_override`).
    #[must_use]
    pub fn divisor(self, divisor: f64) -> PoolOptions<N> {
        PoolOptions { divisor: Some(divisor), ..self }
    }

    /// How far the window moves.
    pub(super) fn step(&self) -> Extents<N> {
        self.stride.unwrap_or(self.window)
    }

    /// What is wrong with the options whatever the image is.
    pub(super) fn check(&self) -> Result<()> {
        let parts =
            [("a window", self.window), ("a stride", self.step()), ("a padding", self.padding), ("a dilation", self.dilation)];
        parts.into_iter().try_for_each(|(what, extents)| extents.reasonable(what).map(drop))?;
        let reach = |i: usize| (self.window.0[i] - 1).saturating_mul(self.dilation.0[i]).saturating_add(1);
        let stride = self.step();
        let problem = if self.window.has_zero() {
            format!("pooling needs a window of at least {}, not {}", Extents([1; N]), self.window)
        } else if stride.has_zero() {
            format!("pooling needs a stride of at least 1, not {stride}")
        } else if self.dilation.has_zero() {
            format!("pooling needs a dilation of at least 1, not {}", self.dilation)
        } else if (0..N).any(|i| self.padding.0[i] > reach(i) / 2) {
            format!("pooling needs a padding of at most half the window, not {} around {}", self.padding, self.window)
        } else if self.divisor == Some(0.0) {
            "pooling needs a divisor that is not 0".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::new(problem))
    }

    /// What must be added behind an axis of this extent so that the last window fits.
    pub(super) fn overhang(&self, extent: Dim, axis: usize) -> Result<i64> {
        if !self.ceil {
            return Ok(0);
        }
        let undecided = |_| Error::new("pooling in ceil mode needs an image whose extents are known");
        let extent = extent.get().map_err(undecided)? as i64;
        let [window, stride, padding, dilation] = [self.window, self.step(), self.padding, self.dilation].map(|p| p.ints()[axis]);
        let reach = dilation * (window - 1) + 1;
        let free = extent + 2 * padding - reach;
        // A window must begin in the image or in front of it: one that begins behind it is left out.
        let last = (free.max(0) + stride - 1) / stride;
        let last = if last * stride >= extent + padding { last - 1 } else { last };
        Ok((last * stride - free).max(0))
    }
}

impl<const N: usize> From<usize> for PoolOptions<N> {
    fn from(n: usize) -> PoolOptions<N> {
        PoolOptions::new(n)
    }
}

impl From<(usize, usize)> for PoolOptions<2> {
    fn from(window: (usize, usize)) -> PoolOptions<2> {
        PoolOptions::new(window)
    }
}

impl From<(usize, usize, usize)> for PoolOptions<3> {
    fn from(window: (usize, usize, usize)) -> PoolOptions<3> {
        PoolOptions::new(window)
    }
}
