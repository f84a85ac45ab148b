//! The documents of files, folders and stdin.
//!
//! - FILES-1: the documents of a folder come in the order of the names of its files, folders among them by theirs.
//! - FILES-2: nothing is done with any document unless all of them can be read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde_yaml_ng::Value;

use super::document::{self, Document, Kind};
use crate::exit::Failure;

/// Larger than thousands of schedules, and small enough to be held in memory.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Deeper than anybody sorts files, and a limit where links lead in a circle.
const FOLDERS_DEEP_MAX: usize = 16;
/// Names of files that a folder may have beside others.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];
/// What stands for stdin.
const STDIN: &str = "-";

/// Which documents a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepted {
    /// All of them; what says no kind is a schedule.
    All,
    /// Only these, which need not say so.
    Only(Kind),
}

/// What these files declare, each once.
pub(super) fn documents(
    paths: &[String],
    namespace: &str,
    accepted: Accepted,
) -> Result<Vec<Document>, Failure> {
    let (documents, origins, problems) = Default::default();
    let mut read = Reading { namespace, accepted, documents, origins, problems };
    for path in paths {
        read.path(path)?;
    }
    match read.problems.split_first() {
        None => Ok(read.documents),
        Some((first, rest)) => {
            let mut failure = Failure::usage(first);
            rest.iter().for_each(|problem| failure.also(Failure::usage(problem)));
            Err(failure)
        }
    }
}

struct Reading<'a> {
    namespace: &'a str,
    accepted: Accepted,
    documents: Vec<Document>,
    /// Where each was found.
    origins: BTreeMap<String, String>,
    problems: Vec<String>,
}

impl Reading<'_> {
    fn path(&mut self, path: &str) -> Result<(), Failure> {
        if path == STDIN {
            let text = text_of(io::stdin().lock()).map_err(|error| unreadable("stdin", &error))?;
            self.text("stdin", &text);
            return Ok(());
        }
        let files = files(Path::new(path), 0).map_err(|error| unreadable(path, &error))?;
        for file in files {
            let name = file.display().to_string();
            let text = File::open(&file).and_then(text_of).map_err(|error| unreadable(&name, &error))?;
            self.text(&name, &text);
        }
        Ok(())
    }

    fn text(&mut self, file: &str, text: &str) {
        let documents = match parse(text) {
            Ok(documents) => documents,
            Err(error) => return self.problems.push(format!("{file}: {error}")),
        };
        let usual = match self.accepted {
            Accepted::All => Kind::Schedule,
            Accepted::Only(kind) => kind,
        };
        for (index, (kind, document)) in documents.iter().enumerate() {
            let place = match document::title(document) {
                Some(title) => format!("{file}, document {} ({title})", index + 1),
                None => format!("{file}, document {}", index + 1),
            };
            match document::read(document, self.namespace, kind.unwrap_or(usual)) {
                Ok(document) => self.keep(document, place),
                Err(problems) => {
                    self.problems.extend(problems.iter().map(|problem| format!("{place}: {problem}")));
                }
            }
        }
    }

    fn keep(&mut self, document: Document, place: String) {
        let kind = document.kind();
        if let Accepted::Only(accepted) = self.accepted
            && kind != accepted
        {
            self.problems.push(format!(
                "{place}: kind is {} and should be {}: `belfry apply` takes all kinds",
                kind.name(),
                accepted.name()
            ));
            return;
        }
        if let Some(other) = self.origins.get(document.name()) {
            self.problems.push(format!("{place}: {} is defined in {other} too: keep one", document.name()));
            return;
        }
        self.origins.insert(document.name().to_owned(), place);
        self.documents.push(document);
    }
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot read {name}: {error}"))
}

/// FILES-1: the file itself, or those of the folder.
fn files(path: &Path, depth: usize) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    if depth == FOLDERS_DEEP_MAX {
        return Err(io::Error::other(format!("more than {FOLDERS_DEEP_MAX} folders deep")));
    }
    let mut entries = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<PathBuf>>>()?;
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        let is_hidden = entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        let extension = entry.extension().and_then(|extension| extension.to_str());
        let is_document = extension.is_some_and(|extension| EXTENSIONS.contains(&extension));
        if !is_hidden && (is_document || fs::metadata(&entry)?.is_dir()) {
            found.extend(files(&entry, depth + 1)?);
        }
    }
    Ok(found)
}

