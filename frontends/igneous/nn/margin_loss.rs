//! Losses that ask for a distance between what belongs together and what does not.

use super::loss::Reduction;
use super::regression_loss::difference;
use crate::location::{entered, here};
use crate::tensor::{Tensor, or_invalid, where_};
use igneous_ir::{DType, Error, Result};

/// An error that shows the operands.
fn misfit(message: &str, operands: &[(&str, &Tensor)]) -> Error {
    operands.iter().fold(Error::new(message), |error, (name, tensor)| error.note(*name, tensor.describe()))
}

macro_rules! losses {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            /// Mean by default.
            pub reduction: Reduction,
            $($(#[$field_doc])* pub $field: $ty,)*
        }

        impl Default for $name {
            fn default() -> $name {
                $name { reduction: Reduction::Mean, $($field: $default,)* }
            }
        }

        impl $name {
            /// The mean.
            pub fn new() -> $name {
                $name::default()
            }
        }
    )*};
}

losses! {
    /// `x` where the target is 1, `max(0, margin − x)` where it is −1 (`torch.nn.HingeEmbeddingLoss`): for distances.
    HingeEmbeddingLoss {
        /// The distance asked for; 1 by default.
        margin: f64 = 1.0,
    }

    /// `max(0, −y · (x₁ − x₂) + margin)`: with `y = 1` the first ranks higher, with −1 the second
    /// (`torch.nn.MarginRankingLoss`).
    MarginRankingLoss {
        /// By how much; 0 by default.
        margin: f64 = 0.0,
    }

    /// `1 − cos(x₁, x₂)` where the target is 1, `max(0, cos(x₁, x₂) − margin)` where it is −1 (`torch.nn.CosineEmbeddingLoss`):
    /// vectors `[N, D]` and targets `[N]`, or one vector each.
    CosineEmbeddingLoss {
        /// The cosine allowed to what does not belong together; 0 by default.
        margin: f64 = 0.0,
    }

    /// `log(1 + e^(−y·x))` of targets 1 and −1 (`torch.nn.SoftMarginLoss`).
    SoftMarginLoss {}

    /// `Σ max(0, margin − x[y] + x[i])^p / C` over the classes `i` that are not `y` (`torch.nn.MultiMarginLoss`): scores `[N, C]` and
    /// classes `[N]`, or `[C]` and one class.
    MultiMarginLoss {
        /// The exponent, 1 or 2; 1 by default.
        p: u32 = 1,
        /// The distance asked for; 1 by default.
        margin: f64 = 1.0,
        /// How much each class counts, `[C]`; all the same by default.
        weight: Option<Tensor> = None,
    }

    /// `Σ max(0, 1 − x[y] + x[i]) / C` over the classes `y` of a sample and the classes `i` that are not among them
    /// (`torch.nn.MultiLabelMarginLoss`): scores and classes `[N, C]` or `[C]`; the classes end at the first −1.
    MultiLabelMarginLoss {}

    /// The mean over the classes of the binary cross-entropy of logits (`torch.nn.MultiLabelSoftMarginLoss`): logits and
    /// targets, 0 or 1, `[N, C]`.
    MultiLabelSoftMarginLoss {
        /// How much each class counts; all the same by default.
        weight: Option<Tensor> = None,
    }

    /// `max(0, ‖a − p‖ − ‖a − n‖ + margin)` of an anchor, a vector that belongs to it and one that does not
    /// (`torch.nn.TripletMarginLoss`). Balntas et al. 2016.
    TripletMarginLoss {
        /// By how much the second distance is larger; 1 by default.
        margin: f64 = 1.0,
        /// The exponent of the norm; 2 by default.
        p: f64 = 2.0,
        /// Added to each difference; 1e-6 by default.
        eps: f64 = 1e-6,
        /// Whether the distance of the other two counts where it is the smaller one. Not by default.
        swap: bool = false,
    }
}

impl HingeEmbeddingLoss {
    /// The loss of distances and targets of one shape.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, targets: &Tensor) -> Tensor {
        if let Err(error) = difference("hinge_embedding_loss", x, targets).check() {
            return error.into();
        }
        let far = (self.margin - x).clamp_min(0.0).masked_fill(&targets.equal(1), 0.0);
        let near = x.masked_fill(&targets.equal(-1), 0.0);
        self.reduction.apply(far + near)
    }
}

impl MarginRankingLoss {
    /// The loss; the tensors broadcast.
    #[track_caller]
    pub fn forward(&self, x1: &Tensor, x2: &Tensor, targets: &Tensor) -> Tensor {
        let each = (targets * (x2 - x1) + self.margin).clamp_min(0.0);
        self.reduction.apply(each)
    }
}

