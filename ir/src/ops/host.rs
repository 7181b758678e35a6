//! Functions of the host that are no operators: `host`.

use super::inputs::range;
use super::structural::scan;
use super::type_rule::TypeRule;
use crate::array::Array;
use crate::dim::Dim;
use crate::error::{Error, Result};
use crate::graph::{Graph, Region, Value};
use crate::op::*;
use crate::types::{DType, TensorType};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

/// A function of the host over whole tensors, known by its name. It must give the same results for the same operands, since
/// it may be called more or less often than it is written.
#[derive(Clone)]
pub struct HostFunction {
    /// The types of the results for operands of some types.
    pub infer: Arc<TypesOf>,
    /// Fills the results.
    pub run: Arc<Implementation>,
    /// What it does with a leading batch axis.
    pub mapped: Mapped,
}

/// A type rule.
pub type TypesOf = dyn Fn(&[TensorType]) -> Result<Vec<TensorType>> + Send + Sync;

/// An implementation: from operands to results, row-major.
pub type Implementation = dyn Fn(&[HostTensor], &mut [HostTensorMut]) -> Result<()> + Send + Sync;

/// How a function of the host is mapped over a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mapped {
    /// It is called for each element.
    #[default]
    Elements,
    /// It takes operands that all have one more leading axis, and its results have it too: it is called once.
    LeadingAxis,
}

macro_rules! elements {
    ($($kind:ident $ty:ty),*) => {
        /// The elements of an operand, row-major.
        #[derive(Clone, Copy, Debug)]
        pub enum HostData<'a> {
            $(#[doc = concat!("Elements of type `", stringify!($ty), "`.")] $kind(&'a [$ty])),*
        }

        /// The elements of a result, row-major; what they are at first means nothing.
        #[derive(Debug)]
        pub enum HostDataMut<'a> {
            $(#[doc = concat!("Elements of type `", stringify!($ty), "`.")] $kind(&'a mut [$ty])),*
        }

        /// Elements of results that are being computed by the interpreter.
        enum Owned {
            $($kind(Vec<$ty>)),*
        }

        impl Owned {
            fn view(&self) -> HostData<'_> {
                match self {
                    $(Owned::$kind(v) => HostData::$kind(v)),*
                }
            }

            fn view_mut(&mut self) -> HostDataMut<'_> {
                match self {
                    $(Owned::$kind(v) => HostDataMut::$kind(v)),*
                }
            }
        }

        $(impl HostElement for $ty {
            const DTYPE: DType = DType::$kind;

            fn slice<'a>(data: &HostData<'a>) -> Option<&'a [$ty]> {
                match data {
                    HostData::$kind(slice) => Some(slice),
                    _ => None,
                }
            }

            fn slice_mut<'a>(data: &'a mut HostDataMut<'_>) -> Option<&'a mut [$ty]> {
                match data {
                    HostDataMut::$kind(slice) => Some(slice),
                    _ => None,
                }
            }
        })*
    };
}

/// A Rust type that elements can be looked at as.
pub trait HostElement: Copy + 'static {
    /// The element type.
    const DTYPE: DType;

    /// The elements, if they are of this type.
    fn slice<'a>(data: &HostData<'a>) -> Option<&'a [Self]>;

    /// The elements, if they are of this type.
    fn slice_mut<'a>(data: &'a mut HostDataMut<'_>) -> Option<&'a mut [Self]>;
}

elements!(F64 f64, F32 f32, F16 half::f16, BF16 half::bf16, I64 i64, I32 i32, U32 u32, U8 u8, I8 i8, Bool bool);

/// An operand of a function of the host.
#[derive(Debug)]
pub struct HostTensor<'a> {
    /// The extents.
    pub shape: &'a [usize],
    /// The elements.
    pub data: HostData<'a>,
}

impl<'a> HostTensor<'a> {
    /// The elements.
    ///
    /// # Errors
    /// If they are of another type.
    pub fn slice<T: HostElement>(&self) -> Result<&'a [T]> {
        T::slice(&self.data).ok_or_else(|| Error::new(format!("an operand does not hold elements of type {}", T::DTYPE)))
    }
}

/// A result of a function of the host.
#[derive(Debug)]
pub struct HostTensorMut<'a> {
    /// The extents.
    pub shape: &'a [usize],
    /// The elements.
    pub data: HostDataMut<'a>,
}

impl HostTensorMut<'_> {
    /// The elements, to be filled.
    ///
    /// # Errors
    /// If they are of another type.
    pub fn slice<T: HostElement>(&mut self) -> Result<&mut [T]> {
        T::slice_mut(&mut self.data).ok_or_else(|| Error::new(format!("a result does not hold elements of type {}", T::DTYPE)))
    }
}

