//! One line of text for people, within a limit.

/// What stands for what was cut off.
const MORE: &str = "…";

/// `text` as one line of at most `bytes_max` bytes, which has room for the mark of what is missing.
pub(super) fn one_line(text: &str, bytes_max: usize) -> String {
    // What is beyond the limit is not even looked at.
    let start = &text[..text.floor_char_boundary(bytes_max + 1)];
    let mut line: String =
        start.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if line.len() > bytes_max || start.len() < text.len() {
        line.truncate(line.floor_char_boundary(bytes_max - MORE.len()));
        line.push_str(MORE);
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_line() {
        assert_eq!(one_line("42 of 100\n", 256), "42 of 100");
        assert_eq!(one_line("a\r\nb\tc", 256), "a  b c");
    }

    #[test]
    fn is_cut_at_a_character() {
        assert_eq!(one_line(&"x".repeat(256), 256), "x".repeat(256));
        assert_eq!(one_line(&"x".repeat(257), 256), "x".repeat(253) + "…");
        assert_eq!(one_line(&"é".repeat(129), 256), "é".repeat(126) + "…");
        // A C1 control has two bytes, the space in its place has one.
        assert_eq!(one_line(&"\u{85}".repeat(300), 256), " ".repeat(128) + "…");
    }
}
