//! Losses.

use super::{Operator, one};
use crate::call::{Call, Outputs, Problem, unsupported};
use igneous::nn::{
    BceLoss, BceWithLogitsLoss, CrossEntropyLoss, HuberLoss, KlDivLoss, L1Loss, MseLoss, NllLoss, Reduction, SmoothL1Loss,
};

pub fn find(name: &str) -> Option<Operator> {
    Some(match name {
        "l1_loss" => |c| one(L1Loss { reduction: reduction(c)? }.forward(&c.x()?, &c.tensor(1, "target")?)),
        "mse_loss" => |c| one(MseLoss { reduction: reduction(c)? }.forward(&c.x()?, &c.tensor(1, "target")?)),
        "smooth_l1_loss" => |c| {
            let loss = SmoothL1Loss { reduction: reduction(c)?, beta: c.named_float("beta", 1.0)? };
            one(loss.forward(&c.x()?, &c.tensor(1, "target")?))
        },
        "huber_loss" => |c| {
            let loss = HuberLoss { reduction: reduction(c)?, delta: c.named_float("delta", 1.0)? };
            one(loss.forward(&c.x()?, &c.tensor(1, "target")?))
        },
        "kl_div" => |c| {
            let loss = KlDivLoss { reduction: reduction(c)?, log_target: c.named_flag("log_target", false)? };
            one(loss.forward(&c.x()?, &c.tensor(1, "target")?))
        },
        "binary_cross_entropy" => |c| {
            let loss = BceLoss { reduction: reduction(c)?, weight: c.optional_tensor(2, "weight")? };
            one(loss.forward(&c.x()?, &c.tensor(1, "target")?))
        },
        "binary_cross_entropy_with_logits" => |c| {
            let loss = BceWithLogitsLoss {
                reduction: reduction(c)?,
                weight: c.optional_tensor(2, "weight")?,
                pos_weight: c.named_tensor("pos_weight")?,
            };
            one(loss.forward(&c.x()?, &c.tensor(1, "target")?))
        },
        "nll_loss" => nll_loss,
        "cross_entropy" => cross_entropy,
        "pairwise_distance" => pairwise_distance,
        "cosine_similarity" => {
            |c| one(c.x()?.cosine_similarity(&c.tensor(1, "x2")?, c.int(2, "dim", 1)?, c.float(3, "eps", 1e-8)?))
        }
        _ => return None,
    })
}

fn reduction(c: &Call) -> Result<Reduction, Problem> {
    match c.named("reduction").and_then(|v| v.as_str()).unwrap_or("mean") {
        "mean" => Ok(Reduction::Mean),
        "sum" => Ok(Reduction::Sum),
        "none" => Ok(Reduction::None),
        "batchmean" => Ok(Reduction::BatchMean),
        other => unsupported(format!("the reduction {other}")),
    }
}

fn nll_loss(c: &Call) -> Outputs {
    let loss = NllLoss {
        reduction: reduction(c)?,
        weight: c.optional_tensor(2, "weight")?,
        ignore_index: Some(c.named("ignore_index").and_then(|v| v.as_i64()).unwrap_or(-100)),
    };
    one(loss.forward(&c.x()?, &c.tensor(1, "target")?))
}

fn cross_entropy(c: &Call) -> Outputs {
    let loss = CrossEntropyLoss {
        reduction: reduction(c)?,
        weight: c.optional_tensor(2, "weight")?,
        ignore_index: Some(c.named("ignore_index").and_then(|v| v.as_i64()).unwrap_or(-100)),
        label_smoothing: c.named_float("label_smoothing", 0.0)?,
    };
    let (x, target) = (c.x()?, c.tensor(1, "target")?);
    if x.rank() == 1 {
        // One sample.
        let lone = loss.forward(&x.unsqueeze(0), &target.unsqueeze(0));
        return one(if loss.reduction == Reduction::None { lone.squeeze(0) } else { lone });
    }
    one(loss.forward(&x, &target))
}

fn pairwise_distance(c: &Call) -> Outputs {
    let (a, b) = (c.x()?, c.tensor(1, "x2")?);
    let (p, eps) = (c.float(2, "p", 2.0)?, c.float(3, "eps", 1e-6)?);
    let distance = a - b + eps;
    one(if c.flag(4, "keepdim", false)? { distance.norm_p_keepdim(p, -1) } else { distance.norm_p(p, -1) })
}
