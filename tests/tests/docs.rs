//! The pages for users, held against the program: what they show works, and what they name exists.
//!
//! A block that is run has `<!-- run -->` above it (`<!-- run: exit 2 -->` where it must fail so, `<!-- run if curl -->`
//! where it needs a program that a machine may lack). `<!-- output -->` above the next block says that it is what was
//! printed, to the letter. Blocks of one page share a folder, and are run in order.
//!
//! - DOCS-1: every block of shell commands is run, or says above itself why not (`<!-- not run: … -->`).
//! - DOCS-2: every block of Rust stands in the file named above it, which is compiled (`<!-- from client/… -->`).
//! - DOCS-3: every `belfry …` in the text is a command that exists, with flags that exist.
//! - DOCS-4: every metric named is one that a node exports.
//! - DOCS-5: every link to a file of the repository leads somewhere.
//! - DOCS-6: the reference of the configuration is generated. `BLESS=1` writes it.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use belfry_server::config::Config;
use belfry_tests::binary;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Nothing of a block that failed half-way stays behind.
const CLEAN_UP: &str = "trap 'kill -KILL $(jobs -p) 2> /dev/null || true' EXIT";

/// Addresses in the pages that stand for those of the cluster under test.
const API: &str = "127.0.0.1:7400";
const ADMIN: &str = "127.0.0.1:7402";
/// Addresses in the pages that a block's own node listens on.
const OWN: [&str; 3] = ["127.0.0.1:7500", "127.0.0.1:7501", "127.0.0.1:7502"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

struct Page {
    path: PathBuf,
    /// The text outside of blocks.
    prose: String,
    blocks: Vec<Block>,
}

struct Block {
    line: usize,
    language: String,
    /// The comment right above.
    mark: String,
    text: String,
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let mut page = Self {
            prose: String::new(),
            blocks: Vec::new(),
            path: path.strip_prefix(root()).unwrap().into(),
        };
        let mut mark = String::new();
        let text = fs::read_to_string(path).unwrap();
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let body = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
                let text = body.map(|line| format!("{line}\n")).collect();
                let mark = std::mem::take(&mut mark);
                page.blocks.push(Block { line: number + 1, language: language.to_owned(), mark, text });
            } else {
                let comment = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
                mark = comment.unwrap_or_default().to_owned();
                page.prose.push_str(line);
                page.prose.push('\n');
            }
        }
        page
    }

    fn at(&self, block: &Block) -> String {
        format!("{}:{}", self.path.display(), block.line)
    }

    /// What stands between back-quotes.
    fn code(&self) -> impl Iterator<Item = &str> {
        self.prose.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
    }
}

/// The pages of docs/, in order of name.
fn docs() -> Vec<Page> {
    let items = fs::read_dir(root().join("docs")).unwrap().map(|item| item.unwrap().path());
    let pages: BTreeSet<_> = items.filter(|path| path.extension().is_some_and(|end| end == "md")).collect();
    assert!(pages.len() >= 7, "{pages:?}");
    pages.into_iter().map(Page::read).collect()
}

/// All pages that people read.
fn all_pages() -> Vec<Page> {
    let others = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "deploy/README.md"];
    docs().into_iter().chain(others.map(|path| Page::read(root().join(path)))).collect()
}

/// `belfry dev` with one node and its executor, ended when dropped.
struct Dev {
    child: Child,
    out: BufReader<ChildStdout>,
    api: String,
    admin: String,
}

impl Dev {
    fn start(folder: &Path) -> Self {
        let log = fs::File::create(folder.join("dev.log")).unwrap();
        let data = folder.join("dev");
        let mut child = Command::new(binary::belfry().unwrap())
            .args(["dev", "--nodes", "1", "--no-demo", "--api", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut dev = Self { child, out, api: String::new(), admin: String::new() };
        while dev.admin.is_empty() {
            let mut line = String::new();
            let read = dev.out.read_line(&mut line).unwrap();
            assert!(read > 0, "it ended: {}", fs::read_to_string(folder.join("dev.log")).unwrap());
            assert!(!line.starts_with("In another terminal"), "it did not say where it listens");
            let after = |mark: &str, end: &str| {
                line.split_once(mark).and_then(|(_, rest)| rest.split(end).next()).map(str::to_owned)
            };
            if let Some(api) = after("belfry on http://", ": ") {
                dev.api = api;
            }
            if let Some(admin) = after("metrics  http://", "/") {
                dev.admin = admin;
            }
        }
        dev
    }

    /// The names of the metrics that the node exports.
    fn metrics(&self) -> BTreeSet<String> {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: {}\r\n\r\n", self.admin).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }

    /// Ends it the way that people do.
    fn stop(mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success(), "{rest}");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // After `stop` there is nobody left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a mark above a block asks for.
struct Wanted {
    exit: i32,
}

/// None: it is not to be run.
fn wanted(page: &Page, block: &Block) -> Option<Wanted> {
    match block.mark.split_once(' ').unwrap_or((block.mark.as_str(), "")) {
        ("run", "") => Some(Wanted { exit: 0 }),
        ("run:", rest) => Some(Wanted { exit: rest.strip_prefix("exit ").unwrap().parse().unwrap() }),
        ("run", rest) => is_installed(rest.strip_prefix("if ").unwrap()).then_some(Wanted { exit: 0 }),
        ("not", why) if why.len() > "run: ".len() => None,
        _ => panic!("{}: DOCS-1: mark the block as `run`, or as `not run: why`", page.at(block)),
    }
}

fn is_installed(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| folder.join(program).is_file())
}

/// Runs a block; gives back what it printed.
fn run(page: &Page, block: &Block, wanted: &Wanted, script: &str, folder: &Path, dev: &Dev) -> String {
    let printed = folder.join("printed");
    let out = fs::File::create(&printed).unwrap();
    let binary = binary::belfry().unwrap();
    let path = format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"BELFRY_")) {
        command.env_remove(name);
    }
    let status = command
        .args(["-euo", "pipefail", "-c", &format!("{CLEAN_UP}\n{script}")])
        .env("PATH", path)
        .env("BELFRY_ENDPOINT", &dev.api)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .status()
        .unwrap();
    let printed = fs::read_to_string(&printed).unwrap();
    assert_eq!(status.code(), Some(wanted.exit), "{}: {script}\n--- printed\n{printed}", page.at(block));
    printed
}

#[test]
fn what_the_pages_show_works() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let own: Vec<_> = OWN.iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let mut addresses = BTreeMap::from([(API, dev.api.clone()), (ADMIN, dev.admin.clone())]);
    for (address, listener) in OWN.into_iter().zip(&own) {
        addresses.insert(address, listener.local_addr().unwrap().to_string());
    }
    drop(own);

