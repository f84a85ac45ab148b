//! Reads crontabs so that they can be imported: what becomes a schedule, and what cannot, with the reason.
//!
//! - TAB-1: every line that is not blank, a comment or an environment setting is in exactly one of the two lists.
//! - TAB-2: nothing is guessed: a line whose meaning would change silently is unsupported.
//! - TAB-3: every entry's expression and zone are accepted by [`Timing::parse_cron`](crate::Timing::parse_cron).
//!
//! A user's crontab and the files of `/etc/cron.d` differ in one column, which no line shows by itself: the caller says
//! which [`Form`] a file has. In a user's crontab a line whose command begins with `root` is listed as unsupported.

mod command;
mod names;
mod random;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{HashSeed, NeverFiring, TimeZone, Timing};

/// A line that can become a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrontabEntry {
    /// The line's number, counted from 1.
    pub line: usize,
    /// The five fields separated by single blanks, or the macro, as the file has them.
    pub written: String,
    /// The same for Belfry: a random value (`0~59`) has become a stable one (`H(0-59)`).
    pub expression: String,
    /// The zone of the last `CRON_TZ=` above, as IANA spells it; `None` means the machine's zone, which this file
    /// does not say.
    pub time_zone: Option<String>,
    /// The user column of a system crontab.
    pub user: Option<String>,
    /// `RANDOM_DELAY`: a run may begin up to so much later.
    pub spread: Option<Duration>,
    /// What the shell is to run, with `\%` already read as `%`.
    pub command: String,
    /// What the command reads: the text after the first bare `%`, further ones being line breaks.
    pub stdin: Option<String>,
    /// The settings in force at this line, without those that speak to cron itself (`CRON_TZ`, `RANDOM_DELAY`).
    pub environment: BTreeMap<String, String>,
    /// The comment on the line right above.
    pub comment: Option<String>,
    /// A name made from the command, unique within the file, the same for the same file.
    pub suggested_name: String,
    /// What somebody importing this line should know about it.
    pub notes: Vec<String>,
}

/// A line that cannot become a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The line's number, counted from 1.
    pub line: usize,
    /// The line, without surrounding blanks.
    pub text: String,
    /// Why not, and what to do instead.
    pub reason: String,
}

/// A crontab's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crontab {
    /// Those that can become schedules, in the order of the file.
    pub entries: Vec<CrontabEntry>,
    /// Those that cannot.
    pub unsupported: Vec<Unsupported>,
}

/// What the lines of a file look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `crontab -l`: the command follows the time fields.
    User,
    /// `/etc/crontab` and `/etc/cron.d`: a user stands between them.
    System,
}

/// Whether cron reads a file of this name in `/etc/cron.d`: Debian's rule for names there, so that a package manager's
/// leftovers (`backup.dpkg-old`) are not run.
pub fn is_read_by_cron(file_name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !file_name.is_empty() && file_name.bytes().all(fits)
}

/// Reads the text of one user's crontab.
pub fn parse(text: &str) -> Crontab {
    Crontabs::default().read(text, Form::User)
}

/// Reads several files that are imported together: no name is suggested twice.
#[derive(Default)]
pub struct Crontabs {
    names: names::Names,
}

impl Crontabs {
    /// Reads the text of the next file.
    pub fn read(&mut self, text: &str, form: Form) -> Crontab {
        let mut reader = Reader::new(form, std::mem::take(&mut self.names));
        read_lines(&mut reader, text);
        self.names = reader.names;
        reader.crontab
    }
}

fn read_lines(reader: &mut Reader, text: &str) {
    for (index, line) in text.lines().enumerate() {
        let line = Line { number: index + 1, text: line.trim_matches([' ', '\t', '\r']) };
        let comment = reader.comment.take();
        if let Err(reason) = reader.read(line, comment) {
            reader.crontab.unsupported.push(Unsupported {
                line: line.number,
                text: line.text.to_owned(),
                reason,
            });
        }
    }
}

#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    text: &'a str,
}

/// A week of minutes: a run that may come later than that has no time.
const RANDOM_DELAY_MAX: u32 = 7 * 24 * 60;

/// What the lines above decide about the next one.
struct Reader {
    form: Form,
    crontab: Crontab,
    names: names::Names,
    environment: BTreeMap<String, String>,
    zone: Zone,
    spread: Option<Duration>,
    /// The comment on the previous line.
    comment: Option<String>,
}

/// What `CRON_TZ` says.
#[derive(Default)]
enum Zone {
    /// Nothing: the machine's own zone.
    #[default]
    Machine,
    Named(TimeZone),
    /// A name that is none: what follows has no known meaning (TAB-2).
    Unknown {
        line: usize,
    },
}

impl Reader {
    fn new(form: Form, names: names::Names) -> Self {
        Self {
            form,
            crontab: Crontab::default(),
            names,
            environment: BTreeMap::new(),
            zone: Zone::default(),
            spread: None,
            comment: None,
        }
    }

    fn read(&mut self, line: Line<'_>, comment: Option<String>) -> Result<(), String> {
        if let Some(text) = line.text.strip_prefix('#') {
            self.comment = description(text);
            return Ok(());
        }
        if line.text.is_empty() {
            return Ok(());
        }
        if let Some((name, value)) = setting(line.text) {
            return self.set(line.number, name, value);
        }
        self.entry(line, comment)
    }