impl CosineEmbeddingLoss {
    /// The loss.
    #[track_caller]
    pub fn forward(&self, x1: &Tensor, x2: &Tensor, targets: &Tensor) -> Tensor {
        const EPS: f64 = 1e-12;
        let shapes = x1.ty().and_then(|a| Ok((a.shape, x2.ty()?.shape, targets.ty()?.shape)));
        let (a, b, t) = match shapes {
            Ok(shapes) => shapes,
            Err(error) => return error.into(),
        };
        if a != b || !(1..=2).contains(&a.len()) || t[..] != a[..a.len() - 1] {
            let message = "cosine_embedding_loss needs vectors [N, D] and targets [N], or vectors [D] and one target";
            return misfit(message, &[("first", x1), ("second", x2), ("targets", targets)]).at(here()).into();
        }
        let products = (x1 * x2).sum(-1);
        let squares = |x: &Tensor| x.square().sum(-1) + EPS;
        let cosines = products / (squares(x1) * squares(x2)).sqrt();
        let near = (1.0 - &cosines).where_(&targets.equal(1), 0.0);
        let far = (cosines - self.margin).clamp_min(0.0).where_(&targets.equal(-1), 0.0);
        self.reduction.apply(near + far)
    }
}

impl SoftMarginLoss {
    /// The loss of scores and targets of one shape.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, targets: &Tensor) -> Tensor {
        if let Err(error) = difference("soft_margin_loss", x, targets).check() {
            return error.into();
        }
        self.reduction.apply((-(targets * x)).softplus())
    }
}

impl MultiMarginLoss {
    /// The loss. A class outside of `0..C` fails the run.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, classes: &Tensor) -> Tensor {
        let user = entered();
        or_invalid(self.each(x, classes).map(|each| self.reduction.apply(each)).map_err(|e| e.at(user.loc())))
    }

    #[track_caller]
    fn each(&self, x: &Tensor, classes: &Tensor) -> Result<Tensor> {
        let (shape, given) = (x.ty()?.shape, classes.ty()?);
        let operands = [("scores", x), ("classes", classes)];
        if !(1..=2).contains(&shape.len()) || given.shape[..] != shape[..shape.len() - 1] || !given.dtype.is_int() {
            return Err(misfit("multi_margin_loss needs scores [N, C] and classes [N], or scores [C] and one class", &operands));
        }
        if !(1..=2).contains(&self.p) {
            return Err(Error::new(format!("multi_margin_loss needs an exponent of 1 or 2, not {}", self.p)));
        }
        let count = x.size(-1);
        let labels = classes.to_dtype(DType::I64);
        let own = labels.one_hot(count).equal(1);
        let score = x.gather(-1, &labels.unsqueeze(-1));
        let mut over = (x - score + self.margin).clamp_min(0.0);
        if self.p == 2 {
            over = over.square();
        }
        let each = over.masked_fill(&own, 0.0).sum(-1) / count;
        match &self.weight {
            Some(weight) if weight.ty()?.shape[..] != [count] => {
                Err(misfit("multi_margin_loss needs one weight for each class", &operands).note("weight", weight.describe()))
            }
            Some(weight) => Ok(each * weight.i(&labels)),
            None => Ok(each),
        }
    }
}

impl MultiLabelMarginLoss {
    /// The loss.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, classes: &Tensor) -> Tensor {
        let user = entered();
        let each = x.ty().and_then(|ty| {
            let given = classes.ty()?;
            if !(1..=2).contains(&ty.rank()) || given.shape != ty.shape || !given.dtype.is_int() {
                let message = "multilabel_margin_loss needs scores [N, C] or [C] and as many classes";
                return Err(misfit(message, &[("scores", x), ("classes", classes)]));
            }
            let count = x.size(-1);
            let labels = classes.to_dtype(DType::I64);
            let given = labels.lt(0).to_dtype(DType::I64).cumsum(-1).equal(0);
            let labels = where_(&given, &labels, 0);
            let named = labels.one_hot(count).equal(1) & given.unsqueeze(-1);
            let among = named.any(-2);
            let scores = x.gather(-1, &labels);
            let over = (1.0 - scores.unsqueeze(-1) + x.unsqueeze(-2)).clamp_min(0.0);
            let counted = given.unsqueeze(-1) & among.logical_not().unsqueeze(-2);
            Ok(over.where_(&counted, 0.0).sum((-1, -2)) / count)
        });
        or_invalid(each.map(|each| self.reduction.apply(each)).map_err(|e| e.at(user.loc())))
    }
}

impl MultiLabelSoftMarginLoss {
    /// The loss of logits and targets of one shape.
    #[track_caller]
    pub fn forward(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        if let Err(error) = difference("multilabel_soft_margin_loss", logits, targets).check() {
            return error.into();
        }
        let mut each = -(targets * logits.logsigmoid() + (1.0 - targets) * (-logits).logsigmoid());
        if let Some(weight) = &self.weight {
            each *= weight;
        }
        self.reduction.apply(each.mean(-1))
    }
}

impl TripletMarginLoss {
    /// The loss of vectors along the last axis.
    #[track_caller]
    pub fn forward(&self, anchor: &Tensor, positive: &Tensor, negative: &Tensor) -> Tensor {
        let near = anchor.pairwise_distance(positive, self.p, self.eps);
        let mut far = anchor.pairwise_distance(negative, self.p, self.eps);
        if self.swap {
            far = far.minimum(positive.pairwise_distance(negative, self.p, self.eps));
        }
        self.reduction.apply((near - far + self.margin).clamp_min(0.0))
    }
}
