//! Tables of vectors.

use super::Forward;
use super::visit::{Module, Visitor};
use crate::grad_mode::no_grad;
use crate::location::{entered, here};
use crate::tensor::{Initial, ScatterKind, Side, Tensor, or_invalid, where_};
use igneous_ir::{DType, Dim, Error, Result};

/// Options of [`Embedding`], with PyTorch's defaults.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingOptions {
    /// The index of padding, counted from the end if negative: its vector is zeros at first and has no gradient. None by default.
    pub padding_idx: Option<i64>,
    /// Before vectors are looked up, those whose norm is larger are shortened to it, in the table. None by default.
    pub max_norm: Option<f64>,
    /// The exponent of that norm; 2 by default.
    pub norm_type: f64,
    /// Whether gradients are divided by how often their index occurs in the batch. Not by default.
    pub scale_grad_by_freq: bool,
}

impl Default for EmbeddingOptions {
    fn default() -> EmbeddingOptions {
        EmbeddingOptions { padding_idx: None, max_norm: None, norm_type: 2.0, scale_grad_by_freq: false }
    }
}

impl EmbeddingOptions {
    /// The index of padding as the table counts.
    fn padding(&self, count: usize) -> Result<Option<i64>> {
        let Some(index) = self.padding_idx else { return Ok(None) };
        let place = if index < 0 { index.saturating_add(count as i64) } else { index };
        match (0..count as i64).contains(&place) {
            true => Ok(Some(place)),
            false => Err(Error::new(format!("an embedding of {count} vectors has no padding_idx {index}"))),
        }
    }

    /// A new table: normal numbers, zeros for padding.
    #[track_caller]
    fn table(&self, count: usize, features: usize) -> Result<Tensor> {
        let table = Tensor::randn((count, features));
        Ok(Tensor::parameter(match self.padding(count)? {
            Some(padding) => table.index_put(padding, 0.0),
            None => table,
        }))
    }

    /// The vectors of these indices.
    #[track_caller]
    fn looked_up(&self, table: &Tensor, indices: &Tensor) -> Result<Tensor> {
        let count = table.size(0).get()?;
        if let Some(largest) = self.max_norm {
            no_grad(|| shorten(table, indices, largest, self.norm_type))?;
        }
        let rows = indices.embedding(table);
        let held = rows.detach();
        let mut rows = rows;
        if self.scale_grad_by_freq {
            let indices = indices.to_dtype(DType::I64);
            let indices = where_(&indices.lt(0), &indices + count as i64, &indices);
            let counts = indices.flatten_all().bincount(count).i(&indices).to_dtype(rows.dtype());
            // The value stays exactly, the gradient is divided.
            rows = &held + (&rows - &held) / counts.unsqueeze(-1);
        }
        if let Some(padding) = self.padding(count)? {
            let here = indices.equal(padding) | indices.equal(padding - count as i64);
            rows = where_(&here.unsqueeze(-1), &held, &rows);
        }
        rows.check().map(|()| rows)
    }
}

/// Shortens the vectors of these indices to a norm, in the table.
#[track_caller]
fn shorten(table: &Tensor, indices: &Tensor, largest: f64, p: f64) -> Result<()> {
    let used = table.detach().zeros_like().narrow(1, 0, 1).squeeze(1).index_put(indices, 1.0).gt(0.0);
    let norms = table.detach().norm_p_keepdim(p, -1);
    let long = used.unsqueeze(-1) & norms.gt(largest);
    table.update(|table| where_(&long, &(table * (largest / (norms + 1e-7))), table))
}

/// A table of vectors that are learned (`torch.nn.Embedding`): indices `[…]` give `[…, features]`.
///
/// ```
/// use igneous::nn::{Embedding, EmbeddingOptions, Forward};
/// use igneous::{Tensor, default};
///
/// let words = Embedding::with(10, 3, EmbeddingOptions { padding_idx: Some(0), ..default() });
/// let vectors = words.forward(&Tensor::new([[1, 2, 0], [4, 0, 0]]));
/// assert_eq!(vectors.shape()[..], [2, 3, 3].map(igneous::Dim::from));
/// assert_eq!(vectors.i((1, 2)).to_vec::<f32>()?, [0.0; 3]);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Embedding {
    /// `[count, features]`, normal numbers at first.
    pub weight: Tensor,
    /// The options.
    pub options: EmbeddingOptions,
}

impl Embedding {
    /// So many vectors of so many numbers.
    #[track_caller]
    pub fn new(count: usize, features: usize) -> Embedding {
        Embedding::with(count, features, EmbeddingOptions::default())
    }

    /// With options. If there is no such padding index, the table is invalid.
    #[track_caller]
    pub fn with(count: usize, features: usize, options: EmbeddingOptions) -> Embedding {
        let loc = here();
        Embedding { weight: or_invalid(options.table(count, features).map_err(|e| e.at(loc))), options }
    }

    /// With these vectors `[count, features]`, which do not change (`Embedding.from_pretrained`).
    #[track_caller]
    pub fn from_pretrained(vectors: Tensor) -> Embedding {
        Embedding { weight: Tensor::parameter(vectors).freeze(), options: EmbeddingOptions::default() }
    }
}

impl Module for Embedding {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("weight", &self.weight);
    }
}

impl Forward for Embedding {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let user = entered();
        or_invalid(self.options.looked_up(&self.weight, x).map_err(|e| e.at(user.loc())))
    }
}

/// How the vectors of a bag become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BagMode {
    /// Their sum.
    Sum,
    /// Their mean.
    #[default]
    Mean,
    /// Their largest elements.
    Max,
}

