//! An NVIDIA GPU. Everything happens in one stream, in the order in which it is asked for; work that is asked for again becomes
//! a graph of the driver.

use super::blas::{self, Blas, BlasHandle};
use super::cache::{self, Place};
use super::dnn::{self, Dnn, DnnHandle};
use super::driver::{
    CAPABILITY, Context, Driver, Function, Graph, GraphExec, MOST_SHARED, Module, NON_BLOCKING, OUT_OF_MEMORY, RELEASE_THRESHOLD,
    Stream, THREAD_LOCAL,
};
use super::pinned::{Pinned, Point};
use super::{Account, Call, Conv, Device, Done, Gemm, KernelText, Launch, Mark, Nvrtc, Recording};
use igneous_ir::error::{Error, Result};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

/// Dynamic shared memory that a kernel gets without asking: 48 KiB, less what its text may declare itself.
const SHARED: u32 = 40 << 10;

/// What addresses are at most known to be multiples of.
const MOST_ALIGNED: u32 = 256;

/// Bytes of memory that an algorithm of a library may use besides its operands.
const WORKSPACE: usize = 64 << 20;

/// From so many bytes on, what comes to the host goes through pinned memory: the driver would cut it into small pieces.
const LARGE: usize = 64 << 10;

/// Sizes of blocks are multiples of this many bytes.
const GRAIN: usize = 512;

/// See the module.
pub struct Gpu {
    driver: &'static Driver,
    number: c_int,
    name: String,
    architecture: String,
    context: Context,
    stream: Stream,
    /// In which the host's memory is copied beside the work of the other stream.
    uploads: Stream,
    pinned: Mutex<Pinned>,
    kernels: Mutex<Kernels>,
    /// Blocks that were given back, by size: the next who asks for as many bytes gets the last one, so that addresses repeat in a loop.
    free: Mutex<HashMap<usize, Vec<u64>>>,
    account: Account,
    /// The thread whose work is recorded, and what tells the others that it is.
    recorder: Mutex<Option<ThreadId>>,
    recorded: Condvar,
    libraries: Mutex<Libraries>,
}

/// Libraries that have been asked for something; none where there is none.
#[derive(Default)]
struct Libraries {
    blas: Option<Option<BlasHandle>>,
    dnn: Option<Option<DnnHandle>>,
    /// By product and by the powers of two that the addresses are multiples of; none where the library has no algorithm.
    products: HashMap<(Gemm, [u32; 4]), Option<blas::Algorithm>>,
    convolutions: HashMap<Conv, Option<dnn::Algorithm>>,
    /// The memory that algorithms use: one at a time does.
    workspace: Option<u64>,
}

/// The kernels that are loaded.
#[derive(Default)]
struct Kernels {
    by_text: HashMap<Arc<KernelText>, (Module, Function)>,
    /// By the address of the text: quicker than comparing texts.
    by_address: HashMap<usize, Known>,
}

struct Known {
    function: Function,
    /// The dynamic shared memory that was asked for.
    shared: u32,
    /// Keeps the address.
    _text: Arc<KernelText>,
}

// SAFETY: contexts, streams, modules and functions of the driver may be used by any thread, as long as the context is made the
// thread's own first, which every method does.
unsafe impl Send for Gpu {}
// SAFETY: as above; what changes is behind a lock.
unsafe impl Sync for Gpu {}

/// Work that was recorded, as a graph of the driver.
struct Recorded {
    driver: &'static Driver,
    exec: GraphExec,
}

// SAFETY: as for `Gpu`.
unsafe impl Send for Recorded {}

impl Drop for Recorded {
    fn drop(&mut self) {
        // SAFETY: nobody uses the graph from here on; the driver waits for a launch that is under way.
        unsafe { (self.driver.destroy_exec)(self.exec) };
    }
}

impl Gpu {
    /// How many GPUs there are; none without a driver.
    pub fn count() -> usize {
        let Ok(driver) = Driver::get() else { return 0 };
        let mut count = 0;
        // SAFETY: the driver writes a number.
        let status = unsafe { (driver.device_count)(&mut count) };
        if status == 0 { usize::try_from(count).unwrap_or(0) } else { 0 }
    }

    /// The GPU with this number.
    ///
    /// # Errors
    /// If there is no driver, no such GPU, or it cannot be used.
    pub fn new(number: usize) -> Result<Gpu> {
        let driver = Driver::get()?;
        let count = Gpu::count();
        let ordinal = c_int::try_from(number).ok().filter(|_| number < count);
        let ordinal =
            ordinal.ok_or_else(|| Error::new(format!("there is no device cuda:{number}: this machine has {count} GPUs")))?;
        Gpu::open(driver, ordinal).map_err(|e| e.context(format!("device cuda:{number}")))
    }

