//! Training that is interrupted in the middle of an epoch goes on bit for bit: weights, moments, schedule, random numbers and the
//! loader's place come from one file.

use crate::scratch::Scratch;
use crate::seeded;
use igneous::data::{DataLoader, Dataset, SampleRandom};
use igneous::nn::{BatchNorm1d, Dropout, Forward, Linear, Module, ModuleExt, Relu, Sequential, StateDict};
use igneous::optim::{Adam, LinearLr, Optimizer, Scheduler};
use igneous::{Result, Tensor, compile, random_state};

#[derive(Module)]
struct Training {
    net: Sequential,
    adam: Adam,
    scheduler: Scheduler,
    random: Tensor,
}

impl Training {
    fn new() -> Training {
        let net = Sequential::new().push(Linear::new(3, 8)).push(BatchNorm1d::new(8)).push(Relu).push(Dropout::new(0.5));
        let net = net.push(Linear::new(8, 2));
        let adam = Adam::new(net.parameters(), 0.1).unwrap();
        let scheduler = Scheduler::new(&adam, LinearLr::new(0.1, 1.0, 9)).unwrap();
        Training { net, adam, scheduler, random: random_state().unwrap() }
    }

    fn step(&self, x: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let loss = self.net.forward(x).cross_entropy(labels);
        loss.backward()?;
        self.adam.step()?;
        Ok(loss)
    }

    /// The losses of the batches of epoch 4 from one on.
    fn losses(&self, loader: &DataLoader<Points>, from: usize, compiled: Mode) -> Vec<u32> {
        let step = compile(|x: Tensor, labels: Tensor| self.step(&x, &labels));
        let losses = loader.epoch(4).from(from).map(|batch| {
            let (x, labels) = batch.unwrap();
            let loss = match compiled {
                Mode::Compiled => step.run((x, labels)).unwrap(),
                Mode::Eager => self.step(&x, &labels).unwrap(),
            };
            self.scheduler.step().unwrap();
            loss.to_vec::<f32>().unwrap()[0].to_bits()
        });
        losses.collect()
    }
}

#[derive(Clone, Copy)]
enum Mode {
    Eager,
    Compiled,
}

/// Points with noise, and on which side of a plane they lie.
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

#[test]
fn training_goes_on_bit_for_bit() {
    let scratch = Scratch::new("resume");
    let path = scratch.file("resume.safetensors");
    for mode in [Mode::Eager, Mode::Compiled] {
        let _one = seeded(1);
        let loader = DataLoader::new(Points, 5).shuffle(3).workers(2);
        let training = Training::new();
        let start = training.state_dict();
        let whole = training.losses(&loader, 0, mode);
        assert_eq!(whole.len(), 8);

        training.load_state_dict(&start).unwrap();
        let step = |batch: Result<(Tensor, Tensor)>| {
            let (x, labels) = batch.unwrap();
            training.step(&x, &labels).unwrap();
            training.scheduler.step().unwrap();
        };
        match mode {
            Mode::Eager => loader.epoch(4).take(3).for_each(step),
            // What was compiled is the same program.
            Mode::Compiled => {
                let program = compile(|x: Tensor, labels: Tensor| training.step(&x, &labels));
                loader.epoch(4).take(3).for_each(|batch| {
                    program.run(batch.unwrap()).unwrap();
                    training.scheduler.step().unwrap();
                });
            }
        }
        training.state_dict().save(&path).unwrap();

        igneous::manual_seed(99);
        let resumed = Training::new();
        resumed.load_state_dict(&StateDict::load(&path).unwrap()).unwrap();
        assert_eq!(resumed.losses(&loader, 3, mode), whole[3..]);
    }
}
