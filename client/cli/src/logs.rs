//! Logs of this process: on stderr, so that they never mix with data (OUT-1).

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What is logged when nothing is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usually {
    /// Commands that end: their answer says it all.
    Warnings,
    /// Processes that stay.
    Progress,
}

/// Starts logging. `BELFRY_LOG` (such as `info,belfry_sdk=debug`) overrides `verbosity`, the number of `-v`.
pub(crate) fn start(format: LogFormat, usually: Usually, verbosity: u8) {
    let filter =
        EnvFilter::try_from_env("BELFRY_LOG").unwrap_or_else(|_| EnvFilter::new(level(usually, verbosity)));
    install(format, filter);
}

fn install(format: LogFormat, filter: EnvFilter) {
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only fails when logging has been started before, and then it works.
    let _ = match format {
        LogFormat::Text => {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            builder.with_ansi(is_terminal && std::env::var_os("NO_COLOR").is_none()).try_init()
        }
        LogFormat::Json => builder.json().try_init(),
    };
}

/// Starts logging by a filter from a configuration; `BELFRY_LOG` overrides it.
pub(crate) fn start_with_filter(format: LogFormat, filter: &str) -> Result<(), Failure> {
    let filter = match std::env::var("BELFRY_LOG") {
        Ok(filter) => filter,
        Err(_not_set) => filter.to_owned(),
    };
    let filter = EnvFilter::try_new(&filter)
        .map_err(|error| Failure::usage(format!("log.level `{filter}` is no filter: {error}")))?;
    install(format, filter);
    Ok(())
}

fn level(usually: Usually, verbosity: u8) -> &'static str {
    let first = match usually {
        Usually::Warnings => 0,
        Usually::Progress => 1,
    };
    // All crates of ours begin with `belfry`; the libraries below would drown them and get one level less.
    match first + verbosity {
        0 => "warn",
        1 => "info,openraft=warn",
        2 => "info,openraft=warn,belfry=debug",
        3 => "debug",
        _more => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_v_says_more() {
        assert_eq!(level(Usually::Warnings, 0), "warn");
        assert_eq!(level(Usually::Warnings, 1), level(Usually::Progress, 0));
        assert_eq!(level(Usually::Progress, 9), "trace");
    }
}
