//! The functions of the CUDA driver that are used: a library that is looked for when it is first needed.

use super::dynamic::{functions, symbol};
use igneous_ir::error::{Error, Result};
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

pub(super) type Status = c_int;
pub(super) type Context = *mut c_void;
pub(super) type Stream = *mut c_void;
pub(super) type Module = *mut c_void;
pub(super) type Function = *mut c_void;
pub(super) type Graph = *mut c_void;
pub(super) type GraphExec = *mut c_void;
pub(super) type Pool = *mut c_void;
pub(super) type Event = *mut c_void;

/// `CUDA_ERROR_OUT_OF_MEMORY`.
pub(super) const OUT_OF_MEMORY: Status = 2;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`, `…_MINOR`.
pub(super) const CAPABILITY: [c_int; 2] = [75, 76];
/// `CU_STREAM_NON_BLOCKING`.
pub(super) const NON_BLOCKING: c_uint = 1;
/// `CU_EVENT_DISABLE_TIMING`.
pub(super) const UNTIMED: c_uint = 2;
/// `CU_STREAM_CAPTURE_MODE_THREAD_LOCAL`.
pub(super) const THREAD_LOCAL: c_int = 1;
/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
pub(super) const MOST_SHARED: c_int = 8;
/// `CU_MEMPOOL_ATTR_RELEASE_THRESHOLD`.
pub(super) const RELEASE_THRESHOLD: c_int = 4;

functions! {
    Driver:
    init: "cuInit"(c_uint);
    error_string: "cuGetErrorString"(Status, *mut *const c_char);
    device_count: "cuDeviceGetCount"(*mut c_int);
    device: "cuDeviceGet"(*mut c_int, c_int);
    device_name: "cuDeviceGetName"(*mut c_char, c_int, c_int);
    device_attribute: "cuDeviceGetAttribute"(*mut c_int, c_int, c_int);
    retain_context: "cuDevicePrimaryCtxRetain"(*mut Context, c_int);
    release_context: "cuDevicePrimaryCtxRelease_v2"(c_int);
    set_context: "cuCtxSetCurrent"(Context);
    default_pool: "cuDeviceGetDefaultMemPool"(*mut Pool, c_int);
    set_pool: "cuMemPoolSetAttribute"(Pool, c_int, *mut c_void);
    memory: "cuMemGetInfo_v2"(*mut usize, *mut usize);
    create_stream: "cuStreamCreate"(*mut Stream, c_uint);
    destroy_stream: "cuStreamDestroy_v2"(Stream);
    synchronize: "cuStreamSynchronize"(Stream);
    allocate: "cuMemAllocAsync"(*mut u64, usize, Stream);
    free: "cuMemFreeAsync"(u64, Stream);
    upload: "cuMemcpyHtoDAsync_v2"(u64, *const c_void, usize, Stream);
    download: "cuMemcpyDtoHAsync_v2"(*mut c_void, u64, usize, Stream);
    copy: "cuMemcpyDtoDAsync_v2"(u64, u64, usize, Stream);
    allocate_host: "cuMemAllocHost_v2"(*mut *mut c_void, usize);
    free_host: "cuMemFreeHost"(*mut c_void);
    create_event: "cuEventCreate"(*mut Event, c_uint);
    destroy_event: "cuEventDestroy_v2"(Event);
    record_event: "cuEventRecord"(Event, Stream);
    query_event: "cuEventQuery"(Event);
    await_event: "cuEventSynchronize"(Event);
    wait_event: "cuStreamWaitEvent"(Stream, Event, c_uint);
    load_module: "cuModuleLoadData"(*mut Module, *const c_void);
    unload_module: "cuModuleUnload"(Module);
    function: "cuModuleGetFunction"(*mut Function, Module, *const c_char);
    set_function: "cuFuncSetAttribute"(Function, c_int, c_int);
    launch: "cuLaunchKernel"(
        Function, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Stream, *mut *mut c_void, *mut *mut c_void
    );
    begin_capture: "cuStreamBeginCapture_v2"(Stream, c_int);
    end_capture: "cuStreamEndCapture"(Stream, *mut Graph);
    instantiate: "cuGraphInstantiateWithFlags"(*mut GraphExec, Graph, u64);
    launch_graph: "cuGraphLaunch"(GraphExec, Stream);
    destroy_graph: "cuGraphDestroy"(Graph);
    destroy_exec: "cuGraphExecDestroy"(GraphExec);
}

impl Driver {
    /// The driver, initialised.
    ///
    /// # Errors
    /// If there is none, or it cannot be used.
    pub fn get() -> Result<&'static Driver> {
        static LOADED: OnceLock<Result<Driver>> = OnceLock::new();
        LOADED.get_or_init(Driver::load).as_ref().map_err(Clone::clone)
    }

    fn load() -> Result<Driver> {
        let names = if cfg!(windows) { ["nvcuda.dll", "nvcuda64.dll"] } else { ["libcuda.so.1", "libcuda.so"] };
        // SAFETY: the library is the driver; loading it runs its own initialisation only.
        let found = names.into_iter().find_map(|name| unsafe { Library::new(name) }.ok());
        let library = found.ok_or_else(|| {
            Error::new("there is no CUDA driver on this machine")
                .note("remedy", "install the driver of an NVIDIA GPU, or run on the CPU")
        })?;
        // SAFETY: as above.
        let driver = unsafe { Driver::of(library)? };
        // SAFETY: this is the first call.
        driver.check("cuInit", unsafe { (driver.init)(0) })?;
        Ok(driver)
    }

    /// An error for a status other than success.
    pub fn check(&self, function: &str, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        let mut text: *const c_char = std::ptr::null();
        // SAFETY: the driver gives a static string, or leaves the pointer null.
        let message = unsafe {
            (self.error_string)(status, &mut text);
            if text.is_null() { format!("error {status}").into() } else { CStr::from_ptr(text).to_string_lossy() }
        };
        Err(Error::new(format!("{function}: {message}")))
    }
}
