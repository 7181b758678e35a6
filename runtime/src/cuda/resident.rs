//! A program on a device whose inputs lie there or come from the host.
//!
//! What comes from the host is put at the same place in each run, so that runs use the same memory and are recorded; what has
//! not changed since is not sent again.

use super::{Device, DeviceBuffer, Executable};
use crate::Buffer;
use crate::program::{Place, Program};
use igneous_ir::error::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};

/// An input of a run.
#[derive(Clone, Copy)]
pub enum Given<'a> {
    /// It lies on the device.
    Device(&'a DeviceBuffer),
    /// It lies in the host's memory. A number for its contents, if there is one: the same number, the same contents.
    Host(&'a Buffer, Option<u64>),
}

/// See the module.
pub struct Resident {
    device: Arc<dyn Device>,
    executable: Executable,
    /// For each input, whether the program overwrites it.
    in_place: Vec<bool>,
    /// For each input, what came from the host last. One run at a time puts something there.
    staged: Mutex<Vec<Option<Staged>>>,
}

struct Staged {
    block: DeviceBuffer,
    version: Option<u64>,
}

impl Resident {
    /// Puts the program on the device.
    ///
    /// # Errors
    /// If a kernel does not compile, or the device has not enough memory.
    pub fn new(device: &Arc<dyn Device>, program: &Arc<Program>) -> Result<Resident> {
        let in_place = |i: usize| program.buffers.iter().any(|b| b.place == Place::InOut(i));
        Ok(Resident {
            device: device.clone(),
            executable: Executable::new(device, program)?,
            in_place: (0..program.inputs.len()).map(in_place).collect(),
            staged: Mutex::new(program.inputs.iter().map(|_| None).collect()),
        })
    }

    /// Runs the program on inputs with these extents. An input on the device that the program overwrites is overwritten if nobody
    /// else holds it, and is one of the outputs then; else a copy is.
    ///
    /// # Errors
    /// As [`Executable::run`].
    pub fn run(&self, given: &[Given<'_>], shapes: &[&[usize]]) -> Result<Vec<DeviceBuffer>> {
        let mut staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        // What is this run's alone.
        let mut own: Vec<Option<DeviceBuffer>> = Vec::with_capacity(given.len());
        for (k, given) in given.iter().enumerate() {
            let overwritten = self.in_place.get(k).copied().unwrap_or(false);
            own.push(match given {
                Given::Device(block) if overwritten && !block.is_unique() => Some(block.duplicate()?),
                Given::Device(_) => None,
                Given::Host(buffer, _) if overwritten => Some(DeviceBuffer::from_bytes(&self.device, buffer.bytes())?),
                Given::Host(buffer, version) => match staged.get_mut(k) {
                    Some(place) => {
                        self.stage(place, buffer, *version)?;
                        None
                    }
                    None => Some(DeviceBuffer::from_bytes(&self.device, buffer.bytes())?),
                },
            });
        }
        let mut inputs = Vec::with_capacity(given.len());
        for (k, (given, own)) in given.iter().zip(&own).enumerate() {
            inputs.push(match (given, own) {
                (_, Some(block)) => block,
                (Given::Device(block), None) => *block,
                (Given::Host(..), None) => {
                    let place = staged[k].as_ref().ok_or_else(|| Error::new("an input was not sent to the device"))?;
                    &place.block
                }
            });
        }
        self.executable.run(&inputs, shapes)
    }

    /// Puts these contents in the input's place on the device.
    fn stage(&self, place: &mut Option<Staged>, buffer: &Buffer, version: Option<u64>) -> Result<()> {
        if let Some(known) = place
            && known.block.len() == buffer.len()
        {
            if version.is_some() && known.version == version {
                return Ok(());
            }
            // A result may be the very block.
            if known.block.is_unique() {
                known.version = None;
                known.block.set(buffer.bytes())?;
                known.version = version;
                return Ok(());
            }
        }
        *place = Some(Staged { block: DeviceBuffer::from_bytes(&self.device, buffer.bytes())?, version });
        Ok(())
    }
}