    fn open(driver: &'static Driver, ordinal: c_int) -> Result<Gpu> {
        let mut gpu = Gpu {
            driver,
            number: 0,
            name: String::new(),
            architecture: String::new(),
            context: null_mut(),
            stream: null_mut(),
            uploads: null_mut(),
            pinned: Mutex::default(),
            kernels: Mutex::default(),
            free: Mutex::default(),
            account: Account::default(),
            recorder: Mutex::new(None),
            recorded: Condvar::new(),
            libraries: Mutex::default(),
        };
        let (mut name, mut capability) = ([0 as c_char; 256], [0; 2]);
        // SAFETY: the driver writes what it is asked for to these places, which are large enough; the name ends with a zero.
        unsafe {
            driver.check("cuDeviceGet", (driver.device)(&mut gpu.number, ordinal))?;
            driver.check("cuDeviceGetName", (driver.device_name)(name.as_mut_ptr(), 256, gpu.number))?;
            gpu.name = CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned();
            for (value, attribute) in capability.iter_mut().zip(CAPABILITY) {
                driver.check("cuDeviceGetAttribute", (driver.device_attribute)(value, attribute, gpu.number))?;
            }
            driver.check("cuDevicePrimaryCtxRetain", (driver.retain_context)(&mut gpu.context, gpu.number))?;
            driver.check("cuCtxSetCurrent", (driver.set_context)(gpu.context))?;
            driver.check("cuStreamCreate", (driver.create_stream)(&mut gpu.stream, NON_BLOCKING))?;
            driver.check("cuStreamCreate", (driver.create_stream)(&mut gpu.uploads, NON_BLOCKING))?;
            let (mut pool, mut threshold) = (null_mut(), u64::MAX);
            driver.check("cuDeviceGetDefaultMemPool", (driver.default_pool)(&mut pool, gpu.number))?;
            let status = (driver.set_pool)(pool, RELEASE_THRESHOLD, (&raw mut threshold).cast());
            driver.check("cuMemPoolSetAttribute", status)?;
        }
        let [major, minor] = capability;
        if major < 8 {
            return Err(Error::new(format!("{} has compute capability {major}.{minor}; 8.0 is the least", gpu.name)));
        }
        // Instructions of one generation only are there under a name of their own.
        gpu.architecture = format!("sm_{major}{minor}{}", if major == 9 { "a" } else { "" });
        Ok(gpu)
    }

    /// What the driver calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its machine code is made for.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Waits; the GPU is entered.
    fn wait(&self) -> Result<()> {
        // SAFETY: the stream is this GPU's.
        self.driver.check("cuStreamSynchronize", unsafe { (self.driver.synchronize)(self.stream) })
    }

    /// Free and all memory, in bytes.
    fn memory(&self) -> Result<(usize, usize)> {
        let (mut free, mut total) = (0, 0);
        // SAFETY: the driver writes two numbers.
        self.driver.check("cuMemGetInfo", unsafe { (self.driver.memory)(&mut free, &mut total) })?;
        Ok((free, total))
    }

