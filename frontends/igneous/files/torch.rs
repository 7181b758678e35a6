//! Files that `torch.save` wrote: zip archives, and the streams of before version 1.6.

use super::elements::Endian;
use super::pickle::{self, Global, Object, Pickle, Ref, View};
use super::value::Value;
use super::{cannot_read, read};
use crate::location::{called_from, here};
use crate::tensor::Tensor;
use igneous_ir::{Error, Result};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;
use zip::ZipArchive;

/// Reads a file that PyTorch's `torch.save` wrote, zip archive or older stream: tensors and plain containers. Integers of 8 and
/// 16 bits become `i32`.
///
/// # Errors
/// If the file is missing, damaged, or holds something else, such as a whole model or what would run code: the message names
/// the file and what was asked for.
#[track_caller]
pub fn load_torch(path: impl AsRef<Path>) -> Result<Value> {
    let (loc, path) = (here(), path.as_ref());
    called_from(loc, || read(path).and_then(|bytes| read_torch(&bytes).map_err(|e| cannot_read(path, e)))).map_err(|e| e.at(loc))
}

/// Reads the bytes of such a file.
pub(crate) fn read_torch(bytes: &[u8]) -> Result<Value> {
    if bytes.starts_with(b"PK") { read_archive(bytes) } else { read_stream(bytes) }
}

/// Whether an archive is one of PyTorch.
pub(super) fn is_archive(bytes: &[u8]) -> bool {
    let names = ZipArchive::new(Cursor::new(bytes)).map_err(Error::other).and_then(|archive| names(&archive));
    names.is_ok_and(|names| names.iter().any(|name| name.ends_with("data.pkl")))
}

/// An entry of an archive.
pub(super) fn entry(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<Vec<u8>> {
    let named = |e: &dyn std::fmt::Display| Error::other(e).context(format_args!("entry `{name}`"));
    let entry = archive.by_name(name).map_err(|e| named(&e))?;
    let size = entry.size();
    let mut bytes = Vec::new();
    // The size that the archive tells may be wrong; one byte more shows it.
    entry.take(size.saturating_add(1)).read_to_end(&mut bytes).map_err(|e| named(&e))?;
    match bytes.len() as u64 == size {
        true => Ok(bytes),
        false => Err(named(&"its size is not what the archive says")),
    }
}

/// The names in an archive.
pub(super) fn names(archive: &ZipArchive<Cursor<&[u8]>>) -> Result<Vec<String>> {
    archive.file_names().map(|name| name.map(|n| n.into_owned()).map_err(Error::other)).collect()
}

fn read_archive(bytes: &[u8]) -> Result<Value> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(Error::other)?;
    let names = names(&archive)?;
    let main = names.iter().find(|name| name.ends_with("/data.pkl") || *name == "data.pkl");
    let main = main.ok_or_else(|| Error::new("the archive has no `data.pkl`: it is not a file of `torch.save`"))?.clone();
    let folder = main.trim_end_matches("data.pkl").to_owned();
    if names.iter().any(|name| *name == format!("{folder}constants.pkl")) {
        return Err(Error::new("the archive holds a TorchScript program, and programs are not read"));
    }
    let endian = match names.iter().any(|name| *name == format!("{folder}byteorder")) {
        true if entry(&mut archive, &format!("{folder}byteorder"))? == b"big" => Endian::Big,
        _ => Endian::Little,
    };
    let (pickle, _) = pickle::read(&entry(&mut archive, &main)?).map_err(|e| e.context(format_args!("entry `{main}`")))?;
    let mut storages = BTreeMap::new();
    for object in &pickle.objects {
        let Object::Storage(storage) = object else { continue };
        if !storages.contains_key(&storage.key) {
            let name = format!("{folder}data/{}", storage.key);
            let bytes = entry(&mut archive, &name)?;
            storages.insert(storage.key.clone(), endian.to_little(storage.kind.size(), bytes));
        }
    }
    materialize(&pickle, &storages)
}

