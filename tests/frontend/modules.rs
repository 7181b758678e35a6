//! What a module knows of its parts, and their way into files and back.

use crate::scratch::Scratch;
use crate::{close, seeded, vec};
use igneous::nn::{BatchNorm1d, Dropout, Flatten, Forward, LayerNorm, Linear, Module, ModuleExt, Relu, Sequential, StateDict};
use igneous::optim::{Adam, Optimizer};
use igneous::{DType, Error, Tensor, compile};

/// Parts of every kind.
#[derive(Module)]
struct Model<L> {
    embedding: Tensor,
    layers: Vec<L>,
    norm: Option<LayerNorm>,
    tied: Tensor,
    running: Tensor,
    branch: Branch,
    r#type: Linear,
    width: usize,
    #[module(skip)]
    comment: std::path::PathBuf,
}

#[derive(Module)]
enum Branch {
    Head { head: Linear, dropout: Dropout },
    Pair(Linear, Box<Linear>),
}

fn model() -> Model<Sequential> {
    let embedding = Tensor::parameter(Tensor::zeros((5, 2)));
    Model {
        tied: embedding.clone(),
        embedding,
        layers: vec![Sequential::new().push(Flatten::new()).push(Linear::new(2, 3)), Sequential::new().push(Relu)],
        norm: Some(LayerNorm::new(3).without_bias()),
        running: Tensor::buffer(Tensor::ones(3)),
        branch: Branch::Head { head: Linear::new(3, 1), dropout: Dropout::new(0.5) },
        r#type: Linear::new(1, 1).without_bias(),
        width: 3,
        comment: "nothing to train".into(),
    }
}

#[test]
fn parts_are_found_in_order_and_named_by_their_paths() {
    let _one = seeded(1);
    let model = model();
    assert_eq!((model.width, model.comment.to_str()), (3, Some("nothing to train")));
    let names = |list: Vec<(String, Tensor)>| list.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let parameters = [
        "embedding",
        "layers.0.1.weight",
        "layers.0.1.bias",
        "norm.weight",
        "branch.head.weight",
        "branch.head.bias",
        "type.weight",
    ];
    assert_eq!(names(model.named_parameters()), parameters);
    assert_eq!(names(model.named_variables()).len(), parameters.len() + 2, "the tied tensor again, and the buffer");
    assert_eq!(model.parameter_count(), 10 + 6 + 3 + 3 + 3 + 1 + 1);
    assert_eq!(model.parameters()[1].name().as_deref(), Some("layers.0.1.weight"));
    let pair = Branch::Pair(Linear::new(1, 2), Box::new(Linear::new(2, 1).without_bias()));
    assert_eq!(names(pair.named_parameters()), ["0.weight", "0.bias", "1.weight"]);
}

