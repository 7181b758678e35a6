//! Softmax, losses, embedding, dropout.

use super::{Tensor, or_invalid};
use crate::apply::try_apply;
use crate::location::here;
use crate::random;
use igneous_ir::types::normalize_axis;
use igneous_ir::{DType, Dim, Error, Result, Shape, ops};

impl Tensor {
    /// `e^x / Σ e^x` along an axis (`torch.softmax`); the shape stays.
    #[track_caller]
    pub fn softmax(&self, axis: i64) -> Tensor {
        let [result] = self.along_axis(axis, |x, axis| [x.as_float().apply(ops::softmax(axis))]);
        result
    }

    /// `x − log Σ e^x` along an axis (`torch.log_softmax`); the shape stays.
    #[track_caller]
    pub fn log_softmax(&self, axis: i64) -> Tensor {
        let [result] = self.along_axis(axis, |x, axis| [x.as_float().apply(ops::log_softmax(axis))]);
        result
    }

    /// The mean cross-entropy of logits `[N, C]` (or `[N, C, d…]`) and class labels `[N]` (or `[N, d…]`):
    /// `torch.nn.functional.cross_entropy`, whose options [`CrossEntropyLoss`](crate::nn::CrossEntropyLoss) has. Examples with the
    /// label −100 do not count; any other label outside of `0..C` is an error.
    ///
    /// ```
    /// let logits = igneous::Tensor::zeros((2, 10));
    /// let loss = logits.cross_entropy(&igneous::Tensor::new([3, 9]));
    /// assert!((loss.item()? - 10f64.ln()).abs() < 1e-6);
    /// # Ok::<(), igneous::Error>(())
    /// ```
    #[track_caller]
    pub fn cross_entropy(&self, labels: &Tensor) -> Tensor {
        crate::nn::CrossEntropyLoss::default().forward(self, labels)
    }

    /// The cross-entropy of each example, of the shape of the labels: [`cross_entropy`](Tensor::cross_entropy) without the
    /// mean. Of an example that does not count it is 0.
    #[track_caller]
    pub fn cross_entropy_each(&self, labels: &Tensor) -> Tensor {
        self.cross_entropy_except(labels, Some(crate::nn::IGNORED))
    }

    /// The same with another label whose examples do not count.
    #[track_caller]
    pub(crate) fn cross_entropy_except(&self, labels: &Tensor, ignored: Option<i64>) -> Tensor {
        let loc = here();
        let each = cross_entropy_operands(self, labels).and_then(|(logits, flat)| {
            super::index::check_range_except(&flat, Dim::ZERO, logits.size(1), ignored, "a label is out of range", loc)?;
            // The operator takes what is out of range as the nearest label.
            let results = try_apply(ops::cross_entropy(), &[&logits, &flat], loc)?;
            let each = match ignored {
                Some(ignored) => results[0].masked_fill(&flat.equal(ignored), 0.0),
                None => results[0].clone(),
            };
            Ok(each.reshape_to(labels.shape()))
        });
        or_invalid(each.map_err(|e| e.at(loc)))
    }

    /// The mean squared difference to a target of the same shape (`torch.nn.functional.mse_loss`). What PyTorch warns of,
    /// shapes that differ and broadcast, is an error.
    #[track_caller]
    pub fn mse_loss(&self, target: &Tensor) -> Tensor {
        self.mse_loss_each(target).mean_all()
    }

    /// The squared differences: [`mse_loss`](Tensor::mse_loss) without the mean.
    #[track_caller]
    pub fn mse_loss_each(&self, target: &Tensor) -> Tensor {
        if let Err(error) = self.check().and_then(|()| target.check()) {
            return error.into();
        }
        if self.shape() != target.shape() {
            let error = Error::new("mse_loss needs a prediction and a target of one shape");
            return error.note("prediction", self.describe()).note("target", target.describe()).at(here()).into();
        }
        (self.in_autocast_single() - target.in_autocast_single()).square()
    }

    /// 1 where the last axis of the result equals the label, elsewhere 0: `[…] → […, classes]`, `i64` as in PyTorch's
    /// `one_hot`. A label outside of `0..classes` is an error.
    #[track_caller]
    pub fn one_hot(&self, classes: impl Into<Dim>) -> Tensor {
        let loc = here();
        let classes = classes.into();
        let checked = self.check().and_then(|()| {
            let labels = self.to_dtype(DType::I64);
            super::index::check_range(&labels, Dim::ZERO, classes, "a label is out of range", loc)?;
            Ok(labels)
        });
        match checked {
            Ok(labels) => labels.unsqueeze(-1).equal(Tensor::arange(0, classes)).to_dtype(DType::I64),
            Err(error) => Tensor::from(error.at(loc)),
        }
    }

    /// Rows of the table `[classes, features]` that these indices choose: `[…] → […, features]`
    /// (`torch.nn.functional.embedding`). An index outside of the table is an error.
    #[track_caller]
    pub fn embedding(&self, table: &Tensor) -> Tensor {
        table.index_rows(self)
    }

    /// Each element 0 with probability `p`, else divided by `1 − p` (`torch.nn.functional.dropout`). The random bits come from
    /// the device's counter.
    #[track_caller]
    pub fn dropout(&self, p: f64) -> Tensor {
        if let Err(error) = self.check() {
            return error.into();
        }
        if let Err(error) = probability(p) {
            return error.note("tensor", self.describe()).at(here()).into();
        }
        if p == 0.0 {
            return self.clone();
        }
        if p == 1.0 {
            return self.as_float() * 0.0;
        }
        match random::advance() {
            Ok(state) => self.as_float().apply_with(ops::dropout(p), &state),
            Err(error) => Tensor::from(error.at(here())),
        }
    }
}

/// Fails unless `p` is a probability that dropout can have.
pub(crate) fn probability(p: f64) -> Result<()> {
    match (0.0..=1.0).contains(&p) {
        true => Ok(()),
        false => Err(Error::new(format!("dropout needs a probability from 0 to 1, not {p}"))),
    }
}

/// Logits as `[N, C]` and labels as `i64[N]`.
#[track_caller]
fn cross_entropy_operands(logits: &Tensor, labels: &Tensor) -> Result<(Tensor, Tensor)> {
    let (shape, given) = (logits.ty()?.shape, labels.ty()?);
    let error = |message: &str| Err(Error::new(message).note("logits", logits.describe()).note("labels", labels.describe()));
    if !matches!(given.dtype, DType::I64 | DType::I32 | DType::U8 | DType::I8) {
        return error("cross_entropy needs integer labels");
    }
    if !logits.dtype().is_float() {
        return error("cross_entropy needs logits of a floating-point type");
    }
    let expected: Shape = shape.iter().take(1).chain(shape.iter().skip(2)).copied().collect();
    if shape.len() < 2 || expected != given.shape {
        return error("cross_entropy needs logits [N, C, …] and one label for each example: [N, …]");
    }
    let classes = shape[normalize_axis(1, shape.len())?];
    let mut order: Vec<usize> = (0..shape.len()).filter(|&i| i != 1).collect();
    order.push(1);
    let flat = logits.permuted(&order).reshape((-1, classes));
    Ok((flat, labels.to_dtype(DType::I64).reshape(-1)))
}
