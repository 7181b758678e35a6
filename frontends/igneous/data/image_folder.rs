//! Images in folders, one for each class (`torchvision.datasets.ImageFolder`).

use super::Dataset;
use super::pixel::unit;
use crate::files;
use crate::location::here;
use crate::tensor::Tensor;
use igneous_ir::{Error, Result};
use image::ImageReader;
use std::io::Cursor;
use std::path::{Path, PathBuf};

/// Images `f32[3, H, W]`, from 0 to 1, of PNG and JPEG files, and their classes: the numbers of the folders they lie in, sorted by
/// name. An image is decoded when it is asked for.
///
/// ```no_run
/// use igneous::data::{CenterCrop, DataLoader, ImageFolder, Resize, Transformed};
/// let photos = ImageFolder::read("photos/train")?; // photos/train/cat/1.jpg, photos/train/dog/1.png, …
/// println!("{:?}", photos.classes());
/// let photos = Transformed::new(photos).then(Resize { size: (64, 64) });
/// let loader = DataLoader::new(photos, 32).shuffle(1).workers(2);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageFolder {
    classes: Vec<String>,
    files: Vec<(PathBuf, i64)>,
}

impl ImageFolder {
    /// The images in the folders of a folder.
    ///
    /// # Errors
    /// If the folder cannot be read, has no folder, or one of these no image; the message names it.
    #[track_caller]
    pub fn read(root: impl AsRef<Path>) -> Result<ImageFolder> {
        let (loc, root) = (here(), root.as_ref());
        found(root).map_err(|e| e.at(loc))
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The file of an image.
    pub fn path(&self, index: usize) -> Option<&Path> {
        self.files.get(index).map(|(path, _)| &**path)
    }
}

/// What is in a folder, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let named = |e: std::io::Error| files::cannot_read(folder, e);
    let entries = std::fs::read_dir(folder).map_err(named)?;
    let mut paths = entries.map(|entry| entry.map(|e| e.path())).collect::<std::io::Result<Vec<PathBuf>>>().map_err(named)?;
    paths.sort();
    Ok(paths)
}

fn found(root: &Path) -> Result<ImageFolder> {
    let mut folder = ImageFolder { classes: Vec::new(), files: Vec::new() };
    for class in entries(root)?.into_iter().filter(|path| path.is_dir()) {
        let is_image = |path: &PathBuf| {
            let extension = path.extension().map(|e| e.to_ascii_lowercase());
            extension.is_some_and(|e| ["png", "jpg", "jpeg"].iter().any(|known| e == *known))
        };
        let images: Vec<PathBuf> = entries(&class)?.into_iter().filter(is_image).collect();
        if images.is_empty() {
            return Err(Error::new(format!("the folder of a class, {}, has no PNG or JPEG file", class.display())));
        }
        let number = folder.classes.len() as i64;
        folder.files.extend(images.into_iter().map(|path| (path, number)));
        folder.classes.push(class.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    match folder.classes.is_empty() {
        true => Err(Error::new(format!("{} has no folder of images", root.display()))),
        false => Ok(folder),
    }
}

/// The image in a PNG or JPEG file, `f32[3, H, W]` from 0 to 1 (`torchvision.io.read_image` as floating-point numbers). Its
/// first bytes tell the format.
///
/// # Errors
/// If the file is missing, damaged or of another format; the message names it.
#[track_caller]
pub fn read_image(path: impl AsRef<Path>) -> Result<Tensor> {
    let (loc, path) = (here(), path.as_ref());
    decoded(path).map_err(|e| e.at(loc))
}

fn decoded(path: &Path) -> Result<Tensor> {
    let reader = ImageReader::new(Cursor::new(files::read(path)?)).with_guessed_format();
    let image = reader.map_err(Error::other).and_then(|reader| reader.decode().map_err(Error::other));
    let pixels = image.map_err(|e| files::cannot_read(path, e))?.to_rgb8();
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    let bytes = pixels.as_raw();
    let values = (0..3).flat_map(|channel| bytes.iter().skip(channel).step_by(3)).map(|&byte| unit(byte));
    let image = Tensor::from_vec(values.collect(), (3, height, width));
    image.check().map(|()| image)
}

impl Dataset for ImageFolder {
    type Sample = (Tensor, i64);

    fn len(&self) -> usize {
        self.files.len()
    }

    fn get(&self, index: usize) -> Result<(Tensor, i64)> {
        let missing = || Error::new(format!("there are {} images, and image {index} is none of them", self.files.len()));
        let (path, class) = self.files.get(index).ok_or_else(missing)?;
        Ok((decoded(path)?, *class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_values;

    #[test]
    fn folders_are_classes() {
        let root = std::env::temp_dir().join(format!("igneous-{}-folder", std::process::id()));
        for class in ["b", "a"] {
            std::fs::create_dir_all(root.join(class)).unwrap();
        }
        let pixels = [255, 0, 51, 0, 0, 0, 102, 255, 0, 0, 0, 255, 1, 2, 3, 0, 0, 0];
        image::save_buffer(root.join("b/1.png"), &pixels, 2, 3, image::ColorType::Rgb8).unwrap();
        image::save_buffer(root.join("a/grey.PNG"), &[0, 255], 2, 1, image::ColorType::L8).unwrap();
        std::fs::write(root.join("b/notes.txt"), "no image").unwrap();
        let folder = ImageFolder::read(&root).unwrap();
        assert_eq!((folder.len(), folder.classes()), (2, &["a".to_owned(), "b".to_owned()][..]));
        let (image, class) = folder.get(1).unwrap();
        assert_eq!((class, image.shape()[..].to_vec()), (1, vec![3usize.into(), 3usize.into(), 2usize.into()]));
        assert_values(&image.i((.., 0, 0)), &[1.0, 0.0, 0.2], 1e-6);
        assert_values(&image.i((.., 1, 0)), &[0.4, 1.0, 0.0], 1e-6);
        assert_values(&folder.get(0).unwrap().0.i((.., 0, 1)), &[1.0; 3], 1e-6);
        let bytes = std::fs::read(root.join("b/1.png")).unwrap();
        std::fs::write(root.join("b/1.png"), &bytes[..bytes.len() / 2]).unwrap();
        assert!(folder.get(1).unwrap_err().to_string().contains("1.png"), "half an image");
        std::fs::write(root.join("b/1.png"), "no image").unwrap();
        assert!(read_image(root.join("b/1.png")).unwrap_err().to_string().contains("1.png"), "other bytes");
        std::fs::remove_file(root.join("b/1.png")).unwrap();
        assert!(folder.get(1).unwrap_err().to_string().contains("1.png"), "no file");
        let told = ImageFolder::read(&root).unwrap_err().to_string();
        assert!(told.contains("b, has no PNG or JPEG file"), "{told}");
        assert!(folder.get(2).is_err() && ImageFolder::read(root.join("a")).is_err());
        std::fs::remove_dir_all(&root).unwrap();
        assert!(ImageFolder::read(&root).is_err());
    }
}
