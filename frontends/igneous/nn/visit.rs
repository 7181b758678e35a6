//! How parameters, buffers and modes of a module are found.

use super::mode::Mode;
use super::state::StateDict;
use super::summary::Summary;
use crate::device::Device;
use crate::grad_mode::no_grad;
use crate::location::here;
use crate::tensor::Tensor;
use crate::trace;
use crate::variable::VariableKind;
use igneous_ir::{DType, Error, Result};
use std::sync::Arc;

/// Something with parameters, buffers or modes inside: implement it by `#[derive(Module)]`.
pub trait Module {
    /// Shows the visitor every part, in order.
    fn visit(&self, visitor: &mut dyn Visitor);
}

/// Sees the parts of a module.
pub trait Visitor {
    /// A named part.
    fn child(&mut self, name: &str, child: &dyn Module);

    /// A tensor; it is the part that was entered last.
    fn tensor(&mut self, tensor: &Tensor) {
        let _ = tensor;
    }

    /// The mode of a layer that behaves differently in training.
    fn mode(&mut self, mode: &Mode) {
        let _ = mode;
    }
}

impl Module for Tensor {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.tensor(self);
    }
}

impl Module for Mode {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.mode(self);
    }
}

macro_rules! nothing_inside {
    ($($ty:ty),*) => {$(
        impl Module for $ty {
            fn visit(&self, _: &mut dyn Visitor) {}
        }
    )*};
}

nothing_inside!(bool, u8, u32, u64, usize, i32, i64, isize, f32, f64, char, str, String, (), crate::DType, crate::Dim);

impl<T: Module + ?Sized> Module for Box<T> {
    fn visit(&self, visitor: &mut dyn Visitor) {
        (**self).visit(visitor);
    }
}

impl<T: Module + ?Sized> Module for Arc<T> {
    fn visit(&self, visitor: &mut dyn Visitor) {
        (**self).visit(visitor);
    }
}

impl<T: Module + ?Sized> Module for &T {
    fn visit(&self, visitor: &mut dyn Visitor) {
        (**self).visit(visitor);
    }
}

impl<T: Module> Module for Option<T> {
    fn visit(&self, visitor: &mut dyn Visitor) {
        if let Some(inner) = self {
            inner.visit(visitor);
        }
    }
}

impl<T: Module> Module for [T] {
    fn visit(&self, visitor: &mut dyn Visitor) {
        for (i, part) in self.iter().enumerate() {
            visitor.child(&i.to_string(), part);
        }
    }
}

impl<T: Module> Module for Vec<T> {
    fn visit(&self, visitor: &mut dyn Visitor) {
        self.as_slice().visit(visitor);
    }
}

impl<T: Module, const N: usize> Module for [T; N] {
    fn visit(&self, visitor: &mut dyn Visitor) {
        self.as_slice().visit(visitor);
    }
}

macro_rules! tuple {
    ($($part:ident $index:tt),*) => {
        impl<$($part: Module),*> Module for ($($part,)*) {
            fn visit(&self, visitor: &mut dyn Visitor) {
                $(visitor.child(stringify!($index), &self.$index);)*
            }
        }
    };
}

tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);

/// Walks a module and hands every tensor, with its path, to a closure.
struct Walk<'f> {
    path: Vec<String>,
    tensor: &'f mut dyn FnMut(&str, &Tensor),
    mode: &'f mut dyn FnMut(&Mode),
}

impl Visitor for Walk<'_> {
    fn child(&mut self, name: &str, child: &dyn Module) {
        self.path.push(name.to_owned());
        child.visit(self);
        self.path.pop();
    }

    fn tensor(&mut self, tensor: &Tensor) {
        (self.tensor)(&self.path.join("."), tensor);
    }

    fn mode(&mut self, mode: &Mode) {
        (self.mode)(mode);
    }
}

/// What every module can do.
pub trait ModuleExt: Module {
    /// All variables with their paths (`fc2.weight`), parameters and buffers, in order. A variable that occurs twice is
    /// listed twice. A tensor that is invalid because a layer was made from bad arguments is listed too, so that its error
    /// is seen.
    fn named_variables(&self) -> Vec<(String, Tensor)> {
        let mut found = Vec::new();
        let mut tensor = |path: &str, tensor: &Tensor| {
            if tensor.is_variable() || tensor.error().is_some() {
                found.push((path.to_owned(), tensor.clone()));
            }
        };
        self.visit(&mut Walk { path: Vec::new(), tensor: &mut tensor, mode: &mut |_| {} });
        found
    }