/// A magic number, a protocol number, what machine wrote it, the value, the keys of storages, and these one after the other.
fn read_stream(bytes: &[u8]) -> Result<Value> {
    const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
    let mut at = 0;
    let mut next = || {
        let (pickle, length) = pickle::read(&bytes[at..])?;
        at += length;
        Ok::<_, Error>((pickle, at))
    };
    let foreign = |_: Error| Error::new("the file is neither an archive nor a stream of `torch.save`");
    let (magic, _) = next().map_err(foreign)?;
    if !matches!(magic.objects[magic.root], Object::Int(MAGIC)) {
        return Err(foreign(Error::new("")));
    }
    let (_protocol, _) = next()?;
    let (machine, _) = next()?;
    let (pickle, _) = next()?;
    let (keys, mut at) = next()?;
    let endian = if little(&machine) { Endian::Little } else { Endian::Big };
    let mut storages = BTreeMap::new();
    let Object::List(list) = &keys.objects[keys.root] else { return Err(Error::new("the stream has no list of storages")) };
    for &key in list {
        let Object::Text(key) = &keys.objects[key] else { return Err(Error::new("the stream has a storage without a key")) };
        let damaged = || Error::new(format!("the stream ends in storage {key}"));
        let of = |object: &Object| match object {
            Object::Storage(storage) if storage.key == *key => Some(storage.kind),
            _ => None,
        };
        let kind = pickle.objects.iter().find_map(of).ok_or_else(|| Error::new(format!("no tensor has storage {key}")))?;
        let count: [u8; 8] = bytes.get(at..at.saturating_add(8)).and_then(|b| b.try_into().ok()).ok_or_else(damaged)?;
        let count = if endian == Endian::Big { u64::from_be_bytes(count) } else { u64::from_le_bytes(count) };
        let length = usize::try_from(count).ok().and_then(|n| n.checked_mul(kind.size())).ok_or_else(damaged)?;
        let end = (at + 8).checked_add(length).ok_or_else(damaged)?;
        let elements = bytes.get(at + 8..end).ok_or_else(damaged)?;
        storages.insert(key.clone(), endian.to_little(kind.size(), elements.to_vec()));
        at = end;
    }
    materialize(&pickle, &storages)
}

/// Whether the machine that wrote a stream had the least significant byte first.
fn little(machine: &Pickle) -> bool {
    let Object::Dict(entries) = &machine.objects[machine.root] else { return true };
    let is = |object: Ref, text: &str| matches!(&machine.objects[object], Object::Text(own) if own == text);
    !entries.iter().any(|&(key, value)| is(key, "little_endian") && matches!(machine.objects[value], Object::Bool(false)))
}

/// The value of a pickle whose storages are there.
fn materialize(pickle: &Pickle, storages: &BTreeMap<String, Vec<u8>>) -> Result<Value> {
    let references: usize = pickle.objects.iter().map(Object::references).sum();
    value(pickle, pickle.root, storages, 0, &mut (SHARED * references + 1))
}

/// How many times over, on average, a container may be part of others: a value of ours holds its own copy of each.
const SHARED: usize = 16;

