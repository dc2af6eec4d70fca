//! NumPy's files: rows of numbers from `.npy` (format versions 1 to 3, little-endian floats, C order), arrays to `.npz`.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Rows read at most, as bytes of the file; a row of logits has at most a few megabytes.
const MOST_BYTES: u64 = 4 << 30;

/// Rows of an array of one or two dimensions; one dimension is one row.
///
/// # Errors
/// What the file is instead, in words.
pub fn rows(path: &Path) -> Result<Vec<Vec<f32>>, String> {
    let mut file = File::open(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    if size > MOST_BYTES {
        return Err(format!("{} has {size} bytes; at most {MOST_BYTES} are read", path.display()));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(&bytes).map_err(|why| format!("{} {why}", path.display()))
}

fn parse(bytes: &[u8]) -> Result<Vec<Vec<f32>>, String> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("is not a .npy file; write it with numpy.save")?;
    let cut = || "is cut short".to_owned();
    let (version, rest) = rest.split_at_checked(2).ok_or_else(cut)?;
    let wide = match version[0] {
        1 => false,
        2 | 3 => true,
        other => return Err(format!("has format version {other}; 1 to 3 are read")),
    };
    let (length, rest) = if wide {
        let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        (u32::from_le_bytes(*length) as usize, rest)
    } else {
        let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
        (usize::from(u16::from_le_bytes(*length)), rest)
    };
    let (header, data) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "has a header that is no text")?;
    let kind = text(header, "'descr':").ok_or("has a header without 'descr'")?;
    let width = match kind.trim_matches(['\'', '"']) {
        "<f2" => 2,
        "<f4" => 4,
        "<f8" => 8,
        other => return Err(format!("holds {other}; save it as float32 (array.astype('<f4'))")),
    };
    if text(header, "'fortran_order':") != Some("False") {
        return Err("is in Fortran order; save numpy.ascontiguousarray(array)".to_owned());
    }
    let (rows, columns) = shape(header)?;
    let count = rows.checked_mul(columns).and_then(|count| count.checked_mul(width));
    if count != Some(data.len()) {
        return Err(format!("has {} bytes of numbers, which are not {rows} rows of {columns}", data.len()));
    }
    if columns == 0 {
        return Ok(vec![Vec::new(); rows.min(1)]);
    }
    let number = |bytes: &[u8]| match *bytes {
        [a, b] => half::f16::from_le_bytes([a, b]).to_f32(),
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]) as f32,
        _ => f32::NAN,
    };
    Ok(data.chunks(columns * width).map(|row| row.chunks(width).map(number).collect()).collect())
}

/// What stands behind a key, up to a comma or the end of the header.
fn text<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = header.split_once(key)?;
    Some(rest.split([',', '}']).next().unwrap_or(rest).trim())
}

fn shape(header: &str) -> Result<(usize, usize), String> {
    let inside = header
        .split_once("'shape':")
        .and_then(|(_, rest)| rest.trim_start().strip_prefix('('))
        .and_then(|rest| rest.split_once(')'))
        .ok_or("has a header without 'shape'")?
        .0;
    let sizes: Result<Vec<usize>, _> =
        inside.split(',').map(str::trim).filter(|size| !size.is_empty()).map(str::parse).collect();
    match sizes.map_err(|_| format!("has the shape ({inside})"))?.as_slice() {
        [columns] => Ok((1, *columns)),
        [rows, columns] => Ok((*rows, *columns)),
        other => Err(format!("has {} dimensions; rows of logits have two", other.len())),
    }
}

/// A `.npy` file of an array: `kind` as NumPy writes it (`<f4`), the bytes little-endian in C order.
pub fn encode(kind: &str, shape: &[usize], bytes: &[u8]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size},")).collect();
    let mut header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sizes}), }}");
    // The data begins at a multiple of 64 bytes, the header ends with a line feed.
    let padding = 63 - (10 + header.len()) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(bytes);
    file
}

/// Writes `.npy` files into a `.npz`.
///
/// # Errors
/// What the system said.
pub fn archive(path: &Path, arrays: &[(&str, Vec<u8>)]) -> std::io::Result<()> {
    let mut archive = zip::ZipWriter::new(File::create_new(path)?);
    let options = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in arrays {
        archive.start_file(format!("{name}.npy"), options)?;
        archive.write_all(bytes)?;
    }
    archive.finish()?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0x93, b'N', b'U', b'M', b'P', b'Y', version, 0];
        match version {
            1 => out.extend((header.len() as u16).to_le_bytes()),
            _ => out.extend((header.len() as u32).to_le_bytes()),
        }
        out.extend(header.as_bytes());
        out.extend(data);
        out
    }

    fn header(kind: &str, shape: &str) -> String {
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n")
    }

    #[test]
    fn rows_of_every_width_are_read() {
        let wide: Vec<u8> = [1.0f64, -2.5, 3.0, f64::NEG_INFINITY].iter().flat_map(|v| v.to_le_bytes()).collect();
        let found = parse(&file(1, &header("<f8", "(2, 2)"), &wide)).unwrap();
        assert_eq!(found, [vec![1.0, -2.5], vec![3.0, f32::NEG_INFINITY]]);
        let single: Vec<u8> = [0.5f32, 7.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(parse(&file(2, &header("<f4", "(2,)"), &single)).unwrap(), [vec![0.5, 7.0]]);
        let half: Vec<u8> = half::f16::from_f32(1.5).to_le_bytes().to_vec();
        assert_eq!(parse(&file(3, &header("<f2", "(1, 1)"), &half)).unwrap(), [vec![1.5]]);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let bytes: Vec<u8> = [1.5f32, -2.0, 0.25, 8.0, 0.0, 3.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let file = encode("<f4", &[2, 3], &bytes);
        assert_eq!((file.len() - bytes.len()) % 64, 0);
        assert_eq!(parse(&file).unwrap(), [vec![1.5, -2.0, 0.25], vec![8.0, 0.0, 3.0]]);
    }

    #[test]
    fn what_is_not_such_a_file_is_said() {
        let refused = |bytes: &[u8]| parse(bytes).unwrap_err();
        assert!(refused(b"hello").contains("is not a .npy file"));
        assert!(refused(&file(9, "", &[])).contains("version 9"));
        assert!(refused(&file(1, &header("<i4", "(1,)"), &[0; 4])).contains("save it as float32"));
        assert!(refused(&file(1, &header("<f4", "(3,)"), &[0; 4])).contains("not 1 rows of 3"));
        let most = format!("({}, {})", usize::MAX, 2);
        assert!(refused(&file(1, &header("<f4", &most), &[0; 4])).contains("rows of 2"));
        assert!(refused(&file(1, &header("<f4", "(1, 1, 1)"), &[0; 4])).contains("3 dimensions"));
        let turned = header("<f4", "(1,)").replace("False", "True");
        assert!(refused(&file(1, &turned, &[0; 4])).contains("Fortran"));
    }

    proptest! {
        #[test]
        fn changed_bytes_never_panic(at in 0usize..120, value in any::<u8>(), keep in 0usize..160) {
            let mut bytes = file(1, &header("<f4", "(2, 8)"), &[1; 64]);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
            bytes.truncate(keep.max(1));
            let _ = parse(&bytes);
        }
    }
}
