//! Layers of recurrent cells over each other, in one or both directions: what `Rnn`, `Lstm` and `Gru` have in common.

use super::{Kind, RecurrentWeights};
use crate::nn::mode::Mode;
use crate::nn::visit::{Module, Visitor};
use crate::scan::{scan, scan_reverse};
use crate::tensor::loss::probability;
use crate::tensor::{Tensor, check_range, promote};
use igneous_ir::{DType, Dim, Error, Loc, Result};

/// The options that all recurrent layers have.
pub(super) struct Options {
    pub num_layers: usize,
    pub batch_first: bool,
    pub dropout: f64,
    pub bidirectional: bool,
    pub projection: Option<usize>,
}

/// Recurrent layers, each over the outputs of the one below.
#[derive(Clone, Debug)]
pub(super) struct Stack {
    kind: Kind,
    input_size: usize,
    hidden_size: usize,
    /// The width of a direction's outputs: the hidden size, or that of its projection.
    output_size: usize,
    directions: usize,
    batch_first: bool,
    dropout: f64,
    mode: Mode,
    /// Layer by layer, and in each the forward direction first.
    pub weights: Vec<RecurrentWeights>,
}

impl Stack {
    #[track_caller]
    pub fn new(kind: Kind, input_size: usize, hidden_size: usize, options: Options) -> Stack {
        let Options { num_layers, batch_first, dropout, bidirectional, projection } = options;
        let directions = if bidirectional { 2 } else { 1 };
        let output_size = projection.unwrap_or(hidden_size);
        let checked = check(hidden_size, num_layers, dropout, projection);
        let weights = |k: usize| match &checked {
            Ok(()) => {
                let inputs = if k < directions { input_size } else { output_size.saturating_mul(directions) };
                RecurrentWeights::new(kind, inputs, hidden_size, projection)
            }
            Err(error) => RecurrentWeights::invalid(error.clone()),
        };
        let count = if checked.is_ok() { num_layers * directions } else { directions };
        let weights = (0..count).map(weights).collect();
        Stack { kind, input_size, hidden_size, output_size, directions, batch_first, dropout, mode: Mode::default(), weights }
    }

    pub fn without_bias(self) -> Stack {
        Stack { weights: self.weights.into_iter().map(RecurrentWeights::without_bias).collect(), ..self }
    }

