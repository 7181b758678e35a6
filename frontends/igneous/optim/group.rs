//! What all optimizers are made of: groups of parameters, the state of each parameter, and a rule that updates one.

use super::Hyperparameters;
use super::condition::conditioned;
use crate::autocast::no_autocast;
use crate::grad_mode::no_grad;
use crate::location::{called_from, here};
use crate::nn::{Module, Visitor};
use crate::tensor::Tensor;
use igneous_ir::{DType, Error, Result};
use std::fmt::Debug;

/// Parameters with a learning rate and options of their own.
#[derive(Clone, Debug)]
pub struct ParameterGroup<O> {
    /// The parameters.
    pub parameters: Vec<Tensor>,
    /// Their learning rate.
    pub lr: f64,
    /// Their options.
    pub options: O,
}

impl<O> ParameterGroup<O> {
    /// Parameters with this learning rate and these options.
    pub fn new(parameters: Vec<Tensor>, lr: f64, options: O) -> ParameterGroup<O> {
        ParameterGroup { parameters, lr, options }
    }
}

/// The options of an optimizer, and what it does to one parameter.
pub(super) trait Rule: Clone + Debug + Send + Sync {
    /// Fails if an option is outside of its range.
    fn check(&self) -> Result<()>;

    /// The share of the past in the update, if schedulers may change it.
    fn momentum(&self) -> Option<f64> {
        None
    }

    /// Fails if the rule does not fit a parameter.
    fn check_parameter(&self, parameter: &Tensor) -> Result<()> {
        let _ = parameter;
        Ok(())
    }

    /// Names and first values of what is kept for a parameter.
    fn state(&self, parameter: &Tensor, lr: f64) -> Vec<(&'static str, Tensor)>;

    /// The new value of a parameter.
    fn update(&self, step: &mut Step<'_>) -> Tensor;
}

/// A parameter and what is kept for it.
#[derive(Clone, Debug)]
struct Member {
    parameter: Tensor,
    state: Vec<(&'static str, Tensor)>,
}

impl Module for Member {
    fn visit(&self, visitor: &mut dyn Visitor) {
        for (name, value) in &self.state {
            visitor.child(name, value);
        }
    }
}

#[derive(Clone, Debug)]
struct Group<R> {
    rule: R,
    hyperparameters: Hyperparameters,
    members: Vec<Member>,
}

/// All groups of an optimizer.
#[derive(Clone, Debug)]
pub(super) struct Groups<R> {
    groups: Vec<Group<R>>,
}

/// One update of one parameter. Numbers are tensors without axes of the parameter's element type.
pub(super) struct Step<'a> {
    /// The parameter's value.
    pub w: Tensor,
    /// Its gradient.
    pub g: Tensor,
    /// The learning rate.
    pub lr: Tensor,
    hyperparameters: &'a Hyperparameters,
    state: &'a [(&'static str, Tensor)],
    updates: Vec<(Tensor, Tensor)>,
}

impl Step<'_> {
    /// The gradient with its sign exchanged if the loss is to grow, and with an L2 penalty.
    pub(super) fn penalised(&mut self, maximize: bool, weight_decay: f64) {
        if maximize {
            self.g = -&self.g;
        }
        if weight_decay != 0.0 {
            self.g = &self.g + &self.w * weight_decay;
        }
    }

    /// The parameter shrunk by a decay that does not pass through the gradient.
    pub(super) fn decayed(&mut self, weight_decay: f64) {
        if weight_decay != 0.0 {
            self.w = &self.w - &self.w * (&self.lr * weight_decay);
        }
    }

    /// The share of the past, and the rest to one.
    pub(super) fn momentum(&self) -> (Tensor, Tensor) {
        let share = self.hyperparameters.momentum_value().expect("the rule has a momentum");
        (share.to_dtype(self.w.dtype()), (1.0 - share).to_dtype(self.w.dtype()))
    }

    /// What was kept under a name.
    pub(super) fn kept(&self, name: &str) -> Tensor {
        self.variable(name).clone()
    }

    /// Keeps a new value under a name.
    pub(super) fn keep(&mut self, name: &str, value: &Tensor) {
        self.updates.push((self.variable(name).clone(), value.clone()));
    }

    /// The number of this update, from 1 on; keeps it.
    pub(super) fn count(&mut self) -> Tensor {
        let t = self.kept("step") + 1.0;
        self.keep("step", &t);
        t.to_dtype(self.w.dtype())
    }

    fn variable(&self, name: &str) -> &Tensor {
        let found = self.state.iter().find(|(own, _)| *own == name);
        &found.expect("the rule names what it keeps").1
    }
}

