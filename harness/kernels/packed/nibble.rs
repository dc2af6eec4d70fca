//! Plain packing of codes into bytes, the interchange layouts: no interleaving, no scales.

/// Two 4-bit codes a byte, the even one in the low half; an odd tail leaves the last high half zero.
///
/// # Panics
/// When a code exceeds 15.
pub fn pack_low_first(codes: &[u8]) -> Vec<u8> {
    pairs(codes, |first, second| first | second << 4)
}

/// The first `count` codes of bytes written by [`pack_low_first`].
///
/// # Panics
/// When the bytes hold fewer codes.
pub fn unpack_low_first(bytes: &[u8], count: usize) -> Vec<u8> {
    assert!(count <= bytes.len() * 2, "{} bytes hold fewer than {count} codes", bytes.len());
    (0..count).map(|i| bytes[i / 2] >> (4 * (i % 2)) & 15).collect()
}

/// Two 4-bit codes a byte, the even one in the high half, as bitsandbytes stores them; an odd tail leaves the last low
/// half zero.
///
/// # Panics
/// When a code exceeds 15.
pub fn pack_high_first(codes: &[u8]) -> Vec<u8> {
    pairs(codes, |first, second| first << 4 | second)
}

/// The first `count` codes of bytes written by [`pack_high_first`].
///
/// # Panics
/// When the bytes hold fewer codes.
pub fn unpack_high_first(bytes: &[u8], count: usize) -> Vec<u8> {
    assert!(count <= bytes.len() * 2, "{} bytes hold fewer than {count} codes", bytes.len());
    (0..count).map(|i| bytes[i / 2] >> (4 * (1 - i % 2)) & 15).collect()
}

fn pairs(codes: &[u8], join: impl Fn(u8, u8) -> u8) -> Vec<u8> {
    if let Some(place) = codes.iter().position(|code| *code > 15) {
        panic!("code {} at {place} has more than 4 bits", codes[place]);
    }
    codes.chunks(2).map(|pair| join(pair[0], pair.get(1).copied().unwrap_or(0))).collect()
}

/// Codes of `bits` (1 to 8) one after the other, each beginning at the lowest free bit: a little-endian bit stream.
/// Four bits give [`pack_low_first`].
///
/// # Panics
/// When `bits` is not in 1..=8 or a code has more bits.
pub fn pack_bits(codes: &[u8], bits: u32) -> Vec<u8> {
    assert!((1..=8).contains(&bits), "codes have 1 to 8 bits, not {bits}");
    let mut bytes = vec![0u8; (codes.len() * bits as usize).div_ceil(8)];
    for (i, &code) in codes.iter().enumerate() {
        assert!(u32::from(code) >> bits == 0, "code {code} at {i} has more than {bits} bits");
        let (place, wide) = (i * bits as usize, u16::from(code));
        let shifted = (wide << (place % 8)).to_le_bytes();
        bytes[place / 8] |= shifted[0];
        if shifted[1] != 0 {
            bytes[place / 8 + 1] |= shifted[1];
        }
    }
    bytes
}

/// The first `count` codes of bytes written by [`pack_bits`].
///
/// # Panics
/// When `bits` is not in 1..=8 or the bytes hold fewer codes.
pub fn unpack_bits(bytes: &[u8], bits: u32, count: usize) -> Vec<u8> {
    assert!((1..=8).contains(&bits), "codes have 1 to 8 bits, not {bits}");
    assert!(count * bits as usize <= bytes.len() * 8, "{} bytes hold fewer than {count} codes", bytes.len());
    (0..count)
        .map(|i| {
            let place = i * bits as usize;
            let pair = [bytes[place / 8], bytes.get(place / 8 + 1).copied().unwrap_or(0)];
            (u16::from_le_bytes(pair) >> (place % 8)) as u8 & ((1u16 << bits) - 1) as u8
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ramps_pack_to_the_golden_bytes() {
        let ramp: Vec<u8> = (0..16).collect();
        assert_eq!(pack_low_first(&ramp), [0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE]);
        assert_eq!(pack_high_first(&ramp), [0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF]);
        assert_eq!(pack_bits(&[0, 1, 2, 3, 4, 5, 6, 7], 3), [0x88, 0xC6, 0xFA]);
        // The NF4 example of bitsandbytes.
        assert_eq!(pack_high_first(&[8, 4, 7, 12, 0, 14, 7, 7]), [0x84, 0x7C, 0x0E, 0x77]);
    }

    #[test]
    #[should_panic(expected = "code 16 at 1")]
    fn a_code_of_five_bits_is_refused() {
        pack_low_first(&[3, 16]);
    }

    proptest! {
        #[test]
        fn unpacking_gives_the_codes_back(codes in prop::collection::vec(0u8..=255, 0..70), bits in 1u32..=8) {
            let codes: Vec<u8> = codes.iter().map(|code| code & ((1u16 << bits) - 1) as u8).collect();
            let bytes = pack_bits(&codes, bits);
            prop_assert_eq!(bytes.len(), (codes.len() * bits as usize).div_ceil(8));
            prop_assert_eq!(&unpack_bits(&bytes, bits, codes.len()), &codes);
            if bits <= 4 {
                prop_assert_eq!(&unpack_low_first(&pack_low_first(&codes), codes.len()), &codes);
                prop_assert_eq!(&unpack_high_first(&pack_high_first(&codes), codes.len()), &codes);
            }
            if bits == 4 {
                prop_assert_eq!(&pack_low_first(&codes), &bytes);
            }
        }
    }
}
