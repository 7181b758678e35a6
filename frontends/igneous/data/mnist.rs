//! MNIST and data sets in its format (Fashion-MNIST).

use super::Dataset;
use super::idx::{read_images, read_labels};
use super::pixel::unit;
use crate::location::here;
use crate::tensor::{Eager, Tensor};
use igneous_ir::{DType, Error, Result, TensorType};
use igneous_runtime::Buffer;
use std::path::{Path, PathBuf};

/// Images of digits with their class numbers: samples are an image `f32[1, 28, 28]` with values in `0..=1`, and an `i64`.
#[derive(Clone, Debug)]
pub struct Mnist {
    height: usize,
    width: usize,
    /// In a block of the runtime, whose large pages make it quicker to reach images anywhere.
    pixels: Buffer,
    labels: Vec<u8>,
}

impl Mnist {
    /// The training images: `train-images-idx3-ubyte` and `train-labels-idx1-ubyte` in `dir`, packed (`.gz`) or not.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the numbers of images and labels differ; the message names the file.
    #[track_caller]
    pub fn train(dir: impl AsRef<Path>) -> Result<Mnist> {
        Mnist::open(dir.as_ref(), "train")
    }

    /// The test images: `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`.
    ///
    /// # Errors
    /// As [`Mnist::train`].
    #[track_caller]
    pub fn test(dir: impl AsRef<Path>) -> Result<Mnist> {
        Mnist::open(dir.as_ref(), "t10k")
    }

    #[track_caller]
    fn open(dir: &Path, part: &str) -> Result<Mnist> {
        let loc = here();
        Mnist::read(dir, part).map_err(|e| e.at(loc))
    }

    fn read(dir: &Path, part: &str) -> Result<Mnist> {
        let images = read_images(find(dir, &format!("{part}-images-idx3-ubyte"))?)?;
        let labels = read_labels(find(dir, &format!("{part}-labels-idx1-ubyte"))?)?;
        let [count, height, width] = images.shape;
        if count != labels.len() {
            return Err(Error::new(format!("{} holds {count} {part} images and {} labels", dir.display(), labels.len())));
        }
        Ok(Mnist { height, width, pixels: Buffer::from_slice(&images.pixels)?, labels })
    }

    /// The class number of each image.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    fn image(&self, index: usize) -> Result<&[u8]> {
        if index >= self.labels.len() {
            return Err(Error::new(format!("there is no image {index}: the data set has {}", self.labels.len())));
        }
        let size = self.height * self.width;
        Ok(&self.pixels.bytes()[index * size..(index + 1) * size])
    }
}

fn find(dir: &Path, name: &str) -> Result<PathBuf> {
    let candidates = [dir.join(name), dir.join(format!("{name}.gz"))];
    let found = candidates.iter().find(|p| p.is_file());
    found.cloned().ok_or_else(|| Error::new(format!("there is neither {name} nor {name}.gz in {}", dir.display())))
}

impl Dataset for Mnist {
    type Sample = (Tensor, i64);

    fn len(&self) -> usize {
        self.labels.len()
    }

    #[track_caller]
    fn get(&self, index: usize) -> Result<(Tensor, i64)> {
        let loc = here();
        let pixels = self.image(index).map_err(|e| e.at(loc))?.iter().map(|&p| unit(p)).collect();
        Ok((Tensor::from_vec(pixels, (1, self.height, self.width)), i64::from(self.labels[index])))
    }

    fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        let (n, size) = (indices.len(), self.height * self.width);
        let mut labels: Vec<i64> = Vec::with_capacity(n);
        // Copied first, because then the machine waits for the memory of many images at once.
        let mut bytes: Vec<u8> = Vec::with_capacity(n * size);
        for &i in indices {
            bytes.extend_from_slice(self.image(i)?);
            labels.push(i64::from(self.labels[i]));
        }
        let mut buffer = Buffer::new(n * size * DType::F32.size())?;
        buffer.as_mut_slice::<f32>()?.iter_mut().zip(&bytes).for_each(|(to, &pixel)| *to = unit(pixel));
        let ty = TensorType::new(DType::F32, [n, 1, self.height, self.width]);
        Ok((Eager::new(ty, buffer, Some(here())).into(), Tensor::from_vec(labels, n)))
    }
}
