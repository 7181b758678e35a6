//! Reading the archive: a `.tar.gz` of pairs `NAME.json` (calls, tolerances) and `NAME.npz` (arrays), or a folder with such
//! pairs, archives or folders in it.

use igneous::Tensor;
use serde_json::Value;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// One operator entry.
pub struct Entry {
    /// The name of its files.
    pub name: String,
    /// PyTorch's name of the operator.
    pub op: String,
    /// Which of several entries of that operator this is; often empty.
    pub variant: String,
    pub rtol: f64,
    pub atol: f64,
    pub samples: Vec<Sample>,
}

/// One call with what came out of it in PyTorch.
pub struct Sample {
    pub args: Vec<Value>,
    pub kwargs: BTreeMap<String, Value>,
    /// The tensors that arguments name as `"$k"`.
    pub inputs: BTreeMap<usize, Tensor>,
    pub outputs: Vec<Tensor>,
    /// The weights of the outputs in the loss, for those that have one.
    pub seeds: BTreeMap<usize, Tensor>,
    /// The gradients of the loss, for the inputs that have one.
    pub gradients: BTreeMap<usize, Tensor>,
}

/// All entries, by name; of one that cannot be read, its name and why.
pub fn read(path: &Path) -> Result<Vec<std::result::Result<Entry, (String, String)>>> {
    let files = if path.is_dir() { folder(path)? } else { tarball(path)? };
    let entry = |(file, json): (&String, &Vec<u8>)| {
        let name = file.strip_suffix(".json")?;
        let arrays = files.get(&format!("{name}.npz"));
        Some(entry(name, json, arrays.map_or(&[][..], Vec::as_slice)).map_err(|e| (name.to_owned(), e.to_string())))
    };
    Ok(files.iter().filter_map(entry).collect())
}

fn folder(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for file in std::fs::read_dir(path)? {
        let file = file?.path();
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if file.is_dir() {
            files.extend(folder(&file)?);
        } else if name.ends_with(".tar.gz") {
            files.extend(tarball(&file)?);
        } else {
            files.insert(name, std::fs::read(&file)?);
        }
    }
    Ok(files)
}

fn tarball(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for file in tar::Archive::new(flate2::read::GzDecoder::new(File::open(path)?)).entries()? {
        let mut file = file?;
        let Some(name) = file.path()?.file_name().map(|n| n.to_string_lossy().into_owned()) else { continue };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        files.insert(name, bytes);
    }
    Ok(files)
}

fn entry(name: &str, json: &[u8], npz: &[u8]) -> Result<Entry> {
    let json: Value = serde_json::from_str(&with_quoted_numbers(std::str::from_utf8(json)?))?;
    let mut arrays = BTreeMap::new();
    if !npz.is_empty() {
        let mut zip = zip::ZipArchive::new(Cursor::new(npz))?;
        for i in 0..zip.len() {
            let mut file = zip.by_index(i)?;
            let key = file.name()?.trim_end_matches(".npy").to_owned();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            arrays.insert(key.clone(), tensor(&bytes).map_err(|e| format!("{key}: {e}"))?);
        }
    }
    let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| json[key].as_f64().ok_or_else(|| format!("`{key}` is no number"));
    let samples = json["samples"].as_array().ok_or("there are no samples")?.iter().enumerate();
    Ok(Entry {
        name: name.to_owned(),
        op: text("op"),
        variant: text("variant"),
        rtol: number("rtol")?,
        atol: number("atol")?,
        samples: samples.map(|(s, sample)| read_sample(s, sample, &arrays)).collect::<Result<_>>()?,
    })
}

/// Python writes numbers that JSON does not have: they become texts.
fn with_quoted_numbers(json: &str) -> String {
    let (mut result, mut in_text, mut escaped) = (String::new(), false, false);
    let mut rest = json;
    while let Some(c) = rest.chars().next() {
        let special = [("-Infinity", "\"-inf\""), ("Infinity", "\"inf\""), ("NaN", "\"nan\"")];
        if let (false, Some((name, text))) = (in_text, special.iter().find(|(name, _)| rest.starts_with(name))) {
            result.push_str(text);
            rest = &rest[name.len()..];
            continue;
        }
        in_text ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        result.push(c);
        rest = &rest[c.len_utf8()..];
    }
    result
}

fn read_sample(s: usize, sample: &Value, arrays: &BTreeMap<String, Tensor>) -> Result<Sample> {
    let numbered = |kind: &str| -> BTreeMap<usize, Tensor> {
        let prefix = format!("s{s}_{kind}");
        let number = |(key, tensor): (&String, &Tensor)| Some((key.strip_prefix(&prefix)?.parse().ok()?, tensor.clone()));
        arrays.iter().filter_map(number).collect()
    };
    let outputs = numbered("out");
    let count = sample["outputs"].as_u64().ok_or("a sample does not say how many outputs it has")?;
    if outputs.keys().copied().ne(0..count as usize) {
        return Err(format!("sample {s} has not the arrays of its {count} outputs").into());
    }
    Ok(Sample {
        args: sample["args"].as_array().cloned().unwrap_or_default(),
        kwargs: sample["kwargs"].as_object().map(|o| o.iter().map(|(k, v)| (k.clone(), v.clone())).collect()).unwrap_or_default(),
        inputs: numbered("in"),
        outputs: outputs.into_values().collect(),
        seeds: numbered("seed"),
        gradients: numbered("grad"),
    })
}

/// An `.npy` file as a tensor of its own element type.
fn tensor(bytes: &[u8]) -> Result<Tensor> {
    let npy = npyz::NpyFile::new(bytes)?;
    let mut shape: Vec<i64> = npy.shape().iter().map(|&n| n as i64).collect();
    // Columns first is row-major with the axes in reverse order.
    let reversed = npy.order() == npyz::Order::Fortran;
    if reversed {
        shape.reverse();
    }
    let dtype = npy.dtype().descr();
    let shape = shape.as_slice();
    let tensor = match dtype.trim_matches(|c| "'<|=".contains(c)) {
        "f4" => Tensor::from_vec(npy.into_vec::<f32>()?, shape),
        "f8" => Tensor::from_vec(npy.into_vec::<f64>()?, shape),
        "i8" => Tensor::from_vec(npy.into_vec::<i64>()?, shape),
        "i4" => Tensor::from_vec(npy.into_vec::<i32>()?, shape),
        "u1" => Tensor::from_vec(npy.into_vec::<u8>()?, shape),
        "b1" => Tensor::from_vec(npy.into_vec::<bool>()?, shape),
        other => return Err(format!("arrays of type {other} are not read").into()),
    };
    let order: Vec<i64> = (0..shape.len() as i64).rev().collect();
    let tensor = if reversed { tensor.permute(&order).duplicate() } else { tensor };
    tensor.check()?;
    Ok(tensor)
}
