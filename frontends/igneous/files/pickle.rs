//! A reader of Python's pickles that knows tensors and plain containers only. It runs nothing: what a pickle asks Python to
//! import is looked up in a short list, and anything else is an error that names it.
//!
//! The format: <https://docs.python.org/3/library/pickletools.html>. Protocols 2 to 5 are read.

use super::elements::Kind;
use igneous_ir::{DType, Error, Result};

/// A reference to an object.
pub(super) type Ref = usize;

/// An object of a pickle. Containers refer to others, so that one that is changed later is changed for all.
#[derive(Clone, Debug)]
pub(super) enum Object {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Ref>),
    Tuple(Vec<Ref>),
    Dict(Vec<(Ref, Ref)>),
    /// Something imported, from the short list.
    Global(Global),
    /// The elements that tensors share.
    Storage(Storage),
    Tensor(View),
}

impl Object {
    /// How many others it refers to.
    pub(super) fn references(&self) -> usize {
        match self {
            Object::List(items) | Object::Tuple(items) => items.len(),
            Object::Dict(entries) => 2 * entries.len(),
            _ => 0,
        }
    }
}

/// What a pickle may import.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Global {
    OrderedDict,
    Set,
    RebuildTensor,
    RebuildParameter,
    /// `torch.FloatStorage` and others.
    Storage(Kind),
    /// `torch.Size`: a tuple.
    Size,
    /// `torch.device`: a text.
    Device,
    /// `_codecs.encode`, by which protocol 2 writes bytes.
    Encode,
    /// An element type, as a text.
    Name(&'static str),
}

/// Elements in a file, by their key.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub kind: Kind,
    pub key: String,
    /// How many elements there are.
    pub length: usize,
    /// Where they begin in the elements of the key; old files share storages so.
    pub start: usize,
}

/// A tensor: some elements of a storage.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub storage: Storage,
    pub offset: usize,
    pub sizes: Vec<usize>,
    pub strides: Vec<usize>,
}

/// Objects, and which of them the pickle is.
pub(super) struct Pickle {
    pub objects: Vec<Object>,
    pub root: Ref,
}

/// Reads one pickle from the front of `bytes`; also how long it is.
///
/// # Errors
/// If it is damaged, or asks for something that is not known.
pub(super) fn read(bytes: &[u8]) -> Result<(Pickle, usize)> {
    let mut machine = Machine { bytes, at: 0, objects: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: Vec::new() };
    let root = machine.run()?;
    Ok((Pickle { objects: machine.objects, root }, machine.at))
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    objects: Vec<Object>,
    stack: Vec<Ref>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: Vec<Option<Ref>>,
}

fn damaged(what: &str) -> Error {
    Error::new(format!("the pickle is damaged: {what}"))
}

