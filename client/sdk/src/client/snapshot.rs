//! A snapshot of the cluster, as it arrives.

use std::fmt;

use belfry_proto::v1 as pb;
use belfry_proto::v1::cluster_service_client::ClusterServiceClient;
use tonic::Streaming;

use super::Client;
use super::call::Repeat;
use crate::error::ClientError;

/// The parts of a snapshot. Only one that was read to its end and verified is one: a stream that was cut off ends like one
/// that is whole.
pub struct SnapshotParts(Streaming<pb::SnapshotPart>);

impl fmt::Debug for SnapshotParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SnapshotParts")
    }
}

impl SnapshotParts {
    /// The next part; none after the last one.
    pub async fn next(&mut self) -> Result<Option<pb::snapshot_part::Part>, ClientError> {
        match self.0.message().await {
            Ok(message) => Ok(message.and_then(|message| message.part)),
            Err(status) => Err(ClientError::refused(status)),
        }
    }
}

impl Client {
    /// Saves everything that is committed now: everything acknowledged before the call is in it. The head comes first, then the
    /// bytes of a file that `belfry cluster snapshot` verifies and restores.
    pub async fn save_snapshot(&self) -> Result<SnapshotParts, ClientError> {
        let request = pb::SaveSnapshotRequest {};
        let send = |connection, request| async move {
            ClusterServiceClient::new(connection).save_snapshot(request).await
        };
        Ok(SnapshotParts(self.call("save_snapshot", request, Repeat::Always, send).await?))
    }
}
