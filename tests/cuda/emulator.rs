//! A host that stands in for a CUDA device: the very text of kernels, compiled by a C++ compiler under `emulate.h`.

use crate::libraries;
use igneous_ir::error::{Error, Result};
use igneous_runtime::cuda::{Account, Call, Device, Done, Fetched, KernelText, Launch, Mark, Recording};
use libloading::Library;
use std::alloc::Layout;
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, c_char};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// A kernel: arguments, blocks, bytes of shared memory, whether threads run from last to first. 0; 1 if threads wait for ever; 2 if
/// there was a race.
type Run = unsafe extern "C" fn(*const u64, u32, u32, bool) -> i32;
/// What the race was, and where in the library its two accesses are.
type FoundRace = unsafe extern "C" fn(*mut [usize; 2]) -> *const c_char;

/// A kernel that was compiled.
#[derive(Clone)]
struct Entry {
    run: Run,
    found_race: FoundRace,
    file: PathBuf,
}

/// See the module.
pub struct Emulator {
    compiler: &'static str,
    folder: PathBuf,
    entries: Mutex<HashMap<String, Entry>>,
    /// Keeps the code alive.
    libraries: Mutex<Vec<Library>>,
    /// Files that are in use.
    used: Mutex<HashSet<PathBuf>>,
    backwards: AtomicBool,
    launches: AtomicUsize,
    products: AtomicUsize,
    convolutions: AtomicUsize,
    uploads: AtomicUsize,
    /// Uploads that did not wait for all that was asked before.
    beside: AtomicUsize,
    /// How many launches, copies and calls of libraries were done, and for each address the last of those that used it.
    clock: AtomicUsize,
    last_uses: Mutex<HashMap<u64, usize>>,
    downloads: AtomicUsize,
    /// Whether copies to the host are done only when somebody waits for them.
    behind: Arc<AtomicBool>,
    /// How often somebody did.
    waits: Arc<AtomicUsize>,
    /// Writes outside of blocks.
    violations: Mutex<Vec<String>>,
    arena: Arena,
    account: Account,
    recording: Mutex<Option<Vec<Asked>>>,
    replays: AtomicUsize,
}

/// The device's memory.
struct Arena {
    base: *mut u8,
    /// The first place in it where a block may begin.
    start: *mut u8,
    blocks: Mutex<Blocks>,
}

#[derive(Default)]
struct Blocks {
    /// Bytes that were ever taken.
    taken: usize,
    /// Blocks that were given back, by size: who asks for as many bytes gets the last one.
    free: HashMap<usize, Vec<u64>>,
}

// SAFETY: the address of memory that is kept until the end.
unsafe impl Send for Arena {}
// SAFETY: as above; what changes is behind a lock.
unsafe impl Sync for Arena {}

/// A step of recorded work.
enum Asked {
    Copy { from: u64, to: u64, bytes: usize },
    Launch { kernel: Arc<KernelText>, grid: u32, shared: u32, arguments: Vec<u64> },
    Compute { call: Call, addresses: Vec<u64> },
}

/// How often a device was asked for something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Kernels.
    pub launches: usize,
    /// Products by a library.
    pub products: usize,
    /// Convolutions by a library, and derivatives of them.
    pub convolutions: usize,
    /// Copies from the host.
    pub uploads: usize,
    /// Those that did not wait for all that was asked before.
    pub beside: usize,
    /// Copies to the host.
    pub downloads: usize,
    /// Copies to the host that were not done when somebody wanted them.
    pub waits: usize,
    /// Recordings.
    pub replays: usize,
}

/// The memory of the device; the system gives pages of it when they are used.
const MEMORY: usize = 1 << 30;
/// Bytes on both sides of each block that nobody may change.
const GUARD: usize = 256;
const UNTOUCHED: u8 = 0x5a;
/// What memory holds before anybody writes to it: no number that a result would be.
const UNWRITTEN: u8 = 0xcd;
/// Contraction would change results; optimising takes longer than it saves.
const OPTIONS: [&str; 8] =
    ["-std=c++17", "-O0", "-g1", "-ffp-contract=off", "-w", "-fPIC", "-fsanitize=thread", "-fno-threadsafe-statics"];
