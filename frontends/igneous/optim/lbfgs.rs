//! L-BFGS.

use super::group::not_negative;
use super::line_search::{Point, strong_wolfe};
use crate::grad_mode::{enable_grad, no_grad};
use crate::location::{called_from, here};
use crate::nn::StateDict;
use crate::tensor::Tensor;
use igneous_ir::{DType, Error, Result, Shape};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// How [`Lbfgs`] chooses the length of its steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LineSearch {
    /// The learning rate is the length.
    #[default]
    None,
    /// The loss must fall and its slope become small (`strong_wolfe`).
    StrongWolfe,
}

/// Options of [`Lbfgs`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct LbfgsOptions {
    /// How many steps one call does; 20.
    pub max_iter: usize,
    /// How often one call may compute the loss; 5/4 of `max_iter` by default.
    pub max_eval: Option<usize>,
    /// A gradient whose elements are all below this ends the search; 1e-7.
    pub tolerance_grad: f64,
    /// A change of loss or parameters below this ends the search; 1e-9.
    pub tolerance_change: f64,
    /// How many steps are remembered; 100.
    pub history_size: usize,
    /// How long steps are.
    pub line_search: LineSearch,
}

impl Default for LbfgsOptions {
    fn default() -> LbfgsOptions {
        LbfgsOptions {
            max_iter: 20,
            max_eval: None,
            tolerance_grad: 1e-7,
            tolerance_change: 1e-9,
            history_size: 100,
            line_search: LineSearch::None,
        }
    }
}

/// Newton's method with a curvature learned from the last steps (`torch.optim.LBFGS`). It computes the loss several times a
/// step, so `step` takes a closure, which computes it and calls `backward`; it runs in eager mode. Liu and Nocedal 1989.
///
/// ```
/// use igneous::optim::{Lbfgs, LbfgsOptions, LineSearch};
/// use igneous::{Tensor, default};
///
/// let w = Tensor::parameter(Tensor::new([-1.0, 2.0]));
/// let options = LbfgsOptions { line_search: LineSearch::StrongWolfe, max_iter: 50, ..default() };
/// let lbfgs = Lbfgs::with(vec![w.clone()], 1.0, options)?;
/// // Rosenbrock's valley.
/// lbfgs.step(|| {
///     let loss = (1.0 - w.i(0)).square() + (w.i(1) - w.i(0).square()).square() * 100.0;
///     loss.backward()?;
///     Ok(loss)
/// })?;
/// igneous::testing::assert_values(&w, &[1.0, 1.0], 1e-3);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Debug)]
pub struct Lbfgs {
    parameters: Vec<Tensor>,
    lr: f64,
    options: LbfgsOptions,
    state: Mutex<State>,
}

/// A step and how the gradient changed in it.
#[derive(Clone, Debug)]
struct Pair {
    step: Tensor,
    change: Tensor,
    /// One over their product.
    rho: f64,
}

#[derive(Clone, Debug, Default)]
struct State {
    steps: u64,
    history: VecDeque<Pair>,
    /// The curvature that the history is set upon.
    scale: f64,
    /// Direction and length of the last step, and the gradient before it.
    last: Option<(Tensor, f64, Tensor)>,
}

#[track_caller]
fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    (a * b).sum_all().item()
}

impl Lbfgs {
    /// With PyTorch's defaults except for the learning rate (there 1).
    ///
    /// # Errors
    /// If there is no parameter, one is no floating-point variable, they have different types, or the learning rate is
    /// negative or NaN.
    #[track_caller]
    pub fn new(parameters: Vec<Tensor>, lr: f64) -> Result<Lbfgs> {
        Lbfgs::with(parameters, lr, LbfgsOptions::default())
    }

    /// With options.
    ///
    /// # Errors
    /// As [`Lbfgs::new`].
    #[track_caller]
    pub fn with(parameters: Vec<Tensor>, lr: f64, options: LbfgsOptions) -> Result<Lbfgs> {
        let loc = here();
        not_negative("learning rate", lr).map_err(|e| e.at(loc))?;
        let Some(first) = parameters.first() else {
            return Err(Error::new("an optimizer needs at least one parameter").at(loc));
        };
        let dtype = first.ty()?.dtype;
        for parameter in &parameters {
            if !parameter.is_variable() || !dtype.is_float() || parameter.ty()?.dtype != dtype {
                let error = Error::new("Lbfgs takes variables of one floating-point type");
                return Err(error.note("tensor", parameter.describe()).at(loc));
            }
        }
        Ok(Lbfgs { parameters, lr, options, state: Mutex::new(State::default()) })
    }

