//! Programs for CUDA devices: what a launch is, and how a program is carried out on a device.
//!
//! A program for CUDA is a [`Program`] whose kernels are [`CudaWork`]; everything else in its launch list means what it
//! does on a CPU. [`Executable`] walks the list. It reaches the device through [`Device`] alone, so that the same walk serves
//! the driver and a host that runs the text of the kernels itself.
//!
//! Invariants: all that is asked of a device happens in the order of asking; only reading back waits, for what wrote the elements. Whether
//! checks held is read with them, or when somebody waits for the device; a run whose checks failed overwrites nothing, nor does any
//! later one of the same program until that has been reported.

#[cfg(feature = "cuda")]
mod account;
mod blas;
mod buffer;
#[cfg(feature = "cuda")]
mod cache;
mod choices;
mod convolution;
mod devices;
#[cfg(feature = "cuda")]
mod dnn;
#[cfg(feature = "cuda")]
mod driver;
#[cfg(feature = "cuda")]
mod dynamic;
mod execute;
mod fetch;
#[cfg(feature = "cuda")]
mod gpu;
mod list;
#[cfg(feature = "cuda")]
mod nvrtc;
mod outcome;
#[cfg(feature = "cuda")]
mod pinned;
mod plan;
mod product;
mod resident;
mod restore;
mod tune;

pub use account::{Account, DeviceMemory};
pub use buffer::DeviceBuffer;
pub use choices::{Choice, Choices};
pub use convolution::{Conv, Convolution, Pass, Spatial, Whole};
pub use devices::{device, install};
pub use execute::Executable;
pub use fetch::{Fetch, Fetched};
#[cfg(feature = "cuda")]
pub use gpu::Gpu;
pub use list::launch_list;
#[cfg(feature = "cuda")]
pub use nvrtc::{Cubin, Nvrtc};
pub use outcome::synchronize;
pub use product::{Activation, Gemm, Matrix, Order, Product, Stored, Sums, Types};
pub use resident::{Given, Resident};
pub use tune::{Timing, tune};

use crate::program::Program;
use igneous_ir::dim::{Dim, Symbol};
use igneous_ir::error::{Error, Result};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// The text of a kernel.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct KernelText {
    /// The name of the `extern "C"` function.
    pub name: String,
    /// CUDA C++ that includes nothing.
    pub source: String,
    /// Threads in a block.
    pub block: u32,
}

/// A launch of one kernel. Its arguments, of eight bytes each, are the addresses of its parameters, the values of `symbols`, the
/// address of the error word, an [`ErrorTag`], and, if there is scratch memory, its address.
#[derive(Clone, Debug)]
pub struct CudaWork {
    /// The kernel; equal launches share one.
    pub kernel: Arc<KernelText>,
    /// The number of blocks, at least one.
    pub grid: Dim,
    /// Bytes of dynamic shared memory.
    pub shared: Dim,
    /// Bytes of device memory for this launch alone; several kernels of one launch use the same.
    pub scratch: Dim,
    /// The symbols whose values the kernel takes.
    pub symbols: Vec<Symbol>,
    /// What a library may do in its place.
    pub library: Option<Box<Alternative>>,
}

/// What a library of the device may do in place of a kernel.
#[derive(Clone, Debug)]
pub struct Alternative {
    /// What the kernel computes.
    pub operation: Operation,
    /// Who does it.
    pub choices: Arc<Choices>,
}

/// What libraries compute.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A matrix product.
    Product(Box<Product>),
    /// A convolution or a derivative of one.
    Convolution(Convolution),
}

/// An operation with numbers for everything, as a library is told of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Call {
    /// A matrix product. It takes the addresses of the operands `a` and `b`, of the result `d`, of the bias and of what is added, if they
    /// are there.
    Product(Gemm),
    /// A convolution or a derivative of one. It takes the addresses of `x`, `w` and `y`.
    Convolution(Conv),
}

impl Alternative {
    /// Who does it, where that is known without the sizes of a run.
    pub fn choice(&self) -> Option<Choice> {
        let call = self.operation.call(&|d| d.as_const().and_then(|n| usize::try_from(n).ok()))?;
        Some(self.choices.of(&call.to_string(), call.multiplications()))
    }
}

