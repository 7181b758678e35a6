//! How far from a query the keys are that it may see, as comparisons of positions tell: blocks outside are not passed over.

use super::Attention;
use crate::cpu::{Affine, ComputedMask};
use crate::cuda::scalar::dim;
use igneous_ir::dim::Dim;
use igneous_ir::scalar::{Compare, ExprId, ScalarOp};

/// The least and the most of `j - i` for a query `i` and a key `j`, if there is such a limit. Keys outside have no weight.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Band {
    pub least: Option<Dim>,
    pub most: Option<Dim>,
}

/// What the rows of a block are; the columns are the others.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum RowsAre {
    Queries,
    Keys,
}

/// Whether an expression or its complement is meant.
#[derive(Clone, Copy, PartialEq)]
enum Sense {
    As,
    Not,
}

impl Band {
    pub const EVERYTHING: Band = Band { least: None, most: None };
    /// Of what is not behind the query.
    pub const CAUSAL: Band = Band { least: None, most: Some(Dim::ZERO) };

    /// What both bands have.
    pub fn and(self, other: Band) -> Band {
        let one = |a: Option<Dim>, b: Option<Dim>, of: fn(Dim, Dim) -> Dim| a.zip(b).map(|(a, b)| of(a, b)).or(a).or(b);
        Band { least: one(self.least, other.least, |a, b| a.max(b)), most: one(self.most, other.most, |a, b| a.min(b)) }
    }

    /// The band outside of which a mask hides everything, and whether it hides nothing inside.
    pub fn of(mask: &ComputedMask) -> (Band, bool) {
        of_expression(mask, mask.expression, Sense::As)
    }

    /// The conditions for the key being outside.
    pub fn outside(self) -> Vec<String> {
        let most = self.most.map(|most| match most {
            Dim::ZERO => "j > i".to_owned(),
            most => format!("j - i > {}", dim(most)),
        });
        most.into_iter().chain(self.least.map(|least| format!("j - i < {}", dim(least)))).collect()
    }

    /// The conditions for some pair of `rows` rows from `row` and `columns` columns from `column` being outside.
    pub fn crossed(self, are: RowsAre, [row, column]: [&str; 2], [rows, columns]: [i64; 2]) -> Vec<String> {
        let ([query, key], [queries, keys]) = match are {
            RowsAre::Queries => ([row, column], [rows, columns]),
            RowsAre::Keys => ([column, row], [columns, rows]),
        };
        let most = self.most.map(|most| format!("{} > {}", plus(key, Dim::constant(keys - 1)), plus(query, most)));
        let least = self.least.map(|least| format!("{key} < {}", plus(query, least + Dim::constant(queries - 1))));
        most.into_iter().chain(least).collect()
    }

    /// The conditions for some of these pairs being inside, if they are not always.
    pub fn touched(self, are: RowsAre, [row, column]: [&str; 2], [rows, columns]: [i64; 2]) -> Vec<String> {
        let ([query, key], [queries, keys]) = match are {
            RowsAre::Queries => ([row, column], [rows, columns]),
            RowsAre::Keys => ([column, row], [columns, rows]),
        };
        let most = self.most.map(|most| format!("{key} <= {}", plus(query, most + Dim::constant(queries - 1))));
        let least = self.least.map(|least| format!("{} >= {}", plus(key, Dim::constant(keys - 1)), plus(query, least)));
        most.into_iter().chain(least).collect()
    }
}

impl Attention<'_> {
    /// From where to where a block of so many queries passes over the keys, a `step` of them at a time.
    pub fn keys_seen(&self, rows: i64, step: i64) -> [String; 2] {
        seen(rows, self.work.keys, self.band, step)
    }

    /// From where to where a block of so many keys passes over the queries.
    pub fn queries_seen(&self, rows: i64, step: i64) -> [String; 2] {
        let negative = |d: Dim| Dim::ZERO - d;
        let Band { least, most } = self.band;
        seen(rows, self.work.queries, Band { least: most.map(negative), most: least.map(negative) }, step)
    }
}

fn seen(rows: i64, count: Dim, Band { least, most }: Band, step: i64) -> [String; 2] {
    let start = match least {
        None => "0".to_owned(),
        Some(Dim::ZERO) if rows % step == 0 => "first".to_owned(),
        Some(least) => {
            let start = plus("first", least);
            format!("{start} > 0 ? ({start}) / {step} * {step} : 0")
        }
    };
    let count = dim(count);
    let end = most.map_or(count.clone(), |most| {
        let end = plus("first", most + Dim::constant(rows));
        format!("{end} < {count} ? {end} : {count}")
    });
    [start, end]
}

/// A sum of a position and a distance.
fn plus(position: &str, distance: Dim) -> String {
    match distance.as_const() {
        Some(0) => position.to_owned(),
        Some(n) if n < 0 => format!("{position} - {}", -n),
        _ => format!("{position} + {}", dim(distance)),
    }
}

fn of_expression(mask: &ComputedMask, id: ExprId, sense: Sense) -> (Band, bool) {
    let exprs = &mask.place.section.exprs;
    let node = exprs.get(id);
    let of = |k: usize, sense: Sense| of_expression(mask, node.args[k], sense);
    let (less, or_equal) = match (node.op, sense) {
        (ScalarOp::Not, Sense::As) => return of(0, Sense::Not),
        (ScalarOp::Not, Sense::Not) => return of(0, Sense::As),
        (ScalarOp::And, Sense::As) | (ScalarOp::Or, Sense::Not) => {
            let ((a, a_is_all), (b, b_is_all)) = (of(0, sense), of(1, sense));
            return (a.and(b), a_is_all && b_is_all);
        }
        (ScalarOp::Compare(Compare::Lt), Sense::As) | (ScalarOp::Compare(Compare::Ge), Sense::Not) => (true, false),
        (ScalarOp::Compare(Compare::Le), Sense::As) | (ScalarOp::Compare(Compare::Gt), Sense::Not) => (true, true),
        (ScalarOp::Compare(Compare::Gt), Sense::As) | (ScalarOp::Compare(Compare::Le), Sense::Not) => (false, false),
        (ScalarOp::Compare(Compare::Ge), Sense::As) | (ScalarOp::Compare(Compare::Lt), Sense::Not) => (false, true),
        _ => return (Band::EVERYTHING, false),
    };
    // The left side less the right one: `j - i` or `i - j`, and a constant.
    let difference = Affine::of(exprs, node.args[0]).plus(&Affine::of(exprs, node.args[1]), Dim::constant(-1));
    let only = difference.axes(exprs).is_some_and(|axes| axes.iter().all(|&a| a == mask.place.query || a == mask.place.key));
    let [i, j] = [mask.place.query, mask.place.key].map(|axis| difference.coefficient(exprs, axis).as_const());
    let forwards = match (i, j) {
        (Some(-1), Some(1)) if only => true,
        (Some(1), Some(-1)) if only => false,
        _ => return (Band::EVERYTHING, false),
    };
    let strictly = Dim::constant(i64::from(!or_equal));
    let constant = if forwards { Dim::ZERO - difference.constant } else { difference.constant };
    let band = match less == forwards {
        true => Band { least: None, most: Some(constant - strictly) },
        false => Band { least: Some(constant + strictly), most: None },
    };
    (band, true)
}
