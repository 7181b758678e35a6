//! A Program: a flat list of launches over one planned arena. Built by the compiler, run here.

use crate::cuda::CudaWork;
use crate::executor::Plans;
use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::error::Loc;
use igneous_ir::op::Op;
use igneous_ir::types::{DType, TensorType};
use std::any::Any;
use std::sync::Arc;

/// Compiled code of a stage list over a box of its section's parallel axes.
///
/// - `params`: one pointer for each kernel parameter, in order;
/// - `dims`: the value of each of the program's symbols, in the order of [`Program::symbols`];
/// - `bounds`: for each *parallel* axis of the section in order, the first index and the one past the last;
/// - `scratch`: at least the section's scratch bytes, 64-byte aligned, for this call alone;
/// - `error`: the run's error word; see [`ErrorWord`].
pub type KernelFn =
    unsafe extern "C" fn(params: *const *mut u8, dims: *const i64, bounds: *const i64, scratch: *mut u8, error: *mut ErrorWord);

/// Where checks report. `code` is 0 while nothing failed, else one more than the check's index in [`Program::checks`].
/// The first report stays.
#[repr(C)]
#[derive(Debug, Default)]
pub struct ErrorWord {
    /// 0, or one more than the index of the failed check.
    pub code: std::sync::atomic::AtomicU64,
    /// The number the check reported.
    pub value: std::sync::atomic::AtomicI64,
}

/// A compiled graph.
pub struct Program {
    /// The graph's name.
    pub name: String,
    /// The symbols whose values `dims` holds, each with the input and axis it is read from: the extent there is the symbol, or a
    /// multiple of it and a constant.
    pub symbols: Vec<(Symbol, usize, usize)>,
    /// The inputs' types.
    pub inputs: Vec<TensorType>,
    /// The outputs' types and what memory they use.
    pub outputs: Vec<Output>,
    /// Every buffer the launches name.
    pub buffers: Vec<BufferSpec>,
    /// The constants that `Place::Constant` names: bytes in the dtype's layout.
    pub constants: Vec<Arc<[u8]>>,
    /// The work, in order.
    pub launches: Vec<Launch>,
    /// The messages and lines of the checks.
    pub checks: Vec<(String, Option<Loc>)>,
    /// Keeps the machine code alive.
    pub code: Arc<dyn Any + Send + Sync>,
    /// What runs have resolved and recycle; the compiler gives `Default::default()`.
    pub plans: Plans,
}

/// A result of a program.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its type.
    pub ty: TensorType,
    /// Which buffer holds it after the run.
    pub buffer: usize,
    /// The input whose new value it is, of a variable.
    pub replaces: Option<usize>,
}

/// A buffer of a program.
#[derive(Clone, Debug)]
pub struct BufferSpec {
    /// Its type.
    pub ty: TensorType,
    /// Where it lies.
    pub place: Place,
}

/// Where a buffer lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The caller's input, read only.
    Input(usize),
    /// The caller's input, overwritten by the run: the caller must own it alone (a variable updated in place).
    InOut(usize),
    /// A fresh block that the run returns.
    Result,
    /// In the arena at this byte offset, a multiple of 64 (symbolic extents make it an expression).
    Arena(Dim),
    /// A constant.
    Constant(usize),
}

/// One step of a program.
pub struct Launch {
    /// The kernel's name.
    pub name: String,
    /// The buffer behind each kernel parameter.
    pub params: Vec<usize>,
    /// The kernel's sections; they run at once.
    pub work: Vec<Work>,
    /// Arithmetic operations, for reports.
    pub flops: Dim,
    /// Bytes moved at least, for reports.
    pub bytes: Dim,
    /// Whether it writes an input in place: such a launch does nothing once the error word is set.
    pub commits: bool,
}

