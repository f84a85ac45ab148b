//! The README's walk-through, every command of it, with ports and a folder of its own.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::process::{Command, Stdio};

use belfry_tests::binary;

/// Nothing of a walk-through that failed half-way stays behind.
const CLEAN_UP: &str = "trap 'kill -KILL $(jobs -p) 2> /dev/null || true' EXIT";

/// The commands between the markers of the README.
fn walkthrough() -> String {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let (_, rest) = readme.split_once("<!-- walkthrough:begin -->\n```sh\n").unwrap();
    let (commands, _) = rest.split_once("```\n<!-- walkthrough:end -->").unwrap();
    commands.to_owned()
}

/// Nine ports that were free a moment ago.
fn free_ports() -> Vec<u16> {
    let listeners: Vec<_> = (0..9).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

#[test]
fn the_walkthrough_works_as_written() {
    let belfry = binary::belfry().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut script = walkthrough();
    for line in ["cargo build --release\n", "export PATH=\"$PWD/target/release:$PATH\"\n"] {
        assert!(script.contains(line), "the walk-through builds with {line}");
        script = script.replace(line, "");
    }
    let ports = free_ports();
    for (node, ports) in (1..=3).zip(ports.chunks(3)) {
        for (last, port) in ports.iter().enumerate() {
            script = script.replace(&format!("127.0.0.1:74{node}{last}"), &format!("127.0.0.1:{port}"));
        }
    }
    // In the function that starts a node the ports are made from its number.
    for last in 0..3 {
        let words: Vec<_> = (0..3).map(|node| ports[node * 3 + last].to_string()).collect();
        let pick = format!("127.0.0.1:$(echo {} | cut -d' ' -f$1)", words.join(" "));
        script = script.replace(&format!("127.0.0.1:74${{1}}{last}"), &pick);
    }
    script = script.replace("/tmp/belfry", &folder.path().to_string_lossy());
    assert!(!script.contains(":74"), "a port of the walk-through was not replaced:\n{script}");

    let path = format!("{}:{}", belfry.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &format!("{CLEAN_UP}\n{script}")])
        .env("PATH", path)
        .env_remove("BELFRY_ENDPOINT")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n--- stdout\n{stdout}\n--- stderr\n{stderr}", output.status);
    assert!(stdout.matches("SUCCEEDED").count() >= 6, "runs before and after the leader died:\n{stdout}");
}
