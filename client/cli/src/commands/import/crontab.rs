//! `belfry import crontab`: lines of crontabs as drafts.

use std::path::Path;

use belfry_sdk::pb;
use belfry_timing::crontab::{self, CrontabEntry, Crontabs, Form};
use clap::Args;

use super::dialect::{self, Source, vixie};
use super::plan::{Draft, Rejected, Remarks, Rule, When};
use super::{Found, ImportArgs, Origin, carry_out, input, zone};
use crate::commands::Context;
use crate::exit::Failure;
use crate::text;

const ORIGIN: Origin = Origin {
    name: "crontab",
    has_names: false,
    paths: &["timing", "target", "description", "policies.attempt_timeout"],
};

#[derive(Debug, Args)]
pub(crate) struct CrontabArgs {
    /// The crontab, as `crontab -l` prints it; `-` for stdin; a file or the folder of /etc/cron.d.
    file: String,
    /// Zone of lines without CRON_TZ: that of the machine the crontab is from.
    #[arg(long, visible_alias = "assume-tz", value_name = "ZONE")]
    tz: Option<String>,
    /// A user stands before the command, as in /etc/crontab. Assumed for that file and for /etc/cron.d.
    #[arg(long)]
    system: bool,
    #[command(flatten)]
    import: ImportArgs,
}

pub(super) fn run(context: &Context, args: &CrontabArgs) -> Result<(), Failure> {
    let assumed = zone(args.tz.as_deref())?;
    let default = Defaults { args, zone: assumed.as_ref().map(belfry_timing::TimeZone::name), context };
    let mut crontabs = Crontabs::default();
    let mut found = Found::default();
    match input::files_of(&args.file)? {
        None => {
            let form = if args.system || is_system(&args.file) { Form::System } else { Form::User };
            default.read(&mut crontabs, &input::read(&args.file)?, form, "", &mut found);
        }
        Some(files) => {
            for file in files {
                let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if crontab::is_read_by_cron(&name) {
                    let text = input::read(&file.display().to_string())?;
                    default.read(&mut crontabs, &text, Form::System, &format!("{name} "), &mut found);
                } else {
                    found.remarks.push(format!(
                        "{name}: passed over: cron reads names of letters, digits, `-` and `_` only"
                    ));
                }
            }
        }
    }
    if !found.drafts.is_empty() {
        let limit = belfry_timing::format_duration(args.import.attempt_timeout);
        found.remarks.push(format!(
            "all: cron sets no limit of time and starts a second copy beside a slow one; here an attempt is killed after {limit} (--attempt-timeout) and one run waits for the other"
        ));
    }
    carry_out(context, &ORIGIN, &args.import, found)
}

/// Whether a file of this path has a user column.
fn is_system(file: &str) -> bool {
    let path = Path::new(file);
    let is_in = |folder: &str| path.parent().and_then(Path::file_name).is_some_and(|parent| parent == folder);
    is_in("cron.d") || (is_in("etc") && path.file_name().is_some_and(|name| name == "crontab"))
}

struct Defaults<'a> {
    context: &'a Context,
    args: &'a CrontabArgs,
    /// The machine's zone, if it was given.
    zone: Option<&'a str>,
}