static FUNCTIONS: RwLock<BTreeMap<Arc<str>, HostFunction>> = RwLock::new(BTreeMap::new());

impl HostFunction {
    /// Makes the function known by a name, for the rest of the process.
    ///
    /// # Errors
    /// If another function has that name.
    pub fn register(self, name: &str) -> Result<()> {
        let mut functions = FUNCTIONS.write().unwrap_or_else(PoisonError::into_inner);
        if functions.contains_key(name) {
            return Err(Error::new(format!("there is a host function called `{name}` already")));
        }
        functions.insert(name.into(), self);
        Ok(())
    }

    /// The function of this name.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(name: &str) -> Result<HostFunction> {
        let functions = FUNCTIONS.read().unwrap_or_else(PoisonError::into_inner);
        functions.get(name).cloned().ok_or_else(|| Error::new(format!("no host function is called `{name}`")))
    }
}

/// Calls the function that an instance of [`host`] names. Its errors, and a panic in it, are those of the operator.
///
/// # Errors
/// See above.
pub fn call_host(op: &Op, operands: &[HostTensor], results: &mut [HostTensorMut]) -> Result<()> {
    let name = op.text("name");
    let function = HostFunction::find(name)?;
    let run = AssertUnwindSafe(|| (function.run)(operands, results));
    let outcome = catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
        Err(Error::new(format!("it panicked: {}", text.unwrap_or_else(|| "no message".to_owned()))))
    });
    outcome.map_err(|e| e.context(format_args!("host function `{name}`")))
}

/// The results of the function of the host called `name`; see [`HostFunction`].
pub fn host(name: &str) -> Op {
    Op::new(&HOST, [Attr::Text(name.into())])
}

/// See [`host()`].
pub static HOST: Record = Record {
    name: "host",
    attrs: &[("name", AttrKind::Text)],
    infer: |op, operands| {
        let name = op.text("name");
        let rule = TypeRule::new(op, operands);
        let function = HostFunction::find(name).map_err(|e| rule.error(format_args!("cannot be called: {}", e.message())))?;
        let types = (function.infer)(operands).map_err(|e| e.context(format_args!("host function `{name}`")))?;
        rule.ensure(!types.is_empty(), || format!("`{name}` has no results"))?;
        Ok(types.into())
    },
    reference: |r| {
        let inputs: Vec<Owned> = r.inputs.iter().map(|x| owned(x)).collect();
        let operands: Vec<HostTensor> =
            r.inputs.iter().zip(&inputs).map(|(x, data)| HostTensor { shape: x.shape(), data: data.view() }).collect();
        let shapes: Vec<Vec<usize>> = r.results.iter().map(|ty| Ok(ty.sizes()?.to_vec())).collect::<Result<_>>()?;
        let zeros = |(ty, shape): (&TensorType, &Vec<usize>)| {
            if ty.dtype.is_float() {
                owned(&Array::from_fn_f64(ty.dtype, shape.clone(), |_| 0.0))
            } else {
                owned(&Array::from_fn_i64(ty.dtype, shape.clone(), |_| 0))
            }
        };
        let mut made: Vec<Owned> = r.results.iter().zip(&shapes).map(zeros).collect();
        let mut results: Vec<HostTensorMut> =
            made.iter_mut().zip(&shapes).map(|(data, shape)| HostTensorMut { shape, data: data.view_mut() }).collect();
        call_host(r.op, &operands, &mut results)?;
        drop(results);
        Ok(made.iter().zip(shapes).map(|(data, shape)| array(data, shape)).collect())
    },
    lowering: Lowering::Library,
    vjp: Vjp::Rule(|a| {
        a.emitter.fail(no_derivative(a.op));
        vec![None; a.operands.len()]
    }),
    jvp: Jvp::Rule(|a| {
        a.emitter.fail(no_derivative(a.op));
        vec![None; a.results.len()]
    }),
    batch: Batch::Rule(batched),
    flops: |_, _, _| Dim::ZERO,
    samples: |s| {
        sample_function();
        s.add(host("igneous.reversed"), [range(DType::I64, [5], -9, 9)]);
        s.add(host("igneous.reversed"), [range(DType::I32, [2, 3], -9, 9)]);
    },
    error_samples: |s| {
        sample_function();
        s.add(host("igneous.reversed"), []);
        s.add(host("igneous.unknown"), [range(DType::I64, [5], 0, 9)]);
    },
};

fn no_derivative(op: &Op) -> Error {
    Error::new(format!("host function `{}` has no derivative", op.text("name")))
        .note("remedy", "give it one by custom_vjp, or detach its operands")
}