impl<'a> Machine<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| damaged("it ends too early"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("so many were taken"))
    }

    /// A length of so many bytes.
    fn length(&mut self, width: usize) -> Result<usize> {
        let mut wide = [0; 8];
        wide[..width].copy_from_slice(self.take(width)?);
        usize::try_from(u64::from_le_bytes(wide)).map_err(|_| damaged("a length is too large"))
    }

    fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&b| b == b'\n').ok_or_else(|| damaged("a line does not end"))?;
        let line = self.take(length + 1)?;
        std::str::from_utf8(&line[..length]).map_err(|_| damaged("a name is no text"))
    }

    fn push(&mut self, object: Object) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<Ref> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(damaged("it takes more than there is"));
        }
        Ok(self.stack.pop().expect("the stack is higher than its floor"))
    }

    fn top(&self) -> Result<Ref> {
        self.stack.last().copied().ok_or_else(|| damaged("it takes more than there is"))
    }

    /// Everything down to the last mark.
    fn marked(&mut self) -> Result<Vec<Ref>> {
        let height = self.marks.pop().ok_or_else(|| damaged("a mark is missing"))?;
        Ok(self.stack.split_off(height.min(self.stack.len())))
    }

    fn text(&mut self, width: usize) -> Result<()> {
        let length = self.length(width)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| damaged("a text is not UTF-8"))?;
        self.push(Object::Text(text.to_owned()));
        Ok(())
    }

    fn data(&mut self, width: usize) -> Result<()> {
        let length = self.length(width)?;
        let data = self.take(length)?.to_vec();
        self.push(Object::Bytes(data));
        Ok(())
    }

    /// An integer of any length, in two's complement.
    fn long(&mut self, width: usize) -> Result<()> {
        let length = self.length(width)?;
        let bytes = self.take(length)?;
        if length > 16 {
            return Err(Error::new("the pickle has an integer of more than 128 bits"));
        }
        let fill = if bytes.last().is_some_and(|&b| b >= 0x80) { 0xff } else { 0 };
        let mut wide = [fill; 16];
        wide[..length].copy_from_slice(bytes);
        self.push(Object::Int(i128::from_le_bytes(wide)));
        Ok(())
    }

    fn remember(&mut self, place: usize) -> Result<()> {
        // A memo names objects that were made: it cannot have many more places than bytes.
        if place > self.bytes.len() {
            return Err(damaged("a place in its memo is too large"));
        }
        if self.memo.len() <= place {
            self.memo.resize(place + 1, None);
        }
        self.memo[place] = Some(self.top()?);
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<()> {
        let object = self.memo.get(place).copied().flatten().ok_or_else(|| damaged("it recalls what it has not remembered"))?;
        self.stack.push(object);
        Ok(())
    }

    fn list(&mut self, list: Ref) -> Result<&mut Vec<Ref>> {
        match &mut self.objects[list] {
            Object::List(items) => Ok(items),
            _ => Err(damaged("it appends to what is no list")),
        }
    }

    fn set_items(&mut self, dict: Ref, items: &[Ref]) -> Result<()> {
        let (pairs, []) = items.as_chunks::<2>() else { return Err(damaged("a key has no value")) };
        match &mut self.objects[dict] {
            Object::Dict(entries) => {
                entries.extend(pairs.iter().map(|&[key, value]| (key, value)));
                Ok(())
            }
            _ => Err(damaged("it sets an entry of what is no dictionary")),
        }
    }

    fn run(&mut self) -> Result<Ref> {
        loop {
            let [code] = self.array()?;
            match code {
                0x80 => {
                    let [protocol] = self.array()?;
                    if !(2..=5).contains(&protocol) {
                        return Err(Error::new(format!("the pickle has protocol {protocol}; 2 to 5 are read")));
                    }
                }
                0x95 => drop(self.take(8)?),
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.marked()?),
                b'2' => {
                    let top = self.top()?;
                    self.stack.push(top);
                }
                b'N' => self.push(Object::None),
                0x88 => self.push(Object::Bool(true)),
                0x89 => self.push(Object::Bool(false)),
                b'J' => {
                    let int = i32::from_le_bytes(self.array()?);
                    self.push(Object::Int(int.into()));
                }
                b'K' => {
                    let int = self.length(1)?;
                    self.push(Object::Int(int as i128));
                }
                b'M' => {
                    let int = self.length(2)?;
                    self.push(Object::Int(int as i128));
                }
                0x8a => self.long(1)?,
                0x8b => self.long(4)?,
                b'G' => {
                    let float = f64::from_be_bytes(self.array()?);
                    self.push(Object::Float(float));
                }
                b'X' => self.text(4)?,
                0x8c => self.text(1)?,
                0x8d => self.text(8)?,
                b'U' => self.text(1)?,
                b'T' => self.text(4)?,
                b'B' => self.data(4)?,
                b'C' => self.data(1)?,
                0x8e | 0x96 => self.data(8)?,
                b')' => self.push(Object::Tuple(Vec::new())),
                b'}' => self.push(Object::Dict(Vec::new())),
                b']' | 0x8f => self.push(Object::List(Vec::new())),
                b't' => {
                    let items = self.marked()?;
                    self.push(Object::Tuple(items));
                }
                b'l' | 0x91 => {
                    let items = self.marked()?;
                    self.push(Object::List(items));
                }
                b'd' => {
                    let items = self.marked()?;
                    self.push(Object::Dict(Vec::new()));
                    let dict = self.top()?;
                    self.set_items(dict, &items)?;
                }
                0x85..=0x87 => {
                    let mut items = (0x85..=code).map(|_| self.pop()).collect::<Result<Vec<Ref>>>()?;
                    items.reverse();
                    self.push(Object::Tuple(items));
                }
                b'a' => {
                    let item = self.pop()?;
                    let list = self.top()?;
                    self.list(list)?.push(item);
                }
                b'e' | 0x90 => {
                    let items = self.marked()?;
                    let list = self.top()?;
                    self.list(list)?.extend(items);
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    let dict = self.top()?;
                    self.set_items(dict, &[key, value])?;
                }
                b'u' => {
                    let items = self.marked()?;
                    let dict = self.top()?;
                    self.set_items(dict, &items)?;
                }
                b'q' => {
                    let place = self.length(1)?;
                    self.remember(place)?;
                }
                b'r' => {
                    let place = self.length(4)?;
                    self.remember(place)?;
                }
                0x94 => {
                    let place = self.memo.len();
                    self.remember(place)?;
                }
                b'h' => {
                    let place = self.length(1)?;
                    self.recall(place)?;
                }
                b'j' => {
                    let place = self.length(4)?;
                    self.recall(place)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Object::Global(global(module, name)?));
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    match (&self.objects[module], &self.objects[name]) {
                        (Object::Text(module), Object::Text(name)) => {
                            let found = global(module, name)?;
                            self.push(Object::Global(found));
                        }
                        _ => return Err(damaged("a global has no name")),
                    }
                }
                b'R' | 0x81 => {
                    let (arguments, callee) = (self.pop()?, self.pop()?);
                    let made = self.call(callee, arguments)?;
                    self.push(made);
                }
                b'b' => {
                    // Attributes of a dictionary, such as the versions of a state dict.
                    let _attributes = self.pop()?;
                    let object = self.top()?;
                    if !matches!(self.objects[object], Object::Dict(_)) {
                        return Err(Error::new("the pickle sets attributes of what is no dictionary"));
                    }
                }
                b'Q' => {
                    let id = self.pop()?;
                    let storage = self.persistent(id)?;
                    self.push(Object::Storage(storage));
                }
                other => return Err(Error::new(format!("the pickle has an instruction that is not known, {other:#04x}"))),
            }
        }
    }

    /// What a global makes of arguments.
    fn call(&self, callee: Ref, arguments: Ref) -> Result<Object> {
        let (Object::Global(callee), Object::Tuple(arguments)) = (&self.objects[callee], &self.objects[arguments]) else {
            return Err(Error::new("the pickle calls what is no global"));
        };
        match (callee, &arguments[..]) {
            (Global::OrderedDict, []) => Ok(Object::Dict(Vec::new())),
            (Global::OrderedDict, [items]) => self.pairs(*items),
            (Global::Set, []) => Ok(Object::List(Vec::new())),
            (Global::Set, [items]) => Ok(self.objects[*items].clone()),
            (Global::Size, [items]) => Ok(self.objects[*items].clone()),
            (Global::Device, [kind, ..]) => Ok(self.objects[*kind].clone()),
            (Global::Encode, [text, ..]) => match &self.objects[*text] {
                // Latin-1: a character is a byte.
                Object::Text(text) => {
                    let bytes = text.chars().map(|c| u8::try_from(u32::from(c)).map_err(|_| damaged("bytes are no bytes")));
                    Ok(Object::Bytes(bytes.collect::<Result<_>>()?))
                }
                _ => Err(damaged("bytes are no text")),
            },
            (Global::RebuildTensor, [storage, offset, sizes, strides, ..]) => self.tensor(*storage, *offset, *sizes, *strides),
            (Global::RebuildParameter, [tensor, ..]) => Ok(self.objects[*tensor].clone()),
            (callee, arguments) => Err(Error::new(format!("the pickle calls {callee:?} with {} arguments", arguments.len()))),
        }
    }

    /// A dictionary of a list of pairs.
    fn pairs(&self, items: Ref) -> Result<Object> {
        let Object::List(items) = &self.objects[items] else { return Err(damaged("a dictionary is made of no list")) };
        let pair = |item: &Ref| match &self.objects[*item] {
            Object::Tuple(pair) | Object::List(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
            _ => Err(damaged("a dictionary is made of what are no pairs")),
        };
        Ok(Object::Dict(items.iter().map(pair).collect::<Result<_>>()?))
    }

    fn size(&self, object: Ref) -> Result<usize> {
        match &self.objects[object] {
            Object::Int(int) => usize::try_from(*int).map_err(|_| damaged("an extent is negative or too large")),
            _ => Err(damaged("an extent is no integer")),
        }
    }

    fn sizes(&self, object: Ref) -> Result<Vec<usize>> {
        match &self.objects[object] {
            Object::Tuple(items) | Object::List(items) => items.iter().map(|&item| self.size(item)).collect(),
            _ => Err(damaged("a shape is no tuple")),
        }
    }

    fn tensor(&self, storage: Ref, offset: Ref, sizes: Ref, strides: Ref) -> Result<Object> {
        let Object::Storage(storage) = &self.objects[storage] else { return Err(damaged("a tensor has no storage")) };
        let (offset, sizes, strides) = (self.size(offset)?, self.sizes(sizes)?, self.sizes(strides)?);
        if sizes.len() != strides.len() {
            return Err(damaged("a tensor has a stride too few or too many"));
        }
        Ok(Object::Tensor(View { storage: storage.clone(), offset, sizes, strides }))
    }

    /// A storage: `('storage', type, key, device, length)`, in old files with a view of another one behind.
    fn persistent(&self, id: Ref) -> Result<Storage> {
        let Object::Tuple(id) = &self.objects[id] else { return Err(damaged("a storage has no name")) };
        let [tag, kind, key, _device, length, view @ ..] = &id[..] else { return Err(damaged("a storage lacks something")) };
        let text = |object: Ref| match &self.objects[object] {
            Object::Text(text) => Ok(text.clone()),
            _ => Err(damaged("a storage has no name")),
        };
        let Object::Global(Global::Storage(kind)) = self.objects[*kind] else {
            return Err(damaged("a storage has no element type"));
        };
        if text(*tag)? != "storage" {
            return Err(damaged("what should be a storage is something else"));
        }
        let mut storage = Storage { kind, key: text(*key)?, length: self.size(*length)?, start: 0 };
        if let [view] = view
            && let Object::Tuple(view) = &self.objects[*view]
        {
            let [_key, start, length] = &view[..] else { return Err(damaged("a view of a storage lacks something")) };
            (storage.start, storage.length) = (self.size(*start)?, self.size(*length)?);
        }
        Ok(storage)
    }
}

