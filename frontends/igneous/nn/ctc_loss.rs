//! Connectionist temporal classification.

use super::loss::Reduction;
use crate::location::entered;
use crate::scan::scan;
use crate::tensor::{Tensor, check_range, or_invalid, where_};
use igneous_ir::{DType, Dim, Error, Loc, Result};

/// The negative logarithm of the probability that a sequence of log-probabilities spells a target: the sum over all ways to
/// repeat its labels and to put blanks between them (`torch.nn.CTCLoss`). Graves et al. 2006.
///
/// ```
/// use igneous::{Tensor, nn::CtcLoss};
/// // Two steps over a blank and one label, all equally probable: of four paths three spell the label.
/// let logarithms = Tensor::full((2, 1, 2), 0.5f64.ln());
/// let one = Tensor::new([1]);
/// let loss = CtcLoss::new().forward(&logarithms, &Tensor::new([[1]]), &Tensor::new([2]), &one);
/// assert!((loss.item()? + 0.75f64.ln()).abs() < 1e-6);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CtcLoss {
    /// Mean by default: of each loss over the length of its target.
    pub reduction: Reduction,
    /// The number of the blank; 0 by default.
    pub blank: i64,
    /// Whether the loss of a target that cannot be spelt counts as 0, without a gradient; by default it is infinite.
    pub zero_infinity: bool,
}

/// The logarithm of no probability, as a finite number, so that derivatives are.
const NOTHING: f64 = -1e30;

impl CtcLoss {
    /// The mean, with blank 0.
    pub fn new() -> CtcLoss {
        CtcLoss::default()
    }