/// Kernels that are compiled together.
const BATCH: usize = 80;

/// A C++ compiler, if there is one.
pub fn compiler() -> Option<&'static str> {
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success());
    ["c++", "g++", "clang++"].into_iter().find(works)
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().expect("nobody panics with it")
}

impl Emulator {
    /// A device without kernels. What an earlier device of this name has compiled is used again.
    pub fn new(compiler: &'static str, name: &str) -> Emulator {
        let of_build = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda").join(name);
        // A binary that was carried elsewhere has no such folder.
        let made = |folder: &PathBuf| std::fs::create_dir_all(folder).is_ok();
        let folder = Some(of_build).filter(made).unwrap_or_else(|| std::env::temp_dir().join(name));
        std::fs::create_dir_all(&folder).expect("a folder for compiled kernels can be made");
        // SAFETY: the size is not zero.
        let base = unsafe { std::alloc::alloc_zeroed(MEMORY_LAYOUT) };
        assert!(!base.is_null(), "there is no memory for the device");
        let start = base.wrapping_add(base.align_offset(ALIGNMENT));
        Emulator {
            compiler,
            folder,
            entries: Mutex::default(),
            libraries: Mutex::default(),
            used: Mutex::default(),
            backwards: AtomicBool::new(false),
            launches: AtomicUsize::new(0),
            products: AtomicUsize::new(0),
            convolutions: AtomicUsize::new(0),
            uploads: AtomicUsize::new(0),
            beside: AtomicUsize::new(0),
            clock: AtomicUsize::new(0),
            last_uses: Mutex::default(),
            downloads: AtomicUsize::new(0),
            behind: Arc::default(),
            waits: Arc::default(),
            violations: Mutex::default(),
            arena: Arena { base, start, blocks: Mutex::default() },
            account: Account::default(),
            recording: Mutex::default(),
            replays: AtomicUsize::new(0),
        }
    }

    /// Compiles the kernels that are not known, several files at a time.
    fn compile(&self, kernels: &[Arc<KernelText>]) {
        let mut entries = lock(&self.entries);
        let mut seen = HashSet::new();
        let missing: Vec<Arc<KernelText>> =
            kernels.iter().filter(|k| !entries.contains_key(&k.source) && seen.insert(*k)).cloned().collect();
        let files: Vec<(PathBuf, String)> = missing
            .chunks(BATCH)
            .map(|batch| {
                let text = unit(batch);
                let mut hasher = DefaultHasher::new();
                (self.compiler, OPTIONS, &text).hash(&mut hasher);
                (self.folder.join(format!("kernels-{:016x}", hasher.finish())), text)
            })
            .collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(2, |n| n.get()).min(files.len()) {
                scope.spawn(|| {
                    while let Some((file, text)) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        compile(self.compiler, file, text);
                    }
                });
            }
        });
        for (batch, (file, _)) in missing.chunks(BATCH).zip(&files) {
            let file = file.with_extension("so");
            // SAFETY: the library was made from the text above, and does nothing when it is loaded; its functions have these types.
            unsafe {
                let library = Library::new(&file).expect("a library that was compiled can be loaded");
                let watch = library.get::<unsafe extern "C" fn(u64, u64)>(b"watch").expect("the header has it");
                watch(self.arena.start as u64, self.arena.start as u64 + MEMORY as u64);
                let found_race = *library.get::<FoundRace>(b"found_race").expect("the header has it");
                for (k, kernel) in batch.iter().enumerate() {
                    let run = *library.get::<Run>(format!("run_{k}").as_bytes()).expect("the library has the kernel");
                    entries.insert(kernel.source.clone(), Entry { run, found_race, file: file.clone() });
                }
                lock(&self.libraries).push(library);
            }
            lock(&self.used).insert(file);
        }
    }

    /// How often it was asked for what.
    pub fn counts(&self) -> Counts {
        let of = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        Counts {
            launches: of(&self.launches),
            products: of(&self.products),
            convolutions: of(&self.convolutions),
            uploads: of(&self.uploads),
            beside: of(&self.beside),
            downloads: of(&self.downloads),
            waits: of(&self.waits),
            replays: of(&self.replays),
        }
    }

    /// Whether the step is recorded instead of done.
    fn records(&self, step: impl FnOnce() -> Asked) -> bool {
        lock(&self.recording).as_mut().map(|steps| steps.push(step())).is_some()
    }

    /// Notes that a step uses what is at these addresses.
    fn uses(&self, addresses: &[u64]) {
        let now = self.clock.fetch_add(1, Ordering::Relaxed) + 1;
        lock(&self.last_uses).extend(addresses.iter().map(|&address| (address, now)));
    }

    /// Runs threads and blocks from the last to the first from here on, or from the first to the last.
    pub fn run_backwards(&self, backwards: bool) {
        self.backwards.store(backwards, Ordering::Relaxed);
    }

    /// From here on is late with what the host asked for without waiting, or not.
    pub fn fall_behind(&self, behind: bool) {
        self.behind.store(behind, Ordering::Relaxed);
    }

    /// Writes outside of blocks that were found since the last call.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.violations))
    }
}

