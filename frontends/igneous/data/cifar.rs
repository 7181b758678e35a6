//! CIFAR-10 and CIFAR-100 in their binary version: records of one or two labels and 3·32·32 bytes. Krizhevsky 2009.

use super::Dataset;
use super::pixel::unit;
use crate::files;
use crate::location::here;
use crate::tensor::Tensor;
use igneous_ir::{Error, Result};
use std::path::Path;

/// Which of the two sets it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CifarKind {
    /// Ten classes.
    Ten,
    /// A hundred classes; the coarse ones are passed over.
    Hundred,
}

impl CifarKind {
    fn labels(self) -> usize {
        match self {
            CifarKind::Ten => 1,
            CifarKind::Hundred => 2,
        }
    }

    fn classes(self) -> u8 {
        match self {
            CifarKind::Ten => 10,
            CifarKind::Hundred => 100,
        }
    }
}

/// The bytes of an image.
const PIXELS: usize = 3 * 32 * 32;

/// Images `f32[3, 32, 32]`, from 0 to 1, and their classes.
///
/// ```no_run
/// use igneous::data::{Cifar, CifarKind, DataLoader};
/// let train = Cifar::read(CifarKind::Ten, (1..=5).map(|i| format!("cifar-10-batches-bin/data_batch_{i}.bin")))?;
/// let loader = DataLoader::new(train, 128).shuffle(1).workers(2);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cifar {
    records: Vec<u8>,
    kind: CifarKind,
}

impl Cifar {
    /// Reads files of records, one after the other.
    ///
    /// # Errors
    /// If a file is missing, ends in a record, or has a class that there is not; the message names file and record.
    #[track_caller]
    pub fn read(kind: CifarKind, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Cifar> {
        let loc = here();
        let mut records = Vec::new();
        for path in paths {
            let path = path.as_ref();
            let bytes = files::read(path).map_err(|e| e.at(loc))?;
            check(kind, &bytes).map_err(|e| files::cannot_read(path, e).at(loc))?;
            records.extend(bytes);
        }
        Ok(Cifar { records, kind })
    }

    fn record_size(&self) -> usize {
        self.kind.labels() + PIXELS
    }
}

fn check(kind: CifarKind, bytes: &[u8]) -> Result<()> {
    let size = kind.labels() + PIXELS;
    if !bytes.len().is_multiple_of(size) {
        return Err(Error::new(format!("{} bytes are no whole number of records of {size} bytes", bytes.len())));
    }
    for (i, record) in bytes.chunks_exact(size).enumerate() {
        let class = record[kind.labels() - 1];
        if class >= kind.classes() {
            return Err(Error::new(format!("record {i} has class {class}, and there are {}", kind.classes())));
        }
    }
    Ok(())
}

impl Dataset for Cifar {
    type Sample = (Tensor, i64);

    fn len(&self) -> usize {
        self.records.len() / self.record_size()
    }

    fn get(&self, index: usize) -> Result<(Tensor, i64)> {
        let size = self.record_size();
        let missing = || Error::new(format!("there are {} images, and image {index} is none of them", self.len()));
        let record =
            index.checked_mul(size).and_then(|from| self.records.get(from..from.checked_add(size)?)).ok_or_else(missing)?;
        let (labels, pixels) = record.split_at(self.kind.labels());
        let values: Vec<f32> = pixels.iter().map(|&p| unit(p)).collect();
        let image = Tensor::from_vec(values, (3, 32, 32));
        image.check().map(|()| (image, labels[labels.len() - 1].into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_become_images() {
        let path = std::env::temp_dir().join(format!("igneous-{}-cifar.bin", std::process::id()));
        let write = |bytes: &[u8]| std::fs::write(&path, bytes).unwrap();
        let record = |labels: &[u8], first: u8| [labels, &[first], &[0; PIXELS - 1]].concat();
        write(&[record(&[3], 255), record(&[9], 51)].concat());
        let ten = Cifar::read(CifarKind::Ten, [&path, &path]).unwrap();
        assert_eq!(ten.len(), 4);
        let (image, class) = ten.get(3).unwrap();
        assert_eq!((image.i((0, 0, 0)).item().unwrap() as f32, class), (0.2, 9));
        assert!(ten.get(4).is_err());
        assert!(Cifar::read(CifarKind::Hundred, [&path]).unwrap_err().to_string().contains("cifar.bin"), "other records");
        write(&record(&[19, 99], 0));
        assert_eq!(Cifar::read(CifarKind::Hundred, [&path]).unwrap().get(0).unwrap().1, 99);
        write(&record(&[10], 0));
        let told = Cifar::read(CifarKind::Ten, [&path]).unwrap_err().to_string();
        assert!(told.contains("cifar.bin") && told.contains("record 0 has class 10"), "{told}");
        write(&record(&[1], 0)[1..]);
        assert!(Cifar::read(CifarKind::Ten, [&path]).is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(Cifar::read(CifarKind::Ten, [&path]).is_err());
    }
}
