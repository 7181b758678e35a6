//! The devices of this machine by number, each opened when it is first asked for.

use super::Device;
use igneous_ir::error::Result;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

static OPEN: Mutex<BTreeMap<usize, Arc<dyn Device>>> = Mutex::new(BTreeMap::new());

fn open() -> MutexGuard<'static, BTreeMap<usize, Arc<dyn Device>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The device with this number: the GPU, or what stands in for it.
///
/// # Errors
/// If there is no driver, no such GPU, it cannot be used, or there is no compiler for it: the error says which, and what helps.
pub fn device(number: usize) -> Result<Arc<dyn Device>> {
    let mut open = open();
    if let Some(device) = open.get(&number) {
        return Ok(device.clone());
    }
    let device = gpu(number)?;
    open.insert(number, device.clone());
    Ok(device)
}

/// Puts a stand-in under this number: programs for the device run on it from here on. What was loaded before stays where it is.
pub fn install(number: usize, device: Arc<dyn Device>) {
    open().insert(number, device);
}

#[cfg(feature = "cuda")]
fn gpu(number: usize) -> Result<Arc<dyn Device>> {
    let gpu = super::Gpu::new(number)?;
    super::Nvrtc::get()?;
    Ok(Arc::new(gpu))
}

#[cfg(not(feature = "cuda"))]
fn gpu(number: usize) -> Result<Arc<dyn Device>> {
    Err(igneous_ir::error::Error::new(format!(
        "there is no device cuda:{number}: this program was built without the feature `cuda`"
    )))
}
