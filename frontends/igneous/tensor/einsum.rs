//! Einstein's summation convention.

use super::Tensor;
use super::or_invalid;
use super::pointwise::with_common_dtype;
use crate::location::entered;
use igneous_ir::{Dim, Error, Result, Shape, ops};
use std::borrow::Borrow;

/// A tensor whose axes have names.
struct Named {
    tensor: Tensor,
    names: Vec<char>,
}

/// Stand for the axes of an ellipsis, counted from the last.
const ELLIPSIS: [char; 8] = ['\u{1}', '\u{2}', '\u{3}', '\u{4}', '\u{5}', '\u{6}', '\u{7}', '\u{8}'];

impl Tensor {
    /// Sums of products over named axes (`torch.einsum`): a letter names an axis; those that the result does not name are summed
    /// over. `...` stands for the other axes, which broadcast. Without `->`, the result has the letters that occur once, in
    /// alphabetical order.
    ///
    /// ```
    /// use igneous::Tensor;
    /// let (a, b) = (Tensor::ones((2, 3)), Tensor::ones((3, 4)));
    /// assert_eq!(Tensor::einsum("ij,jk->ik", &[&a, &b]).to_vec::<f32>()?, [3.0; 8]);
    /// assert_eq!(Tensor::einsum("ii", &[Tensor::eye(3)]).item()?, 3.0);
    /// # Ok::<(), igneous::Error>(())
    /// ```
    #[track_caller]
    pub fn einsum(equation: &str, tensors: &[impl Borrow<Tensor>]) -> Tensor {
        let user = entered();
        let loc = user.loc();
        let tensors: Vec<&Tensor> = tensors.iter().map(|t| t.borrow()).collect();
        let told = |e: Error| {
            let error = Error::new(format!("einsum `{equation}`: {}", e.message()));
            tensors.iter().enumerate().fold(error, |e, (k, t)| e.note(format!("operand {k}"), t.describe()))
        };
        let invalid = tensors.iter().find_map(|t| t.error());
        if let Some(error) = invalid {
            return error.clone().into();
        }
        or_invalid(summed(equation, &tensors).map_err(|e| told(e).at(loc)))
    }
}

#[track_caller]
fn summed(equation: &str, tensors: &[&Tensor]) -> Result<Tensor> {
    let text: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let (inputs, output) = match text.split_once("->") {
        Some((inputs, output)) => (inputs.to_owned(), Some(output.to_owned())),
        None => (text, None),
    };
    let terms: Vec<&str> = inputs.split(',').collect();
    if terms.len() != tensors.len() {
        return Err(Error::new(format!("{} terms for {} tensors", terms.len(), tensors.len())));
    }
    let mut operands: Vec<Named> = Vec::new();
    for (term, tensor) in terms.iter().zip(with_common_dtype(tensors)) {
        operands.push(Named { names: names(term, Some(tensor.rank()))?, tensor }.without_repeats());
    }
    let longest =
        operands.iter().flat_map(|o| &o.names).filter_map(|c| ELLIPSIS.iter().position(|e| e == c)).map(|k| k + 1).max();
    let ellipsis: Vec<char> = ELLIPSIS[..longest.unwrap_or(0)].iter().rev().copied().collect();
    let output: Vec<char> = match output {
        Some(output) => {
            let (front, back) = match output.split_once("...") {
                Some((front, back)) => (front.to_owned(), Some(back.to_owned())),
                None => (output, None),
            };
            let mut all = names(&front, None)?;
            if let Some(back) = back {
                all.extend(&ellipsis);
                all.extend(names(&back, None)?);
            }
            all
        }
        None => {
            let all: String = terms.concat();
            let mut once: Vec<char> = all.chars().filter(|c| c.is_alphabetic() && all.matches(*c).count() == 1).collect();
            once.sort_unstable();
            ellipsis.into_iter().chain(once).collect()
        }
    };
    for (i, c) in output.iter().enumerate() {
        if output[..i].contains(c) {
            return Err(Error::new(format!("the result names `{c}` twice")));
        }
        if !operands.iter().any(|o| o.names.contains(c)) {
            return Err(Error::new(format!("the result names `{c}`, which no tensor has")));
        }
    }
    broadcast_extents(&mut operands)?;
    while operands.len() > 1 {
        let (a, b) = (operands.remove(0), operands.remove(0));
        let needed = |c: char| output.contains(&c) || operands.iter().any(|o| o.names.contains(&c));
        operands.insert(0, a.times(b, needed));
    }
    let Some(last) = operands.pop() else { return Err(Error::new("there are no tensors")) };
    let summed = last.sum_others(|c| output.contains(&c));
    let order: Vec<usize> = output.iter().filter_map(|c| summed.names.iter().position(|n| n == c)).collect();
    Ok(summed.tensor.permuted(&order))
}

