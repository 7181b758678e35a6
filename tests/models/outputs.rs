//! What models compute from equal weights, in `f64` and `f32`, eager and compiled; and how many parameters the well-known sizes have.

use crate::values::{filled, integers, values};
use igneous::nn::{Forward, Module, ModuleExt, StateDict};
use igneous::testing::assert_close;
use igneous::{DType, Tensor, compile, default};
use igneous_models::*;
use std::sync::LazyLock;

static TORCH: LazyLock<StateDict> =
    LazyLock::new(|| StateDict::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity/models.safetensors")).unwrap());

/// How far results may be from PyTorch's in `f64`.
const PRECISIONS: [(DType, f64); 2] = [(DType::F64, 1e-12), (DType::F32, 2e-5)];

/// Compares the results of a model in evaluation with those of a case.
#[track_caller]
fn check<M: Module + Send + Sync>(
    case: &str,
    make: impl Fn() -> M,
    inputs: &[Tensor],
    run: impl Fn(&M, &[Tensor]) -> Vec<Tensor> + Send + Sync,
) {
    for (dtype, tolerance) in PRECISIONS {
        let net = filled(make(), dtype);
        net.eval();
        let cast = |t: &Tensor| if t.dtype().is_float() { t.to_dtype(dtype) } else { t.clone() };
        let inputs: Vec<Tensor> = inputs.iter().map(cast).collect();
        let eager = run(&net, &inputs);
        let compiled =
            compile(|inputs: Vec<Tensor>| run(&net, &inputs)).run(inputs.clone()).unwrap_or_else(|e| panic!("{case}: {e}"));
        for (mode, results) in [("eager", eager), ("compiled", compiled)] {
            println!("{case}, {mode}, {dtype}");
            let expected: Vec<&Tensor> = (0..).map_while(|i| TORCH.get(&format!("{case}/y{i}"))).collect();
            assert!(!expected.is_empty(), "models.py writes no {case}");
            assert_eq!(results.len(), expected.len());
            for (y, expected) in results.iter().zip(expected) {
                assert_eq!(y.dtype(), dtype);
                assert_close(y, expected, tolerance);
            }
        }
    }
}

/// [`check`] for a model of one tensor.
#[track_caller]
fn check_forward<M: Forward>(case: &str, make: impl Fn() -> M, input: Tensor) {
    check(case, make, &[input], |net, inputs| vec![net.forward(&inputs[0])]);
}

#[track_caller]
fn check_parameters(case: &str, net: &impl Module, known: usize) {
    assert_eq!(net.parameter_count(), known);
    let torch = TORCH.get(&format!("{case}/parameters")).unwrap_or_else(|| panic!("models.py writes no {case}"));
    assert_eq!(torch.to_i64_vec().unwrap(), [known as i64]);
}

fn image(case: &str, shape: &[usize]) -> Tensor {
    values(&format!("{case}/in0"), shape)
}

#[test]
fn fully_connected_layers() {
    check_forward("mlp", || mlp(&[20, 16, 12, 10]), image("mlp", &[3, 20]));
    check_parameters("mlp", &mlp(&[784, 512, 10]), 407_050);
    assert_eq!(mlp(&[5]).parameter_count() + mlp(&[]).parameter_count(), 0);
    check_forward("autoencoder", || Autoencoder::new(&[20, 12, 3]), image("autoencoder", &[3, 20]));
    check(
        "vae",
        || Vae::new(20, 12, 4),
        &[image("vae", &[3, 20])],
        |net, inputs| {
            let (mean, log_variance) = net.encode(&inputs[0]);
            let decoded = net.decode(&mean);
            vec![mean, log_variance, decoded]
        },
    );
    check_parameters("vae", &Vae::new(784, 400, 20), 652_824);
}

/// With a code that is certain, the bound is the error of its decoding plus what its distribution costs, in closed form.
#[test]
fn the_loss_of_a_variational_autoencoder() -> igneous::Result<()> {
    let net = Vae::new(6, 4, 2);
    for layer in [&net.fc21, &net.fc22, &net.fc4] {
        layer.weight.assign(&layer.weight.zeros_like())?;
    }
    let set = |layer: &igneous::nn::Linear, values: &[f64]| {
        let bias = layer.bias.as_ref().expect("layers have biases");
        bias.assign(&Tensor::new(values.to_vec()))
    };
    set(&net.fc21, &[0.5, -1.0])?;
    set(&net.fc22, &[2f64.ln(), 0.0])?;
    set(&net.fc4, &[0.0; 6])?;
    // Six logits of 0, and (μ² + σ² − ln σ² − 1) / 2 of each number of the code.
    let expected = 6.0 * 2f64.ln() + (0.25 + 2.0 - 2f64.ln() - 1.0) / 2.0 + 0.5;
    assert!((net.loss(&Tensor::rand((3, 6))).item()? - expected).abs() < 1e-5);
    Ok(())
}

#[test]
fn small_convolutional_nets() {
    check_forward("lenet", || LeNet::new(1, 28, 10), image("lenet", &[2, 1, 28, 28]));
    check_parameters("lenet", &LeNet::new(3, 32, 10), 62_006);
    let digits = DcganOptions { noise: 10, width: 4, ..DcganOptions::mnist() };
    check_forward("generator", || Generator::new(digits), image("generator", &[2, 10, 1, 1]));
    check_parameters("generator", &Generator::new(default()), 3_576_704);
    check_forward("discriminator", || Discriminator::new(digits), image("discriminator", &[2, 1, 28, 28]));
    check_parameters("discriminator", &Discriminator::new(default()), 2_765_568);
}

#[test]
fn recurrent_classifiers() {
    check_forward("lstm", || LstmClassifier::new(6, 8, 5), image("lstm", &[3, 7, 6]));
    check_forward("gru", || GruClassifier::new(6, 8, 5), image("gru", &[3, 7, 6]));
}

#[test]
fn encoder_classifier() {
    let small =
        EncoderClassifierOptions { longest: 16, features: 8, heads: 2, hidden: 12, ..EncoderClassifierOptions::new(11, 4) };
    let tokens = integers("encoder/in0", &[3, 9], 11);
    check_forward("encoder", || EncoderClassifier::new(small), tokens.clone());
    let padding = Tensor::arange(0, 9).ge(Tensor::new([[9], [6], [2]]));
    check(
        "encoder_padded",
        || EncoderClassifier::new(small),
        &[tokens, padding],
        |net, inputs| vec![net.forward_padded(&inputs[0], &inputs[1])],
    );
}

#[test]
fn decoders() {
    let small = GptOptions { context: 8, layers: 2, heads: 2, features: 12, ..GptOptions::characters(13) };
    let ids = integers("gpt/in0", &[2, 7], 13);
    let cases = [
        ("char_gpt", small),
        ("gpt2", GptOptions { activation: Tensor::gelu_tanh, ..small }),
        ("rotary_gpt", GptOptions { positions: GptPositions::Rotary, ..small }),
    ];
    for (case, options) in cases {
        check_forward(case, || Gpt::new(options), ids.clone());
    }
    check_parameters("char_gpt", &Gpt::new(GptOptions::characters(65)), 809_856);
    check_parameters("gpt2", &Gpt::new(GptOptions::gpt2()), 124_439_808);
}

/// The scores of the next token do not depend on what lies behind.
#[test]
fn scores_of_the_next_token() {
    let net = Gpt::new(GptOptions { context: 8, layers: 2, heads: 2, features: 12, ..GptOptions::characters(13) });
    let whole = integers("next", &[1, 8], 13);
    let cut = whole.narrow(1, 0, 5);
    assert_close(&net.next(&whole, &Tensor::scalar(4)), &net.forward(&cut).i((.., -1)), 1e-5);
    assert_close(&net.next(&cut, &Tensor::scalar(4)), &net.forward(&cut).i((.., -1)), 1e-5);
}

/// Hugging Face's file has masks, a matrix of scores that is the table of tokens, and linear weights the other way round.
#[test]
fn names_of_hugging_face() -> igneous::Result<()> {
    let small = GptOptions { context: 8, layers: 1, heads: 2, features: 12, ..GptOptions::characters(13) };
    let (net, copy) = (Gpt::new(small), Gpt::new(small));
    for prefix in ["", "transformer."] {
        let mut file = StateDict::new();
        for (name, value) in net.state_dict().iter() {
            let name = name.strip_prefix("transformer.").unwrap_or(name);
            let transposed = value.rank() == 2 && name.starts_with("h.");
            file.insert(format!("{prefix}{name}"), if transposed { value.t() } else { value.clone() });
        }
        file.insert(format!("{prefix}h.0.attn.bias"), Tensor::ones((1, 1, 8, 8)));
        file.insert("lm_head.weight", net.transformer.wte.weight.detach());
        copy.load_hugging_face(&file)?;
        let ids = integers("names", &[1, 6], 13);
        assert_close(&copy.forward(&ids), &net.forward(&ids), 0.0);
        for (_, parameter) in copy.named_parameters() {
            parameter.assign(&parameter.zeros_like())?;
        }
    }
    let mut other = StateDict::new();
    other.insert("h.0.attn.c_attn.weight", Tensor::ones((2, 2)));
    assert!(copy.load_hugging_face(&other).unwrap_err().to_string().contains("transformer.ln_f.weight"));
    Ok(())
}

#[test]
fn bert() {
    let small = BertOptions { vocabulary: 17, context: 8, layers: 2, heads: 2, features: 12, hidden: 20, ..BertOptions::base() };
    let mask = Tensor::arange(0, 6).lt(Tensor::new([[6], [4], [1]])).to_dtype(DType::I64);
    let inputs = [integers("bert/in0", &[3, 6], 17), integers("bert/in1", &[3, 6], 2), mask];
    check(
        "bert",
        || Bert::new(small),
        &inputs,
        |net, inputs| {
            let (tokens, pooled) = net.forward(&inputs[0], Some(&inputs[1]), Some(&inputs[2]));
            vec![tokens, pooled]
        },
    );
    check_parameters("bert", &Bert::new(BertOptions::base()), 109_482_240);
}

#[test]
fn resnet() {
    check_forward("resnet", || ResNet::with(7, ResNetOptions { width: 4, ..default() }), image("resnet", &[2, 3, 64, 64]));
    check_parameters("resnet", &ResNet::resnet18(1000), 11_689_512);
    assert_eq!(ResNet::resnet34(1000).parameter_count(), 21_797_672);
}

#[test]
fn mobilenet() {
    let stage = |(expansion, channels, repeats, stride)| InvertedStage { expansion, channels, repeats, stride };
    let stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2)].map(stage).to_vec();
    let small = MobileNetV2Options { width: 0.5, stages, ..default() };
    check_forward("mobilenet", || MobileNetV2::with(7, small.clone()), image("mobilenet", &[2, 3, 32, 32]));
    check_parameters("mobilenet", &MobileNetV2::new(1000), 3_504_872);
}

