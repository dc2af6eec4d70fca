//! Where ggml's blocks put the bits of their codes.
//!
//! `put_*` writes some bits of each code, from bit `shift` of the code on, and `take_*` adds them back.

/// Four bits of each code: of every `2 × half` codes, the first half in the low and the second in the high nibbles.
pub fn put_nibbles(codes: &[u8], half: usize, bytes: &mut [u8]) {
    for (codes, bytes) in codes.chunks_exact(2 * half).zip(bytes.chunks_exact_mut(half)) {
        let (low, high) = codes.split_at(half);
        for (byte, (low, high)) in bytes.iter_mut().zip(low.iter().zip(high)) {
            *byte = low & 15 | (high & 15) << 4;
        }
    }
}

/// Reads [`put_nibbles`].
pub fn take_nibbles(bytes: &[u8], half: usize, codes: &mut [u8]) {
    for (codes, bytes) in codes.chunks_exact_mut(2 * half).zip(bytes.chunks_exact(half)) {
        let (low, high) = codes.split_at_mut(half);
        for (byte, (low, high)) in bytes.iter().zip(low.iter_mut().zip(high)) {
            *low |= byte & 15;
            *high |= byte >> 4;
        }
    }
}

/// Two bits of each code: of every 128 codes, byte `l` of 32 holds codes `l`, `l + 32`, `l + 64` and `l + 96`.
pub fn put_pairs(codes: &[u8], shift: u32, bytes: &mut [u8]) {
    for (codes, bytes) in codes.chunks_exact(128).zip(bytes.chunks_exact_mut(32)) {
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = (0..4).fold(0, |byte, quarter| byte | (codes[at + 32 * quarter] >> shift & 3) << (2 * quarter));
        }
    }
}

/// Reads [`put_pairs`].
pub fn take_pairs(bytes: &[u8], shift: u32, codes: &mut [u8]) {
    for (codes, bytes) in codes.chunks_exact_mut(128).zip(bytes.chunks_exact(32)) {
        for (at, code) in codes.iter_mut().enumerate() {
            *code |= (bytes[at % 32] >> (2 * (at / 32)) & 3) << shift;
        }
    }
}

/// One bit of each of 256 codes: bit `j / 32` of byte `j % 32` is that of code `j`.
pub fn put_plane(codes: &[u8], shift: u32, bytes: &mut [u8]) {
    bytes.fill(0);
    for (at, code) in codes.iter().enumerate() {
        bytes[at % 32] |= (code >> shift & 1) << (at / 32);
    }
}

/// Reads [`put_plane`].
pub fn take_plane(bytes: &[u8], shift: u32, codes: &mut [u8]) {
    for (at, code) in codes.iter_mut().enumerate() {
        *code |= (bytes[at % 32] >> (at / 32) & 1) << shift;
    }
}

/// Eight scales and eight minima of six bits in twelve bytes, as Q4_K and Q5_K have them.
pub fn put_scales(scales: [u8; 8], minima: [u8; 8], bytes: &mut [u8]) {
    for at in 0..4 {
        let (scale, minimum) = (scales[at + 4], minima[at + 4]);
        bytes[at] = scales[at] & 63 | (scale >> 4) << 6;
        bytes[at + 4] = minima[at] & 63 | (minimum >> 4) << 6;
        bytes[at + 8] = scale & 15 | (minimum & 15) << 4;
    }
}

/// Reads [`put_scales`]: scales, then minima.
pub fn take_scales(bytes: &[u8]) -> ([u8; 8], [u8; 8]) {
    let (mut scales, mut minima) = ([0; 8], [0; 8]);
    for at in 0..4 {
        (scales[at], minima[at]) = (bytes[at] & 63, bytes[at + 4] & 63);
        scales[at + 4] = bytes[at + 8] & 15 | bytes[at] >> 6 << 4;
        minima[at + 4] = bytes[at + 8] >> 4 | bytes[at + 4] >> 6 << 4;
    }
    (scales, minima)
}

/// Sixteen scales of six bits in twelve bytes, as Q3_K has them.
pub fn put_sixteen_scales(scales: &[u8; 16], bytes: &mut [u8]) {
    bytes.fill(0);
    for (at, scale) in scales.iter().enumerate() {
        bytes[at % 8] |= (scale & 15) << (4 * (at / 8));
        bytes[8 + at % 4] |= (scale >> 4 & 3) << (2 * (at / 4));
    }
}

/// Reads [`put_sixteen_scales`].
pub fn take_sixteen_scales(bytes: &[u8]) -> [u8; 16] {
    std::array::from_fn(|at| bytes[at % 8] >> (4 * (at / 8)) & 15 | (bytes[8 + at % 4] >> (2 * (at / 4)) & 3) << 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn scales_and_minima_lie_where_the_golden_vector_has_them() {
        let scales = [3, 17, 33, 63, 10, 20, 40, 63];
        let minima = [0, 5, 31, 63, 1, 2, 48, 63];
        let mut bytes = [0; 12];
        put_scales(scales, minima, &mut bytes);
        assert_eq!(bytes, [0x03, 0x51, 0xA1, 0xFF, 0x00, 0x05, 0xDF, 0xFF, 0x1A, 0x24, 0x08, 0xFF]);
        assert_eq!(take_scales(&bytes), (scales, minima));
    }

    fn codes(bits: u32) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0..1u8 << bits, 256)
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(nibbles in codes(4), pairs in codes(2), bits in codes(1), six in codes(6)) {
            for half in [8, 16, 32, 64] {
                let (mut bytes, mut found) = ([0; 128], vec![0; 256]);
                put_nibbles(&nibbles, half, &mut bytes);
                take_nibbles(&bytes, half, &mut found);
                prop_assert_eq!(&found, &nibbles);
            }
            let (mut bytes, mut found) = ([0; 64], vec![0; 256]);
            put_pairs(&pairs, 0, &mut bytes);
            take_pairs(&bytes, 0, &mut found);
            prop_assert_eq!(&found, &pairs);
            let (mut bytes, mut found) = ([0; 32], vec![0; 256]);
            put_plane(&bits, 0, &mut bytes);
            take_plane(&bytes, 0, &mut found);
            prop_assert_eq!(&found, &bits);
            let (mut low, mut high, mut found) = ([0; 128], [0; 64], vec![0; 256]);
            put_nibbles(&six, 64, &mut low);
            put_pairs(&six, 4, &mut high);
            take_nibbles(&low, 64, &mut found);
            take_pairs(&high, 4, &mut found);
            prop_assert_eq!(&found, &six);
            let sixteen: [u8; 16] = std::array::from_fn(|at| six[at]);
            let mut bytes = [0; 12];
            put_sixteen_scales(&sixteen, &mut bytes);
            prop_assert_eq!(take_sixteen_scales(&bytes), sixteen);
            let (scales, minima) = (std::array::from_fn(|at| six[at]), std::array::from_fn(|at| six[at + 8]));
            put_scales(scales, minima, &mut bytes);
            prop_assert_eq!(take_scales(&bytes), (scales, minima));
        }

        #[test]
        fn every_byte_of_packed_scales_is_used(bytes in prop::collection::vec(any::<u8>(), 12)) {
            let mut again = [0; 12];
            let (scales, minima) = take_scales(&bytes);
            put_scales(scales, minima, &mut again);
            prop_assert_eq!(&again[..], &bytes[..]);
            put_sixteen_scales(&take_sixteen_scales(&bytes), &mut again);
            prop_assert_eq!(&again[..], &bytes[..]);
        }
    }
}
