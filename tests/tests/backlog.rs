//! Runs that are due and nobody to carry them out: short. The long form, which looks at memory, is a program: see `tests/README.md`.

use std::process::Command;

#[test]
fn what_nobody_carries_out_stays_due_and_rows_stay_within_their_limit() {
    let program = env!("CARGO_BIN_EXE_overload");
    // 15 000 rows are made, of which those of the last ten seconds may not have been let go of yet.
    let load = ["backlog", "--due", "500", "--cron", "* * * * * *", "--seconds", "30"];
    let limits = ["--rows-max", "1500", "--rows-beyond", "7000", "--answered-within-ms", "10000"];
    let output = Command::new(program).args(load).args(limits).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    println!("{}", said[0]);
    assert!(output.status.success(), "{said:?}");
}