    /// Makes the GPU the one that this thread's calls mean, until the guard is dropped. While work is recorded, other threads wait: what
    /// they ask for would be recorded with it.
    fn enter(&self) -> Result<MutexGuard<'_, Option<ThreadId>>> {
        let own = std::thread::current().id();
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        while recorder.is_some_and(|thread| thread != own) {
            recorder = self.recorded.wait(recorder).unwrap_or_else(PoisonError::into_inner);
        }
        // SAFETY: the context is retained.
        self.driver.check("cuCtxSetCurrent", unsafe { (self.driver.set_context)(self.context) })?;
        Ok(recorder)
    }

    fn free_blocks(&self) -> MutexGuard<'_, HashMap<usize, Vec<u64>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the blocks that nobody uses back to the driver. The GPU is entered.
    fn release(&self) {
        for address in self.free_blocks().drain().flat_map(|(_, addresses)| addresses) {
            // SAFETY: nobody has the block; what was asked before is done first. A failure leaves the memory taken.
            unsafe { (self.driver.free)(address, self.stream) };
        }
    }

    /// Has a library multiply. The GPU is entered.
    ///
    /// # Safety
    /// As [`Device::compute`].
    unsafe fn multiply(&self, libraries: &mut Libraries, gemm: &Gemm, addresses: &[u64]) -> Result<Done> {
        let Libraries { blas, products, workspace, .. } = libraries;
        let blas = match blas {
            Some(known) => known,
            None => blas.insert(Blas::get().ok().map(Blas::handle).transpose()?),
        };
        let Some(blas) = blas else { return Ok(Done::No) };
        let mut alignments = [MOST_ALIGNED; 4];
        alignments
            .iter_mut()
            .zip(addresses)
            .for_each(|(a, address)| *a = 1 << address.trailing_zeros().min(MOST_ALIGNED.ilog2()));
        let algorithm = match products.entry((gemm.clone(), alignments)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(blas.algorithm(gemm, alignments, WORKSPACE)?),
        };
        let Some(algorithm) = algorithm else { return Ok(Done::No) };
        let workspace = self.workspace(workspace, algorithm.workspace)?;
        // SAFETY: by the caller; the addresses are multiples of what the algorithm was asked for with.
        unsafe { blas.multiply(algorithm, addresses, workspace, self.stream)? };
        Ok(Done::Yes)
    }

    /// Has a library convolve. The GPU is entered.
    ///
    /// # Safety
    /// As [`Device::compute`].
    unsafe fn convolve(&self, libraries: &mut Libraries, conv: &Conv, addresses: &[u64]) -> Result<Done> {
        let Libraries { dnn, convolutions, workspace, .. } = libraries;
        let dnn = match dnn {
            Some(known) => known,
            None => dnn.insert(Dnn::get().ok().map(|dnn| dnn.handle(self.stream)).transpose()?),
        };
        let Some(dnn) = dnn else { return Ok(Done::No) };
        let algorithm = match convolutions.entry(conv.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(dnn.algorithm(conv, WORKSPACE)?),
        };
        let Some(algorithm) = algorithm else { return Ok(Done::No) };
        let workspace = self.workspace(workspace, algorithm.workspace)?;
        // SAFETY: by the caller.
        unsafe { dnn.convolve(algorithm, addresses, workspace)? };
        Ok(Done::Yes)
    }

    /// The memory for an algorithm that needs so many bytes.
    fn workspace(&self, known: &mut Option<u64>, bytes: usize) -> Result<u64> {
        Ok(match (bytes, *known) {
            (0, _) => 0,
            (_, Some(known)) => known,
            (_, None) => *known.insert(self.take(WORKSPACE)?),
        })
    }

    /// Memory of the driver. The GPU is entered.
    fn take(&self, bytes: usize) -> Result<u64> {
        let mut address = 0;
        // SAFETY: the driver writes an address.
        let mut ask = || unsafe { (self.driver.allocate)(&mut address, bytes, self.stream) };
        let mut status = ask();
        if status == OUT_OF_MEMORY {
            self.release();
            status = ask();
        }
        if status == OUT_OF_MEMORY {
            let (free, total) = self.memory()?;
            return Err(Error::new(format!("cuda:{} has no memory for {bytes} bytes", self.number))
                .note("memory", format!("{free} of {total} bytes are free")));
        }
        self.driver.check("cuMemAllocAsync", status)?;
        Ok(address)
    }

    fn kernels(&self) -> MutexGuard<'_, Kernels> {
        self.kernels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The function of a kernel with that much shared memory; compiles and loads it if need be. The GPU is entered.
    fn function(&self, kernel: &Arc<KernelText>, shared: u32) -> Result<Function> {
        let address = Arc::as_ptr(kernel) as usize;
        if !self.kernels().by_address.contains_key(&address) {
            self.load_all(std::slice::from_ref(kernel))?;
        }
        let mut kernels = self.kernels();
        let known =
            kernels.by_address.get_mut(&address).ok_or_else(|| Error::new(format!("kernel {} is not loaded", kernel.name)))?;
        if shared > known.shared.max(SHARED) {
            let bytes = c_int::try_from(shared).map_err(Error::other)?;
            // SAFETY: the function is loaded.
            let status = unsafe { (self.driver.set_function)(known.function, MOST_SHARED, bytes) };
            self.driver.check("cuFuncSetAttribute", status).map_err(|e| e.note("shared memory", format!("{shared} bytes")))?;
            known.shared = shared;
        }
        Ok(known.function)
    }

    /// Compiles what has not been, several texts at a time, and loads it. The GPU is entered.
    fn load_all(&self, kernels: &[Arc<KernelText>]) -> Result<()> {
        let missing: Vec<&Arc<KernelText>> = {
            let known = self.kernels();
            let mut seen = HashSet::new();
            kernels.iter().filter(|k| !known.by_text.contains_key(*k) && seen.insert(*k)).collect()
        };
        let next = AtomicUsize::new(0);
        let cubins: Mutex<Vec<_>> = Mutex::default();
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(missing.len());
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(&kernel) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let cubin = self.cubin(kernel);
                        cubins.lock().unwrap_or_else(PoisonError::into_inner).push((kernel, cubin));
                    }
                });
            }
        });
        for (kernel, cubin) in cubins.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let loaded =
                cubin.and_then(|cubin| self.load(kernel, &cubin)).map_err(|e| e.context(format!("kernel {}", kernel.name)))?;
            self.kernels().by_text.insert(kernel.clone(), loaded);
        }
        let mut known = self.kernels();
        for kernel in kernels {
            let (_, function) = known.by_text[kernel];
            let entry = Known { function, shared: 0, _text: kernel.clone() };
            known.by_address.entry(Arc::as_ptr(kernel) as usize).or_insert(entry);
        }
        Ok(())
    }

    fn load(&self, kernel: &KernelText, cubin: &[u8]) -> Result<(Module, Function)> {
        let name = CString::new(kernel.name.as_str()).map_err(Error::other)?;
        let (mut module, mut function) = (null_mut(), null_mut());
        // SAFETY: the image is what the compiler made; the name ends with a zero.
        unsafe {
            self.driver.check("cuModuleLoadData", (self.driver.load_module)(&mut module, cubin.as_ptr().cast()))?;
            self.driver.check("cuModuleGetFunction", (self.driver.function)(&mut function, module, name.as_ptr()))?;
        }
        Ok((module, function))
    }

    /// Machine code of a text: from the cache, else compiled.
    fn cubin(&self, kernel: &KernelText) -> Result<Vec<u8>> {
        let place = Place::of(&kernel.source, &self.architecture);
        if let Some(cubin) = place.as_ref().and_then(|p| cache::read(p, &kernel.source)) {
            return Ok(cubin);
        }
        let cubin = Nvrtc::get()?.compile(&kernel.source, &self.architecture, &[])?.image;
        if let Some(place) = &place {
            cache::write(place, &kernel.source, &cubin);
        }
        Ok(cubin)
    }
}

