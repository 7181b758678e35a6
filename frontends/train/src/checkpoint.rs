//! Files that a training goes on from.

use igneous::nn::{Module, ModuleExt, StateDict};
use igneous::optim::Goal;
use igneous::{Error, Result, Tensor, random_state};
use std::path::{Path, PathBuf};

/// Where a training is: the next batch that it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: usize,
    /// How many of its batches were taken.
    pub batch: usize,
}

impl Position {
    /// How many batches of an epoch were taken already: `loader.epoch(epoch).from(position.batch_of(epoch))` goes on.
    pub fn batch_of(self, epoch: usize) -> usize {
        if epoch == self.epoch { self.batch } else { 0 }
    }
}

/// The beginning of an epoch.
impl From<usize> for Position {
    fn from(epoch: usize) -> Position {
        Position { epoch, batch: 0 }
    }
}

/// A folder with the last state of a training, and with the best one.
///
/// A state is that of a module: a net, its optimizer, its schedule and so on, as a tuple or as a struct with `#[derive(Module)]`;
/// the state of random numbers and the [`Position`] among the batches are added. A training that goes on from there computes
/// what it would have computed without the interruption, bit for bit. Files are safetensors, and replaced as a whole: a crash
/// while saving leaves the old one.
///
/// ```
/// use igneous::nn::{Linear, ModuleExt};
/// use igneous::optim::{Goal, Sgd};
/// use igneous_train::{Checkpoints, Position};
///
/// # let folder = std::env::temp_dir().join(format!("igneous-{}-doc", std::process::id()));
/// let net = Linear::new(4, 2);
/// let training = (net.clone(), Sgd::new(net.parameters(), 0.1)?);
/// let checkpoints = Checkpoints::new(&folder)?;
/// assert_eq!(checkpoints.resume(&training)?, Position { epoch: 0, batch: 0 });
///
/// checkpoints.save(&training, Position { epoch: 3, batch: 20 })?;
/// assert!(checkpoints.save_best(&training, 0.91, Goal::Rise)?);
/// assert!(!checkpoints.save_best(&training, 0.90, Goal::Rise)?);
/// assert_eq!(checkpoints.resume(&training)?, Position { epoch: 3, batch: 20 });
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
}

/// What stands before the names of the module's own entries.
const STATE: &str = "state.";
const RANDOM: &str = "random";
const POSITION: &str = "position";
const MEASURE: &str = "measure";

impl Checkpoints {
    /// In a folder, which is made if there is none.
    ///
    /// # Errors
    /// If it cannot be made; the message names it.
    #[track_caller]
    pub fn new(folder: impl AsRef<Path>) -> Result<Checkpoints> {
        let folder = folder.as_ref().to_owned();
        match std::fs::create_dir_all(&folder) {
            Ok(()) => Ok(Checkpoints { folder }),
            Err(e) => Err(Error::other(e).context(format_args!("cannot make the folder {}", folder.display()))),
        }
    }

    /// The file with the last state.
    pub fn last(&self) -> PathBuf {
        self.folder.join("last.safetensors")
    }

    /// The file with the best state.
    pub fn best(&self) -> PathBuf {
        self.folder.join("best.safetensors")
    }

    /// Saves the last state.
    ///
    /// # Errors
    /// If the file cannot be written, or a trace is active.
    #[track_caller]
    pub fn save(&self, training: &(impl Module + ?Sized), position: Position) -> Result<()> {
        let mut state = state_of(training)?;
        let numbers = [position.epoch as i64, position.batch as i64];
        state.insert(POSITION, Tensor::from_slice(&numbers, 2));
        state.save(self.last())
    }

    /// Saves the best state if the measure is better than that of the best one on file; tells whether it is. NaN never is.
    ///
    /// # Errors
    /// If the file cannot be written, there is one that is no checkpoint, or a trace is active.
    #[track_caller]
    pub fn save_best(&self, training: &(impl Module + ?Sized), measure: f64, goal: Goal) -> Result<bool> {
        let better = match (self.best_measure()?, goal) {
            (None, _) => !measure.is_nan(),
            (Some(best), Goal::Fall) => measure < best,
            (Some(best), Goal::Rise) => measure > best,
        };
        if better {
            let mut state = state_of(training)?;
            state.insert(MEASURE, Tensor::from_slice(&[measure], ()));
            state.save(self.best())?;
        }
        Ok(better)
    }

    /// The measure of the best state, if there is one.
    ///
    /// # Errors
    /// If its file is no checkpoint.
    #[track_caller]
    pub fn best_measure(&self) -> Result<Option<f64>> {
        let path = self.best();
        if !path.exists() {
            return Ok(None);
        }
        entry(&StateDict::load(&path)?, &path, MEASURE)?.item().map(Some)
    }

    /// Gives a training the last state on file, and random numbers theirs; returns where it was. If there is no file, nothing
    /// changes, and the training is at its beginning.
    ///
    /// # Errors
    /// If the file is damaged or belongs to another training; the message names it. Nothing has changed then.
    #[track_caller]
    pub fn resume(&self, training: &(impl Module + ?Sized)) -> Result<Position> {
        let path = self.last();
        if !path.exists() {
            return Ok(Position::default());
        }
        let state = StateDict::load(&path)?;
        let numbers = entry(&state, &path, POSITION)?.to_i64_vec()?;
        let wrong = || Error::new(format!("{} has no position of two numbers from 0", path.display()));
        let [epoch, batch]: [usize; 2] = numbers
            .iter()
            .map(|&n| usize::try_from(n).ok())
            .collect::<Option<Vec<usize>>>()
            .and_then(|numbers| numbers.try_into().ok())
            .ok_or_else(wrong)?;
        load(&state, &path, training)?;
        Ok(Position { epoch, batch })
    }

