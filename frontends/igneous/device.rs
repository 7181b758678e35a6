//! Where tensors live.

use igneous_ir::Error;
use std::fmt;
use std::str::FromStr;

/// A place that holds tensors and runs programs.
///
/// ```
/// use igneous::Device;
/// assert!(Device::Cpu.is_available());
/// assert_eq!("cuda:1".parse::<Device>()?, Device::Cuda(1));
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Device {
    /// The processor and its memory.
    #[default]
    Cpu,
    /// An NVIDIA GPU by number. The compiler emits its kernels ([`Lowered::cuda`](crate::Lowered)); launching them is not
    /// part of this version, so none is available.
    Cuda(usize),
}

impl Device {
    /// The fastest device of this machine that igneous can use.
    pub fn best() -> Device {
        Device::Cpu
    }

    /// Whether tensors can live here on this machine.
    pub fn is_available(self) -> bool {
        self == Device::Cpu
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    /// `cpu`, `cuda` or `cuda:1`, as in PyTorch.
    fn from_str(name: &str) -> Result<Device, Error> {
        match (name, name.strip_prefix("cuda:").map(str::parse)) {
            ("cpu", _) => Ok(Device::Cpu),
            ("cuda", _) => Ok(Device::Cuda(0)),
            (_, Some(Ok(number))) => Ok(Device::Cuda(number)),
            _ => Err(Error::new(format!("there is no device called `{name}`: the names are cpu, cuda, cuda:0, cuda:1, …"))),
        }
    }
}
