//! Programs in files: the traced graph as text, with the values that it captured, in one safetensors file. It is compiled again when it
//! is loaded, which takes milliseconds, for the machine and the device at hand.

use super::entry::{Entry, Origin, Returned, Traced};
use super::signature::{Argument, Gradient, Modes, Signature};
use crate::backend::{MatmulPrecision, Options, Precision};
use crate::device::Device;
use crate::files;
use crate::location::here;
use crate::nn::StateDict;
use crate::random::random_state;
use crate::tensor::{Repr, Tensor};
use crate::trace::{Capture, CaptureSource};
use crate::variable::{Variable, VariableKind};
use igneous_ir::dim::Symbol;
use igneous_ir::{Dim, Error, Graph, Loc, Result, TensorType};
use safetensors::SafeTensors;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// What the file says it is.
const FORMAT: &str = "igneous program 1";

/// A program from a file that [`Lowered::save`](crate::Lowered::save) wrote: it runs without the code that it was traced from
/// (`torch.export.load`).
///
/// It has the variables that the function had, with the values of that time, as its own: a training step goes on training, and
/// [`state_dict`](SavedProgram::state_dict) has the weights. Random numbers come from the random state of the process. Results are not
/// recorded for `backward`; what the function did with gradients inside is part of the program. A [`HostFunction`] is called by its
/// name: the process that loads the program makes it first.
///
/// [`HostFunction`]: crate::func::HostFunction
///
/// ```
/// use igneous::nn::{Forward, Linear};
/// use igneous::{DType, SavedProgram, Tensor, compile, spec};
///
/// # let folder = std::env::temp_dir().join(format!("igneous-saved-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// # let path = folder.join("net.safetensors");
/// let net = Linear::new(3, 2);
/// let own = net.clone();
/// let forward = compile(move |x: Tensor| own.forward(&x)).input(0, ("B", 3));
/// forward.lower(spec(DType::F32, (1, 3)))?.save(&path)?;
///
/// let loaded = SavedProgram::load(&path)?;
/// let x = Tensor::randn((5, 3));
/// let y = loaded.run(&[x.clone()])?;
/// assert_eq!(y[0].to_vec::<f32>()?, net.forward(&x).to_vec::<f32>()?);
/// # std::fs::remove_dir_all(folder).unwrap();
/// # Ok::<(), igneous::Error>(())
/// ```
pub struct SavedProgram {
    entry: Entry<Vec<Tensor>>,
    variables: Vec<Arc<Variable>>,
}

/// A file that is being written.
#[derive(Default)]
struct Writer {
    tensors: StateDict,
    variables: Vec<Arc<Variable>>,
    constants: usize,
    interface: String,
}

impl Writer {
    fn line(&mut self, line: impl fmt::Display) -> Result<()> {
        writeln!(self.interface, "{line}").map_err(Error::other)
    }

    /// The number of a variable.
    fn variable(&mut self, variable: &Arc<Variable>) -> Result<usize> {
        if let Some(known) = self.variables.iter().position(|v| Arc::ptr_eq(v, variable)) {
            return Ok(known);
        }
        let number = self.variables.len();
        self.variables.push(variable.clone());
        let tensor = Tensor(Repr::Variable(variable.clone()));
        let kind = match tensor.variable_kind() {
            Some(VariableKind::Parameter) => "parameter",
            Some(VariableKind::Buffer) => "buffer",
            _ => "state",
        };
        let name = tensor.name().filter(|name| !name.chars().any(char::is_control));
        self.line(format_args!("variable {kind} {}", name.as_deref().unwrap_or("")))?;
        self.tensors.insert(format!("variable.{number}"), tensor.detach());
        Ok(number)
    }

    /// The number of a tensor that is as it is.
    fn constant(&mut self, tensor: Tensor) -> usize {
        self.tensors.insert(format!("constant.{}", self.constants), tensor);
        self.constants += 1;
        self.constants - 1
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Output(k) => write!(f, "output {k}"),
            Origin::Input(k) => write!(f, "input {k}"),
        }
    }
}