    /// Steps until one of the limits is reached. Returns the first loss.
    ///
    /// # Errors
    /// If the closure fails, a gradient is missing or invalid, or a trace is active.
    #[track_caller]
    pub fn step(&self, mut closure: impl FnMut() -> Result<Tensor>) -> Result<Tensor> {
        called_from(here(), || no_grad(|| self.search(&mut closure)))
    }

    fn search(&self, closure: &mut dyn FnMut() -> Result<Tensor>) -> Result<Tensor> {
        let LbfgsOptions { max_iter, tolerance_grad, tolerance_change, line_search, .. } = self.options;
        let most = self.options.max_eval.unwrap_or(max_iter.saturating_mul(5) / 4);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, mut gradient) = self.evaluate(closure)?;
        let mut loss = first.item()?;
        let mut evaluations = 1;
        if largest(&gradient)? <= tolerance_grad {
            return Ok(first);
        }
        for iteration in 1..=max_iter {
            state.steps += 1;
            let direction = state.direction(&gradient, self.options.history_size)?;
            let beginning = state.steps == 1;
            let mut t = if beginning { (1.0 / gradient.abs().sum_all().item()?).min(1.0) * self.lr } else { self.lr };
            let slope = dot(&gradient, &direction)?;
            let before = (loss, gradient.clone());
            state.last = Some((direction.clone(), t, gradient.clone()));
            if slope > -tolerance_change {
                break;
            }
            let last = iteration == max_iter;
            match line_search {
                LineSearch::StrongWolfe => {
                    let start: Vec<Tensor> = self.parameters.iter().map(Tensor::detach).collect();
                    let point = Point { t: 0.0, loss, gradient: gradient.clone(), slope };
                    let longest = largest(&direction)?;
                    let left = most.saturating_sub(evaluations);
                    let (found, count) = strong_wolfe(&point, t, longest, tolerance_change, left, |t| {
                        self.move_to(&start, &direction, t)?;
                        let (loss, gradient) = self.evaluate(closure)?;
                        let slope = dot(&gradient, &direction)?;
                        Ok(Point { t, loss: loss.item()?, gradient, slope })
                    })?;
                    (t, loss, gradient) = (found.t, found.loss, found.gradient);
                    self.move_to(&start, &direction, t)?;
                    evaluations += count;
                }
                LineSearch::None => {
                    let start: Vec<Tensor> = self.parameters.iter().map(Tensor::detach).collect();
                    self.move_to(&start, &direction, t)?;
                    // After the last step nobody asks for the loss.
                    if !last {
                        let (new, new_gradient) = self.evaluate(closure)?;
                        (loss, gradient) = (new.item()?, new_gradient);
                        evaluations += 1;
                    }
                }
            }
            state.last = Some((direction.clone(), t, before.1));
            let done = last
                || evaluations >= most
                || largest(&gradient)? <= tolerance_grad
                || largest(&direction)? * t <= tolerance_change
                || (loss - before.0).abs() < tolerance_change;
            if done {
                break;
            }
        }
        self.parameters.iter().for_each(Tensor::zero_grad);
        Ok(first)
    }

    /// Loss and gradient, flat, of the parameters as they are.
    fn evaluate(&self, closure: &mut dyn FnMut() -> Result<Tensor>) -> Result<(Tensor, Tensor)> {
        self.parameters.iter().for_each(Tensor::zero_grad);
        let loss = enable_grad(closure)?.detach();
        loss.check()?;
        let gradient = |p: &Tensor| p.take_grad().unwrap_or_else(|| p.detach().zeros_like()).flatten_all();
        let flat = Tensor::cat(&self.parameters.iter().map(gradient).collect::<Vec<_>>(), 0);
        flat.check().map(|()| (loss, flat))
    }

    /// Moves the parameters from where they were, so far along a direction.
    fn move_to(&self, start: &[Tensor], direction: &Tensor, t: f64) -> Result<()> {
        let mut at = 0;
        for (parameter, start) in self.parameters.iter().zip(start) {
            let length = start.elements().get()?;
            let part = direction.narrow(0, at, length).reshape(start.shape());
            parameter.assign(&(start + part * t))?;
            at += length;
        }
        Ok(())
    }

    /// What is remembered, to go on later.
    pub fn state_dict(&self) -> StateDict {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = |x: f64| Tensor::from_vec(vec![x], ());
        let mut dict = StateDict::new();
        dict.insert("n_iter", Tensor::scalar(state.steps as i64));
        dict.insert("H_diag", number(state.scale));
        if let Some((direction, t, gradient)) = &state.last {
            dict.insert("d", direction.clone());
            dict.insert("t", number(*t));
            dict.insert("prev_flat_grad", gradient.clone());
        }
        for (i, Pair { step, change, rho }) in state.history.iter().enumerate() {
            dict.insert(format!("old_stps.{i}"), step.clone());
            dict.insert(format!("old_dirs.{i}"), change.clone());
            dict.insert(format!("ro.{i}"), number(*rho));
        }
        dict
    }

    /// Goes on from what was remembered.
    ///
    /// # Errors
    /// If an entry is missing or has another type; nothing has changed then.
    #[track_caller]
    pub fn load_state_dict(&self, dict: &StateDict) -> Result<()> {
        let loc = here();
        let total: usize = self.parameters.iter().map(|p| p.elements().get().unwrap_or(0)).sum();
        let dtype = self.parameters[0].dtype();
        let missing = |name: &str| Error::new(format!("the state of Lbfgs has no entry `{name}`")).at(loc);
        let number = |name: &str| dict.get(name).ok_or_else(|| missing(name))?.item();
        let flat = |name: &str| {
            let value = dict.get(name).ok_or_else(|| missing(name))?;
            let ty = value.ty()?;
            if ty.dtype != dtype || ty.shape != Shape::from_iter([total.into()]) {
                let error = Error::new(format!("the entry `{name}` of the state is not of the parameters' type and number"));
                return Err(error.note("entry", value.describe()).at(loc));
            }
            Ok(value.clone())
        };
        let last = match dict.get("d") {
            Some(_) => Some((flat("d")?, number("t")?, flat("prev_flat_grad")?)),
            None => None,
        };
        let mut history = VecDeque::new();
        while dict.get(&format!("old_stps.{}", history.len())).is_some() {
            let name = |what: &str| format!("{what}.{}", history.len());
            let (step, change) = (flat(&name("old_stps"))?, flat(&name("old_dirs"))?);
            let rho = number(&name("ro"))?;
            history.push_back(Pair { step, change, rho });
        }
        let state = State { steps: number("n_iter")? as u64, scale: number("H_diag")?, history, last };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }
}