/// `left` is how many values may still be made.
fn value(pickle: &Pickle, object: Ref, storages: &BTreeMap<String, Vec<u8>>, depth: usize, left: &mut usize) -> Result<Value> {
    // Also what contains itself ends here.
    const DEEPEST: usize = 100;
    if depth > DEEPEST {
        return Err(Error::new(format!("containers of the file lie more than {DEEPEST} deep in each other")));
    }
    let Some(fewer) = left.checked_sub(1) else {
        return Err(Error::new(format!("containers of the file are more than {SHARED} times part of others")));
    };
    *left = fewer;
    let mut inner = |object: &Ref| value(pickle, *object, storages, depth + 1, left);
    Ok(match &pickle.objects[object] {
        Object::None => Value::None,
        Object::Bool(b) => Value::Bool(*b),
        Object::Int(int) => match i64::try_from(*int) {
            Ok(int) => Value::Int(int),
            Err(_) => return Err(Error::new("the file has an integer of more than 64 bits")),
        },
        Object::Float(float) => Value::Float(*float),
        Object::Text(text) => Value::Text(text.clone()),
        Object::Bytes(bytes) => Value::Bytes(bytes.clone()),
        Object::Global(Global::Name(name)) => Value::Text((*name).to_owned()),
        Object::Global(other) => return Err(Error::new(format!("the file has {other:?} as a value"))),
        Object::List(items) => Value::List(items.iter().map(&mut inner).collect::<Result<_>>()?),
        Object::Tuple(items) => Value::Tuple(items.iter().map(&mut inner).collect::<Result<_>>()?),
        Object::Dict(entries) => {
            let mut made = Vec::with_capacity(entries.len());
            for (key, entry) in entries {
                let key = inner(key)?;
                let named = |e: Error| match &key {
                    Value::Text(text) => e.context(format_args!("entry `{text}`")),
                    _ => e,
                };
                let entry = inner(entry).map_err(named)?;
                made.push((key, entry));
            }
            Value::Dict(made)
        }
        Object::Storage(storage) => {
            let (sizes, strides) = (vec![storage.length], vec![1]);
            Value::Tensor(tensor(&View { storage: storage.clone(), offset: 0, sizes, strides }, storages)?)
        }
        Object::Tensor(view) => Value::Tensor(tensor(view, storages)?),
    })
}

/// The bytes of a tensor that has more than twice the elements of its storage.
const LARGEST_EXPANDED: usize = 1 << 30;

/// The elements of a view, row-major.
fn tensor(view: &View, storages: &BTreeMap<String, Vec<u8>>) -> Result<Tensor> {
    let View { storage, offset, sizes, strides } = view;
    let key = &storage.key;
    let stored = storages.get(key).ok_or_else(|| Error::new(format!("storage {key} is missing")))?;
    let size = storage.kind.size();
    let outside = || {
        let held = stored.len() / size;
        let error = Error::new(format!("a tensor reaches beyond storage {key}, which has {held} elements"));
        error.note("shape", format_args!("{sizes:?}")).note("strides", format_args!("{strides:?}")).note("offset", offset)
    };
    let from = storage.start.checked_mul(size).ok_or_else(outside)?;
    let bytes = stored.get(from..).ok_or_else(outside)?;
    let count = sizes.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent)).ok_or_else(outside)?;
    if count == 0 {
        return storage.kind.tensor(sizes, &[]);
    }
    let reach = sizes
        .iter()
        .zip(strides)
        .try_fold(*offset, |at, (&extent, &stride)| (extent - 1).checked_mul(stride).and_then(|way| at.checked_add(way)));
    let reach = reach.and_then(|last| last.checked_add(1)?.checked_mul(size)).ok_or_else(outside)?;
    if reach > bytes.len() {
        return Err(outside());
    }
    let mut packed = 1;
    let contiguous = sizes.iter().zip(strides).rev().all(|(&extent, &stride)| {
        let fits = extent == 1 || stride == packed;
        packed *= extent;
        fits
    });
    if contiguous {
        return storage.kind.tensor(sizes, &bytes[offset * size..(offset + count) * size]);
    }
    // An expanded tensor may have far more elements than its storage.
    let mut elements = Vec::new();
    let length = count.checked_mul(size).ok_or_else(outside)?;
    if length > LARGEST_EXPANDED && length / 2 > stored.len() {
        let error = Error::new(format!("a tensor repeats elements to more than {LARGEST_EXPANDED} bytes"));
        return Err(error.note("shape", format_args!("{sizes:?}")).note("strides", format_args!("{strides:?}")));
    }
    elements.try_reserve_exact(length).map_err(Error::other)?;
    let mut index = vec![0; sizes.len()];
    for _ in 0..count {
        let place: usize = index.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>() + offset;
        elements.extend_from_slice(&bytes[place * size..(place + 1) * size]);
        for (i, &extent) in index.iter_mut().zip(sizes).rev() {
            *i += 1;
            if *i < extent {
                break;
            }
            *i = 0;
        }
    }
    storage.kind.tensor(sizes, &elements)
}
