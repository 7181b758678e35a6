//! Images as files, alone and many in one.

use ::image::codecs::png::PngEncoder;
use ::image::{ExtendedColorType, ImageEncoder};
use igneous::{Error, Result, Tensor, files};
use std::path::Path;

/// Images `[N, C, H, W]` side by side, `columns` in a row, with `padding` pixels of 0 around each:
/// `[C, rows · (H + padding) + padding, columns · (W + padding) + padding]` (`torchvision.utils.make_grid`).
///
/// ```
/// use igneous::Tensor;
/// use igneous_train::image_grid;
/// assert_eq!(image_grid(&Tensor::ones((5, 1, 2, 2)), 3, 1).shape(), Tensor::zeros((1, 7, 10)).shape());
/// ```
///
/// If the images have not four axes, there is none, or `columns` is 0, the result is invalid.
#[track_caller]
pub fn image_grid(images: &Tensor, columns: usize, padding: usize) -> Tensor {
    match gridded(images, columns, padding) {
        Ok(grid) => grid,
        Err(error) => error.at(igneous::Loc::caller()).into(),
    }
}

#[track_caller]
fn gridded(images: &Tensor, columns: usize, padding: usize) -> Result<Tensor> {
    let ty = images.ty()?;
    let sizes = ty.sizes()?;
    let error = |message: &str| Error::new(message).note("images", &ty).note("columns", columns);
    let [count, channels, _, _] = sizes[..] else { return Err(error("a grid of images needs them as [N, C, H, W]")) };
    if count == 0 || columns == 0 {
        return Err(error("a grid needs an image and a column at least"));
    }
    let columns = columns.min(count);
    let rows = count.div_ceil(columns);
    let width_of = |padding: usize| i64::try_from(padding).map_err(|_| error("a grid's padding is too wide"));
    let padding = width_of(padding)?;
    let missing = width_of(rows * columns - count)?;
    // Each image gets its padding above and to the left, and the whole grid the rest.
    let cells = images.pad(&[(padding, 0), (padding, 0), (0, 0), (0, missing)], 0.0);
    let (height, width) = (cells.size(2), cells.size(3));
    let grid = cells.reshape((rows, columns, channels, height, width)).permute([2, 0, 3, 1, 4]);
    Ok(grid.reshape((channels, height * rows, width * columns)).pad(&[(0, padding), (0, padding)], 0.0))
}

/// Writes an image `[C, H, W]` of one channel or three, with values from 0 to 1, as a PNG file (`torchvision.utils.save_image`).
/// Values outside become 0 or 1, and NaN 0. The file is complete or as it was.
///
/// # Errors
/// If it is no such image, or the file cannot be written; the message names it.
#[track_caller]
pub fn save_image(image: &Tensor, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let encoded = encode(image).map_err(|e| e.context(format_args!("cannot write {}", path.display())));
    encoded.and_then(|png| files::write(path, &png.bytes)).map_err(|e| e.at(igneous::Loc::caller()))
}

/// An image as a PNG file.
pub(crate) struct Png {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn encode(image: &Tensor) -> Result<Png> {
    let ty = image.ty()?;
    let sizes = ty.sizes()?;
    let error = |message: &str| Error::new(message).note("image", &ty);
    let [channels, height, width] = sizes[..] else { return Err(error("an image has channels, height and width")) };
    let values = image.to_f64_vec()?;
    let pixels = height.saturating_mul(width);
    let bytes: Vec<u8> = (0..pixels)
        .flat_map(|pixel| (0..channels).map(move |channel| channel * pixels + pixel))
        .map(|place| (values[place] * 255.0).round().clamp(0.0, 255.0) as u8)
        .collect();
    png(&bytes, channels, height, width).ok_or_else(|| error("an image has one channel or three, and at least one pixel"))?
}

/// PNG of pixels row by row; nothing where the sizes cannot be.
pub(crate) fn png(pixels: &[u8], channels: usize, height: usize, width: usize) -> Option<Result<Png>> {
    let colour = match channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        _ => return None,
    };
    let (w, h) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    if w == 0 || h == 0 {
        return None;
    }
    let mut bytes = Vec::new();
    let written = PngEncoder::new(&mut bytes).write_image(pixels, w, h, colour);
    Some(written.map_err(Error::other).map(|()| Png { channels, height, width, bytes }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use igneous::data::read_image;
    use igneous::testing::{assert_close, assert_values};

    #[test]
    fn images_come_back_from_their_files() {
        let path = std::env::temp_dir().join(format!("igneous-{}-image.png", std::process::id()));
        let image = Tensor::from_vec(vec![0.0f32, 1.0, 0.2, 0.4, 0.6, 0.8], (3, 1, 2));
        save_image(&image, &path).unwrap();
        assert_close(&read_image(&path).unwrap(), &image, 1e-6);
        save_image(&Tensor::from_vec(vec![-3.0f32, f32::NAN, 7.0], (1, 1, 3)), &path).unwrap();
        assert_values(&read_image(&path).unwrap().i((2, 0)), &[0.0, 0.0, 1.0], 0.0);
        for bad in [Tensor::zeros((2, 4, 4)), Tensor::zeros((4, 4)), Tensor::zeros((1, 0, 4))] {
            assert!(save_image(&bad, &path).unwrap_err().to_string().contains("image.png"));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(save_image(&image, path.join("below")).is_err());
    }

    #[test]
    fn grids_have_every_image_in_its_place() {
        let images = Tensor::arange(1, 4).to_dtype(igneous::DType::F32).reshape((3, 1, 1, 1)).expand((3, 1, 1, 2));
        let expected = [[0, 0, 0, 0, 0, 0, 0], [0, 1, 1, 0, 2, 2, 0], [0; 7], [0, 3, 3, 0, 0, 0, 0], [0; 7]];
        let expected: Vec<f64> = expected.iter().flatten().map(|&n| f64::from(n)).collect();
        assert_values(&image_grid(&images, 2, 1), &expected, 0.0);
        assert_values(&image_grid(&images, 9, 0), &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0], 0.0);
        for (bad, columns) in [(Tensor::zeros((3, 4, 4)), 2), (images.clone(), 0), (Tensor::zeros((0, 1, 2, 2)), 1)] {
            assert!(image_grid(&bad, columns, 1).error().is_some());
        }
        assert!(image_grid(&images, 2, usize::MAX).error().is_some());
    }
}