    /// Gives a training the best state on file.
    ///
    /// # Errors
    /// If there is none, or as [`resume`](Checkpoints::resume).
    #[track_caller]
    pub fn load_best(&self, training: &(impl Module + ?Sized)) -> Result<()> {
        let path = self.best();
        load(&StateDict::load(&path)?, &path, training)
    }
}

#[track_caller]
fn state_of(training: &(impl Module + ?Sized)) -> Result<StateDict> {
    let mut state = StateDict::new();
    for (name, value) in Whole(training).state_dict().iter() {
        state.insert(format!("{STATE}{name}"), value.clone());
    }
    state.insert(RANDOM, random_state()?.detach());
    Ok(state)
}

/// A module behind a reference, with the methods that modules of a known size have.
struct Whole<'m, M: ?Sized>(&'m M);

impl<M: Module + ?Sized> Module for Whole<'_, M> {
    fn visit(&self, visitor: &mut dyn igneous::nn::Visitor) {
        self.0.visit(visitor);
    }
}

#[track_caller]
fn load(state: &StateDict, path: &Path, training: &(impl Module + ?Sized)) -> Result<()> {
    let named = |e: Error| e.context(format_args!("cannot go on from {}", path.display()));
    let mut own = StateDict::new();
    for (name, value) in state.iter() {
        if let Some(name) = name.strip_prefix(STATE) {
            own.insert(name, value.clone());
        }
    }
    let random = random_state()?;
    let (given, known) = (entry(state, path, RANDOM)?, random.ty()?);
    if given.ty()? != known {
        return Err(named(
            Error::new("the state of random numbers has another type").note("wanted", known).note("found", given.ty()?),
        ));
    }
    Whole(training).load_state_dict(&own).map_err(named)?;
    random.assign(given)
}

/// An entry that every checkpoint has.
fn entry<'s>(state: &'s StateDict, path: &Path, name: &str) -> Result<&'s Tensor> {
    let missing = || Error::new(format!("{} is no checkpoint: it has no entry `{name}`", path.display()));
    state.get(name).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use igneous::nn::Linear;

    #[test]
    fn bad_files_change_nothing() {
        let folder = std::env::temp_dir().join(format!("igneous-{}-checkpoints", std::process::id()));
        let checkpoints = Checkpoints::new(&folder).unwrap();
        let net = Linear::new(2, 1);
        let before = net.weight.to_vec::<f32>().unwrap();
        let told = |checkpoints: &Checkpoints| checkpoints.resume(&net).unwrap_err().to_string();

        checkpoints.save(&Linear::new(3, 1), 0.into()).unwrap();
        assert!(told(&checkpoints).contains("cannot go on from") && told(&checkpoints).contains("last.safetensors"));
        let bytes = std::fs::read(checkpoints.last()).unwrap();
        std::fs::write(checkpoints.last(), &bytes[..bytes.len() / 2]).unwrap();
        assert!(told(&checkpoints).contains("last.safetensors"));
        net.state_dict().save(checkpoints.last()).unwrap();
        assert!(told(&checkpoints).contains("it has no entry `position`"), "{}", told(&checkpoints));
        let mut state = state_of(&net).unwrap();
        state.insert(POSITION, Tensor::from_slice(&[1i64, -1], 2));
        state.save(checkpoints.last()).unwrap();
        assert!(told(&checkpoints).contains("two numbers from 0"), "{}", told(&checkpoints));
        assert_eq!(net.weight.to_vec::<f32>().unwrap(), before);

        net.state_dict().save(checkpoints.best()).unwrap();
        assert!(checkpoints.save_best(&net, 1.0, Goal::Fall).unwrap_err().to_string().contains("best.safetensors"));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(checkpoints.load_best(&net).is_err() && checkpoints.save(&net, 0.into()).is_err());
        std::fs::write(&folder, "a file").unwrap();
        assert!(Checkpoints::new(&folder).is_err());
        std::fs::remove_file(&folder).unwrap();
    }

    #[test]
    fn the_best_state_comes_back() {
        let folder = std::env::temp_dir().join(format!("igneous-{}-best", std::process::id()));
        let checkpoints = Checkpoints::new(&folder).unwrap();
        let net = Linear::new(2, 1);
        assert!(!checkpoints.save_best(&net, f64::NAN, Goal::Rise).unwrap());
        let kept: Vec<bool> = [3.0, 2.0, 2.5, f64::NAN, 1.0, 1.0]
            .map(|m| {
                net.weight.assign(&Tensor::full((1, 2), m)).unwrap();
                checkpoints.save_best(&net, m, Goal::Fall).unwrap()
            })
            .into();
        assert_eq!(kept, [true, true, false, false, true, false]);
        net.weight.assign(&Tensor::zeros((1, 2))).unwrap();
        checkpoints.load_best(&net).unwrap();
        assert_eq!((net.weight.to_vec::<f32>().unwrap(), checkpoints.best_measure().unwrap()), (vec![1.0; 2], Some(1.0)));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
