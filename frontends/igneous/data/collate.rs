//! From samples to a batch.

use super::pad_sequences;
use crate::tensor::Tensor;
use igneous_ir::{Error, Result};

/// A sample that can be put together with others.
pub trait Collate: Sized {
    /// Several samples.
    type Batch;

    /// Puts samples together, in order.
    ///
    /// # Errors
    /// If their types differ; the message names the first that does.
    fn collate(samples: Vec<Self>) -> Result<Self::Batch>;
}

/// Tensors are stacked along a new first axis.
impl Collate for Tensor {
    type Batch = Tensor;

    fn collate(samples: Vec<Tensor>) -> Result<Tensor> {
        let Some(first) = samples.first() else { return Err(Error::new("a batch of no samples")) };
        let ty = first.ty()?;
        for (i, sample) in samples.iter().enumerate() {
            if sample.ty()? != ty {
                let error = Error::new(format!("sample {i} of a batch has another type than the first"));
                return Err(error.note("first", ty).note("this one", sample.ty()?));
            }
        }
        let batch = Tensor::stack(&samples.iter().collect::<Vec<_>>(), 0);
        batch.check()?;
        Ok(batch)
    }
}

/// Class numbers become a tensor.
impl Collate for i64 {
    type Batch = Tensor;

    fn collate(samples: Vec<i64>) -> Result<Tensor> {
        let n = samples.len();
        Ok(Tensor::from_vec(samples, n))
    }
}

/// Numbers become a tensor.
impl Collate for f32 {
    type Batch = Tensor;

    fn collate(samples: Vec<f32>) -> Result<Tensor> {
        let n = samples.len();
        Ok(Tensor::from_vec(samples, n))
    }
}

/// Sequences of numbers become one tensor `i64[N, longest]`, filled up with 0 behind them, and their lengths `i64[N]`:
/// [`pad_sequences`] with a padding of 0.
impl Collate for Vec<i64> {
    type Batch = (Tensor, Tensor);

    fn collate(samples: Vec<Vec<i64>>) -> Result<(Tensor, Tensor)> {
        let (padded, lengths) = pad_sequences(&samples, 0);
        padded.check().and_then(|()| lengths.check()).map(|()| (padded, lengths))
    }
}

/// Input and target.
impl<A: Collate, B: Collate> Collate for (A, B) {
    type Batch = (A::Batch, B::Batch);

    fn collate(samples: Vec<(A, B)>) -> Result<Self::Batch> {
        let (a, b) = samples.into_iter().unzip();
        Ok((A::collate(a)?, B::collate(b)?))
    }
}

/// Three parts.
impl<A: Collate, B: Collate, C: Collate> Collate for (A, B, C) {
    type Batch = (A::Batch, B::Batch, C::Batch);

    fn collate(samples: Vec<(A, B, C)>) -> Result<Self::Batch> {
        let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
        for (x, y, z) in samples {
            a.push(x);
            b.push(y);
            c.push(z);
        }
        Ok((A::collate(a)?, B::collate(b)?, C::collate(c)?))
    }
}
