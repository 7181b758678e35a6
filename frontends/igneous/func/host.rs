//! Functions of the host as operators.

use crate::apply::try_apply;
use crate::location::here;
use crate::tensor::Tensor;
use igneous_ir::ops::host::HostFunction as Registered;
pub use igneous_ir::ops::host::{HostData, HostDataMut, HostElement, HostTensor, HostTensorMut, Mapped};
use igneous_ir::{Result, TensorType, ops};
use std::sync::Arc;

/// A function of the host as an operator: Rust code on the elements of tensors, which a graph shows by its name and a program
/// calls.
///
/// ```
/// use igneous::func::{HostFunction, Mapped, custom_vjp};
/// use igneous::{Tensor, compile};
///
/// // The Collatz sequence: how many steps a number takes to 1.
/// let steps = HostFunction::new(
///     "collatz_steps",
///     Mapped::LeadingAxis,
///     |types| Ok(vec![types[0].clone()]),
///     |operands, results| {
///         let next = |n: i64| if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
///         let count = |n: i64| std::iter::successors(Some(n), |&n| (n > 1).then(|| next(n))).count() as i64 - 1;
///         let numbers = operands[0].slice::<i64>()?;
///         results[0].slice::<i64>()?.iter_mut().zip(numbers).for_each(|(to, &n)| *to = count(n));
///         Ok(())
///     },
/// )?;
/// let f = compile(move |x: Tensor| steps.run(&[&(x + 1)]));
/// assert_eq!(f.run(Tensor::new([5i64, 26]))?[0].to_vec::<i64>()?, [8, 111]);
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// It must give the same results for the same operands: it may be called more or less often than it is written, also from
/// several threads. An error it returns, or a panic, is the run's error. It has no derivative; a pair of functions makes one with
/// [`custom_vjp`](super::custom_vjp).
#[derive(Clone, Debug)]
pub struct HostFunction {
    name: Arc<str>,
}

impl HostFunction {
    /// A function called `name`, which nothing else in the process may be called; `infer` gives the types of its results for
    /// those of its operands, and `run` fills them.
    ///
    /// # Errors
    /// If the name is taken.
    #[track_caller]
    pub fn new(
        name: &str,
        mapped: Mapped,
        infer: impl Fn(&[TensorType]) -> Result<Vec<TensorType>> + Send + Sync + 'static,
        run: impl Fn(&[HostTensor], &mut [HostTensorMut]) -> Result<()> + Send + Sync + 'static,
    ) -> Result<HostFunction> {
        let registered = Registered { infer: Arc::new(infer), run: Arc::new(run), mapped };
        registered.register(name).map_err(|e| e.at(here()))?;
        Ok(HostFunction { name: name.into() })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls it; under a trace it becomes a node of the graph.
    ///
    /// # Errors
    /// If an operand is invalid, or the function refuses it.
    #[track_caller]
    pub fn run(&self, operands: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(try_apply(ops::host(&self.name), operands, here())?.into_vec())
    }
}