impl<R> Traced<R> {
    /// The bytes of the file.
    pub(super) fn saved(&self, options: &Options) -> Result<Vec<u8>> {
        let mut file = Writer::default();
        file.line(format_args!("precision {}", options.precision))?;
        file.line(format_args!("matmul {}", if options.matmul == MatmulPrecision::Tf32 { "tf32" } else { "full" }))?;
        file.line(format_args!("egraph {}", options.egraph))?;
        if let Some(bytes) = options.memory_budget {
            file.line(format_args!("memory_budget {bytes}"))?;
        }
        file.line(format_args!("arguments {}", self.arguments))?;
        let random = random_state()?;
        for capture in &self.captures {
            match &capture.source {
                CaptureSource::Variable(v) if random.as_variable().is_some_and(|r| Arc::ptr_eq(r, v)) => {
                    file.line("capture random")?;
                }
                CaptureSource::Variable(variable) => {
                    let number = file.variable(variable)?;
                    file.line(format_args!("capture variable {number}"))?;
                }
                CaptureSource::Eager(value) => {
                    let number = file.constant(Tensor::from(value.as_ref().clone()).detach());
                    file.line(format_args!("capture constant {number}"))?;
                }
                CaptureSource::Slot(..) => {
                    let error = Error::new("the program adds to gradients that were there before");
                    return Err(error.note("remedy", "clear gradients in the function, with `zero_grad`"));
                }
                CaptureSource::Outer(_) => return Err(Error::new("the program is part of another one that is being traced")),
            }
        }
        for returned in &self.returned {
            match returned {
                Returned::Value { origin, .. } => file.line(format_args!("return {origin}"))?,
                Returned::Outside(tensor) => {
                    let number = file.constant(tensor.detach());
                    file.line(format_args!("return constant {number}"))?;
                }
            }
        }
        for (variable, origin) in &self.assigned {
            match random.as_variable() {
                Some(r) if Arc::ptr_eq(r, variable) => file.line(format_args!("assign random {origin}"))?,
                _ => {
                    let number = file.variable(variable)?;
                    file.line(format_args!("assign variable {number} {origin}"))?;
                }
            }
        }
        let metadata = [("format", FORMAT.to_owned()), ("graph", self.graph.to_string()), ("interface", file.interface)];
        file.tensors.safetensors(Some(metadata.map(|(name, text)| (name.to_owned(), text)).into()))
    }
}

/// The words of a line, each taken once.
struct Words<'t> {
    line: &'t str,
    rest: &'t str,
}

impl<'t> Words<'t> {
    fn next(&mut self) -> &'t str {
        let (word, rest) = self.rest.split_once(' ').unwrap_or((self.rest, ""));
        self.rest = rest;
        word
    }

    fn number(&mut self) -> Result<usize> {
        self.next().parse().map_err(|_| self.wrong())
    }

    fn wrong(&self) -> Error {
        Error::new(format!("the line `{}` of its interface is not known", self.line))
    }

    /// A place among so many.
    fn below(&mut self, count: usize) -> Result<usize> {
        let number = self.number()?;
        if number < count { Ok(number) } else { Err(self.wrong()) }
    }
}

/// A file that is being read.
struct Reader {
    graph: Graph,
    tensors: StateDict,
    options: Options,
    arguments: usize,
    variables: Vec<Arc<Variable>>,
    captures: Vec<Capture>,
    returned: Vec<Returned>,
    assigned: Vec<(Arc<Variable>, Origin)>,
}

impl Reader {
    fn read(bytes: &[u8]) -> Result<Reader> {
        let header = SafeTensors::read_metadata(bytes).map_err(Error::other)?.1;
        let metadata: HashMap<String, String> = header.metadata().clone().unwrap_or_default();
        let text = |name: &str| metadata.get(name).ok_or_else(|| Error::new(format!("it has no `{name}`: it holds no program")));
        let format = text("format")?;
        if format != FORMAT {
            return Err(Error::new(format!("its format is `{format}`, and this version reads `{FORMAT}`")));
        }
        let mut reader = Reader {
            graph: Graph::parse(text("graph")?)?,
            tensors: StateDict::parse(bytes)?,
            options: Options::default(),
            arguments: 0,
            variables: Vec::new(),
            captures: Vec::new(),
            returned: Vec::new(),
            assigned: Vec::new(),
        };
        text("interface")?.lines().try_for_each(|line| reader.line(&mut Words { line, rest: line }))?;
        let (inputs, found) = (reader.graph.inputs().len(), reader.arguments.saturating_add(reader.captures.len()));
        if inputs != found {
            return Err(Error::new(format!("its graph has {inputs} inputs, and its interface {found}")));
        }
        Ok(reader)
    }

