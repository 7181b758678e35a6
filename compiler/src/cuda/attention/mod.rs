//! Attention without storing the scores: a block has some queries (or some keys, for their cotangents) and passes over the others a few
//! at a time. The forward pass keeps the maximum and the sum of each row as it goes (Milakov and Gimelshein 2018, arXiv:1805.02867; Dao
//! et al. 2022, arXiv:2205.14135), the backward pass computes the probabilities again.
//!
//! Half types are multiplied by tensor cores, which takes probabilities of a half type, too; others, and half types in strict mode, in
//! single precision.

mod band;
mod plain;
mod scores;
mod tensor;
mod tiles;

use super::out::Out;
use super::plan;
use super::range::ranges;
use super::scalar::{self, UNARY, Unit, Writer, dim, identifier, literal, reserved};
use super::{Text, assemble};
use crate::cpu::{ComputedMask, ComputedScore, Recognised, ScorePlace};
use crate::precision::Precision;
use band::Band;
use igneous_ir::Result;
use igneous_ir::dim::Dim;
use igneous_ir::kernel::Kernel;
use igneous_ir::scalar::{ExprId, ScalarOp};
use igneous_ir::types::{DType, Literal};
use igneous_runtime::cuda::CudaWork;
use igneous_runtime::program::{AttentionMask, AttentionPass, AttentionWork, Elements};
use std::cell::RefCell;
use std::collections::HashSet;

/// The most features and values of these kernels, whose threads keep a part of each row in registers.
const WIDEST: i64 = 256;

/// Minus infinity, the score of what is not seen.
const INFINITY: &str = "__int_as_float(0xff800000)";
/// Plus infinity, for the logarithm of the sum of a query that sees nothing: then its probabilities are zero.
const NO_SUM: &str = "__int_as_float(0x7f800000)";

/// What a kernel computes.
#[derive(Clone, Copy)]
enum Pass<'a> {
    /// The result and the logarithms of the sums.
    Forward(Option<&'a Elements>, Option<&'a Elements>),
    /// The cotangent of the queries.
    OfQueries(&'a Elements),
    /// Those of keys and values.
    OfKeys(Option<&'a Elements>, Option<&'a Elements>),
}

/// The blocks of a kernel.
struct Blocks {
    /// Queries or keys of each.
    rows: i64,
    threads: u32,
    /// Bytes of shared memory.
    shared: i64,
}

/// The kernels of an attention; none if rows are too wide for these.
pub(super) fn emit(kernel: &Kernel, known: &Recognised, precision: Precision) -> Option<Result<Vec<CudaWork>>> {
    let work = &known.work;
    let causal = if work.causal { Band::CAUSAL } else { Band::EVERYTHING };
    let (band, computed) = match known.mask {
        Some(mask) if mask.hidden == Some(f64::NEG_INFINITY) => {
            let (band, is_all) = Band::of(&mask);
            (causal.and(band), (!is_all).then_some(mask))
        }
        mask => (causal, mask),
    };
    let (features, values) = (work.features.as_const()?, work.values.as_const()?);
    if features > WIDEST || values > WIDEST {
        return None;
    }
    let dtype = kernel.params[work.operands[0].param].ty.dtype;
    let half = (dtype != DType::F32 && features > 0 && precision != Precision::Strict).then_some(dtype);
    let emitted = passes(work, half.is_some() && !tensor::together(features, values)).into_iter().map(|(suffix, pass)| {
        let mut taken = reserved();
        taken.extend([plain::WORDS, tensor::WORDS].iter().flat_map(|w| w.split_whitespace()).map(str::to_owned));
        let name = identifier(&format!("{}{suffix}", kernel.name), &mut taken);
        let params: Vec<String> = kernel.params.iter().map(|p| identifier(&p.name, &mut taken)).collect();
        let short_index = short_index(kernel, known);
        let unit = RefCell::default();
        let function = known.function;
        let attention = Attention { kernel, work, band, computed, function, params, features, values, unit, short_index, taken };
        let mut out = Out::default();
        let Blocks { rows, threads, shared } = match half {
            Some(half) => tensor::write(&attention, half, pass, &mut out),
            None => plain::write(&attention, pass, &mut out),
        };
        let all = if matches!(pass, Pass::OfKeys(..)) { work.keys } else { work.queries };
        let blocks = work.batch.iter().copied().product::<Dim>() * all.div_ceil(rows as usize);
        let grid = blocks.min(Dim::constant(plan::TILES)).max(1);
        let text = Text::of(kernel, name, &attention.params, attention.unit, short_index, Dim::ZERO);
        assemble(Text { threads, resident: 1, ..text }, grid, Dim::constant(shared), out)
    });
    Some(emitted.collect())
}

