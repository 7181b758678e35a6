//! Files with weights that others have trained, where they are beside the repository.

use igneous::nn::{Forward, ModuleExt, StateDict};
use igneous::testing::assert_close;
use igneous::{Result, compile};
use igneous_models::Crepe;
use std::path::{Path, PathBuf};

/// A file of the folder, if it is there.
fn file(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/models_small").join(name);
    if !path.is_file() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// CREPE's weights and what PyTorch computes with them for two frames of sound.
#[test]
fn crepe() -> Result<()> {
    let (Some(weights), Some(sound)) = (file("crepe_tiny_pth/tiny.pth"), file("crepe_tiny_pth/io.npz")) else { return Ok(()) };
    let net = Crepe::tiny();
    net.load_state_dict(&StateDict::load(weights)?)?;
    net.eval();
    let sound = StateDict::load(sound)?;
    let (frames, expected) = (sound.get("in_0").expect("io.npz has in_0"), sound.get("out_0").expect("io.npz has out_0"));
    assert_close(&net.forward(frames), expected, 1e-5);
    assert_close(&compile(|x| net.forward(&x)).run(frames.clone())?, expected, 1e-5);
    let largest = expected.max_all().item()?;
    assert!(largest > 0.1, "the output says nothing: at most {largest}");
    Ok(())
}

/// All files of PyTorch and of safetensors load, and sums and norms are those that came with them.
#[test]
fn tensors_of_all_files() -> Result<()> {
    let cases = [
        ("crepe_tiny_pth", "tiny.pth"),
        ("facenet_pnet_pt", "pnet.pt"),
        ("fracast_safetensors", "model.safetensors"),
        ("silero_vad_op15", "silero_vad_16k.safetensors"),
    ];
    for (folder, name) in cases {
        let Some(path) = file(&format!("{folder}/{name}")) else { continue };
        let state = StateDict::load(&path)?;
        println!("{folder}/{name}: {} tensors", state.len());
        for (name, tensor) in state.iter() {
            assert!(tensor.to_f64_vec()?.iter().all(|x| x.is_finite()), "{folder} {name}");
        }
        assert!(!state.is_empty());
        let text = std::fs::read_to_string(path.with_file_name("meta.json")).expect("each model has a meta.json");
        let meta: serde_json::Value = serde_json::from_str(&text).expect("meta.json is JSON");
        // Silero's describes its ONNX file.
        let Some(tensors) = meta["tensors"].as_object() else { continue };
        assert_eq!(state.len(), tensors.len());
        for (name, of) in tensors {
            let values = state.get(name).unwrap_or_else(|| panic!("{folder} has no `{name}`")).to_f64_vec()?;
            let sum: f64 = values.iter().sum();
            let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
            for (found, expected) in [(sum, &of["sum"]), (norm, &of["l2"])] {
                let expected = expected.as_f64().expect("meta.json has sums and norms");
                assert!((found - expected).abs() <= 1e-4 * norm.max(1.0), "{folder} {name}: {found} is not {expected}");
            }
        }
    }
    Ok(())
}
