//! What belongs around training: checkpoints that training goes on from, early stopping, event files for TensorBoard, plots and
//! grids of images, tokenisers that are trained.
//!
//! ```no_run
//! use igneous::data::{DataLoader, Mnist};
//! use igneous::nn::{Flatten, Forward, Linear, ModuleExt, Sequential};
//! use igneous::optim::{Adam, Goal, Optimizer};
//! use igneous::{Tensor, compile};
//! use igneous_train::{Checkpoints, EarlyStopping, Plot, SummaryWriter};
//!
//! let net = Sequential::new().push(Flatten::new()).push(Linear::new(784, 10));
//! let adam = Adam::new(net.parameters(), 0.001)?;
//! let step = compile(|x: Tensor, y: Tensor| {
//!     let loss = net.forward(&x).cross_entropy(&y);
//!     loss.backward()?;
//!     adam.step()?;
//!     Ok(loss)
//! });
//!
//! let train = DataLoader::new(Mnist::train("examples/data/mnist")?, 64).shuffle(1);
//! let stopping = EarlyStopping::new(Goal::Fall, 3)?;
//! // All that goes on: weights, moments, the count of epochs without progress.
//! let training = (&net, &adam, &stopping);
//! let checkpoints = Checkpoints::new("runs/mnist")?;
//! let board = SummaryWriter::new("runs/mnist")?;
//! let mut losses = Vec::new();
//! // Where an interrupted run was; else the beginning.
//! let start = checkpoints.resume(&training)?;
//! for epoch in start.epoch..100 {
//!     for (i, batch) in train.epoch(epoch).enumerate().skip(start.batch_of(epoch)) {
//!         let loss = step.run(batch?)?.item()?;
//!         let count = epoch * train.len() + i;
//!         board.add_scalar("loss", loss, count)?;
//!         losses.push((count as f64, loss));
//!     }
//!     checkpoints.save(&training, (epoch + 1).into())?;
//!     if stopping.step(losses[losses.len() - 1].1)? {
//!         break;
//!     }
//! }
//! Plot::new("MNIST").axes("step", "loss").line("training", losses).save("loss.svg")?;
//! # Ok::<(), igneous::Error>(())
//! ```
//!
//! What lives here: what needs libraries that igneous itself does not, so that its build stays small. What does not: layers,
//! optimizers, schedules, loaders and files of tensors (`igneous`), and definitions of models.
//!
//! Invariants: nothing a user passes panics; errors name the file or the input; a file is complete or as it was.
#![forbid(unsafe_code)]

mod bpe;
mod checkpoint;
mod early_stopping;
mod image;
mod plot;
pub mod tensorboard;

pub use bpe::Bpe;
pub use checkpoint::{Checkpoints, Position};
pub use early_stopping::EarlyStopping;
pub use image::{image_grid, save_image};
pub use plot::Plot;
pub use tensorboard::SummaryWriter;
