//! A program on a device whose inputs lie there or come from the host.
//!
//! What comes from the host is put at the same two places by turns, so that runs use the same memory and are recorded, and the input of
//! one is sent while the device is at work on the one before; what has not changed since is not sent again.

use super::{Device, DeviceBuffer, Executable, Mark};
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
    staged: Mutex<Vec<Places>>,
}

/// The places of an input: the one of the last run, and the one of the run before.
#[derive(Default)]
struct Places([Option<Staged>; 2]);

struct Staged {
    block: DeviceBuffer,
    version: Option<u64>,
    /// Behind the last run that used it.
    used: Arc<Mark>,
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
            staged: Mutex::new(program.inputs.iter().map(|_| Places::default()).collect()),
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
                    Some(places) => {
                        self.stage(places, buffer, *version)?;
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
                    let place = staged[k].0[0].as_ref().ok_or_else(|| Error::new("an input was not sent to the device"))?;
                    &place.block
                }
            });
        }
        let outputs = self.executable.run(&inputs, shapes);
        // Also behind what a run that failed has asked for.
        let sent = |k: usize| own[k].is_none() && matches!(given[k], Given::Host(..));
        if (0..given.len()).any(sent) {
            let written = outputs.iter().flatten().find_map(DeviceBuffer::written);
            let mark = written.map_or_else(|| self.device.mark().map(Arc::new), |mark| Ok(mark.clone()))?;
            for (_, places) in staged.iter_mut().enumerate().take(given.len()).filter(|(k, _)| sent(*k)) {
                if let Some(place) = &mut places.0[0] {
                    place.used = mark.clone();
                }
            }
        }
        outputs
    }

    /// Puts these contents in the place of the input that the last run did not use.
    fn stage(&self, places: &mut Places, buffer: &Buffer, version: Option<u64>) -> Result<()> {
        let known = |place: &Option<Staged>| {
            place.as_ref().is_some_and(|p| version.is_some() && p.version == version && p.block.len() == buffer.len())
        };
        if known(&places.0[0]) {
            return Ok(());
        }
        places.0.swap(0, 1);
        if known(&places.0[0]) {
            return Ok(());
        }
        // A result may be the very block.
        match &mut places.0[0] {
            Some(place) if place.block.len() == buffer.len() && place.block.is_unique() => {
                place.version = None;
                place.block.set_behind(&place.used, buffer.bytes())?;
                place.version = version;
            }
            place => {
                let block = DeviceBuffer::from_bytes(&self.device, buffer.bytes())?;
                *place = Some(Staged { block, version, used: Arc::new(self.device.mark()?) });
            }
        }
        Ok(())
    }
}
