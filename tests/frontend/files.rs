//! Files of PyTorch and numpy that `tests/parity/files.py` wrote, damaged files, and files that would run code.

use crate::scratch::Scratch;
use crate::{message, seeded};
use igneous::files::{Value, load_npy, load_torch};
use igneous::nn::{BatchNorm1d, Linear, ModuleExt, Sequential, StateDict};
use igneous::testing::assert_values;
use igneous::{DType, Tensor};
use std::path::{Path, PathBuf};

fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/files").join(name)
}

fn same(found: &Tensor, expected: &Tensor, name: &str) {
    assert_eq!(found.ty().unwrap(), expected.ty().unwrap(), "{name}");
    assert_eq!(found.to_le_bytes().unwrap(), expected.to_le_bytes().unwrap(), "{name}");
}

/// Strided, shared and expanded storages and all element types, in both formats of PyTorch.
#[test]
fn states_of_pytorch() {
    let expected = StateDict::load(committed("expected.safetensors")).unwrap();
    assert_eq!(expected.len(), 18);
    for file in ["state.pt", "stream.pt"] {
        let state = StateDict::load(committed(file)).unwrap();
        assert_eq!(state.len(), expected.len());
        for (name, value) in state.iter() {
            same(value, expected.get(name).unwrap(), &format!("{file}: {name}"));
        }
    }
}

/// A checkpoint with plain values beside its tensors, which a module of the same names takes.
#[test]
fn checkpoints_of_pytorch() {
    let _one = seeded(1);
    for file in ["checkpoint.pt", "checkpoint_4.pt"] {
        let checkpoint = load_torch(committed(file)).unwrap();
        let get = |key: &str| checkpoint.get(key).unwrap();
        assert_eq!((get("epoch").int().unwrap(), get("large").int().unwrap()), (7, -(1 << 40)));
        assert_eq!((get("loss").float().unwrap(), get("epoch").float().unwrap()), (0.25, 7.0));
        assert_eq!(get("name").text().unwrap(), "tiny");
        assert!(matches!(get("best"), Value::None) && matches!(get("done"), Value::Bool(true)));
        assert_eq!(get("shape").items().unwrap()[1].int().unwrap(), 3);
        assert_eq!((get("dtype").text().unwrap(), get("device").text().unwrap()), ("torch.float32", "cpu"));
        assert_eq!(get("tags").items().unwrap()[1].items().unwrap()[0].text().unwrap(), "b");
        assert_eq!(get("classes").items().unwrap().len(), 2);
        assert!(matches!(get("raw"), Value::Bytes(bytes) if bytes == &[0, 255]));
        let moments = get("optimizer").get("state").unwrap();
        assert!(matches!(moments, Value::Dict(entries) if entries.len() == 4));
        let net = Sequential::new().push(Linear::new(2, 2)).push(BatchNorm1d::new(2));
        net.load_state_dict(&get("model").state_dict().unwrap()).unwrap();
        assert_eq!(net.state_dict().get("1.num_batches_tracked").unwrap().item().unwrap(), 1.0);
        let told = message(StateDict::load(committed(file)));
        assert!(told.contains("the entry `epoch` is an integer") && told.contains("load_torch"), "{told}");
        let told = message(checkpoint.get("optimiser").map(drop));
        assert!(told.contains("no entry `optimiser`") && told.contains("optimizer"), "{told}");
        assert!(get("model").int().is_err() && get("epoch").state_dict().is_err() && get("epoch").get("x").is_err());
    }
}

/// What would run code, or is code, is refused by its name.
#[test]
fn pickles_run_nothing() {
    for (file, asked) in [("attack.pt", "system`"), ("module.pt", "`torch.nn.modules.container.Sequential`")] {
        for told in [message(load_torch(committed(file))), message(StateDict::load(committed(file)))] {
            assert!(told.contains("the pickle asks for") && told.contains(asked) && told.contains(file), "{told}");
        }
    }
}

#[test]
fn arrays_of_numpy() {
    let expected = StateDict::load(committed("expected.safetensors")).unwrap();
    let arrays = StateDict::load(committed("arrays.npz")).unwrap();
    assert_eq!(arrays.len(), 18);
    for (name, array) in arrays.iter() {
        match name {
            "fortran" => same(array, expected.get("whole").unwrap(), name),
            "big" => same(array, &expected.get("whole").unwrap().to_dtype(DType::F64), name),
            _ => same(array, expected.get(name).or(expected.get(&format!("torch.{name}"))).unwrap(), name),
        }
    }
    same(&load_npy(committed("array.npy")).unwrap(), expected.get("transposed").unwrap(), "array");
    let unsigned = StateDict::load(committed("compressed.npz")).unwrap();
    assert_values(unsigned.get("uint16").unwrap(), &[65535.0, 1.0], 0.0);
    assert_values(unsigned.get("uint32").unwrap(), &[4294967295.0], 0.0);
    let told = message(load_npy(committed("objects.npy")));
    assert!(told.contains("objects.npy") && told.contains("|O"), "{told}");
}

