//! A host that stands in for a CUDA device: the very text of kernels, compiled by a C++ compiler under `emulate.h`.

use igneous_ir::error::{Error, Result};
use igneous_runtime::cuda::{Device, KernelText, Launch};
use libloading::Library;
use std::alloc::Layout;
use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A kernel: arguments, blocks, bytes of shared memory, whether threads run from last to first. 0, or 1 if threads wait for ever.
type Entry = unsafe extern "C" fn(*const u64, u32, u32, bool) -> i32;

/// See the module.
pub struct Emulator {
    entries: HashMap<String, Entry>,
    /// Keeps the code alive.
    _libraries: Vec<Library>,
    backwards: AtomicBool,
    launches: AtomicUsize,
    /// Writes outside of blocks.
    violations: Mutex<Vec<String>>,
    /// Blocks that were given back, by size: who asks for as many bytes gets the last one.
    free: Mutex<HashMap<usize, Vec<u64>>>,
    recording: Mutex<Option<Vec<Asked>>>,
    replays: AtomicUsize,
}

/// A step of recorded work.
pub enum Asked {
    Copy { from: u64, to: u64, bytes: usize },
    Launch { kernel: Arc<KernelText>, grid: u32, shared: u32, arguments: Vec<u64> },
}

/// Bytes on both sides of each block that nobody may change.
const GUARD: usize = 256;
const UNTOUCHED: u8 = 0x5a;
/// What memory holds before anybody writes to it: no number that a result would be.
const UNWRITTEN: u8 = 0xcd;
/// Contraction would change results; optimising takes longer than it saves.
const OPTIONS: [&str; 6] = ["-std=c++17", "-O0", "-ffp-contract=off", "-w", "-shared", "-fPIC"];
/// Kernels that are compiled together.
const BATCH: usize = 80;

/// A C++ compiler, if there is one.
pub fn compiler() -> Option<&'static str> {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    ["c++", "g++", "clang++"].into_iter().find(works)
}

impl Emulator {
    /// Compiles the kernels, several files at a time; what an earlier run of the test has compiled is used again.
    pub fn new(compiler: &str, kernels: &[Arc<KernelText>]) -> Emulator {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("cuda");
        std::fs::create_dir_all(&dir).expect("the folder for tests can be made");
        let files: Vec<(PathBuf, String)> = kernels
            .chunks(BATCH)
            .map(|batch| {
                let text = unit(batch);
                let mut hasher = DefaultHasher::new();
                (compiler, OPTIONS, &text).hash(&mut hasher);
                (dir.join(format!("kernels-{:016x}", hasher.finish())), text)
            })
            .collect();
        let kept = |path: &Path| files.iter().any(|(file, _)| file.with_extension("so") == path);
        for entry in std::fs::read_dir(&dir).expect("the folder is there").flatten().filter(|e| !kept(&e.path())) {
            // Another run of the test may have been quicker.
            let _ = std::fs::remove_file(entry.path());
        }
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(2, |n| n.get()) {
                scope.spawn(|| {
                    while let Some((file, text)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        compile(compiler, file, text);
                    }
                });
            }
        });
        let mut entries = HashMap::new();
        let mut libraries = Vec::new();
        for (batch, (file, _)) in kernels.chunks(BATCH).zip(&files) {
            // SAFETY: the library was made from the text above, and does nothing when it is loaded.
            let library = unsafe { Library::new(file.with_extension("so")) }.expect("a library that was compiled can be loaded");
            for (k, kernel) in batch.iter().enumerate() {
                // SAFETY: the function has this type.
                let entry = unsafe { *library.get::<Entry>(format!("run_{k}").as_bytes()).expect("the library has the kernel") };
                entries.insert(kernel.source.clone(), entry);
            }
            libraries.push(library);
        }
        Emulator {
            entries,
            _libraries: libraries,
            backwards: AtomicBool::new(false),
            launches: AtomicUsize::new(0),
            violations: Mutex::default(),
            free: Mutex::default(),
            recording: Mutex::default(),
            replays: AtomicUsize::new(0),
        }
    }

    /// How often recorded work was asked for.
    pub fn replays(&self) -> usize {
        self.replays.load(Ordering::Relaxed)
    }

    /// Whether the step is recorded instead of done.
    fn records(&self, step: impl FnOnce() -> Asked) -> bool {
        let mut recording = self.recording.lock().expect("nobody panics with it");
        recording.as_mut().map(|steps| steps.push(step())).is_some()
    }

    /// Runs threads and blocks from the last to the first from here on, or from the first to the last.
    pub fn run_backwards(&self, backwards: bool) {
        self.backwards.store(backwards, Ordering::Relaxed);
    }

    /// How many kernels were launched.
    pub fn launches(&self) -> usize {
        self.launches.load(Ordering::Relaxed)
    }

    /// Writes outside of blocks that were found since the last call.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut *self.violations.lock().expect("nobody panics with it"))
    }
}

/// The text of several kernels, each in a namespace of its own.
fn unit(kernels: &[Arc<KernelText>]) -> String {
    let mut out = String::from(include_str!("emulate.h"));
    for (k, kernel) in kernels.iter().enumerate() {
        // Functions of inline assembler are the header's.
        let lines = kernel.source.lines().filter(|line| !line.contains("asm(") && !line.contains("asm volatile("));
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        let text = text.replace("extern \"C\" ", "").replace("extern __shared__ __align__(16) unsigned char shared[];", "");
        let (name, barriers) = (&kernel.name, ["__sync", "_sync(", "mma_"].iter().any(|w| text.contains(w)));
        let _ = write!(
            out,
            "namespace k{k} {{\n{text}static void body(const uint64_t* given) {{ call({name}, given); }}\n}}\n\
             extern \"C\" int run_{k}(const uint64_t* given, unsigned blocks, unsigned bytes, bool backwards) {{\n  \
             return launch(k{k}::body, given, blocks, {}, bytes, {barriers}, backwards);\n}}\n",
            kernel.block
        );
    }
    out
}

