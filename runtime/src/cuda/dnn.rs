//! Convolutions by cuDNN: a library that is looked for when it is first needed.

use super::convolution::{Conv, Pass};
use super::driver::Stream;
use super::dynamic::{Wanted, functions, symbol};
use super::product::Sums;
use igneous_ir::error::{Error, Result};
use igneous_ir::types::DType;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

type Status = c_int;
type Handle = *mut c_void;
type Descriptor = *mut c_void;
/// The algorithms that are proposed: handle, two descriptors, that of the convolution, the third one, how many are asked for and given.
type Propose =
    unsafe extern "C" fn(Handle, Descriptor, Descriptor, Descriptor, Descriptor, c_int, *mut c_int, *mut Proposal) -> Status;
/// Handle, factor, two operands, the convolution, its algorithm, workspace, factor, result.
type Convolve = unsafe extern "C" fn(
    Handle,
    *const c_void,
    Descriptor,
    *const c_void,
    Descriptor,
    *const c_void,
    Descriptor,
    c_int,
    *mut c_void,
    usize,
    *const c_void,
    Descriptor,
    *mut c_void,
) -> Status;

/// `CUDNN_STATUS_NOT_SUPPORTED` and those that say more.
const NOT_SUPPORTED: std::ops::Range<Status> = 3000..4000;
/// `CUDNN_TENSOR_NCHW`.
const ROW_MAJOR: c_int = 0;
/// `CUDNN_CROSS_CORRELATION`.
const CROSS_CORRELATION: c_int = 1;
/// `CUDNN_DETERMINISTIC`.
const DETERMINISTIC: c_int = 1;
/// `CUDNN_FMA_MATH`: operands are not rounded.
const FULL: c_int = 3;
/// `CUDNN_TENSOR_OP_MATH`.
const TENSOR_CORES: c_int = 1;
/// `CUDNN_DEFAULT_MATH`: single precision may be rounded.
const ANY: c_int = 0;
/// More algorithms than there are of a kind.
const MOST: usize = 16;

functions! {
    Functions:
    create: "cudnnCreate"(*mut Handle);
    destroy: "cudnnDestroy"(Handle);
    set_stream: "cudnnSetStream"(Handle, Stream);
    create_tensor: "cudnnCreateTensorDescriptor"(*mut Descriptor);
    destroy_tensor: "cudnnDestroyTensorDescriptor"(Descriptor);
    set_tensor: "cudnnSetTensorNdDescriptorEx"(Descriptor, c_int, c_int, c_int, *const c_int);
    create_filter: "cudnnCreateFilterDescriptor"(*mut Descriptor);
    destroy_filter: "cudnnDestroyFilterDescriptor"(Descriptor);
    set_filter: "cudnnSetFilterNdDescriptor"(Descriptor, c_int, c_int, c_int, *const c_int);
    create_convolution: "cudnnCreateConvolutionDescriptor"(*mut Descriptor);
    destroy_convolution: "cudnnDestroyConvolutionDescriptor"(Descriptor);
    set_convolution: "cudnnSetConvolutionNdDescriptor"(
        Descriptor, c_int, *const c_int, *const c_int, *const c_int, c_int, c_int
    );
    set_mathematics: "cudnnSetConvolutionMathType"(Descriptor, c_int);
    places: "cudnnGetConvolutionNdForwardOutputDim"(Descriptor, Descriptor, Descriptor, c_int, *mut c_int);
}

/// `cudnnConvolutionFwdAlgoPerf_t`, and those of the derivatives.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Proposal {
    algorithm: c_int,
    status: Status,
    time: f32,
    workspace: usize,
    determinism: c_int,
    mathematics: c_int,
    reserved: [c_int; 3],
}

/// The library.
pub(super) struct Dnn {
    /// For each pass, what proposes its algorithms, and what does it.
    passes: [(Propose, Convolve); 3],
    functions: Functions,
    message: unsafe extern "C" fn(Status) -> *const c_char,
    /// Major, minor and patch number as one: 92600.
    version: usize,
}

