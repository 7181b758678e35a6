//! Telling a model where in a sequence it is.

use super::Forward;
use super::dropout::Dropout;
use super::init;
use super::visit::{Module, Visitor};
use crate::location::{entered, here};
use crate::tensor::{Tensor, or_invalid};
use igneous_ir::{DType, Dim, Error, Result};

/// The first `length` rows of a table of positions, for sequences `[L, N, E]` or `[N, L, E]`.
#[track_caller]
fn positions(table: &Tensor, x: &Tensor, batch_first: bool) -> Result<Tensor> {
    let shape = x.ty()?.shape;
    let [longest, features] = table.ty()?.shape[..] else { return Err(Error::new("a table of positions has two axes")) };
    let error = |message: String| Err(Error::new(message).note("tensor", x.describe()).note("positions", table.describe()));
    if shape.len() != 3 || shape[2] != features {
        return error(format!("positions need sequences [L, N, E], or [N, L, E] with batch_first, of {features} features"));
    }
    let length = shape[usize::from(batch_first)];
    if let (Some(length), Some(longest)) = (length.as_const(), longest.as_const())
        && length > longest
    {
        return error(format!("there are positions for at most {longest} elements, not {length}"));
    }
    Ok(table.narrow(0, 0, length).to_dtype(x.dtype()).unsqueeze(if batch_first { 0 } else { 1 }))
}

/// Options of [`PositionalEncoding`], with the defaults of PyTorch's tutorials.
#[derive(Clone, Copy, Debug)]
pub struct PositionalEncodingOptions {
    /// The probability of dropping an element of the sum; 0.1.
    pub dropout: f64,
    /// The length of the longest sequence; 5000.
    pub max_len: usize,
    /// Whether inputs are `[N, L, E]`; by default they are `[L, N, E]`.
    pub batch_first: bool,
}

impl Default for PositionalEncodingOptions {
    fn default() -> PositionalEncodingOptions {
        PositionalEncodingOptions { dropout: 0.1, max_len: 5000, batch_first: false }
    }
}

/// Adds waves of different lengths, `sin(l / 10000^(2i/E))` on even features and the cosine on odd ones, and drops out. Vaswani
/// et al. 2017, arXiv:1706.03762.
///
/// ```
/// use igneous::nn::{Forward, ModuleExt, PositionalEncoding};
/// let positions = PositionalEncoding::new(4);
/// positions.eval();
/// let y = positions.forward(&igneous::Tensor::zeros((2, 1, 4)));
/// let expected = [0.0, 1.0, 0.0, 1.0, 1f64.sin(), 1f64.cos(), 0.01f64.sin(), 0.01f64.cos()];
/// igneous::testing::assert_values(&y, &expected, 1e-6);
/// ```
#[derive(Clone, Debug)]
pub struct PositionalEncoding {
    /// `[max_len, 1, E]`, or `[1, max_len, E]` with `batch_first`.
    pub waves: Tensor,
    /// Dropout of the sum.
    pub dropout: Dropout,
    batch_first: bool,
}

impl PositionalEncoding {
    /// For so many features.
    #[track_caller]
    pub fn new(features: usize) -> PositionalEncoding {
        PositionalEncoding::with(features, PositionalEncodingOptions::default())
    }

    /// With options.
    #[track_caller]
    pub fn with(features: usize, options: PositionalEncodingOptions) -> PositionalEncoding {
        let PositionalEncodingOptions { dropout, max_len, batch_first } = options;
        let angles = angles(max_len, features.div_ceil(2), features, 10000.0);
        let both = Tensor::stack(&[angles.sin(), angles.cos()], -1).reshape((max_len, features.div_ceil(2) * 2));
        let waves = both.narrow(1, 0, features).to_dtype(DType::F32).unsqueeze(if batch_first { 0 } else { 1 });
        let waves = Tensor::buffer(waves);
        PositionalEncoding { waves, dropout: Dropout::new(dropout), batch_first }
    }
}

/// `l · base^(−2i/features)`, `f64[length, pairs]`.
#[track_caller]
fn angles(length: impl Into<Dim>, pairs: usize, features: usize, base: f64) -> Tensor {
    let frequencies: Vec<f64> = (0..pairs).map(|i| base.powf(-2.0 * i as f64 / features as f64)).collect();
    let places = Tensor::arange(0, length.into()).to_dtype(DType::F64);
    places.unsqueeze(1) * Tensor::from_slice(&frequencies, pairs)
}

impl Module for PositionalEncoding {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("pe", &self.waves);
        visitor.child("dropout", &self.dropout);
    }
}

impl Forward for PositionalEncoding {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let user = entered();
        let waves = positions(&self.waves.flatten(0, 1), x, self.batch_first).map_err(|e| e.at(user.loc()));
        or_invalid(waves.map(|waves| self.dropout.forward(&(x + waves))))
    }
}