    /// The outputs of the last layer and the last states of every layer and direction; all of them invalid after an error.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, initial: Option<Vec<&Tensor>>, lengths: Option<&Tensor>) -> (Tensor, Vec<Tensor>) {
        let loc = crate::location::here();
        match self.run(x, initial, lengths, loc) {
            Ok(results) => results,
            Err(error) => {
                let invalid = Tensor::from(error.at(loc));
                (invalid.clone(), vec![invalid; self.kind.states()])
            }
        }
    }

    #[track_caller]
    fn run(
        &self,
        x: &Tensor,
        initial: Option<Vec<&Tensor>>,
        lengths: Option<&Tensor>,
        loc: Loc,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        for weights in &self.weights {
            weights.weight_ih.check()?;
        }
        let batched = self.is_batched(x)?;
        let by_time = match (batched, self.batch_first) {
            (false, _) => x.unsqueeze(1),
            (true, true) => x.transpose(0, 1),
            (true, false) => x.clone(),
        };
        let [steps, batch, _] = by_time.dims();
        let dtype = promote(x.dtype(), self.weights[0].weight_hh.dtype());
        let initial = self.initial(initial, batched, batch, dtype)?;
        let mask = match lengths {
            Some(_) if !batched => return Err(Error::new("lengths need sequences in a batch").note("input", x.describe())),
            Some(lengths) => Some(within(lengths, steps, batch, loc)?),
            None => None,
        };
        let (outputs, last) = self.layers(&by_time, &initial, mask.as_ref())?;
        let outputs = match (batched, self.batch_first) {
            (false, _) => outputs.squeeze(1),
            (true, true) => outputs.transpose(0, 1),
            (true, false) => outputs,
        };
        let last = last.into_iter().map(|states| {
            let states = Tensor::stack(&states, 0);
            if batched { states } else { states.squeeze(1) }
        });
        Ok((outputs, last.collect()))
    }

    /// Whether the input has an axis for the batch.
    fn is_batched(&self, x: &Tensor) -> Result<bool> {
        let ty = x.ty()?;
        if !matches!(ty.rank(), 2 | 3) || ty.shape[ty.rank() - 1] != Dim::from(self.input_size) {
            let order = if self.batch_first { "[batch, steps, features]" } else { "[steps, batch, features]" };
            let message = format!("a recurrent layer needs an input {order} or [steps, features]");
            return Err(Error::new(message).note("features", self.input_size).note("input", x.describe()));
        }
        Ok(ty.rank() == 3)
    }

    /// The states before the first step, `[layers · directions, batch, width]` each; zeros where none are given.
    #[track_caller]
    fn initial(&self, given: Option<Vec<&Tensor>>, batched: bool, batch: Dim, dtype: DType) -> Result<Vec<Tensor>> {
        let count = self.weights.len();
        let widths = [self.output_size, self.hidden_size];
        let Some(given) = given else {
            return Ok(widths[..self.kind.states()]
                .iter()
                .map(|&width| Tensor::zeros((count, batch, width)).to_dtype(dtype))
                .collect());
        };
        let states = given.into_iter().zip(widths).map(|(state, width)| {
            let shape = state.ty()?.shape;
            let full = [Dim::from(count), batch, Dim::from(width)];
            let expected = if batched { full.to_vec() } else { vec![full[0], full[2]] };
            if shape[..] != expected[..] {
                let list: Vec<String> = expected.iter().map(Dim::to_string).collect();
                let message = format!("a recurrent layer needs an initial state [{}]", list.join(", "));
                return Err(Error::new(message).note("state", state.describe()));
            }
            let state = state.to_dtype(dtype);
            Ok(if batched { state } else { state.unsqueeze(1) })
        });
        states.collect()
    }

    /// All layers over an input `[steps, batch, features]`. Returns the outputs and, for each state, its last value in every
    /// layer and direction.
    #[track_caller]
    fn layers(&self, x: &Tensor, initial: &[Tensor], mask: Option<&Tensor>) -> Result<(Tensor, Vec<Vec<Tensor>>)> {
        let mut x = x.clone();
        let mut last = vec![Vec::new(); initial.len()];
        for (layer, directions) in self.weights.chunks(self.directions).enumerate() {
            if layer > 0 && self.mode.is_training() {
                x = x.dropout(self.dropout);
            }
            let mut outputs = Vec::new();
            for (direction, weights) in directions.iter().enumerate() {
                let place = (layer * self.directions + direction) as i64;
                let states = initial.iter().map(|s| s.select(0, place)).collect();
                let (states, ys) = self.direction(&x, states, mask, weights, direction)?;
                states.into_iter().zip(&mut last).for_each(|(state, all)| all.push(state));
                outputs.push(ys);
            }
            x = if outputs.len() == 1 { outputs.remove(0) } else { Tensor::cat(&outputs, -1) };
        }
        Ok((x, last))
    }

    /// One direction of one layer: the last states and the outputs.
    #[track_caller]
    fn direction(
        &self,
        x: &Tensor,
        states: Vec<Tensor>,
        mask: Option<&Tensor>,
        weights: &RecurrentWeights,
        direction: usize,
    ) -> Result<(Vec<Tensor>, Tensor)> {
        let sequences = (self.kind.project(x, weights), mask.cloned());
        let step = |states: Vec<Tensor>, (projected, within): (Tensor, Option<Tensor>)| {
            let next = self.kind.step(&projected, &states, weights);
            let Some(within) = within else { return (next.clone(), next[0].clone()) };
            let y = next[0].where_(&within, 0.0);
            (next.iter().zip(&states).map(|(new, old)| new.where_(&within, old)).collect(), y)
        };
        if direction == 0 { scan(states, sequences, step) } else { scan_reverse(states, sequences, step) }
    }
}

fn check(hidden_size: usize, num_layers: usize, dropout: f64, projection: Option<usize>) -> Result<()> {
    if hidden_size == 0 || num_layers == 0 {
        let error = Error::new("a recurrent layer needs a hidden size and a number of layers of at least 1");
        return Err(error.note("hidden_size", hidden_size).note("num_layers", num_layers));
    }
    if let Some(size) = projection.filter(|&size| size >= hidden_size) {
        let error = Error::new("an LSTM needs a projection that is smaller than its hidden size");
        return Err(error.note("proj_size", size).note("hidden_size", hidden_size));
    }
    probability(dropout)
}

/// Which steps of which sequence lie before its end, `[steps, batch, 1]`.
#[track_caller]
fn within(lengths: &Tensor, steps: Dim, batch: Dim, loc: Loc) -> Result<Tensor> {
    let ty = lengths.ty()?;
    if ty.shape[..] != [batch] || !ty.dtype.is_int() {
        let error = Error::new("a recurrent layer needs one integer length for each sequence");
        return Err(error.note("batch", batch).note("lengths", lengths.describe()));
    }
    let lengths = lengths.to_dtype(DType::I64);
    check_range(&lengths, Dim::from(1), steps + 1, "a length is out of range", loc)?;
    Ok(Tensor::arange(0, steps).unsqueeze(1).lt(lengths).unsqueeze(-1))
}

impl Module for Stack {
    fn visit(&self, visitor: &mut dyn Visitor) {
        for (k, weights) in self.weights.iter().enumerate() {
            let reverse = if k % self.directions == 1 { "_reverse" } else { "" };
            weights.visit(&format!("_l{}{reverse}", k / self.directions), visitor);
        }
        visitor.mode(&self.mode);
    }
}