/// `1 − βᵗ` by the exponential, which keeps its digits for `βᵗ` near one.
pub(super) fn correction(t: &Tensor, beta: f64) -> Tensor {
    -(t * beta.ln()).expm1()
}

/// The number of updates as a rule keeps it.
pub(super) fn no_steps() -> (&'static str, Tensor) {
    ("step", Tensor::scalar(0f32))
}

impl<R: Rule> Groups<R> {
    #[track_caller]
    pub(super) fn new(groups: Vec<ParameterGroup<R>>) -> Result<Groups<R>> {
        let loc = here();
        called_from(loc, || Groups::checked(groups)).map_err(|e| e.at(loc))
    }

    fn checked(given: Vec<ParameterGroup<R>>) -> Result<Groups<R>> {
        if given.iter().all(|group| group.parameters.is_empty()) {
            return Err(Error::new("an optimizer needs at least one parameter"));
        }
        let mut seen: Vec<Tensor> = Vec::new();
        let mut groups = Vec::new();
        for ParameterGroup { parameters, lr, options: rule } in given {
            rule.check()?;
            let hyperparameters = match rule.momentum() {
                Some(momentum) => Hyperparameters::with_momentum(lr, momentum)?,
                None => Hyperparameters::new(lr)?,
            };
            let before = seen.len();
            let mut members: Vec<Member> = Vec::new();
            for parameter in parameters {
                let error = |message: &str| Err(Error::new(message).note("tensor", parameter.describe()));
                let dtype = parameter.ty()?.dtype;
                if !parameter.is_variable() {
                    return error("an optimizer takes parameters, and this tensor is no variable");
                }
                if !dtype.is_float() {
                    return error("an optimizer takes parameters of a floating-point type");
                }
                match seen.iter().position(|other| other.same(&parameter)) {
                    // A parameter that two layers share is listed twice.
                    Some(place) if place >= before => continue,
                    Some(_) => return error("a parameter can be in one group of an optimizer only"),
                    None => seen.push(parameter.clone()),
                }
                rule.check_parameter(&parameter)?;
                let mut state = rule.state(&parameter, lr);
                for (_, value) in &mut state {
                    *value = Tensor::variable(value.clone());
                    value.check()?;
                }
                members.push(Member { parameter, state });
            }
            groups.push(Group { rule, hyperparameters, members });
        }
        Ok(Groups { groups })
    }

    /// Updates all parameters that have a gradient. All new values are computed before the first is assigned, so that an
    /// error changes nothing.
    #[track_caller]
    pub(super) fn step(&self) -> Result<()> {
        called_from(here(), || {
            undisturbed(|| {
                let mut updates = Vec::new();
                for Group { rule, hyperparameters, members } in &self.groups {
                    let mut rates: Vec<Tensor> = Vec::new();
                    for Member { parameter, state } in members {
                        let Some(g) = parameter.take_grad() else { continue };
                        let known = rates.iter().find(|lr| lr.dtype() == parameter.dtype()).cloned();
                        let lr = known.unwrap_or_else(|| {
                            rates.push(hyperparameters.lr_value().to_dtype(parameter.dtype()));
                            rates[rates.len() - 1].clone()
                        });
                        let mut step = Step { w: parameter.detach(), g, lr, hyperparameters, state, updates: Vec::new() };
                        let w = rule.update(&mut step);
                        updates.push((parameter.clone(), w));
                        updates.append(&mut step.updates);
                    }
                }
                commit(updates)
            })
        })
    }

    pub(super) fn parameters(&self) -> Vec<Tensor> {
        self.groups.iter().flat_map(|group| &group.members).map(|member| member.parameter.clone()).collect()
    }

    pub(super) fn hyperparameters(&self) -> Vec<Hyperparameters> {
        self.groups.iter().map(|group| group.hyperparameters.clone()).collect()
    }
}

/// Computes without recording gradients, in the types that the tensors have.
pub(super) fn undisturbed<R>(f: impl FnOnce() -> R) -> R {
    no_autocast(|| no_grad(f))
}

