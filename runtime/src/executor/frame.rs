//! The memory of one run: the arena and the table of pointers that kernels are given.

use super::plan::{Plan, PlannedPlace};
use crate::buffer::{ALIGNMENT, Buffer};
use crate::program::Program;
use igneous_ir::error::Result;
use std::sync::PoisonError;

/// See the module. A frame serves one run at a time and is kept for the next.
#[derive(Default)]
pub(super) struct Frame {
    memory: Option<Buffer>,
    /// The address of each buffer.
    addresses: Vec<*mut u8>,
    /// The pointers of all launches, one after the other.
    table: Vec<*mut u8>,
}

// SAFETY: the pointers are used only during a run, by the threads that run it.
unsafe impl Send for Frame {}

impl Frame {
    /// A frame of the plan's that no other run uses.
    ///
    /// # Errors
    /// If memory is short.
    pub fn take(program: &Program, plan: &Plan) -> Result<Frame> {
        let kept = plan.frames.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut frame = kept.unwrap_or_default();
        if frame.memory.is_none() {
            // Kernels may load from a buffer without elements: there is memory wherever one lies.
            frame.memory = Some(Buffer::new(plan.memory + ALIGNMENT)?);
            frame.settle(program, plan);
        }
        Ok(frame)
    }

    /// Keeps the frame for the next run.
    pub fn give_back(mut self, plan: &Plan) {
        if !plan.keep_memory {
            self.memory = None;
        }
        plan.frames.lock().unwrap_or_else(PoisonError::into_inner).push(self);
    }

    /// Where the frame's own memory starts.
    pub fn memory(&self) -> *mut u8 {
        self.memory.as_ref().map_or(std::ptr::without_provenance_mut(ALIGNMENT), |m| m.ptr())
    }

    /// Writes the pointers that stay as long as the memory does.
    fn settle(&mut self, program: &Program, plan: &Plan) {
        let start = self.memory();
        self.addresses.resize(plan.places.len(), std::ptr::null_mut());
        for (address, &place) in self.addresses.iter_mut().zip(&plan.places) {
            match place {
                // SAFETY: the plan's memory includes the whole arena.
                PlannedPlace::Memory(offset) => *address = unsafe { start.add(offset) },
                PlannedPlace::Constant(constant) if program.constants[constant].is_empty() => *address = start,
                PlannedPlace::Constant(constant) => *address = program.constants[constant].as_ptr().cast_mut(),
                _ => {}
            }
        }
        self.table.clear();
        self.table.extend(plan.table.iter().map(|&buffer| self.addresses[buffer]));
    }

    /// Writes the pointers of this run.
    pub fn connect(&mut self, plan: &Plan, inputs: &[*mut u8], outputs: &[*mut u8]) {
        for (address, &place) in self.addresses.iter_mut().zip(&plan.places) {
            match place {
                PlannedPlace::Input(input) => *address = inputs[input],
                PlannedPlace::InOut { output, .. } | PlannedPlace::Output(output) => *address = outputs[output],
                _ => {}
            }
        }
        for &entry in &plan.moving {
            self.table[entry] = self.addresses[plan.table[entry]];
        }
    }

    /// The address of a buffer.
    pub fn address(&self, buffer: usize) -> *mut u8 {
        self.addresses[buffer]
    }

    /// The pointers, from this entry on.
    pub fn table(&self, entry: usize) -> *const *mut u8 {
        self.table[entry..].as_ptr()
    }
}
