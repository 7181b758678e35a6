//! The compiler of CUDA C++, NVRTC: a library that is looked for when it is first needed. No device is needed to compile.

use super::dynamic::{Wanted, symbol};
use igneous_ir::error::{Error, Result};
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null;
use std::sync::OnceLock;

type Program = *mut c_void;
type Status = c_int;

/// The functions of the library that are used.
pub struct Nvrtc {
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Status,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status,
    destroy: unsafe extern "C" fn(*mut Program) -> Status,
    cubin_size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    cubin: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    log: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    message: unsafe extern "C" fn(Status) -> *const c_char,
    version: (c_int, c_int),
    _library: Library,
}

/// What compiling gives.
#[derive(Clone, Debug)]
pub struct Cubin {
    /// Machine code for one architecture, as the driver loads it.
    pub image: Vec<u8>,
    /// Warnings, and what options ask for.
    pub log: String,
}

/// Options that every text is compiled with: contraction to FMA would change results.
const OPTIONS: [&str; 1] = ["--fmad=false"];

impl Nvrtc {
    /// The library: at the path in `IGNEOUS_NVRTC`, else where the loader finds it, else in the folder of CUDA or of a Python environment that is
    /// active.
    ///
    /// # Errors
    /// If it is in none of these places.
    pub fn get() -> Result<&'static Nvrtc> {
        static LOADED: OnceLock<Result<Nvrtc>> = OnceLock::new();
        LOADED.get_or_init(Nvrtc::load).as_ref().map_err(Clone::clone)
    }

    fn load() -> Result<Nvrtc> {
        let wanted = Wanted {
            name: "nvrtc",
            versions: &["13", "12"],
            variable: "IGNEOUS_NVRTC",
            about: "the CUDA compiler",
            remedy: "install CUDA 12 or 13, or `pip install nvidia-cuda-nvrtc`",
        };
        // SAFETY: the library is NVRTC.
        let library = unsafe { wanted.open()? };
        // SAFETY: the functions have these types in all versions of the library.
        unsafe {
            let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> Status = symbol(&library, "nvrtcVersion")?;
            let mut nvrtc = Nvrtc {
                create: symbol(&library, "nvrtcCreateProgram")?,
                compile: symbol(&library, "nvrtcCompileProgram")?,
                destroy: symbol(&library, "nvrtcDestroyProgram")?,
                cubin_size: symbol(&library, "nvrtcGetCUBINSize")?,
                cubin: symbol(&library, "nvrtcGetCUBIN")?,
                log_size: symbol(&library, "nvrtcGetProgramLogSize")?,
                log: symbol(&library, "nvrtcGetProgramLog")?,
                message: symbol(&library, "nvrtcGetErrorString")?,
                version: (0, 0),
                _library: library,
            };
            let status = version(&mut nvrtc.version.0, &mut nvrtc.version.1);
            nvrtc.check("nvrtcVersion", status)?;
            Ok(nvrtc)
        }
    }

    /// Major and minor number of the library's version.
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    fn check(&self, function: &str, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the library gives a static string for every number.
        let message = unsafe { CStr::from_ptr((self.message)(status)) };
        Err(Error::new(format!("{function}: {}", message.to_string_lossy())))
    }

    /// Compiles a text for an architecture like `sm_90a`. It may be called by several threads at once.
    ///
    /// # Errors
    /// If the text is wrong or the library does not know the architecture.
    pub fn compile(&self, source: &str, architecture: &str, options: &[&str]) -> Result<Cubin> {
        let text = CString::new(source).map_err(Error::other)?;
        let options = OPTIONS.iter().chain(options).map(|o| (*o).to_owned());
        let options: Vec<CString> = [format!("--gpu-architecture={architecture}")]
            .into_iter()
            .chain(options)
            .map(|o| CString::new(o).map_err(Error::other))
            .collect::<Result<_>>()?;
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let mut program: Program = std::ptr::null_mut();
        // SAFETY: the strings end with a zero and live until the program is destroyed; buffers have the sizes that were asked for.
        unsafe {
            let made = (self.create)(&mut program, text.as_ptr(), c"kernel.cu".as_ptr(), 0, null(), null());
            self.check("nvrtcCreateProgram", made)?;
            let status = (self.compile)(program, pointers.len() as c_int, pointers.as_ptr());
            let result = self.results(program, status);
            (self.destroy)(&mut program);
            result
        }
    }

    /// # Safety
    /// The program is one that was compiled.
    unsafe fn results(&self, program: Program, status: Status) -> Result<Cubin> {
        let (mut size, mut log) = (0, Vec::new());
        // SAFETY: by the caller; buffers have the sizes that were asked for.
        unsafe {
            self.check("nvrtcGetProgramLogSize", (self.log_size)(program, &mut size))?;
            log.resize(size, 0u8);
            self.check("nvrtcGetProgramLog", (self.log)(program, log.as_mut_ptr().cast()))?;
        }
        let log = String::from_utf8_lossy(&log).trim_end_matches(['\0', '\n']).to_owned();
        self.check("nvrtcCompileProgram", status).map_err(|e| e.note("log", &log))?;
        let mut image = Vec::new();
        // SAFETY: as above.
        unsafe {
            self.check("nvrtcGetCUBINSize", (self.cubin_size)(program, &mut size))?;
            image.resize(size, 0u8);
            self.check("nvrtcGetCUBIN", (self.cubin)(program, image.as_mut_ptr().cast()))?;
        }
        Ok(Cubin { image, log })
    }
}
