//! A part of an expression that remembers its column, so that every refusal can name the place.

/// Part of an ASCII text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// Where it begins, counted from 1.
    pub(crate) column: usize,
    pub(crate) text: &'a str,
}

impl<'a> Piece<'a> {
    /// The words of a text, separated by blanks.
    pub(crate) fn words(text: &'a str) -> impl Iterator<Item = Piece<'a>> {
        Piece { column: 1, text }.split(|c| matches!(c, ' ' | '\t')).filter(|word| !word.text.is_empty())
    }

    /// The parts between separators, empty ones included.
    pub(crate) fn split(self, is_separator: impl Fn(char) -> bool) -> impl Iterator<Item = Piece<'a>> {
        let mut column = self.column;
        self.text.split(is_separator).map(move |text| {
            let piece = Piece { column, text };
            column += text.len() + 1;
            piece
        })
    }

    /// The parts before and after the first `separator`.
    pub(crate) fn split_once(self, separator: char) -> Option<(Piece<'a>, Piece<'a>)> {
        let (before, after) = self.text.split_once(separator)?;
        let column = self.column + before.len() + separator.len_utf8();
        Some((Piece { text: before, ..self }, Piece { column, text: after }))
    }

    /// The part before `suffix`, which may be in any case.
    pub(crate) fn before(self, suffix: &str) -> Option<Piece<'a>> {
        let at = self.text.len().checked_sub(suffix.len())?;
        let (text, end) = self.text.split_at_checked(at)?;
        end.eq_ignore_ascii_case(suffix).then_some(Piece { text, ..self })
    }

    /// The part after `prefix`, which may be in any case.
    pub(crate) fn after(self, prefix: &str) -> Option<Piece<'a>> {
        let (start, text) = self.text.split_at_checked(prefix.len())?;
        let column = self.column + prefix.len();
        start.eq_ignore_ascii_case(prefix).then_some(Piece { column, text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_their_columns() {
        let words: Vec<_> = Piece::words("  1,2\t H(3-4)/5 ").map(|word| (word.column, word.text)).collect();
        assert_eq!(words, [(3, "1,2"), (8, "H(3-4)/5")]);
        let (base, step) = Piece { column: 8, text: "H(3-4)/5" }.split_once('/').unwrap();
        assert_eq!((base.column, step.column, step.text), (8, 15, "5"));
        assert_eq!(
            base.after("h(").and_then(|inside| inside.before(")")),
            Some(Piece { column: 10, text: "3-4" })
        );
    }
}
