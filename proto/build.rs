//! Compiles the contract with protox (a protobuf compiler in Rust), so that no protoc is needed.

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    // Served by gRPC server reflection.
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".") // payloads are shared, not copied
        .btree_map(".") // deterministic encoding of everything that is stored
        .extern_path(".google.rpc", "::tonic_types::pb") // as error details have it
        .compile_fds(descriptors)?;
    Ok(())
}

const FILES: [&str; 8] = [
    "belfry/v1/schedules.proto",
    "belfry/v1/runs.proto",
    "belfry/v1/executors.proto",
    "belfry/v1/resources.proto",
    "belfry/v1/cluster.proto",
    "belfry/internal/v1/raft.proto",
    "belfry/internal/v1/command.proto",
    "belfry/internal/v1/state.proto",
];
