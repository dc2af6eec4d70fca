//! The part of a font that a drawing uses, as a font file of its own: glyphs keep their numbers, and those that are not
//! used are empty. Tables for shaping are left out, since text is set letter by letter.

use std::collections::BTreeSet;

/// Tables that are kept, in the order a font file needs.
const KEPT: [&[u8; 4]; 10] = [b"OS/2", b"cmap", b"glyf", b"head", b"hhea", b"hmtx", b"loca", b"maxp", b"name", b"post"];

/// The font with the outlines of these glyphs and of those they are made of. `None` when the bytes are no TrueType font.
pub fn subset(font: &[u8], glyphs: &BTreeSet<u16>) -> Option<Vec<u8>> {
    let table = |tag: &[u8; 4]| {
        let count = number(font, 4)?;
        (0..count).map(|index| 12 + 16 * index as usize).find(|at| font.get(*at..at + 4) == Some(tag)).and_then(|at| {
            let (start, length) = (long(font, at + 8)? as usize, long(font, at + 12)? as usize);
            font.get(start..start + length)
        })
    };
    let (glyf, loca, head) = (table(b"glyf")?, table(b"loca")?, table(b"head")?);
    let wide = number(head, 50)? != 0;
    let count = number(table(b"maxp")?, 4)?;
    let place = |glyph: u16| -> Option<usize> {
        let index = usize::from(glyph);
        if wide {
            long(loca, 4 * index).map(|at| at as usize)
        } else {
            number(loca, 2 * index).map(|at| 2 * usize::from(at))
        }
    };
    let outline = |glyph: u16| glyf.get(place(glyph)?..place(glyph + 1)?);
    let mut used: BTreeSet<u16> = glyphs.iter().copied().filter(|glyph| *glyph < count).collect();
    // Glyph 0 is what is shown for a sign the font does not have.
    used.insert(0);
    let mut waiting: Vec<u16> = used.iter().copied().collect();
    while let Some(glyph) = waiting.pop() {
        waiting.extend(parts(outline(glyph)?).into_iter().filter(|part| *part < count && used.insert(*part)));
    }
    let mut new_glyf = Vec::new();
    let mut new_loca: Vec<u8> = Vec::new();
    for glyph in 0..=count {
        new_loca.extend((new_glyf.len() as u32).to_be_bytes());
        if used.contains(&glyph) {
            new_glyf.extend_from_slice(outline(glyph)?);
            new_glyf.resize(new_glyf.len().next_multiple_of(4), 0);
        }
    }
    let mut new_head = head.to_vec();
    new_head.get_mut(8..12)?.fill(0);
    new_head.get_mut(50..52)?.copy_from_slice(&1_u16.to_be_bytes());
    let contents: Vec<(&[u8; 4], Vec<u8>)> = KEPT
        .into_iter()
        .filter_map(|tag| match tag {
            b"glyf" => Some((tag, new_glyf.clone())),
            b"loca" => Some((tag, new_loca.clone())),
            b"head" => Some((tag, new_head.clone())),
            other => table(other).map(|content| (tag, content.to_vec())),
        })
        .collect();
    Some(assemble(&contents))
}

/// The glyphs that a compound glyph is made of.
fn parts(outline: &[u8]) -> Vec<u16> {
    let mut found = Vec::new();
    if number(outline, 0).is_none_or(|contours| contours < 0x8000) {
        return found;
    }
    let mut at = 10;
    while let (Some(flags), Some(glyph)) = (number(outline, at), number(outline, at + 2)) {
        found.push(glyph);
        at += 4 + if flags & 0x01 != 0 { 4 } else { 2 };
        at += match flags & 0xC8 {
            0x08 => 2,
            0x40 => 4,
            0x80 => 8,
            _ => 0,
        };
        if flags & 0x20 == 0 {
            break;
        }
    }
    found
}

/// A font file of tables, with its check sums.
fn assemble(tables: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let count = tables.len() as u16;
    let power = count.max(1).ilog2();
    let range = 16 * (1_u16 << power);
    let mut out = vec![0, 1, 0, 0];
    for word in [count, range, power as u16, 16 * count - range] {
        out.extend(word.to_be_bytes());
    }
    let mut start = 12 + 16 * tables.len();
    for (tag, content) in tables {
        out.extend_from_slice(*tag);
        for word in [sum(content), start as u32, content.len() as u32] {
            out.extend(word.to_be_bytes());
        }
        start += content.len().next_multiple_of(4);
    }
    let mut head = None;
    for (tag, content) in tables {
        if *tag == b"head" {
            head = Some(out.len());
        }
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    if let Some(head) = head {
        let adjustment = 0xB1B0_AFBA_u32.wrapping_sub(sum(&out));
        out[head + 8..head + 12].copy_from_slice(&adjustment.to_be_bytes());
    }
    out
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(4).fold(0_u32, |sum, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        sum.wrapping_add(u32::from_be_bytes(word))
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
}

#[cfg(test)]
mod tests {
    use ab_glyph::{Font, FontRef};

    use super::*;
    use crate::letters::{Weight, set};

    #[test]
    fn a_subset_is_a_font_with_the_same_outlines() {
        for weight in [Weight::Regular, Weight::Bold] {
            let text = "pplä = 0.5 ×";
            let glyphs = set(text, weight).iter().map(|letter| letter.glyph).collect();
            let bytes = subset(weight.bytes(), &glyphs).unwrap_or_default();
            assert!(bytes.len() * 3 < weight.bytes().len(), "{}", bytes.len());
            assert_eq!(sum(&bytes), 0xB1B0_AFBA);
            let parsed = FontRef::try_from_slice(&bytes).ok();
            let whole = FontRef::try_from_slice(weight.bytes()).ok();
            let (Some(parsed), Some(whole)) = (parsed, whole) else { panic!("no font") };
            for sign in text.chars() {
                let id = whole.glyph_id(sign);
                assert_eq!(parsed.glyph_id(sign), id);
                let curves = |font: &FontRef| font.outline(id).map(|outline| outline.curves.len());
                assert_eq!(curves(&parsed), curves(&whole), "{sign}");
                assert_eq!(parsed.h_advance_unscaled(id), whole.h_advance_unscaled(id));
            }
            assert!(parsed.outline(whole.glyph_id('Q')).is_none());
        }
    }
}