    fn line(&mut self, words: &mut Words) -> Result<()> {
        match words.next() {
            "precision" => {
                let all = [Precision::Strict, Precision::Default, Precision::Fast];
                let name = words.next();
                self.options.precision = all.into_iter().find(|p| p.to_string() == name).ok_or_else(|| words.wrong())?;
            }
            "matmul" => {
                self.options.matmul = match words.next() {
                    "full" => MatmulPrecision::Full,
                    "tf32" => MatmulPrecision::Tf32,
                    _ => return Err(words.wrong()),
                }
            }
            "egraph" => self.options.egraph = words.next().parse().map_err(|_| words.wrong())?,
            "memory_budget" => self.options.memory_budget = Some(words.number()?),
            "arguments" => self.arguments = words.number()?,
            "variable" => {
                let kind = match words.next() {
                    "parameter" => VariableKind::Parameter,
                    "buffer" => VariableKind::Buffer,
                    "state" => VariableKind::State,
                    _ => return Err(words.wrong()),
                };
                let value = self.tensor(&format!("variable.{}", self.variables.len()))?;
                let variable = Tensor::variable_of_kind(kind, value);
                if !words.rest.is_empty() {
                    variable.set_name(words.rest);
                }
                variable.check()?;
                self.variables.extend(variable.as_variable().cloned());
            }
            "capture" => {
                let source = match words.next() {
                    "random" => CaptureSource::Variable(random_variable()?),
                    "variable" => CaptureSource::Variable(self.variables[words.below(self.variables.len())?].clone()),
                    "constant" => {
                        let tensor = self.tensor(&format!("constant.{}", words.number()?))?;
                        CaptureSource::Eager(Arc::new(tensor.placed_value("its elements")?.as_ref().clone()))
                    }
                    _ => return Err(words.wrong()),
                };
                let input = self.arguments.checked_add(self.captures.len()).and_then(|k| self.graph.inputs().get(k));
                let (value, name) = input.ok_or_else(|| words.wrong())?;
                let (expected, found) = (self.graph.ty(*value), source.now().ty()?);
                if *expected != found {
                    return Err(Error::new(format!("its input {name} is {expected}, and the value {found}")));
                }
                self.captures.push(Capture::new(source, *value));
            }
            "return" => {
                let returned = match words.rest.starts_with("constant ") {
                    true => {
                        words.next();
                        Returned::Outside(self.tensor(&format!("constant.{}", words.number()?))?)
                    }
                    false => Returned::Value { origin: self.origin(words)?, tracked: false },
                };
                self.returned.push(returned);
            }
            "assign" => {
                let variable = match words.next() {
                    "random" => random_variable()?,
                    "variable" => self.variables[words.below(self.variables.len())?].clone(),
                    _ => return Err(words.wrong()),
                };
                let origin = self.origin(words)?;
                let value = match origin {
                    Origin::Output(k) => self.graph.outputs()[k].0,
                    Origin::Input(k) => self.graph.inputs()[k].0,
                };
                let (expected, found) = (variable.ty(), self.graph.ty(value));
                if expected != *found {
                    return Err(Error::new(format!("a variable is {expected}, and what it becomes {found}")));
                }
                self.assigned.push((variable, origin));
            }
            _ => return Err(words.wrong()),
        }
        Ok(())
    }

    fn tensor(&self, name: &str) -> Result<Tensor> {
        self.tensors.get(name).cloned().ok_or_else(|| Error::new(format!("it has no tensor `{name}`")))
    }

    fn origin(&self, words: &mut Words) -> Result<Origin> {
        match words.next() {
            "output" => words.below(self.graph.outputs().len()).map(Origin::Output),
            "input" => words.below(self.graph.inputs().len()).map(Origin::Input),
            _ => Err(words.wrong()),
        }
    }

    fn compile(self, device: Device) -> Result<SavedProgram> {
        let argument = |k: usize| Argument { ty: self.graph.ty(self.graph.inputs()[k].0).clone(), gradient: Gradient::None };
        let tensors = (0..self.arguments).map(argument).collect();
        let modes = Modes { grad_enabled: false, ..Modes::current() };
        let signature = Signature { tensors, structure: Vec::new(), modes, device };
        let placeholder = Tensor::scalar(0);
        let traced = Traced {
            graph: self.graph,
            captures: self.captures,
            arguments: self.arguments,
            template: vec![placeholder; self.returned.len()],
            returned: self.returned,
            assigned: self.assigned,
            slots: Vec::new(),
            guards: Vec::new(),
            effects: Vec::new(),
            ran_backward: false,
            relations: Vec::new(),
        };
        let entry = Entry::compile(traced, signature, &self.options, None)?;
        Ok(SavedProgram { entry, variables: self.variables })
    }
}

