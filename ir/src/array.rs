//! Arrays of the reference interpreter: simple, row-major, floats held as f64.

use crate::error::{Error, Result};
use crate::types::{DType, Literal, TensorType};
use std::fmt;

/// A constant tensor. Floats are held as `f64` (rounded to `dtype` except in the f64 oracle's run),
/// integers and bools as `i64`.
#[derive(Clone)]
pub struct Array {
    dtype: DType,
    shape: Vec<usize>,
    data: Data,
}

/// The elements of an [`Array`], row-major.
#[derive(Clone, Debug)]
pub enum Data {
    /// Elements of a floating-point type.
    Float(Vec<f64>),
    /// Elements of an integer type or bool (0 or 1).
    Int(Vec<i64>),
}

impl Array {
    /// An array of floats; `data` is row-major and used as it is.
    pub fn floats(dtype: DType, shape: impl Into<Vec<usize>>, data: Vec<f64>) -> Array {
        let shape = shape.into();
        assert!(dtype.is_float() && shape.iter().product::<usize>() == data.len(), "{dtype}{shape:?} from {} floats", data.len());
        Array { dtype, shape, data: Data::Float(data) }
    }

    /// An array of integers or bools, wrapped to `dtype`.
    pub fn ints(dtype: DType, shape: impl Into<Vec<usize>>, data: Vec<i64>) -> Array {
        let shape = shape.into();
        assert!(
            !dtype.is_float() && shape.iter().product::<usize>() == data.len(),
            "{dtype}{shape:?} from {} integers",
            data.len()
        );
        Array { dtype, shape, data: Data::Int(data.into_iter().map(|x| dtype.wrap(x)).collect()) }
    }

    /// An array without axes.
    pub fn scalar(value: Literal) -> Array {
        Array::full(value, [])
    }

    /// An array filled with one value.
    pub fn full(value: Literal, shape: impl Into<Vec<usize>>) -> Array {
        let shape = shape.into();
        let n = shape.iter().product();
        let dtype = value.dtype();
        let data = if dtype.is_float() { Data::Float(vec![value.as_f64(); n]) } else { Data::Int(vec![value.as_i64(); n]) };
        Array { dtype, shape, data }
    }

    /// From little-endian bytes of `dtype`, row-major.
    ///
    /// # Errors
    /// If the number of bytes is not that of the shape.
    pub fn from_bytes(dtype: DType, shape: impl Into<Vec<usize>>, bytes: &[u8]) -> Result<Array> {
        let shape = shape.into();
        let n: usize = shape.iter().product();
        if bytes.len() != n * dtype.size() {
            return Err(Error::new(format!("{} bytes given for {dtype}{shape:?}, which has {}", bytes.len(), n * dtype.size())));
        }
        let chunks = bytes.chunks_exact(dtype.size());
        let word = |c: &[u8]| {
            let mut b = [0u8; 8];
            b[..c.len()].copy_from_slice(c);
            u64::from_le_bytes(b)
        };
        let data = match dtype {
            DType::F64 => Data::Float(chunks.map(|c| f64::from_bits(word(c))).collect()),
            DType::F32 => Data::Float(chunks.map(|c| f32::from_bits(word(c) as u32).into()).collect()),
            DType::F16 => Data::Float(chunks.map(|c| half::f16::from_bits(word(c) as u16).to_f64()).collect()),
            DType::BF16 => Data::Float(chunks.map(|c| half::bf16::from_bits(word(c) as u16).to_f64()).collect()),
            _ => Data::Int(chunks.map(|c| dtype.wrap(word(c) as i64)).collect()),
        };
        Ok(Array { dtype, shape, data })
    }

