//! Event files, which TensorBoard shows: scalars, histograms, images, texts and graphs.
//!
//! Sources: `event.proto`, `summary.proto`, `graph.proto` of TensorFlow for the messages, its description of `TFRecord` for
//! the file.

mod events;
mod graph;
mod histogram;
mod record;

use crate::image::encode;
use events::{Event, Summary, SummaryMetadata, TensorProto, Value, event, value};
use igneous::{Error, Loc, Lowered, Result, Tensor};
use prost::Message;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes what `tensorboard --logdir runs` shows (`torch.utils.tensorboard.SummaryWriter`). Clones write to the same file, also
/// from other threads.
///
/// ```
/// use igneous::Tensor;
/// use igneous_train::SummaryWriter;
/// # let folder = std::env::temp_dir().join(format!("igneous-{}-board", std::process::id()));
/// let board = SummaryWriter::new(&folder)?;
/// for step in 0..100 {
///     board.add_scalar("loss", 1.0 / (1.0 + step as f64), step)?;
/// }
/// board.add_histogram("weights", &Tensor::randn((64, 64)), 100)?;
/// board.add_image("noise", &Tensor::rand((3, 32, 32)), 100)?;
/// board.add_text("recipe", "SGD, *no* momentum", 0)?;
/// board.flush()?;
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok::<(), igneous::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SummaryWriter(Arc<Events>);

#[derive(Debug)]
struct Events {
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
}

/// Tells writers of one process apart that begin in the same second.
static WRITERS: AtomicUsize = AtomicUsize::new(0);

