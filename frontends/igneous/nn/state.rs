//! Named values of a module, and their files.

use crate::files::{self, Format, Kind};
use crate::location::{called_from, here};
use crate::tensor::Tensor;
use igneous_ir::{DType, Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
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

    /// Writes a safetensors file. The file is complete or as it was: it is written beside and then renamed.
    ///
    /// # Errors
    /// If a value is invalid or traced, or the file cannot be written; the message names it.
    #[track_caller]
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let (loc, path) = (here(), path.as_ref());
        let named = |e: Error| e.context(format_args!("cannot write {}", path.display()));
        self.safetensors(None).map_err(named).and_then(|bytes| files::write(path, &bytes)).map_err(|e| e.at(loc))
    }

    /// The bytes of a safetensors file, with texts by name besides.
    pub(crate) fn safetensors(&self, texts: Option<HashMap<String, String>>) -> Result<Vec<u8>> {
        let mut data: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        for (name, tensor) in self.iter() {
            let ty = tensor.ty()?;
            data.push((name, to_file(ty.dtype)?, ty.sizes()?, tensor.to_le_bytes()?));
        }
        let views: Result<Vec<(&str, TensorView<'_>)>> = data
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((*name, TensorView::new(*dtype, shape.clone(), bytes).map_err(Error::other)?)))
            .collect();
        safetensors::serialize(views?, texts).map_err(Error::other)
    }

    /// Writes an archive of arrays as `numpy.savez` does. The file is complete or as it was.
    ///
    /// # Errors
    /// If a value is invalid, traced or of type `bf16`, which numpy does not have, or the file cannot be written; the message
    /// names file and entry.
    #[track_caller]
    pub fn save_npz(&self, path: impl AsRef<Path>) -> Result<()> {
        let (loc, path) = (here(), path.as_ref());
        files::write_npz(path, self.iter()).map_err(|e| e.at(loc))
    }

    /// Reads a file of tensors: safetensors, PyTorch's `.pt` or `.pth` with a state dict, or numpy's `.npz`. Its first bytes tell
    /// which. Integers of 16 bits become `i32`, unsigned ones of 32 bits `i64`. Nothing in a file is executed; of a
    /// checkpoint that holds more than tensors, [`load_torch`](crate::files::load_torch) gives the parts.
    ///
    /// # Errors
    /// If the file is missing, truncated or damaged, or holds something else; the message names the file and the entry.
    #[track_caller]
    pub fn load(path: impl AsRef<Path>) -> Result<StateDict> {
        let (loc, path) = (here(), path.as_ref());
        let parsed = |bytes: Vec<u8>| StateDict::parse(&bytes).map_err(|e| files::cannot_read(path, e));
        called_from(loc, || files::read(path).and_then(parsed)).map_err(|e| e.at(loc))
    }

    /// The tensors of a file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<StateDict> {
        match files::format_of(bytes) {
            Format::Numpy => return Ok(StateDict { entries: files::entries_of_npz(bytes)?.into_iter().collect() }),
            Format::Torch => return files::read_torch(bytes)?.state_dict(),
            Format::Safetensors => {}
        }
        let file = SafeTensors::deserialize(bytes).map_err(Error::other)?;
        let mut state = StateDict::new();
        for (name, view) in file.tensors() {
            let named = |e: Error| e.context(format_args!("entry `{name}`"));
            let kind = from_file(view.dtype())
                .ok_or_else(|| named(Error::new(format!("element type {:?} is not supported", view.dtype()))))?;
            state.insert(name.clone(), kind.tensor(view.shape(), view.data()).map_err(named)?);
        }
        Ok(state)
    }
}

const DTYPES: [(DType, Dtype); 9] = [
    (DType::F64, Dtype::F64),
    (DType::F32, Dtype::F32),
    (DType::F16, Dtype::F16),
    (DType::BF16, Dtype::BF16),
    (DType::I64, Dtype::I64),
    (DType::I32, Dtype::I32),
    (DType::U8, Dtype::U8),
    (DType::I8, Dtype::I8),
    (DType::Bool, Dtype::BOOL),
];

fn to_file(dtype: DType) -> Result<Dtype> {
    let found = DTYPES.iter().find(|(own, _)| *own == dtype).map(|(_, file)| *file);
    found.ok_or_else(|| Error::new(format!("safetensors files hold no {dtype}")))
}

fn from_file(dtype: Dtype) -> Option<Kind> {
    let own = DTYPES.iter().find(|(_, file)| *file == dtype).map(|(own, _)| Kind::Same(*own));
    own.or(match dtype {
        Dtype::I16 => Some(Kind::I16),
        Dtype::U16 => Some(Kind::U16),
        Dtype::U32 => Some(Kind::U32),
        _ => None,
    })
}
