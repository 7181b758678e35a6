//! Changing images `[C, H, W]` as they are read (`torchvision.transforms`).

use super::random::SampleRandom;
use super::{Collate, Dataset};
use crate::tensor::{Corners, Interpolation, Outside, Tensor};
use igneous_ir::{Error, Result};

/// A change of an image `[C, H, W]`, by the random numbers of its sample.
pub trait ImageTransform: Send + Sync {
    /// The image, changed.
    fn apply(&self, image: &Tensor, random: &mut SampleRandom) -> Tensor;
}

/// Each channel less its mean, over its deviation.
#[derive(Clone, Debug)]
pub struct Normalize {
    mean: Tensor,
    std: Tensor,
}

impl Normalize {
    /// Mean and deviation of each channel.
    #[track_caller]
    pub fn new(mean: &[f32], std: &[f32]) -> Normalize {
        let column = |values: &[f32]| Tensor::from_slice(values, (values.len(), 1, 1));
        Normalize { mean: column(mean), std: column(std) }
    }
}

impl ImageTransform for Normalize {
    fn apply(&self, image: &Tensor, _: &mut SampleRandom) -> Tensor {
        (image - &self.mean) / &self.std
    }
}

/// Mirrored left to right with a probability.
#[derive(Clone, Copy, Debug)]
pub struct RandomHorizontalFlip {
    /// The probability, 0.5 by default.
    pub p: f64,
}

impl Default for RandomHorizontalFlip {
    fn default() -> RandomHorizontalFlip {
        RandomHorizontalFlip { p: 0.5 }
    }
}

impl ImageTransform for RandomHorizontalFlip {
    fn apply(&self, image: &Tensor, random: &mut SampleRandom) -> Tensor {
        if random.chance(self.p) { image.flip(-1) } else { image.clone() }
    }
}

/// Mirrored top to bottom with a probability.
#[derive(Clone, Copy, Debug)]
pub struct RandomVerticalFlip {
    /// The probability, 0.5 by default.
    pub p: f64,
}

impl Default for RandomVerticalFlip {
    fn default() -> RandomVerticalFlip {
        RandomVerticalFlip { p: 0.5 }
    }
}

impl ImageTransform for RandomVerticalFlip {
    fn apply(&self, image: &Tensor, random: &mut SampleRandom) -> Tensor {
        if random.chance(self.p) { image.flip(-2) } else { image.clone() }
    }
}

/// Turned around its middle by a random angle in either direction; corners that come in are 0. Each pixel takes the nearest one,
/// as in PyTorch.
#[derive(Clone, Copy, Debug)]
pub struct RandomRotation {
    /// The largest angle.
    pub degrees: f64,
}

impl ImageTransform for RandomRotation {
    fn apply(&self, image: &Tensor, random: &mut SampleRandom) -> Tensor {
        rotated(image, (2.0 * random.uniform() - 1.0) * self.degrees)
    }
}

/// Turned counter-clockwise.
fn rotated(image: &Tensor, degrees: f64) -> Tensor {
    let [_, height, width] = match sizes_of(image) {
        Ok(sizes) => sizes,
        Err(error) => return error.into(),
    };
    let (sin, cos) = degrees.to_radians().sin_cos();
    let middle = |n: usize| (n as f64 - 1.0) / 2.0;
    let mut places = Vec::with_capacity(height * width * 2);
    for i in 0..height {
        for j in 0..width {
            // From the middle, rows going down.
            let (x, y) = (j as f64 - middle(width), i as f64 - middle(height));
            // A grid's numbers go from −1 to 1 over the whole width and height.
            places.push((2.0 * (cos * x - sin * y) / width as f64) as f32);
            places.push((2.0 * (sin * x + cos * y) / height as f64) as f32);
        }
    }
    let grid = Tensor::from_vec(places, (1, height, width, 2));
    image.unsqueeze(0).grid_sample(&grid, Interpolation::Nearest, Outside::Zeros, Corners::Apart).squeeze(0)
}

/// Channels, height and width of an image.
pub(super) fn sizes_of(image: &Tensor) -> Result<[usize; 3]> {
    let sizes = image.ty()?.sizes()?;
    let given = || Error::new("an image has channels, height and width").note("image", image.describe());
    sizes.try_into().map_err(|_| given())
}

/// A part of this height and width, from any place.
#[derive(Clone, Copy, Debug)]
pub struct RandomCrop {
    /// Height and width.
    pub size: (usize, usize),
    /// Zeros that are put around the image first.
    pub padding: usize,
}

impl ImageTransform for RandomCrop {
    fn apply(&self, image: &Tensor, random: &mut SampleRandom) -> Tensor {
        let width = i64::try_from(self.padding).unwrap_or(i64::MAX / 4);
        let padded = image.pad(&[(width, width), (width, width)], 0.0);
        cropped(&padded, self.size, |free| random.below(free + 1))
    }
}

/// The middle part of this height and width.
#[derive(Clone, Copy, Debug)]
pub struct CenterCrop {
    /// Height and width.
    pub size: (usize, usize),
}

impl ImageTransform for CenterCrop {
    fn apply(&self, image: &Tensor, _: &mut SampleRandom) -> Tensor {
        cropped(image, self.size, |free| free / 2)
    }
}

/// A part that begins, along each axis, where `start` says for so many free elements.
fn cropped(image: &Tensor, (height, width): (usize, usize), mut start: impl FnMut(usize) -> usize) -> Tensor {
    let [_, h, w] = match sizes_of(image) {
        Ok(sizes) => sizes,
        Err(error) => return error.into(),
    };
    if h < height || w < width {
        let error = Error::new(format!("an image has no part of height {height} and width {width}"));
        return error.note("image", image.describe()).into();
    }
    let free = (h - height, w - width);
    let (top, left) = (start(free.0), start(free.1));
    image.narrow(1, top, height).narrow(2, left, width)
}