impl Dnn {
    /// The library: at the path in `IGNEOUS_CUDNN`, or as [`Wanted::open`] finds it.
    ///
    /// # Errors
    /// If there is none.
    pub fn get() -> Result<&'static Dnn> {
        static LOADED: OnceLock<Result<Dnn>> = OnceLock::new();
        LOADED.get_or_init(Dnn::load).as_ref().map_err(Clone::clone)
    }

    fn load() -> Result<Dnn> {
        let wanted = Wanted {
            name: "cudnn",
            versions: &["9"],
            variable: "IGNEOUS_CUDNN",
            about: "the library of convolutions",
            remedy: "install cuDNN 9, or `pip install nvidia-cudnn-cu13`",
        };
        // SAFETY: the library is cuDNN; its functions have these types in all versions of this number.
        unsafe {
            let library = wanted.open()?;
            let version: unsafe extern "C" fn() -> usize = symbol(&library, "cudnnGetVersion")?;
            let message = symbol(&library, "cudnnGetErrorString")?;
            let of = |pass: &str| -> Result<(Propose, Convolve)> {
                let propose = symbol(&library, &format!("cudnnGetConvolution{pass}Algorithm_v7"))?;
                Ok((propose, symbol(&library, &format!("cudnnConvolution{pass}"))?))
            };
            let passes = [of("Forward")?, of("BackwardData")?, of("BackwardFilter")?];
            let version = version();
            Ok(Dnn { passes, functions: Functions::of(library)?, message, version })
        }
    }

    fn check(&self, function: &str, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: the library gives a static string for every number.
        let message = unsafe { CStr::from_ptr((self.message)(status)) };
        Err(Error::new(format!("{function}: {}", message.to_string_lossy())).note("version of cuDNN", self.version))
    }

    /// A handle for the device that the thread has entered, whose work goes into this stream.
    pub fn handle(&'static self, stream: Stream) -> Result<DnnHandle> {
        let mut handle = null_mut();
        // SAFETY: the library writes a handle.
        self.check("cudnnCreate", unsafe { (self.functions.create)(&mut handle) })?;
        let handle = DnnHandle { dnn: self, handle };
        // SAFETY: the stream is the device's.
        self.check("cudnnSetStream", unsafe { (self.functions.set_stream)(handle.handle, stream) })?;
        Ok(handle)
    }

    /// The library's description of a convolution. No device is needed.
    pub fn describe(&'static self, conv: &Conv) -> Result<Description> {
        let functions = &self.functions;
        let mut described = Description { dnn: self, tensors: [null_mut(); 2], filter: null_mut(), convolution: null_mut() };
        let narrow =
            |numbers: &[usize]| numbers.iter().map(|&n| c_int::try_from(n).map_err(Error::other)).collect::<Result<Vec<_>>>();
        let dtype = |read: bool| number(if read { conv.types.operands } else { conv.types.result });
        let [x, w, y] = [0, 1, 2].map(|k| narrow(&conv.shapes[k]));
        let (x, w, y) = (x?, w?, y?);
        let [of_x, of_w, of_y] = [Pass::Images, Pass::Weights, Pass::Forward].map(|written| dtype(conv.pass != written));
        let spatial = |of: fn(&super::convolution::Spatial) -> usize| narrow(&conv.spatial.iter().map(of).collect::<Vec<_>>());
        let (padding, stride, dilation) = (spatial(|s| s.padding)?, spatial(|s| s.stride)?, spatial(|s| s.dilation)?);
        let sums = if conv.types.sums == Sums::F64 { DType::F64 } else { DType::F32 };
        let mathematics = match (conv.types.sums, conv.types.operands) {
            (Sums::F32, DType::F32) => FULL,
            (Sums::F32, _) => TENSOR_CORES,
            (Sums::Tf32 | Sums::F64 | Sums::I32, _) => ANY,
        };
        let rank = |shape: &[c_int]| shape.len() as c_int;
        // SAFETY: the library writes descriptors, and reads as many numbers as it is told.
        unsafe {
            for (tensor, (shape, dtype)) in described.tensors.iter_mut().zip([(&x, of_x?), (&y, of_y?)]) {
                self.check("cudnnCreateTensorDescriptor", (functions.create_tensor)(tensor))?;
                let status = (functions.set_tensor)(*tensor, ROW_MAJOR, dtype, rank(shape), shape.as_ptr());
                self.check("cudnnSetTensorNdDescriptorEx", status)?;
            }
            self.check("cudnnCreateFilterDescriptor", (functions.create_filter)(&mut described.filter))?;
            let status = (functions.set_filter)(described.filter, of_w?, ROW_MAJOR, rank(&w), w.as_ptr());
            self.check("cudnnSetFilterNdDescriptor", status)?;
            self.check("cudnnCreateConvolutionDescriptor", (functions.create_convolution)(&mut described.convolution))?;
            let (padding, stride, dilation) = (padding.as_ptr(), stride.as_ptr(), dilation.as_ptr());
            let (count, sums) = (conv.spatial.len() as c_int, number(sums)?);
            let own = described.convolution;
            let status = (functions.set_convolution)(own, count, padding, stride, dilation, CROSS_CORRELATION, sums);
            self.check("cudnnSetConvolutionNdDescriptor", status)?;
            self.check("cudnnSetConvolutionMathType", (functions.set_mathematics)(own, mathematics))?;
            let mut found = vec![0; y.len()];
            let status = (functions.places)(own, described.tensors[0], described.filter, rank(&y), found.as_mut_ptr());
            self.check("cudnnGetConvolutionNdForwardOutputDim", status)?;
            match found == y {
                true => Ok(described),
                false => Err(Error::new(format!("cuDNN gives a result of the extents {found:?}, not {y:?}"))),
            }
        }
    }
}

