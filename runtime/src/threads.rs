//! The threads that share the work of a launch: whoever runs the program, and a team of workers.
//!
//! A launch is cut into tasks that any thread may take, so nobody waits for a worker that is late, and a worker spins
//! for a moment before it sleeps, so a fork right after another costs well under a microsecond. One job is worked on at a time;
//! a thread that finds the team busy does all its tasks itself, which is also what happens to nested jobs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a worker looks for the next job before it sleeps.
const SPIN: Duration = Duration::from_micros(50);

static THREADS: AtomicUsize = AtomicUsize::new(0);

/// How many threads a launch may use. At first the number of cores, or the environment variable `IGNEOUS_NUM_THREADS`.
pub fn num_threads() -> usize {
    match THREADS.load(Ordering::Relaxed) {
        0 => {
            let wanted = std::env::var("IGNEOUS_NUM_THREADS").ok().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
            let threads = wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()));
            THREADS.store(threads, Ordering::Relaxed);
            threads
        }
        threads => threads,
    }
}

/// Sets how many threads a launch may use, the caller included; 0 means 1. Never changes a result.
pub fn set_num_threads(threads: usize) {
    THREADS.store(threads.max(1), Ordering::Relaxed);
}

/// Calls `task` with every number below `tasks`, on several threads where they are free, and returns when all calls have.
pub(crate) fn parallel_for<F: Fn(usize) + Sync>(tasks: usize, task: &F) {
    let threads = num_threads();
    if tasks <= 1 || threads <= 1 || tasks > Ticket::MOST || TEAM.busy.swap(true, Ordering::Acquire) {
        (0..tasks).for_each(task);
        return;
    }
    TEAM.hire(threads - 1);
    /// # Safety
    /// `data` is a `*const F` whose target lives.
    unsafe fn call<F: Fn(usize)>(data: *const (), index: usize) {
        // SAFETY: by this function's own condition.
        unsafe { (*data.cast::<F>())(index) }
    }
    TEAM.fork(tasks, call::<F>, std::ptr::from_ref(task).cast());
    TEAM.busy.store(false, Ordering::Release);
}

/// A job's number and how many of its tasks nobody has taken yet: one word, so that who takes a task of a job knows that
/// the job is still the one whose function and data it has read.
#[derive(Clone, Copy)]
struct Ticket(u64);

impl Ticket {
    const MOST: usize = (1 << 24) - 1;

    fn next_job(self, tasks: usize) -> Ticket {
        Ticket(((self.0 >> 24) + 1) << 24 | tasks as u64)
    }

    fn left(self) -> usize {
        self.0 as usize & Ticket::MOST
    }
}

type Call = unsafe fn(*const (), usize);

struct Team {
    /// Whether a job is worked on.
    busy: AtomicBool,
    job: Job,
    done: Line<AtomicUsize>,
    panicked: AtomicBool,
    sleepers: AtomicUsize,
    bed: Mutex<()>,
    wake: Condvar,
    workers: AtomicUsize,
}

/// Keeps what is written often on a cache line of its own.
#[repr(align(128))]
struct Line<T>(T);

#[repr(align(128))]
struct Job {
    ticket: AtomicU64,
    tasks: AtomicUsize,
    call: AtomicPtr<()>,
    data: AtomicPtr<()>,
}

static TEAM: Team = Team {
    busy: AtomicBool::new(false),
    job: Job {
        ticket: AtomicU64::new(0),
        tasks: AtomicUsize::new(0),
        call: AtomicPtr::new(std::ptr::null_mut()),
        data: AtomicPtr::new(std::ptr::null_mut()),
    },
    done: Line(AtomicUsize::new(0)),
    panicked: AtomicBool::new(false),
    sleepers: AtomicUsize::new(0),
    bed: Mutex::new(()),
    wake: Condvar::new(),
    workers: AtomicUsize::new(0),
};

impl Team {
    /// Starts workers until there are `wanted`. Only the owner of the job calls this. Where the system refuses a thread,
    /// there are fewer.
    fn hire(&'static self, wanted: usize) {
        for index in self.workers.load(Ordering::Relaxed)..wanted {
            let name = format!("igneous-worker-{}", index + 1);
            if std::thread::Builder::new().name(name).spawn(move || self.work(index)).is_err() {
                return;
            }
            self.workers.store(index + 1, Ordering::Relaxed);
        }
    }

