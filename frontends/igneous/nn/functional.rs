//! Losses with PyTorch's defaults as methods of tensors, by the names of `torch.nn.functional`. The types of the losses have their
//! options.

use super::{
    BceLoss, BceWithLogitsLoss, GaussianNllLoss, HuberLoss, KlDivLoss, L1Loss, NllLoss, PoissonNllLoss, SmoothL1Loss,
    TripletMarginLoss,
};
use crate::tensor::Tensor;

macro_rules! losses {
    ($($(#[$doc:meta])* $method:ident($($operand:ident),*) $loss:ident;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                #[doc = concat!("(`torch.nn.functional.", stringify!($method), "`, whose options [`", stringify!($loss), "`] has).")]
                #[track_caller]
                pub fn $method(&self, $($operand: &Tensor),*) -> Tensor {
                    $loss::new().forward(self, $($operand),*)
                }
            )*
        }
    };
}

losses! {
    /// The mean absolute difference to a target of the same shape
    l1_loss(target) L1Loss;
    /// The mean of half the squared differences, beyond 1 of the absolute ones less a half
    smooth_l1_loss(target) SmoothL1Loss;
    /// The mean of half the squared differences, beyond 1 of the absolute ones less a half
    huber_loss(target) HuberLoss;
    /// The mean negative log-likelihood of log-probabilities `[N, C, …]` and classes `[N, …]`
    nll_loss(classes) NllLoss;
    /// The mean binary cross-entropy of probabilities and targets of one shape
    binary_cross_entropy(target) BceLoss;
    /// The mean binary cross-entropy of logits and targets of one shape, without overflow
    binary_cross_entropy_with_logits(target) BceWithLogitsLoss;
    /// The mean over all elements of the divergence of log-probabilities from targets
    kl_div(target) KlDivLoss;
    /// The mean negative log-likelihood of counts, of logarithms of their rates
    poisson_nll_loss(target) PoissonNllLoss;
    /// The mean negative log-likelihood of targets under normal distributions with these means and variances
    gaussian_nll_loss(target, variance) GaussianNllLoss;
    /// The mean of `max(0, ‖a − p‖ − ‖a − n‖ + 1)` of anchors and vectors that belong to them or do not
    triplet_margin_loss(positive, negative) TripletMarginLoss;
}
