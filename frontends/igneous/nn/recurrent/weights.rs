//! The parameters of one direction of a recurrent layer.

use super::Kind;
use crate::nn::init;
use crate::nn::visit::Visitor;
use crate::tensor::Tensor;
use igneous_ir::Error;

/// The parameters of one direction of one recurrent layer, or of a cell. Rows lie gate by gate, in PyTorch's order: input,
/// forget, cell and output of an LSTM; reset, update and new of a GRU. All are uniform in `±1/√hidden_size` at first.
#[derive(Clone, Debug)]
pub struct RecurrentWeights {
    /// `[gates · hidden_size, inputs]`.
    pub weight_ih: Tensor,
    /// `[gates · hidden_size, hidden_size]`, with a projection `[gates · hidden_size, proj_size]`.
    pub weight_hh: Tensor,
    /// `[gates · hidden_size]`; none without bias.
    pub bias_ih: Option<Tensor>,
    /// `[gates · hidden_size]`; none without bias.
    pub bias_hh: Option<Tensor>,
    /// `[proj_size, hidden_size]` of an LSTM with a projection.
    pub weight_hr: Option<Tensor>,
}

impl RecurrentWeights {
    #[track_caller]
    pub(super) fn new(kind: Kind, inputs: usize, hidden: usize, projection: Option<usize>) -> RecurrentWeights {
        let Some(rows) = kind.gates().checked_mul(hidden) else {
            return RecurrentWeights::invalid(Error::new(format!("a hidden size of {hidden} is too large")));
        };
        let parameter = |shape: &[usize]| Tensor::parameter(init::bounded(shape, hidden));
        RecurrentWeights {
            weight_ih: parameter(&[rows, inputs]),
            weight_hh: parameter(&[rows, projection.unwrap_or(hidden)]),
            bias_ih: Some(parameter(&[rows])),
            bias_hh: Some(parameter(&[rows])),
            weight_hr: projection.map(|size| parameter(&[size, hidden])),
        }
    }

    /// Weights whose use gives the error.
    pub(super) fn invalid(error: Error) -> RecurrentWeights {
        let tensor = Tensor::from(error);
        RecurrentWeights { weight_ih: tensor.clone(), weight_hh: tensor, bias_ih: None, bias_hh: None, weight_hr: None }
    }

    pub(super) fn without_bias(self) -> RecurrentWeights {
        RecurrentWeights { bias_ih: None, bias_hh: None, ..self }
    }

    /// Shows the parameters, with `suffix` behind their names.
    pub(super) fn visit(&self, suffix: &str, visitor: &mut dyn Visitor) {
        visitor.child(&format!("weight_ih{suffix}"), &self.weight_ih);
        visitor.child(&format!("weight_hh{suffix}"), &self.weight_hh);
        visitor.child(&format!("bias_ih{suffix}"), &self.bias_ih);
        visitor.child(&format!("bias_hh{suffix}"), &self.bias_hh);
        visitor.child(&format!("weight_hr{suffix}"), &self.weight_hr);
    }
}