    /// Only the owner of the job calls this.
    fn fork(&self, tasks: usize, call: Call, data: *const ()) {
        let job = &self.job;
        self.done.0.store(0, Ordering::Relaxed);
        job.tasks.store(tasks, Ordering::Relaxed);
        job.call.store(call as *mut (), Ordering::Relaxed);
        job.data.store(data.cast_mut(), Ordering::Relaxed);
        let ticket = Ticket(job.ticket.load(Ordering::Relaxed)).next_job(tasks);
        job.ticket.store(ticket.0, Ordering::SeqCst);
        self.wake_one();
        while self.take_task() {}
        let mut spins = 0u32;
        while self.done.0.load(Ordering::Acquire) != tasks {
            std::hint::spin_loop();
            spins += 1;
            if spins > 2000 {
                std::thread::yield_now();
            }
        }
        if self.panicked.swap(false, Ordering::Relaxed) {
            self.busy.store(false, Ordering::Release);
            panic!("a task panicked");
        }
    }

    /// Wakes a sleeper, if there is one; it will wake the next.
    fn wake_one(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.bed.lock().unwrap_or_else(PoisonError::into_inner));
            if self.workers.load(Ordering::Relaxed) < num_threads() {
                self.wake.notify_one();
            } else {
                self.wake.notify_all();
            }
        }
    }

    /// Does one task of the job; false if none is left.
    fn take_task(&self) -> bool {
        let job = &self.job;
        let mut ticket = Ticket(job.ticket.load(Ordering::Acquire));
        loop {
            if ticket.left() == 0 {
                return false;
            }
            let (tasks, call, data) =
                (job.tasks.load(Ordering::Relaxed), job.call.load(Ordering::Relaxed), job.data.load(Ordering::Relaxed));
            let taken = job.ticket.compare_exchange_weak(ticket.0, ticket.0 - 1, Ordering::AcqRel, Ordering::Acquire);
            if let Err(now) = taken {
                ticket = Ticket(now);
                continue;
            }
            // SAFETY: the ticket had a task left when this thread took it, so the job is not done, its function and data are
            // those read before, and `fork` keeps the data alive until the task is counted as done.
            let result = catch_unwind(AssertUnwindSafe(|| unsafe {
                std::mem::transmute::<*mut (), Call>(call)(data, tasks - ticket.left());
            }));
            if result.is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
            self.done.0.fetch_add(1, Ordering::Release);
            return true;
        }
    }

    /// Whether this worker is one too many for the number of threads set now.
    fn excused(index: usize) -> bool {
        index + 1 >= num_threads()
    }

    fn work(&self, index: usize) {
        loop {
            let mut idle = Instant::now();
            while idle.elapsed() < SPIN {
                if !Team::excused(index) && self.take_task() {
                    while self.take_task() {}
                    idle = Instant::now();
                }
                for _ in 0..8 {
                    std::hint::spin_loop();
                }
            }
            self.sleep(index);
        }
    }

    fn sleep(&self, index: usize) {
        let mut bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let wanted = || !Team::excused(index) && Ticket(self.job.ticket.load(Ordering::SeqCst)).left() > 0;
        while !wanted() {
            bed = self.wake.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        drop(bed);
        self.wake_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(tasks: usize, each: impl Fn(usize) + Sync) -> Vec<usize> {
        let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        parallel_for(tasks, &|task| {
            each(task);
            counts[task].fetch_add(1, Ordering::Relaxed);
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_task_runs_once() {
        set_num_threads(4);
        for tasks in [0, 1, 2, 3, 100, 5000] {
            assert_eq!(counts(tasks, |_| {}), vec![1; tasks]);
        }
        for _ in 0..2000 {
            assert_eq!(counts(3, |_| {}), [1; 3]);
        }
    }

    #[test]
    fn workers_help() {
        set_num_threads(4);
        let helped = (0..200).any(|_| {
            let caller = std::thread::current().id();
            let others = AtomicUsize::new(0);
            counts(20, |_| {
                std::thread::sleep(Duration::from_micros(100));
                others.fetch_add(usize::from(std::thread::current().id() != caller), Ordering::Relaxed);
            });
            others.into_inner() > 0
        });
        assert!(helped);
    }

    #[test]
    fn nested_jobs_and_jobs_of_several_threads() {
        set_num_threads(4);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        assert_eq!(counts(8, |_| assert_eq!(counts(5, |_| {}), [1; 5])), [1; 8]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        set_num_threads(4);
        let result = catch_unwind(|| counts(50, |task| assert!(task != 17, "seventeen")));
        assert!(result.is_err());
        assert_eq!(counts(50, |_| {}), [1; 50]);
    }
}
