//! What a checkpoint holds.

use crate::nn::StateDict;
use crate::tensor::Tensor;
use igneous_ir::{Error, Result};

/// A value in a file of PyTorch: a tensor, or a plain value or container of Python.
#[derive(Clone, Debug)]
pub enum Value {
    /// Python's `None`.
    None,
    /// A bool.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// A text. Element types and devices are texts, too: `torch.float32`, `cpu`.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list, or a set.
    List(Vec<Value>),
    /// A tuple, or a `torch.Size`.
    Tuple(Vec<Value>),
    /// A dictionary, ordered as the file has it.
    Dict(Vec<(Value, Value)>),
    /// A tensor.
    Tensor(Tensor),
}

impl Value {
    /// What kind of value it is, for messages.
    fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Bool(_) => "a bool",
            Value::Int(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Text(_) => "a text",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "a list",
            Value::Tuple(_) => "a tuple",
            Value::Dict(_) => "a dictionary",
            Value::Tensor(_) => "a tensor",
        }
    }

    fn is_not(&self, wanted: &str) -> Error {
        Error::new(format!("{wanted} was asked for, and the file has {}", self.kind()))
    }

    /// The entry of a dictionary under a text.
    ///
    /// # Errors
    /// If this is no dictionary, or has no such entry; the message lists those that it has.
    pub fn get(&self, key: &str) -> Result<&Value> {
        let Value::Dict(entries) = self else { return Err(self.is_not("a dictionary")) };
        let is = |(own, _): &&(Value, Value)| matches!(own, Value::Text(text) if text == key);
        entries.iter().find(is).map(|(_, value)| value).ok_or_else(|| {
            let keys: Vec<&str> = entries.iter().filter_map(|(own, _)| own.text().ok()).collect();
            Error::new(format!("there is no entry `{key}`")).note("entries", keys.join(", "))
        })
    }

    /// The tensor.
    ///
    /// # Errors
    /// If it is something else.
    pub fn tensor(&self) -> Result<&Tensor> {
        match self {
            Value::Tensor(tensor) => Ok(tensor),
            other => Err(other.is_not("a tensor")),
        }
    }

    /// The text.
    ///
    /// # Errors
    /// If it is something else.
    pub fn text(&self) -> Result<&str> {
        match self {
            Value::Text(text) => Ok(text),
            other => Err(other.is_not("a text")),
        }
    }

    /// The integer.
    ///
    /// # Errors
    /// If it is something else.
    pub fn int(&self) -> Result<i64> {
        match self {
            Value::Int(int) => Ok(*int),
            other => Err(other.is_not("an integer")),
        }
    }

    /// The float, or an integer as one.
    ///
    /// # Errors
    /// If it is something else.
    pub fn float(&self) -> Result<f64> {
        match self {
            Value::Float(float) => Ok(*float),
            Value::Int(int) => Ok(*int as f64),
            other => Err(other.is_not("a float")),
        }
    }

    /// The elements of a list or tuple.
    ///
    /// # Errors
    /// If it is something else.
    pub fn items(&self) -> Result<&[Value]> {
        match self {
            Value::List(items) | Value::Tuple(items) => Ok(items),
            other => Err(other.is_not("a list")),
        }
    }

    /// A dictionary of tensors as names and values.
    ///
    /// # Errors
    /// If it is no dictionary of texts and tensors; the message names the entry that is something else.
    pub fn state_dict(&self) -> Result<StateDict> {
        let Value::Dict(entries) = self else { return Err(self.is_not("a dictionary of tensors")) };
        let mut state = StateDict::new();
        for (key, value) in entries {
            let name = key.text()?;
            match value {
                Value::Tensor(tensor) => state.insert(name, tensor.clone()),
                other => {
                    let message = format!("the entry `{name}` is {}, not a tensor", other.kind());
                    let remedy = "read the file with `files::load_torch` and choose the dictionary of tensors in it with `get`";
                    return Err(Error::new(message).note("remedy", remedy));
                }
            }
        }
        Ok(state)
    }
}
