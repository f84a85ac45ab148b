//! The judge: what the commands themselves wrote.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A file to which every run appends one line: a short write with O_APPEND, which the kernel does not mix with others.
pub struct Journal {
    path: PathBuf,
}

/// One line of a journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Name of the schedule.
    pub schedule: String,
    /// Nominal time, RFC 3339.
    pub nominal_time: String,
    /// Attempt.
    pub attempt: String,
    /// Fencing token.
    pub fencing_token: u64,
}

impl Journal {
    /// A journal in a folder.
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join("journal.txt") }
    }

    /// The command, for `/bin/sh -c`, that appends a line.
    pub fn command(&self) -> String {
        format!(
            "echo \"$BELFRY_SCHEDULE $BELFRY_NOMINAL_TIME $BELFRY_ATTEMPT $BELFRY_FENCING_TOKEN\" >> {}",
            self.path.display()
        )
    }

    /// What was written.
    pub fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        let text = std::fs::read_to_string(&self.path)?;
        text.lines()
            .map(|line| {
                let words: Vec<_> = line.split(' ').collect();
                let [schedule, nominal_time, attempt, token] = words[..] else {
                    anyhow::bail!("malformed line in the journal: {line:?}")
                };
                Ok(Entry {
                    schedule: schedule.to_owned(),
                    nominal_time: nominal_time.to_owned(),
                    attempt: attempt.to_owned(),
                    fencing_token: token.parse()?,
                })
            })
            .collect()
    }

    /// How often each (schedule, nominal time) began.
    pub fn begins(&self) -> anyhow::Result<BTreeMap<(String, String), u32>> {
        let mut begins = BTreeMap::new();
        for entry in self.entries()? {
            *begins.entry((entry.schedule, entry.nominal_time)).or_default() += 1;
        }
        Ok(begins)
    }
}
