//! Tables of a module's parameters and of its layers.

use super::{Forward, ModuleExt, StateDict};
use crate::grad_mode::no_grad;
use crate::random::random_state;
use crate::tensor::Tensor;
use crate::variable::VariableKind;
use igneous_ir::Result;
use std::cell::RefCell;
use std::fmt;

/// What [`ModuleExt::summary`](super::ModuleExt::summary) returns; print it.
#[derive(Clone, Debug)]
pub struct Summary {
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    name: String,
    ty: String,
    elements: usize,
    trained: bool,
}

impl Summary {
    pub(super) fn of(variables: Vec<(String, Tensor)>) -> Summary {
        let mut seen: Vec<Tensor> = Vec::new();
        let mut rows = Vec::new();
        for (name, tensor) in variables {
            if seen.iter().any(|t| t.same(&tensor)) {
                continue;
            }
            rows.push(Row {
                name,
                ty: tensor.ty().map_or_else(|_| "invalid".to_owned(), |ty| ty.to_string()),
                elements: tensor.elements().get().unwrap_or(0),
                trained: tensor.variable_kind() == Some(VariableKind::Parameter) && tensor.requires_grad(),
            });
            seen.push(tensor);
        }
        Summary { rows }
    }

    /// The number of elements that are trained.
    pub fn trainable(&self) -> usize {
        self.rows.iter().filter(|r| r.trained).map(|r| r.elements).sum()
    }

    /// The number of all elements.
    pub fn total(&self) -> usize {
        self.rows.iter().map(|r| r.elements).sum()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.rows.iter().map(|r| r.name.len()).max().unwrap_or(0).max(9);
        let ty = self.rows.iter().map(|r| r.ty.len()).max().unwrap_or(0).max(4);
        writeln!(f, "{:name$}  {:ty$}  {:>12}", "parameter", "type", "elements")?;
        for row in &self.rows {
            let note = if row.trained { "" } else { "  not trained" };
            writeln!(f, "{:name$}  {:ty$}  {:>12}{note}", row.name, row.ty, row.elements)?;
        }
        write!(f, "{} elements, {} trained", self.total(), self.trainable())
    }
}

/// What [`Forward::layers`] returns; print it.
#[derive(Clone, Debug)]
pub struct LayerSummary {
    rows: Vec<LayerRow>,
    trainable: usize,
    total: usize,
}

#[derive(Clone, Debug)]
struct LayerRow {
    depth: usize,
    name: String,
    output: String,
    parameters: usize,
}

/// The rows of a summary that is being made, and how deep in layers the thread is.
struct Recorder {
    rows: Vec<LayerRow>,
    depth: usize,
}

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

/// Calls a layer, and notes it if a summary is being made.
pub(super) fn noted(layer: &dyn Forward, name: &str, forward: impl FnOnce() -> Tensor) -> Tensor {
    let row = RECORDER.with_borrow_mut(|recorder| {
        let recorder = recorder.as_mut()?;
        let kind = layer.kind();
        let plain = kind.split('<').next().unwrap_or(kind);
        let kind = plain.rsplit("::").next().unwrap_or(plain);
        let name = if name.is_empty() { kind.to_owned() } else { format!("{name}: {kind}") };
        let parameters = layer.parameter_count();
        recorder.rows.push(LayerRow { depth: recorder.depth, name, output: String::new(), parameters });
        recorder.depth += 1;
        Some(recorder.rows.len() - 1)
    });
    let y = forward();
    if let Some(row) = row {
        RECORDER.with_borrow_mut(|recorder| {
            let Some(recorder) = recorder else { return };
            recorder.depth = recorder.depth.saturating_sub(1);
            recorder.rows[row].output = y.ty().map_or_else(|_| "invalid".to_owned(), |ty| ty.to_string());
        });
    }
    y
}

impl LayerSummary {
    /// Runs a layer once and notes the layers inside of it. What the run changes, such as running statistics, is changed back.
    #[track_caller]
    pub(super) fn of(layer: &dyn Forward, x: &Tensor) -> Result<LayerSummary> {
        let state: StateDict = layer.state_dict();
        let random = random_state()?.detach();
        RECORDER.set(Some(Recorder { rows: Vec::new(), depth: 0 }));
        let y = no_grad(|| noted(layer, "", || layer.forward(x)));
        let rows = RECORDER.take().map_or_else(Vec::new, |recorder| recorder.rows);
        random_state()?.assign(&random)?;
        layer.load_state_dict(&state)?;
        y.check()?;
        let all = Summary::of(layer.named_variables().into_iter().filter(|(_, t)| is_parameter(t)).collect());
        Ok(LayerSummary { rows, trainable: all.trainable(), total: all.total() })
    }
}

fn is_parameter(tensor: &Tensor) -> bool {
    tensor.variable_kind() == Some(VariableKind::Parameter)
}

impl fmt::Display for LayerSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.rows.iter().map(|row| format!("{}{}", "  ".repeat(row.depth), row.name)).collect();
        let name = names.iter().map(String::len).max().unwrap_or(0).max(5);
        let output = self.rows.iter().map(|row| row.output.len()).max().unwrap_or(0).max(6);
        writeln!(f, "{:name$}  {:output$}  {:>12}", "layer", "output", "parameters")?;
        for (row, full) in self.rows.iter().zip(&names) {
            writeln!(f, "{full:name$}  {:output$}  {:>12}", row.output, row.parameters)?;
        }
        write!(f, "{} parameters, {} trained", self.total, self.trainable)
    }
}
