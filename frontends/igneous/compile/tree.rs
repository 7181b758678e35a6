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

/// The arguments of a function of at least one, as a tuple.
pub trait ArgumentList: Tree + Send + Sync + 'static {
    /// The first argument: the one that derivatives are taken with respect to.
    type First: Tree + Send + Sync + 'static;
    /// The argument itself if there is one, else the tuple.
    type Unpacked: Tree + Send + Sync + 'static;

    /// The first argument.
    fn first(&self) -> &Self::First;

    /// The argument itself if there is one, else the tuple.
    fn unpacked(self) -> Self::Unpacked;

    /// How many tensors there are in each argument.
    fn tensors_of_each(&self) -> Vec<usize>;
}

/// The number of tensors in a structure.
fn count(tree: &impl Tree) -> usize {
    let mut tensors = Vec::new();
    tree.flatten(&mut tensors, &mut Vec::new());
    tensors.len()
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
        tuples!(@list $($name $index),*);
    };
    (@list) => {};
    (@list $only:ident 0) => {
        impl<$only: Tree + Send + Sync + 'static> ArgumentList for ($only,) {
            type First = $only;
            type Unpacked = $only;

            fn first(&self) -> &$only {
                &self.0
            }

            fn unpacked(self) -> $only {
                self.0
            }

            fn tensors_of_each(&self) -> Vec<usize> {
                vec![count(&self.0)]
            }
        }
    };
    (@list $first:ident 0, $($name:ident $index:tt),+) => {
        impl<$first: Tree + Send + Sync + 'static, $($name: Tree + Send + Sync + 'static),+> ArgumentList for ($first, $($name),+) {
            type First = $first;
            type Unpacked = Self;

            fn first(&self) -> &$first {
                &self.0
            }

            fn unpacked(self) -> Self {
                self
            }

            fn tensors_of_each(&self) -> Vec<usize> {
                vec![count(&self.0), $(count(&self.$index)),+]
            }
        }
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
