//! Products by cuBLASLt: a library that is looked for when it is first needed.

use super::driver::Stream;
use super::dynamic::{Wanted, functions, symbol};
use super::product::{Activation, Gemm, Stored, Sums};
use igneous_ir::error::{Error, Result};
use igneous_ir::types::DType;
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

type Status = c_int;
type Handle = *mut c_void;
type Operation = *mut c_void;
type Layout = *mut c_void;
type Preference = *mut c_void;

/// `CUBLAS_STATUS_NOT_SUPPORTED`.
const NOT_SUPPORTED: Status = 15;
/// `CUBLAS_OP_T`.
const TRANSPOSED: i32 = 1;
/// `CUBLASLT_MATMUL_DESC_TRANSA`, `…_TRANSB`.
const TRANSPOSE: [c_int; 2] = [3, 4];
/// `CUBLASLT_MATMUL_DESC_EPILOGUE`.
const EPILOGUE: c_int = 7;
/// `CUBLASLT_MATMUL_DESC_BIAS_POINTER`.
const BIAS: c_int = 8;
/// `CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT`.
const BATCHES: c_int = 5;
/// `CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET`.
const BATCH_STRIDE: c_int = 6;
/// `CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES`.
const MOST_WORKSPACE: c_int = 1;
/// `CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK`.
const REDUCTIONS: c_int = 3;
/// `CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE`: others would add parts of sums of half types in the half type.
const WIDE: u32 = 2;
/// `CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES`, and those of B, C and D.
const ALIGNMENTS: [c_int; 4] = [5, 6, 7, 8];

functions! {
    Functions:
    create: "cublasLtCreate"(*mut Handle);
    destroy: "cublasLtDestroy"(Handle);
    create_operation: "cublasLtMatmulDescCreate"(*mut Operation, c_int, c_int);
    destroy_operation: "cublasLtMatmulDescDestroy"(Operation);
    set_operation: "cublasLtMatmulDescSetAttribute"(Operation, c_int, *const c_void, usize);
    create_layout: "cublasLtMatrixLayoutCreate"(*mut Layout, c_int, u64, u64, i64);
    destroy_layout: "cublasLtMatrixLayoutDestroy"(Layout);
    set_layout: "cublasLtMatrixLayoutSetAttribute"(Layout, c_int, *const c_void, usize);
    create_preference: "cublasLtMatmulPreferenceCreate"(*mut Preference);
    destroy_preference: "cublasLtMatmulPreferenceDestroy"(Preference);
    set_preference: "cublasLtMatmulPreferenceSetAttribute"(Preference, c_int, *const c_void, usize);
    heuristic: "cublasLtMatmulAlgoGetHeuristic"(
        Handle, Operation, Layout, Layout, Layout, Layout, Preference, c_int, *mut Heuristic, *mut c_int
    );
    multiply: "cublasLtMatmul"(
        Handle, Operation, *const c_void, *const c_void, Layout, *const c_void, Layout, *const c_void, *const c_void, Layout,
        *mut c_void, Layout, *const [u64; 8], *mut c_void, usize, Stream
    );
}

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Heuristic {
    algorithm: [u64; 8],
    workspace: usize,
    state: Status,
    waves: f32,
    reserved: [c_int; 4],
}

/// The library.
pub(super) struct Blas {
    functions: Functions,
    message: unsafe extern "C" fn(Status) -> *const c_char,
    /// Major, minor and patch number as one: 130401.
    version: usize,
}

