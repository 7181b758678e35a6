//! Autoencoders.

use crate::mlp::mlp;
use igneous::Tensor;
use igneous::nn::{Forward, Linear, Module, Sequential};

/// Fully connected layers to a few numbers and back (`encoder.0.weight`, `decoder.0.weight`).
#[derive(Clone, Module)]
pub struct Autoencoder {
    /// To the code.
    pub encoder: Sequential,
    /// Back from it, as logits.
    pub decoder: Sequential,
}

impl Autoencoder {
    /// Layers of these widths, the code's last, and back.
    #[track_caller]
    pub fn new(widths: &[usize]) -> Autoencoder {
        let back: Vec<usize> = widths.iter().rev().copied().collect();
        Autoencoder { encoder: mlp(widths), decoder: mlp(&back) }
    }
}

impl Forward for Autoencoder {
    #[track_caller]
    fn forward(&self, x: &Tensor) -> Tensor {
        self.decoder.call("decoder", &self.encoder.call("encoder", x))
    }
}

/// A variational autoencoder with the layers of PyTorch's example (`fc1`, `fc21`, `fc22`, `fc3`, `fc4`). Kingma and Welling
/// 2013, arXiv:1312.6114.
#[derive(Clone, Debug, Module)]
pub struct Vae {
    /// To the hidden features.
    pub fc1: Linear,
    /// To the means of the code.
    pub fc21: Linear,
    /// To the logarithms of its variances.
    pub fc22: Linear,
    /// From the code to the hidden features.
    pub fc3: Linear,
    /// From them, as logits.
    pub fc4: Linear,
}

impl Vae {
    /// For `inputs` values in 0 to 1, with a code of so many numbers; the example has 784, 400 and 20.
    #[track_caller]
    pub fn new(inputs: usize, hidden: usize, code: usize) -> Vae {
        Vae {
            fc1: Linear::new(inputs, hidden),
            fc21: Linear::new(hidden, code),
            fc22: Linear::new(hidden, code),
            fc3: Linear::new(code, hidden),
            fc4: Linear::new(hidden, inputs),
        }
    }

    /// The means of the code and the logarithms of its variances.
    #[track_caller]
    pub fn encode(&self, x: &Tensor) -> (Tensor, Tensor) {
        let hidden = self.fc1.call("fc1", x).relu();
        (self.fc21.call("fc21", &hidden), self.fc22.call("fc22", &hidden))
    }

    /// The logits of values.
    #[track_caller]
    pub fn decode(&self, code: &Tensor) -> Tensor {
        self.fc4.call("fc4", &self.fc3.call("fc3", code).relu())
    }

    /// The negative evidence lower bound of samples `[n, inputs]`, the mean over the samples: how badly a code drawn at random
    /// is decoded, and how far its distribution is from the normal one.
    #[track_caller]
    pub fn loss(&self, x: &Tensor) -> Tensor {
        let (mean, log_variance) = self.encode(x);
        let code = &mean + mean.randn_like() * (&log_variance * 0.5).exp();
        let error = self.decode(&code).binary_cross_entropy_with_logits(x) * Tensor::full((), x.size(-1)).to_dtype(x.dtype());
        let divergence = (mean.square() + log_variance.exp() - log_variance - 1.0).sum(-1).mean_all() * 0.5;
        error + divergence
    }
}