/// `cudnnDataType_t`.
fn number(dtype: DType) -> Result<c_int> {
    Ok(match dtype {
        DType::F32 => 0,
        DType::F64 => 1,
        DType::F16 => 2,
        DType::BF16 => 9,
        _ => return Err(Error::new(format!("cuDNN has no convolutions of {dtype}"))),
    })
}

/// What the library is told of a convolution.
pub(super) struct Description {
    dnn: &'static Dnn,
    /// Images and results.
    tensors: [Descriptor; 2],
    filter: Descriptor,
    convolution: Descriptor,
}

// SAFETY: descriptors are plain memory of the library's.
unsafe impl Send for Description {}

impl Description {
    /// The descriptors in the order in which the pass takes them: two operands, and the result.
    fn in_order(&self, pass: Pass) -> [Descriptor; 3] {
        let ([x, y], w) = (self.tensors, self.filter);
        match pass {
            Pass::Forward => [x, w, y],
            Pass::Images => [w, y, x],
            Pass::Weights => [x, y, w],
        }
    }
}

impl Drop for Description {
    fn drop(&mut self) {
        let functions = &self.dnn.functions;
        // SAFETY: nobody uses the descriptors from here on; those that were not made are null.
        unsafe {
            for tensor in self.tensors.into_iter().filter(|t| !t.is_null()) {
                (functions.destroy_tensor)(tensor);
            }
            if !self.filter.is_null() {
                (functions.destroy_filter)(self.filter);
            }
            if !self.convolution.is_null() {
                (functions.destroy_convolution)(self.convolution);
            }
        }
    }
}

/// An algorithm for a convolution.
pub(super) struct Algorithm {
    description: Description,
    pass: Pass,
    sums: Sums,
    algorithm: c_int,
    /// Bytes of memory that it uses besides the tensors.
    pub workspace: usize,
}

/// The library for one device.
pub(super) struct DnnHandle {
    dnn: &'static Dnn,
    handle: Handle,
}

// SAFETY: a handle may be used by any thread whose context is its device's, one at a time.
unsafe impl Send for DnnHandle {}
// SAFETY: as above; its one user holds a lock.
unsafe impl Sync for DnnHandle {}

