//! Runs that are due and nobody to carry them out: short. The long form is a program: see `tests/README.md`.

use std::process::Command;

#[test]
fn what_nobody_carries_out_stays_due_and_takes_no_more_memory() {
    let program = env!("CARGO_BIN_EXE_overload");
    let arguments = [
        "backlog",
        "--due",
        "500",
        "--cron",
        "* * * * * *",
        "--seconds",
        "12",
        "--config",
        "[retention]\\nrows_max = 1500",
    ];
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    println!("{}", said[0]);
    assert!(output.status.success(), "{said:?}");
}
