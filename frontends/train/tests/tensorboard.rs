//! Event files are read by TensorBoard itself. Where Python or TensorBoard is absent, the test says so and proves nothing.

use igneous::nn::{Forward, Linear, Relu, Sequential};
use igneous::{DType, Tensor, compile, spec};
use igneous_train::SummaryWriter;
use std::process::Command;

/// Prints what TensorBoard finds, in lines that are compared.
const READ: &str = r#"
import sys
from tensorboard.backend.event_processing import event_accumulator as ea
board = ea.EventAccumulator(sys.argv[1], size_guidance={ea.TENSORS: 0, ea.SCALARS: 0, ea.HISTOGRAMS: 0, ea.IMAGES: 0})
board.Reload()
tags = board.Tags()
print("scalars", sorted(tags["scalars"]))
print("loss", [(e.step, round(e.value, 4)) for e in board.Scalars("train/loss")])
h = board.Histograms("weights")[0].histogram_value
print("histogram", h.num, h.min, h.max, h.sum, h.sum_squares, sum(h.bucket), len(h.bucket) == len(h.bucket_limit))
i = board.Images("picture")[0]
print("image", i.step, i.width, i.height, i.encoded_image_string[1:4])
t = board.Tensors("recipe")[0].tensor_proto
print("text", t.string_val[0].decode(), [d.size for d in t.tensor_shape.dim])
print("plugin", board.SummaryMetadata("recipe").plugin_data.plugin_name)
nodes = {n.name: n for n in board.Graph().node}
known = all(i.split(":")[0] in nodes for n in nodes.values() for i in n.input)
relu = [n for n in nodes.values() if n.name.startswith("1/")]
print("graph", known, len(relu) > 0, any(n.op == "output" for n in nodes.values()))
print("shape", [d.size for n in nodes.values() if n.op == "output" for d in nodes[n.input[0]].attr["_output_shapes"].list.shape[0].dim])
"#;

fn python() -> Option<String> {
    let candidates = std::env::var("IGNEOUS_PYTHON").into_iter().chain(["python3".to_owned(), "python".to_owned()]);
    let knows = |python: &String| {
        let asked = Command::new(python).args(["-c", "import tensorboard.backend.event_processing.event_accumulator"]).output();
        asked.is_ok_and(|output| output.status.success())
    };
    candidates.into_iter().find(knows)
}

#[test]
fn tensorboard_reads_what_was_written() {
    let Some(python) = python() else {
        eprintln!(
            "skipped: no Python with TensorBoard (`pip install tensorboard`); IGNEOUS_PYTHON names one that is not on the path"
        );
        return;
    };
    let folder = std::env::temp_dir().join(format!("igneous-{}-tensorboard", std::process::id()));
    let board = SummaryWriter::new(&folder).unwrap();
    for step in 0..3 {
        board.add_scalar("train/loss", 1.0 / (1.0 + step as f64), step).unwrap();
    }
    board.add_scalar("accuracy", 0.5, 7).unwrap();
    board.add_histogram("weights", &Tensor::new([1.0, 2.0, 2.0, -3.0]), 2).unwrap();
    board.add_image("picture", &Tensor::rand((3, 4, 6)), 9).unwrap();
    board.add_text("recipe", "SGD, **no** momentum — ü", 0).unwrap();
    let net = Sequential::new().push(Linear::new(4, 8)).push(Relu).push(Linear::new(8, 2));
    let forward = compile(|x: Tensor| net.forward(&x));
    board.add_graph(&forward.lower(spec(DType::F32, (16, 4))).unwrap()).unwrap();
    drop(board);
    let read = Command::new(python).args(["-c", READ]).arg(&folder).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let (told, wrong) = (String::from_utf8_lossy(&read.stdout), String::from_utf8_lossy(&read.stderr));
    let expected = "scalars ['accuracy', 'train/loss']\n\
        loss [(0, 1.0), (1, 0.5), (2, 0.3333)]\n\
        histogram 4.0 -3.0 2.0 2.0 18.0 4.0 True\n\
        image 9 6 4 b'PNG'\n\
        text SGD, **no** momentum — ü [1]\n\
        plugin text\n\
        graph True True True\n\
        shape [16, 2]\n";
    assert_eq!(told, expected, "{wrong}");
}
