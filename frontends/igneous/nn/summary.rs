//! A table of a module's parameters.

use crate::tensor::Tensor;
use crate::variable::VariableKind;
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
