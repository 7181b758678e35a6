//! The IDX format of MNIST and its like: big-endian numbers of samples and extents, then bytes. Files that end in `.gz`
//! are unpacked. Source: the format's description at the end of LeCun's MNIST page.

use crate::files;
use crate::location::here;
use igneous_ir::{Error, Result};
use std::path::Path;

const IMAGES: u32 = 2051;
const LABELS: u32 = 2049;

/// Grey images of one size, as bytes.
#[derive(Clone, Debug)]
pub struct Images {
    /// Number, height, width.
    pub shape: [usize; 3],
    /// The pixels, image by image, row by row.
    pub pixels: Vec<u8>,
}

/// Reads a file of images.
///
/// # Errors
/// If the file is missing, is no IDX file of images, or holds fewer or more bytes than it says; the message names it.
#[track_caller]
pub fn read_images(path: impl AsRef<Path>) -> Result<Images> {
    let loc = here();
    images(path.as_ref()).map_err(|e| e.at(loc))
}

fn images(path: &Path) -> Result<Images> {
    let bytes = files::read_unpacked(path)?;
    let shape = header::<3>(path, &bytes, IMAGES, "images")?;
    let pixels = body(path, &bytes, 16, shape.iter().try_fold(1, |n: usize, &d| n.checked_mul(d)))?;
    Ok(Images { shape, pixels })
}

/// Reads a file of labels.
///
/// # Errors
/// If the file is missing, is no IDX file of labels, or holds fewer or more bytes than it says; the message names it.
#[track_caller]
pub fn read_labels(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    let loc = here();
    labels(path.as_ref()).map_err(|e| e.at(loc))
}

fn labels(path: &Path) -> Result<Vec<u8>> {
    let bytes = files::read_unpacked(path)?;
    let [count] = header::<1>(path, &bytes, LABELS, "labels")?;
    body(path, &bytes, 8, Some(count))
}

fn header<const N: usize>(path: &Path, bytes: &[u8], magic: u32, what: &str) -> Result<[usize; N]> {
    let number = |i: usize| bytes.get(4 * i..4 * i + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let bad = |text: String| Error::new(format!("{} {text}", path.display()));
    match number(0) {
        Some(found) if found == magic => {}
        Some(found) => return Err(bad(format!("is no IDX file of {what}: it begins with {found}, not {magic}"))),
        None => return Err(bad(format!("has {} bytes, too few for an IDX file", bytes.len()))),
    }
    let mut extents = [0; N];
    for (i, extent) in extents.iter_mut().enumerate() {
        *extent = number(i + 1).ok_or_else(|| bad("ends inside its header".into()))? as usize;
    }
    Ok(extents)
}

/// The data behind the header: `want` bytes, or more than a number can hold.
fn body(path: &Path, bytes: &[u8], start: usize, want: Option<usize>) -> Result<Vec<u8>> {
    let body = bytes.get(start..).unwrap_or_default();
    if want == Some(body.len()) {
        return Ok(body.to_vec());
    }
    let state = if want.is_none_or(|want| body.len() < want) { "is truncated" } else { "is too long" };
    let want = want.map_or_else(|| "too many".to_owned(), |want| want.to_string());
    Err(Error::new(format!("{} {state}: it announces {want} bytes of data and holds {}", path.display(), body.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("igneous-idx-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[test]
    fn reads_what_the_format_says() {
        let mut bytes = Vec::new();
        for n in [IMAGES, 2, 1, 3] {
            bytes.extend(n.to_be_bytes());
        }
        bytes.extend([1, 2, 3, 4, 5, 6]);
        let images = read_images(file("images", &bytes)).unwrap();
        assert_eq!((images.shape, images.pixels), ([2, 1, 3], vec![1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn bad_files_are_named() {
        let message = |e: Error| e.to_string();
        let mut bytes: Vec<u8> = [LABELS, 5].into_iter().flat_map(u32::to_be_bytes).collect();
        bytes.extend([1, 2, 3]);
        let short = file("short", &bytes);
        let text = message(read_labels(&short).unwrap_err());
        assert!(text.contains("short is truncated: it announces 5 bytes of data and holds 3"), "{text}");
        let text = message(read_images(&short).unwrap_err());
        assert!(text.contains("is no IDX file of images: it begins with 2049, not 2051"), "{text}");
        let text = message(read_labels(file("tiny", &[0, 0])).unwrap_err());
        assert!(text.contains("tiny has 2 bytes, too few"), "{text}");
        let text = message(read_labels("/no/such/file").unwrap_err());
        assert!(text.contains("cannot read /no/such/file"), "{text}");
        let packed = file("broken.gz", &[0x1f, 0x8b, 8, 0]);
        assert!(message(read_labels(packed).unwrap_err()).contains("broken.gz"));
    }
}
