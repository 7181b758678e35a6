//! Loss scaling for half types: gradients too small for `f16` are kept by computing them of a larger loss.

use super::Optimizer;
use super::condition::when;
use crate::grad_mode::no_grad;
use crate::location::{called_from, here};
use crate::nn::{Module, Visitor};
use crate::tensor::{Tensor, where_};
use crate::tracked::Tracked;
use crate::variable::Variable;
use igneous_ir::{DType, Error, Result};
use std::sync::Arc;

/// How many optimizers one scaler can serve between two updates.
const OPTIMIZERS: usize = 8;

/// Options of [`GradScaler`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct GradScalerOptions {
    /// The first scale.
    pub init_scale: f64,
    /// What the scale is multiplied by after `growth_interval` steps in a row with finite gradients.
    pub growth_factor: f64,
    /// What the scale is multiplied by after a step whose gradients were not all finite.
    pub backoff_factor: f64,
    /// How many steps that is.
    pub growth_interval: usize,
}

impl Default for GradScalerOptions {
    fn default() -> GradScalerOptions {
        GradScalerOptions { init_scale: 65536.0, growth_factor: 2.0, backoff_factor: 0.5, growth_interval: 2000 }
    }
}

/// Multiplies losses by a scale that follows the gradients, and skips the steps in which they are infinite or NaN
/// (`torch.amp.GradScaler`). Micikevicius et al. 2018, arXiv:1710.03740.
///
/// The scale is a variable and a step is skipped without asking for its value, so all of this can be inside a compiled step.
///
/// ```
/// use igneous::nn::{Forward, Linear, ModuleExt};
/// use igneous::optim::{GradScaler, Sgd};
/// use igneous::{DType, Tensor, autocast, compile};
///
/// let net = Linear::new(8, 2);
/// let sgd = Sgd::new(net.parameters(), 0.1)?;
/// let scaler = GradScaler::new();
/// let step = compile(|x: Tensor, y: Tensor| {
///     let loss = autocast(DType::F16, || net.forward(&x).mse_loss(&y));
///     scaler.scale(&loss).backward()?;
///     scaler.step(&sgd)?;
///     scaler.update()?;
///     Ok(loss)
/// });
/// step.run((Tensor::ones((4, 8)), Tensor::zeros((4, 2))))?;
/// assert_eq!(scaler.get_scale()?, 65536.0);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct GradScaler {
    scale: Tensor,
    /// Steps in a row with finite gradients.
    growth_tracker: Tensor,
    /// For each optimizer, whether its gradients were not all finite since the last update.
    found_inf: Tensor,
    /// How far each optimizer is since then.
    progress: Tracked<[Progress; OPTIMIZERS]>,
    options: GradScalerOptions,
}

/// What was done with an optimizer's gradients since the last update.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
enum Progress {
    #[default]
    None,
    /// Unscaled; the number tells optimizers apart.
    Unscaled(usize),
    Stepped(usize),
}

impl Progress {
    fn is_of(self, id: usize) -> bool {
        matches!(self, Progress::Unscaled(own) | Progress::Stepped(own) if own == id)
    }
}

impl Default for GradScaler {
    fn default() -> GradScaler {
        GradScaler::new()
    }
}

impl GradScaler {
    /// With PyTorch's options.
    pub fn new() -> GradScaler {
        GradScaler::unchecked(GradScalerOptions::default())
    }

    /// With options.
    ///
    /// # Errors
    /// If the scale is not positive and finite, the growth factor not above 1, the backoff factor not between 0 and 1, or the
    /// interval 0.
    #[track_caller]
    pub fn with(options: GradScalerOptions) -> Result<GradScaler> {
        let GradScalerOptions { init_scale, growth_factor, backoff_factor, growth_interval } = options;
        let error = |message: String| Err(Error::new(message).at(here()));
        if !(init_scale > 0.0 && init_scale.is_finite()) {
            return error(format!("GradScaler needs a positive init_scale, not {init_scale}"));
        }
        if !(growth_factor > 1.0 && growth_factor.is_finite()) {
            return error(format!("GradScaler needs a growth_factor above 1, not {growth_factor}"));
        }
        if !(backoff_factor > 0.0 && backoff_factor < 1.0) {
            return error(format!("GradScaler needs a backoff_factor between 0 and 1, not {backoff_factor}"));
        }
        if growth_interval == 0 {
            return error("GradScaler needs a growth_interval of at least 1".to_owned());
        }
        Ok(GradScaler::unchecked(options))
    }

    fn unchecked(options: GradScalerOptions) -> GradScaler {
        GradScaler {
            scale: Tensor::variable(Tensor::scalar(options.init_scale as f32)),
            growth_tracker: Tensor::variable(Tensor::from_slice(&[0i32], ())),
            found_inf: Tensor::variable(Tensor::zeros(OPTIMIZERS).to_dtype(DType::Bool)),
            progress: Tracked::new("progress of the scaler", [Progress::None; OPTIMIZERS]),
            options,
        }
    }

    /// The loss times the scale: what to call `backward` of.
    #[track_caller]
    pub fn scale(&self, loss: &Tensor) -> Tensor {
        loss * &self.scale.detach()
    }

    /// The scale.
    ///
    /// # Errors
    /// If called under a trace, where it has no value.
    #[track_caller]
    pub fn get_scale(&self) -> Result<f64> {
        self.scale.item()
    }