    fn set(&mut self, line: usize, name: &str, value: &str) -> Result<(), String> {
        match name {
            "RANDOM_DELAY" => {
                self.spread = None;
                let minutes = value.trim().parse().ok().filter(|minutes: &u32| *minutes <= RANDOM_DELAY_MAX);
                let minutes = minutes.ok_or_else(|| {
                    format!("write a whole number of minutes, at most {RANDOM_DELAY_MAX}: lines below are read without it")
                })?;
                self.spread = (minutes > 0).then(|| Duration::from_secs(u64::from(minutes) * 60));
                Ok(())
            }
            "CRON_TZ" if value.is_empty() => {
                self.zone = Zone::Machine;
                Ok(())
            }
            "CRON_TZ" => {
                let zone = TimeZone::parse(value);
                self.zone = zone.clone().map_or(Zone::Unknown { line }, Zone::Named);
                zone.map(drop).map_err(|error| error.to_string())
            }
            _variable => {
                self.environment.insert(name.to_owned(), value.to_owned());
                Ok(())
            }
        }
    }

    fn entry(&mut self, line: Line<'_>, comment: Option<String>) -> Result<(), String> {
        let (text, is_quiet) = match line.text.strip_prefix('-') {
            // SUSE's sign for "do not log this"; no time field begins with it.
            Some(rest) => (rest, true),
            None => (line.text, false),
        };
        let (written, rest) = split_expression(text);
        let (zone, time_zone) = match &self.zone {
            Zone::Machine => (TimeZone::utc(), None),
            Zone::Named(zone) => (zone.clone(), Some(zone.name().to_owned())),
            Zone::Unknown { line } => {
                return Err(format!("the time zone set in line {line} is unknown: correct it first"));
            }
        };
        let expression = random::made_stable(written);
        let seed = HashSeed::new("", "");
        let timing = Timing::parse_cron(&expression, &zone, NeverFiring::Allow, &seed)
            .map_err(|error| error.to_string())?;
        if rest.is_empty() {
            return Err("the line has no command: add one after the time fields".to_owned());
        }
        let (user, rest) = self.user(rest)?;
        let (command, stdin) = command::split_stdin(rest);
        if command.trim().is_empty() {
            return Err("the command is empty before `%`: write it before the input".to_owned());
        }
        let mut notes = self.notes(&timing);
        if is_quiet {
            notes.push("the `-` in front keeps cron from logging it; runs are in the ledger".to_owned());
        }
        if expression != written {
            notes.push("cron picks another random time whenever it reads the file; here the time is one per name and stays".to_owned());
        }
        self.crontab.entries.push(CrontabEntry {
            line: line.number,
            suggested_name: self.names.suggest(&command),
            notes,
            environment: self.environment.clone(),
            written: normalised(written),
            expression: normalised(&expression),
            time_zone,
            user,
            spread: self.spread,
            command,
            stdin,
            comment,
        });
        Ok(())
    }

    /// The user column, if the file has one, and what follows it.
    fn user<'t>(&self, rest: &'t str) -> Result<(Option<String>, &'t str), String> {
        let first = command::first_word(rest);
        match self.form {
            Form::User if first == "root" => Err("`root` looks like the user column of /etc/crontab and /etc/cron.d: import the file as a system crontab".to_owned()),
            Form::User => Ok((None, rest)),
            Form::System => {
                let command = rest[first.len()..].trim_start_matches([' ', '\t']);
                if command.is_empty() {
                    return Err("the line has no command behind the user column: is it the crontab of one user?".to_owned());
                }
                if !is_user(first) {
                    return Err(format!("`{first}` is no name of a user: a system crontab names one before the command"));
                }
                Ok((Some(first.to_owned()), command))
            }
        }
    }

    fn notes(&self, timing: &Timing) -> Vec<String> {
        let mut notes: Vec<String> = timing.warnings().iter().map(ToString::to_string).collect();
        if let Some(zone) = self.environment.get("TZ") {
            notes.push(format!(
                "TZ={zone} reaches the command, but cron does not schedule by it: set the schedule's time zone if it should"
            ));
        }
        notes
    }
}

/// A name as `useradd` accepts it; with a group or a login class behind it, as FreeBSD's cron knows, it is none.
fn is_user(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'$');
    !name.starts_with('-') && name.bytes().all(fits)
}

/// The time fields as they stand, so that columns are those of the line, and what follows them.
fn split_expression(line: &str) -> (&str, &str) {
    let fields = match command::first_word(line) {
        "@every" => 2,
        word if word.starts_with('@') => 1,
        _five_fields => 5,
    };
    let blanks = [' ', '\t'];
    let mut rest = line;
    let mut end = 0;
    for _ in 0..fields {
        rest = rest[command::first_word(rest).len()..].trim_start_matches(blanks);
        end = line.len() - rest.len();
    }
    (line[..end].trim_end_matches(blanks), rest)
}

/// With single blanks between the fields.
fn normalised(expression: &str) -> String {
    expression.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// `NAME = value` as cron reads it: either side may be quoted, blanks around are dropped.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = unquoted(name.trim());
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let is_setting = is_name && !name.starts_with(|first: char| first.is_ascii_digit());
    is_setting.then(|| (name, unquoted(value.trim())))
}

fn unquoted(text: &str) -> &str {
    let inside = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

/// A comment that says what the next line is for: not a decoration, a column header or a line taken out.
fn description(comment: &str) -> Option<String> {
    let text = comment.trim_matches(['#', ' ', '\t']);
    let (expression, rest) = split_expression(text);
    let seed = HashSeed::new("", "");
    let expression = random::made_stable(expression);
    let is_entry = Timing::parse_cron(&expression, &TimeZone::utc(), NeverFiring::Allow, &seed).is_ok()
        && !rest.is_empty();
    let is_header = normalised(text).starts_with("m h ") || normalised(text).starts_with("min hour");
    let has_words = text.chars().any(char::is_alphanumeric);
    (has_words && !is_entry && !is_header).then(|| text.to_owned())
}
