//! The command of a crontab line: `%` and the input it begins.

/// The text up to the first blank.
pub(super) fn first_word(text: &str) -> &str {
    text.split([' ', '\t']).next().unwrap_or("")
}

/// The command and what it reads. The first bare `%` ends the command, further ones are line breaks, `\%` is `%`; an
/// input that does not end with a line break gets one, as cron sends it.
pub(super) fn split_stdin(text: &str) -> (String, Option<String>) {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let part = parts.last_mut().expect("the list begins with one part and only grows");
        match character {
            '\\' if characters.peek() == Some(&'%') => {
                part.push('%');
                characters.next();
            }
            '%' => parts.push(String::new()),
            other => part.push(other),
        }
    }
    let mut parts = parts.into_iter();
    let command = parts.next().unwrap_or_default();
    let lines: Vec<String> = parts.collect();
    let mut stdin = (!lines.is_empty()).then(|| lines.join("\n"));
    if let Some(input) = stdin.as_mut().filter(|input| !input.is_empty() && !input.ends_with('\n')) {
        input.push('\n');
    }
    (command.trim_end().to_owned(), stdin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_begins_the_input() {
        let split = |text| {
            let (command, stdin) = split_stdin(text);
            (command, stdin.unwrap_or_else(|| "none".to_owned()))
        };
        let expect = |command: &str, stdin: &str| (command.to_owned(), stdin.to_owned());
        assert_eq!(split("date +\\%F"), expect("date +%F", "none"));
        assert_eq!(split("mail -s hi me%Hello,%%bye"), expect("mail -s hi me", "Hello,\n\nbye\n"));
        assert_eq!(split("cat%one%"), expect("cat", "one\n"));
        assert_eq!(split("cat % a\\%b"), expect("cat", " a%b\n"));
        assert_eq!(split("cat%"), expect("cat", ""));
        assert_eq!(split("echo \\\\ \\n"), expect("echo \\\\ \\n", "none"));
    }
}
