//! Whether the checks of a run held. The host does not wait for that: what a run left knows its outcome, which is asked for with the
//! elements. A failure is reported once by whoever comes first, the next run of the same program, a wait for the device, or somebody
//! who reads what is still good; and to everybody who reads what the run did not compute.

use super::fetch::Fetch;
use super::plan::Loaded;
use super::{Device, ErrorTag};
use igneous_ir::error::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of the error word: code and value of the first check that failed.
pub(super) const WORD: usize = 16;

/// The runs of a program from one failure to the next. The error word stays as it is until the failure has been reported, and until then
/// no run overwrites an input.
pub(super) struct Epoch {
    programs: Arc<Vec<Loaded>>,
    reported: AtomicBool,
}

impl Epoch {
    pub fn new(programs: &Arc<Vec<Loaded>>) -> Arc<Epoch> {
        Arc::new(Epoch { programs: programs.clone(), reported: AtomicBool::new(false) })
    }

    /// Whether its failure has been reported, so that it is over.
    pub fn is_over(&self) -> bool {
        self.reported.load(Ordering::Acquire)
    }

    /// Notes that the failure is reported now; whether it had not been.
    pub fn report(&self) -> bool {
        !self.reported.swap(true, Ordering::AcqRel)
    }

    /// What an error word says.
    pub fn error(&self, word: &[u8; WORD]) -> Option<Error> {
        let (code, value) = word.split_at(8);
        let code = u64::from_le_bytes(code.try_into().expect("eight bytes"));
        let value = i64::from_le_bytes(value.try_into().expect("eight bytes"));
        if code == 0 {
            return None;
        }
        let (program, check) = ErrorTag::read(code);
        let check = self.programs.get(program).and_then(|loaded| loaded.program.checks.get(check));
        Some(match check {
            None => Error::new("a check that the program does not have failed"),
            Some((message, loc)) => {
                let error = Error::new(message).note("value", value);
                loc.map_or(error.clone(), |loc| error.at(loc))
            }
        })
    }
}

/// See the module.
pub(super) struct Outcome {
    epoch: Arc<Epoch>,
    word: Mutex<Word>,
}

enum Word {
    Asked(Fetch),
    Known(Option<Error>),
}

impl Outcome {
    /// That of a run whose error word was asked for behind it.
    pub fn new(epoch: &Arc<Epoch>, word: Fetch) -> Arc<Outcome> {
        Arc::new(Outcome { epoch: epoch.clone(), word: Mutex::new(Word::Asked(word)) })
    }

    fn word(&self) -> MutexGuard<'_, Word> {
        self.word.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody has to be told of a failure any more.
    pub fn is_over(&self) -> bool {
        self.epoch.is_over()
    }

    /// Whether a run in this epoch fails if this one did.
    pub fn spoils(&self, epoch: &Arc<Epoch>) -> bool {
        Arc::ptr_eq(&self.epoch, epoch) && !epoch.is_over()
    }

    /// Whether it can be told without waiting.
    pub fn is_known(&self) -> bool {
        match self.word.try_lock().as_deref() {
            Ok(Word::Asked(fetch)) => fetch.is_done(),
            Ok(Word::Known(_)) => true,
            // Somebody waits for it.
            Err(_) => false,
        }
    }

    /// The failure, if there was one; waits for the run.
    fn failure(&self) -> Result<Option<Error>> {
        let mut word = self.word();
        if let Word::Asked(fetch) = &*word {
            let mut bytes = [0; WORD];
            fetch.wait(&mut bytes)?;
            *word = Word::Known(self.epoch.error(&bytes));
        }
        match &*word {
            Word::Known(failure) => Ok(failure.clone()),
            Word::Asked(_) => unreachable!("it was read above"),
        }
    }

    /// Waits for the run; its failure, if nobody has been told of it.
    pub fn unreported(&self) -> Result<()> {
        if self.epoch.is_over() {
            return Ok(());
        }
        match self.failure()? {
            Some(error) if self.epoch.report() => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits for the run; its failure, as often as somebody asks.
    fn held(&self) -> Result<()> {
        match self.failure()? {
            Some(error) => {
                self.epoch.report();
                Err(error)
            }
            None => Ok(()),
        }
    }
}

/// What elements have to do with the outcome of a run.
#[derive(Clone)]
pub(super) struct Token {
    pub outcome: Arc<Outcome>,
    pub depends: Depends,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depends {
    /// The run computed them: they mean nothing if it failed.
    Computed,
    /// The run was to overwrite them: they are as before if it failed.
    Kept,
}

impl Token {
    /// Whether the elements are as before if the run failed.
    pub fn is_kept(&self) -> bool {
        self.depends == Depends::Kept
    }

    /// Waits for the run.
    ///
    /// # Errors
    /// If the elements mean nothing, or a failure has to be reported.
    pub fn settle(&self) -> Result<()> {
        match self.depends {
            Depends::Computed => self.outcome.held(),
            Depends::Kept => self.outcome.unreported(),
        }
    }
}

/// Outcomes that nobody has asked for, with the addresses of their devices: a wait for the device does.
static OPEN: Mutex<Vec<(usize, Arc<Outcome>)>> = Mutex::new(Vec::new());

fn open() -> MutexGuard<'static, Vec<(usize, Arc<Outcome>)>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(device: &Arc<dyn Device>) -> usize {
    Arc::as_ptr(device).addr()
}

/// Notes an outcome that nobody has asked for yet.
pub(super) fn note(device: &Arc<dyn Device>, outcome: &Arc<Outcome>) {
    let mut open = open();
    // A run that went well, or whose failure is known to somebody, has nothing to report.
    let quiet = |o: &Outcome| o.is_known() && (o.epoch.is_over() || matches!(o.failure(), Ok(None)));
    open.retain(|(_, o)| !quiet(o));
    open.push((number(device), outcome.clone()));
}

/// Waits until everything that a device was asked for is done.
///
/// # Errors
/// If the device fails, or a check of a run failed that has not been reported.
pub fn synchronize(device: &Arc<dyn Device>) -> Result<()> {
    device.synchronize()?;
    let own = {
        let number = number(device);
        let mut open = open();
        let (own, others) = std::mem::take(&mut *open).into_iter().partition::<Vec<_>, _>(|(of, _)| *of == number);
        *open = others;
        own
    };
    // The first is reported; those of other programs remain for the next who asks.
    let mut all = own.into_iter();
    let result = all.by_ref().try_for_each(|(_, outcome)| outcome.unreported());
    open().extend(all);
    result
}
