//! Names for imported lines: what runs, without how it is wrapped.
//!
//! `/usr/bin/nice -n 10 /usr/bin/certbot -q renew` is `certbot-renew`. The same file gives the same names, so that a second
//! import finds the schedules of the first.

use std::collections::BTreeSet;

/// Longer names say no more; the limit leaves room for a number behind.
const NAME_BYTES_MAX: usize = 40;

/// Names given so far.
#[derive(Default)]
pub(super) struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    /// A name for the command that no other line has.
    pub(super) fn suggest(&mut self, command: &str) -> String {
        let name = name_of(command);
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(numbered).find(|name| !self.taken.contains(name));
        let free = free.expect("there are more numbers than lines");
        self.taken.insert(free.clone());
        free
    }
}

/// Programs that run another one, the options of theirs that take a value, and how many words come before the other.
const WRAPPERS: &[(&str, &[&str], usize)] = &[
    ("chronic", &[], 0),
    ("env", &["-u"], 0),
    ("exec", &[], 0),
    ("flock", &["-w", "-E"], 1),
    ("ionice", &["-c", "-n"], 0),
    ("nice", &["-n"], 0),
    ("nohup", &[], 0),
    ("setsid", &[], 0),
    ("stdbuf", &["-i", "-o", "-e"], 0),
    ("sudo", &["-u", "-g"], 0),
    ("systemd-cat", &["-t", "-p"], 0),
    ("time", &[], 0),
    ("timeout", &["-k", "-s"], 1),
];

/// Programs that run a script.
const INTERPRETERS: &[&str] =
    &["bash", "dash", "node", "perl", "php", "python", "python3", "ruby", "sh", "zsh"];

/// Programs that only prepare the one that matters.
const PREPARATIONS: &[&str] =
    &["", "[", "[[", ".", ":", "cd", "echo", "export", "set", "sleep", "source", "test", "true", "umask"];

const EXTENSIONS: &[&str] = &[".bash", ".js", ".phar", ".php", ".pl", ".py", ".rb", ".sh"];

fn name_of(command: &str) -> String {
    let parts = command.split([';', '|', '&']).map(words);
    let mut programs = parts.map(|words| unwrapped(&words).to_vec());
    let words = programs.find(|words| !is_preparation(words)).unwrap_or_else(|| words(command));
    let name = slug(&described(&words));
    if name.is_empty() { "command".to_owned() } else { name }
}

/// The words of a command without quotes and brackets around them. A name needs no more of a shell than that.
fn words(part: &str) -> Vec<&str> {
    let words = part.split_whitespace().map(|word| word.trim_matches(['"', '\'', '(', ')', '{', '}']));
    words.filter(|word| !word.is_empty()).collect()
}

/// Whether another part of the line does the work; `perl -e 'sleep …'` is how packages spread their hour.
fn is_preparation(words: &[&str]) -> bool {
    let program = program(words);
    PREPARATIONS.contains(&program) || (program == "perl" && words.contains(&"-e"))
}

fn program<'a>(words: &[&'a str]) -> &'a str {
    words.first().map_or("", |word| basename(word))
}

fn basename(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or("")
}

/// The words from the program on that does the work.
fn unwrapped<'w, 'a>(words: &'w [&'a str]) -> &'w [&'a str] {
    let mut rest = words;
    loop {
        let assignments = rest.iter().take_while(|word| is_assignment(word)).count();
        rest = &rest[assignments..];
        let Some((_, valued, positional)) = WRAPPERS.iter().find(|(name, ..)| *name == program(rest)) else {
            return rest;
        };
        rest = without_options(&rest[1..], valued);
        rest = rest.get(*positional..).unwrap_or(&[]);
        // `flock /file -c 'command'` has its option behind the file.
        rest = without_options(rest, &[]);
    }
}

fn without_options<'w, 'a>(words: &'w [&'a str], valued: &[&str]) -> &'w [&'a str] {
    let mut rest = words;
    while let Some(option) = rest.first().filter(|word| word.starts_with('-')) {
        let taken = if valued.contains(option) { 2 } else { 1 };
        rest = rest.get(taken..).unwrap_or(&[]);
    }
    rest
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The program, or the script it runs, and its first plain argument.
fn described(words: &[&str]) -> String {
    let is_interpreter = INTERPRETERS.contains(&program(words));
    let script =
        words.iter().skip(1).position(|word| !word.starts_with('-')).map(|index| &words[index + 1..]);
    let words = if is_interpreter { script.unwrap_or(words) } else { words };
    let program = program(words);
    let program = EXTENSIONS.iter().find_map(|end| program.strip_suffix(end)).unwrap_or(program);
    let argument = words.iter().skip(1).find(|word| !word.starts_with('-')).filter(|word| is_plain(word));
    [program, argument.copied().unwrap_or("")].join(" ")
}

/// A subcommand like `renew` or `schedule:run`, not a path, a number or a redirection.
fn is_plain(word: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':');
    word.len() <= 24 && word.starts_with(|c: char| c.is_ascii_alphabetic()) && word.bytes().all(is_name)
}

/// Lower-case letters and digits with single dashes between.
fn slug(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            name.push(char::from(byte.to_ascii_lowercase()));
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        if name.len() == NAME_BYTES_MAX {
            break;
        }
    }
    name.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_runs() {
        for (command, expected) in [
            ("/usr/local/bin/backup.sh", "backup"),
            ("/usr/bin/certbot -q renew", "certbot-renew"),
            (
                "test -x /usr/bin/certbot -a \\! -d /run/systemd/system && perl -e 'sleep int(rand(43200))' && certbot -q renew",
                "certbot-renew",
            ),
            ("nice -n 10 ionice -c 3 rsync -a /srv/ backup:/srv/", "rsync"),
            ("flock -n /run/lock/sync.lock /opt/sync/run.py --all", "run"),
            ("cd /var/www/app && php artisan schedule:run >> /dev/null 2>&1", "artisan-schedule-run"),
            ("FOO=bar timeout 300 sudo -u postgres vacuumdb --all", "vacuumdb"),
            ("/usr/bin/python3 -u /opt/reports/Weekly_Report.py", "weekly-report"),
            ("[ -x /usr/sbin/logrotate ] && /usr/sbin/logrotate /etc/logrotate.conf", "logrotate"),
            ("(cd / && run-parts --report /etc/cron.hourly)", "run-parts"),
            ("echo", "echo"),
            ("&& ;", "command"),
            ("ünïcode", "n-code"),
        ] {
            assert_eq!(name_of(command), expected, "{command}");
        }
    }

    #[test]
    fn names_are_unique_and_short() {
        let mut names = Names::default();
        let given: Vec<String> = ["true", "df", "df", "df"].map(|command| names.suggest(command)).into();
        assert_eq!(given, ["true", "df", "df-2", "df-3"]);
        assert!(names.suggest(&"long".repeat(100)).len() <= NAME_BYTES_MAX);
        assert_eq!(names.suggest("df-2"), "df-2-2");
    }
}