/// Whether elements and blocks can be numbered with 32 bits; positions always can.
fn short_index(kernel: &Kernel, known: &Recognised) -> bool {
    let work = &known.work;
    let in_range = |place: ScorePlace, roots: &[ExprId]| {
        let short = |(lo, hi): (i64, i64)| i32::try_from(lo).is_ok() && i32::try_from(hi).is_ok();
        ranges(place.section, roots).into_iter().flatten().all(short)
    };
    let of_mask = known.mask.is_none_or(|mask| in_range(mask.place, &[mask.expression]));
    let of_function = known.function.is_none_or(|function| in_range(function.place, &function.roots()));
    let rows = work.batch.iter().copied().product::<Dim>() * work.queries.max(work.keys);
    let mut numbers = kernel.params.iter().map(|p| p.ty.elements()).chain([rows]);
    numbers.all(|d| d.bounds().1.is_some_and(|hi| hi <= 1 << 30)) && of_mask && of_function
}

/// The kernels with what is put behind their names. The cotangents of keys and values come from one kernel, or `apart`.
fn passes(work: &AttentionWork, apart: bool) -> Vec<(&'static str, Pass<'_>)> {
    let mut passes = match &work.pass {
        AttentionPass::Forward { y, lse } => vec![("", Pass::Forward(y.as_ref(), lse.as_ref()))],
        AttentionPass::Backward { cotangents, .. } => {
            let [dq, dk, dv] = cotangents.each_ref().map(Option::as_ref);
            let of_keys = match (dk, dv) {
                (None, None) => vec![],
                (Some(_), Some(_)) if apart => vec![("_keys", Pass::OfKeys(dk, None)), ("_values", Pass::OfKeys(None, dv))],
                _ => vec![("_keys", Pass::OfKeys(dk, dv))],
            };
            dq.map(|dq| ("_queries", Pass::OfQueries(dq))).into_iter().chain(of_keys).collect()
        }
    };
    if let [(suffix, _)] = &mut passes[..] {
        *suffix = "";
    }
    passes
}

/// What the kernels of an attention have in common.
struct Attention<'a> {
    kernel: &'a Kernel,
    work: &'a AttentionWork,
    band: Band,
    /// The mask, if it is not in memory and more than a band.
    computed: Option<ComputedMask<'a>>,
    /// The function of the scores, if there is one.
    function: Option<ComputedScore<'a>>,
    params: Vec<String>,
    features: i64,
    values: i64,
    unit: RefCell<Unit>,
    short_index: bool,
    taken: HashSet<String>,
}

/// What a mask does to scores.
#[derive(Clone, Copy, PartialEq)]
enum Masking {
    Nothing,
    Adds,
    /// Gives this score to what is not seen.
    Hides(f64),
}

/// What is computed of a function of the scores.
#[derive(Clone, Copy, PartialEq)]
enum Wanted {
    Value,
    /// And its slope.
    Derivative,
}

/// Texts of what is computed for a query and a key.
#[derive(Default)]
struct Computed {
    mask: Option<String>,
    score: Option<String>,
    slope: Option<String>,
}

/// In which order blocks of rows are begun: those that take longest under a causal mask first.
#[derive(Clone, Copy)]
enum Order {
    Forwards,
    Backwards,
}

