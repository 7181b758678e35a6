//! Checking models and compiled programs: for users as much as for igneous itself. No GPU is needed.
//!
//! A model's test compares its two modes, its gradients with differences, and fixes how many kernels it becomes:
//!
//! ```
//! use igneous::testing::{assert_close, assert_kernel_count, compare_with_eager, gradcheck};
//! use igneous::{Tensor, compile};
//!
//! let w = Tensor::parameter(Tensor::new([[0.5, -1.0], [0.25, 2.0]]));
//! let model = |x: &Tensor| x.matmul(&w.t()).softmax(-1);
//!
//! // One kernel for the product, one for the softmax.
//! let step = compile(|x: Tensor| model(&x));
//! let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]]);
//! assert_kernel_count!(step.lower(x.clone())?, 2);
//! compare_with_eager(&step, x.clone(), 1e-6)?;
//! assert_close(&model(&x).sum(-1), &Tensor::ones(2), 1e-6);
//! gradcheck(|t| t[0].softmax(-1), &[Tensor::from_vec(vec![0.1f64, -0.7, 2.0], 3)])?;
//! # Ok::<(), igneous::Error>(())
//! ```

#[doc(inline)]
pub use crate::{assert_kernel_count, assert_kernels_snapshot};

use crate::backend::Stages;
use crate::compile::{Arguments, Compiled, Function, Outputs, Tree};
use crate::grad_mode::enable_grad;
use crate::location::here;
use crate::slot::SlotKey;
use crate::tape::{grad, grad_with};
use crate::tensor::Tensor;
use crate::trace;
use igneous_ir::{DType, Error, Loc, Result};

/// Panics unless two tensors have one shape and their elements differ by at most `tolerance`, relative to the expected
/// element or to 1, whichever is larger. NaN equals NaN.
///
/// ```
/// use igneous::{Tensor, testing::assert_close};
/// assert_close(&Tensor::new([0.1, 1e6]).exp().log(), &Tensor::new([0.1, f64::INFINITY]), 1e-6);
/// ```
///
/// # Panics
/// If they are not close, one of them is invalid, or has no value because it belongs to a trace.
#[track_caller]
pub fn assert_close(actual: &Tensor, expected: &Tensor, tolerance: f64) {
    let difference = check_close(actual, expected, tolerance);
    if let Err(error) = difference {
        panic!("{error}");
    }
}

/// Panics unless the elements of a tensor, row-major, are close to these numbers; see [`assert_close`].
///
/// ```
/// use igneous::{Tensor, testing::assert_values};
/// assert_values(&Tensor::new([[1, 2], [3, 4]]).t(), &[1.0, 3.0, 2.0, 4.0], 0.0);
/// ```
///
/// # Panics
/// As [`assert_close`].
#[track_caller]
pub fn assert_values(actual: &Tensor, expected: &[f64], tolerance: f64) {
    let expected = Tensor::from_slice(expected, actual.shape());
    assert_close(actual, &expected, tolerance);
}

fn check_close(actual: &Tensor, expected: &Tensor, tolerance: f64) -> Result<f64> {
    let (a, b) = (actual.to_f64_vec()?, expected.to_f64_vec()?);
    if actual.shape() != expected.shape() {
        return Err(Error::new("the tensors have different shapes")
            .note("actual", actual.describe())
            .note("expected", expected.describe()));
    }
    let difference = |(a, b): (&f64, &f64)| match (a, b) {
        _ if a == b || (a.is_nan() && b.is_nan()) => 0.0,
        _ if a.is_finite() && b.is_finite() => (a - b).abs() / b.abs().max(1.0),
        _ => f64::INFINITY,
    };
    let worst =
        a.iter().zip(&b).map(difference).enumerate().fold((0, 0.0), |worst, (i, d)| if d > worst.1 { (i, d) } else { worst });
    if worst.1 <= tolerance {
        return Ok(worst.1);
    }
    let sizes: Vec<usize> = actual.shape().iter().map(|d| d.get()).collect::<Result<_>>()?;
    let index = igneous_ir::array::unravel(worst.0, &sizes);
    Err(Error::new(format!("elements differ by {:.3e} (allowed {tolerance:.1e}) at {index:?}", worst.1))
        .note("actual", a[worst.0])
        .note("expected", b[worst.0]))
}