/// The names of a term's axes; with a rank, those of its ellipsis, too.
fn names(term: &str, rank: Option<usize>) -> Result<Vec<char>> {
    let letters = |part: &str| match part.chars().find(|c| !c.is_alphabetic()) {
        Some(c) => Err(Error::new(format!("`{c}` names no axis"))),
        None => Ok(part.chars().collect::<Vec<char>>()),
    };
    let Some((front, back)) = term.split_once("...") else {
        let all = letters(term)?;
        return match rank {
            Some(rank) if rank != all.len() => {
                Err(Error::new(format!("`{term}` names {} axes of a tensor with {rank}", all.len())))
            }
            _ => Ok(all),
        };
    };
    let (front, back) = (letters(front)?, letters(back)?);
    let covered = rank.unwrap_or(0).checked_sub(front.len() + back.len());
    match covered {
        Some(n) if n <= ELLIPSIS.len() => Ok(front.into_iter().chain(ELLIPSIS[..n].iter().rev().copied()).chain(back).collect()),
        _ => Err(Error::new(format!("`{term}` does not fit a tensor with {} axes", rank.unwrap_or(0)))),
    }
}

/// Stretches axes of extent one that have other extents elsewhere.
#[track_caller]
fn broadcast_extents(operands: &mut [Named]) -> Result<()> {
    let mut extents: Vec<(char, Dim)> = Vec::new();
    for operand in operands.iter() {
        for (&name, &extent) in operand.names.iter().zip(&operand.tensor.shape()) {
            match extents.iter_mut().find(|(n, _)| *n == name) {
                None => extents.push((name, extent)),
                Some((_, known)) if *known == Dim::ONE => *known = extent,
                Some((_, known)) if *known == extent || extent == Dim::ONE => {}
                Some((_, known)) => return Err(Error::new(format!("axis `{name}` has the extents {known} and {extent}"))),
            }
        }
    }
    for operand in operands {
        let wanted: Shape =
            operand.names.iter().filter_map(|c| extents.iter().find(|(n, _)| n == c)).map(|(_, extent)| *extent).collect();
        operand.tensor = operand.tensor.broadcast_to(&wanted);
    }
    Ok(())
}

impl Named {
    /// A name that occurs twice means the diagonal.
    #[track_caller]
    fn without_repeats(mut self) -> Named {
        let twice = |names: &[char]| (1..names.len()).find_map(|j| Some((names[..j].iter().position(|&c| c == names[j])?, j)));
        while let Some((i, j)) = twice(&self.names) {
            self.tensor = self.tensor.diagonal(0, i as i64, j as i64);
            let name = self.names.remove(j);
            self.names.remove(i);
            self.names.push(name);
        }
        self
    }

    /// Summed over the axes that nobody needs.
    #[track_caller]
    fn sum_others(self, needed: impl Fn(char) -> bool) -> Named {
        let over: Vec<i64> = (0..self.names.len()).filter(|&i| !needed(self.names[i])).map(|i| i as i64).collect();
        if over.is_empty() {
            return self;
        }
        Named { tensor: self.tensor.sum(&over), names: self.names.into_iter().filter(|&c| needed(c)).collect() }
    }

    /// The product, summed over the axes that nobody needs any more.
    #[track_caller]
    fn times(self, other: Named, needed: impl Fn(char) -> bool) -> Named {
        let a = self.sum_others_of(&other, &needed);
        let b = other.sum_others_of(&a, &needed);
        let both: Vec<char> = a.names.iter().copied().filter(|c| b.names.contains(c)).collect();
        let (batch, contracted): (Vec<char>, Vec<char>) = both.into_iter().partition(|&c| needed(c));
        let places = |of: &Named, names: &[char]| -> Vec<usize> {
            names.iter().filter_map(|c| of.names.iter().position(|n| n == c)).collect()
        };
        let op = ops::dot_general(&places(&a, &contracted), &places(&b, &contracted), &places(&a, &batch), &places(&b, &batch));
        let own = |of: &Named| of.names.iter().copied().filter(|c| !batch.contains(c) && !contracted.contains(c)).collect();
        let (left, right): (Vec<char>, Vec<char>) = (own(&a), own(&b));
        Named { tensor: a.tensor.apply_with(op, &b.tensor), names: batch.into_iter().chain(left).chain(right).collect() }
    }

    /// Summed over the axes that neither `other` has nor anybody needs.
    #[track_caller]
    fn sum_others_of(&self, other: &Named, needed: &impl Fn(char) -> bool) -> Named {
        let own = Named { tensor: self.tensor.clone(), names: self.names.clone() };
        own.sum_others(|c| needed(c) || other.names.contains(&c))
    }
}