    /// Divides an optimizer's gradients by the scale, for clipping them before [`step`](GradScaler::step), which does it else.
    ///
    /// # Errors
    /// If that was done since the last update, a gradient is invalid, or there are more than 8 optimizers.
    #[track_caller]
    pub fn unscale_(&self, optimizer: &dyn Optimizer) -> Result<()> {
        let loc = here();
        let id = id_of(optimizer);
        if self.progress.get().iter().any(|p| p.is_of(id)) {
            let message = "unscale_ was called for this optimizer since the last update, or its step was taken";
            return Err(Error::new(message).at(loc));
        }
        called_from(loc, || no_grad(|| self.unscale(optimizer, id))).map(|_| ()).map_err(|e| e.at(loc))
    }

    /// The optimizer's place.
    fn unscale(&self, optimizer: &dyn Optimizer, id: usize) -> Result<usize> {
        let mut progress = self.progress.get();
        let Some(place) = progress.iter().position(|p| *p == Progress::None) else {
            return Err(Error::new(format!("a GradScaler serves at most {OPTIMIZERS} optimizers between two updates")));
        };
        let inverse = self.scale.detach().reciprocal();
        let mut finite: Option<Tensor> = None;
        let mut gradients: Vec<(Tensor, Tensor)> = Vec::new();
        for parameter in optimizer.parameters() {
            let Some(gradient) = parameter.grad() else { continue };
            if gradients.iter().any(|(other, _)| other.same(&parameter)) {
                continue;
            }
            let own = gradient.isfinite().all_all();
            finite = Some(finite.map_or(own.clone(), |others| others.logical_and(&own)));
            let unscaled = (gradient.as_wide() * &inverse).rounded_as(&gradient);
            gradients.push((parameter, unscaled));
        }
        if let Some(finite) = finite {
            let here = Tensor::arange(0, OPTIMIZERS).equal(place as i64);
            let found = where_(&here, !finite, &self.found_inf);
            found.check()?;
            gradients.iter().try_for_each(|(_, gradient)| gradient.check())?;
            gradients.into_iter().try_for_each(|(parameter, gradient)| parameter.set_grad(Some(gradient)))?;
            self.found_inf.assign(&found)?;
        }
        progress[place] = Progress::Unscaled(id);
        self.progress.set(progress);
        Ok(place)
    }

    /// Takes the optimizer's step with gradients divided by the scale, unless one of them was infinite or NaN: then its parameters
    /// and its state stay as they are.
    ///
    /// # Errors
    /// If the optimizer's step was taken since the last update, or fails.
    #[track_caller]
    pub fn step(&self, optimizer: &dyn Optimizer) -> Result<()> {
        let loc = here();
        let id = id_of(optimizer);
        let place = match self.progress.get().iter().position(|p| p.is_of(id)) {
            Some(place) if self.progress.get()[place] == Progress::Stepped(id) => {
                return Err(Error::new("this optimizer's step was taken since the last update of the scaler").at(loc));
            }
            Some(place) => place,
            None => called_from(loc, || no_grad(|| self.unscale(optimizer, id))).map_err(|e| e.at(loc))?,
        };
        let finite = !self.found_inf.detach().i(place);
        called_from(loc, || when(&finite, || optimizer.step())).map_err(|e| e.at(loc))?;
        let mut progress = self.progress.get();
        progress[place] = Progress::Stepped(id);
        self.progress.set(progress);
        Ok(())
    }

    /// Changes the scale by what was found since the last update: call it after the steps of all optimizers.
    ///
    /// # Errors
    /// If there was no step since.
    #[track_caller]
    pub fn update(&self) -> Result<()> {
        let loc = here();
        if self.progress.get().iter().all(|p| *p == Progress::None) {
            return Err(Error::new("update comes after a step of the scaler").at(loc));
        }
        let GradScalerOptions { growth_factor, backoff_factor, growth_interval, .. } = self.options;
        called_from(loc, || {
            no_grad(|| {
                let scale = self.scale.detach();
                let bad = self.found_inf.detach().any_all();
                let count = &self.growth_tracker.detach() + 1;
                let grows = count.equal(growth_interval as i64);
                let grown = &scale * growth_factor;
                let grown = where_(&grown.isfinite(), &grown, &scale);
                let new = where_(&bad, &scale * backoff_factor, where_(&grows, grown, &scale));
                let count = where_(&bad.logical_or(&grows), 0, count).to_dtype(DType::I32);
                self.scale.assign(&new)?;
                self.growth_tracker.assign(&count)?;
                self.found_inf.assign(&Tensor::zeros(OPTIMIZERS).to_dtype(DType::Bool))
            })
        })
        .map_err(|e: Error| e.at(loc))?;
        self.progress.set([Progress::None; OPTIMIZERS]);
        Ok(())
    }
}

/// What tells an optimizer from others: its first parameter.
fn id_of(optimizer: &dyn Optimizer) -> usize {
    let first = optimizer.parameters().into_iter().next();
    first.and_then(|p| p.as_variable().map(|v: &Arc<Variable>| Arc::as_ptr(v) as usize)).unwrap_or_default()
}

impl Module for GradScaler {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("scale", &self.scale);
        visitor.child("growth_tracker", &self.growth_tracker);
    }
}
