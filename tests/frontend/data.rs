//! MNIST as it is in the repository, and its batches.

use crate::vec;
use igneous::data::{DataLoader, Dataset, Mnist};
use igneous::{DType, Dim};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/mnist");

/// The numbers of images, the first labels, and mean and deviation of the pixels are those known of the data set.
#[test]
fn mnist_is_complete() {
    let (train, test) = (Mnist::train(DIRECTORY).unwrap(), Mnist::test(DIRECTORY).unwrap());
    assert_eq!((train.len(), test.len()), (60_000, 10_000));
    assert_eq!(train.labels()[..10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    assert_eq!(test.labels()[..10], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    let mut count = [0; 10];
    train.labels().iter().for_each(|&l| count[usize::from(l)] += 1);
    assert_eq!(count, [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]);
    let (mut sum, mut squares) = (0.0, 0.0);
    for batch in &DataLoader::new(train, 10_000) {
        let (images, _) = batch.unwrap();
        assert_eq!(images.shape()[..], [10_000, 1, 28, 28].map(Dim::from));
        assert_eq!(images.max_all().item().unwrap(), 1.0);
        sum += images.mean_all().item().unwrap() / 6.0;
        squares += images.square().mean_all().item().unwrap() / 6.0;
    }
    assert!((sum - 0.1307).abs() < 1e-4, "{sum}");
    assert!(((squares - sum * sum).sqrt() - 0.3081).abs() < 1e-4);
}

/// A batch is its samples, in the order of the loader, whatever way they are read.
#[test]
fn batches_are_samples() {
    let test = Mnist::test(DIRECTORY).unwrap();
    let loader = DataLoader::new(test, 64).shuffle(3);
    assert_eq!((loader.len(), loader.epoch(0).len()), (157, 157));
    let (images, labels) = loader.epoch(0).next().unwrap().unwrap();
    let (again, same) = loader.epoch(0).progress("read").next().unwrap().unwrap();
    assert_eq!((vec::<f32>(&images), vec::<i64>(&labels)), (vec(&again), vec(&same)));
    let (other, _) = loader.epoch(1).next().unwrap().unwrap();
    assert_ne!(vec::<f32>(&images), vec::<f32>(&other));
    // The image is found in the data set, with its label.
    let first = vec::<f32>(&images.i(0));
    let found = (0..loader.dataset().len()).find(|&i| vec::<f32>(&loader.dataset().get(i).unwrap().0) == first);
    let (image, label) = loader.dataset().get(found.unwrap()).unwrap();
    assert_eq!((image.dtype(), label), (DType::F32, vec::<i64>(&labels)[0]));
    let last = loader.epoch(0).last().unwrap().unwrap().0;
    assert_eq!(last.size(0), Dim::from(10_000 - 156 * 64));
    assert_eq!(DataLoader::new(Mnist::test(DIRECTORY).unwrap(), 64).drop_last().epoch(0).count(), 156);
}