impl Attention<'_> {
    fn masking(&self) -> Masking {
        match (&self.work.mask, &self.computed) {
            (None, None) => Masking::Nothing,
            (Some(AttentionMask::Added(_)), _) | (None, Some(ComputedMask { hidden: None, .. })) => Masking::Adds,
            (Some(AttentionMask::Seen(_, hidden)), _) | (None, Some(ComputedMask { hidden: Some(hidden), .. })) => {
                Masking::Hides(*hidden)
            }
        }
    }

    /// What is computed for query `i` and key `j`, or for any if those are not `inside`: the mask, and the function of a product.
    fn compute(&self, out: &mut Out, product: &str, wanted: Wanted) -> Computed {
        let mask = self.computed.map(|mask| mask.expression);
        let score = self.function.map(|function| function.score);
        let slope = self.function.filter(|_| wanted == Wanted::Derivative).and_then(|function| function.slope);
        let roots: Vec<ExprId> = [mask, score, slope].into_iter().flatten().collect();
        let place = self.computed.map(|mask| mask.place).or(self.function.map(|function| function.place));
        let Some(place) = place else { return Computed::default() };
        let exprs = &place.section.exprs;
        let reached = exprs.reachable(&roots);
        if reached.iter().any(|&id| matches!(exprs.get(id).op, ScalarOp::Axis(_))) {
            out.line("const int query = inside ? i : 0, key = inside ? j : 0;");
        }
        let name = |axis: u32| match place.batch.iter().position(|&b| b == axis) {
            Some(k) => format!("b{k}"),
            None if axis == place.query => "query".to_owned(),
            None if axis == place.key => "key".to_owned(),
            None => "0".to_owned(),
        };
        let writer = Writer {
            kernel: self.kernel,
            section: place.section,
            unit: &self.unit,
            params: &self.params,
            axes: (0..place.section.axes.len() as u32).map(name).collect(),
            locals: Vec::new(),
            interleave: "",
            ranges: ranges(place.section, &roots),
            short_index: self.short_index,
            taken: self.taken.clone(),
        };
        let products = reached.iter().filter(|&&id| matches!(exprs.get(id).op, ScalarOp::Local(_)));
        let (lines, named) = writer.block(&roots, &products.map(|&id| (id, product.to_owned())).collect());
        lines.iter().for_each(|line| out.line(line));
        let text = |root: Option<ExprId>| root.map(|root| writer.text(root, &named, UNARY));
        Computed { mask: text(mask), score: text(score), slope: text(slope) }
    }

    fn dtype(&self, e: &Elements) -> DType {
        self.kernel.params[e.param].ty.dtype
    }

    /// An element in memory.
    fn place(&self, e: &Elements, row: &str, column: &str) -> String {
        let mut text = dim(e.offset);
        let terms = e
            .batch
            .iter()
            .enumerate()
            .map(|(i, &s)| (format!("b{i}"), s))
            .chain([(row.to_owned(), e.row), (column.to_owned(), e.column)]);
        for (index, stride) in terms.filter(|t| t.1 != Dim::ZERO) {
            text += &match stride == Dim::ONE {
                true => format!(" + {index}"),
                false => format!(" + (idx){index} * {}", dim(stride)),
            };
        }
        format!("{}[{}]", self.params[e.param], text.strip_prefix("0 + ").unwrap_or(&text))
    }

    /// The value of an element.
    fn load(&self, e: &Elements, row: &str, column: &str) -> String {
        scalar::from_memory(&self.unit, self.dtype(e), self.place(e, row, column))
    }

    /// The statement that gives an element a value.
    fn store(&self, e: &Elements, row: &str, column: &str, value: &str) -> String {
        format!("{} = {};", self.place(e, row, column), scalar::to_memory(&self.unit, self.dtype(e), value.to_owned()))
    }

    /// The loop over blocks of rows, and the indices of the batch.
    fn begin(&self, out: &mut Out, of: i64, rows: Dim, order: Order) {
        let work = self.work;
        let batch: Dim = work.batch.iter().copied().product();
        let tiles = rows.div_ceil(of as usize);
        out.open(format!("for (idx tile = blockIdx.x; tile < {}; tile += gridDim.x) {{", dim(batch * tiles)));
        match order {
            Order::Backwards if self.band.most.is_some() => {
                out.line(format!("const int first = ({0} - 1 - tile % {0}) * {of};", dim(tiles)));
            }
            _ => out.line(format!("const int first = tile % {} * {of};", dim(tiles))),
        }
        for (i, &extent) in work.batch.iter().enumerate() {
            let inner: Dim = work.batch[i + 1..].iter().copied().product();
            out.line(format!("const idx b{i} = tile / {} % {};", dim(inner * tiles), dim(extent)));
        }
    }

    /// The probability of key `j`, which query `i` does not see, where the score of such keys is a number: they count for queries that
    /// see none at all.
    fn unseen(&self, lse: &str) -> Option<String> {
        let Masking::Hides(hidden) = self.masking() else { return None };
        let outside = self.band.outside().join(" || ");
        let outside = if outside.is_empty() { outside } else { format!("{outside} ? 0.0f : ") };
        let share = format!("{outside}{lse} < {} ? 1.0f / (float){} : 0.0f", number(0.5 * hidden), dim(self.work.keys));
        hidden.is_finite().then_some(share)
    }

    fn helper(&self, name: &str) {
        self.unit.borrow_mut().helpers.insert(super::prelude::helper(name));
    }
}

/// A number in single precision.
fn number(value: f64) -> String {
    literal(Literal::float(DType::F32, value))
}