/// Runs a function twice from the same state, eagerly and compiled, and compares what it returns and what variables and
/// gradients become. The state afterwards is that of the compiled run. Returns the largest relative difference.
///
/// Random numbers start at the same place, so that dropout drops the same elements.
///
/// ```
/// use igneous::nn::{Dropout, Forward, Linear, ModuleExt, Sequential};
/// use igneous::optim::{Adam, Optimizer};
/// use igneous::{Tensor, compile, testing::compare_with_eager};
///
/// let net = Sequential::new().push(Linear::new(4, 8)).push(Dropout::new(0.5)).push(Linear::new(8, 2));
/// let adam = Adam::new(net.parameters(), 0.01)?;
/// let step = compile(|x: Tensor, y: Tensor| {
///     let loss = net.forward(&x).cross_entropy(&y);
///     loss.backward()?;
///     adam.step()?;
///     Ok(loss)
/// });
/// // The losses, the weights and both moments agree.
/// let difference = compare_with_eager(&step, (Tensor::randn((3, 4)), Tensor::new([0, 1, 1])), 1e-5)?;
/// assert!(difference <= 1e-5);
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// # Errors
/// If a run fails, or they differ by more than `tolerance` (as in [`assert_close`]); the message names the result, variable
/// or gradient and its element.
#[track_caller]
pub fn compare_with_eager<F: Function<Args>, Args: Tree>(
    function: &Compiled<F, Args>,
    arguments: impl Arguments<Args>,
    tolerance: f64,
) -> Result<f64> {
    let loc = here();
    compare(function, &arguments.arguments(), tolerance, loc).map_err(|e| e.at(loc))
}

fn compare<F: Function<Args>, Args: Tree>(
    function: &Compiled<F, Args>,
    arguments: &Args,
    tolerance: f64,
    loc: Loc,
) -> Result<f64> {
    let state = function.state_of(arguments)?;
    let before = state.save();
    let eager = match function.call_eagerly(arguments) {
        Ok(value) => leaves(value),
        Err(error) => {
            before.restore()?;
            return Err(error.context("in eager mode"));
        }
    };
    let after_eager = state.save();
    before.restore()?;
    let compiled = leaves(function.execute(arguments, loc, None)?);
    let after_compiled = state.save();
    let mut worst: f64 = 0.0;
    if eager.len() != compiled.len() {
        return Err(Error::new("eager and compiled mode return different numbers of tensors"));
    }
    for (k, (a, b)) in compiled.iter().zip(&eager).enumerate() {
        let difference = check_close(a, b, tolerance).map_err(|e| e.context(format!("result {k}, compiled against eager")))?;
        worst = worst.max(difference);
    }
    Ok(worst.max(after_compiled.compare(&after_eager, tolerance)?))
}

fn leaves(tree: impl Tree) -> Vec<Tensor> {
    let mut tensors = Vec::new();
    tree.flatten(&mut tensors, &mut Vec::new());
    tensors
}

/// The variables and slots that a compiled function assigns.
pub(crate) struct StateOf {
    pub(crate) variables: Vec<Tensor>,
    pub(crate) slots: Vec<SlotKey>,
}

/// The values of variables and slots at one time.
struct Saved {
    variables: Vec<(Tensor, Tensor)>,
    slots: Vec<(SlotKey, Option<Tensor>)>,
}

impl StateOf {
    fn save(&self) -> Saved {
        Saved {
            variables: self.variables.iter().map(|v| (v.clone(), v.detach())).collect(),
            slots: self.slots.iter().map(|k| (k.clone(), trace::slot_value(k))).collect(),
        }
    }
}

impl Saved {
    fn restore(&self) -> Result<()> {
        for (key, grad) in &self.slots {
            trace::set_slot(key, grad.clone());
        }
        self.variables.iter().try_for_each(|(variable, value)| variable.assign(value))
    }