    /// Little-endian bytes of `dtype`, row-major; floats are rounded to it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len() * self.dtype.size());
        match &self.data {
            Data::Float(v) => {
                for &x in v {
                    match self.dtype {
                        DType::F64 => bytes.extend(x.to_le_bytes()),
                        DType::F32 => bytes.extend((x as f32).to_le_bytes()),
                        DType::F16 => bytes.extend(half::f16::from_f64(x).to_le_bytes()),
                        _ => bytes.extend(half::bf16::from_f64(x).to_le_bytes()),
                    }
                }
            }
            Data::Int(v) => v.iter().for_each(|x| bytes.extend(&x.to_le_bytes()[..self.dtype.size()])),
        }
        bytes
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The extents.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Float(v) => v.len(),
            Data::Int(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor type.
    pub fn ty(&self) -> TensorType {
        TensorType::new(self.dtype, self.shape.iter().copied())
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Element `i` (row-major) as f64.
    pub fn f(&self, i: usize) -> f64 {
        match &self.data {
            Data::Float(v) => v[i],
            Data::Int(v) => v[i] as f64,
        }
    }

    /// Element `i` (row-major) as i64; a float is truncated.
    pub fn i(&self, i: usize) -> i64 {
        match &self.data {
            Data::Float(v) => v[i] as i64,
            Data::Int(v) => v[i],
        }
    }

    /// Element `i` (row-major) with its type.
    pub fn literal(&self, i: usize) -> Literal {
        match &self.data {
            Data::Float(v) => Literal::float(self.dtype, v[i]),
            Data::Int(v) => Literal::int(self.dtype, v[i]),
        }
    }

    /// All elements as f64.
    pub fn to_f64(&self) -> Vec<f64> {
        (0..self.len()).map(|i| self.f(i)).collect()
    }

    /// The same elements with another shape of the same size.
    pub fn reshaped(mut self, shape: impl Into<Vec<usize>>) -> Array {
        self.shape = shape.into();
        assert_eq!(self.shape.iter().product::<usize>(), self.len(), "reshape keeps the number of elements");
        self
    }

    /// Floats rounded to the element type: what the interpreter does after each node in native mode.
    pub fn rounded(mut self) -> Array {
        if let Data::Float(v) = &mut self.data
            && self.dtype != DType::F64
        {
            v.iter_mut().for_each(|x| *x = self.dtype.round(*x));
        }
        self
    }

    /// An array of type `ty` (its dimensions constant) whose element at row-major position `i` is `f(i)`.
    pub fn from_fn_f64(dtype: DType, shape: impl Into<Vec<usize>>, f: impl FnMut(usize) -> f64) -> Array {
        let shape = shape.into();
        let n: usize = shape.iter().product();
        Array::floats(dtype, shape, (0..n).map(f).collect())
    }

    /// An array of integers whose element at row-major position `i` is `f(i)`.
    pub fn from_fn_i64(dtype: DType, shape: impl Into<Vec<usize>>, f: impl FnMut(usize) -> i64) -> Array {
        let shape = shape.into();
        let n: usize = shape.iter().product();
        Array::ints(dtype, shape, (0..n).map(f).collect())
    }

    /// An array of `dtype` and `shape` whose element `i` is element `source(i)` of `self`.
    pub fn gathered(&self, shape: impl Into<Vec<usize>>, source: impl Fn(usize) -> usize) -> Array {
        match &self.data {
            Data::Float(v) => Array::from_fn_f64(self.dtype, shape, |i| v[source(i)]),
            Data::Int(v) => Array::from_fn_i64(self.dtype, shape, |i| v[source(i)]),
        }
    }

    /// The elements of all `parts` as one row. There is at least one part, and all have one element type.
    pub fn joined(parts: &[&Array]) -> Array {
        let dtype = parts[0].dtype;
        assert!(parts.iter().all(|p| p.dtype == dtype), "one array has one element type");
        if dtype.is_float() {
            let data: Vec<f64> = parts.iter().flat_map(|p| p.to_f64()).collect();
            Array::floats(dtype, [data.len()], data)
        } else {
            let data: Vec<i64> = parts.iter().flat_map(|p| (0..p.len()).map(|i| p.i(i))).collect();
            Array::ints(dtype, [data.len()], data)
        }
    }

    fn bits(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.len()).map(|i| match &self.data {
            Data::Float(v) => v[i].to_bits(),
            Data::Int(v) => v[i] as u64,
        })
    }
}

/// Row-major position to index, one number for each axis.
pub fn unravel(mut position: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (i, &n) in index.iter_mut().zip(shape).rev() {
        *i = position % n.max(1);
        position /= n.max(1);
    }
    index
}

/// Index to row-major position.
pub fn ravel(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |p, (&i, &n)| p * n + i)
}

/// Equality of type, shape and bits (so a NaN equals itself, and −0 is not 0).
impl PartialEq for Array {
    fn eq(&self, other: &Array) -> bool {
        self.dtype == other.dtype && self.shape == other.shape && self.bits().eq(other.bits())
    }
}

impl Eq for Array {}

impl std::hash::Hash for Array {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.dtype.hash(state);
        self.shape.hash(state);
        self.bits().for_each(|b| b.hash(state));
    }
}

impl PartialOrd for Array {
    fn partial_cmp(&self, other: &Array) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Array {
    fn cmp(&self, other: &Array) -> std::cmp::Ordering {
        (self.dtype, &self.shape).cmp(&(other.dtype, &other.shape)).then_with(|| self.bits().cmp(other.bits()))
    }
}

/// Type, then the elements: `f32[2] [1.0, 2.0]`; at most eight elements, the rest as `…`.
impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [", self.ty())?;
        for i in 0..self.len().min(8) {
            write!(f, "{}{}", if i > 0 { ", " } else { "" }, self.literal(i))?;
        }
        f.write_str(if self.len() > 8 { ", …]" } else { "]" })
    }
}
