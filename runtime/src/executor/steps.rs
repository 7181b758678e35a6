//! Running the steps of a plan.

use super::attention::PlannedAttention;
use super::boxes::{Bounds, Grid};
use super::control::{PlannedCond, PlannedWhile};
use super::dot::PlannedDot;
use super::frame::Frame;
use super::inner::{PlannedCall, PlannedScan};
use super::library::PlannedLibrary;
use super::plan::{Plan, PlannedPlace};
use super::{LaunchTime, Run};
use crate::program::{ErrorWord, KernelFn, Program};
use crate::scratch::with_scratch;
use crate::threads::parallel_for;
use igneous_ir::error::Result;
use std::sync::Arc;
use std::time::Instant;

/// Part of the work of a launch.
pub(super) struct Step {
    /// Which launch.
    pub launch: usize,
    /// The entry of the pointer table where its parameters start.
    pub params: usize,
    /// Whether it writes an input in place.
    pub commits: bool,
    pub action: Action,
}

pub(super) enum Action {
    Boxes(Boxes),
    Call(PlannedCall),
    Scan(PlannedScan),
    Cond(PlannedCond),
    While(PlannedWhile),
    Library(PlannedLibrary),
}

/// Independent boxes of work and the tasks they are grouped into.
pub(super) struct Boxes {
    pub pieces: Vec<Piece>,
    /// Ranges of box numbers.
    pub tasks: Vec<(usize, usize)>,
}

/// Boxes of one kind; the first has number `first`.
pub(super) struct Piece {
    pub first: usize,
    pub boxes: usize,
    pub work: PieceWork,
}

pub(super) enum PieceWork {
    /// The parameters of the code lie `params` entries behind those of the launch.
    Loop {
        function: KernelFn,
        params: usize,
        scratch: usize,
        grid: Grid,
        whole: Bounds,
    },
    Prepare(Arc<PlannedDot>),
    Product(Arc<PlannedDot>),
    Sum(Arc<PlannedDot>),
    Attention(Box<PlannedAttention>),
    Copy(Grid),
}

/// What a box of work needs to know about the run.
pub(super) struct Context {
    /// The launch's parameters.
    pub params: *const *mut u8,
    /// The values of the program's symbols.
    pub dims: *const i64,
    /// The frame's memory.
    pub memory: *mut u8,
    pub error: *mut ErrorWord,
}

// SAFETY: boxes of a step write different places, and the error word is atomic.
unsafe impl Sync for Context {}

/// Runs a program on memory. What the program updates in place is copied from its input first, unless input and output are
/// the same memory. On return every output is written, unless the run's error word is set.
///
/// # Safety
/// The plan is the program's. There are as many pointers as the program has inputs and outputs, each to memory of the size
/// that the plan says; no output's memory is used by anybody else, and it overlaps no input, except that it may be an input's memory if that
/// output is this input, or the input updated in place.
pub(super) unsafe fn execute(
    program: &Program,
    plan: &Plan,
    frame: &mut Frame,
    inputs: &[*mut u8],
    outputs: &[*mut u8],
    run: &Run,
    mut times: Option<&mut [LaunchTime]>,
) -> Result<()> {
    frame.connect(plan, inputs, outputs);
    for &place in &plan.places {
        if let PlannedPlace::InOut { input, output } = place
            && inputs[input] != outputs[output]
        {
            // SAFETY: by the caller both have that many bytes and are apart.
            unsafe { inputs[input].copy_to_nonoverlapping(outputs[output], plan.inputs[input]) };
        }
    }
    let mut committed = false;
    for step in &plan.steps {
        let start = times.is_some().then(Instant::now);
        let context =
            Context { params: frame.table(step.params), dims: plan.dims.as_ptr(), memory: frame.memory(), error: run.word_ptr() };
        // SAFETY: the plan's steps fit the frame that `connect` has filled.
        unsafe {
            match &step.action {
                Action::Boxes(boxes) => boxes.run(&context)?,
                Action::Call(call) => call.run(&context, run)?,
                Action::Scan(scan) => scan.run(&context, run)?,
                Action::Cond(cond) => cond.run(&context, run)?,
                Action::While(repeated) => repeated.run(&context, run)?,
                Action::Library(library) => library.run(&context)?,
            }
        }
        if let (Some(times), Some(start)) = (times.as_deref_mut(), start) {
            times[step.launch].ns += start.elapsed().as_nanos() as u64;
        }
        if run.failed() {
            let wrote = step.commits && !matches!(step.action, Action::Call(_));
            debug_assert!(!committed && !wrote, "a check of `{}` failed after an input was written in place", program.name);
            run.explain(program);
            return Ok(());
        }
        committed |= step.commits;
    }
    for (&(buffer, bytes), &output) in plan.outputs.iter().zip(outputs) {
        let from = frame.address(buffer);
        if from != output {
            // SAFETY: the buffer has that many bytes, the output as well, and by the caller they are apart.
            unsafe { from.copy_to_nonoverlapping(output, bytes) };
        }
    }
    Ok(())
}

