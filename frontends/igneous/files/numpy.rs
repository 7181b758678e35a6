//! Numpy's arrays: `.npy`, and archives of them, `.npz`.

use super::elements::{Endian, Kind};
use super::torch::{entry, names};
use super::{cannot_read, read, write};
use crate::location::{called_from, here};
use crate::tensor::Tensor;
use igneous_ir::{DType, Error, Result};
use std::io::{Cursor, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Reads a `.npy` file (`numpy.load`). Integers of 16 bits become `i32`, unsigned ones of 32 bits `i64`.
///
/// # Errors
/// If the file is missing or damaged, or holds no numbers; the message names it.
#[track_caller]
pub fn load_npy(path: impl AsRef<Path>) -> Result<Tensor> {
    let (loc, path) = (here(), path.as_ref());
    called_from(loc, || read(path).and_then(|bytes| parse(&bytes).map_err(|e| cannot_read(path, e)))).map_err(|e| e.at(loc))
}

impl Tensor {
    /// Writes a `.npy` file (`numpy.save`). The file is complete or as it was.
    ///
    /// # Errors
    /// If the tensor is invalid, traced, or of type `bf16`, which numpy does not have, or the file cannot be written.
    #[track_caller]
    pub fn save_npy(&self, path: impl AsRef<Path>) -> Result<()> {
        let loc = here();
        format(self).and_then(|bytes| write(path.as_ref(), &bytes)).map_err(|e| e.at(loc))
    }
}

/// Names and arrays of an archive.
pub(crate) fn entries_of_npz(bytes: &[u8]) -> Result<Vec<(String, Tensor)>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(Error::other)?;
    let mut entries = Vec::new();
    for name in names(&archive)? {
        let array = parse(&entry(&mut archive, &name)?).map_err(|e| e.context(format_args!("entry `{name}`")))?;
        entries.push((name.strip_suffix(".npy").unwrap_or(&name).to_owned(), array));
    }
    Ok(entries)
}

/// Writes an archive.
pub(crate) fn write_npz<'t>(path: &Path, entries: impl Iterator<Item = (&'t str, &'t Tensor)>) -> Result<()> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    for (name, tensor) in entries {
        let bytes = format(tensor).map_err(|e| e.context(format_args!("entry `{name}`")))?;
        archive.start_file(format!("{name}.npy"), options).map_err(Error::other)?;
        archive.write_all(&bytes).map_err(Error::other)?;
    }
    write(path, archive.finish().map_err(Error::other)?.get_ref())
}

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The value of a key in a header, which is the text of a Python dictionary.
fn field<'h>(header: &'h str, key: &str) -> Result<&'h str> {
    let missing = || Error::new(format!("the header of the array has no `{key}`")).note("header", header.trim());
    let after = header.split_once(&format!("'{key}':")).ok_or_else(missing)?.1.trim_start();
    let end = match after.chars().next() {
        Some('(') => after.find(')').map(|at| at + 1),
        Some('[') => after.find(']').map(|at| at + 1),
        _ => after.find([',', '}']),
    };
    Ok(&after[..end.ok_or_else(missing)?])
}

fn kind_of(descr: &str) -> Result<(Kind, Endian)> {
    let unknown = || Error::new(format!("the array has elements of type {descr}, which is not supported"));
    let text = descr.trim_matches('\'');
    let (order, kind) = text.split_at_checked(1).ok_or_else(unknown)?;
    let endian = match order {
        "<" | "|" | "=" => Endian::Little,
        ">" => Endian::Big,
        _ => return Err(unknown()),
    };
    let kind = match kind {
        "f8" => Kind::Same(DType::F64),
        "f4" => Kind::Same(DType::F32),
        "f2" => Kind::Same(DType::F16),
        "i8" => Kind::Same(DType::I64),
        "i4" => Kind::Same(DType::I32),
        "i2" => Kind::I16,
        "i1" => Kind::Same(DType::I8),
        "u1" => Kind::Same(DType::U8),
        "u2" => Kind::U16,
        "u4" => Kind::U32,
        "b1" => Kind::Same(DType::Bool),
        _ => return Err(unknown()),
    };
    Ok((kind, endian))
}

fn parse(bytes: &[u8]) -> Result<Tensor> {
    let damaged = |what: &str| Error::new(format!("the array is damaged: {what}"));
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| damaged("it does not begin as an array does"))?;
    let short = || damaged("it ends in its header");
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let (length, rest) = match version[0] {
        1 => rest.split_first_chunk::<2>().map(|(n, rest)| (u32::from(u16::from_le_bytes(*n)), rest)),
        2 | 3 => rest.split_first_chunk::<4>().map(|(n, rest)| (u32::from_le_bytes(*n), rest)),
        other => return Err(damaged(&format!("it has version {other}"))),
    }
    .ok_or_else(short)?;
    let (header, data) = rest.split_at_checked(length as usize).ok_or_else(short)?;
    let header = std::str::from_utf8(header).map_err(|_| damaged("its header is no text"))?;
    let (kind, endian) = kind_of(field(header, "descr")?)?;
    let shape = field(header, "shape")?.trim_matches(['(', ')']);
    let extents = shape.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    let extents = extents.map(|extent| extent.parse::<usize>().map_err(|_| damaged("its shape is none")));
    let mut shape = extents.collect::<Result<Vec<usize>>>()?;
    let fortran = field(header, "fortran_order")? == "True";
    if fortran {
        shape.reverse();
    }
    let tensor = kind.tensor(&shape, &endian.to_little(kind.size(), data.to_vec()))?;
    if !fortran {
        return Ok(tensor);
    }
    let axes: Vec<i64> = (0..shape.len() as i64).rev().collect();
    let turned = tensor.permute(&axes);
    turned.check().map(|()| turned)
}

fn format(tensor: &Tensor) -> Result<Vec<u8>> {
    let ty = tensor.ty()?;
    let descr = match ty.dtype {
        DType::F64 => "<f8",
        DType::F32 => "<f4",
        DType::F16 => "<f2",
        DType::I64 => "<i8",
        DType::I32 => "<i4",
        DType::U32 => "<u4",
        DType::U8 => "|u1",
        DType::I8 => "|i1",
        DType::Bool => "|b1",
        other => return Err(Error::new(format!("numpy has no elements of type {other}")).note("tensor", tensor.describe())),
    };
    let shape: String = ty.sizes()?.iter().map(|extent| format!("{extent}, ")).collect();
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    // The elements begin at a multiple of 64 bytes.
    let before = MAGIC.len() + 2 + 4;
    let padding = 63 - (before + header.len()) % 64;
    header.extend(std::iter::repeat_n(' ', padding));
    header.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([2, 0]);
    bytes.extend(u32::try_from(header.len()).map_err(Error::other)?.to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(tensor.to_le_bytes()?);
    Ok(bytes)
}