impl Device for Gpu {
    fn prepare(&self, kernels: &[Arc<KernelText>]) -> Result<()> {
        let _entered = self.enter()?;
        self.load_all(kernels)
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        let bytes = bytes.next_multiple_of(GRAIN);
        if let Some(address) = self.free_blocks().get_mut(&bytes).and_then(Vec::pop) {
            return Ok(address);
        }
        let _entered = self.enter()?;
        self.take(bytes)
    }

    fn account(&self) -> &Account {
        &self.account
    }

    unsafe fn free(&self, address: u64, bytes: usize) {
        self.free_blocks().entry(bytes.next_multiple_of(GRAIN)).or_default().push(address);
    }

    unsafe fn upload(&self, to: u64, from: &[u8]) -> Result<()> {
        if from.is_empty() {
            return Ok(());
        }
        let _entered = self.enter()?;
        // SAFETY: by the caller; from memory that is not pinned the driver has read everything when it returns.
        let status = unsafe { (self.driver.upload)(to, from.as_ptr().cast(), from.len(), self.stream) };
        self.driver.check("cuMemcpyHtoDAsync", status)
    }

    fn mark(&self) -> Result<Mark> {
        let _entered = self.enter()?;
        let point = Point::new(self.driver)?;
        point.set(self.stream)?;
        Ok(Mark::new(point))
    }

