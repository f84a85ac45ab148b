//! Every target over its corpus, and over small changes of it: a fixed number, so that a failure can be had again.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use belfry_fuzz::{TARGETS, Target, seeds};

/// Changed inputs made of each one that is given.
fn changes_of(target: &str) -> u64 {
    match target {
        // A call to a node, or files on a disk.
        "requests" | "log_file" => 20,
        _ => 200,
    }
}

/// Numbers that look random and are the same each time (xorshift64*, Vigna 2016).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(drawn).unwrap_or(usize::MAX) % end.max(1)
    }
}

/// Changes one to four places.
fn change(input: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut input = input.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(input.len());
        match numbers.below(6) {
            0 => input.truncate(at),
            1 => input.insert(at.min(input.len()), [0, 0x7f, 0x80, 0xff, b'*', b'/'][numbers.below(6)]),
            2 => {
                let end = (at + numbers.below(16)).min(input.len());
                let copied = input.get(at..end).unwrap_or_default().to_vec();
                input.extend_from_slice(&copied);
            }
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << numbers.below(8);
                }
            }
        }
    }
    input
}

fn check(name: &str, target: Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut inputs = seeds(name);
    // What a fuzzer found once stays found; a target without such has no folder.
    if let Ok(entries) = fs::read_dir(&folder) {
        let mut paths: Vec<_> = entries.map(|entry| entry.expect("it is readable").path()).collect();
        paths.sort();
        inputs.extend(paths.iter().map(|path| fs::read(path).expect("it is readable")));
    }
    assert!(!inputs.is_empty(), "there is nothing to start from");
    let mut numbers = Numbers(1);
    for (number, input) in inputs.iter().enumerate() {
        run(name, target, number, 0, input);
        for time in 1..=changes_of(name) {
            run(name, target, number, time, &change(input, &mut numbers));
        }
    }
}

fn run(name: &str, target: Target, number: usize, time: u64, input: &[u8]) {
    // So that the input can be kept: put it into corpus/NAME as it is.
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let path = std::env::temp_dir().join(format!("belfry-fuzz-{name}-{number}-{time}"));
        fs::write(&path, input).expect("the machine has room for temporary files");
        eprintln!("{name}: input {number}, change {time}, kept as {}", path.display());
        std::panic::resume_unwind(panic);
    }
}

/// One test per target, so that they run side by side and say which one failed.
macro_rules! targets {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            check(stringify!($name), belfry_fuzz::$name);
        })+

        #[test]
        fn every_target_is_tested() {
            let tested = [$(stringify!($name)),+];
            assert_eq!(TARGETS.map(|(name, _)| name), tested);
        }
    };
}

targets! { cron crontab requests stored log_file commands }
