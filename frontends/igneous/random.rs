//! Random numbers: Philox keyed by a seed and a counter that is a variable, so that compiled programs read and advance it
//! as eager code does, and both draw the same numbers.

use crate::apply::apply;
use crate::location::here;
use crate::tensor::{Eager, IntoShape, Repr, Tensor, or_invalid, valid_shape};
use crate::trace;
use crate::variable::{Variable, VariableKind};
use igneous_ir::{Array, DType, Dim, Error, Op, Result, Shape, TensorType, ops};
use igneous_runtime::Buffer;
use std::sync::{Arc, LazyLock};

/// `[seed, counter]` of the device.
static STATE: LazyLock<Result<Tensor>> = LazyLock::new(|| {
    let value = Eager::new(TensorType::new(DType::I64, [2usize]), Buffer::from_slice(&[0i64, 0])?, None);
    let state = Tensor(Repr::Variable(Arc::new(Variable::new(VariableKind::State, &value, None))));
    state.set_name("random");
    Ok(state)
});

/// The variable that holds the seed and the counter, `i64[2]`: part of what a checkpoint saves.
///
/// # Errors
/// If memory is short.
pub fn random_state() -> Result<Tensor> {
    STATE.clone()
}

/// Sets the seed and starts the counter again (PyTorch's `torch.manual_seed`).
pub fn manual_seed(seed: u64) {
    if let Ok(state) = random_state() {
        // It can fail only if memory is short; the next random operation says so.
        let _ = state.assign(&Tensor::from_slice(&[seed as i64, 0], 2));
    }
}

/// The state for one operation; the counter moves on.
#[track_caller]
pub(crate) fn advance() -> Result<Tensor> {
    let state = random_state()?;
    let now = state.detach();
    if trace::is_tracing() {
        let [step] = apply(ops::constant(Array::ints(DType::I64, [2], vec![0, 1])), &[]);
        state.assign(&(&now + &step))?;
        return Ok(now);
    }
    let value = now.eager_value("its elements")?;
    let words = value.buffer.as_slice::<i64>()?;
    let next = Buffer::from_slice(&[words[0], words[1].wrapping_add(1)])?;
    state.assign(&Eager::new(value.ty.clone(), next, None).into())?;
    // Numbers are drawn on the host, and go along from there.
    Ok(Eager { remote: None, anywhere: true, ..Eager::clone(&value) }.into())
}

#[track_caller]
fn bits(shape: Shape) -> Result<Tensor> {
    let loc = here();
    valid_shape(&shape).map_err(|e| e.at(loc))?;
    let [bits] = apply(ops::random_bits(shape), &[&advance()?]);
    Ok(bits)
}

/// Random floats of a shape, which `op` draws from `N` states.
#[track_caller]
fn floats<const N: usize>(op: fn(Shape) -> Op, shape: Shape) -> Result<Tensor> {
    let loc = here();
    valid_shape(&shape).map_err(|e| e.at(loc))?;
    let states = (0..N).map(|_| advance()).collect::<Result<Vec<_>>>()?;
    let [drawn] = apply(op(shape), &states.iter().collect::<Vec<_>>());
    Ok(drawn)
}

impl Tensor {
    /// Uniform random numbers in [0, 1), `f32`: multiples of 2⁻²⁴.
    #[track_caller]
    pub fn rand(shape: impl IntoShape) -> Tensor {
        or_invalid(floats::<1>(ops::random_uniform, shape.into_shape()))
    }

    /// Normal random numbers with mean 0 and variance 1, `f32`. Box & Muller 1958.
    #[track_caller]
    pub fn randn(shape: impl IntoShape) -> Tensor {
        or_invalid(floats::<2>(ops::random_normal, shape.into_shape()))
    }

    /// Random integers in `low..high`, `i64`.
    #[track_caller]
    pub fn randint(low: i64, high: i64, shape: impl IntoShape) -> Tensor {
        let range = high.saturating_sub(low);
        if !(1..=1 << 31).contains(&range) {
            let error = Error::new(format!("randint needs a range of 1 to 2^31 integers, not {low}..{high}"));
            return error.at(here()).into();
        }
        match bits(shape.into_shape()) {
            Ok(bits) => ((bits.to_dtype(DType::I64) * range) >> Tensor::scalar(32i64)) + low,
            Err(error) => error.into(),
        }
    }

    /// Uniform random numbers in [0, 1) with this tensor's shape and element type.
    #[track_caller]
    pub fn rand_like(&self) -> Tensor {
        match self.ty() {
            Ok(ty) => Tensor::rand(ty.shape).to_dtype(ty.dtype),
            Err(error) => error.into(),
        }
    }

    /// Normal random numbers with this tensor's shape and element type.
    #[track_caller]
    pub fn randn_like(&self) -> Tensor {
        match self.ty() {
            Ok(ty) => Tensor::randn(ty.shape).to_dtype(ty.dtype),
            Err(error) => error.into(),
        }
    }

    /// True with the probability that each element gives.
    #[track_caller]
    pub fn bernoulli(&self) -> Tensor {
        match self.ty() {
            Ok(ty) => Tensor::rand(ty.shape).lt(self),
            Err(error) => error.into(),
        }
    }

    /// The integers below `n` in random order, `i64`.
    #[track_caller]
    pub fn randperm(n: impl Into<Dim>) -> Tensor {
        let n = n.into();
        // Equal keys keep their order, which one more permutation makes random.
        Tensor::rand(n).argsort(0).gather(0, &Tensor::rand(n).argsort(0))
    }

    /// Normal random numbers with this mean and standard deviation, `f32`.
    #[track_caller]
    pub fn normal(mean: f64, std: f64, shape: impl IntoShape) -> Tensor {
        Tensor::randn(shape) * std + mean
    }

    /// Uniform random numbers in `low..high`, `f32`.
    #[track_caller]
    pub fn uniform(low: f64, high: f64, shape: impl IntoShape) -> Tensor {
        Tensor::rand(shape) * (high - low) + low
    }

    /// `count` indices along the last axis, drawn with probabilities proportional to the elements, none twice
    /// (`torch.multinomial`): `[…, n] → […, count]`. By exponential races: Efraimidis & Spirakis 2006.
    #[track_caller]
    pub fn multinomial(&self, count: usize) -> Tensor {
        let weights = self.to_dtype(DType::F32);
        let keys = (1.0 - weights.rand_like()).log() / &weights;
        // What has no weight comes last.
        keys.masked_fill(&weights.le(0.0), f64::NEG_INFINITY).topk(count, -1).1
    }

    /// `count` indices along the last axis, drawn with probabilities proportional to the elements, each independently
    /// (`torch.multinomial(replacement=True)`): `[…, n] → […, count]`.
    #[track_caller]
    pub fn multinomial_with_replacement(&self, count: usize) -> Tensor {
        let mut shape = self.shape();
        shape.pop();
        shape.push(Dim::from(count));
        let sums = self.to_dtype(DType::F64).cumsum(-1);
        let drawn = Tensor::rand(shape).to_dtype(DType::F64) * sums.narrow(-1, self.size(-1) - 1, 1);
        let below = sums.unsqueeze(-2).le(drawn.unsqueeze(-1));
        below.to_dtype(DType::I64).sum(-1)
    }
}
