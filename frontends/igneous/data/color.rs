//! Changing the colours of images as they are read.

use super::random::SampleRandom;
use super::transform::{ImageTransform, sizes_of};
use crate::tensor::Tensor;
use igneous_ir::{Error, Result};

/// Brightness, contrast, saturation and hue of an image with values from 0 to 1, changed at random, in a random order
/// (`torchvision.transforms.ColorJitter`). Images of one channel have no saturation and no hue.
///
/// ```
/// use igneous::data::ColorJitter;
/// use igneous::default;
/// let jitter = ColorJitter { brightness: 0.2, hue: 0.05, ..default() };
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ColorJitter {
    /// The image is multiplied by a factor that differs from 1 by at most this much.
    pub brightness: f64,
    /// The difference to the mean of the grey image is.
    pub contrast: f64,
    /// The difference to the grey image is.
    pub saturation: f64,
    /// The angle on the circle of colours is moved by at most this share of a whole turn, 0 to 0.5.
    pub hue: f64,
}

impl ImageTransform for ColorJitter {
    fn apply(&self, image: &Tensor, random: &mut SampleRandom) -> Tensor {
        self.jittered(image, random).unwrap_or_else(Tensor::from)
    }
}

impl ColorJitter {
    fn jittered(&self, image: &Tensor, random: &mut SampleRandom) -> Result<Tensor> {
        let sizes = sizes_of(image)?;
        if ![1, 3].contains(&sizes[0]) {
            return Err(Error::new("ColorJitter changes images of one or three channels").note("image", image.describe()));
        }
        let mut pixels = Pixels { values: image.to_vec::<f32>()?, coloured: sizes[0] == 3 };
        let mut left = vec![0, 1, 2, 3];
        while !left.is_empty() {
            let change = left.remove(random.below(left.len()));
            let drawn = random.uniform() * 2.0 - 1.0;
            let factor = |spread: f64| (1.0 + drawn * spread).max(0.0) as f32;
            match change {
                0 => pixels.blend(|_, _, _| 0.0, factor(self.brightness)),
                1 => {
                    let mean = pixels.mean();
                    pixels.blend(|_, _, _| mean, factor(self.contrast));
                }
                2 if pixels.coloured => pixels.blend(grey, factor(self.saturation)),
                3 if pixels.coloured => pixels.turn((drawn * self.hue) as f32),
                _ => {}
            }
        }
        Ok(Tensor::from_vec(pixels.values, image.shape()))
    }
}

/// The grey of a colour, as television weighs it (ITU-R BT.601).
fn grey(red: f32, green: f32, blue: f32) -> f32 {
    0.2989 * red + 0.587 * green + 0.114 * blue
}

/// An image, channel by channel.
struct Pixels {
    values: Vec<f32>,
    coloured: bool,
}

impl Pixels {
    fn change(&mut self, mut f: impl FnMut([f32; 3]) -> [f32; 3]) {
        match self.coloured {
            true => {
                let pixels = self.values.len() / 3;
                let (red, rest) = self.values.split_at_mut(pixels);
                let (green, blue) = rest.split_at_mut(red.len());
                for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
                    [*r, *g, *b] = f([*r, *g, *b]);
                }
            }
            false => self.values.iter_mut().for_each(|v| *v = f([*v; 3])[0]),
        }
    }

    /// The mean of the grey image.
    fn mean(&mut self) -> f32 {
        let (mut sum, mut count, coloured) = (0.0f64, 0u64, self.coloured);
        self.change(|[r, g, b]| {
            sum += f64::from(if coloured { grey(r, g, b) } else { r });
            count += 1;
            [r, g, b]
        });
        (sum / count.max(1) as f64) as f32
    }

    /// `factor` of the image and the rest of another one, within 0 and 1.
    fn blend(&mut self, other: impl Fn(f32, f32, f32) -> f32, factor: f32) {
        self.change(|[r, g, b]| {
            let rest = (1.0 - factor) * other(r, g, b);
            [r, g, b].map(|v| (factor * v + rest).clamp(0.0, 1.0))
        });
    }

    /// Moves each colour on the circle of hues.
    fn turn(&mut self, share: f32) {
        self.change(|[r, g, b]| {
            let (most, least) = (r.max(g).max(b), r.min(g).min(b));
            let chroma = most - least;
            if chroma <= 0.0 {
                return [r, g, b];
            }
            // In sixths of a turn, from red.
            let hue = match most {
                _ if most == r => (g - b) / chroma,
                _ if most == g => 2.0 + (b - r) / chroma,
                _ => 4.0 + (r - g) / chroma,
            };
            // The share of a primary colour at a distance from it: full within one sixth, none beyond two.
            [5.0, 3.0, 1.0].map(|offset| {
                let k = (offset + hue + 6.0 * share).rem_euclid(6.0);
                most - chroma * k.min(4.0 - k).clamp(0.0, 1.0)
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::default;
    use crate::testing::{assert_close, assert_values};

    fn apply(jitter: ColorJitter, image: &Tensor) -> Vec<Tensor> {
        (0..20).map(|i| jitter.apply(image, &mut SampleRandom::of_sample(i))).collect()
    }

    #[test]
    fn colours_change_within_bounds() {
        let image = Tensor::from_vec(vec![0.5f32, 0.2, 0.25, 0.4, 0.1, 0.9], (3, 1, 2));
        for same in apply(default(), &image) {
            assert_close(&same, &image, 1e-6);
        }
        let brighter = apply(ColorJitter { brightness: 0.5, ..default() }, &image);
        let factors: Vec<f64> = brighter.iter().map(|b| b.i((0, 0, 0)).item().unwrap() / 0.5).collect();
        assert!(factors.iter().all(|f| (0.5..=1.5).contains(f)) && factors.iter().any(|f| (f - 1.0).abs() > 0.1), "{factors:?}");
        let weights = Tensor::from_vec(vec![0.2989f32, 0.587, 0.114], (3, 1, 1));
        for changed in apply(ColorJitter { saturation: 0.1, ..default() }, &image) {
            assert_close(&(&changed * &weights).sum(0), &(&image * &weights).sum(0), 2e-3);
        }
        for changed in apply(ColorJitter { hue: 0.5, ..default() }, &image) {
            assert_close(&changed.amax([0]), &image.amax([0]), 1e-6);
            assert_close(&changed.amin([0]), &image.amin([0]), 1e-6);
        }
        let grey = Tensor::full((1, 2, 2), 0.5);
        for changed in apply(ColorJitter { contrast: 0.9, saturation: 0.9, hue: 0.5, ..default() }, &grey) {
            assert_close(&changed, &grey, 1e-6);
        }
        assert!(apply(default(), &Tensor::ones((2, 2, 2)))[0].error().is_some());
    }

    /// A third of a turn makes green of red, and half a turn cyan.
    #[test]
    fn hues_turn() {
        let mut pixels = Pixels { values: vec![1.0, 0.25, 0.0], coloured: true };
        pixels.turn(1.0 / 3.0);
        assert_values(&Tensor::new(pixels.values), &[0.0, 1.0, 0.25], 1e-6);
        let mut pixels = Pixels { values: vec![0.8, 0.2, 0.2], coloured: true };
        pixels.turn(0.5);
        assert_values(&Tensor::new(pixels.values), &[0.2, 0.8, 0.8], 1e-6);
    }
}