#[test]
fn the_summary_is_a_table() {
    let _one = seeded(2);
    let model = model();
    model.layers[0].parameters().iter().for_each(|p| drop(p.freeze()));
    insta::assert_snapshot!(model.summary(), @"
    parameter           type           elements
    embedding           f32[5, 2]            10
    layers.0.1.weight   f32[3, 2]             6  not trained
    layers.0.1.bias     f32[3]                3  not trained
    norm.weight         f32[3]                3
    running             f32[3]                3  not trained
    branch.head.weight  f32[1, 3]             3
    branch.head.bias    f32[1]                1
    type.weight         f32[1, 1]             1
    30 elements, 18 trained
    ");
}

/// Layers in layers with the types of their results; making the table changes nothing.
#[test]
fn the_layers_are_a_table() {
    let _one = seeded(6);
    let block = Sequential::new().push(Linear::new(4, 3)).push(BatchNorm1d::new(3)).push(Dropout::new(0.5));
    let net = Sequential::new().push(Flatten::new()).push_named("block", block).push(Linear::new(3, 2).without_bias());
    net.parameters()[0].freeze();
    let (state, random) = (net.state_dict(), vec::<i64>(&igneous::random_state().unwrap()));
    let table = net.layers(&Tensor::ones((5, 2, 2))).unwrap();
    insta::assert_snapshot!(table, @"
    layer                output       parameters
    Sequential           f32[5, 2]            27
      0: Flatten         f32[5, 4]             0
      block: Sequential  f32[5, 3]            21
        0: Linear        f32[5, 3]            15
        1: BatchNorm1d   f32[5, 3]             6
        2: Dropout       f32[5, 3]             0
      2: Linear          f32[5, 2]             6
    27 parameters, 15 trained
    ");
    for (name, value) in net.state_dict().iter() {
        assert_eq!(value.to_f64_vec().unwrap(), state.get(name).unwrap().to_f64_vec().unwrap(), "{name}");
    }
    assert_eq!(vec::<i64>(&igneous::random_state().unwrap()), random);
    assert!(net.layers(&Tensor::ones((5, 3))).is_err());
}

#[test]
fn modes_reach_every_layer() {
    let _one = seeded(3);
    let model = model();
    let Branch::Head { dropout, .. } = &model.branch else { unreachable!() };
    assert!(dropout.mode.is_training());
    model.eval();
    assert!(!dropout.mode.is_training());
    let x = Tensor::ones(64);
    assert_eq!(vec::<f32>(&dropout.forward(&x)), [1.0; 64]);
    model.train();
    assert_ne!(vec::<f32>(&dropout.forward(&x)), [1.0; 64]);
}

/// A file that is written and read again holds the same names, types and bits.
#[test]
fn states_survive_files() {
    let _one = seeded(4);
    let scratch = Scratch::new("state");
    let path = scratch.file("state.safetensors");
    let mut state = model().state_dict();
    let x = Tensor::new([[f64::NAN, -0.0], [1e-40, f64::INFINITY]]);
    for dtype in [DType::F64, DType::F32, DType::I64, DType::I32, DType::U8, DType::I8, DType::Bool] {
        state.insert(dtype.name(), x.to_dtype(dtype));
    }
    state.insert("scalar", Tensor::scalar(2.5));
    state.insert("empty", Tensor::zeros((0, 3)));
    state.save(&path).unwrap();
    let read = StateDict::load(&path).unwrap();
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 1);
    assert_eq!(read.len(), state.len());
    for ((name, a), (other, b)) in state.iter().zip(read.iter()) {
        assert_eq!((name, a.ty().unwrap()), (other, b.ty().unwrap()));
        assert_eq!(a.to_le_bytes().unwrap(), b.to_le_bytes().unwrap(), "{name}");
    }
}

/// A state is a copy: training on does not change it, and what is made of it trains on by itself.
#[test]
fn training_goes_on_from_a_saved_state() {
    let _one = seeded(5);
    let (x, y) = (Tensor::randn((8, 3)), Tensor::randn((8, 1)));
    let made = || {
        let net = Sequential::new().push(Linear::new(3, 4)).push(Relu).push(Linear::new(4, 1));
        let adam = Adam::new(net.parameters(), 0.05).unwrap();
        (net, adam)
    };
    let losses = |net: &Sequential, adam: &Adam, count: usize| -> Vec<f64> {
        let step = compile(|x: Tensor, y: Tensor| {
            let loss = net.forward(&x).mse_loss(&y);
            loss.backward()?;
            adam.step()?;
            Ok::<_, Error>(loss)
        });
        (0..count).map(|_| step.run((x.clone(), y.clone())).unwrap().item().unwrap()).collect()
    };
    let (net, adam) = made();
    losses(&net, &adam, 3);
    let (weights, moments) = (net.state_dict(), adam.state_dict());
    let first = vec::<f32>(weights.get("0.weight").unwrap());
    let expected = losses(&net, &adam, 3);
    assert_eq!(vec::<f32>(weights.get("0.weight").unwrap()), first);
    assert_ne!(vec::<f32>(&net.parameters()[0]), first);
    let (net, adam) = made();
    net.load_state_dict(&weights).unwrap();
    adam.load_state_dict(&moments).unwrap();
    close(&Tensor::new(losses(&net, &adam, 3)), &expected);
    assert!(expected[2] < expected[0]);
}
