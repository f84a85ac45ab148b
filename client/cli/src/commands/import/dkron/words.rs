//! Texts that Dkron reads in its own way: `~` in schedules, words of commands.

/// The schedule with every `~` replaced as Dkron does: by the sum of the characters of the job's name, within each field.
pub(super) fn resolved(schedule: &str, name: &str) -> String {
    if schedule.starts_with('@') || !schedule.contains('~') {
        return schedule.to_owned();
    }
    let hash = name.chars().fold(0_u64, |hash, character| hash + u64::from(u32::from(character)));
    let fields = schedule.split(' ').enumerate().map(|(index, field)| {
        let value = match index {
            2 => hash % 24,
            3 => hash % 28 + 1,
            4 => hash % 12 + 1,
            5 => hash % 7,
            _second_or_minute => hash % 60,
        };
        field.replace('~', &value.to_string())
    });
    fields.collect::<Vec<_>>().join(" ")
}

/// Splits a command that no shell reads: quotes and backslashes, and nothing else.
pub(super) fn split(command: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', None | Some('"')) => {
                let next = characters.next().ok_or("ends with a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (mark, Some(open)) if mark == open => quote = None,
            (other, Some(_)) => word.get_or_insert_default().push(other),
            ('\'' | '"', None) => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (blank, None) if blank.is_whitespace() => words.extend(word.take()),
            (';' | '&' | '|' | '<' | '>', None) => {
                return Err(format!(
                    "has `{character}` outside of quotes, where Dkron stops reading without a shell: set shell to true"
                ));
            }
            (other, None) => word.get_or_insert_default().push(other),
        }
    }
    match quote {
        Some(open) => Err(format!("has a {open} without its other half")),
        None => {
            words.extend(word);
            Ok(words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tildes_are_the_sum_of_the_name() {
        // j + o + b = 106 + 111 + 98 = 315.
        assert_eq!(resolved("0 ~ ~ ~ ~ ~", "job"), "0 15 3 8 4 0");
        assert_eq!(resolved("~ ~/20 * * * ?", "job"), "15 15/20 * * * ?");
        assert_eq!(resolved("@every 1h", "job"), "@every 1h");
    }

    #[test]
    fn words_are_split_without_a_shell() {
        let split = |command: &str| split(command).map(|words| words.join("|"));
        assert_eq!(split("tar  -czf '/a b.tgz' \"x\\\"y\" z\\ w ''").unwrap(), "tar|-czf|/a b.tgz|x\"y|z w|");
        for command in ["a | b", "a && b", "a > b", "a 'b", "a \\"] {
            assert!(split(command).is_err(), "{command}");
        }
    }
}
