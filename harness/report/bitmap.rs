//! A drawing as PNG, by plotters: drawn finer than it is wanted, and averaged.

use plotters::prelude::BitMapBackend;
use plotters_backend::DrawingBackend;

use crate::draw::DrawError;
use crate::paint::{View, lift, paint};
use crate::provenance::Provenance;
use crate::scene::Scene;

/// Samples of a pixel along a side.
const SAMPLES: usize = 3;
/// Rows of the picture drawn at a time: a chart of thousands of bars is never in memory as a whole at its fine size.
const BAND: usize = 128;
/// Pixels beyond which a picture is made smaller.
const MOST: f64 = 4e7;

/// The bytes of a PNG file with `scale` pixels to a unit, rounded up to whole pixels.
pub fn write(scene: &Scene, scale: f64, provenance: Option<&Provenance>) -> Result<Vec<u8>, DrawError> {
    let scale = scale.min((MOST / (scene.width * scene.height)).sqrt());
    let (width, height) = ((scene.width * scale).ceil() as usize, (scene.height * scale).ceil() as usize);
    let wide = width * SAMPLES;
    let mut picture = Vec::with_capacity(width * height * 3);
    let mut fine = vec![0; wide * BAND.min(height) * SAMPLES * 3];
    let mut sums = vec![0_u16; wide * 3];
    for start in (0..height).step_by(BAND) {
        let rows = BAND.min(height - start);
        let part = &mut fine[..wide * rows * SAMPLES * 3];
        part.fill(0xFF);
        {
            let mut backend = BitMapBackend::with_buffer(part, (wide as u32, (rows * SAMPLES) as u32));
            let place = |row: usize| row as f64 / scale;
            let view = View { scale: scale * SAMPLES as f64, top: place(start), bottom: place(start + rows) };
            paint(scene, view, &mut backend)?;
            lift(backend.present())?;
        }
        for block in part.chunks_exact(wide * 3 * SAMPLES) {
            average(block, &mut sums, &mut picture);
        }
    }
    lift(encode(&picture, width as u32, height as u32, provenance))
}

/// Adds one row of the picture, the means of squares of samples.
fn average(block: &[u8], sums: &mut [u16], picture: &mut Vec<u8>) {
    const COUNT: u16 = (SAMPLES * SAMPLES) as u16;
    sums.fill(0);
    for row in block.chunks_exact(sums.len()) {
        for (sum, sample) in sums.iter_mut().zip(row) {
            *sum += u16::from(*sample);
        }
    }
    for square in sums.chunks_exact(3 * SAMPLES) {
        for channel in 0..3 {
            let sum: u16 = square[channel..].iter().step_by(3).sum();
            picture.push(((sum + COUNT / 2) / COUNT) as u8);
        }
    }
}

fn encode(
    pixels: &[u8],
    width: u32,
    height: u32,
    provenance: Option<&Provenance>,
) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    encoder.set_filter(png::FilterType::Up);
    if let Some(provenance) = provenance {
        encoder.add_itxt_chunk("harness".to_owned(), provenance.json())?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}