/// What is written is read again with the same types and bits.
#[test]
fn arrays_survive() {
    let expected = StateDict::load(committed("expected.safetensors")).unwrap();
    let scratch = Scratch::new("arrays");
    let (one, many) = (scratch.file("one.npy"), scratch.file("many.npz"));
    let mut state = StateDict::new();
    for (name, value) in expected.iter().filter(|(_, value)| value.dtype() != DType::BF16) {
        state.insert(name, value.clone());
        value.save_npy(&one).unwrap();
        same(&load_npy(&one).unwrap(), value, name);
    }
    state.save_npz(&many).unwrap();
    let read = StateDict::load(&many).unwrap();
    assert_eq!(read.len(), state.len());
    read.iter().for_each(|(name, value)| same(value, state.get(name).unwrap(), name));
    let half = expected.get("torch.bfloat16").unwrap();
    assert!(message(half.save_npy(&one)).contains("bf16"));
    state.insert("half", half.clone());
    assert!(message(state.save_npz(&many)).contains("entry `half`"));
    assert_eq!(StateDict::load(&many).unwrap().len(), read.len(), "the old file is still there");
}

/// A file that cannot be written leaves the old one, and nothing beside it.
#[test]
fn what_cannot_be_written_leaves_the_old_file() {
    let scratch = Scratch::new("kept");
    let file = scratch.file("kept.safetensors");
    let mut state = StateDict::new();
    state.insert("x", Tensor::ones(3));
    state.save(&file).unwrap();
    let before = std::fs::read(&file).unwrap();
    let nowhere = scratch.file("no-such-folder/x.safetensors");
    assert!(message(state.save(&nowhere)).contains("no-such-folder"));
    state.insert("y", Tensor::ones(2).matmul(&Tensor::ones(3)));
    assert!(message(state.save(&file)).contains("kept.safetensors"));
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(std::fs::read_dir(&scratch.0).unwrap().count(), 1);
}

/// Damage anywhere is an error that names the file, or changes values only: never a panic.
#[test]
fn damaged_files_are_errors() {
    for name in ["state.pt", "stream.pt", "checkpoint_4.pt", "arrays.npz", "array.npy", "expected.safetensors"] {
        let bytes = std::fs::read(committed(name)).unwrap();
        let scratch = Scratch::new("damaged-files");
        let read = |bytes: &[u8]| {
            let file = scratch.write(name, bytes);
            match name {
                "array.npy" => load_npy(file).map(drop),
                "checkpoint_4.pt" => load_torch(file).map(drop),
                _ => StateDict::load(file).map(drop),
            }
        };
        read(&bytes).unwrap();
        for length in (0..bytes.len()).step_by(1 + bytes.len() / 400) {
            let told = message(read(&bytes[..length]));
            assert!(told.contains("cannot read") && told.contains(name), "{told}");
        }
        let mut wrong = 0;
        for place in (0..bytes.len()).step_by(1 + bytes.len() / 800) {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << (place % 8);
            if let Err(error) = read(&damaged) {
                assert!(error.to_string().contains(name), "{error}");
                wrong += 1;
            }
        }
        assert!(wrong > 0, "{name}");
    }
    assert!(message(StateDict::load("/no/such/file.pt")).contains("/no/such/file.pt"));
}

/// A pickle that refers to elements which are not there is told, by storage.
#[test]
fn tensors_stay_inside_their_storages() {
    let bytes = std::fs::read(committed("stream.pt")).unwrap();
    // The extent 3 of the first tensor, `K\x03K\x04` before its tuple ends, becomes 200.
    let place = bytes.windows(5).position(|w| w == b"K\x03K\x04\x86").unwrap();
    let mut larger = bytes.clone();
    larger[place + 1] = 200;
    let scratch = Scratch::new("larger");
    let told = message(StateDict::load(scratch.write("larger.pt", &larger)));
    assert!(told.contains("entry `whole`") && told.contains("reaches beyond storage"), "{told}");
}