impl Blas {
    /// The library: at the path in `IGNEOUS_CUBLASLT`, or as [`Wanted::open`] finds it.
    ///
    /// # Errors
    /// If there is none.
    pub fn get() -> Result<&'static Blas> {
        static LOADED: OnceLock<Result<Blas>> = OnceLock::new();
        LOADED.get_or_init(Blas::load).as_ref().map_err(Clone::clone)
    }

    fn load() -> Result<Blas> {
        let wanted = Wanted {
            name: "cublasLt",
            versions: &["13", "12"],
            variable: "IGNEOUS_CUBLASLT",
            about: "the library of matrix products",
            remedy: "install CUDA 12 or 13, or `pip install nvidia-cublas`",
        };
        // SAFETY: the library is cuBLASLt; its functions have these types in all versions.
        unsafe {
            let library: Library = wanted.open()?;
            let version: unsafe extern "C" fn() -> usize = symbol(&library, "cublasLtGetVersion")?;
            let message = symbol(&library, "cublasLtGetStatusString")?;
            let version = version();
            Ok(Blas { functions: Functions::of(library)?, message, version })
        }
    }

    fn check(&self, function: &str, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the library gives a static string for every number.
        let message = unsafe { CStr::from_ptr((self.message)(status)) };
        Err(Error::new(format!("{function}: {}", message.to_string_lossy())).note("version of cuBLASLt", self.version))
    }

    /// A handle for the device that the thread has entered.
    pub fn handle(&'static self) -> Result<BlasHandle> {
        let mut handle = null_mut();
        // SAFETY: the library writes a handle.
        self.check("cublasLtCreate", unsafe { (self.functions.create)(&mut handle) })?;
        Ok(BlasHandle { blas: self, handle })
    }

    /// The library's description of a product. No device is needed.
    pub fn describe(&'static self, gemm: &Gemm) -> Result<Description> {
        let mut described = Description { blas: self, operation: null_mut(), layouts: [null_mut(); 3] };
        let Gemm { types, batch, bias, activation, .. } = gemm;
        let (compute, scale) = match types.sums {
            Sums::F32 => (68, DType::F32),
            Sums::Tf32 => (77, DType::F32),
            Sums::F64 => (70, DType::F64),
            Sums::I32 => (72, DType::I32),
        };
        // SAFETY: the library writes a description.
        let status = unsafe { (self.functions.create_operation)(&mut described.operation, compute, number(scale)?) };
        self.check("cublasLtMatmulDescCreate", status)?;
        for (attribute, stored) in TRANSPOSE.into_iter().zip([gemm.a, gemm.b]) {
            described.set(attribute, &if stored.transposed { TRANSPOSED } else { 0 })?;
        }
        let activation = match activation {
            None => 0,
            Some(Activation::Relu) => 2,
            Some(Activation::Gelu) => 32,
        };
        let epilogue: u32 = activation | if *bias { 4 } else { 0 };
        described.set(EPILOGUE, &epilogue.max(1))?;
        let stored = [(gemm.a, types.operands), (gemm.b, types.operands), (gemm.d, types.result)];
        for (layout, (Stored { rows, columns, leading, batch: stride, .. }, dtype)) in described.layouts.iter_mut().zip(stored) {
            let count = i32::try_from(*batch).map_err(Error::other)?;
            let stride = i64::try_from(stride).map_err(Error::other)?;
            let leading = i64::try_from(leading).map_err(Error::other)?;
            // SAFETY: the library writes a layout, and reads numbers of the sizes that these attributes have.
            unsafe {
                let status = (self.functions.create_layout)(layout, number(dtype)?, rows as u64, columns as u64, leading);
                self.check("cublasLtMatrixLayoutCreate", status)?;
                let status = (self.functions.set_layout)(*layout, BATCHES, (&raw const count).cast(), size_of_val(&count));
                self.check("cublasLtMatrixLayoutSetAttribute", status)?;
                let status = (self.functions.set_layout)(*layout, BATCH_STRIDE, (&raw const stride).cast(), size_of_val(&stride));
                self.check("cublasLtMatrixLayoutSetAttribute", status)?;
            }
        }
        Ok(described)
    }
}

/// `cudaDataType_t`.
fn number(dtype: DType) -> Result<c_int> {
    Ok(match dtype {
        DType::F32 => 0,
        DType::F64 => 1,
        DType::F16 => 2,
        DType::I8 => 3,
        DType::I32 => 10,
        DType::BF16 => 14,
        _ => return Err(Error::new(format!("cuBLASLt has no products of {dtype}"))),
    })
}

/// What the library is told of a product.
pub(super) struct Description {
    blas: &'static Blas,
    operation: Operation,
    layouts: [Layout; 3],
}

// SAFETY: descriptions are plain memory of the library's.
unsafe impl Send for Description {}

impl Description {
    fn set<T: Copy>(&mut self, attribute: c_int, value: &T) -> Result<()> {
        let status = {
            // SAFETY: the library reads as many bytes as it is told, and checks that the attribute has so many.
            unsafe {
                (self.blas.functions.set_operation)(self.operation, attribute, std::ptr::from_ref(value).cast(), size_of::<T>())
            }
        };
        self.blas.check("cublasLtMatmulDescSetAttribute", status)
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        let functions = &self.blas.functions;
        // SAFETY: nobody uses the descriptions from here on; those that were not made are null.
        unsafe {
            for layout in self.layouts.into_iter().filter(|l| !l.is_null()) {
                (functions.destroy_layout)(layout);
            }
            if !self.operation.is_null() {
                (functions.destroy_operation)(self.operation);
            }
        }
    }
}

/// An algorithm for a product.
pub(super) struct Algorithm {
    description: Description,
    sums: Sums,
    algorithm: [u64; 8],
    /// Bytes of memory that it uses besides the operands.
    pub workspace: usize,
}

/// The library for one device.
pub(super) struct BlasHandle {
    blas: &'static Blas,
    handle: Handle,
}

// SAFETY: a handle may be used by any thread whose context is its device's.
unsafe impl Send for BlasHandle {}
// SAFETY: as above.
unsafe impl Sync for BlasHandle {}