/// Sums, means or maxima of vectors of a table (`torch.nn.EmbeddingBag`), without padding, which does not count.
#[derive(Clone, Debug)]
pub struct EmbeddingBag {
    /// `[count, features]`, normal numbers at first.
    pub weight: Tensor,
    /// How the vectors of a bag become one; their mean by default.
    pub mode: BagMode,
    /// The options of the table.
    pub options: EmbeddingOptions,
}

impl EmbeddingBag {
    /// So many vectors of so many numbers.
    #[track_caller]
    pub fn new(count: usize, features: usize, mode: BagMode) -> EmbeddingBag {
        EmbeddingBag::with(count, features, mode, EmbeddingOptions::default())
    }

    /// With options. If there is no such padding index, the table is invalid.
    #[track_caller]
    pub fn with(count: usize, features: usize, mode: BagMode, options: EmbeddingOptions) -> EmbeddingBag {
        let loc = here();
        let weight = or_invalid(options.table(count, features).map_err(|e| e.at(loc)));
        EmbeddingBag { weight, mode, options }
    }

    /// Bags of different sizes: indices `[n]`, of which bag `i` has those from `offsets[i]` up to `offsets[i + 1]`. The first
    /// offset is 0. An empty bag has zeros.
    #[track_caller]
    pub fn forward_bags(&self, indices: &Tensor, offsets: &Tensor) -> Tensor {
        let user = entered();
        let bags = self.bag_numbers(indices, offsets);
        or_invalid(bags.and_then(|bags| self.combined(indices, &bags, offsets.size(0), None)).map_err(|e| e.at(user.loc())))
    }

    /// Bags `[B, n]` whose vectors are multiplied by weights `[B, n]` before they are added (`per_sample_weights`).
    #[track_caller]
    pub fn forward_weighted(&self, indices: &Tensor, weights: &Tensor) -> Tensor {
        let user = entered();
        let made = indices.ty().and_then(|ty| {
            if self.mode != BagMode::Sum || weights.ty()?.shape != ty.shape {
                let error = Error::new("an embedding bag takes weights, of the shape of the indices, for sums only");
                return Err(error.note("indices", indices.describe()).note("weights", weights.describe()));
            }
            let bags = rows(indices)?;
            self.combined(&indices.flatten_all(), &bags, indices.size(0), Some(&weights.flatten_all()))
        });
        or_invalid(made.map_err(|e| e.at(user.loc())))
    }

    /// To which bag each index belongs.
    #[track_caller]
    fn bag_numbers(&self, indices: &Tensor, offsets: &Tensor) -> Result<Tensor> {
        let (ty, starts) = (indices.ty()?, offsets.ty()?);
        if ty.rank() != 1 || starts.rank() != 1 || !starts.dtype.is_int() || starts.shape[0] == Dim::ZERO {
            let error = Error::new("an embedding bag needs indices [n] and offsets [bags] of integers");
            return Err(error.note("indices", indices.describe()).note("offsets", offsets.describe()));
        }
        let places = Tensor::arange(0, ty.shape[0]);
        Ok(offsets.to_dtype(DType::I64).searchsorted(&places, Side::Right) - 1)
    }

    /// The vectors of each bag, combined.
    #[track_caller]
    fn combined(&self, indices: &Tensor, bags: &Tensor, count: Dim, weights: Option<&Tensor>) -> Result<Tensor> {
        let mut vectors = self.options.looked_up(&self.weight, indices)?;
        let [_, features] = vectors.dims();
        let kept = match self.options.padding(self.weight.size(0).get()?)? {
            Some(padding) => indices.ne(padding),
            None => indices.ge(i64::MIN),
        };
        let wide = bags.unsqueeze(1).expand(vectors.shape());
        let zeros = Tensor::zeros((count, features)).to_dtype(vectors.dtype());
        let counts = || {
            let ones = kept.to_dtype(vectors.dtype());
            Tensor::zeros(count).to_dtype(vectors.dtype()).scatter_add(0, bags, &ones).unsqueeze(1)
        };
        let combined = match self.mode {
            BagMode::Max => {
                let lowest = zeros.full_like(f64::NEG_INFINITY);
                let masked = vectors.where_(&kept.unsqueeze(1), f64::NEG_INFINITY);
                let largest = lowest.scatter_reduce(0, &wide, &masked, ScatterKind::Max, Initial::Kept);
                zeros.where_(&counts().equal(0.0), largest)
            }
            mode => {
                let counts = counts();
                if let Some(weights) = weights {
                    vectors *= weights.unsqueeze(1);
                }
                let vectors = vectors.where_(&kept.unsqueeze(1), 0.0);
                let sums = zeros.scatter_add(0, &wide, &vectors);
                if mode == BagMode::Mean { sums / counts.maximum(1.0) } else { sums }
            }
        };
        combined.check().map(|()| combined)
    }
}

/// The row of each element of a matrix, flat.
#[track_caller]
fn rows(indices: &Tensor) -> Result<Tensor> {
    if indices.ty()?.rank() != 2 {
        return Err(Error::new("an embedding bag needs indices [B, n]").note("indices", indices.describe()));
    }
    let [bags, _] = indices.dims();
    Ok(Tensor::arange(0, bags).unsqueeze(1).expand(indices.shape()).flatten_all())
}

impl Module for EmbeddingBag {
    fn visit(&self, visitor: &mut dyn Visitor) {
        visitor.child("weight", &self.weight);
    }
}

impl Forward for EmbeddingBag {
    /// Bags of one size: indices `[B, n]` give `[B, features]`.
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        let user = entered();
        let made = rows(x).and_then(|bags| self.combined(&x.flatten_all(), &bags, x.size(0), None));
        or_invalid(made.map_err(|e| e.at(user.loc())))
    }
}
