//! The search for the best translation.

use crate::data::{END, START, filled};
use igneous::{Result, Tensor};

/// The beginning of a translation.
#[derive(Clone)]
struct Hypothesis {
    tokens: Vec<i64>,
    /// The logarithm of its probability.
    score: f64,
}

impl Hypothesis {
    fn is_complete(&self) -> bool {
        self.tokens.last() == Some(&END)
    }

    /// By how much one of some length is better; without it, the shortest would win.
    fn merit(&self) -> f64 {
        self.score / self.tokens.len().max(1) as f64
    }
}

/// The most probable continuations of each row.
pub struct Continuations {
    /// Logarithms of probabilities, `f32[rows, beams]`.
    pub scores: Tensor,
    /// Tokens, `i64[rows, beams]`.
    pub tokens: Tensor,
}

/// Translates sentences `i64[N, S]` with at most `longest` tokens. Of each, the `beams` most probable beginnings are kept; one
/// beam is greedy search. `next` gets `beams` rows for each sentence, of the sentence and of the beginning `i64[rows, longest]`, of
/// whose tokens the last is at a position.
pub fn translate(
    sources: &Tensor,
    beams: usize,
    longest: usize,
    next: impl Fn(&Tensor, &Tensor, usize) -> Result<Continuations>,
) -> Result<Vec<Vec<i64>>> {
    let count = sources.size(0).get()?;
    let rows = sources.repeat_interleave(beams, 0);
    let mut found = vec![vec![Hypothesis { tokens: Vec::new(), score: 0.0 }]; count];
    for position in 0..longest {
        if found.iter().flatten().all(Hypothesis::is_complete) {
            break;
        }
        // Places that have no hypothesis yet repeat the first.
        let of_row = |row: usize| found[row / beams].get(row % beams).unwrap_or(&found[row / beams][0]);
        let begun = (0..count * beams).map(|row| [&[START], &of_row(row).tokens[..]].concat());
        let Continuations { scores, tokens } = next(&rows, &filled(begun, longest), position)?;
        let (scores, tokens) = (scores.to_vec::<f32>()?, tokens.to_vec::<i64>()?);
        for (sentence, hypotheses) in found.iter_mut().enumerate() {
            let mut candidates: Vec<Hypothesis> = Vec::new();
            for (k, hypothesis) in hypotheses.iter().enumerate() {
                if hypothesis.is_complete() {
                    candidates.push(hypothesis.clone());
                    continue;
                }
                let row = (sentence * beams + k) * beams;
                for (score, token) in scores[row..row + beams].iter().zip(&tokens[row..row + beams]) {
                    let tokens = [&hypothesis.tokens[..], &[*token]].concat();
                    candidates.push(Hypothesis { tokens, score: hypothesis.score + f64::from(*score) });
                }
            }
            candidates.sort_by(|a, b| b.merit().total_cmp(&a.merit()));
            candidates.truncate(beams);
            *hypotheses = candidates;
        }
    }
    let best = found.into_iter().map(|hypotheses| {
        let tokens = hypotheses.into_iter().next().map(|best| best.tokens).unwrap_or_default();
        tokens.into_iter().take_while(|&token| token != END).collect()
    });
    Ok(best.collect())
}