#[test]
fn vit() {
    let small = VitOptions { image: 16, patch: 4, layers: 2, heads: 2, features: 12, hidden: 20, dropout: 0.0 };
    check_forward("vit", || Vit::new(7, small), image("vit", &[2, 3, 16, 16]));
    check_parameters("vit", &Vit::new(1000, VitOptions::b_16()), 86_567_656);
}

#[test]
fn unet() {
    check_forward("unet", || UNet::with(3, UNetOptions { channels: 2, width: 4, depth: 2 }), image("unet", &[2, 2, 16, 16]));
    check_parameters("unet", &UNet::new(2), 31_037_698);
}

#[test]
fn vgg_and_style() {
    check(
        "vgg",
        || VggFeatures::with(&[&[4, 4], &[6, 6]]),
        &[image("vgg", &[2, 3, 8, 8])],
        |net, inputs| net.results(&inputs[0], &[1, 6]).into_iter().flat_map(|x| [x.clone(), gram_matrix(&x)]).collect(),
    );
    check_parameters("vgg", &VggFeatures::vgg16(), 14_714_688);
    assert_eq!(VggFeatures::vgg19().parameter_count(), 20_024_384);
}

#[test]
fn graphs() -> igneous::Result<()> {
    let edges = Edges::undirected(7, &[(0, 1), (0, 2), (0, 3), (1, 2), (3, 4), (4, 5)])?;
    let looped = edges.with_self_loops();
    let nodes = [image("graph", &[7, 5])];
    check("gcn", || Gcn::new(5, 6, 3, 0.5), &nodes, |net, x| vec![net.forward(&x[0], &looped)]);
    check("sage", || GraphSage::new(5, 6, 3, 0.5), &nodes, |net, x| vec![net.forward(&x[0], &edges)]);
    check("gat", || Gat::new(5, 4, 2, 3, 0.6), &nodes, |net, x| vec![net.forward(&x[0], &looped)]);
    let error = Edges::undirected(3, &[(0, 1), (1, 3)]).unwrap_err().to_string();
    assert!(error.contains("between nodes 1 and 3 in a graph of 3 nodes"), "{error}");
    Ok(())
}

/// Sizes that do not fit together are errors, not panics.
#[test]
fn sizes_that_cannot_be() {
    let tokens = Tensor::arange(0, 4).reshape((1, 4));
    for heads in [0, 5] {
        let options = GptOptions { heads, features: 12, layers: 1, ..GptOptions::characters(13) };
        assert!(Gpt::new(options).forward(&tokens).check().is_err());
        let options = BertOptions { vocabulary: 13, heads, features: 12, layers: 1, ..BertOptions::base() };
        assert!(Bert::new(options).forward(&tokens, None, None).0.check().is_err());
    }
    let long = Tensor::zeros((1, 65)).to_dtype(DType::I64);
    let error = Gpt::new(GptOptions { layers: 1, ..GptOptions::characters(13) }).forward(&long).check().unwrap_err();
    assert!(error.to_string().contains("at most 64"), "{error}");
    let images = Tensor::zeros((1, 3, 18, 18));
    assert!(UNet::with(2, UNetOptions { width: 4, ..default() }).forward(&images).check().is_err());
    assert!(Vit::new(2, VitOptions { patch: 0, layers: 1, ..VitOptions::b_16() }).forward(&images).check().is_err());
    assert!(LeNet::new(3, 8, 10).forward(&images).check().is_err());
}
