//! `compile`: trace a function once for each signature, and run what was compiled.
//!
//! A program is used again while the arguments have the same types and all host state that was read while tracing (the
//! mode of modules, `requires_grad`, which gradient slots are full, the types of variables) is as it was.

mod check;
mod entry;
mod inline;
mod lowered;
mod relations;
mod run;
mod saved;
mod signature;
mod tree;
mod unrolled;

pub use lowered::Lowered;
pub use saved::SavedProgram;
pub use signature::{NamedExtent, NamedShape};
pub use tree::{ArgumentList, Arguments, Function, Outputs, Tree};

use crate::anomaly;
use crate::backend::{MatmulPrecision, Options, Precision};
use crate::bound;
use crate::device::Device;
use crate::location::here;
use crate::tensor::Tensor;
use crate::testing::StateOf;
use crate::trace;
use entry::Entry;
use igneous_ir::{Error, Loc, Result};
use igneous_runtime::LaunchTime;
use igneous_runtime::cuda::Choices;
use signature::{Modes, Shapes, Signature};
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the function returns on success.
pub(crate) type Value<F, Args> = <<F as Function<Args>>::Outputs as Outputs>::Value;

/// The programs of a function.
type Entries<F, Args> = Vec<Arc<Entry<Value<F, Args>>>>;

/// A compiled function; made by [`compile`].
pub struct Compiled<F: Function<Args>, Args> {
    function: F,
    name: String,
    shapes: Shapes,
    options: Options,
    device: Option<Device>,
    entries: Mutex<Entries<F, Args>>,
    arguments: PhantomData<fn(Args)>,
}

/// Compiles a function of tensors: the first call with arguments of some type traces it, compiles the graph and runs it,
/// later calls run the program.
///
/// The function may do what eager code does: read and assign variables, call `backward` and an optimizer's `step`, draw
/// random numbers. What it does besides igneous (printing, counting) happens while tracing only.
///
/// ```
/// # use igneous::{Tensor, compile};
/// let f = compile(|x: Tensor, y: Tensor| (&x * &y).sum_all());
/// let x = Tensor::new([1.0, 2.0, 3.0]);
/// assert_eq!(f.run((x.clone(), x)).unwrap().item().unwrap(), 14.0);
/// ```
pub fn compile<F: Function<Args>, Args>(function: F) -> Compiled<F, Args> {
    let path = std::any::type_name::<F>();
    let name = path.rsplit("::").find(|part| !part.contains(['{', '<', '>'])).unwrap_or("main");
    Compiled {
        function,
        name: name.to_owned(),
        shapes: Shapes::default(),
        options: Options::default(),
        device: None,
        entries: Mutex::new(Vec::new()),
        arguments: PhantomData,
    }
}

impl<F: Function<Args>, Args: Tree> Compiled<F, Args> {
    /// Names the program: in dumps, and in messages.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Names the extents of an argument (counted among the tensors of all arguments): `("B", "T")`. A named extent is
    /// symbolic in the graph, and the program runs for every value of it. `..` keeps an extent as it is.
    ///
    /// Extents with different names may differ, unless the function needs them to be equal (it adds the tensors, say): then
    /// every call is checked.
    pub fn input(mut self, argument: usize, shape: impl NamedShape) -> Self {
        self.shapes.name(argument, shape.named());
        self
    }

    /// The values a named extent may take; by default 1 and above.
    pub fn range(mut self, symbol: &str, range: RangeInclusive<usize>) -> Self {
        self.shapes.range(symbol, range);
        self
    }

    /// Where the function runs; by default where its arguments live. Arguments and variables are sent there when they lie
    /// elsewhere; results and the variables it assigns stay there until somebody reads them.
    ///
    /// On a GPU [`run`](Compiled::run) returns before the device is done, so a check that fails there (an index out of range, say) is an
    /// error of whoever comes first: who reads a result or a variable, the next run, or [`Device::synchronize`]. Until it has been reported
    /// nothing that the function assigns changes; then variables are as they were before the run that failed, and every reading of a
    /// result of a run in between is the error, too. Reading the result of each run finds failures at once.
    pub fn device(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }

    /// How much freedom the compiler has with numerics.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.options.precision = precision;
        self
    }

    /// How products in single precision multiply on a device; by default, with all bits that the numbers have.
    pub fn matmul_precision(mut self, precision: MatmulPrecision) -> Self {
        self.options.matmul = precision;
        self
    }

    /// Which products a library of the device computes, and which ones kernels of the program: what [`Lowered::tune`] or `igneous tune`
    /// found to be faster. By default, libraries compute large ones.
    pub fn choices(mut self, choices: Choices) -> Self {
        self.options.choices = Arc::new(choices);
        self
    }

    /// Compiles without rewriting by e-graphs: to compare with.
    pub fn no_egraph(mut self) -> Self {
        self.options.egraph = false;
        self
    }

    /// Lets the program's temporaries take that many bytes: beyond that, values are computed again where they are needed
    /// instead of being kept, those first that cost least time for the bytes they free. Results are the same; under
    /// `Precision::Strict` bit for bit. What was done stands in [`memory`](crate::Stages::memory) of the lowered program; if
    /// the budget cannot be met, a warning says by how much.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.options.memory_budget = Some(bytes);
        self
    }

    /// Runs the function on these arguments. Under a trace the function becomes a `call` of the graph being traced.
    ///
    /// # Errors
    /// If an argument is invalid, the function returns an error or an invalid tensor, the graph cannot be compiled, or a
    /// check fails while it runs. Then no variable and no gradient has changed. On a GPU a check may be found to have failed
    /// [later](Compiled::device).
    #[track_caller]
    pub fn run(&self, arguments: impl Arguments<Args>) -> Result<Value<F, Args>> {
        let loc = here();
        let arguments = arguments.arguments();
        if trace::is_tracing() {
            return self.inline(&arguments, loc);
        }
        if bound::is_active() || anomaly::is_active() {
            // A program reads variables where they lie; the function itself reads what stands for them. And only its
            // operators one by one tell which of them makes the first NaN.
            return self.function.call(arguments).into_result();
        }
        self.execute(&arguments, loc, None)
    }

    /// Calls the function itself on these arguments, operator by operator: to print what is inside, to step through it, to compare.
    ///
    /// ```
    /// # use igneous::{Tensor, compile};
    /// let f = compile(|x: Tensor| {
    ///     println!("{x}");
    ///     x * 2.0
    /// });
    /// assert_eq!(f.run_eagerly(Tensor::new([3.0]))?.item()?, 6.0);
    /// assert_eq!(f.programs(), 0);
    /// # Ok::<(), igneous::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the function returns an error.
    pub fn run_eagerly(&self, arguments: impl Arguments<Args>) -> Result<Value<F, Args>> {
        self.function.call(arguments.arguments()).into_result()
    }

    /// Like [`run`](Compiled::run); also measures each launch.
    ///
    /// # Errors
    /// As `run`, and under a trace.
    #[track_caller]
    pub fn profile(&self, arguments: impl Arguments<Args>) -> Result<(Value<F, Args>, Vec<LaunchTime>)> {
        let loc = here();
        if trace::is_tracing() {
            return Err(Error::new("a program cannot be profiled under a trace").at(loc));
        }
        let mut times = Vec::new();
        let value = self.execute(&arguments.arguments(), loc, Some(&mut times))?;
        Ok((value, times))
    }

    pub(crate) fn execute(&self, arguments: &Args, loc: Loc, times: Option<&mut Vec<LaunchTime>>) -> Result<Value<F, Args>> {
        self.find_and_run(arguments, loc, times).map_err(|e| e.at(loc))
    }

    fn find_and_run(&self, arguments: &Args, loc: Loc, mut times: Option<&mut Vec<LaunchTime>>) -> Result<Value<F, Args>> {
        let (tensors, signature) = self.signature(arguments)?;
        if times.is_some() && signature.device != Device::Cpu {
            return Err(Error::new(format!(
                "a program on {} is one graph: its launches cannot be timed one by one",
                signature.device
            )));
        }
        loop {
            let entry = self.entry(arguments, &tensors, &signature)?;
            entry.traced.relations.iter().try_for_each(|relation| relation.check(&tensors))?;
            self.check_trace(&entry, arguments, &tensors)?;
            // State that changes between the look-up and taking the locks sends us back.
            if let Some(result) = entry.run(&tensors, loc, times.as_deref_mut())? {
                return Ok(result);
            }
        }
    }

    /// Compiles for arguments of these types without running. Only the types of the arguments matter:
    /// [`spec`] makes an argument from a type.
    ///
    /// # Errors
    /// As [`run`](Compiled::run).
    #[track_caller]
    pub fn lower(&self, arguments: impl Arguments<Args>) -> Result<Lowered> {
        let loc = here();
        let arguments = arguments.arguments();
        if trace::is_tracing() {
            return Err(Error::new("a program cannot be lowered under a trace").at(loc));
        }
        let lowered = self
            .signature(&arguments)
            .and_then(|(tensors, signature)| Ok(Lowered::new(self.entry(&arguments, &tensors, &signature)?)));
        lowered.map_err(|e| e.at(loc))
    }

    /// The program for these arguments: one that there is, or a new one.
    fn entry(&self, arguments: &Args, tensors: &[Tensor], signature: &Signature) -> Result<Arc<Entry<Value<F, Args>>>> {
        let found = self.entries().iter().find(|e| e.fits(signature)).cloned();
        if let Some(entry) = found {
            return Ok(entry);
        }
        let reason = self.entries().last().and_then(|e| e.why_not(signature));
        let traced = self.trace(arguments, tensors, signature)?;
        let entry = Arc::new(Entry::compile(traced, signature.clone(), &self.options, reason)?);
        self.entries().push(entry.clone());
        Ok(entry)
    }

    /// The tensors of the arguments, and what a program depends on of them.
    fn signature(&self, arguments: &Args) -> Result<(Vec<Tensor>, Signature)> {
        let (tensors, structure) = values_of(arguments)?;
        let signature = self.shapes.signature(&tensors, structure, Modes::current(), self.device)?;
        Ok((tensors, signature))
    }

    pub(crate) fn function(&self) -> &F {
        &self.function
    }

    /// The variables and slots that a run on these arguments changes.
    pub(crate) fn state_of(&self, arguments: &Args) -> Result<StateOf> {
        let (tensors, signature) = self.signature(arguments)?;
        Ok(self.entry(arguments, &tensors, &signature)?.state())
    }

    fn entries(&self) -> MutexGuard<'_, Entries<F, Args>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why there is more than one program: one line for each after the first.
    pub fn explain_retraces(&self) -> String {
        let entries = self.entries();
        let reasons = entries.iter().enumerate().filter_map(|(k, e)| Some(format!("program {k}: {}\n", e.reason()?)));
        let text: String = reasons.collect();
        if text.is_empty() { format!("`{}` was traced {} times\n", self.name, entries.len()) } else { text }
    }

    /// How many programs there are.
    pub fn programs(&self) -> usize {
        self.entries().len()
    }
}

/// An argument for [`Compiled::lower`]: only its type matters.
#[track_caller]
pub fn spec(dtype: igneous_ir::DType, shape: impl crate::tensor::IntoShape) -> Tensor {
    Tensor::zeros(shape).to_dtype(dtype)
}

/// The tensors of the arguments; variables as the values they have.
fn values_of(arguments: &impl Tree) -> Result<(Vec<Tensor>, Vec<usize>)> {
    let (mut tensors, mut structure) = (Vec::new(), Vec::new());
    arguments.flatten(&mut tensors, &mut structure);
    for tensor in &mut tensors {
        if tensor.is_variable() {
            *tensor = Tensor::from(tensor.placed_value("its value")?.as_ref().clone());
        } else {
            tensor.check()?;
        }
    }
    Ok((tensors, structure))
}
