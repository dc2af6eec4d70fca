//! A drawing as PDF: lines stay lines and text stays text, in fonts that the file holds.

mod page;

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pdf_writer::types::{CidFontType, FontFlags, SystemInfo, UnicodeCmap};
use pdf_writer::{Filter, Finish, Name, Pdf, Rect, Ref, Str, TextStr};
use plotters_backend::DrawingBackend;

use crate::draw::DrawError;
use crate::letters::{self, Letter, Weight};
use crate::paint::{View, lift, paint};
use crate::provenance::Provenance;
use crate::scene::Scene;
use crate::subset::subset;
use page::{Finished, PdfPage, font_name, state_name};

/// Steps of the page, whose places are whole numbers, to a unit.
const FINE: f64 = 100.0;

/// The bytes of a PDF file of one page, `points` of 1/72 inch to a unit.
pub fn write(scene: &Scene, points: f64, provenance: &Provenance) -> Result<Vec<u8>, DrawError> {
    let size = ((scene.width * FINE).round() as u32, (scene.height * FINE).round() as u32);
    let mut drawn = PdfPage::new(size, points / FINE);
    paint(scene, View::whole(scene, FINE), &mut drawn)?;
    lift(drawn.present())?;
    Ok(file(&drawn.finish(), (scene.width * points, scene.height * points), provenance))
}

/// A file of one page.
fn file(drawn: &Finished, (width, height): (f64, f64), provenance: &Provenance) -> Vec<u8> {
    let mut numbers = (1..).map(Ref::new);
    let mut next = || numbers.next().unwrap_or(Ref::new(1));
    let (catalog, tree, page, content, info) = (next(), next(), next(), next(), next());
    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(tree);
    pdf.pages(tree).kids([page]).count(1);
    let fonts: Vec<(Weight, Ref)> = drawn.letters.keys().map(|weight| (*weight, next())).collect();
    let states: Vec<(u8, Ref)> = drawn.alphas.iter().map(|alpha| (*alpha, next())).collect();
    let mut sheet = pdf.page(page);
    sheet.media_box(Rect::new(0.0, 0.0, width as f32, height as f32)).parent(tree).contents(content);
    let mut resources = sheet.resources();
    let mut named = resources.fonts();
    for (weight, font) in &fonts {
        named.pair(Name(font_name(*weight).as_bytes()), *font);
    }
    named.finish();
    let mut named = resources.ext_g_states();
    for (alpha, state) in &states {
        named.pair(Name(state_name(*alpha).as_bytes()), *state);
    }
    named.finish();
    resources.finish();
    sheet.finish();
    for (alpha, state) in &states {
        let share = f32::from(*alpha) / 100.0;
        pdf.ext_graphics(*state).non_stroking_alpha(share).stroking_alpha(share);
    }
    pdf.stream(content, &packed(&drawn.content)).filter(Filter::FlateDecode);
    for (weight, font) in &fonts {
        let ids = [*font, next(), next(), next(), next()];
        embed(&mut pdf, *weight, &drawn.letters[weight], ids);
    }
    let mut about = pdf.document_info(info);
    about.title(TextStr(&provenance.title)).creator(TextStr(&provenance.program));
    for (name, value) in provenance.pairs() {
        about.insert(Name(name.as_bytes())).primitive(TextStr(&value));
    }
    about.finish();
    pdf.finish()
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::default());
    // A vector takes whatever it is given.
    let written = packer.write_all(bytes);
    debug_assert!(written.is_ok());
    packer.finish().unwrap_or_default()
}

/// Puts the used part of a font into the file, with the table that gives its letters back as text.
fn embed(pdf: &mut Pdf, weight: Weight, letters: &[Letter], [font, cid, about, file, back]: [Ref; 5]) {
    let base = match weight {
        Weight::Regular => Name(b"HARNES+Inter-Regular"),
        Weight::Bold => Name(b"HARNES+Inter-SemiBold"),
    };
    let system = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };
    pdf.type0_font(font).base_font(base).encoding_predefined(Name(b"Identity-H")).descendant_font(cid).to_unicode(back);
    let mut inner = pdf.cid_font(cid);
    inner
        .subtype(CidFontType::Type2)
        .base_font(base)
        .system_info(system)
        .font_descriptor(about)
        .cid_to_gid_map_predefined(Name(b"Identity"));
    let mut widths = inner.widths();
    for letter in letters {
        widths.consecutive(letter.glyph, [(letter.advance * 1000.0) as f32]);
    }
    widths.finish();
    inner.finish();
    let (ascent, descent) = letters::reach(weight);
    pdf.font_descriptor(about)
        .name(base)
        .flags(FontFlags::SYMBOLIC)
        .bbox(Rect::new(-800.0, descent as f32, 2700.0, ascent as f32))
        .italic_angle(0.0)
        .ascent(ascent as f32)
        .descent(descent as f32)
        .cap_height(728.0)
        .stem_v(if weight == Weight::Bold { 120.0 } else { 80.0 })
        .font_file2(file);
    let glyphs = letters.iter().map(|letter| letter.glyph).collect();
    let bytes = subset(weight.bytes(), &glyphs).unwrap_or_else(|| weight.bytes().to_vec());
    pdf.stream(file, &packed(&bytes)).filter(Filter::FlateDecode).pair(Name(b"Length1"), bytes.len() as i32);
    let mut table = UnicodeCmap::new(Name(b"Custom"), system);
    for letter in letters {
        table.pair(letter.glyph, letter.sign);
    }
    pdf.cmap(back, &table.finish());
}
