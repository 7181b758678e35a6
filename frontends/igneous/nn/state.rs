//! Named values of a module, and their files.

use crate::location::{called_from, here};
use crate::tensor::Tensor;
use igneous_ir::{DType, Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::BTreeMap;
use std::path::Path;

/// Names and values: PyTorch's `state_dict`. Values are copies of handles, so later training does not change them.
#[derive(Clone, Debug, Default)]
pub struct StateDict {
    entries: BTreeMap<String, Tensor>,
}

impl StateDict {
    pub(super) fn of(variables: Vec<(String, Tensor)>) -> StateDict {
        StateDict { entries: variables.into_iter().map(|(name, tensor)| (name, tensor.detach())).collect() }
    }

    /// An empty one.
    pub fn new() -> StateDict {
        StateDict::default()
    }

    /// Adds or replaces an entry.
    pub fn insert(&mut self, name: impl Into<String>, value: Tensor) {
        self.entries.insert(name.into(), value);
    }

    /// The value called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.entries.get(name)
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.entries.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Assigns the values to variables of the same names; all or none.
    pub(crate) fn load_into(&self, variables: &[(String, Tensor)]) -> Result<()> {
        let missing: Vec<&str> = variables.iter().map(|(n, _)| n.as_str()).filter(|n| !self.entries.contains_key(*n)).collect();
        let unknown: Vec<&str> =
            self.entries.keys().map(String::as_str).filter(|n| !variables.iter().any(|(v, _)| v == n)).collect();
        if !missing.is_empty() || !unknown.is_empty() {
            let list = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(Error::new("the names of the state and of the module differ")
                .note("missing in the state", list(&missing))
                .note("not in the module", list(&unknown)));
        }
        let mut differing = Vec::new();
        for (name, variable) in variables {
            let (want, got) = (variable.ty()?, self.entries[name].ty()?);
            if want != got {
                differing.push((name, format!("{want} in the module and {got} in the state")));
            }
        }
        if !differing.is_empty() {
            let error = Error::new("values of the state have other types than in the module");
            return Err(differing.into_iter().fold(error, |error, (name, types)| error.note(name, types)));
        }
        variables.iter().try_for_each(|(name, variable)| variable.assign(&self.entries[name]))
    }

    /// Writes a safetensors file. The file is complete or not there: it is written beside and then renamed.
    ///
    /// # Errors
    /// If a value is invalid or traced, or the file cannot be written; the message names it.
    #[track_caller]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let loc = here();
        self.write(path.as_ref()).map_err(|e| e.at(loc))
    }

    fn write(&self, path: &Path) -> Result<()> {
        let mut data: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        for (name, tensor) in self.iter() {
            let ty = tensor.ty()?;
            data.push((name, to_file(ty.dtype)?, ty.sizes()?, tensor.to_le_bytes()?));
        }
        let views: Result<Vec<(&str, TensorView<'_>)>> = data
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((*name, TensorView::new(*dtype, shape.clone(), bytes).map_err(Error::other)?)))
            .collect();
        let named = |e: &dyn std::fmt::Display| Error::other(e).context(format_args!("cannot write {}", path.display()));
        let bytes = safetensors::serialize(views?, None).map_err(|e| named(&e))?;
        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        std::fs::write(&beside, bytes).map_err(|e| named(&e))?;
        std::fs::rename(&beside, path).map_err(|e| named(&e))
    }

    /// Reads a safetensors file.
    ///
    /// # Errors
    /// If the file is missing, truncated or damaged, or has an element type that igneous lacks; the message names the file.
    #[track_caller]
    pub fn load(path: impl AsRef<Path>) -> Result<StateDict> {
        let loc = here();
        called_from(loc, || StateDict::read(path.as_ref())).map_err(|e| e.at(loc))
    }

    fn read(path: &Path) -> Result<StateDict> {
        let named = |e: &dyn std::fmt::Display| Error::other(e).context(format_args!("cannot read {}", path.display()));
        let bytes = std::fs::read(path).map_err(|e| named(&e))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| named(&e))?;
        let mut state = StateDict::new();
        for (name, view) in file.tensors() {
            let dtype = from_file(view.dtype())
                .ok_or_else(|| named(&format_args!("`{name}` has element type {:?}, which is not supported", view.dtype())))?;
            let value = Tensor::from_le_bytes(dtype, view.shape(), view.data());
            value.check().map_err(|e| named(&e))?;
            state.insert(name, value);
        }
        Ok(state)
    }
}

const DTYPES: [(DType, Dtype); 8] = [
    (DType::F64, Dtype::F64),
    (DType::F32, Dtype::F32),
    (DType::F16, Dtype::F16),
    (DType::BF16, Dtype::BF16),
    (DType::I64, Dtype::I64),
    (DType::I32, Dtype::I32),
    (DType::U8, Dtype::U8),
    (DType::Bool, Dtype::BOOL),
];

fn to_file(dtype: DType) -> Result<Dtype> {
    let found = DTYPES.iter().find(|(own, _)| *own == dtype).map(|(_, file)| *file);
    found.ok_or_else(|| Error::new(format!("safetensors files hold no {dtype}")))
}

fn from_file(dtype: Dtype) -> Option<DType> {
    DTYPES.iter().find(|(_, file)| *file == dtype).map(|(own, _)| *own)
}
