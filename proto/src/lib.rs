//! The contract: what goes over the wire and what is stored. Generated code only.
//!
//! - [`v1`] is the public API: it only grows.
//! - [`internal`] is what nodes say to each other and what they store: it only grows too, because an old log must
//!   mean the same for ever and nodes of two releases work side by side during a rolling deploy.

/// The public API, `belfry.v1`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("belfry.v1");
}

/// Node to node, and everything stored: `belfry.internal.v1`.
#[allow(missing_docs, clippy::all)]
pub mod internal {
    tonic::include_proto!("belfry.internal.v1");
}

/// The encoded `FileDescriptorSet` of all files, for gRPC server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