impl State {
    /// Against the gradient, corrected by the curvature that the history tells: Nocedal and Wright 2006, algorithm 7.4.
    fn direction(&mut self, gradient: &Tensor, size: usize) -> Result<Tensor> {
        let Some((direction, t, before)) = &self.last else {
            self.scale = 1.0;
            return Ok(-gradient);
        };
        let (change, step) = (gradient - before, direction * *t);
        let product = dot(&change, &step)?;
        if product > 1e-10 {
            if self.history.len() >= size.max(1) {
                self.history.pop_front();
            }
            self.scale = product / dot(&change, &change)?;
            self.history.push_back(Pair { step, change, rho: 1.0 / product });
        }
        let mut q = -gradient;
        let mut shares = Vec::new();
        for Pair { step, change, rho } in self.history.iter().rev() {
            let share = dot(step, &q)? * rho;
            q -= change * share;
            shares.push(share);
        }
        let mut direction = q * self.scale;
        for (Pair { step, change, rho }, share) in self.history.iter().zip(shares.into_iter().rev()) {
            let back = dot(change, &direction)? * rho;
            direction += step * (share - back);
        }
        direction.check().map(|()| direction)
    }
}

/// The largest absolute element.
fn largest(x: &Tensor) -> Result<f64> {
    if x.elements() == igneous_ir::Dim::ZERO {
        return Ok(0.0);
    }
    x.to_dtype(DType::F64).abs().max_all().item()
}
