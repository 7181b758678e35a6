//! Checking models and compiled programs: for users as much as for igneous itself. No GPU is needed.

use crate::compile::{Arguments, Compiled, Function, Outputs, Tree};
use crate::grad_mode::enable_grad;
use crate::slot::SlotKey;
use crate::tape::grad;
use crate::tensor::Tensor;
use crate::trace;
use igneous_ir::{DType, Error, Loc, Result};

/// Panics unless two tensors have one shape and their elements differ by at most `tolerance`, relative to the expected
/// element or to 1, whichever is larger. NaN equals NaN.
#[track_caller]
pub fn assert_close(actual: &Tensor, expected: &Tensor, tolerance: f64) {
    let difference = check_close(actual, expected, tolerance);
    if let Err(error) = difference {
        panic!("{error}");
    }
}

/// Panics unless the elements of a tensor, row-major, are close to these numbers; see [`assert_close`].
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
/// # Errors
/// If a run fails, or they differ by more than `tolerance` (as in [`assert_close`]).
#[track_caller]
pub fn compare_with_eager<F: Function<Args>, Args: Tree>(
    function: &Compiled<F, Args>,
    arguments: impl Arguments<Args>,
    tolerance: f64,
) -> Result<f64> {
    let arguments = arguments.arguments();
    let state = function.state_of(&arguments)?;
    let before = state.save();
    let eager = leaves(function.call_eagerly(&arguments)?);
    let after_eager = state.save();
    before.restore()?;
    let compiled = leaves(function.execute(&arguments, Loc::caller(), None)?);
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
/// # Errors
/// If an argument is not `f64`, the function fails, or a gradient differs by more than `1e-5`, relative to 1 or to its size.
#[track_caller]
pub fn gradcheck(function: impl Fn(&[Tensor]) -> Tensor, arguments: &[Tensor]) -> Result<()> {
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

impl<F: Function<Args>, Args: Tree> Compiled<F, Args> {
    /// Calls the function as eager code.
    pub(crate) fn call_eagerly(&self, arguments: &Args) -> Result<<F::Outputs as Outputs>::Value> {
        let mut tensors = Vec::new();
        arguments.flatten(&mut tensors, &mut Vec::new());
        self.function().call(arguments.rebuild(&mut tensors.into_iter())).into_result()
    }
}

/// Asserts how many launches a compiled program has: `assert_kernel_count!(step.lower((x, y))?, 12)`. On failure the kernels
/// are printed.
#[macro_export]
macro_rules! assert_kernel_count {
    ($program:expr, $count:expr) => {
        let program = &$program;
        let (found, expected) = (program.launches(), $count);
        assert!(found == expected, "{found} launches instead of {expected}:\n{}", program.kernels_text());
    };
}

/// Compares the kernels of a compiled program with a snapshot: `assert_kernels_snapshot!(program)`, or with the expected
/// text inline, `assert_kernels_snapshot!(program, @"…")`. The crate `insta` must be among the dev-dependencies;
/// `cargo insta review` accepts changes.
#[macro_export]
macro_rules! assert_kernels_snapshot {
    ($program:expr $(, @$expected:literal)?) => {
        ::insta::assert_snapshot!($program.kernels_text() $(, @$expected)?)
    };
}
