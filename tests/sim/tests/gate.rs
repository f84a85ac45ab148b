//! What the gate simulates. A failure prints the command that replays it.

use std::process::Command;

fn sim(args: &[&str]) {
    let status =
        Command::new(env!("CARGO_BIN_EXE_sim")).args(args).status().expect("the binary of this crate runs");
    assert!(status.success(), "sim {}: see above", args.join(" "));
}

#[test]
fn no_seed_violates_an_invariant_and_all_kinds_of_faults_were_seen() {
    sim(&["--fixed", "--fresh", "2", "--seconds", "20"]);
}

#[test]
fn a_seed_leaves_the_same_trace_in_every_process() {
    sim(&["--seed", "1", "--seconds", "8", "--twice"]);
}