/// Adds a vector that is learned for each position, as GPT-2 and BERT do.
#[derive(Clone, Debug)]
pub struct LearnedPositions {
    /// `[longest, E]`, normal numbers with deviation 0.02 at first.
    pub weight: Tensor,
    batch_first: bool,
}

impl LearnedPositions {
    /// For sequences `[L, N, E]` of at most so many elements with so many features.
    #[track_caller]
    pub fn new(longest: usize, features: usize) -> LearnedPositions {
        LearnedPositions { weight: Tensor::parameter(init::normal((longest, features), 0.0, 0.02)), batch_first: false }
    }

    /// The same for sequences `[N, L, E]`.
    #[must_use]
    pub fn batch_first(self) -> LearnedPositions {
        LearnedPositions { batch_first: true, ..self }
    }
}

impl Module for LearnedPositions {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("weight", &self.weight);
    }
}

impl Forward for LearnedPositions {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let user = entered();
        or_invalid(positions(&self.weight, x, self.batch_first).map(|p| x + p).map_err(|e| e.at(user.loc())))
    }
}

/// Which features turn together in a [`RotaryEmbedding`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RotaryPairs {
    /// Neighbours: 0 and 1, 2 and 3, …, as in the paper.
    #[default]
    Neighbours,
    /// The first and the second half: 0 and D/2, 1 and D/2 + 1, …, as in GPT-NeoX and in the weights that Hugging Face has of
    /// Llama.
    Halves,
}

/// Turns pairs of features of queries and keys `[…, L, D]` by an angle that grows with the position, so that their products
/// depend on distances only (RoPE). Su et al. 2021, arXiv:2104.09864.
///
/// ```
/// use igneous::{Tensor, nn::{Forward, RotaryEmbedding}};
/// let rope = RotaryEmbedding::new(2);
/// let x = Tensor::new([[1.0, 0.0], [1.0, 0.0]]);
/// igneous::testing::assert_values(&rope.forward(&x), &[1.0, 0.0, 1f64.cos(), 1f64.sin()], 1e-6);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RotaryEmbedding {
    /// How many features there are, an even number.
    pub features: usize,
    /// The options.
    pub options: RotaryOptions,
}

/// Options of [`RotaryEmbedding`].
#[derive(Clone, Copy, Debug)]
pub struct RotaryOptions {
    /// The longest wave is 2π times this, nearly; 10000.
    pub base: f64,
    /// Which features turn together.
    pub pairs: RotaryPairs,
}

impl Default for RotaryOptions {
    fn default() -> RotaryOptions {
        RotaryOptions { base: 10000.0, pairs: RotaryPairs::Neighbours }
    }
}

impl RotaryEmbedding {
    /// For so many features of a head.
    pub fn new(features: usize) -> RotaryEmbedding {
        RotaryEmbedding::with(features, RotaryOptions::default())
    }

    /// With options.
    pub fn with(features: usize, options: RotaryOptions) -> RotaryEmbedding {
        RotaryEmbedding { features, options }
    }

    /// The same for a sequence whose first element has this position: the next elements after those of a cache.
    #[track_caller]
    pub fn forward_from(&self, x: &Tensor, first: impl Into<Dim>) -> Tensor {
        let loc = here();
        let first = first.into();
        let shape = match x.ty() {
            Ok(ty) => ty.shape,
            Err(error) => return error.into(),
        };
        let features = self.features;
        if shape.len() < 2 || shape[shape.len() - 1] != Dim::from(features) || !features.is_multiple_of(2) {
            let message = format!("RotaryEmbedding needs a tensor […, L, {features}] with an even number of features");
            return Error::new(message).note("tensor", x.describe()).at(loc).into();
        }
        let (length, half) = (shape[shape.len() - 2], features / 2);
        let angles = angles(first + length, half, features, self.options.base).narrow(0, first, length).to(x.device());
        let x = x.as_float();
        let (cos, sin) = (angles.cos().to_dtype(x.dtype()), angles.sin().to_dtype(x.dtype()));
        match self.options.pairs {
            RotaryPairs::Neighbours => {
                let pairs = x.unflatten(-1, (half, 2));
                let (a, b) = (pairs.select(-1, 0), pairs.select(-1, 1));
                let turned = [&a * &cos - &b * &sin, a * sin + b * cos];
                Tensor::stack(&turned, -1).flatten(-2, -1)
            }
            RotaryPairs::Halves => {
                let (a, b) = (x.narrow(-1, 0, half), x.narrow(-1, half, half));
                Tensor::cat(&[&a * &cos - &b * &sin, a * sin + b * cos], -1)
            }
        }
    }
}

impl Module for RotaryEmbedding {
    fn visit(&self, _: &mut dyn Visitor) {}
}

impl Forward for RotaryEmbedding {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.forward_from(x, 0usize)
    }
}