impl Operation {
    /// The operation where `size` gives the value of a dimension that is not negative; none if no library can do it.
    fn call(&self, size: &dyn Fn(Dim) -> Option<usize>) -> Option<Call> {
        match self {
            Operation::Product(product) => Gemm::of(product, size).map(Call::Product),
            Operation::Convolution(convolution) => Conv::of(convolution, size).map(Call::Convolution),
        }
    }

    /// The kernel parameters whose addresses the call takes, and the byte that each begins at.
    fn operands(&self, size: &dyn Fn(Dim) -> Option<usize>) -> Option<Vec<(usize, usize)>> {
        match self {
            Operation::Convolution(convolution) => Some(convolution.tensors.iter().map(|whole| (whole.param, 0)).collect()),
            Operation::Product(product) => {
                let Product { types, lhs, rhs, result, bias, added, .. } = &**product;
                let matrices = [(rhs, types.operands), (lhs, types.operands), (result, types.result)];
                let places = matrices.into_iter().map(|(matrix, dtype)| (matrix.param, matrix.offset, dtype));
                let bias = bias.iter().map(|&(param, offset)| (param, offset, types.result));
                let added = added.iter().map(|matrix| (matrix.param, matrix.offset, types.result));
                places
                    .chain(bias)
                    .chain(added)
                    .map(|(param, offset, dtype)| Some((param, size(offset)? * dtype.size())))
                    .collect()
            }
        }
    }

    /// Whether all extents are known.
    pub fn is_constant(&self) -> bool {
        match self {
            Operation::Product(p) => [p.batch, p.m, p.n, p.k].iter().all(|d| d.as_const().is_some()),
            Operation::Convolution(c) => c.tensors.iter().flat_map(|t| &t.shape).all(|d| d.as_const().is_some()),
        }
    }
}

impl Call {
    /// How many multiplications it takes.
    pub fn multiplications(&self) -> u64 {
        match self {
            Call::Product(gemm) => gemm.multiplications(),
            Call::Convolution(conv) => conv.multiplications(),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::Product(product) => product.fmt(f),
            Operation::Convolution(convolution) => convolution.fmt(f),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::Product(gemm) => gemm.fmt(f),
            Call::Convolution(conv) => conv.fmt(f),
        }
    }
}

/// Whether a library has done what it was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Done {
    /// It has, or will in its turn.
    Yes,
    /// There is no library, or it has no way to do it: nothing has happened.
    No,
}

/// What a kernel is told about its run: the number of the program it belongs to, in the upper 32 bits, which it adds to the code
/// of a check that fails; and in the lowest bit whether it overwrites an input, and does nothing once a check has failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorTag(u64);

impl ErrorTag {
    /// The tag of a launch of the program with this number.
    pub fn new(program: usize, commits: bool) -> ErrorTag {
        ErrorTag((program as u64) << 32 | u64::from(commits))
    }

    /// The program and the index of the check in a code that a kernel reported.
    pub fn read(code: u64) -> (usize, usize) {
        ((code >> 32) as usize, (code as u32).saturating_sub(1) as usize)
    }

    /// The argument.
    pub fn argument(self) -> u64 {
        self.0
    }
}

/// A launch with numbers for everything.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The kernel.
    pub kernel: &'a Arc<KernelText>,
    /// The number of blocks.
    pub grid: u32,
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    /// The arguments.
    pub arguments: &'a [u64],
}

/// A point in what a device was asked for.
pub struct Mark(Box<dyn Any + Send + Sync>);

impl Mark {
    /// What a device keeps of the point.
    pub fn new(kept: impl Any + Send + Sync) -> Mark {
        Mark(Box::new(kept))
    }

    /// What the device kept; none if another device did.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

/// Work that a device recorded, to be asked for again as a whole.
pub struct Recording(Box<dyn Any + Send>);

impl Recording {
    /// What a device keeps of the work.
    pub fn new(kept: impl Any + Send) -> Recording {
        Recording(Box::new(kept))
    }

    /// What the device kept.
    ///
    /// # Errors
    /// If a device of another kind recorded the work.
    pub fn get<T: Any>(&self) -> Result<&T> {
        self.0.downcast_ref().ok_or_else(|| Error::new("another device recorded this work"))
    }
}

/// A device, or something that stands in for one. It does what it is asked in order.
pub trait Device: Send + Sync {
    /// Compiles and loads kernels, so that launching them takes no time later.
    ///
    /// # Errors
    /// If a text does not compile or the device fails.
    fn prepare(&self, kernels: &[Arc<KernelText>]) -> Result<()>;

