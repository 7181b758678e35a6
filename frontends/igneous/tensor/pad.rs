//! Padding.

use super::{Tensor, or_invalid};
use crate::location::entered;
use igneous_ir::{Dim, Error, Result, ops};

/// What padding is filled with (PyTorch's `mode`).
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum PadMode {
    /// A number.
    Constant(f64),
    /// The image mirrored at its border, whose elements are not repeated.
    Reflect,
    /// The element at the border.
    Replicate,
    /// The image again, from its other end.
    Circular,
}

impl Tensor {
    /// Padded along the last axes with a value; `(low, high)` for each axis, the last axis first (PyTorch's
    /// `functional.pad` in constant mode). Negative widths cut off.
    #[track_caller]
    pub fn pad(&self, widths: &[(i64, i64)], value: f64) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let rank = self.rank();
        if self.error().is_none() && widths.len() > rank {
            let error = Error::new(format!("pad was given widths for {} axes", widths.len()));
            return error.note("tensor", self.describe()).at(loc).into();
        }
        let mut each = vec![(0, 0); rank];
        for (k, &width) in widths.iter().enumerate().take(rank) {
            each[rank - 1 - k] = width;
        }
        self.padded_with(&each, value)
    }

    /// Padded in front and behind of each axis.
    #[track_caller]
    pub(crate) fn padded_with(&self, widths: &[(i64, i64)], value: f64) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let shape = match self.ty() {
            Ok(ty) => ty.shape,
            Err(error) => return error.into(),
        };
        for (&extent, &(low, high)) in shape.iter().zip(widths) {
            let padded = extent + Dim::constant(low) + Dim::constant(high);
            if padded.at_least(0) == Some(false) {
                let message = format!("pad cuts off more than there is: an axis of extent {extent} would have {padded}");
                return Tensor::from(Error::new(message).note("tensor", self.describe()).at(loc));
            }
        }
        let [low, high, cut_low, cut_high]: [Vec<Dim>; 4] = [
            widths.iter().map(|w| Dim::constant(w.0.max(0))).collect(),
            widths.iter().map(|w| Dim::constant(w.1.max(0))).collect(),
            widths.iter().map(|w| Dim::constant(w.0.saturating_neg().max(0))).collect(),
            widths.iter().map(|w| Dim::constant(w.1.saturating_neg().max(0))).collect(),
        ];
        let nothing = |widths: &[Dim]| widths.iter().all(|d| *d == Dim::ZERO);
        let fill = Tensor::number(value.into(), self.dtype());
        let padded = if nothing(&low) && nothing(&high) {
            self.clone()
        } else {
            self.apply_with(ops::pad(&low, &high, &vec![0; shape.len()]), &fill)
        };
        if nothing(&cut_low) && nothing(&cut_high) {
            return padded;
        }
        let limits: Vec<Dim> = padded.shape().iter().zip(&cut_high).map(|(&extent, &cut)| extent - cut).collect();
        padded.apply(ops::slice(&cut_low, &limits, &vec![1; shape.len()]))
    }

    /// Padded along the last axes; `(low, high)` for each axis, the last axis first (`torch.nn.functional.pad`). Negative widths
    /// cut off. A mirrored image is as wide as the padding and one more; a circular one as wide as the padding.
    #[track_caller]
    pub fn pad_with(&self, widths: &[(i64, i64)], mode: PadMode) -> Tensor {
        let user = entered();
        let loc = user.loc();
        if let PadMode::Constant(value) = mode {
            return self.pad(widths, value);
        }
        let rank = self.rank();
        if self.error().is_none() && widths.len() > rank {
            let error = Error::new(format!("pad was given widths for {} axes", widths.len()));
            return error.note("tensor", self.describe()).at(loc).into();
        }
        let mut result = self.clone();
        let mut widths = widths.to_vec();
        if mode == PadMode::Circular {
            // What is cut off does not come round.
            let cut: Vec<(i64, i64)> = widths.iter().map(|w| (w.0.min(0), w.1.min(0))).collect();
            result = result.pad(&cut, 0.0);
            widths.iter_mut().for_each(|w| *w = (w.0.max(0), w.1.max(0)));
        }
        for (k, &(low, high)) in widths.iter().enumerate() {
            let axis = rank - 1 - k;
            let made = result.ty().and_then(|ty| {
                let extent = ty.shape[axis].get()? as i64;
                check_mode(mode, extent, low, high).map_err(|e| e.note("tensor", self.describe()))?;
                Ok(extent)
            });
            match made {
                Ok(_) if (low, high) == (0, 0) => {}
                Ok(extent) => result = result.chosen(axis, &sources(mode, extent, low, high)),
                Err(error) => return Tensor::from(error.at(loc)),
            }
        }
        or_invalid(Ok(result))
    }
}

fn check_mode(mode: PadMode, extent: i64, low: i64, high: i64) -> Result<()> {
    let widest = low.max(high);
    let problem = match mode {
        _ if widest > i64::from(i32::MAX) => format!("pad cannot add {widest} elements to an axis"),
        _ if extent.saturating_add(low).saturating_add(high) < 0 => {
            format!("pad cuts off more than there is: an axis has {extent} elements")
        }
        PadMode::Reflect if widest >= extent.max(1) => format!("pad cannot mirror an axis of {extent} elements to add {widest}"),
        PadMode::Circular if widest > extent => format!("pad cannot repeat an axis of {extent} elements to add {widest}"),
        PadMode::Replicate if extent == 0 && widest > 0 => "pad cannot repeat the border of an empty axis".to_owned(),
        _ => return Ok(()),
    };
    Err(Error::new(problem))
}

/// Where each element of the padded axis comes from.
#[track_caller]
fn sources(mode: PadMode, extent: i64, low: i64, high: i64) -> Tensor {
    let place = Tensor::arange(-low, extent + high);
    match mode {
        PadMode::Reflect => {
            let mirrored = place.abs();
            let last = extent - 1;
            last - (last - mirrored).abs()
        }
        PadMode::Circular => place % extent.max(1),
        _ => place.maximum(0).minimum((extent - 1).max(0)),
    }
}