    /// The parameters with their paths, each once.
    fn named_parameters(&self) -> Vec<(String, Tensor)> {
        let mut kept: Vec<(String, Tensor)> = Vec::new();
        for (path, tensor) in self.named_variables() {
            let parameter = tensor.variable_kind() == Some(VariableKind::Parameter);
            if (parameter || tensor.error().is_some()) && !kept.iter().any(|(_, other)| other.same(&tensor)) {
                kept.push((path, tensor));
            }
        }
        kept
    }

    /// The parameters, each once: what an optimizer takes. Gives them their paths as names where they have none yet.
    fn parameters(&self) -> Vec<Tensor> {
        self.name_variables();
        self.named_parameters().into_iter().map(|(_, tensor)| tensor).collect()
    }

    /// Gives every variable without a name its path as name; graphs and messages show it.
    fn name_variables(&self) {
        for (path, tensor) in self.named_variables() {
            if tensor.name().is_none() {
                tensor.set_name(&path);
            }
        }
    }

    /// The number of elements of all parameters.
    fn parameter_count(&self) -> usize {
        self.named_parameters().iter().filter_map(|(_, t)| t.elements().get().ok()).sum()
    }

    /// Training mode for every layer inside (dropout drops).
    fn train(&self) {
        self.visit(&mut Walk { path: Vec::new(), tensor: &mut |_, _| {}, mode: &mut |m| m.set_training() });
    }

    /// Evaluation mode for every layer inside (dropout passes everything on).
    fn eval(&self) {
        self.visit(&mut Walk { path: Vec::new(), tensor: &mut |_, _| {}, mode: &mut |m| m.set_evaluation() });
    }

    /// Empties the gradient slots of all parameters.
    fn zero_grad(&self) {
        self.named_parameters().iter().for_each(|(_, t)| t.zero_grad());
    }

    /// Converts all parameters and buffers of floating-point types to another one (`module.to(dtype)`). Gradient slots are emptied;
    /// make optimizers after this.
    ///
    /// # Errors
    /// If `dtype` is no floating-point type, a layer was made from bad arguments, or a trace is active. Nothing has changed then.
    #[track_caller]
    fn to_dtype(&self, dtype: DType) -> Result<()> {
        let loc = here();
        if !dtype.is_float() {
            return Err(Error::new(format!("a module has elements of a floating-point type, not {dtype}")).at(loc));
        }
        let variables = self.named_variables();
        variables.iter().try_for_each(|(_, tensor)| tensor.check())?;
        for (_, tensor) in variables.iter().filter(|(_, t)| t.dtype().is_float() && t.dtype() != dtype) {
            tensor.replace(&no_grad(|| tensor.to_dtype(dtype))).map_err(|e| e.at(loc))?;
        }
        Ok(())
    }

    /// Moves all parameters and buffers to a device (`module.to(device)`). A compiled function moves what it uses by itself. Make
    /// optimizers after this: their state is made where the parameters live.
    ///
    /// # Errors
    /// If this machine has no such device or not enough memory there, a layer was made from bad arguments, or a trace is active.
    /// Nothing has changed then.
    #[track_caller]
    fn to_device(&self, device: Device) -> Result<()> {
        let loc = here();
        if trace::is_tracing() {
            return Err(Error::new("a module cannot be moved under a trace").at(loc));
        }
        let variables = self.named_variables();
        let moved: Vec<Tensor> = variables.iter().map(|(_, tensor)| tensor.detach().to(device)).collect();
        moved.iter().try_for_each(Tensor::check)?;
        variables.iter().zip(&moved).try_for_each(|((_, tensor), value)| tensor.assign(value)).map_err(|e| e.at(loc))
    }

    /// Names and values of all parameters and buffers.
    fn state_dict(&self) -> StateDict {
        StateDict::of(self.named_variables())
    }

    /// Takes the values of all parameters and buffers from `state`.
    ///
    /// # Errors
    /// If a name is missing on either side, or a type differs; nothing has changed then.
    #[track_caller]
    fn load_state_dict(&self, state: &StateDict) -> Result<()> {
        let loc = here();
        state.load_into(&self.named_variables()).map_err(|e| e.at(loc))
    }

    /// A table of the parameters and their number.
    fn summary(&self) -> Summary {
        Summary::of(self.named_variables())
    }
}

impl<M: Module + ?Sized> ModuleExt for M {}