    let mut count = 0;
    for page in docs() {
        let page_folder = folder.path().join(page.path.file_stem().unwrap());
        fs::create_dir(&page_folder).unwrap();
        let mut printed = None;
        for block in &page.blocks {
            if block.mark == "output" {
                let printed = printed.take().unwrap_or_else(|| panic!("{}: of which block?", page.at(block)));
                assert_eq!(block.text, printed, "{}: DOCS: this is not what is printed", page.at(block));
            }
            if block.language != "sh" {
                continue;
            }
            let Some(wanted) = wanted(&page, block) else { continue };
            let mut script = block.text.clone();
            for (address, real) in &addresses {
                script = script.replace(address, real);
            }
            printed = Some(run(&page, block, &wanted, &script, &page_folder, &dev));
            count += 1;
        }
    }
    assert!(count >= 15, "only {count} blocks were run");

    let exported = dev.metrics();
    let mut named = 0;
    for page in docs() {
        let blocks = page.blocks.iter().filter(|block| block.language == "promql");
        let texts = page.code().chain(blocks.map(|block| block.text.as_str()));
        let words = texts.flat_map(|text| text.split(|c: char| !(c.is_ascii_lowercase() || c == '_')));
        for word in words.filter(|word| word.starts_with("belfry_")) {
            let ends = ["_total", "_bucket", "_sum", "_count", "_info"];
            let family = ends.into_iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
            assert!(exported.contains(family), "{}: DOCS-4: {word}", page.path.display());
            named += 1;
        }
    }
    assert!(named >= 8, "only {named} metrics are named");
    dev.stop();
}

#[test]
fn commands_in_the_text_exist() {
    let belfry = binary::belfry().unwrap();
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    for page in all_pages() {
        for code in page.code() {
            let Some(line) = code.strip_prefix("belfry ") else { continue };
            let is_word = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            let words = line.split(' ').take_while(|word| is_word(word) && !word.starts_with('-'));
            let words: Vec<_> = words.map(str::to_owned).collect();
            let help = helps.entry(words.clone()).or_insert_with(|| {
                let output = Command::new(&belfry).args(&words).arg("--help").output().unwrap();
                assert!(output.status.success(), "{}: DOCS-3: `{code}`", page.path.display());
                String::from_utf8(output.stdout).unwrap()
            });
            // What follows `--` alone is somebody else's.
            let own = line.split(" -- ").next().unwrap();
            for flag in own.split([' ', '=', '|', '[', ']']).filter(|word| word.starts_with("--")) {
                assert!(help.contains(flag), "{}: DOCS-3: {flag} in `{code}`", page.path.display());
            }
        }
    }
    assert!(helps.len() > 10, "{:?}", helps.keys());
}

#[test]
fn code_in_the_pages_is_code_that_is_compiled() {
    for page in docs() {
        for block in page.blocks.iter().filter(|block| block.language == "rust") {
            let file = block.mark.strip_prefix("from ");
            let file = file.unwrap_or_else(|| panic!("{}: DOCS-2: name its file", page.at(block)));
            let text = fs::read_to_string(root().join(file)).unwrap();
            assert!(text.contains(&block.text), "{}: DOCS-2: not in {file}", page.at(block));
        }
    }
}

#[test]
fn links_lead_somewhere() {
    for page in all_pages() {
        let folder = root().join(page.path.parent().unwrap());
        for rest in page.prose.split("](").skip(1) {
            let target = rest.split([')', '#']).next().unwrap();
            let is_file = !target.is_empty() && !target.contains("://");
            assert!(!is_file || folder.join(target).exists(), "{}: DOCS-5: {target}", page.path.display());
        }
    }
}

#[test]
fn the_reference_of_the_configuration_is_current() {
    let path = root().join("docs/configuration.md");
    let page = fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once("<!-- generated -->\n```toml\n").unwrap();
    let (found, tail) = rest.split_once("```\n").unwrap();
    let reference = Config::reference();
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, format!("{head}<!-- generated -->\n```toml\n{reference}```\n{tail}")).unwrap();
    } else {
        assert_eq!(found, reference, "DOCS-6: run this test with BLESS=1");
    }
}