/// What a section does.
#[derive(Clone)]
pub enum Work {
    /// Calls `function` on boxes that cover the parallel axes.
    Loop(LoopWork),
    /// A matrix product by the library, with packed operands and an epilogue by compiled code.
    Dot(Box<DotWork>),
    /// Attention or its derivative, by the tile kernels.
    Attention(Box<AttentionWork>),
    /// Runs a program once for each step, carrying values.
    Scan(Box<ScanWork>),
    /// Runs one of two programs.
    Cond(Box<CondWork>),
    /// Runs a program as long as another one says so, carrying values.
    While(Box<WhileWork>),
    /// Runs an outlined block; the launch's params are its inputs, then its outputs. No output overlaps an input.
    Call(Arc<Program>),
    /// Calls a function over whole tensors.
    Library(Box<LibraryWork>),
    /// Copies param 0 to param 1.
    Copy,
    /// Launches a kernel on a CUDA device. The works of a launch run one after the other there.
    Cuda(Box<CudaWork>),
}

impl Work {
    /// The programs that it runs.
    pub fn programs(&self) -> Vec<&Arc<Program>> {
        match self {
            Work::Call(body) => vec![body],
            Work::Scan(scan) => vec![&scan.body],
            Work::Cond(cond) => vec![&cond.then, &cond.otherwise],
            Work::While(repeated) => vec![&repeated.condition, &repeated.body],
            _ => Vec::new(),
        }
    }
}

impl Program {
    /// Shows the program, then all inside of it.
    pub fn visit(&self, see: &mut dyn FnMut(&Program)) {
        see(self);
        self.launches.iter().flat_map(|l| &l.work).flat_map(Work::programs).for_each(|p| p.visit(see));
    }
}

/// An operator computed by a function of [`crate::library`]. The launch's params are its operands, then its results; none
/// overlaps another.
#[derive(Clone, Debug)]
pub struct LibraryWork {
    /// The operator.
    pub op: Op,
    /// The types of the operands.
    pub operands: Vec<TensorType>,
    /// The types of the results.
    pub results: Vec<TensorType>,
    /// The line that an error names.
    pub loc: Option<Loc>,
}

/// A section run by compiled code alone.
#[derive(Clone)]
pub struct LoopWork {
    /// The code.
    pub function: KernelFn,
    /// The extents of the parallel axes.
    pub extents: Vec<Dim>,
    /// Which parallel axes may be cut into boxes, best first; the others always run whole.
    pub bind: Vec<usize>,
    /// Estimated nanoseconds per point of the parallel axes: decides into how many tasks the work is cut.
    pub point_ns: f64,
    /// Whether each box reads a part of many rows: then there are no more boxes than threads, because memory gives long rows
    /// faster.
    pub rows: bool,
    /// Scratch bytes each call needs.
    pub scratch: Dim,
    /// The parameters of the launch that the code takes, in its order; none: all of them.
    pub params: Option<Vec<usize>>,
}

/// `out[b, m, n] = Σ_k lhs[b, m, k] · rhs[b, k, n]`, then the epilogue.
#[derive(Clone)]
pub struct DotWork {
    /// The element type of accumulators, and of operands if it is `f32` or `f64`; those of `i32` are `i8`.
    pub dtype: DType,
    /// Extents of the batch axes (each kept apart), and products of the extents of the m, n and k axes.
    pub batch: Vec<Dim>,
    /// Rows.
    pub m: Dim,
    /// Columns.
    pub n: Dim,
    /// Contracted.
    pub k: Dim,
    /// The left operand.
    pub lhs: Operand,
    /// The right operand.
    pub rhs: Operand,
    /// Into how many parts k is cut; partial sums are added in order.
    pub split_k: usize,
    /// Where the product goes.
    pub out: DotOut,
    /// Rows and columns per task: blocks are the same for every number of threads.
    pub block: (Dim, Dim),
}

