//! Where tensors live and programs run.

use igneous_ir::{Error, Result};
use igneous_runtime::Buffer;
use igneous_runtime::buffer::{MemoryStats, memory_stats};
use igneous_runtime::cuda::{self, DeviceBuffer, DeviceMemory};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

/// A place that holds tensors and runs programs.
///
/// A compiled function runs where its arguments live, or where [`Compiled::device`](crate::Compiled::device) says; variables follow
/// it there, and stay between runs. What is read of them on the host is fetched then.
///
/// An operator of eager mode runs where its operands live, and so does `backward`; a module moves with
/// [`to_device`](crate::nn::ModuleExt::to_device). Operands on different devices are an error, except that numbers (tensors with one
/// element), zeros, ones, ranges and random numbers go along.
///
/// ```
/// use igneous::{Device, Tensor, compile};
/// assert!(Device::Cpu.is_available());
/// assert_eq!("cuda:1".parse::<Device>()?, Device::Cuda(1));
///
/// // On the first GPU, if there is one.
/// let f = compile(|x: Tensor| x.exp().sum_all()).device(Device::best());
/// assert_eq!(f.run(Tensor::zeros(3))?.item()?, 3.0);
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Device {
    /// The processor and its memory.
    #[default]
    Cpu,
    /// An NVIDIA GPU by number.
    Cuda(usize),
}

impl Device {
    /// An NVIDIA GPU by number; [`check`](Device::check) says whether it can be used.
    pub fn cuda(number: usize) -> Device {
        Device::Cuda(number)
    }

    /// The first GPU that can be used, else the CPU.
    pub fn best() -> Device {
        if Device::Cuda(0).is_available() { Device::Cuda(0) } else { Device::Cpu }
    }

    /// Whether tensors can live and programs run here on this machine.
    pub fn is_available(self) -> bool {
        self.check().is_ok()
    }

    /// Whether tensors can live and programs run here on this machine.
    ///
    /// # Errors
    /// Otherwise; the error names what is missing: the driver, the GPU, or the compiler for it.
    pub fn check(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(number) => on_gpu(number, |_| Ok(())),
        }
    }

    /// What tensors and programs hold of the device's memory (PyTorch's `torch.cuda.memory_allocated` and its relatives). For the CPU
    /// see [`memory_stats`](crate::memory_stats) too.
    ///
    /// # Errors
    /// If the device is not available.
    pub fn memory(self) -> Result<DeviceMemory> {
        match self {
            Device::Cpu => {
                let MemoryStats { live, peak, .. } = memory_stats();
                Ok(DeviceMemory { live, peak, limit: usize::MAX })
            }
            Device::Cuda(number) => on_gpu(number, |gpu| Ok(gpu.account().state())),
        }
    }

    /// Lets tensors and programs hold so many bytes of a GPU's memory at most (PyTorch's `torch.cuda.set_per_process_memory_fraction`);
    /// `usize::MAX` for all that there is. What would need more is an error with the plan of the program's memory.
    ///
    /// # Errors
    /// If the device is not available, or the CPU, whose memory the system limits.
    pub fn set_memory_limit(self, bytes: usize) -> Result<()> {
        match self {
            Device::Cpu => {
                Err(Error::new("the memory of device cpu has no limit of its own: the system sets one to the process"))
            }
            Device::Cuda(number) => on_gpu(number, |gpu| {
                gpu.account().set_limit(bytes);
                Ok(())
            }),
        }
    }

    /// Waits until everything that was asked of the device is done (PyTorch's `torch.cuda.synchronize`): runs return before. Reading
    /// elements waits, too.
    ///
    /// # Errors
    /// If the device is not available, or something failed there.
    pub fn synchronize(self) -> Result<()> {
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(number) => on_gpu(number, |gpu| gpu.synchronize()),
        }
    }
}

fn on_gpu<T>(number: usize, f: impl FnOnce(&dyn cuda::Device) -> Result<T>) -> Result<T> {
    cuda::device(number).and_then(|gpu| f(&*gpu)).map_err(|e| e.context(format!("device cuda:{number}")))
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

/// Elements on a device, row-major, and what the host knows of them.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) device: Device,
    pub(crate) block: DeviceBuffer,
    /// The same elements in the host's memory, once somebody has asked for them.
    host: Arc<OnceLock<Buffer>>,
}

impl Remote {
    pub(crate) fn new(device: Device, block: DeviceBuffer) -> Remote {
        Remote { device, block, host: Arc::default() }
    }

    /// The same elements in a block of their own.
    pub(crate) fn duplicate(&self) -> Result<Remote> {
        Ok(Remote::new(self.device, self.block.duplicate()?))
    }

    /// Copies elements to a GPU.
    pub(crate) fn upload(number: usize, host: Buffer) -> Result<Remote> {
        let block = DeviceBuffer::from_bytes(&cuda::device(number)?, host.bytes())?;
        Ok(Remote { device: Device::Cuda(number), block, host: Arc::new(OnceLock::from(host)) })
    }

    /// The elements in the host's memory.
    pub(crate) fn host(&self) -> Result<Buffer> {
        if let Some(host) = self.host.get() {
            return Ok(host.clone());
        }
        let fetched = self.block.to_host()?;
        // Another thread may have been faster; both have fetched the same elements.
        Ok(self.host.get_or_init(|| fetched).clone())
    }
}