    /// The largest difference to another state of the same variables and slots.
    fn compare(&self, expected: &Saved, tolerance: f64) -> Result<f64> {
        let mut worst: f64 = 0.0;
        for ((variable, a), (_, b)) in self.variables.iter().zip(&expected.variables) {
            let label = variable.describe();
            worst = worst.max(check_close(a, b, tolerance).map_err(|e| e.context(format!("{label}, compiled against eager")))?);
        }
        for (k, ((_, a), (_, b))) in self.slots.iter().zip(&expected.slots).enumerate() {
            worst = worst.max(match (a, b) {
                (Some(a), Some(b)) => {
                    check_close(a, b, tolerance).map_err(|e| e.context(format!("gradient {k}, compiled against eager")))?
                }
                (None, None) => 0.0,
                _ => return Err(Error::new(format!("gradient slot {k} is full in one mode only"))),
            });
        }
        Ok(worst)
    }
}

/// Compares the gradients of a function of `f64` tensors, reduced to a scalar by fixed weights, with central differences.
///
/// ```
/// use igneous::{Tensor, testing::gradcheck};
/// let (x, w) = (Tensor::from_vec(vec![0.3f64, -1.2], (1, 2)), Tensor::from_vec(vec![2.0f64, 0.5], (2, 1)));
/// gradcheck(|t| t[0].matmul(&t[1]).tanh(), &[x.clone(), w])?;
/// // A detached factor has no gradient, and that is found.
/// let error = gradcheck(|t| &t[0] * t[0].detach(), &[x]).unwrap_err();
/// assert!(error.to_string().contains("the gradient of element 0 of argument 0 is"));
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// # Errors
/// If an argument is not `f64`, the function fails, or a gradient differs by more than `1e-5`, relative to 1 or to its size.
#[track_caller]
pub fn gradcheck(function: impl Fn(&[Tensor]) -> Tensor, arguments: &[Tensor]) -> Result<()> {
    let loc = here();
    check_gradients(function, arguments).map_err(|e| e.at(loc))
}

fn check_gradients(function: impl Fn(&[Tensor]) -> Tensor, arguments: &[Tensor]) -> Result<()> {
    const STEP: f64 = 1e-6;
    const TOLERANCE: f64 = 1e-5;
    let weighed = |arguments: &[Tensor]| {
        let y = function(arguments);
        let n = y.elements().get().unwrap_or(1);
        // Weights that do not hide a cotangent that is summed or permuted wrongly.
        let weights: Vec<f64> = (0..n).map(|i| 1.0 + ((i * 7 + 3) % 11) as f64 / 10.0).collect();
        (y.flatten_all() * Tensor::from_slice(&weights, n)).sum_all()
    };
    for argument in arguments {
        if argument.ty()?.dtype != DType::F64 {
            return Err(Error::new("gradcheck needs f64 tensors").note("argument", argument.describe()));
        }
    }
    let values = arguments.iter().map(Tensor::to_f64_vec).collect::<Result<Vec<_>>>()?;
    let tracked: Vec<Tensor> = arguments.iter().map(|t| t.detach().requires_grad_()).collect();
    let loss = enable_grad(|| weighed(&tracked));
    let grads = grad(&loss, &tracked.iter().collect::<Vec<_>>())?;
    for (k, gradient) in grads.iter().enumerate() {
        let gradient = gradient.to_f64_vec()?;
        for (i, &found) in gradient.iter().enumerate() {
            let at = |x: f64| {
                let mut moved = values[k].clone();
                moved[i] = x;
                let mut arguments: Vec<Tensor> = tracked.iter().map(Tensor::detach).collect();
                arguments[k] = Tensor::from_slice(&moved, arguments[k].shape());
                weighed(&arguments).item()
            };
            let x = values[k][i];
            let expected = (at(x + STEP)? - at(x - STEP)?) / (2.0 * STEP);
            if (found - expected).abs() > TOLERANCE * expected.abs().max(1.0) {
                let message = format!("the gradient of element {i} of argument {k} is {found}, and differences give {expected}");
                return Err(Error::new(message).note("argument", arguments[k].describe()));
            }
        }
    }
    Ok(())
}

