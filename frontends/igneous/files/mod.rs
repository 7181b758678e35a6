//! Files of tensors: safetensors, PyTorch's `.pt` and `.pth`, numpy's `.npy` and `.npz`.
//!
//! [`StateDict::load`](crate::nn::StateDict::load) reads the tensors of any of them by name; which format a file has is seen from
//! its first bytes. [`load_torch`] gives all that a checkpoint of PyTorch holds, also what is no tensor.
//!
//! ```no_run
//! use igneous::files::load_torch;
//! use igneous::nn::{Linear, ModuleExt, StateDict};
//!
//! let net = Linear::new(784, 10);
//! net.load_state_dict(&StateDict::load("weights.pth")?)?;
//!
//! let checkpoint = load_torch("checkpoint.pt")?;
//! net.load_state_dict(&checkpoint.get("model_state_dict")?.state_dict()?)?;
//! let epoch = checkpoint.get("epoch")?.int()?;
//! # Ok::<(), igneous::Error>(())
//! ```
//!
//! Files are read as data: nothing in them is executed. Those that are damaged, or hold what is not known here, are errors
//! that name the file and the entry. All files are written beside their place and then renamed, so that a crash leaves the
//! old one.

mod elements;
mod numpy;
mod pickle;
mod torch;
mod value;

pub use numpy::load_npy;
pub use torch::load_torch;
pub use value::Value;

pub(crate) use elements::Kind;
pub(crate) use numpy::{entries_of_npz, write_npz};
pub(crate) use torch::read_torch;

use flate2::read::GzDecoder;
use igneous_ir::{Error, Result};
use std::fmt::Display;
use std::io::{Read, Write};
use std::path::Path;

/// The formats of files with named tensors.
pub(crate) enum Format {
    Safetensors,
    Torch,
    Numpy,
}

/// Which format the bytes of a file have; safetensors, if no other.
pub(crate) fn format_of(bytes: &[u8]) -> Format {
    // A header of safetensors is JSON behind eight bytes; a pickle begins with its protocol.
    let pickle = bytes.first() == Some(&0x80) && bytes.get(8) != Some(&b'{');
    match bytes.starts_with(b"PK") {
        true if torch::is_archive(bytes) => Format::Torch,
        true => Format::Numpy,
        false if pickle => Format::Torch,
        false => Format::Safetensors,
    }
}

/// An error about a file.
pub(crate) fn cannot_read(path: &Path, problem: impl Display) -> Error {
    Error::other(problem).context(format_args!("cannot read {}", path.display()))
}

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| cannot_read(path, e))
}

/// The bytes of a file, unpacked if its name ends in `.gz`.
pub(crate) fn read_unpacked(path: &Path) -> Result<Vec<u8>> {
    let bytes = read(path)?;
    if path.extension().is_none_or(|extension| extension != "gz") {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    let read = GzDecoder::new(bytes.as_slice()).read_to_end(&mut unpacked);
    read.map(|_| unpacked).map_err(|e| Error::other(e).context(format_args!("cannot unpack {}", path.display())))
}

/// Writes a file beside its place, makes sure that it is on the disk, and renames it: it is complete or as it was.
///
/// # Errors
/// If it cannot be written; the message names it.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let written = std::fs::File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|e| {
        // What is left of the attempt is of no use; that it cannot be removed changes nothing.
        let _ = std::fs::remove_file(&beside);
        Error::other(e).context(format_args!("cannot write {}", path.display()))
    })
}