/// Computes all new values before assigning the first, so that an error changes nothing.
pub(super) fn commit(updates: Vec<(Tensor, Tensor)>) -> Result<()> {
    let updates = conditioned(updates);
    updates.iter().try_for_each(|(_, value)| value.check())?;
    updates.iter().try_for_each(|(variable, value)| variable.assign(value))
}

/// Computes all new gradients before putting the first in its slot.
pub(super) fn commit_gradients(gradients: impl Iterator<Item = (Tensor, Tensor)>) -> Result<()> {
    let gradients: Vec<(Tensor, Tensor)> = gradients.collect();
    gradients.iter().try_for_each(|(_, gradient)| gradient.check())?;
    gradients.into_iter().try_for_each(|(parameter, gradient)| parameter.set_grad(Some(gradient)))
}

impl<R: Rule> Module for Groups<R> {
    fn visit(&self, visitor: &mut dyn Visitor) {
        for (i, group) in self.groups.iter().enumerate() {
            visitor.child(&format!("groups.{i}"), &group.hyperparameters);
        }
        let members = self.groups.iter().flat_map(|group| &group.members);
        for (i, member) in members.enumerate() {
            visitor.child(&format!("state.{i}"), member);
        }
    }
}

/// Fails if an option is negative or NaN.
pub(super) fn not_negative(name: &str, value: f64) -> Result<()> {
    match value >= 0.0 {
        true => Ok(()),
        false => Err(Error::new(format!("an optimizer needs its {name} to be at least 0, not {value:?}"))),
    }
}

/// Fails unless all are from 0 up to but without 1.
pub(super) fn fractions(what: &str, values: &[f64]) -> Result<()> {
    match values.iter().find(|value| !(0.0..1.0).contains(*value)) {
        None => Ok(()),
        Some(value) => Err(Error::new(format!("{what} needs betas from 0 up to but without 1, not {value}"))),
    }
}

/// Zeros of a parameter's type.
pub(super) fn zeros(parameter: &Tensor) -> Tensor {
    parameter.detach().zeros_like()
}

/// The type that numbers about a parameter have.
pub(super) fn number(parameter: &Tensor, value: f64) -> Tensor {
    let number = Tensor::from_vec(vec![value], ());
    if parameter.dtype() == DType::F64 { number } else { number.to_dtype(DType::F32) }
}

/// Defines an optimizer of a rule: its constructors, its state and its steps.
macro_rules! optimizer {
    ($(#[$doc:meta])* $name:ident($options:ident), $lr:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            groups: super::group::Groups<$options>,
        }

        impl $name {
            #[doc = concat!("With PyTorch's defaults except for the learning rate (there ", $lr, ").")]
            ///
            /// # Errors
            /// If there is no parameter, one is no floating-point variable, or the learning rate is negative or NaN.
            #[track_caller]
            pub fn new(parameters: Vec<crate::Tensor>, lr: f64) -> crate::Result<$name> {
                $name::with(parameters, lr, $options::default())
            }

            /// With options.
            ///
            /// # Errors
            #[doc = concat!("As [`", stringify!($name), "::new`], and if an option is outside of its range.")]
            #[track_caller]
            pub fn with(parameters: Vec<crate::Tensor>, lr: f64, options: $options) -> crate::Result<$name> {
                $name::with_groups(vec![super::ParameterGroup { parameters, lr, options }])
            }

            /// With groups of parameters, each with a learning rate and options of its own.
            ///
            /// # Errors
            #[doc = concat!("As [`", stringify!($name), "::with`], and if a parameter is in two groups.")]
            #[track_caller]
            pub fn with_groups(groups: Vec<super::ParameterGroup<$options>>) -> crate::Result<$name> {
                Ok($name { groups: super::group::Groups::new(groups)? })
            }
        }

        impl crate::nn::Module for $name {
            fn visit(&self, visitor: &mut dyn crate::nn::Visitor) {
                self.groups.visit(visitor);
            }
        }

        impl super::Optimizer for $name {
            #[track_caller]
            fn step(&self) -> crate::Result<()> {
                self.groups.step()
            }

            fn parameters(&self) -> Vec<crate::Tensor> {
                self.groups.parameters()
            }

            fn hyperparameters(&self) -> Vec<super::Hyperparameters> {
                self.groups.hyperparameters()
            }
        }
    };
}

pub(super) use optimizer;