/// Looks up what a pickle imports.
fn global(module: &str, name: &str) -> Result<Global> {
    let kind = |name: &str| {
        Some(match name {
            "DoubleStorage" => Kind::Same(DType::F64),
            "FloatStorage" => Kind::Same(DType::F32),
            "HalfStorage" => Kind::Same(DType::F16),
            "BFloat16Storage" => Kind::Same(DType::BF16),
            "LongStorage" => Kind::Same(DType::I64),
            "IntStorage" => Kind::Same(DType::I32),
            "ShortStorage" => Kind::I16,
            "CharStorage" => Kind::Same(DType::I8),
            "ByteStorage" | "UntypedStorage" => Kind::Same(DType::U8),
            "BoolStorage" => Kind::Same(DType::Bool),
            _ => return None,
        })
    };
    const DTYPES: [&str; 12] = [
        "torch.float64",
        "torch.float32",
        "torch.float16",
        "torch.bfloat16",
        "torch.int64",
        "torch.int32",
        "torch.int16",
        "torch.int8",
        "torch.uint8",
        "torch.bool",
        "torch.complex64",
        "torch.complex128",
    ];
    let full = format!("{module}.{name}");
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("builtins" | "__builtin__", "set" | "frozenset") => Global::Set,
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch", "Size") => Global::Size,
        ("torch", "device") => Global::Device,
        ("_codecs", "encode") => Global::Encode,
        ("torch" | "torch.storage", storage) if kind(storage).is_some() => {
            Global::Storage(kind(storage).expect("it was looked up"))
        }
        _ => match DTYPES.iter().find(|dtype| **dtype == full) {
            Some(dtype) => Global::Name(dtype),
            None => {
                let error = Error::new(format!("the pickle asks for `{full}`, which is neither a tensor nor a plain container"));
                return Err(error.note("remedy", "save only a state dict: `torch.save(model.state_dict(), path)`"));
            }
        },
    })
}
