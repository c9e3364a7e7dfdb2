//! Letters of 3 x 5 pixels, for pictures without a font.

/// The rows of a glyph from the top, three bits each, as octal digits.
fn rows(letter: char) -> [u8; 5] {
    match letter.to_ascii_uppercase() {
        ' ' => [0, 0, 0, 0, 0],
        'A' => [2, 5, 7, 5, 5],
        'B' => [6, 5, 6, 5, 6],
        'C' => [3, 4, 4, 4, 3],
        'D' => [6, 5, 5, 5, 6],
        'E' => [7, 4, 6, 4, 7],
        'F' => [7, 4, 6, 4, 4],
        'G' => [3, 4, 5, 5, 3],
        'H' => [5, 5, 7, 5, 5],
        'I' => [7, 2, 2, 2, 7],
        'J' => [1, 1, 1, 5, 2],
        'K' => [5, 5, 6, 5, 5],
        'L' => [4, 4, 4, 4, 7],
        'M' => [5, 7, 7, 5, 5],
        'N' => [6, 5, 5, 5, 5],
        'O' => [2, 5, 5, 5, 2],
        'P' => [6, 5, 6, 4, 4],
        'Q' => [2, 5, 5, 7, 3],
        'R' => [6, 5, 6, 5, 5],
        'S' => [3, 4, 2, 1, 6],
        'T' => [7, 2, 2, 2, 2],
        'U' => [5, 5, 5, 5, 7],
        'V' => [5, 5, 5, 5, 2],
        'W' => [5, 5, 7, 7, 5],
        'X' => [5, 5, 2, 5, 5],
        'Y' => [5, 5, 2, 2, 2],
        'Z' => [7, 1, 2, 4, 7],
        '0' => [7, 5, 5, 5, 7],
        '1' => [2, 6, 2, 2, 7],
        '2' => [7, 1, 7, 4, 7],
        '3' => [7, 1, 3, 1, 7],
        '4' => [5, 5, 7, 1, 1],
        '5' => [7, 4, 7, 1, 7],
        '6' => [7, 4, 7, 5, 7],
        '7' => [7, 1, 1, 1, 1],
        '8' => [7, 5, 7, 5, 7],
        '9' => [7, 5, 7, 1, 7],
        '-' => [0, 0, 7, 0, 0],
        '_' => [0, 0, 0, 0, 7],
        '.' => [0, 0, 0, 0, 2],
        '/' => [1, 1, 2, 4, 4],
        _ => [7, 1, 2, 0, 2],
    }
}

/// Whether the pixel at `x`, `y` of `text` belongs to a letter. Letters are 3 wide and 5 high, with a
/// pixel between them.
pub(super) fn is_ink(text: &[char], x: usize, y: usize) -> bool {
    let (place, column) = (x / 4, x % 4);
    column < 3 && y < 5 && text.get(place).is_some_and(|letter| rows(*letter)[y] >> (2 - column) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_look_like_themselves() {
        let text: Vec<char> = "l1".chars().collect();
        let drawn: Vec<String> =
            (0..5).map(|y| (0..8).map(|x| if is_ink(&text, x, y) { '#' } else { '.' }).collect()).collect();
        assert_eq!(drawn, ["#....#..", "#...##..", "#....#..", "#....#..", "###.###."]);
    }

    #[test]
    fn letters_and_digits_differ() {
        let all: Vec<char> = ('A'..='Z').chain('0'..='9').chain("-_. /".chars()).collect();
        for (index, letter) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| rows(*other) != rows(*letter)), "{letter}");
        }
    }
}
