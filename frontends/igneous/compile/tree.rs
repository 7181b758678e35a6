//! What compiled functions take and return: tensors, and tuples, vectors, arrays and options of them.

use crate::tensor::Tensor;
use igneous_ir::{Error, Result};

/// A structure of tensors.
pub trait Tree: Sized {
    /// Appends the tensors, and numbers that tell structures with different places for tensors apart.
    fn flatten(&self, tensors: &mut Vec<Tensor>, structure: &mut Vec<usize>);

    /// The same structure with other tensors, taken from `tensors` in order.
    fn rebuild(&self, tensors: &mut dyn Iterator<Item = Tensor>) -> Self;
}

impl Tree for Tensor {
    fn flatten(&self, tensors: &mut Vec<Tensor>, _: &mut Vec<usize>) {
        tensors.push(self.clone());
    }

    fn rebuild(&self, tensors: &mut dyn Iterator<Item = Tensor>) -> Tensor {
        tensors.next().unwrap_or_else(|| Error::new("a tensor of a structure is missing").into())
    }
}

impl<T: Tree> Tree for Vec<T> {
    fn flatten(&self, tensors: &mut Vec<Tensor>, structure: &mut Vec<usize>) {
        structure.push(self.len());
        self.iter().for_each(|t| t.flatten(tensors, structure));
    }

    fn rebuild(&self, tensors: &mut dyn Iterator<Item = Tensor>) -> Vec<T> {
        self.iter().map(|t| t.rebuild(tensors)).collect()
    }
}

impl<T: Tree, const N: usize> Tree for [T; N] {
    fn flatten(&self, tensors: &mut Vec<Tensor>, structure: &mut Vec<usize>) {
        self.iter().for_each(|t| t.flatten(tensors, structure));
    }

    fn rebuild(&self, tensors: &mut dyn Iterator<Item = Tensor>) -> [T; N] {
        std::array::from_fn(|i| self[i].rebuild(tensors))
    }
}

impl<T: Tree> Tree for Option<T> {
    fn flatten(&self, tensors: &mut Vec<Tensor>, structure: &mut Vec<usize>) {
        structure.push(self.is_some().into());
        self.iter().for_each(|t| t.flatten(tensors, structure));
    }

    fn rebuild(&self, tensors: &mut dyn Iterator<Item = Tensor>) -> Option<T> {
        self.as_ref().map(|t| t.rebuild(tensors))
    }
}

impl Tree for () {
    fn flatten(&self, _: &mut Vec<Tensor>, _: &mut Vec<usize>) {}

    fn rebuild(&self, _: &mut dyn Iterator<Item = Tensor>) {}
}

/// What a function given to [`compile`](crate::compile()) may return: a [`Tree`], or a `Result` of one.
pub trait Outputs {
    /// The tensors on success.
    type Value: Tree + Send + Sync + 'static;

    /// As a result.
    ///
    /// # Errors
    /// The function's error.
    fn into_result(self) -> Result<Self::Value>;
}

impl<T: Tree + Send + Sync + 'static> Outputs for T {
    type Value = T;

    fn into_result(self) -> Result<T> {
        Ok(self)
    }
}

impl<T: Tree + Send + Sync + 'static> Outputs for Result<T> {
    type Value = T;

    fn into_result(self) -> Result<T> {
        self
    }
}

/// A function of 0 to 8 trees that can be compiled. Implemented for closures.
pub trait Function<Args>: Send + Sync {
    /// What it returns.
    type Outputs: Outputs;

    /// Calls it.
    fn call(&self, arguments: Args) -> Self::Outputs;
}

/// The arguments of a compiled function: a tuple of trees, or the tree itself if there is one.
pub trait Arguments<Args> {
    /// As a tuple.
    fn arguments(self) -> Args;
}

impl<A: Tree> Arguments<(A,)> for A {
    fn arguments(self) -> (A,) {
        (self,)
    }
}

macro_rules! tuples {
    ($($name:ident $index:tt),*) => {
        impl<$($name: Tree),*> Tree for ($($name,)*) {
            fn flatten(&self, tensors: &mut Vec<Tensor>, structure: &mut Vec<usize>) {
                $(self.$index.flatten(tensors, structure);)*
            }

            fn rebuild(&self, tensors: &mut dyn Iterator<Item = Tensor>) -> Self {
                ($(self.$index.rebuild(tensors),)*)
            }
        }

        tuples!(@function $($name $index),*);
    };
    (@function $($name:ident $index:tt),*) => {
        impl<$($name: Tree),*> Arguments<($($name,)*)> for ($($name,)*) {
            fn arguments(self) -> ($($name,)*) {
                self
            }
        }

        impl<Func, Out: Outputs, $($name: Tree),*> Function<($($name,)*)> for Func
        where
            Func: Fn($($name),*) -> Out + Send + Sync,
        {
            type Outputs = Out;

            fn call(&self, arguments: ($($name,)*)) -> Out {
                let _ = &arguments;
                self($(arguments.$index),*)
            }
        }
    };
}

tuples!(@function);
tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
