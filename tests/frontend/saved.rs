//! Programs saved to files: they run as before, go on training, and a damaged file is an error.

use crate::scratch::Scratch;
use crate::{message, seeded, vec};
use igneous::nn::{BatchNorm1d, Dropout, Forward, Linear, ModuleExt, Relu, Sequential, StateDict};
use igneous::optim::{Adam, Optimizer};
use igneous::{DType, Precision, SavedProgram, Tensor, compile, no_grad, spec};
use safetensors::SafeTensors;

fn net() -> Sequential {
    Sequential::new().push(Linear::new(4, 8)).push(BatchNorm1d::new(8)).push(Relu).push(Dropout::new(0.5)).push(Linear::new(8, 3))
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    vec::<f32>(tensor).into_iter().map(f32::to_bits).collect()
}

fn bits_of(state: &StateDict) -> Vec<(String, Vec<u8>)> {
    state.iter().map(|(name, value)| (name.to_owned(), value.to_le_bytes().unwrap())).collect()
}

/// One program for all batches, with its constants, under the precision that it was made with.
#[test]
fn a_network_runs_from_its_file() {
    let _guard = seeded(1);
    let net = net();
    net.eval();
    net.name_variables();
    let (own, shift) = (net.clone(), Tensor::new([1.0, 2.0, 3.0]));
    let scores = compile(move |x: Tensor| no_grad(|| [own.forward(&x) + &shift, x.clone(), shift.clone()]));
    let scores = scores.input(0, ("B", 4)).range("B", 1..=64).precision(Precision::Strict);
    let scratch = Scratch::new("saved-scores");
    let file = scratch.file("scores.safetensors");
    scores.lower(spec(DType::F32, (1, 4))).unwrap().save(&file).unwrap();
    let loaded = SavedProgram::load(&file).unwrap();
    assert_eq!(loaded.arguments().map(ToString::to_string).collect::<Vec<_>>(), ["f32[B, 4]"]);
    for batch in [1, 7, 64] {
        let x = Tensor::randn((batch, 4));
        let (expected, found) = (scores.run(x.clone()).unwrap(), loaded.run(&[x]).unwrap());
        assert_eq!(found.len(), 3);
        expected.iter().zip(&found).for_each(|(a, b)| assert_eq!(bits(a), bits(b)));
    }
    let weights = loaded.state_dict();
    for (name, value) in net.named_parameters() {
        assert_eq!(bits(weights.get(&name).unwrap_or_else(|| panic!("no {name} in {weights:?}"))), bits(&value), "{name}");
    }
    // The network itself is another one now.
    loaded.run(&[Tensor::ones((2, 4))]).unwrap();
    net.parameters()[0].assign(&Tensor::zeros((8, 4))).unwrap();
    assert_ne!(bits(weights.get("0.weight").unwrap()), bits(&net.parameters()[0]));
}

/// A training step in the middle of its training, with moments, running statistics and dropout, goes on bit for bit.
#[test]
fn a_training_step_goes_on() {
    let _guard = seeded(2);
    let net = net();
    let adam = Adam::new(net.parameters(), 0.01).unwrap();
    let own = net.clone();
    let step = compile(move |x: Tensor, y: Tensor| {
        let loss = own.forward(&x).cross_entropy(&y);
        loss.backward()?;
        adam.step()?;
        Ok(loss)
    });
    let batch =
        |k: i64| (Tensor::arange(k, k + 24).reshape((6, 4)).to_dtype(DType::F32) * 0.1, Tensor::new([0i64, 1, 2, 0, 1, 2]));
    for k in 0..3 {
        step.run(batch(k)).unwrap();
    }
    let scratch = Scratch::new("saved-step");
    let file = scratch.file("step.safetensors");
    step.lower(batch(0)).unwrap().save(&file).unwrap();
    let loaded = SavedProgram::load(&file).unwrap();
    let go_on = |run: &dyn Fn(Tensor, Tensor) -> Tensor| -> Vec<Vec<u32>> {
        igneous::manual_seed(5);
        (3..7).map(batch).map(|(x, y)| bits(&run(x, y))).collect()
    };
    let expected = go_on(&|x, y| step.run((x, y)).unwrap());
    let found = go_on(&|x, y| loaded.run(&[x, y]).unwrap().remove(0));
    assert_eq!(found, expected);
    assert_eq!(expected.iter().collect::<std::collections::HashSet<_>>().len(), 4, "{expected:?}");
    let state = loaded.state_dict();
    for (name, value) in net.named_variables() {
        assert_eq!(state.get(&name).unwrap().to_le_bytes().unwrap(), value.to_le_bytes().unwrap(), "{name}");
    }
    // Saved again from what it has become, it is the same once more.
    let again = bits_of(&state);
    let reloaded = SavedProgram::load(&file).unwrap();
    go_on(&|x, y| reloaded.run(&[x, y]).unwrap().remove(0));
    assert_eq!(bits_of(&reloaded.state_dict()), again);
}

