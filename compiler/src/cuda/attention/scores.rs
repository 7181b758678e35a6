//! Scores and what becomes of them, in the registers of a warp: masks, an online softmax, weights and cotangents.

use super::band::RowsAre;
use super::tensor::{Shape, Tensor};
use super::tiles::MaskTile;
use super::{Attention, INFINITY, Masking, Wanted, number};
use crate::cuda::out::Out;
use crate::cuda::scalar::dim;
use igneous_ir::dim::Dim;
use igneous_runtime::program::AttentionMask;
use std::f64::consts::LOG2_E;

/// The scores of a block.
pub(super) struct Scores<'m> {
    pub rows: RowsAre,
    /// The first of the others.
    pub column0: &'static str,
    pub mask: Option<&'m MaskTile<'m>>,
}

impl<'a> Tensor<'a> {
    /// Whether scores are the products, multiplied with the scale in the exponent.
    pub fn raw(&self) -> bool {
        self.attention.masking() == Masking::Nothing && self.attention.function.is_none() && self.attention.work.scale > 0.0
    }

    /// Two to this times the difference of scores is the exponential.
    fn exponent(&self) -> f64 {
        if self.raw() { LOG2_E * self.attention.work.scale } else { LOG2_E }
    }

    /// The exponential of a score less something, which is given times the exponent where scores are products.
    pub fn exp(&self, score: &str, less: &str) -> String {
        self.attention.helper("exp2_approx");
        match self.raw() {
            true => format!("exp2_approx(fmaf({score}, {}, -{less}))", number(self.exponent())),
            // Numbers so large that their multiples are infinite stand for minus infinity in masks.
            false => format!("exp2_approx(({score} - {less}) * {})", number(LOG2_E)),
        }
    }

    /// A loop over the elements of the scores, with the query `i` and the key `j` of each.
    fn each_score(&self, out: &mut Out, rows: RowsAre, column0: &str) {
        for (variable, end) in [("r", self.shape.high), ("n", self.shape.block / 8), ("e", 4)] {
            out.line("#pragma unroll");
            out.open(format!("for (int {variable} = 0; {variable} < {end}; ++{variable}) {{"));
        }
        let [row, column] = if rows == RowsAre::Queries { ["i", "j"] } else { ["j", "i"] };
        out.line(format!("const int {row} = first + row0 + r * 16 + group + e / 2 * 8;"));
        out.line(format!("const int {column} = {column0} + n * 8 + pair + e % 2;"));
    }

    fn end_each(&self, out: &mut Out) {
        (0..3).for_each(|_| out.close());
    }

    /// Whether some key of a block is outside of what a query may see, or behind the last key.
    fn crosses(&self, rows: RowsAre, column0: &str) -> Option<String> {
        let work = self.attention.work;
        let Shape { block, high } = self.shape;
        let mut terms = self.attention.band.crossed(rows, ["first + row0", column0], [16 * high, block]);
        if rows == RowsAre::Queries && work.keys.rem(block as usize) != Dim::ZERO {
            terms.push(format!("k0 + {block} > {}", dim(work.keys)));
        }
        (!terms.is_empty()).then(|| terms.join(" || "))
    }

    /// Gives what is not seen of products the score minus infinity.
    fn hide(&self, out: &mut Out, rows: RowsAre, column0: &str) {
        let Some(crosses) = self.crosses(rows, column0) else { return };
        out.open(format!("if ({crosses}) {{"));
        self.each_score(out, rows, column0);
        let mut hidden = self.attention.band.outside();
        if rows == RowsAre::Queries {
            hidden.push(format!("j >= {}", dim(self.attention.work.keys)));
        }
        out.line(format!("if ({}) score[r][n][e] = {INFINITY};", hidden.join(" || ")));
        self.end_each(out);
        out.close();
    }