/// An operand of a dot.
#[derive(Clone)]
pub enum Operand {
    /// Elements of a kernel parameter at `offset + Σ batch·stride + row·stride + column·stride` (elements).
    Strided {
        /// The kernel parameter.
        param: usize,
        /// The type in memory: that of the dot's operands; or, if that is `f32`, a half type or `i8`, which is converted a block at
        /// a time.
        dtype: DType,
        /// The first element.
        offset: Dim,
        /// One stride for each batch axis.
        batch: Vec<Dim>,
        /// The stride along m (left) or n (right).
        outer: Dim,
        /// The stride along k.
        k: Dim,
    },
    /// Elements of a kernel parameter under windows. If one operand is of this kind, both are; the type is `f32`, and the left
    /// operand lies inside of its parameter.
    Window(Box<Window>),
    /// As [`Operand::Window`], for a right operand that is an image under 3×3 windows which move by one along its last two axes:
    /// `k` is channel, row and column of the window, `outer` row and column of the result. The product is made from transformed
    /// squares of 2×2 results, with other rounding; `k` is in one part, blocks are of whole rows of the image, and columns of the
    /// result are neighbours.
    Winograd(Box<Window>),
    /// Computed into scratch by compiled code: a `KernelFn` whose bounds are, in order, those of the batch axes, of
    /// `outer` and of `k` (both flattened), and which writes `[k_hi-k_lo][outer_hi-outer_lo]` elements densely, k outermost,
    /// to `scratch` (batch ranges have length one).
    Packed {
        /// The code.
        function: KernelFn,
    },
}

/// Elements of a kernel parameter whose index along each axis is a sum of multiples of the product's axes; zero where an
/// index is outside of the parameter.
#[derive(Clone)]
pub struct Window {
    /// The kernel parameter, dense and row-major.
    pub param: usize,
    /// The extents of the axes that m (left) or n (right) is flattened from.
    pub outer: Vec<Dim>,
    /// The extents of the axes that k is flattened from: the same for both operands.
    pub k: Vec<Dim>,
    /// The index along each axis of the parameter.
    pub index: Vec<WindowIndex>,
}

/// `offset + Σ batch·coefficient + Σ outer·coefficient + Σ k·coefficient`, along an axis of a parameter.
#[derive(Clone)]
pub struct WindowIndex {
    /// The extent of the parameter along the axis.
    pub extent: Dim,
    /// The parameter's elements are at multiples of this index, and zeros between them.
    pub step: Dim,
    /// The constant.
    pub offset: Dim,
    /// One coefficient for each batch axis.
    pub batch: Vec<Dim>,
    /// One coefficient for each outer axis.
    pub outer: Vec<Dim>,
    /// One coefficient for each axis of k.
    pub k: Vec<Dim>,
}

/// Where the product of a dot goes.
#[derive(Clone)]
pub enum DotOut {
    /// Straight to a kernel parameter, laid out `[batch…, m, n]` with these strides in elements.
    Param {
        /// The kernel parameter.
        param: usize,
        /// One stride for each batch axis.
        batch: Vec<Dim>,
        /// The stride along m.
        m: Dim,
        /// The stride along n.
        n: Dim,
    },
    /// To scratch, then the epilogue: a `KernelFn` whose bounds are those of the batch axes, m and n (flattened), and which
    /// reads the block `[m_hi-m_lo][n_hi-n_lo]`, dense, from `scratch` (batch ranges have length one). Its own scratch follows
    /// the block, aligned to 64 bytes.
    Epilogue {
        /// The code.
        function: KernelFn,
        /// Scratch bytes behind the block.
        scratch: Dim,
    },
}

/// `softmax(scale · q kᵀ) v` for each batch, without storing the scores; all numbers are `f32`.
#[derive(Clone)]
pub struct AttentionWork {
    /// Extents of the batch axes.
    pub batch: Vec<Dim>,
    /// How many queries a batch has.
    pub queries: Dim,
    /// How many keys.
    pub keys: Dim,
    /// How many numbers a query and a key have.
    pub features: Dim,
    /// How many numbers a value has.
    pub values: Dim,
    /// What products of queries and keys are multiplied with.
    pub scale: f64,
    /// Whether a query sees only the keys up to its own position.
    pub causal: bool,
    /// The queries, keys and values, a row each.
    pub operands: [Elements; 3],
    /// What a query sees, a row for each query.
    pub mask: Option<AttentionMask>,
    /// A function of the scaled products, that the mask is applied to the results of.
    pub score: Option<ScoreWork>,
    /// What is computed.
    pub pass: AttentionPass,
}