impl DnnHandle {
    /// The algorithm that the library proposes, of those that give the same bits each time and need no more memory than `most` bytes;
    /// none if there is none. The device is entered.
    pub fn algorithm(&self, conv: &Conv, most: usize) -> Result<Option<Algorithm>> {
        let description = self.dnn.describe(conv)?;
        let [a, b, result] = description.in_order(conv.pass);
        let mut proposals = [Proposal::default(); MOST];
        let mut count = 0;
        let (propose, _) = self.dnn.passes[conv.pass as usize];
        // SAFETY: the library writes at most so many proposals.
        let status = unsafe {
            propose(self.handle, a, b, description.convolution, result, MOST as c_int, &mut count, proposals.as_mut_ptr())
        };
        if NOT_SUPPORTED.contains(&status) {
            return Ok(None);
        }
        self.dnn.check("cudnnGetConvolutionAlgorithm", status)?;
        let full = conv.types.sums == Sums::F32 && conv.types.operands == DType::F32;
        // Operands may be rounded only where that was granted.
        let fits = |p: &&Proposal| {
            p.status == 0 && p.determinism == DETERMINISTIC && p.workspace <= most && (!full || p.mathematics == FULL)
        };
        let count = usize::try_from(count).unwrap_or(0).min(MOST);
        let Some(&Proposal { algorithm, workspace, mathematics, .. }) = proposals[..count].iter().find(fits) else {
            return Ok(None);
        };
        // SAFETY: the descriptor is this function's.
        let status = unsafe { (self.dnn.functions.set_mathematics)(description.convolution, mathematics) };
        self.dnn.check("cudnnSetConvolutionMathType", status)?;
        Ok(Some(Algorithm { description, pass: conv.pass, sums: conv.types.sums, algorithm, workspace }))
    }

    /// Asks for a convolution.
    ///
    /// # Safety
    /// The addresses are those of `x`, `w` and `y`; at `workspace` are as many bytes as the algorithm uses. The device is entered.
    pub unsafe fn convolve(&self, algorithm: &Algorithm, addresses: &[u64], workspace: u64) -> Result<()> {
        let &[x, w, y] = addresses else { return Err(Error::new("a convolution has three tensors")) };
        let Algorithm { description, pass, sums, algorithm, workspace: bytes } = algorithm;
        let [a, b, result] = match pass {
            Pass::Forward => [x, w, y],
            Pass::Images => [w, y, x],
            Pass::Weights => [x, y, w],
        };
        let [of_a, of_b, of_result] = description.in_order(*pass);
        // Factors are of the type of the sums.
        let one = if *sums == Sums::F64 { 1f64.to_bits() } else { u64::from(1f32.to_bits()) };
        let zero = 0u64;
        let (one, zero) = ((&raw const one).cast(), (&raw const zero).cast());
        let [a, b, result, workspace] = [a, b, result, workspace].map(|address| address as *mut c_void);
        let (_, convolve) = self.dnn.passes[*pass as usize];
        // SAFETY: by the caller; the factors are read before the call returns.
        let status = unsafe {
            convolve(
                self.handle,
                one,
                of_a,
                a,
                of_b,
                b,
                description.convolution,
                *algorithm,
                workspace,
                *bytes,
                zero,
                of_result,
                result,
            )
        };
        self.dnn.check("cudnnConvolution", status)
    }
}

impl Drop for DnnHandle {
    fn drop(&mut self) {
        // SAFETY: nobody uses the handle from here on.
        unsafe { (self.dnn.functions.destroy)(self.handle) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::convolution::Spatial;
    use super::super::product::Types;
    use super::*;

    #[test]
    fn the_library_takes_every_description() {
        let dnn = match Dnn::get() {
            Ok(dnn) => dnn,
            Err(error) => return println!("skipped: {error}"),
        };
        assert!(dnn.version >= 90_000, "version {}", dnn.version);
        let spatial = vec![Spatial { stride: 2, padding: 1, dilation: 1 }, Spatial { stride: 1, padding: 2, dilation: 2 }];
        let conv = |operands, sums, result, pass| Conv {
            pass,
            types: Types { operands, sums, result },
            shapes: [vec![4, 3, 8, 9], vec![5, 3, 3, 2], vec![4, 5, 4, 11]],
            spatial: spatial.clone(),
        };
        for (dtype, sums) in [
            (DType::F32, Sums::F32),
            (DType::F32, Sums::Tf32),
            (DType::F64, Sums::F64),
            (DType::F16, Sums::F32),
            (DType::BF16, Sums::F32),
        ] {
            for pass in [Pass::Forward, Pass::Images, Pass::Weights] {
                let conv = conv(dtype, sums, dtype, pass);
                dnn.describe(&conv).unwrap_or_else(|error| panic!("{conv}: {error}"));
            }
        }
        let mut wrong = conv(DType::F32, Sums::F32, DType::F32, Pass::Forward);
        wrong.shapes[2][3] = 10;
        let error = dnn.describe(&wrong).err().expect("the result has eleven columns").to_string();
        assert!(error.contains("[4, 5, 4, 11], not [4, 5, 4, 10]"), "{error}");
    }
}