impl Boxes {
    /// # Safety
    /// The context is that of the launch the boxes were made for.
    unsafe fn run(&self, context: &Context) -> Result<()> {
        if let [_] = self.tasks[..] {
            for piece in &self.pieces {
                // SAFETY: by the caller.
                unsafe { piece.run(0, piece.boxes, context)? };
            }
            return Ok(());
        }
        let failure = std::sync::OnceLock::new();
        parallel_for(self.tasks.len(), &|task| {
            let (mut next, end) = self.tasks[task];
            let mut at = self.pieces.partition_point(|piece| piece.first <= next) - 1;
            while next < end {
                let piece = &self.pieces[at];
                let stop = end.min(piece.first + piece.boxes);
                // SAFETY: by the caller; every box is in one task.
                if let Err(error) = unsafe { piece.run(next - piece.first, stop - piece.first, context) } {
                    failure.get_or_init(|| error);
                }
                (next, at) = (stop, at + 1);
            }
        });
        failure.into_inner().map_or(Ok(()), Err)
    }
}

impl Piece {
    /// Runs boxes `from..to` of this piece.
    ///
    /// # Safety
    /// The context is that of the launch the piece belongs to, and no other thread runs these boxes.
    unsafe fn run(&self, from: usize, to: usize, context: &Context) -> Result<()> {
        match &self.work {
            PieceWork::Loop { function, params, scratch, grid, whole } => with_scratch(*scratch, |scratch| {
                let call = |bounds: &Bounds| {
                    // SAFETY: by the caller; the code was compiled for these parameters and bounds of this many axes.
                    unsafe { function(context.params.add(*params), context.dims, bounds.as_ptr(), scratch, context.error) }
                };
                if self.boxes == 1 {
                    return call(whole);
                }
                (from..to).for_each(|index| call(&grid.bounds(index)));
            }),
            PieceWork::Prepare(dot) => {
                // SAFETY: by the caller.
                (from..to).for_each(|index| unsafe { dot.prepare(index, context) });
                Ok(())
            }
            // SAFETY: by the caller; operands were prepared in the step before.
            PieceWork::Product(dot) => (from..to).try_for_each(|index| unsafe { dot.product(index, context) }),
            // SAFETY: by the caller; the products were computed in the step before.
            PieceWork::Sum(dot) => (from..to).try_for_each(|index| unsafe { dot.sum(index, context) }),
            // SAFETY: by the caller.
            PieceWork::Attention(attention) => (from..to).try_for_each(|index| unsafe { attention.run(index, context) }),
            PieceWork::Copy(grid) => {
                for index in from..to {
                    let bounds = grid.bounds(index);
                    let (start, bytes) = (bounds[0] as usize, (bounds[1] - bounds[0]) as usize);
                    // SAFETY: a copy has two parameters of the same size.
                    unsafe { (*context.params).add(start).copy_to((*context.params.add(1)).add(start), bytes) };
                }
                Ok(())
            }
        }
    }
}