/// Compares the gradients of the gradients of a function of `f64` tensors with central differences (PyTorch's
/// `gradgradcheck`).
///
/// ```
/// use igneous::{Tensor, testing::gradgradcheck};
/// let x = Tensor::from_vec(vec![0.3f64, -1.2, 0.7], 3);
/// gradgradcheck(|t| t[0].softmax(-1) * t[0].sin(), &[x])?;
/// # Ok::<(), igneous::Error>(())
/// ```
///
/// # Errors
/// As [`gradcheck`], for the function that gives the gradients.
#[track_caller]
pub fn gradgradcheck(function: impl Fn(&[Tensor]) -> Tensor, arguments: &[Tensor]) -> Result<()> {
    let loc = here();
    let gradients = |arguments: &[Tensor]| {
        let leaves: Vec<Tensor> = arguments.iter().map(Tensor::requires_grad_).collect();
        let gradients = enable_grad(|| {
            let y = function(&leaves);
            let n = y.elements().get()?;
            let weights: Vec<f64> = (0..n).map(|i| 1.0 - ((i * 5 + 2) % 7) as f64 / 5.0).collect();
            let cotangent = Tensor::from_vec(weights, n).reshape(y.shape());
            grad_with(&y, &cotangent, &leaves.iter().collect::<Vec<_>>())
        });
        match gradients {
            Ok(gradients) => Tensor::cat(&gradients.iter().map(Tensor::flatten_all).collect::<Vec<_>>(), 0),
            Err(error) => error.into(),
        }
    };
    check_gradients(gradients, arguments).map_err(|e| e.at(loc))
}

impl<F: Function<Args>, Args: Tree> Compiled<F, Args> {
    /// Calls the function as eager code.
    pub(crate) fn call_eagerly(&self, arguments: &Args) -> Result<<F::Outputs as Outputs>::Value> {
        let mut tensors = Vec::new();
        arguments.flatten(&mut tensors, &mut Vec::new());
        self.function().call(arguments.rebuild(&mut tensors.into_iter())).into_result()
    }
}

/// The kernels of a program as [`assert_kernels_snapshot!`] compares them: without the lines of source code, which move.
#[doc(hidden)]
pub fn kernels_snapshot(program: &Stages) -> String {
    let text = |kernel: &igneous_ir::kernel::Kernel| {
        let mut kernel = kernel.clone();
        kernel.locs.clear();
        format!("{kernel}\n")
    };
    program.kernels().iter().map(text).collect()
}

/// Asserts how many launches a compiled program has. On failure the kernels are printed.
///
/// ```
/// use igneous::{DType, Tensor, compile, spec, testing::assert_kernel_count};
/// let program = compile(|x: Tensor| x.softmax(-1) * 2.0).lower(spec(DType::F32, (8, 64)))?;
/// assert_kernel_count!(program, 1);
/// # Ok::<(), igneous::Error>(())
/// ```
#[macro_export]
macro_rules! assert_kernel_count {
    ($program:expr, $count:expr $(,)?) => {{
        let (program, expected) = (&$program, $count);
        let found = program.launches();
        assert!(found == expected, "{found} launches instead of {expected}:\n{}", program.kernels_text());
    }};
}

/// Compares the kernels of a compiled program with a snapshot: in a file beside the test, `assert_kernels_snapshot!(program)`,
/// or inline, `assert_kernels_snapshot!(program, @"…")`. The lines of source code that kernels come from are left out.
///
/// The crate [`insta`](https://insta.rs) must be among the dev-dependencies; `cargo insta review` shows and accepts changes.
///
/// ```
/// use igneous::{DType, Tensor, compile, spec, testing::assert_kernels_snapshot};
/// let program = compile(|x: Tensor| (x * 2.0).exp()).lower(spec(DType::F32, 1024))?;
/// assert_kernels_snapshot!(program, @r"
/// kernel exp(in0: f32[1024]) -> (out0: f32[1024])
///   axes i: par 1024
///   out0[i] = exp(in0[i] * 2.0)
///   schedule bind(i, core) vec(i, 16)
/// ");
/// # Ok::<(), igneous::Error>(())
/// ```
#[macro_export]
macro_rules! assert_kernels_snapshot {
    ($program:expr $(, @$expected:literal)? $(,)?) => {
        ::insta::assert_snapshot!($crate::testing::kernels_snapshot(&$program) $(, @$expected)?)
    };
}