#[test]
fn wrong_arguments_are_named() {
    let _guard = seeded(3);
    let product = compile(|x: Tensor, y: Tensor| x.matmul(&y)).input(0, ("M", "K")).input(1, ("K", 2)).range("M", 1..=8);
    let scratch = Scratch::new("saved-product");
    let file = scratch.file("product.safetensors");
    product.lower((spec(DType::F32, (3, 5)), spec(DType::F32, (5, 2)))).unwrap().save(&file).unwrap();
    let loaded = SavedProgram::load(&file).unwrap();
    let ones = |m: usize, n: usize| Tensor::ones((m, n));
    assert_eq!(vec::<f32>(&loaded.run(&[ones(1, 7), ones(7, 2)]).unwrap()[0]), [7.0, 7.0]);
    let told = |arguments: &[Tensor]| message(loaded.run(arguments));
    assert!(told(&[ones(1, 7)]).contains("takes 2 tensors, not 1"));
    assert!(told(&[ones(1, 7), ones(6, 2)]).contains("argument 1 of the program is f32[K, 2], not f32[6, 2]"));
    assert!(told(&[ones(9, 7), ones(7, 2)]).contains("argument 0 of the program is f32[M, K], not f32[9, 7]"));
    assert!(told(&[ones(1, 7), ones(7, 2).to_dtype(DType::F64)]).contains("not f64[7, 2]"));
    assert!(told(&[Tensor::ones(7), ones(7, 2)]).contains("not f32[7]"));
}

#[test]
fn what_cannot_be_saved_or_loaded_is_an_error() {
    let _guard = seeded(4);
    let weight = Tensor::parameter(Tensor::ones(3));
    let own = weight.clone();
    let adds = compile(move |x: Tensor| (&x * &own).sum_all().backward());
    adds.run(Tensor::ones(3)).unwrap();
    let scratch = Scratch::new("saved-errors");
    let file = scratch.file("errors.safetensors");
    let told = message(adds.lower(Tensor::ones(3)).unwrap().save(&file));
    assert!(told.contains("gradients that were there before") && told.contains("zero_grad"), "{told}");
    assert!(!file.exists());
    assert!(message(SavedProgram::load(&file)).contains(&file.display().to_string()));
    Linear::new(2, 2).state_dict().save(&file).unwrap();
    let told = message(SavedProgram::load(&file));
    assert!(told.contains("it holds no program") && told.contains(&file.display().to_string()), "{told}");
}

/// A file with any byte of its header changed, or its end cut off, gives an error or a program, and never ends the process.
#[test]
fn damaged_files_are_errors() {
    let _guard = seeded(5);
    let layer = Linear::new(2, 2);
    let forward = compile(move |x: Tensor| layer.forward(&x) + Tensor::rand((3, 2)));
    let scratch = Scratch::new("saved-damaged");
    let file = scratch.file("damaged.safetensors");
    forward.lower(spec(DType::F32, (3, 2))).unwrap().save(&file).unwrap();
    let whole = std::fs::read(&file).unwrap();
    let (header, _) = SafeTensors::read_metadata(&whole).unwrap();
    let mut errors = 0;
    for at in (0..header + 8).step_by(11) {
        let mut damaged = whole.clone();
        damaged[at] = if damaged[at] == b'7' { b'2' } else { b'7' };
        std::fs::write(&file, damaged).unwrap();
        errors += usize::from(SavedProgram::load(&file).and_then(|p| p.run(&[Tensor::ones((3, 2))])).is_err());
    }
    assert!(errors > header / 40, "{errors} of {header}");
    for line in ["capture variable 9", "return output 9", "assign variable 9 output 0", "arguments 99", "precision some", "odd"] {
        let text = String::from_utf8_lossy(&whole[8..header + 8]).replace("arguments 1", line);
        let padded = text.len().next_multiple_of(8);
        let mut damaged = (padded as u64).to_le_bytes().to_vec();
        damaged.extend(format!("{text:padded$}").bytes());
        damaged.extend(&whole[header + 8..]);
        std::fs::write(&file, damaged).unwrap();
        let told = message(SavedProgram::load(&file));
        assert!(told.contains("its interface") || told.contains("of its interface is not known"), "{line}: {told}");
    }
    for cut in [0, 7, header, whole.len() - 1] {
        std::fs::write(&file, &whole[..cut]).unwrap();
        assert!(message(SavedProgram::load(&file)).contains("cannot read"));
    }
}