fn random_variable() -> Result<Arc<Variable>> {
    random_state()?.as_variable().cloned().ok_or_else(|| Error::new("the random state is no variable"))
}

impl SavedProgram {
    /// Reads a program and compiles it for the CPU.
    ///
    /// # Errors
    /// If the file is missing or damaged, or holds no program; the message names it.
    #[track_caller]
    pub fn load(path: impl AsRef<Path>) -> Result<SavedProgram> {
        SavedProgram::load_on(path, Device::Cpu)
    }

    /// The same for a device.
    ///
    /// # Errors
    /// As [`load`](SavedProgram::load).
    #[track_caller]
    pub fn load_on(path: impl AsRef<Path>, device: Device) -> Result<SavedProgram> {
        let (loc, path) = (here(), path.as_ref());
        let program = files::read(path)
            .and_then(|bytes| Reader::read(&bytes).and_then(|r| r.compile(device)).map_err(|e| files::cannot_read(path, e)));
        program.map_err(|e| e.at(loc))
    }

    /// The types of the arguments; extents with names may be anything in their ranges.
    pub fn arguments(&self) -> impl Iterator<Item = &TensorType> {
        self.entry.signature.tensors.iter().map(|argument| &argument.ty)
    }

    /// The values of the program's variables, by the names that they had ([`name_variables`](crate::nn::ModuleExt::name_variables) and
    /// optimizers give them); `variable3` is one without.
    pub fn state_dict(&self) -> StateDict {
        let mut state = StateDict::new();
        for (number, variable) in self.variables.iter().enumerate() {
            let name = variable.name().filter(|name| state.get(name).is_none());
            let name = name.map_or_else(|| format!("variable{number}"), |name| name.to_string());
            state.insert(name, Tensor(Repr::Variable(variable.clone())).detach());
        }
        state
    }

    /// The stages of its compilation.
    pub fn stages(&self) -> &crate::backend::Stages {
        self.entry.executable.stages()
    }

    /// Runs it; the tensors that the function returned, one after the other.
    ///
    /// # Errors
    /// If there are fewer or more arguments than it takes, one has another type, or the run fails. Then no variable has changed.
    #[track_caller]
    pub fn run(&self, arguments: &[Tensor]) -> Result<Vec<Tensor>> {
        let loc = here();
        self.checked(arguments).and_then(|()| self.execute(arguments, loc)).map_err(|e| e.at(loc))
    }

    fn execute(&self, arguments: &[Tensor], loc: Loc) -> Result<Vec<Tensor>> {
        let values: Result<Vec<Tensor>> = arguments
            .iter()
            .map(|tensor| Ok(Tensor::from(tensor.placed_value("its value")?.as_ref().clone()).detach()))
            .collect();
        let results = self.entry.run(&values?, loc, None)?;
        results.ok_or_else(|| Error::new("a variable of the program has another type than when it was saved"))
    }

    fn checked(&self, arguments: &[Tensor]) -> Result<()> {
        let expected = &self.entry.signature.tensors;
        if arguments.len() != expected.len() {
            return Err(Error::new(format!("the program takes {} tensors, not {}", expected.len(), arguments.len())));
        }
        let mut extents: BTreeMap<Symbol, i64> = BTreeMap::new();
        for (place, (tensor, Argument { ty, .. })) in arguments.iter().zip(expected).enumerate() {
            let found = tensor.ty()?;
            let extent_fits = |(expected, found): (&Dim, &Dim)| {
                let symbol =
                    expected.linear().map(|(symbol, ..)| symbol).filter(|s| Dim::symbol(s.name, s.lo, s.hi) == *expected);
                let (Some(symbol), Some(extent)) = (symbol, found.as_const()) else { return expected == found };
                (symbol.lo..=symbol.hi).contains(&extent) && *extents.entry(symbol).or_insert(extent) == extent
            };
            let same = ty.dtype == found.dtype && ty.rank() == found.rank();
            if !same || !ty.shape.iter().zip(&found.shape).all(extent_fits) {
                let error = Error::new(format!("argument {place} of the program is {ty}, not {found}"));
                let known = extents.iter().map(|(symbol, extent)| format!("{} = {extent}", symbol.name));
                return Err(error.note("argument", tensor.describe()).note("extents", known.collect::<Vec<_>>().join(", ")));
            }
        }
        Ok(())
    }
}
