//! Random values: cronie, FreeBSD and OpenBSD read `a~b` as "any minute from a to b", chosen when the file is read.

/// The text with each `a~b` written as `H(a-b)`, which is chosen once per schedule. Ends that are left out are those of the
/// field. Anything else stays as it is, to be refused where it is parsed.
pub(super) fn made_stable(expression: &str) -> String {
    if !expression.contains('~') || expression.starts_with('@') {
        return expression.to_owned();
    }
    let fields = expression.split_ascii_whitespace().enumerate();
    let fields = fields.map(|(index, field)| {
        let items = field.split(',').map(|item| stable(item, ENDS.get(index)));
        items.collect::<Vec<_>>().join(",")
    });
    fields.collect::<Vec<_>>().join(" ")
}

/// The values of the five fields.
const ENDS: [(&str, &str); 5] = [("0", "59"), ("0", "23"), ("1", "31"), ("1", "12"), ("0", "6")];

fn stable(item: &str, ends: Option<&(&str, &str)>) -> String {
    let (Some((first, last)), Some((min, max))) = (item.split_once('~'), ends) else {
        return item.to_owned();
    };
    // cronie's step behind a random range begins at the random value, as that of `H` does.
    let (last, step) =
        last.split_once('/').map_or((last, String::new()), |(last, step)| (last, format!("/{step}")));
    let or = |text: &str, end: &str| if text.is_empty() { end.to_owned() } else { text.to_owned() };
    format!("H({}-{}){step}", or(first, min), or(last, max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_values_become_stable_ones() {
        for (written, expected) in [
            ("0~59 3 * * *", "H(0-59) 3 * * *"),
            ("~ ~5 1~ * *", "H(0-59) H(0-5) H(1-31) * *"),
            ("0,30~40 3 * * *", "0,H(30-40) 3 * * *"),
            ("0~14/15 3 * * *", "H(0-14)/15 3 * * *"),
            ("1-5 3 * * *", "1-5 3 * * *"),
            ("@daily", "@daily"),
        ] {
            assert_eq!(made_stable(written), expected);
        }
    }
}