/// See [`AttentionWork::score`].
#[derive(Clone)]
pub struct ScoreWork {
    /// The code: parameters are products, what is given, the scores and, in the derivative, their slopes, all dense and `f32`; the
    /// bounds are those of one axis, along which they lie.
    pub function: KernelFn,
    /// Scratch bytes each call needs.
    pub scratch: Dim,
    /// What the function is given for a query and a key besides their product.
    pub given: Vec<ScoreOperand>,
}

/// See [`ScoreWork::given`]; a row for each query.
#[derive(Clone)]
pub enum ScoreOperand {
    /// Numbers.
    Numbers(Elements),
    /// Bools, which the code is given as 0 and 1.
    Bools(Elements),
}

/// See [`AttentionWork::mask`].
#[derive(Clone)]
pub enum AttentionMask {
    /// Numbers that are added to the scores.
    Added(Elements),
    /// Bools, and the score of the keys that a query does not see.
    Seen(Elements, f64),
}

/// What is computed of attention, and from what besides its operands.
#[derive(Clone)]
pub enum AttentionPass {
    /// The result and the logarithms of the sums of the exponentials, as far as they are wanted.
    Forward {
        /// A row for each query.
        y: Option<Elements>,
        /// A number for each query.
        lse: Option<Elements>,
    },
    /// The cotangents of the operands, as far as they are wanted.
    Backward {
        /// The logarithms of the sums of the exponentials.
        lse: Elements,
        /// What is taken off the cotangents of the probabilities, a number for each query.
        delta: Elements,
        /// The cotangent of the result.
        dy: Elements,
        /// Those of queries, keys and values.
        cotangents: Box<[Option<Elements>; 3]>,
    },
}

/// Elements of a kernel parameter at `offset + Σ batch·stride + row·stride + column·stride`.
#[derive(Clone)]
pub struct Elements {
    /// The kernel parameter.
    pub param: usize,
    /// The first element.
    pub offset: Dim,
    /// One stride for each batch axis.
    pub batch: Vec<Dim>,
    /// The stride between rows.
    pub row: Dim,
    /// The stride between columns.
    pub column: Dim,
}

/// A loop over steps. The launch's params are: constants, carries (initial), sequences, then carries (final), stacked results.
/// No output overlaps an input, except that a final carry may be the very memory of its initial one. A carry whose place in the
/// body is `InOut` is updated in place; one whose output is its input is not copied.
#[derive(Clone)]
pub struct ScanWork {
    /// The body: inputs are constants, carries, one element of each sequence; outputs are carries, one element of each result.
    pub body: Arc<Program>,
    /// The number of steps.
    pub steps: Dim,
    /// How many params are constants.
    pub constants: usize,
    /// How many are carries.
    pub carries: usize,
    /// How many are sequences (axis 0 is the step).
    pub sequences: usize,
    /// Whether steps run from last to first.
    pub reverse: bool,
}

/// A decision. The launch's params are: the predicate, a bool; the inputs of both programs; their outputs. No output overlaps an
/// input.
#[derive(Clone)]
pub struct CondWork {
    /// Runs if the predicate is true.
    pub then: Arc<Program>,
    /// Runs if it is false.
    pub otherwise: Arc<Program>,
}

/// A loop whose end the data decide. The launch's params are: constants, carries (initial), carries (final). No output overlaps
/// an input.
#[derive(Clone)]
pub struct WhileWork {
    /// From constants and carries to one bool.
    pub condition: Arc<Program>,
    /// From constants and carries to the next carries.
    pub body: Arc<Program>,
    /// How many params are constants.
    pub constants: usize,
    /// The most steps.
    pub bound: Option<u32>,
}