/// The text of several kernels, each in a namespace of its own.
fn unit(kernels: &[Arc<KernelText>]) -> String {
    let mut out = String::from(include_str!("emulate.h"));
    for (k, kernel) in kernels.iter().enumerate() {
        // Functions of inline assembler are the header's; their lines stay empty, so that lines have their numbers.
        let lines =
            kernel.source.lines().map(|line| if line.contains("asm(") || line.contains("asm volatile(") { "" } else { line });
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        let text = text.replace("extern \"C\" ", "").replace("extern __shared__ __align__(16) unsigned char shared[];", "");
        let (name, barriers) = (&kernel.name, ["__sync", "_sync(", "mma_"].iter().any(|w| text.contains(w)));
        let _ = write!(
            out,
            "namespace k{k} {{\n#line 1 \"{name}\"\n{text}static void body(const uint64_t* given) {{ call({name}, given); }}\n}}\n\
             extern \"C\" int run_{k}(const uint64_t* given, unsigned blocks, unsigned bytes, bool backwards) {{\n  \
             return launch(k{k}::body, given, blocks, {}, bytes, {barriers}, backwards);\n}}\n",
            kernel.block
        );
    }
    out
}

fn compile(compiler: &str, file: &Path, text: &str) {
    let [source, object, library, part] = ["cpp", "o", "so", "part"].map(|extension| file.with_extension(extension));
    if library.exists() {
        return;
    }
    std::fs::write(&source, text).expect("the text can be written");
    let run = |command: &mut Command| {
        let output = command.output().expect("the compiler can be started");
        assert!(output.status.success(), "{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
    };
    let mut command = Command::new(compiler);
    command.args(OPTIONS);
    if cfg!(target_arch = "x86_64") && std::arch::is_x86_feature_detected!("fma") {
        command.arg("-mfma");
    }
    run(command.arg("-c").arg("-o").arg(&object).arg(&source));
    // Without the library of the sanitizer: the header notes accesses itself.
    run(Command::new(compiler).arg("-shared").arg("-o").arg(&part).arg(&object));
    std::fs::rename(&part, &library).expect("the library can be renamed");
    let _ = std::fs::remove_file(&object);
}

/// The lines of two places in a library, as far as they can be told.
fn lines(file: &Path, code: [usize; 2]) -> String {
    let places = code.map(|c| format!("{:#x}", c.saturating_sub(1)));
    let output = Command::new("addr2line").arg("-e").arg(file).args(places).output().ok().filter(|o| o.status.success());
    let Some(output) = output else { return String::new() };
    let text = String::from_utf8_lossy(&output.stdout);
    // Of `folder/kernel:12 (discriminator 1)` the kernel and the line.
    let short = |line: &str| line.split_whitespace().next().unwrap_or("").rsplit('/').next().unwrap_or("").to_owned();
    format!(" ({})", text.lines().map(short).collect::<Vec<_>>().join(" after "))
}

/// What blocks of a device are aligned to.
const ALIGNMENT: usize = 256;
/// Aligned by hand: all of what the system aligns further is written to.
const MEMORY_LAYOUT: Layout = match Layout::from_size_align(MEMORY + ALIGNMENT, 16) {
    Ok(layout) => layout,
    Err(_) => panic!("the alignment is a power of two"),
};

/// Bytes that a block takes.
fn extent(bytes: usize) -> usize {
    (bytes + 2 * GUARD).next_multiple_of(ALIGNMENT)
}

impl Device for Emulator {
    fn prepare(&self, kernels: &[Arc<KernelText>]) -> Result<()> {
        self.compile(kernels);
        Ok(())
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Recording> {
        *lock(&self.recording) = Some(Vec::new());
        let done = work();
        let steps = lock(&self.recording).take();
        done.map(|()| Recording::new(steps.expect("it was put there above")))
    }

    unsafe fn replay(&self, recording: &Recording) -> Result<()> {
        self.replays.fetch_add(1, Ordering::Relaxed);
        recording.get::<Vec<Asked>>()?.iter().try_for_each(|step| {
            // SAFETY: by the caller.
            unsafe {
                match step {
                    Asked::Copy { from, to, bytes } => self.copy(*from, *to, *bytes),
                    Asked::Launch { kernel, grid, shared, arguments } => {
                        self.launch(Launch { kernel, grid: *grid, shared: *shared, arguments })
                    }
                    Asked::Compute { call, addresses } => self.compute(call, addresses).map(drop),
                }
            }
        })
    }

    fn account(&self) -> &Account {
        &self.account
    }

    fn allocate(&self, bytes: usize) -> Result<u64> {
        let mut blocks = lock(&self.arena.blocks);
        let address = match blocks.free.get_mut(&bytes).and_then(Vec::pop) {
            Some(address) => address,
            None if blocks.taken + extent(bytes) > MEMORY => {
                return Err(Error::new(format!("there is no memory for {bytes} bytes")));
            }
            None => {
                blocks.taken += extent(bytes);
                self.arena.start as u64 + (blocks.taken - extent(bytes) + GUARD) as u64
            }
        };
        let start = (address - GUARD as u64) as *mut u8;
        // SAFETY: the block has that many bytes.
        unsafe {
            start.write_bytes(UNTOUCHED, bytes + 2 * GUARD);
            start.add(GUARD).write_bytes(UNWRITTEN, bytes);
        }
        Ok(address)
    }

    unsafe fn free(&self, address: u64, bytes: usize) {
        let start = (address - GUARD as u64) as *mut u8;
        // SAFETY: by the caller, the block is one of `allocate`.
        let guards =
            unsafe { [std::slice::from_raw_parts(start, GUARD), std::slice::from_raw_parts(start.add(GUARD + bytes), GUARD)] };
        for (guard, place) in guards.iter().zip(["before", "behind"]) {
            if guard.iter().any(|&b| b != UNTOUCHED) {
                let text = format!("bytes {place} a block of {bytes} were written");
                lock(&self.violations).push(text);
            }
        }
        lock(&self.arena.blocks).free.entry(bytes).or_default().push(address);
    }

    unsafe fn upload(&self, to: u64, from: &[u8]) -> Result<()> {
        self.uploads.fetch_add(1, Ordering::Relaxed);
        // SAFETY: by the caller.
        unsafe { (to as *mut u8).copy_from(from.as_ptr(), from.len()) };
        Ok(())
    }

    fn mark(&self) -> Result<Mark> {
        Ok(Mark::new(self.clock.load(Ordering::Relaxed)))
    }

    unsafe fn upload_behind(&self, point: &Mark, to: u64, from: &[u8]) -> Result<()> {
        let point = *point.get::<usize>().expect("the mark is this device's");
        if lock(&self.last_uses).get(&to).is_some_and(|&used| used > point) {
            lock(&self.violations).push("memory was overwritten before its last use".to_owned());
        }
        if point < self.clock.load(Ordering::Relaxed) {
            self.beside.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: by the caller.
        unsafe { self.upload(to, from) }
    }

    unsafe fn download(&self, from: u64, to: &mut [u8]) -> Result<()> {
        self.downloads.fetch_add(1, Ordering::Relaxed);
        // SAFETY: by the caller.
        unsafe { (from as *const u8).copy_to(to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    unsafe fn fetch(&self, behind: Option<&Mark>, from: u64, bytes: usize) -> Result<Box<dyn Fetched>> {
        let mut found = vec![0; bytes];
        // SAFETY: by the caller.
        unsafe { self.download(from, &mut found)? };
        let stays = behind.map(|_| from);
        Ok(Box::new(Late { found, stays, behind: self.behind.clone(), waits: self.waits.clone() }))
    }

    unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        if !self.records(|| Asked::Copy { from, to, bytes }) {
            self.uses(&[from, to]);
            // SAFETY: by the caller.
            unsafe { (from as *const u8).copy_to(to as *mut u8, bytes) };
        }
        Ok(())
    }

    unsafe fn compute(&self, call: &Call, addresses: &[u64]) -> Result<Done> {
        if !self.records(|| Asked::Compute { call: call.clone(), addresses: addresses.to_vec() }) {
            let count = match call {
                Call::Product(_) => &self.products,
                Call::Convolution(_) => &self.convolutions,
            };
            count.fetch_add(1, Ordering::Relaxed);
            self.uses(addresses);
            // SAFETY: by the caller.
            unsafe { libraries::compute(call, addresses) };
        }
        Ok(Done::Yes)
    }

    unsafe fn launch(&self, launch: Launch<'_>) -> Result<()> {
        let Launch { kernel, grid, shared, arguments } = launch;
        if self.records(|| Asked::Launch { kernel: kernel.clone(), grid, shared, arguments: arguments.to_vec() }) {
            return Ok(());
        }
        let name = &kernel.name;
        let known = lock(&self.entries).get(&kernel.source).cloned();
        let entry = known.ok_or_else(|| Error::new(format!("kernel {name} was not compiled")))?;
        self.launches.fetch_add(1, Ordering::Relaxed);
        self.uses(arguments);
        let backwards = self.backwards.load(Ordering::Relaxed);
        // SAFETY: by the caller.
        match unsafe { (entry.run)(arguments.as_ptr(), grid, shared, backwards) } {
            0 => Ok(()),
            1 => Err(Error::new(format!("threads of kernel {name} wait for each other for ever"))),
            _ => {
                let mut code = [0; 2];
                // SAFETY: the text ends with a zero, and stays until the next launch.
                let text = unsafe { CStr::from_ptr((entry.found_race)(&mut code)) }.to_string_lossy().into_owned();
                Err(Error::new(format!("race in kernel {name}: {text}{}", lines(&entry.file, code))))
            }
        }
    }
}

/// A copy to the host of a device that may be behind.
struct Late {
    found: Vec<u8>,
    /// Where nobody may write until the copy is done.
    stays: Option<u64>,
    behind: Arc<AtomicBool>,
    waits: Arc<AtomicUsize>,
}

impl Fetched for Late {
    fn is_done(&self) -> bool {
        !self.behind.load(Ordering::Relaxed)
    }

    fn wait(&self, to: &mut [u8]) -> Result<()> {
        self.waits.fetch_add(usize::from(!self.is_done()), Ordering::Relaxed);
        if let Some(address) = self.stays {
            // SAFETY: the memory of the device stays as long as the device, which whoever holds a copy keeps.
            let now = unsafe { std::slice::from_raw_parts(address as *const u8, self.found.len()) };
            assert_eq!(now, self.found, "memory was overwritten before it was copied");
        }
        to.copy_from_slice(&self.found);
        Ok(())
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // SAFETY: nobody has memory of the device any more.
        unsafe { std::alloc::dealloc(self.arena.base, MEMORY_LAYOUT) };
        let used = lock(&self.used);
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if !used.contains(&entry.path().with_extension("so")) {
                // What is left over from an earlier version; another run of the test may have been quicker.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}