impl SummaryWriter {
    /// A new file in a folder, which is made if there is none. A folder is one run; what is in it already is shown too.
    ///
    /// # Errors
    /// If the file cannot be made; the message names it.
    #[track_caller]
    pub fn new(folder: impl AsRef<Path>) -> Result<SummaryWriter> {
        let loc = Loc::caller();
        let folder = folder.as_ref();
        let number = WRITERS.fetch_add(1, Ordering::Relaxed);
        // TensorBoard takes files with `tfevents` in their names, in alphabetic order.
        let name = format!("events.out.tfevents.{:010}.igneous.{}.{number}", now() as u64, std::process::id());
        let path = folder.join(name);
        let named = |e: std::io::Error| Error::other(e).context(format_args!("cannot write {}", path.display())).at(loc);
        std::fs::create_dir_all(folder).map_err(named)?;
        let file = File::options().write(true).create_new(true).open(&path).map_err(named)?;
        let writer = SummaryWriter(Arc::new(Events { path, file: Mutex::new(BufWriter::new(file)) }));
        writer.write(0, event::What::FileVersion("brain.Event:2".to_owned())).and_then(|()| writer.flush())?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// A number; TensorBoard draws those of one tag as a curve. What stands before a `/` in tags groups them.
    ///
    /// # Errors
    /// If the file cannot be written; the message names it.
    #[track_caller]
    pub fn add_scalar(&self, tag: &str, number: f64, step: usize) -> Result<()> {
        self.add(tag, None, value::What::SimpleValue(number as f32), step)
    }

    /// How the elements of a tensor are distributed. Elements that are not finite are left out.
    ///
    /// # Errors
    /// If the tensor is invalid or traced, or the file cannot be written; the message names the tag or the file.
    #[track_caller]
    pub fn add_histogram(&self, tag: &str, values: &Tensor, step: usize) -> Result<()> {
        let values = values.to_f64_vec().map_err(|e| about(tag, e))?;
        self.add(tag, None, value::What::Histo(histogram::of(&values)), step)
    }

    /// An image `[C, H, W]` of one channel or three, with values from 0 to 1.
    ///
    /// # Errors
    /// If it is no such image, or the file cannot be written; the message names the tag or the file.
    #[track_caller]
    pub fn add_image(&self, tag: &str, image: &Tensor, step: usize) -> Result<()> {
        let png = encode(image).map_err(|e| about(tag, e))?;
        let image = events::Image {
            height: png.height as i32,
            width: png.width as i32,
            colorspace: png.channels as i32,
            encoded_image_string: png.bytes,
        };
        self.add(tag, None, value::What::Image(image), step)
    }

    /// A text in Markdown.
    ///
    /// # Errors
    /// If the file cannot be written; the message names it.
    #[track_caller]
    pub fn add_text(&self, tag: &str, text: &str, step: usize) -> Result<()> {
        self.add(tag, Some(SummaryMetadata::plugin("text")), value::What::Tensor(TensorProto::text(text)), step)
    }

    /// The graph of a compiled function as it was traced: the layers' scopes are its groups.
    ///
    /// ```
    /// use igneous::nn::{Forward, Linear, Sequential};
    /// use igneous::{DType, Tensor, compile, spec};
    /// use igneous_train::SummaryWriter;
    /// # let folder = std::env::temp_dir().join(format!("igneous-{}-graph", std::process::id()));
    /// let net = Sequential::new().push(Linear::new(4, 8)).push(Linear::new(8, 2));
    /// let forward = compile(|x: Tensor| net.forward(&x));
    /// let board = SummaryWriter::new(&folder)?;
    /// board.add_graph(&forward.lower(spec(DType::F32, (16, 4)))?)?;
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok::<(), igneous::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the file cannot be written; the message names it.
    #[track_caller]
    pub fn add_graph(&self, program: &Lowered) -> Result<()> {
        self.write(0, event::What::GraphDef(graph::of(program.traced()).encode_to_vec())).map_err(|e| e.at(Loc::caller()))
    }

    /// Hands all that was added to the operating system, so that TensorBoard sees it. The last of the clones does so when it is
    /// dropped.
    ///
    /// # Errors
    /// If the file cannot be written; the message names it.
    #[track_caller]
    pub fn flush(&self) -> Result<()> {
        let mut file = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.flush().map_err(|e| self.unwritable(e).at(Loc::caller()))
    }

    #[track_caller]
    fn add(&self, tag: &str, metadata: Option<SummaryMetadata>, what: value::What, step: usize) -> Result<()> {
        let value = Value { tag: tag.to_owned(), metadata, what: Some(what) };
        self.write(step, event::What::Summary(Summary { value: vec![value] })).map_err(|e| e.at(Loc::caller()))
    }

    fn write(&self, step: usize, what: event::What) -> Result<()> {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        let event = Event { wall_time: now(), step, what: Some(what) }.encode_to_vec();
        let mut file = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&record::of(&event)).map_err(|e| self.unwritable(e))
    }

    fn unwritable(&self, problem: std::io::Error) -> Error {
        Error::other(problem).context(format_args!("cannot write {}", self.0.path.display()))
    }
}

fn about(tag: &str, error: Error) -> Error {
    error.context(format_args!("cannot add `{tag}` to a TensorBoard"))
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_shown_is_named() {
        let folder = std::env::temp_dir().join(format!("igneous-{}-events", std::process::id()));
        let board = SummaryWriter::new(&folder).unwrap();
        let before = std::fs::metadata(board.path()).unwrap().len();
        for told in [
            board.add_image("picture", &Tensor::zeros((2, 4, 4)), 1).unwrap_err(),
            board.add_image("picture", &Tensor::zeros(4), 1).unwrap_err(),
            board.add_histogram("picture", &Tensor::invalid(Error::new("no tensor")), 1).unwrap_err(),
        ] {
            assert!(told.to_string().contains("`picture`"), "{told}");
        }
        board.flush().unwrap();
        assert_eq!(std::fs::metadata(board.path()).unwrap().len(), before);
        let second = SummaryWriter::new(&folder).unwrap();
        assert_ne!(second.path(), board.path());
        assert!(SummaryWriter::new(board.path()).unwrap_err().to_string().contains("cannot write"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