fn compile(compiler: &str, file: &Path, text: &str) {
    let (source, library, part) = (file.with_extension("cpp"), file.with_extension("so"), file.with_extension("part"));
    if library.exists() {
        return;
    }
    std::fs::write(&source, text).expect("the text can be written");
    let mut command = Command::new(compiler);
    command.args(OPTIONS);
    if cfg!(target_arch = "x86_64") && std::arch::is_x86_feature_detected!("fma") {
        command.arg("-mfma");
    }
    let output = command.arg("-o").arg(&part).arg(&source).output().expect("the compiler can be started");
    assert!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
    std::fs::rename(&part, &library).expect("the library can be renamed");
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes + 2 * GUARD, 256).expect("the size is small")
}

impl Device for Emulator {
    type Recording = Vec<Asked>;

    fn prepare(&self, _kernels: &[Arc<KernelText>]) -> Result<()> {
        Ok(())
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Vec<Asked>> {
        *self.recording.lock().expect("nobody panics with it") = Some(Vec::new());
        let done = work();
        let steps = self.recording.lock().expect("nobody panics with it").take();
        done.map(|()| steps.expect("it was put there above"))
    }

    unsafe fn replay(&self, recording: &Vec<Asked>) -> Result<()> {
        self.replays.fetch_add(1, Ordering::Relaxed);
        recording.iter().try_for_each(|step| {
            // SAFETY: by the caller.
            unsafe {
                match step {
                    Asked::Copy { from, to, bytes } => self.copy(*from, *to, *bytes),
                    Asked::Launch { kernel, grid, shared, arguments } => {
                        self.launch(Launch { kernel, grid: *grid, shared: *shared, arguments })
                    }
                }
            }
        })
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        let known = self.free.lock().expect("nobody panics with it").get_mut(&bytes).and_then(Vec::pop);
        // SAFETY: the size is not zero.
        let start = known.map_or_else(|| unsafe { std::alloc::alloc(layout(bytes)) }, |start| start as *mut u8);
        if start.is_null() {
            return Err(Error::new(format!("there is no memory for {bytes} bytes")));
        }
        // SAFETY: the block has that many bytes.
        unsafe {
            start.write_bytes(UNTOUCHED, bytes + 2 * GUARD);
            start.add(GUARD).write_bytes(UNWRITTEN, bytes);
        }
        Ok(start as u64 + GUARD as u64)
    }

    unsafe fn free(&self, address: u64, bytes: usize) {
        let start = (address - GUARD as u64) as *mut u8;
        // SAFETY: by the caller, the block is one of `allocate`.
        let guards =
            unsafe { [std::slice::from_raw_parts(start, GUARD), std::slice::from_raw_parts(start.add(GUARD + bytes), GUARD)] };
        for (guard, place) in guards.iter().zip(["before", "behind"]) {
            if guard.iter().any(|&b| b != UNTOUCHED) {
                let text = format!("bytes {place} a block of {bytes} were written");
                self.violations.lock().expect("nobody panics with it").push(text);
            }
        }
        self.free.lock().expect("nobody panics with it").entry(bytes).or_default().push(start as u64);
    }

    unsafe fn upload(&self, to: u64, from: &[u8]) -> Result<()> {
        // SAFETY: by the caller.
        unsafe { (to as *mut u8).copy_from(from.as_ptr(), from.len()) };
        Ok(())
    }

    unsafe fn download(&self, from: u64, to: &mut [u8]) -> Result<()> {
        // SAFETY: by the caller.
        unsafe { (from as *const u8).copy_to(to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        if !self.records(|| Asked::Copy { from, to, bytes }) {
            // SAFETY: by the caller.
            unsafe { (from as *const u8).copy_to(to as *mut u8, bytes) };
        }
        Ok(())
    }

    unsafe fn launch(&self, launch: Launch<'_>) -> Result<()> {
        let Launch { kernel, grid, shared, arguments } = launch;
        if self.records(|| Asked::Launch { kernel: kernel.clone(), grid, shared, arguments: arguments.to_vec() }) {
            return Ok(());
        }
        let name = &launch.kernel.name;
        let entry =
            self.entries.get(&launch.kernel.source).ok_or_else(|| Error::new(format!("kernel {name} was not compiled")))?;
        self.launches.fetch_add(1, Ordering::Relaxed);
        let backwards = self.backwards.load(Ordering::Relaxed);
        // SAFETY: by the caller.
        match unsafe { entry(launch.arguments.as_ptr(), launch.grid, launch.shared, backwards) } {
            0 => Ok(()),
            _ => Err(Error::new(format!("threads of kernel {name} wait for each other for ever"))),
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        for (&bytes, blocks) in &*self.free.lock().expect("nobody panics with it") {
            // SAFETY: the blocks are of this size, and nobody has them.
            blocks.iter().for_each(|&start| unsafe { std::alloc::dealloc(start as *mut u8, layout(bytes)) });
        }
    }
}