    unsafe fn upload_behind(&self, point: &Mark, to: u64, from: &[u8]) -> Result<()> {
        let entered = self.enter()?;
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(point), Some((block, free))) = (point.get::<Point>(), pinned.take(self.driver, from.len())?) else {
            drop((entered, pinned));
            // SAFETY: by the caller.
            return unsafe { self.upload(to, from) };
        };
        point.hold(self.uploads)?;
        // SAFETY: the block has so many bytes and the device is done with it; the rest by the caller.
        let status = unsafe {
            block.copy_from_nonoverlapping(from.as_ptr(), from.len());
            (self.driver.upload)(to, block.cast_const().cast(), from.len(), self.uploads)
        };
        self.driver.check("cuMemcpyHtoDAsync", status)?;
        free.set(self.uploads)?;
        free.hold(self.stream)
    }

    unsafe fn download(&self, from: u64, to: &mut [u8]) -> Result<()> {
        let _entered = self.enter()?;
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if to.len() >= LARGE
            && let Some((block, free)) = pinned.take(self.driver, to.len())?
        {
            // SAFETY: the block has so many bytes, and nobody else uses it; the rest by the caller.
            let status = unsafe { (self.driver.download)(block.cast(), from, to.len(), self.stream) };
            self.driver.check("cuMemcpyDtoHAsync", status)?;
            free.set(self.stream)?;
            self.wait()?;
            // SAFETY: as above; the copy is done.
            unsafe { block.copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) };
            return Ok(());
        }
        drop(pinned);
        if !to.is_empty() {
            // SAFETY: by the caller; the slice is borrowed until the stream is waited for.
            let status = unsafe { (self.driver.download)(to.as_mut_ptr().cast(), from, to.len(), self.stream) };
            self.driver.check("cuMemcpyDtoHAsync", status)?;
        }
        self.wait()
    }

    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let _entered = self.enter()?;
        // SAFETY: by the caller.
        self.driver.check("cuMemcpyDtoDAsync", unsafe { (self.driver.copy)(to, from, bytes, self.stream) })
    }

    unsafe fn launch(&self, launch: Launch<'_>) -> Result<()> {
        let _entered = self.enter()?;
        let Launch { kernel, grid, shared, arguments } = launch;
        let function = self.function(kernel, shared)?;
        let mut pointers: Vec<*mut c_void> = arguments.iter().map(|a| std::ptr::from_ref(a).cast_mut().cast()).collect();
        // SAFETY: by the caller the arguments are those of the kernel; the driver copies them before it returns.
        let status = unsafe {
            let (block, stream) = (kernel.block, self.stream);
            (self.driver.launch)(function, grid, 1, 1, block, 1, 1, shared, stream, pointers.as_mut_ptr(), null_mut())
        };
        self.driver.check("cuLaunchKernel", status).map_err(|e| e.context(format!("kernel {}", kernel.name)))
    }

    unsafe fn compute(&self, call: &Call, addresses: &[u64]) -> Result<Done> {
        let _entered = self.enter()?;
        let mut libraries = self.libraries.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: by the caller.
        let done = unsafe {
            match call {
                Call::Product(gemm) => self.multiply(&mut libraries, gemm, addresses),
                Call::Convolution(conv) => self.convolve(&mut libraries, conv, addresses),
            }
        };
        done.map_err(|e| e.context(call))
    }

    fn synchronize(&self) -> Result<()> {
        let _entered = self.enter()?;
        self.wait()
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Recording> {
        let driver = self.driver;
        {
            let mut recorder = self.enter()?;
            // SAFETY: the stream is this GPU's.
            driver.check("cuStreamBeginCapture", unsafe { (driver.begin_capture)(self.stream, THREAD_LOCAL) })?;
            *recorder = Some(std::thread::current().id());
        }
        let done = work();
        let mut graph: Graph = null_mut();
        let ended = {
            let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
            *recorder = None;
            self.recorded.notify_all();
            // SAFETY: the capture began above, and ends whatever the work did.
            driver.check("cuStreamEndCapture", unsafe { (driver.end_capture)(self.stream, &mut graph) })
        };
        done?;
        ended?;
        let mut exec: GraphExec = null_mut();
        // SAFETY: the graph is the one that was captured, and not needed once it is instantiated.
        let status = unsafe {
            let status = (driver.instantiate)(&mut exec, graph, 0);
            (driver.destroy_graph)(graph);
            status
        };
        driver.check("cuGraphInstantiate", status)?;
        Ok(Recording::new(Recorded { driver, exec }))
    }

    unsafe fn replay(&self, recording: &Recording) -> Result<()> {
        let recorded: &Recorded = recording.get()?;
        let _entered = self.enter()?;
        // SAFETY: by the caller.
        self.driver.check("cuGraphLaunch", unsafe { (self.driver.launch_graph)(recorded.exec, self.stream) })
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cuda:{} ({}, {})", self.number, self.name, self.architecture)
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        if self.context.is_null() || self.enter().is_err() {
            return;
        }
        let modules: Vec<Module> = self.kernels().by_text.values().map(|k| k.0).collect();
        // SAFETY: nobody holds anything of this GPU any more.
        unsafe {
            if !self.stream.is_null() {
                *self.libraries.get_mut().unwrap_or_else(PoisonError::into_inner) = Libraries::default();
                self.release();
                (self.driver.synchronize)(self.stream);
                (self.driver.synchronize)(self.uploads);
                self.pinned.get_mut().unwrap_or_else(PoisonError::into_inner).release(self.driver);
                modules.into_iter().for_each(|m| {
                    (self.driver.unload_module)(m);
                });
                (self.driver.destroy_stream)(self.stream);
                (self.driver.destroy_stream)(self.uploads);
            }
            (self.driver.release_context)(self.number);
        }
    }
}
