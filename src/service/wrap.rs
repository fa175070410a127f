//! Text in lines of a width.

/// A text in lines of at most `width` characters. Control characters of foreign names, which could
/// steer a terminal, are shown as a replacement.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut length = 0;
    for word in text.split(' ') {
        let clean = word.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
        let word: Vec<char> = clean.collect();
        let gap = usize::from(length > 0);
        if length + gap + word.len() <= width {
            push(&mut lines, gap, &word);
            length += gap + word.len();
            continue;
        }
        for (index, piece) in word.chunks(width).enumerate() {
            if length > 0 || index > 0 {
                lines.push(String::new());
            }
            push(&mut lines, 0, piece);
            length = piece.len();
        }
    }
    lines
}

fn push(lines: &mut [String], gap: usize, word: &[char]) {
    if let Some(line) = lines.last_mut() {
        line.extend(std::iter::repeat_n(' ', gap).chain(word.iter().copied()));
    }
}
