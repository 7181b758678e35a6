//! Functions of functions: gradients, Jacobians and batching, after PyTorch's `torch.func` and JAX.
//!
//! [`grad`], [`value_and_grad`], [`vmap`], [`jacrev`], [`jacfwd`] and [`hessian`] take a function and make another, to be
//! called by its method `run`; [`vjp`] and [`jvp`] take a function and the place to differentiate at. What they make is a
//! function again, so that they compose in any order and depth, and it can be given to [`compile`](crate::compile()):
//!
//! ```
//! use igneous::func::{grad, hessian, jvp, vmap};
//! use igneous::{Tensor, compile};
//!
//! let f = |x: Tensor| (&x * &x * &x).sum_all();
//! assert_eq!(grad(f).run(Tensor::new([1.0, 2.0]))?.to_vec::<f32>()?, [3.0, 12.0]);
//! assert_eq!(hessian(f).run(Tensor::new([1.0, 2.0]))?.to_vec::<f32>()?, [6.0, 0.0, 0.0, 12.0]);
//!
//! // Gradients of each row alone.
//! let rows = Tensor::new([[1.0, 2.0], [3.0, 4.0]]);
//! let each = compile(vmap(grad(f)));
//! assert_eq!(each.run(rows)?.to_vec::<f32>()?, [3.0, 12.0, 27.0, 48.0]);
//!
//! // How the gradient changes in a direction: a product of the Hessian and a vector.
//! let (_, product) = jvp(grad(f), Tensor::new([1.0, 2.0]), Tensor::new([0.0, 1.0]))?;
//! assert_eq!(product.to_vec::<f32>()?, [0.0, 12.0]);
//! # Ok::<(), igneous::Error>(())
//! ```
//!
//! # Arguments and results
//! The functions take one to eight [`Tree`](crate::Tree)s (tensors, tuples, vectors, arrays, options of them) and return
//! a tree or a `Result` of one. Gradients and Jacobians are those with respect to the *first* argument, a tuple if need be;
//! `vjp` and `jvp` differentiate by all arguments. What the function uses of its surroundings is constant for the transform
//! itself, but not for one around it, nor for `backward`: results depend on it differentiably.
//!
//! # What happens to the function
//! It is traced, each time it is called, as [`compile`](crate::compile()) traces: asking for the elements of a tensor is an
//! error inside, and Rust code that depends on none runs as it is. The graph is transformed; in eager mode its operators
//! then run one by one, under a trace they become part of it. Variables may be assigned (statistics of a batch norm), once
//! for a call: what is assigned must not depend on a mapped argument. `backward` and an optimizer's `step` are errors inside.
//!
//! [`custom_vjp`] and [`custom_jvp`] make functions with derivatives of their own;
//! [`HostFunction`] makes an operator of Rust code on elements.
//!
//! [`checkpoint`] computes a function again in the backward pass instead of keeping what it computed.
//!
//! Modules: [`functional_call`] runs one with other parameters, so that they can be an argument.

pub(crate) mod apply;
mod checkpoint;
mod closed;
mod custom;
mod functional;
mod gradient;
mod host;
mod jacobian;
mod map;
mod tangent;

pub use checkpoint::checkpoint;
pub use custom::{CustomJvp, CustomVjp, custom_jvp, custom_vjp};
pub use functional::functional_call;
pub use gradient::{Grad, ValueAndGrad, grad, value_and_grad};
pub use host::{HostData, HostDataMut, HostElement, HostFunction, HostTensor, HostTensorMut, Mapped};
pub use jacobian::{Hessian, JacFwd, JacRev, hessian, jacfwd, jacrev};
pub use map::{Randomness, Vmap, vmap};
pub use tangent::{Pullback, jvp, vjp};

/// Methods and traits of a transform `$name`: `run`, and being a function.
macro_rules! transform {
    ($name:ident -> $value:ty $(where $($bound:tt)+)?) => {
        impl<F: Function<Args>, Args: ArgumentList> $name<F, Args>
        $(where $($bound)+)?
        {
            /// Calls the function that this is.
            ///
            /// # Errors
            /// If an argument is invalid or does not fit, or the function fails or cannot be transformed.
            #[track_caller]
            pub fn run(&self, arguments: impl Arguments<Args>) -> Result<$value> {
                let user = entered();
                self.apply(&arguments.arguments(), user.loc()).map_err(|e| e.at(user.loc()))
            }
        }

        impl<F: Function<Args>, Args: ArgumentList> Function<Args> for $name<F, Args>
        $(where $($bound)+)?
        {
            type Outputs = Result<$value>;

            fn call(&self, arguments: Args) -> Result<$value> {
                self.run(arguments_of(arguments))
            }
        }
    };
}
use transform;

/// A tuple of arguments as what `run` takes.
struct Packed<Args>(Args);

impl<Args> crate::compile::Arguments<Args> for Packed<Args> {
    fn arguments(self) -> Args {
        self.0
    }
}

fn arguments_of<Args>(arguments: Args) -> Packed<Args> {
    Packed(arguments)
}