fn batched<'b, 'e>(b: &BatchArgs<'b, 'e>) -> Vec<crate::emit::X<'b, 'e>> {
    let (all, leading): (Vec<usize>, bool) = match HostFunction::find(b.op.text("name")) {
        Ok(function) => ((0..b.operands.len()).collect(), function.mapped == Mapped::LeadingAxis),
        Err(error) => {
            b.emitter.fail(error);
            return vec![b.operands[0]];
        }
    };
    if leading {
        let operands: Vec<_> = all.iter().map(|&k| b.batched(k)).collect();
        return b.emitter.apply(b.op.clone(), &operands).into_vec();
    }
    let (mapped, constant): (Vec<usize>, Vec<usize>) = all.into_iter().partition(|&k| b.batched[k]);
    let mut body = Graph::new(b.op.text("name"));
    let mut values: Vec<Option<Value>> = vec![None; b.operands.len()];
    for &k in constant.iter().chain(&mapped) {
        let mut ty = b.operands[k].ty();
        if b.batched[k] {
            ty.shape.remove(0);
        }
        values[k] = Some(body.input(format!("x{k}"), ty));
    }
    let values: Vec<Value> = values.into_iter().map(|v| v.expect("each operand is mapped or constant")).collect();
    match body.add(b.op.clone(), &values) {
        Ok(results) => results.into_iter().enumerate().for_each(|(k, v)| body.output(format!("y{k}"), v)),
        Err(error) => b.emitter.fail(error),
    }
    let operands: Vec<_> = constant.iter().chain(&mapped).map(|&k| b.operands[k]).collect();
    b.emitter.apply(scan(Region::new(body), constant.len(), 0, false, b.extent), &operands).into_vec()
}

/// The elements reversed, of whatever type.
fn sample_function() {
    let function = HostFunction {
        infer: Arc::new(|types| match types {
            [ty] => Ok(vec![ty.clone()]),
            _ => Err(Error::new(format!("reversed takes one operand, not {}", types.len()))),
        }),
        run: Arc::new(|operands, results| {
            fn reverse<T: HostElement>(from: &[T], to: &mut [T]) {
                to.iter_mut().zip(from.iter().rev()).for_each(|(to, from)| *to = *from);
            }
            match operands[0].data {
                HostData::I64(x) => reverse(x, results[0].slice()?),
                HostData::I32(x) => reverse(x, results[0].slice()?),
                _ => return Err(Error::new("reversed takes integers")),
            }
            Ok(())
        }),
        mapped: Mapped::Elements,
    };
    // Whoever comes second finds it there.
    let _ = function.register("igneous.reversed");
}

fn owned(x: &Array) -> Owned {
    let n = 0..x.len();
    match x.dtype() {
        DType::F64 => Owned::F64(n.map(|i| x.f(i)).collect()),
        DType::F32 => Owned::F32(n.map(|i| x.f(i) as f32).collect()),
        DType::F16 => Owned::F16(n.map(|i| half::f16::from_f64(x.f(i))).collect()),
        DType::BF16 => Owned::BF16(n.map(|i| half::bf16::from_f64(x.f(i))).collect()),
        DType::I64 => Owned::I64(n.map(|i| x.i(i)).collect()),
        DType::I32 => Owned::I32(n.map(|i| x.i(i) as i32).collect()),
        DType::U32 => Owned::U32(n.map(|i| x.i(i) as u32).collect()),
        DType::U8 => Owned::U8(n.map(|i| x.i(i) as u8).collect()),
        DType::I8 => Owned::I8(n.map(|i| x.i(i) as i8).collect()),
        DType::Bool => Owned::Bool(n.map(|i| x.i(i) != 0).collect()),
    }
}

fn array(data: &Owned, shape: Vec<usize>) -> Array {
    match data {
        Owned::F64(v) => Array::floats(DType::F64, shape, v.clone()),
        Owned::F32(v) => Array::floats(DType::F32, shape, v.iter().map(|&x| x.into()).collect()),
        Owned::F16(v) => Array::floats(DType::F16, shape, v.iter().map(|&x| x.into()).collect()),
        Owned::BF16(v) => Array::floats(DType::BF16, shape, v.iter().map(|&x| x.into()).collect()),
        Owned::I64(v) => Array::ints(DType::I64, shape, v.clone()),
        Owned::I32(v) => Array::ints(DType::I32, shape, v.iter().map(|&x| x.into()).collect()),
        Owned::U32(v) => Array::ints(DType::U32, shape, v.iter().map(|&x| x.into()).collect()),
        Owned::U8(v) => Array::ints(DType::U8, shape, v.iter().map(|&x| x.into()).collect()),
        Owned::I8(v) => Array::ints(DType::I8, shape, v.iter().map(|&x| x.into()).collect()),
        Owned::Bool(v) => Array::ints(DType::Bool, shape, v.iter().map(|&x| x.into()).collect()),
    }
}
