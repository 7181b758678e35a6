//! Recurrent layers and cells against PyTorch, whose numbers `tests/parity/recurrent.py` wrote: results, last states and the
//! gradients of inputs, states and parameters; eager and compiled.

use crate::{message, seeded, vec};
use igneous::nn::{
    Gru, GruCell, GruOptions, Lstm, LstmCell, LstmOptions, ModuleExt, Nonlinearity, Rnn, RnnCell, RnnOptions, StateDict,
};
use igneous::testing::assert_close;
use igneous::{DType, Result, Tensor, compile, default, manual_seed};
use std::sync::LazyLock;

static TORCH: LazyLock<StateDict> =
    LazyLock::new(|| StateDict::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/recurrent.safetensors")).unwrap());

fn find(case: &str, name: &str) -> Option<Tensor> {
    let tensor = TORCH.get(&format!("{case}/{name}"))?;
    Some(if tensor.dtype().is_float() { tensor.to_dtype(DType::F32) } else { tensor.clone() })
}

/// What a layer or cell is given: the input, the first states, the lengths.
struct Inputs {
    x: Tensor,
    states: Vec<Tensor>,
    lengths: Option<Tensor>,
}

impl Inputs {
    fn pair(&self) -> Option<(Tensor, Tensor)> {
        Some((self.states.first()?.clone(), self.states.get(1)?.clone()))
    }
}

/// A layer or cell: all its results, outputs first.
trait Model: ModuleExt + Send + Sync {
    fn results(&self, inputs: &Inputs) -> Vec<Tensor>;
}

macro_rules! models {
    ($($layer:ty, $cell:ty);*) => {$(
        impl Model for $layer {
            fn results(&self, inputs: &Inputs) -> Vec<Tensor> {
                let state = inputs.states.first();
                let (y, h) = match &inputs.lengths {
                    Some(lengths) => self.forward_padded(&inputs.x, lengths, state),
                    None => self.forward(&inputs.x, state),
                };
                vec![y, h]
            }
        }

        impl Model for $cell {
            fn results(&self, inputs: &Inputs) -> Vec<Tensor> {
                vec![self.forward(&inputs.x, inputs.states.first())]
            }
        }
    )*};
}

models!(Rnn, RnnCell; Gru, GruCell);

impl Model for Lstm {
    fn results(&self, inputs: &Inputs) -> Vec<Tensor> {
        let (y, (h, c)) = match &inputs.lengths {
            Some(lengths) => self.forward_padded(&inputs.x, lengths, inputs.pair().as_ref()),
            None => self.forward(&inputs.x, inputs.pair().as_ref()),
        };
        vec![y, h, c]
    }
}

impl Model for LstmCell {
    fn results(&self, inputs: &Inputs) -> Vec<Tensor> {
        let (h, c) = self.forward(&inputs.x, inputs.pair().as_ref());
        vec![h, c]
    }
}

/// Compares results and gradients of a model, which takes the parameters of the case, with those of the case.
#[track_caller]
fn check(case: &str, model: impl Model) {
    let names: Vec<String> = model.named_parameters().into_iter().map(|(name, _)| name).collect();
    let mut state = StateDict::new();
    for (name, value) in TORCH.iter() {
        if let Some(parameter) = name.strip_prefix(&format!("{case}/state/")) {
            state.insert(parameter, value.to_dtype(DType::F32));
        }
    }
    model.load_state_dict(&state).unwrap_or_else(|e| panic!("{case}: {e}"));
    let given: Vec<Tensor> = ["x", "h0", "c0"].iter().filter_map(|name| find(case, name)).collect();
    let lengths = find(case, "lengths");
    let expected: Vec<(String, Tensor)> =
        ["y", "h", "c"].iter().filter_map(|name| Some((name.to_string(), find(case, name)?))).collect();
    let cotangents: Vec<Tensor> = ["dy", "dh", "dc"].iter().filter_map(|name| find(case, name)).collect();
    assert!(!given.is_empty() && !expected.is_empty() && expected.len() == cotangents.len(), "recurrent.py writes no {case}");
    let run = |given: Vec<Tensor>, lengths: Option<Tensor>, cotangents: Vec<Tensor>| {
        let mut leaves: Vec<Tensor> = given.iter().map(|t| t.detach().requires_grad_()).collect();
        let kept = leaves.clone();
        let inputs = Inputs { x: leaves.remove(0), states: leaves, lengths };
        let results = model.results(&inputs);
        let weighted = results.iter().zip(&cotangents).map(|(y, dy)| (y * dy).sum_all());
        weighted.reduce(|a, b| a + b).expect("a model has results").backward()?;
        Ok::<_, igneous::Error>((results, kept.iter().map(Tensor::grad).collect::<Vec<_>>()))
    };
    let parameters = || model.named_parameters().into_iter().map(|(_, p)| p.take_grad()).collect::<Vec<_>>();
    let eager = run(given.clone(), lengths.clone(), cotangents.clone()).unwrap_or_else(|e| panic!("{case}: {e}"));
    let eager = (eager, parameters());
    let compiled = compile(run).run((given, lengths, cotangents)).unwrap_or_else(|e| panic!("{case}: {e}"));
    let compiled = (compiled, parameters());
    for (mode, ((results, of_inputs), of_parameters)) in [("eager", eager), ("compiled", compiled)] {
        assert_eq!(results.len(), expected.len());
        for (result, (name, expected)) in results.iter().zip(&expected) {
            println!("{case}, {mode}, {name}");
            assert_close(result, expected, 1e-5);
        }
        let places = ["x", "h0", "c0"].into_iter().map(str::to_owned).zip(of_inputs);
        let mut count = 0;
        for (name, gradient) in places.chain(names.iter().cloned().zip(of_parameters)) {
            println!("{case}, {mode}, gradient of {name}");
            let expected = find(case, &format!("grad/{name}")).unwrap_or_else(|| panic!("{name} has a gradient only here"));
            assert_close(&gradient.unwrap_or_else(|| panic!("{name} has no gradient")), &expected, 1e-5);
            count += 1;
        }
        assert_eq!(count, TORCH.iter().filter(|(n, _)| n.starts_with(&format!("{case}/grad/"))).count());
    }
}

#[test]
fn rnn() {
    let _one = seeded(1);
    let both = RnnOptions { num_layers: 2, bidirectional: true, ..default() };
    for case in ["rnn_plain", "rnn_zeros", "rnn_one_step", "rnn_unbatched", "rnn_lengths"] {
        check(case, Rnn::new(4, 3));
    }
    check("rnn_without_bias", Rnn::new(4, 3).without_bias());
    check("rnn_deep", Rnn::with(4, 3, RnnOptions { num_layers: 2, batch_first: true, ..default() }));
    check("rnn_both_ways", Rnn::with(4, 3, both));
    check("rnn_lengths_both_ways", Rnn::with(4, 3, RnnOptions { batch_first: true, ..both }));
    check("rnn_relu", Rnn::with(4, 3, RnnOptions { nonlinearity: Nonlinearity::Relu, bidirectional: true, ..default() }));
}

#[test]
fn lstm() {
    let _one = seeded(1);
    let both = LstmOptions { num_layers: 2, bidirectional: true, ..default() };
    for case in ["lstm_plain", "lstm_zeros", "lstm_one_step", "lstm_unbatched", "lstm_lengths"] {
        check(case, Lstm::new(4, 3));
    }
    check("lstm_without_bias", Lstm::new(4, 3).without_bias());
    check("lstm_deep", Lstm::with(4, 3, LstmOptions { num_layers: 2, batch_first: true, ..default() }));
    check("lstm_both_ways", Lstm::with(4, 3, both));
    check("lstm_lengths_both_ways", Lstm::with(4, 3, LstmOptions { batch_first: true, ..both }));
    check("lstm_projection", Lstm::with(4, 3, LstmOptions { proj_size: Some(2), ..both }));
    check("lstm_projection_lengths", Lstm::with(4, 3, LstmOptions { proj_size: Some(1), ..default() }));
}

#[test]
fn gru() {
    let _one = seeded(1);
    let both = GruOptions { num_layers: 2, bidirectional: true, ..default() };
    for case in ["gru_plain", "gru_zeros", "gru_one_step", "gru_unbatched", "gru_lengths"] {
        check(case, Gru::new(4, 3));
    }
    check("gru_without_bias", Gru::new(4, 3).without_bias());
    check("gru_deep", Gru::with(4, 3, GruOptions { num_layers: 2, batch_first: true, ..default() }));
    check("gru_both_ways", Gru::with(4, 3, both));
    check("gru_lengths_both_ways", Gru::with(4, 3, GruOptions { batch_first: true, ..both }));
}

#[test]
fn cells() {
    let _one = seeded(1);
    for case in ["rnn_cell", "rnn_cell_unbatched"] {
        check(case, RnnCell::new(4, 3));
    }
    for case in ["lstm_cell", "lstm_cell_unbatched"] {
        check(case, LstmCell::new(4, 3));
    }
    for case in ["gru_cell", "gru_cell_unbatched"] {
        check(case, GruCell::new(4, 3));
    }
    check("rnn_cell_zeros", RnnCell::new(4, 3).without_bias());
    check("lstm_cell_zeros", LstmCell::new(4, 3).without_bias());
    check("gru_cell_zeros", GruCell::new(4, 3).without_bias());
    check("rnn_cell_relu", RnnCell::with(4, 3, Nonlinearity::Relu));
}

#[test]
fn parameters_begin_within_the_bound_of_the_hidden_size() {
    let _one = seeded(5);
    let lstm = Lstm::with(5, 100, LstmOptions { proj_size: Some(30), bidirectional: true, ..default() });
    let shapes: Vec<String> = lstm.named_parameters().iter().map(|(name, t)| format!("{name} {}", t.ty().unwrap())).collect();
    let expected = ["weight_ih_l0 f32[400, 5]", "weight_hh_l0 f32[400, 30]", "bias_ih_l0 f32[400]", "bias_hh_l0 f32[400]"];
    assert_eq!(shapes[..4], expected);
    assert_eq!(shapes[4..6], ["weight_hr_l0 f32[30, 100]", "weight_ih_l0_reverse f32[400, 5]"]);
    assert_eq!(shapes.len(), 10);
    for (name, parameter) in lstm.named_parameters() {
        let largest = parameter.to_f64_vec().unwrap().iter().fold(0.0, |a: f64, x| a.max(x.abs()));
        assert!((0.095..=0.1).contains(&largest), "{name}: {largest}");
    }
}

/// Every output of the first layer is dropped, so the second sees only zeros; evaluation drops nothing.
#[test]
fn dropout_lies_between_layers() {
    let _one = seeded(2);
    let lstm = Lstm::with(3, 4, LstmOptions { num_layers: 2, dropout: 1.0, ..default() });
    let x = Tensor::randn((5, 2, 3));
    let (dropped, _) = lstm.forward(&x, None);
    let second = Lstm::new(4, 4);
    let mut state = StateDict::new();
    for (name, value) in lstm.state_dict().iter() {
        if let Some(name) = name.strip_suffix("_l1") {
            state.insert(format!("{name}_l0"), value.clone());
        }
    }
    second.load_state_dict(&state).unwrap();
    assert_close(&dropped, &second.forward(&Tensor::zeros((5, 2, 4)), None).0, 1e-6);
    lstm.eval();
    let evaluated = vec::<f32>(&lstm.forward(&x, None).0);
    assert_eq!(evaluated, vec::<f32>(&lstm.forward(&x, None).0));
    assert_ne!(evaluated, vec::<f32>(&dropped));
}

/// One program for every length gives what programs for one length give.
#[test]
fn one_program_serves_every_length() -> Result<()> {
    let _one = seeded(3);
    let lstm = Lstm::with(4, 8, LstmOptions { bidirectional: true, ..default() });
    let gru = Gru::new(16, 8);
    let step = |x: Tensor| {
        let (ys, (h, _)) = lstm.forward(&x, None);
        let (ys, _) = gru.forward(&ys, None);
        let loss = ys.square().mean_all() + h.sum_all();
        loss.backward()?;
        let parameters = lstm.named_parameters().into_iter().chain(gru.named_parameters());
        let gradients: Vec<Tensor> = parameters.filter_map(|(_, p)| p.take_grad()).collect();
        Ok::<_, igneous::Error>((loss, gradients))
    };
    let general = compile(step).input(0, ("T", "B", 4)).range("T", 1..=100).range("B", 1..=100);
    manual_seed(4);
    for (steps, batch) in [(1, 3), (2, 1), (7, 5), (100, 2), (13, 3)] {
        let x = Tensor::randn((steps, batch, 4));
        let (loss, gradients) = general.run(x.clone())?;
        let (expected_loss, expected) = compile(step).run(x)?;
        assert_close(&loss, &expected_loss, 1e-5);
        assert_eq!(gradients.len(), 12);
        for (gradient, expected) in gradients.iter().zip(&expected) {
            assert_close(gradient, expected, 1e-5);
        }
    }
    assert_eq!(general.programs(), 1, "{}", general.explain_retraces());
    Ok(())
}

#[test]
fn errors_of_recurrent_layers() {
    let _one = seeded(1);
    let lstm = Lstm::new(4, 3);
    let told = message(lstm.forward(&Tensor::zeros((5, 2, 3)), None).0.check());
    assert!(told.contains("[steps, batch, features]") && told.contains("f32[5, 2, 3]"), "{told}");
    let state = (Tensor::zeros((1, 2, 3)), Tensor::zeros((2, 2, 3)));
    let told = message(lstm.forward(&Tensor::zeros((5, 2, 4)), Some(&state)).1.1.check());
    assert!(told.contains("initial state [1, 2, 3]") && told.contains("f32[2, 2, 3]"), "{told}");
    let x = Tensor::zeros((5, 2, 4));
    for lengths in [Tensor::new([5, 6]), Tensor::new([0, 5])] {
        let told = message(lstm.forward_padded(&x, &lengths, None).0.check());
        assert!(told.contains("a length is out of range: it must be at least 1 and less than 6"), "{told}");
        let told = message(compile(|x: Tensor, n: Tensor| lstm.forward_padded(&x, &n, None).0).run((x.clone(), lengths)));
        assert!(told.contains("a length is out of range"), "{told}");
    }
    let told = message(lstm.forward_padded(&x, &Tensor::new([1, 2, 3]), None).0.check());
    assert!(told.contains("one integer length for each sequence"), "{told}");
    let told = message(lstm.forward_padded(&Tensor::zeros((5, 4)), &Tensor::new([1]), None).0.check());
    assert!(told.contains("lengths need sequences in a batch"), "{told}");
    for (layer, reason) in [
        (Lstm::new(4, 0), "at least 1"),
        (Lstm::with(4, 3, LstmOptions { num_layers: 0, ..default() }), "at least 1"),
        (Lstm::with(4, 3, LstmOptions { dropout: 1.5, ..default() }), "probability"),
        (Lstm::with(4, 3, LstmOptions { proj_size: Some(3), ..default() }), "smaller than its hidden size"),
        (Lstm::new(4, usize::MAX), "too large"),
    ] {
        let told = message(layer.forward(&x, None).0.check());
        assert!(told.contains(reason), "{told}");
    }
    let told = message(GruCell::new(4, 3).forward(&Tensor::zeros((2, 4)), Some(&Tensor::zeros((3, 3)))).check());
    assert!(told.contains("a state with the batch"), "{told}");
    let told = message(RnnCell::new(4, 0).forward(&Tensor::zeros((2, 4)), None).check());
    assert!(told.contains("hidden size of at least 1"), "{told}");
}
