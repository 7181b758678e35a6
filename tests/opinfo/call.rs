//! The arguments of a call, looked up by position and name as a Python function does. What nobody has asked for is an
//! argument that the mapping does not know: such a call is not run with a part of its arguments.

use igneous::Tensor;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// Why a call has no result to compare.
#[derive(Debug)]
pub enum Problem {
    /// The operator or an argument is not supported, and why.
    Unsupported(String),
    /// It should work and does not.
    Failed(igneous::Error),
}

impl From<igneous::Error> for Problem {
    fn from(error: igneous::Error) -> Problem {
        Problem::Failed(error)
    }
}

/// An argument that is not what the mapping expects.
pub fn unsupported<T>(why: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Unsupported(why.into()))
}

pub type Outputs = Result<Vec<Tensor>, Problem>;

/// A call with tensors in the places of `"$k"`.
pub struct Call<'a> {
    args: &'a [Value],
    kwargs: &'a BTreeMap<String, Value>,
    tensors: &'a BTreeMap<usize, Tensor>,
    asked: RefCell<(usize, BTreeSet<&'static str>)>,
}

impl<'a> Call<'a> {
    pub fn new(args: &'a [Value], kwargs: &'a BTreeMap<String, Value>, tensors: &'a BTreeMap<usize, Tensor>) -> Call<'a> {
        Call { args, kwargs, tensors, asked: RefCell::default() }
    }

    /// Fails if an argument was given that the mapping has not looked at.
    pub fn all_asked(&self) -> Result<(), Problem> {
        let (places, names) = &*self.asked.borrow();
        if *places < self.args.len() {
            return unsupported(format!("positional argument {places} is not known"));
        }
        match self.kwargs.iter().find(|(name, value)| !value.is_null() && !names.contains(name.as_str())) {
            Some((name, _)) => unsupported(format!("argument `{name}` is not known")),
            None => Ok(()),
        }
    }

    /// The number of positional arguments.
    pub fn places(&self) -> usize {
        self.args.len()
    }

    /// The argument at position `place` or called `name`; `None` and what is not given are the same.
    pub fn get(&self, place: usize, name: &'static str) -> Option<&'a Value> {
        let mut asked = self.asked.borrow_mut();
        asked.0 = asked.0.max(place + 1);
        asked.1.insert(name);
        self.args.get(place).or_else(|| self.kwargs.get(name)).filter(|v| !v.is_null())
    }

    /// An argument that only has a name.
    pub fn named(&self, name: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().1.insert(name);
        self.kwargs.get(name).filter(|v| !v.is_null())
    }

    fn as_tensor(&self, value: &Value) -> Option<Tensor> {
        let k = value.as_str()?.strip_prefix('$')?.parse().ok()?;
        self.tensors.get(&k).cloned()
    }

    /// The first argument.
    pub fn x(&self) -> Result<Tensor, Problem> {
        self.tensor(0, "input")
    }

    pub fn tensor(&self, place: usize, name: &'static str) -> Result<Tensor, Problem> {
        match self.optional_tensor(place, name)? {
            Some(tensor) => Ok(tensor),
            None => unsupported(format!("`{name}` is missing")),
        }
    }

    pub fn optional_tensor(&self, place: usize, name: &'static str) -> Result<Option<Tensor>, Problem> {
        self.get(place, name).map(|v| self.expect_tensor(v, name)).transpose()
    }

    pub fn named_tensor(&self, name: &'static str) -> Result<Option<Tensor>, Problem> {
        self.named(name).map(|v| self.expect_tensor(v, name)).transpose()
    }

    /// The tensor that a value inside of a list names.
    pub fn tensor_of(&self, value: &Value) -> Result<Tensor, Problem> {
        self.expect_tensor(value, "index")
    }

    /// A tensor; a number is one without axes.
    fn expect_tensor(&self, value: &Value, name: &str) -> Result<Tensor, Problem> {
        match (self.as_tensor(value), value.as_i64(), value.as_f64(), value.as_bool()) {
            (Some(tensor), ..) => Ok(tensor),
            (_, Some(i), ..) => Ok(Tensor::scalar(i)),
            (_, _, Some(x), _) => Ok(Tensor::scalar(x)),
            (.., Some(b)) => Ok(Tensor::scalar(b)),
            _ => unsupported(format!("`{name}` is no tensor: {value}")),
        }
    }

    /// Whether the argument is a tensor.
    pub fn is_tensor(&self, place: usize, name: &'static str) -> bool {
        self.get(place, name).is_some_and(|v| self.as_tensor(v).is_some())
    }

    pub fn tensors(&self, place: usize, name: &'static str) -> Result<Vec<Tensor>, Problem> {
        match self.get(place, name).and_then(Value::as_array) {
            Some(list) => list.iter().map(|v| self.expect_tensor(v, name)).collect(),
            None => unsupported(format!("`{name}` is no list of tensors")),
        }
    }

    pub fn float(&self, place: usize, name: &'static str, default: f64) -> Result<f64, Problem> {
        as_float(self.get(place, name), name, default)
    }

    pub fn named_float(&self, name: &'static str, default: f64) -> Result<f64, Problem> {
        as_float(self.named(name), name, default)
    }

    pub fn int(&self, place: usize, name: &'static str, default: i64) -> Result<i64, Problem> {
        Ok(self.optional_int(place, name)?.unwrap_or(default))
    }

    pub fn optional_int(&self, place: usize, name: &'static str) -> Result<Option<i64>, Problem> {
        match self.get(place, name) {
            None => Ok(None),
            Some(v) => v.as_i64().map(Some).map_or_else(|| unsupported(format!("`{name}` is no integer: {v}")), Ok),
        }
    }

    /// One integer or several.
    pub fn optional_ints(&self, place: usize, name: &'static str) -> Result<Option<Vec<i64>>, Problem> {
        match self.get(place, name) {
            None => Ok(None),
            Some(v) => ints(v).map(Some).map_or_else(|| unsupported(format!("`{name}` is no list of integers: {v}")), Ok),
        }
    }

    pub fn ints(&self, place: usize, name: &'static str) -> Result<Vec<i64>, Problem> {
        self.optional_ints(place, name)?.map_or_else(|| unsupported(format!("`{name}` is missing")), Ok)
    }

    /// Integers that may be given as one list or one after the other from `place` on.
    pub fn ints_or_rest(&self, place: usize, name: &'static str) -> Result<Vec<i64>, Problem> {
        if self.args.len() <= place + 1 {
            return self.ints(place, name);
        }
        (place..self.args.len()).map(|p| self.int(p, name, 0)).collect()
    }

    /// `N` numbers; one number stands for all.
    pub fn extents<const N: usize>(&self, place: usize, name: &'static str, default: usize) -> Result<[usize; N], Problem> {
        let given = self.optional_ints(place, name)?.unwrap_or_else(|| vec![default as i64]);
        let given: Option<Vec<usize>> = given.iter().map(|&n| usize::try_from(n).ok()).collect();
        match given.as_deref() {
            Some([all]) => Ok([*all; N]),
            Some(each) if each.len() == N => Ok(std::array::from_fn(|i| each[i])),
            _ => unsupported(format!("`{name}` has not {N} extents")),
        }
    }

    pub fn flag(&self, place: usize, name: &'static str, default: bool) -> Result<bool, Problem> {
        as_flag(self.get(place, name), name, default)
    }

    pub fn named_flag(&self, name: &'static str, default: bool) -> Result<bool, Problem> {
        as_flag(self.named(name), name, default)
    }

    pub fn text(&self, place: usize, name: &'static str, default: &'static str) -> Result<&'a str, Problem> {
        match self.get(place, name) {
            None => Ok(default),
            Some(v) => v.as_str().map_or_else(|| unsupported(format!("`{name}` is no text: {v}")), Ok),
        }
    }

    /// An argument `dtype`.
    pub fn dtype(&self, place: usize) -> Result<Option<igneous::DType>, Problem> {
        use igneous::DType::*;
        let name = self.text(place, "dtype", "")?;
        Ok(Some(match name.trim_start_matches("torch.") {
            "" => return Ok(None),
            "float32" | "float" => F32,
            "float64" | "double" => F64,
            "float16" | "half" => F16,
            "bfloat16" => BF16,
            "int64" | "long" => I64,
            "int32" | "int" => I32,
            "uint8" => U8,
            "int8" => I8,
            "bool" => Bool,
            other => return unsupported(format!("the element type {other} does not exist")),
        }))
    }
}

/// One integer or several.
pub fn ints(value: &Value) -> Option<Vec<i64>> {
    match value.as_array() {
        Some(list) => list.iter().map(Value::as_i64).collect(),
        None => value.as_i64().map(|i| vec![i]),
    }
}

fn as_float(value: Option<&Value>, name: &str, default: f64) -> Result<f64, Problem> {
    match value {
        None => Ok(default),
        Some(Value::String(s)) if s == "nan" => Ok(f64::NAN),
        Some(Value::String(s)) if s.ends_with("inf") => Ok(if s.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        Some(Value::Bool(b)) => Ok(f64::from(u8::from(*b))),
        Some(v) => v.as_f64().map_or_else(|| unsupported(format!("`{name}` is no number: {v}")), Ok),
    }
}

fn as_flag(value: Option<&Value>, name: &str, default: bool) -> Result<bool, Problem> {
    match value {
        None => Ok(default),
        Some(v) => v.as_bool().map_or_else(|| unsupported(format!("`{name}` is neither true nor false: {v}")), Ok),
    }
}
