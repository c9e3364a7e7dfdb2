//! Drawings as PDF of one page, with the Helvetica that every reader has.

use std::fmt::Write as _;

use super::{Anchor, Drawing, FAINT, Ink, Place, Shape, text_width};

/// Points per pixel.
const POINTS: f64 = 0.75;

impl Drawing {
    /// The drawing as a PDF document, or a character that Helvetica lacks.
    pub(in crate::draw) fn pdf(&self) -> Result<Vec<u8>, char> {
        let (width, height) = (POINTS * self.width, POINTS * self.height);
        // From here on, places are pixels from the upper left corner.
        let mut content = format!("{POINTS} 0 0 -{POINTS} 0 {height:.2} cm\n1 J 1 j\n").into_bytes();
        for shape in &self.shapes {
            operators(&mut content, shape)?;
        }
        let stream = [
            format!("<< /Length {} >>\nstream\n", content.len()).into_bytes(),
            content,
            b"endstream".to_vec(),
        ];
        let font = |name: &str| {
            format!("<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>")
                .into_bytes()
        };
        let page = format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width:.2} {height:.2}] /Contents 4 0 R /Resources << /Font << \
             /F0 5 0 R /F1 6 0 R >> /ExtGState << /G0 << /ca 1 >> /G1 << /ca {FAINT} >> >> >> >>"
        );
        Ok(document(&[
            b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec(),
            page.into_bytes(),
            stream.concat(),
            font("Helvetica"),
            font("Helvetica-Bold"),
        ]))
    }
}

/// The file of `objects`, numbered from 1, the first of which is the catalogue.
fn document(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (number, object) in (1..).zip(objects) {
        table += &format!("{:010} 00000 n \n", file.len());
        file.extend(format!("{number} 0 obj\n").bytes());
        file.extend(object);
        file.extend(b"\nendobj\n");
    }
    let start = file.len();
    let trailer =
        format!("trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n", objects.len() + 1);
    file.extend(table.bytes().chain(trailer.bytes()));
    file
}

/// Appends the operators that draw `shape`, unless the font lacks a character.
fn operators(content: &mut Vec<u8>, shape: &Shape) -> Result<(), char> {
    match shape {
        Shape::Line { points, ink, width, dash } => {
            let text = format!("{} RG {width} w [{}] 0 d\n{}S\n", colour(*ink), dash.pattern(), path(points));
            content.extend(text.bytes());
        }
        Shape::Area { points, ink, faint } => {
            let text = format!("/G{} gs {} rg\n{}h f\n", u8::from(*faint), colour(*ink), path(points));
            content.extend(text.bytes());
        }
        Shape::Text { at: (x, y), text, size, anchor, bold } => {
            let share = match anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => 0.5,
                Anchor::End => 1.0,
            };
            let left = x - share * text_width(text, *size);
            let (colour, font) = (colour(Ink::Text), u8::from(*bold));
            let begin = format!("/G0 gs {colour} rg BT /F{font} {size} Tf 1 0 0 -1 {left:.2} {y:.2} Tm (");
            content.extend(begin.bytes());
            for character in text.chars() {
                let byte = windows(character).ok_or(character)?;
                let is_special = matches!(byte, b'(' | b')' | b'\\');
                content.extend(is_special.then_some(b'\\').into_iter().chain([byte]));
            }
            content.extend(b") Tj ET\n");
        }
    }
    Ok(())
}

/// The characters from 0x80 to 0x9f of `WinAnsiEncoding`, where `\0` stands for none.
const PUNCTUATION: &str = "€\0‚ƒ„…†‡ˆ‰Š‹Œ\0Ž\0\0‘’“”•–—˜™š›œ\0žŸ";

/// The byte of a character in `WinAnsiEncoding`.
fn windows(character: char) -> Option<u8> {
    match character {
        ' '..='~' | '\u{a0}'..='\u{ff}' => Some(character as u8),
        '\0' => None,
        _ => (0x80..).zip(PUNCTUATION.chars()).find_map(|(byte, known)| (known == character).then_some(byte)),
    }
}

fn colour(ink: Ink) -> String {
    let [red, green, blue] = ink.rgb().map(|value| f64::from(value) / 255.0);
    format!("{red:.3} {green:.3} {blue:.3}")
}

fn path(points: &[Place]) -> String {
    let mut text = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{x:.2} {y:.2} {}", if index == 0 { "m" } else { "l" });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_a_pdf_points_at_its_objects() {
        let mut drawing = Drawing::new(200.0, 100.0);
        drawing.line(vec![(0.0, 0.0), (200.0, 100.0)], Ink::Line(0), 2.0);
        drawing.text((10.0, 20.0), "a (b) – é", 14.0, Anchor::End);
        let file = drawing.pdf().unwrap();
        let find = |text: &[u8]| file.windows(text.len()).position(|part| part == text);
        let text = String::from_utf8_lossy(&file);
        let start = text.rsplit("startxref\n").next().unwrap().lines().next().unwrap();
        assert_eq!(start.parse::<usize>().unwrap(), find(b"xref\n").unwrap());
        for number in 1..=6_usize {
            let table = find(b"xref\n").unwrap() + "xref\n0 7\n".len();
            let entry = &file[table + 20 * number..][..10];
            let place: usize = std::str::from_utf8(entry).unwrap().parse().unwrap();
            assert!(file[place..].starts_with(format!("{number} 0 obj\n").as_bytes()), "{number}");
        }
        assert!(find(b"(a \\(b\\) \x96 \xe9) Tj").is_some());
        assert!(text.contains("/MediaBox [0 0 150.00 75.00]"), "{text}");
    }

    #[test]
    fn a_character_that_the_font_lacks_is_named() {
        let pdf_of = |text: &str| {
            let mut drawing = Drawing::new(200.0, 100.0);
            drawing.text((10.0, 20.0), text, 14.0, Anchor::Start);
            drawing.pdf().map(drop)
        };
        assert_eq!(pdf_of("Straße, Œuvre, 5 €"), Ok(()));
        for (text, character) in [("road 道路", '道'), ("ε", 'ε'), ("a\0", '\0'), ("a\u{81}", '\u{81}')]
        {
            assert_eq!(pdf_of(text), Err(character));
        }
    }
}