fn text_of(read: impl Read) -> io::Result<String> {
    let mut text = String::new();
    // One byte more than allowed tells too much from just enough, also where a file has no end.
    let size = read.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if size as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("more than {FILE_BYTES_MAX} bytes: split it")));
    }
    Ok(text)
}

/// The documents of a text. A list as `belfry schedule list -o yaml` writes it stands for its items, and says what they are.
fn parse(text: &str) -> Result<Vec<(Option<Kind>, Value)>, String> {
    let documents: Vec<Value> = if text.trim_start().starts_with('{') {
        // YAML knows JSON too, but neither its tabs nor one document right behind the other.
        let documents = serde_json::Deserializer::from_str(text).into_iter();
        documents.collect::<Result<_, _>>().map_err(|error| format!("is no JSON: {error}"))?
    } else {
        let documents = serde_yaml_ng::Deserializer::from_str(text).map(Value::deserialize);
        documents.collect::<Result<_, _>>().map_err(|error| format!("is no YAML: {error}"))?
    };
    let mut flat = Vec::with_capacity(documents.len());
    for document in documents {
        let list = Kind::ALL.iter().find_map(|kind| Some((*kind, document.get(kind.list())?)));
        match list {
            Some((kind, Value::Sequence(items))) => {
                flat.extend(items.iter().map(|item| (Some(kind), item.clone())));
            }
            Some((kind, _)) => return Err(format!("has `{}` that are no list", kind.list())),
            None if document.is_null() => {}
            None => flat.push((None, document)),
        }
    }
    Ok(flat)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str) -> String {
        format!(
            "name: {name}\ntiming: {{include: [{{interval: {{every: 1h}}}}]}}\ntarget: {{command: {{shell: x}}}}\n"
        )
    }

    fn names(paths: &[String]) -> Result<Vec<String>, Failure> {
        let names = |document: &Document| crate::text::short_name(document.name()).to_owned();
        Ok(documents(paths, "default", Accepted::All)?.iter().map(names).collect())
    }

    #[test]
    fn folders_are_read_in_order_of_name() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("b.yaml", &format!("# first\n---\n{}---\n{}---\n", document("b1"), document("b2")));
        write("a/z.yml", &format!("schedules:\n- {}", document("a").trim_end().replace('\n', "\n  ")));
        let json = |name: &str| {
            format!(
                "{{\n\t\"name\": \"{name}\", \"timing\": {{\"include\": [{{\"cron\": {{\"expression\": \"@daily\"}}}}]}}, \"target\": {{\"handler\": {{\"handler\": \"h\"}}}}}}"
            )
        };
        write("c.json", &format!("{}\n{}", json("c1"), json("c2")));
        write("README.md", "nothing of ours");
        write(".hidden.yaml", "nothing of ours");
        let path = folder.path().display().to_string();
        assert_eq!(names(std::slice::from_ref(&path)).unwrap(), ["a", "b1", "b2", "c1", "c2"]);
        let twice = names(&[path.clone(), format!("{path}/c.json")]).unwrap_err().to_string();
        assert!(
            twice.contains("c1 is defined in") && twice.contains("c.json, document 1 (c1) too"),
            "{twice}"
        );
    }

    #[test]
    fn what_cannot_be_read_is_said_with_file_and_document() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.yaml");
        let refused = |text: &str| {
            fs::write(&file, text).unwrap();
            names(&[file.display().to_string()]).unwrap_err().to_string()
        };
        assert!(refused(": [").contains("x.yaml: is no YAML: "));
        assert!(refused("{\"name\" 1}").contains("x.yaml: is no JSON: "));
        assert!(refused("name: a\nname: b").contains("duplicate entry"));
        assert!(refused("schedules: 7").contains("no list"));
        let second = refused(&format!("{}---\nname: b\ncolour: red\n", document("a")));
        assert!(second.contains("x.yaml, document 2 (b): colour is no field"), "{second}");
        assert!(refused("pools: 7").contains("has `pools` that are no list"));
        fs::write(&file, "calendars: [{name: a, days: ['*-12-25']}]\n---\nkind: Pool\nname: p\n").unwrap();
        let only = documents(&[file.display().to_string()], "n", Accepted::Only(Kind::Calendar));
        let only = only.unwrap_err().to_string();
        assert!(only.contains("document 2 (p): kind is Pool and should be Calendar"), "{only}");
        let missing = names(&["/no/such/file".to_owned()]).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read /no/such/file: "), "{missing}");
    }
}