/// Of another size, by linear interpolation.
#[derive(Clone, Copy, Debug)]
pub struct Resize {
    /// Height and width.
    pub size: (usize, usize),
}

impl ImageTransform for Resize {
    fn apply(&self, image: &Tensor, _: &mut SampleRandom) -> Tensor {
        image.unsqueeze(0).interpolate(&[self.size.0, self.size.1], Interpolation::Linear, Corners::Apart).squeeze(0)
    }
}

/// A data set of images and targets whose images are changed as they are read.
///
/// ```
/// use igneous::data::{Cifar, CifarKind, Normalize, RandomCrop, RandomHorizontalFlip, Transformed};
/// let train = Cifar::read(CifarKind::Ten, Vec::<String>::new())?;
/// let train = Transformed::new(train)
///     .then(RandomCrop { size: (32, 32), padding: 4 })
///     .then(RandomHorizontalFlip::default())
///     .then(Normalize::new(&[0.491, 0.482, 0.447], &[0.247, 0.243, 0.262]));
/// # Ok::<(), igneous::Error>(())
/// ```
pub struct Transformed<D> {
    dataset: D,
    transforms: Vec<Box<dyn ImageTransform>>,
}

impl<D> Transformed<D> {
    /// The images as they are.
    pub fn new(dataset: D) -> Transformed<D> {
        Transformed { dataset, transforms: Vec::new() }
    }

    /// With another change after the others.
    #[must_use]
    pub fn then(mut self, transform: impl ImageTransform + 'static) -> Transformed<D> {
        self.transforms.push(Box::new(transform));
        self
    }
}

impl<D, T> Dataset for Transformed<D>
where
    D: Dataset<Sample = (Tensor, T)>,
    T: Collate,
{
    type Sample = (Tensor, T);

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn get(&self, index: usize) -> Result<(Tensor, T)> {
        let (image, target) = self.dataset.get(index)?;
        let mut random = SampleRandom::of_sample(index);
        let image = self.transforms.iter().fold(image, |image, transform| transform.apply(&image, &mut random));
        image.check().map_err(|e| e.context(format_args!("sample {index}")))?;
        Ok((image, target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, assert_values};

    /// An image of 3·4 numbers, and the number of the sample.
    struct Counting;

    impl Dataset for Counting {
        type Sample = (Tensor, i64);

        fn len(&self) -> usize {
            40
        }

        fn get(&self, index: usize) -> Result<(Tensor, i64)> {
            let values = (0..12).map(|i| i as f32).collect();
            Ok((Tensor::from_vec(values, (1, 3, 4)), index as i64))
        }
    }

    #[test]
    fn images_are_changed() {
        let mut random = SampleRandom::of_sample(0);
        let image = Counting.get(0).unwrap().0;
        assert_values(&CenterCrop { size: (1, 2) }.apply(&image, &mut random), &[5.0, 6.0], 0.0);
        let normal = Normalize::new(&[5.5], &[0.5]).apply(&image, &mut random);
        assert_close(&normal, &((&image - 5.5) * 2.0), 1e-6);
        assert_values(&Resize { size: (3, 2) }.apply(&image, &mut random).i((0, 0)), &[0.5, 2.5], 1e-6);
        let flipped = RandomHorizontalFlip { p: 1.0 }.apply(&image, &mut random);
        assert_values(&flipped.i((0, 0)), &[3.0, 2.0, 1.0, 0.0], 0.0);
        let flipped = RandomVerticalFlip { p: 1.0 }.apply(&image, &mut random);
        assert_values(&flipped.i((0, 0)), &[8.0, 9.0, 10.0, 11.0], 0.0);
        assert!(CenterCrop { size: (4, 4) }.apply(&image, &mut random).error().is_some());
        assert!(CenterCrop { size: (1, 1) }.apply(&Tensor::ones((2, 2)), &mut random).error().is_some());
    }

    #[test]
    fn images_turn_around_their_middle() {
        let image = Tensor::arange(0, 18).to_dtype(igneous_ir::DType::F32).reshape((2, 3, 3));
        assert_close(&rotated(&image, 90.0), &image.transpose(1, 2).flip(1), 0.0);
        assert_close(&rotated(&image, 180.0), &image.flip([1, 2]), 0.0);
        assert_values(&rotated(&Tensor::ones((1, 4, 2)), 90.0), &[0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0], 0.0);
        let still = RandomRotation { degrees: 0.0 }.apply(&image, &mut SampleRandom::of_sample(1));
        assert_close(&still, &image, 0.0);
        assert!(rotated(&Tensor::ones(3), 10.0).error().is_some());
    }

    /// Every place and both directions come about, each with its part of the samples.
    #[test]
    fn random_changes_cover_their_range() {
        let set = Transformed::new(Counting).then(RandomHorizontalFlip::default()).then(RandomCrop { size: (3, 4), padding: 1 });
        let corners: Vec<f64> = (0..40).map(|i| set.get(i).unwrap().0.i((0, 1, 1)).item().unwrap()).collect();
        let mut seen = corners.clone();
        seen.sort_by(f64::total_cmp);
        seen.dedup();
        assert!(seen.len() >= 8, "{seen:?}");
        assert_eq!(set.get(7).unwrap().0.to_f64_vec().unwrap(), set.get(7).unwrap().0.to_f64_vec().unwrap());
        let small = Transformed::new(Counting).then(CenterCrop { size: (9, 9) });
        assert!(small.get(5).unwrap_err().to_string().contains("sample 5"));
    }
}
