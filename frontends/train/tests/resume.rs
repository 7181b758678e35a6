//! A training whose process is killed at arbitrary steps, again and again, ends as one that was never interrupted: the last
//! checkpoints are equal byte for byte, in eager mode and with a compiled step.

use igneous::data::{DataLoader, Dataset, SampleRandom};
use igneous::nn::{BatchNorm1d, Dropout, Forward, Linear, Module, ModuleExt, Relu, Sequential};
use igneous::optim::{Adam, Goal, LinearLr, Optimizer, Scheduler};
use igneous::{Result, Tensor, compile, manual_seed};
use igneous_train::{Checkpoints, EarlyStopping, Position};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where the process that is killed keeps its checkpoints, and in which mode it trains.
const FOLDER: &str = "IGNEOUS_TEST_FOLDER";
const MODE: &str = "IGNEOUS_TEST_MODE";
const EPOCHS: usize = 10;

#[derive(Module)]
struct Training {
    net: Sequential,
    adam: Adam,
    scheduler: Scheduler,
    stopping: EarlyStopping,
}

impl Training {
    fn new() -> Result<Training> {
        let net = Sequential::new().push(Linear::new(3, 16)).push(BatchNorm1d::new(16)).push(Relu).push(Dropout::new(0.5));
        let net = net.push(Linear::new(16, 2));
        let adam = Adam::new(net.parameters(), 0.1)?;
        let scheduler = Scheduler::new(&adam, LinearLr::new(0.1, 1.0, 9))?;
        Ok(Training { net, adam, scheduler, stopping: EarlyStopping::new(Goal::Fall, 1000)? })
    }

    fn step(&self, x: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let loss = self.net.forward(x).cross_entropy(labels);
        loss.backward()?;
        self.adam.step()?;
        Ok(loss)
    }

    /// Trains from where it was, with a checkpoint after each step, and says when one is done.
    fn run(&self, folder: &Path, mode: &str) -> Result<()> {
        let checkpoints = Checkpoints::new(folder)?;
        let loader = DataLoader::new(Points, 5).shuffle(3).workers(2);
        let compiled = compile(|x: Tensor, labels: Tensor| self.step(&x, &labels));
        let start = checkpoints.resume(self)?;
        for epoch in start.epoch..EPOCHS {
            let from = start.batch_of(epoch);
            for (i, batch) in loader.epoch(epoch).from(from).enumerate() {
                let (x, labels) = batch?;
                let loss = if mode == "compiled" { compiled.run((x, labels))? } else { self.step(&x, &labels)? };
                self.scheduler.step()?;
                self.stopping.step(loss.item()?)?;
                checkpoints.save(self, Position { epoch, batch: from + i + 1 })?;
                println!("step {} of epoch {epoch}", from + i);
            }
        }
        Ok(())
    }
}

/// Points with noise that is another in each epoch, and on which side of a plane they lie.
struct Points;

impl Dataset for Points {
    type Sample = (Tensor, i64);

    fn len(&self) -> usize {
        40
    }

    fn get(&self, index: usize) -> Result<(Tensor, i64)> {
        let mut random = SampleRandom::of_sample(index);
        let x: Vec<f32> = (0..3).map(|_| random.uniform() as f32 - 0.5).collect();
        let label = i64::from(x[0] + x[1] > 0.0);
        Ok((Tensor::from_vec(x, 3), label))
    }
}

/// A process of its own that trains.
fn spawn(folder: &Path, mode: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "trains_in_a_process", "--nocapture"]);
    command.env(FOLDER, folder).env(MODE, mode).stdout(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
#[ignore = "the process that killed_training_goes_on_bit_for_bit starts"]
fn trains_in_a_process() {
    let folder = PathBuf::from(std::env::var(FOLDER).expect("set by the test that starts this"));
    manual_seed(1);
    Training::new().unwrap().run(&folder, &std::env::var(MODE).expect("set, too")).unwrap();
}

#[test]
fn killed_training_goes_on_bit_for_bit() {
    for mode in ["eager", "compiled"] {
        let folder = |name: &str| std::env::temp_dir().join(format!("igneous-{}-{mode}-{name}", std::process::id()));
        let (whole, killed) = (folder("whole"), folder("killed"));
        assert!(spawn(&whole, mode).wait_with_output().unwrap().status.success());
        // Each process but the last is killed after so many steps, wherever it then is.
        let mut interrupted = 0;
        for steps in [1, 5, 2, 9] {
            let mut child = spawn(&killed, mode);
            let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
            assert_eq!(lines.filter(|line| line.starts_with("step")).take(steps).count(), steps);
            child.kill().unwrap();
            // It may have come to its end in the meantime on a machine that is busy.
            interrupted += usize::from(!child.wait().unwrap().success());
        }
        assert!(interrupted >= 2, "{interrupted} processes were killed in their work");
        assert!(spawn(&killed, mode).wait_with_output().unwrap().status.success());
        let last = |folder: &Path| std::fs::read(Checkpoints::new(folder).unwrap().last()).unwrap();
        assert!(last(&whole) == last(&killed), "{mode}: the last states differ");
        std::fs::remove_dir_all(&whole).unwrap();
        std::fs::remove_dir_all(&killed).unwrap();
    }
}
