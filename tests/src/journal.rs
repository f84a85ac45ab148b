//! The judge: what the commands themselves wrote.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was written.
    pub fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        self.entries_from(&mut 0)
    }

    /// What was written behind this byte, which moves to the end of it.
    pub fn entries_from(&self, from: &mut u64) -> anyhow::Result<Vec<Entry>> {
        let mut text = String::new();
        match File::open(&self.path) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(*from))?;
                file.read_to_string(&mut text)?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        *from += text.len() as u64;
        text.lines().map(Entry::parse).collect()
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

impl Entry {
    fn parse(line: &str) -> anyhow::Result<Self> {
        let words: Vec<_> = line.split(' ').collect();
        let [schedule, nominal_time, attempt, token] = words[..] else {
            anyhow::bail!("malformed line in the journal: {line:?}")
        };
        Ok(Self {
            schedule: schedule.to_owned(),
            nominal_time: nominal_time.to_owned(),
            attempt: attempt.to_owned(),
            fencing_token: token.parse()?,
        })
    }
}
