//! The GGUF container, versions 2 and 3, little-endian: named values, and tensors at offsets.
//!
//! Nothing is copied: strings borrow the file, arrays are a place in it. Every length is checked against the bytes that are
//! left before it is believed. The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::BTreeMap;

use super::ggml::BlockType;

/// Arrays of arrays deeper than this occur in no model and could exhaust the stack.
const DEEPEST_ARRAY: usize = 4;

/// One value of the metadata.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(&'a str),
    Array(Array<'a>),
}

/// An array: its element type, its number of elements and its checked bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Array<'a> {
    element: u32,
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The elements; the bytes were checked when the header was read.
    pub fn values(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let (element, mut reader) = (self.element, Reader { bytes: self.bytes, at: 0 });
        (0..self.count).map_while(move |_| reader.value(element, 0).ok())
    }
}

/// Where a tensor lies and what it is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TensorInfo {
    /// Sizes, rows first (the file states them the other way round).
    pub shape: Vec<usize>,
    pub block_type: BlockType,
    /// From the start of the file.
    pub offset: usize,
    pub length: usize,
}

/// A parsed header.
#[derive(Debug)]
pub(super) struct Header<'a> {
    pub values: BTreeMap<&'a str, Value<'a>>,
    pub tensors: BTreeMap<&'a str, TensorInfo>,
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        if count > self.left() {
            return Err(format!("it ends at byte {}, inside its header", self.bytes.len()));
        }
        let taken = &self.bytes[self.at..self.at + count];
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A count of things that take at least `least` bytes each.
    fn count(&mut self, what: &str, least: usize) -> Result<usize, String> {
        let stated = self.u64()?;
        let most = self.left() / least;
        usize::try_from(stated)
            .ok()
            .filter(|&count| count <= most)
            .ok_or_else(|| format!("it states {stated} {what}, but the bytes left hold at most {most}"))
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let length = self.count("bytes of text", 1)?;
        let place = self.at;
        std::str::from_utf8(self.take(length)?).map_err(|_| format!("the text at byte {place} is not UTF-8"))
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value<'a>, String> {
        Ok(match kind {
            0 => Value::Unsigned(self.array::<1>()?[0].into()),
            1 => Value::Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Unsigned(self.u32()?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array()?).into()),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => Value::Text(self.text()?),
            9 => Value::Array(self.array_value(depth)?),
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => return Err(format!("the value type {other} at byte {} is not known", self.at)),
        })
    }

    fn array_value(&mut self, depth: usize) -> Result<Array<'a>, String> {
        if depth >= DEEPEST_ARRAY {
            return Err(format!("arrays are nested more than {DEEPEST_ARRAY} deep at byte {}", self.at));
        }
        let element = self.u32()?;
        let width = match element {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => 12,
            other => return Err(format!("the array element type {other} at byte {} is not known", self.at)),
        };
        let count = self.count("array elements", width)?;
        let start = self.at;
        if matches!(element, 8 | 9) {
            for _ in 0..count {
                self.value(element, depth + 1)?;
            }
        } else {
            self.take(count * width)?;
        }
        Ok(Array { element, count, bytes: &self.bytes[start..self.at] })
    }
}

/// Reads and checks the header of a file.
///
/// # Errors
/// A sentence saying what is wrong and where.
pub(super) fn parse(bytes: &[u8]) -> Result<Header<'_>, String> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.take(4)? != b"GGUF" {
        return Err("it does not begin with the letters GGUF".to_owned());
    }
    match reader.u32()? {
        2 | 3 => {}
        version if version.swap_bytes() < 16 => {
            return Err("it is stored big-endian, which is not supported".to_owned());
        }
        version => return Err(format!("its GGUF version is {version}; 2 and 3 are supported")),
    }
    // A tensor takes at least a name length, a dimension count, one dimension, a type and an offset; a value at least a key
    // length, a type and one byte.
    let tensor_count = reader.count("tensors", 8 + 4 + 8 + 4 + 8)?;
    let value_count = reader.count("values", 8 + 4 + 1)?;
    let mut values = BTreeMap::new();
    for _ in 0..value_count {
        let key = reader.text()?;
        let kind = reader.u32()?;
        let value = reader.value(kind, 0).map_err(|e| format!("in the value of {key:.64}: {e}"))?;
        if values.insert(key, value).is_some() {
            return Err(format!("the key {key:.64} occurs twice"));
        }
    }
    let alignment = match values.get("general.alignment") {
        None => 32,
        Some(Value::Unsigned(a)) if a.is_power_of_two() && (8..=1 << 20).contains(a) => *a as usize,
        Some(other) => return Err(format!("the alignment {other:?} is not a power of two from 8 to 1048576")),
    };
    let mut stated = Vec::new();
    for _ in 0..tensor_count {
        let name = reader.text()?;
        stated.push((name, tensor(&mut reader).map_err(|e| format!("in the entry of tensor {name:.64}: {e}"))?));
    }
    let data = reader.at.next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    for (name, (shape, block_type, relative)) in stated {
        let at = format!("tensor {name:.64} at offset {relative}");
        if !relative.is_multiple_of(alignment as u64) {
            return Err(format!("{at} is not aligned to {alignment} bytes"));
        }
        let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let length = elements.and_then(|elements| block_type.bytes(elements, shape[shape.len() - 1]));
        let Some(length) = length else {
            return Err(format!("{at} of sizes {shape:?} is not a whole number of {block_type:?} blocks a row"));
        };
        let offset = usize::try_from(relative).ok().and_then(|relative| data.checked_add(relative));
        let Some(offset) = offset.filter(|o| o.checked_add(length).is_some_and(|end| end <= bytes.len())) else {
            return Err(format!("{at} of {length} bytes reaches past the end of the file at {} bytes", bytes.len()));
        };
        if tensors.insert(name, TensorInfo { shape, block_type, offset, length }).is_some() {
            return Err(format!("the tensor {name:.64} occurs twice"));
        }
    }
    check_overlap(&tensors)?;
    Ok(Header { values, tensors })
}

type Stated = (Vec<usize>, BlockType, u64);

fn tensor(reader: &mut Reader<'_>) -> Result<Stated, String> {
    let dimensions = reader.u32()?;
    if !(1..=4).contains(&dimensions) {
        return Err(format!("it has {dimensions} dimensions; 1 to 4 are possible"));
    }
    let mut shape = Vec::with_capacity(4);
    for _ in 0..dimensions {
        let size = reader.u64()?;
        shape.push(usize::try_from(size).ok().filter(|&s| s > 0).ok_or(format!("a dimension is {size}"))?);
    }
    shape.reverse();
    let number = reader.u32()?;
    let block_type = BlockType::from_number(number)
        .ok_or_else(|| format!("its type is ggml's number {number}, which is not supported"))?;
    Ok((shape, block_type, reader.u64()?))
}

fn check_overlap(tensors: &BTreeMap<&str, TensorInfo>) -> Result<(), String> {
    let mut places: Vec<_> = tensors.iter().map(|(name, info)| (info.offset, info.length, name)).collect();
    places.sort_unstable();
    for pair in places.windows(2) {
        if pair[0].0 + pair[0].1 > pair[1].0 {
            return Err(format!("the tensors {:.64} and {:.64} overlap", pair[0].2, pair[1].2));
        }
    }
    Ok(())
}