    /// Memory of this size, at least one byte, aligned to 256 bytes.
    ///
    /// # Errors
    /// If there is not enough.
    fn allocate(&self, bytes: usize) -> Result<u64>;

    /// The account of its memory, which handles of blocks keep.
    fn account(&self) -> &Account;

    /// Gives memory back.
    ///
    /// # Safety
    /// The address is one that [`allocate`](Device::allocate) gave for this size, and is not used from here on.
    unsafe fn free(&self, address: u64, bytes: usize);

    /// Copies from the host. The slice may change afterwards.
    ///
    /// # Safety
    /// There are as many bytes at the address.
    ///
    /// # Errors
    /// If the device fails.
    unsafe fn upload(&self, to: u64, from: &[u8]) -> Result<()>;

    /// The point behind everything that the device was asked for until now.
    ///
    /// # Errors
    /// If the device fails.
    fn mark(&self) -> Result<Mark> {
        Ok(Mark::new(()))
    }

    /// As [`upload`](Device::upload) to memory that nothing uses behind a point: the copy need not wait for what is. What is asked for
    /// from here on finds the new contents.
    ///
    /// # Safety
    /// There are as many bytes at the address, and nothing that was asked for behind the point uses them.
    ///
    /// # Errors
    /// If the device fails.
    unsafe fn upload_behind(&self, point: &Mark, to: u64, from: &[u8]) -> Result<()> {
        let _ = point;
        // SAFETY: by the caller.
        unsafe { self.upload(to, from) }
    }

    /// Copies to the host, and waits for that.
    ///
    /// # Safety
    /// There are as many bytes at the address.
    ///
    /// # Errors
    /// If the device fails, also in what it was asked before.
    unsafe fn download(&self, from: u64, to: &mut [u8]) -> Result<()>;

    /// Asks for a copy to the host, and returns. With a point the copy waits for what was asked before that alone, and is done beside
    /// what is asked since.
    ///
    /// # Safety
    /// There are as many bytes at the address. With a point, nothing writes to them from there until the copy is done.
    ///
    /// # Errors
    /// If the device fails.
    unsafe fn fetch(&self, behind: Option<&Mark>, from: u64, bytes: usize) -> Result<Box<dyn Fetched>> {
        let _ = behind;
        let mut found = vec![0; bytes];
        // SAFETY: by the caller.
        unsafe { self.download(from, &mut found)? };
        Ok(Box::new(fetch::Ready(found)))
    }

    /// Copies from one place to another that does not overlap it.
    ///
    /// # Safety
    /// There are as many bytes at both addresses.
    ///
    /// # Errors
    /// If the device fails.
    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()>;

    /// Runs a kernel.
    ///
    /// # Safety
    /// The arguments are those the text asks for.
    ///
    /// # Errors
    /// If the text does not compile or the device fails.
    unsafe fn launch(&self, launch: Launch<'_>) -> Result<()>;

    /// Has a library compute something.
    ///
    /// # Safety
    /// At the addresses is what `call` describes.
    ///
    /// # Errors
    /// If the device fails.
    unsafe fn compute(&self, call: &Call, addresses: &[u64]) -> Result<Done> {
        let _ = (call, addresses);
        Ok(Done::No)
    }

    /// Waits until everything that it was asked for is done.
    ///
    /// # Errors
    /// If something of it failed.
    fn synchronize(&self) -> Result<()>;

    /// Records the copies and launches that `work` asks for, instead of doing them.
    ///
    /// # Errors
    /// That of the work, or if the device fails.
    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Recording>;

    /// Does what this device recorded.
    ///
    /// # Safety
    /// All memory that was named is still there, and is free to be used as it was then.
    ///
    /// # Errors
    /// If the device fails.
    unsafe fn replay(&self, recording: &Recording) -> Result<()>;
}

/// The distinct kernels of a program and of those inside it, in order of first use.
pub fn kernels(program: &Program) -> Vec<Arc<KernelText>> {
    let mut found: Vec<Arc<KernelText>> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    program.visit(&mut |program| {
        for launch in &program.launches {
            for work in &launch.work {
                if let crate::program::Work::Cuda(work) = work
                    && seen.insert(work.kernel.clone())
                {
                    found.push(work.kernel.clone());
                }
            }
        }
    });
    found
}
