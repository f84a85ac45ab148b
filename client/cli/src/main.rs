//! The belfry command.
fn main() {}