    /// The part of the mask that a block of scores needs, if there is one.
    pub fn mask(&self, rows: RowsAre, stages: i64) -> Option<MaskTile<'a>> {
        let (Some(AttentionMask::Added(elements)) | Some(AttentionMask::Seen(elements, _))) = &self.attention.work.mask else {
            return None;
        };
        let (own, others) = (self.shape.rows(), self.shape.block);
        let [queries, keys] = if rows == RowsAre::Queries { [own, others] } else { [others, own] };
        Some(MaskTile { elements, dtype: self.attention.dtype(elements), queries, keys, stages })
    }

    /// `x`, the score, and with a mask of bools whether it is `seen`; there is no such pair outside. Gives the slope of a function, if
    /// that is wanted.
    fn score(&self, out: &mut Out, rows: RowsAre, mask: Option<&MaskTile>, wanted: Wanted) -> Option<String> {
        let Attention { work, .. } = self.attention;
        let outside: String = self.attention.band.outside().iter().map(|condition| format!(" && !({condition})")).collect();
        out.line(format!("const bool inside = i < {} && j < {}{outside};", dim(work.queries), dim(work.keys)));
        let scaled = format!("score[r][n][e] * {}", number(work.scale));
        let (own, other) = ("row0 + r * 16 + group + e / 2 * 8", "n * 8 + pair + e % 2");
        let [query, key] = if rows == RowsAre::Queries { [own, other] } else { [other, own] };
        if self.attention.function.is_some() {
            out.line("const float product = score[r][n][e];");
        }
        let computed = self.attention.compute(out, "product", wanted);
        let product = computed.score.unwrap_or(scaled);
        // Read inside and outside, so that there is no branch.
        let given = match mask {
            Some(mask) => mask.load(self.attention, "stage", query, key),
            None => computed.mask.unwrap_or_default(),
        };
        match self.attention.masking() {
            Masking::Nothing => out.line(format!("const float x = inside ? {product} : {INFINITY};")),
            Masking::Adds => {
                out.line(format!("const float given = {given};"));
                out.line(format!("const float x = inside ? {product} + given : {INFINITY};"));
            }
            Masking::Hides(hidden) => {
                out.line(format!("const bool seen = inside & {given};"));
                let hidden =
                    if hidden.is_finite() { format!("inside ? {} : {INFINITY}", number(hidden)) } else { INFINITY.into() };
                out.line(format!("const float x = seen ? {product} : {hidden};"));
            }
        }
        computed.slope
    }

    /// Whether a warp sees anything of a block; none if each does.
    pub fn sees(&self, out: &mut Out, rows: RowsAre, column0: &str) -> Option<&'static str> {
        let Shape { high, block } = self.shape;
        let terms = self.attention.band.touched(rows, ["first + row0", column0], [16 * high, block]);
        if terms.is_empty() {
            return None;
        }
        out.line(format!("const bool sees = {};", terms.join(" && ")));
        Some("sees")
    }

    /// Weights instead of scores, with the sums so far corrected for a new maximum.
    pub fn softmax(&self, out: &mut Out, mask: Option<&MaskTile>, width: Option<i64>) {
        let Shape { high, block } = self.shape;
        if self.raw() {
            self.hide(out, RowsAre::Queries, "k0");
        } else {
            self.each_score(out, RowsAre::Queries, "k0");
            self.score(out, RowsAre::Queries, mask, Wanted::Value);
            out.line("score[r][n][e] = x;");
            self.end_each(out);
        }
        for (variable, end) in [("r", high), ("h", 2)] {
            out.line("#pragma unroll");
            out.open(format!("for (int {variable} = 0; {variable} < {end}; ++{variable}) {{"));
        }
        out.line("float shift = top[r][h];");
        out.line("#pragma unroll");
        out.line(format!(
            "for (int n = 0; n < {}; ++n) shift = fmaxf(shift, fmaxf(score[r][n][h * 2], score[r][n][h * 2 + 1]));",
            block / 8
        ));
        for by in [1, 2] {
            out.line(format!("shift = fmaxf(shift, __shfl_xor_sync(0xffffffffu, shift, {by}));"));
        }
        // While nothing is seen, the sum stays zero.
        let times = if self.raw() { format!(" * {}", number(self.exponent())) } else { String::new() };
        out.line(format!("const float base = shift == {INFINITY} ? 0.0f : shift{times};"));
        out.line(format!("const float correction = {};", self.exp("top[r][h]", "base")));
        out.line("top[r][h] = shift;");
        out.line("sum[r][h] *= correction;");
        out.line("#pragma unroll");
        out.open(format!("for (int n = 0; n < {}; ++n) {{", block / 8));
        out.line("#pragma unroll");
        out.open("for (int e = h * 2; e < h * 2 + 2; ++e) {");
        out.line(format!("score[r][n][e] = {};", self.exp("score[r][n][e]", "base")));
        out.line("sum[r][h] += score[r][n][e];");
        out.close();
        out.close();
        if let Some(width) = width {
            out.line("#pragma unroll");
            out.open(format!("for (int n = 0; n < {}; ++n) {{", width / 8));
            out.line("weighted[r][n][h * 2] *= correction;");
            out.line("weighted[r][n][h * 2 + 1] *= correction;");
            out.close();
        }
        out.close();
        out.close();
    }

    /// Puts the weights into `score`, and the cotangents of the products but for the scale into `of_weight`, if those are wanted.
    pub fn cotangents(&self, out: &mut Out, scores: &Scores, [lse, delta]: [&str; 2], of_products: bool) {
        let Scores { rows, column0, mask } = *scores;
        if self.raw() {
            self.hide(out, rows, column0);
        }
        self.each_score(out, rows, column0);
        let mut weight = self.exp("x", lse);
        let mut slope = None;
        if self.raw() {
            out.line("const float x = score[r][n][e];");
        } else {
            let wanted = if of_products { Wanted::Derivative } else { Wanted::Value };
            slope = self.score(out, rows, mask, wanted);
        }
        if let Some(unseen) = self.attention.unseen(lse) {
            weight = format!("seen ? {weight} : inside ? {unseen} : 0.0f");
        }
        out.line(format!("const float weight = {weight};"));
        out.line("score[r][n][e] = weight;");
        if of_products {
            let ds = format!("weight * (of_weight[r][n][e] - {delta})");
            let ds = match (self.attention.masking(), slope) {
                (Masking::Hides(_), slope) => {
                    format!("seen ? {ds}{} : 0.0f", slope.map_or(String::new(), |slope| format!(" * {slope}")))
                }
                (_, Some(slope)) => format!("inside ? {ds} * {slope} : 0.0f"),
                (_, None) => ds,
            };
            out.line(format!("of_weight[r][n][e] = {ds};"));
        }
        self.end_each(out);
    }

    /// The logarithms of the sums, as [`Tensor::exp`] wants them.
    pub fn less(&self, lse: &str) -> String {
        if self.raw() { format!("{lse} * {}", number(LOG2_E)) } else { lse.to_owned() }
    }
}
