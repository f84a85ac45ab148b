//! A rolling deploy, short. The long one is a program: see `tests/README.md`.

use std::path::Path;

use belfry_tests::rolling::{Deploy, deploy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_deploy_under_load_is_not_noticed() {
    let program = Path::new(env!("CARGO_BIN_EXE_rolling"));
    let short = Deploy { from: None, schedules: 200, rounds: 2, clients: 3 };
    let report = Box::pin(deploy(program, short)).await.unwrap();
    println!("{report}");
    assert_eq!((report.lost, report.doubled, report.failures.len()), (0, 0, 0));
    assert!(!report.hand_overs.is_empty(), "no leader was stopped");
    // On a machine that does other things beside, in a debug build; the program asks for 300 ms.
    assert!(report.hand_overs.iter().all(|(_, begin)| *begin < 3000), "{report:?}");
}