    /// The loss of log-probabilities `[T, N, C]` and targets `[N, S]`, of which the first `input_lengths[n]` steps and the first
    /// `target_lengths[n]` labels count; or of targets `[total]`, one after the other; or of one sequence `[T, C]` and one target
    /// `[S]` with lengths of one element.
    ///
    /// A label or a length out of range fails the run.
    #[track_caller]
    pub fn forward(&self, logarithms: &Tensor, targets: &Tensor, input_lengths: &Tensor, target_lengths: &Tensor) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let each = self.each(logarithms, targets, input_lengths, target_lengths, loc);
        or_invalid(each.map_err(|e| e.at(loc)))
    }

    #[track_caller]
    fn each(
        &self,
        logarithms: &Tensor,
        targets: &Tensor,
        input_lengths: &Tensor,
        target_lengths: &Tensor,
        loc: Loc,
    ) -> Result<Tensor> {
        let single = logarithms.ty()?.rank() == 2;
        let x = if single { logarithms.unsqueeze(1) } else { logarithms.clone() };
        let error = |what: &str| {
            let error = Error::new(format!("ctc_loss needs {what}")).note("log-probabilities", logarithms.describe());
            let error = error.note("targets", targets.describe()).note("input lengths", input_lengths.describe());
            error.note("target lengths", target_lengths.describe())
        };
        if x.rank() != 3 || !x.dtype().is_float() {
            return Err(error("log-probabilities [T, N, C] or [T, C]"));
        }
        let [steps, batch, classes] = x.dims();
        for given in [targets, input_lengths, target_lengths] {
            if !given.ty()?.dtype.is_int() {
                return Err(error("targets and lengths of integers"));
            }
        }
        let length = |given: &Tensor| given.to_dtype(DType::I64).reshape(-1);
        let (input_lengths, target_lengths) = (length(input_lengths), length(target_lengths));
        if input_lengths.size(0) != batch || target_lengths.size(0) != batch {
            return Err(error("one length of input and target for each sequence"));
        }
        if !(0..classes.get()? as i64).contains(&self.blank) {
            return Err(error(&format!("a blank among its {classes} classes, not {}", self.blank)));
        }
        let padded = match targets.rank() {
            2 if targets.size(0) == batch => targets.to_dtype(DType::I64),
            1 if single => targets.to_dtype(DType::I64).unsqueeze(0),
            1 => apart(&targets.to_dtype(DType::I64), &target_lengths),
            _ => return Err(error("targets [N, S], or [total]")),
        };
        let longest = padded.size(1);
        check_range(&padded, Dim::ZERO, classes, "a label is out of range", loc)?;
        check_range(&input_lengths, Dim::ZERO, steps + 1, "an input length is out of range", loc)?;
        check_range(&target_lengths, Dim::ZERO, longest + 1, "a target length is out of range", loc)?;
        let losses = self.losses(&x, &padded, &input_lengths, &target_lengths)?;
        Ok(match self.reduction {
            Reduction::Mean => (losses / target_lengths.maximum(1).to_dtype(x.dtype())).mean_all(),
            Reduction::None if single => losses.squeeze(0),
            reduction => reduction.apply(losses),
        })
    }

    /// The loss of each sequence, by the recursion over prefixes.
    #[track_caller]
    fn losses(&self, x: &Tensor, targets: &Tensor, input_lengths: &Tensor, target_lengths: &Tensor) -> Result<Tensor> {
        let [_, batch, _] = x.dims();
        let dtype = x.dtype();
        // A blank before, between and behind the labels: `2·S + 1` places.
        let blanks = targets.full_like(self.blank);
        let pairs = Tensor::stack(&[&blanks, targets], 2).reshape((batch, targets.size(1) * 2));
        let last = Tensor::full((batch, 1), self.blank);
        let labels = Tensor::cat(&[pairs, last], 1);
        let before = labels.pad(&[(2, -2)], -1.0);
        // From two places before one may come where that is another label: not over a needed blank.
        let skips = labels.ne(self.blank) & labels.ne(&before);
        let places = Tensor::arange(0, labels.size(1)).unsqueeze(0);
        let first = x.select(0, 0).gather(1, &labels);
        let started = first.where_(&places.le(1), NOTHING);
        let none = input_lengths.equal(0).unsqueeze(1);
        let started = where_(&none, where_(&places.equal(0), 0.0, NOTHING), &started).to_dtype(dtype);
        let times = Tensor::arange(1, x.size(0));
        let rest = x.narrow(0, 1, x.size(0) - 1);
        let (ends, ()) = scan(started, (rest, times), |prefixes: Tensor, (step, time): (Tensor, Tensor)| {
            let from_last = prefixes.pad(&[(1, -1)], NOTHING);
            let from_before = prefixes.pad(&[(2, -2)], NOTHING).where_(&skips, NOTHING);
            let sums = Tensor::stack(&[&prefixes, &from_last, &from_before], 0).logsumexp(0);
            let next = (sums + step.gather(1, &labels)).maximum(NOTHING);
            let next = where_(&time.lt(input_lengths).unsqueeze(1), &next, &prefixes);
            (next, ())
        })?;
        let end = target_lengths * 2;
        let at = |place: &Tensor| ends.gather(1, &place.unsqueeze(1)).squeeze(1);
        let label = where_(&target_lengths.gt(0), at(&(&end - 1).maximum(0)), NOTHING);
        let losses = -Tensor::stack(&[at(&end), label], 0).logsumexp(0);
        let impossible = losses.gt(-NOTHING / 2.0);
        Ok(losses.masked_fill(&impossible, if self.zero_infinity { 0.0 } else { f64::INFINITY }))
    }
}

/// Targets one after the other as rows `[N, S]`; what stands behind a target does not count.
#[track_caller]
fn apart(targets: &Tensor, lengths: &Tensor) -> Tensor {
    // Under a trace no lengths are known, and a row as long as all targets holds each.
    let longest = match lengths.to_i64_vec() {
        Ok(lengths) => Dim::constant(lengths.into_iter().max().unwrap_or(0).max(0)).min(targets.size(0)),
        Err(_) => targets.size(0),
    };
    if targets.size(0) == Dim::ZERO {
        return Tensor::zeros((lengths.size(0), 0)).to_dtype(DType::I64);
    }
    let starts = lengths.cumsum(0) - lengths;
    let places = starts.unsqueeze(1) + Tensor::arange(0, longest);
    let last = targets.size(0) - 1;
    targets.i(places.maximum(0).minimum(last))
}