impl BlasHandle {
    /// The algorithm that the library proposes for operands, result and bias at addresses that are multiples of these, of those that
    /// need no more memory than `most` bytes; none if it has none. The device is entered.
    pub fn algorithm(&self, gemm: &Gemm, alignments: [u32; 4], most: usize) -> Result<Option<Algorithm>> {
        let (blas, functions) = (self.blas, &self.blas.functions);
        let mut description = blas.describe(gemm)?;
        let [a, b, d, bias] = alignments;
        if gemm.bias {
            // Only how it is aligned matters here.
            description.set(BIAS, &u64::from(bias))?;
        }
        let mut preference = null_mut();
        let mut found = Heuristic::default();
        let mut count = 0;
        // SAFETY: the library writes a preference and at most one result, and reads numbers of the sizes that these attributes have.
        let status = unsafe {
            blas.check("cublasLtMatmulPreferenceCreate", (functions.create_preference)(&mut preference))?;
            let set = |attribute, value: *const c_void, bytes| (functions.set_preference)(preference, attribute, value, bytes);
            let mut status = set(MOST_WORKSPACE, (&raw const most).cast(), size_of::<usize>());
            let alignments = ALIGNMENTS.into_iter().zip([a, b, d, d]);
            for (attribute, value) in [(REDUCTIONS, WIDE)].into_iter().chain(alignments) {
                status = if status == 0 { set(attribute, (&raw const value).cast(), size_of::<u32>()) } else { status };
            }
            if status == 0 {
                let [a, b, d] = description.layouts;
                let operation = description.operation;
                status = (functions.heuristic)(self.handle, operation, a, b, d, d, preference, 1, &mut found, &mut count);
            }
            (functions.destroy_preference)(preference);
            status
        };
        if status == NOT_SUPPORTED || status == 0 && (count == 0 || found.state != 0) {
            return Ok(None);
        }
        blas.check("cublasLtMatmulAlgoGetHeuristic", status)?;
        let Heuristic { algorithm, workspace, .. } = found;
        Ok(Some(Algorithm { description, sums: gemm.types.sums, algorithm, workspace }))
    }

    /// Asks for a product.
    ///
    /// # Safety
    /// The addresses are those of the operands, of the result and of the bias, if there is one, and are multiples of what the algorithm
    /// was made for; at `workspace` are as many bytes as the algorithm uses. The device is entered, and the stream is its.
    pub unsafe fn multiply(&self, algorithm: &mut Algorithm, addresses: &[u64], workspace: u64, stream: Stream) -> Result<()> {
        let &[a, b, d, ..] = addresses else { return Err(Error::new("a product has two operands and a result")) };
        if let Some(bias) = addresses.get(3) {
            algorithm.description.set(BIAS, bias)?;
        }
        // Of the type of the sums, in the lower bytes.
        let one = match algorithm.sums {
            Sums::F32 | Sums::Tf32 => u64::from(1f32.to_bits()),
            Sums::F64 => 1f64.to_bits(),
            Sums::I32 => 1,
        };
        let (one, zero) = ((&raw const one).cast(), (&raw const ZERO).cast());
        let Algorithm { description: Description { operation, layouts: [of_a, of_b, of_d], .. }, .. } = *algorithm;
        let [a, b, d, workspace] = [a, b, d, workspace].map(|address| address as *mut c_void);
        let (how, bytes) = (&raw const algorithm.algorithm, algorithm.workspace);
        // SAFETY: by the caller; the factors are read before the call returns.
        let status = unsafe {
            (self.blas.functions.multiply)(
                self.handle,
                operation,
                one,
                a,
                of_a,
                b,
                of_b,
                zero,
                d,
                of_d,
                d,
                of_d,
                how,
                workspace,
                bytes,
                stream,
            )
        };
        self.blas.check("cublasLtMatmul", status)
    }
}

static ZERO: u64 = 0;

impl Drop for BlasHandle {
    fn drop(&mut self) {
        // SAFETY: nobody uses the handle from here on.
        unsafe { (self.blas.functions.destroy)(self.handle) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::product::Types;
    use super::*;

    /// A transposed product of this type with everything that can be said of one.
    fn gemm(types: Types, activation: Option<Activation>) -> Gemm {
        let stored = |rows, columns, transposed| Stored { rows, columns, leading: rows + 8, batch: 4096, transposed };
        let [a, b, d] = [stored(16, 32, true), stored(16, 8, false), stored(32, 8, false)];
        Gemm { types, batch: 3, m: 32, n: 8, k: 16, a, b, d, bias: activation.is_some(), activation }
    }

    #[test]
    fn the_library_takes_every_description() {
        let blas = match Blas::get() {
            Ok(blas) => blas,
            Err(error) => return println!("skipped: {error}"),
        };
        assert!(blas.version >= 120_000, "version {}", blas.version);
        for (operands, sums, result) in [
            (DType::F32, Sums::F32, DType::F32),
            (DType::F32, Sums::Tf32, DType::F32),
            (DType::F64, Sums::F64, DType::F64),
            (DType::F16, Sums::F32, DType::F16),
            (DType::BF16, Sums::F32, DType::F32),
            (DType::I8, Sums::I32, DType::I32),
        ] {
            for activation in [None, Some(Activation::Relu), Some(Activation::Gelu)] {
                let gemm = gemm(Types { operands, sums, result }, activation);
                let mut described = blas.describe(&gemm).unwrap_or_else(|error| panic!("{gemm}: {error}"));
                described.set(BIAS, &256u64).unwrap_or_else(|error| panic!("{gemm}: {error}"));
            }
        }
        let types = Types { operands: DType::I64, sums: Sums::F64, result: DType::I64 };
        assert!(blas.describe(&gemm(types, None)).is_err(), "there are no products of i64");
    }
}