impl Defaults<'_> {
    /// Reads one file. `prefix` is what its places begin with.
    fn read(&self, crontabs: &mut Crontabs, text: &str, form: Form, prefix: &str, found: &mut Found) {
        let crontab = crontabs.read(text, form);
        for line in crontab.unsupported {
            let place = format!("{prefix}line {}", line.line);
            let reason = match line.reason.contains("system crontab") && form == Form::User {
                true => format!("{}: --system", line.reason),
                false => line.reason,
            };
            found.rejected.push(Rejected { place, text: line.text, reason });
        }
        for entry in &crontab.entries {
            match self.draft(entry, prefix) {
                Ok(draft) => found.drafts.push(draft),
                Err(rejected) => found.rejected.push(rejected),
            }
        }
    }

    fn draft(&self, entry: &CrontabEntry, prefix: &str) -> Result<Draft, Rejected> {
        let place = format!("{prefix}line {}", entry.line);
        let name = self.args.import.name(&self.context.global.namespace, &entry.suggested_name);
        let name =
            name.map_err(|reason| Rejected { place: place.clone(), text: entry.command.clone(), reason })?;
        let mut remarks = Remarks { notes: entry.notes.clone(), ..Remarks::default() };
        let zone = entry.time_zone.as_deref().or(self.zone);
        if zone.is_none() {
            remarks.change(
                "zone",
                "cron uses its machine's zone, which the file does not say: read in UTC; --tz gives it",
            );
        }
        if let Some(to) = entry.environment.get("MAILTO").filter(|to| !to.is_empty()) {
            remarks.note(format!(
                "Belfry sends no mail to {to}: the tail of the output is in the ledger, `belfry run get`"
            ));
        }
        if let Some(user) = &entry.user {
            remarks.note(format!("runs as {user}: the executor must be allowed to become that user"));
        }
        if let Some(spread) = entry.spread {
            let spread = belfry_timing::format_duration(spread);
            remarks.note(format!(
                "RANDOM_DELAY: cron chooses a delay of up to {spread} each time; here it is one per schedule and stays"
            ));
        }
        let zone = zone.unwrap_or("UTC");
        let source = source(entry, zone, &mut remarks);
        Ok(Draft {
            place,
            name,
            expression: entry.written.clone(),
            what: entry.command.clone(),
            schedule: self.schedule(entry),
            when: When {
                rule: Rule::Cron(entry.expression.clone()),
                time_zone: zone.to_owned(),
                source,
                start: None,
                end: None,
                spread: entry.spread,
            },
            remarks,
            pause: None,
        })
    }

    fn schedule(&self, entry: &CrontabEntry) -> pb::Schedule {
        let timeout = text::proto_duration(self.args.import.attempt_timeout);
        pb::Schedule {
            description: entry.comment.clone().unwrap_or_default(),
            target: Some(pb::Target { target: Some(pb::target::Target::Command(command(entry))) }),
            pool: self.args.import.pool.clone(),
            policies: Some(pb::Policies { attempt_timeout: Some(timeout), ..Default::default() }),
            ..Default::default()
        }
    }
}

/// When cron would run a line; none for a random time.
fn source(entry: &CrontabEntry, zone: &str, remarks: &mut Remarks) -> Option<Source> {
    if entry.written != entry.expression {
        return None;
    }
    match (vixie::Expression::parse(&entry.written), dialect::zone(zone)) {
        (Ok(expression), Some(zone)) => Some(Source::Vixie(expression, zone)),
        (Err(why), _) => {
            remarks.change("expression", format!("cron would not run this line: {why}"));
            None
        }
        (Ok(_), None) => None,
    }
}

/// What a line runs. What cron does with SHELL and HOME is done here too; all settings reach the command.
fn command(entry: &CrontabEntry) -> pb::CommandTarget {
    let mut command = pb::CommandTarget {
        environment: entry.environment.clone(),
        working_directory: entry.environment.get("HOME").cloned().unwrap_or_default(),
        user: entry.user.clone().unwrap_or_default(),
        stdin: entry.stdin.clone().unwrap_or_default().into_bytes().into(),
        ..Default::default()
    };
    match entry.environment.get("SHELL").map(String::as_str) {
        None | Some("/bin/sh") => command.shell.clone_from(&entry.command),
        Some(shell) => command.argv = vec![shell.to_owned(), "-c".to_owned(), entry.command.clone()],
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command_of(text: &str) -> pb::CommandTarget {
        command(&crontab::parse(text).entries[0])
    }

    #[test]
    fn a_line_becomes_what_cron_would_run() {
        let command = command_of("HOME=/srv\n0 3 * * * mail -s hi me%Hello\n");
        assert_eq!(command.shell, "mail -s hi me");
        assert_eq!(&command.stdin[..], b"Hello\n");
        assert_eq!(
            (command.working_directory.as_str(), command.environment["HOME"].as_str()),
            ("/srv", "/srv")
        );
    }

    #[test]
    fn another_shell_is_named() {
        let command = command_of("SHELL=/bin/bash\n0 3 * * * [[ -e x ]] && y\n");
        assert_eq!(command.argv, ["/bin/bash", "-c", "[[ -e x ]] && y"]);
        assert_eq!(command.shell, "");
    }

    #[test]
    fn system_crontabs_are_known_by_their_place() {
        for path in ["/etc/crontab", "/etc/cron.d/backup", "backup-of/etc/cron.d/x"] {
            assert!(is_system(path), "{path}");
        }
        for path in ["crontab", "-", "/var/spool/cron/crontabs/anna", "/home/anna/crontab", ""] {
            assert!(!is_system(path), "{path}");
        }
    }
}
