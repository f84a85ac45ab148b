//! Who speaks to whom: named in the metadata of every call between nodes, and checked by the receiver.
//!
//! - IDENT-1 a call reaches only the life of a node that the sender's membership names. A node that lost its disk has
//!   another incarnation: nobody replicates to it and nobody asks for its vote, so it cannot forget what it promised.
//! - IDENT-2 nodes of two clusters never hear each other. A node that belongs to none adopts the cluster of the first
//!   call that names its own incarnation: only that cluster's founder, or a leader that added it, can know it.
//! - IDENT-3 a cluster id is durable before anything else of that cluster is.

use std::io;
use std::sync::{Mutex, PoisonError, RwLock};

use tonic::metadata::{MetadataMap, MetadataValue};

use super::Member;
use super::types::Membership;
use crate::store::{DataFolder, LOST_DATA_ADVICE, LogId, LogState, Offload};

const CLUSTER: &str = "belfry-cluster";
const FROM: &str = "belfry-from";
const FROM_INCARNATION: &str = "belfry-from-incarnation";
const TO: &str = "belfry-to";
const TO_INCARNATION: &str = "belfry-to-incarnation";

/// Port: what a node durably knows of itself.
pub trait IdentityPort: Send + Sync + 'static {
    /// The cluster it belongs to, once it does.
    fn cluster_id(&self) -> Option<String>;

    /// This life of its disk.
    fn incarnation(&self) -> String;

    /// Durably joins a cluster; refused when it belongs to another one.
    fn set_cluster_id(&self, cluster_id: &str) -> io::Result<()>;

    /// Refuses a log and a checkpoint that do not belong together.
    fn verify(&self, log: &LogState, applied: Option<LogId>) -> io::Result<()>;
}

impl IdentityPort for Mutex<DataFolder> {
    fn cluster_id(&self) -> Option<String> {
        self.lock().unwrap_or_else(PoisonError::into_inner).identity().cluster_id.clone()
    }

    fn incarnation(&self) -> String {
        self.lock().unwrap_or_else(PoisonError::into_inner).incarnation().to_string()
    }

    fn set_cluster_id(&self, cluster_id: &str) -> io::Result<()> {
        let mut folder = self.lock().unwrap_or_else(PoisonError::into_inner);
        folder.set_cluster_id(cluster_id).map_err(io::Error::other)
    }

    fn verify(&self, log: &LogState, applied: Option<LogId>) -> io::Result<()> {
        let folder = self.lock().unwrap_or_else(PoisonError::into_inner);
        folder.verify(log, applied).map_err(io::Error::other)
    }
}

/// Who this node is.
pub(super) struct Identity {
    pub(super) node: u64,
    pub(super) incarnation: String,
    cluster: RwLock<Option<String>>,
    port: std::sync::Arc<dyn IdentityPort>,
    offload: Offload,
    joining: tokio::sync::Mutex<()>,
}

impl Identity {
    pub(super) fn new(node: u64, port: std::sync::Arc<dyn IdentityPort>, offload: Offload) -> Self {
        Self {
            node,
            incarnation: port.incarnation(),
            cluster: RwLock::new(port.cluster_id()),
            port,
            offload,
            joining: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn cluster(&self) -> Option<String> {
        self.cluster.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Durably joins `cluster` (IDENT-3), unless the node belongs to one already: then it answers which.
    pub(super) async fn join(&self, cluster: String) -> io::Result<String> {
        let _one_at_a_time = self.joining.lock().await;
        if let Some(known) = self.cluster() {
            return Ok(known);
        }
        let (port, id) = (self.port.clone(), cluster.clone());
        self.offload.run(move || port.set_cluster_id(&id)).await?;
        *self.cluster.write().unwrap_or_else(PoisonError::into_inner) = Some(cluster.clone());
        tracing::info!(cluster, node = self.node, "this node belongs to a cluster now");
        Ok(cluster)
    }

    /// Names both ends of a call to `target`.
    pub(super) fn address(&self, metadata: &mut MetadataMap, target: u64, member: &Member) {
        let mut text = |key: &'static str, value: &str| {
            if let Ok(value) = MetadataValue::try_from(value) {
                metadata.insert(key, value);
            }
        };
        text(CLUSTER, self.cluster().as_deref().unwrap_or_default());
        text(FROM, &self.node.to_string());
        text(FROM_INCARNATION, &self.incarnation);
        text(TO, &target.to_string());
        text(TO_INCARNATION, &member.incarnation);
    }

    /// Lets a call in, or says why not. A node without a cluster joins the caller's (IDENT-2).
    pub(super) async fn admit(
        &self,
        metadata: &MetadataMap,
        members: &Membership,
    ) -> Result<(), tonic::Status> {
        let call = Call::read(metadata);
        let known = self.cluster();
        call.check(self.node, &self.incarnation, known.as_deref(), members)?;
        if known.is_none() {
            let joined = self.join(call.cluster.to_owned()).await;
            let joined = joined.map_err(|error| tonic::Status::internal(error.to_string()))?;
            // Two clusters may have called at once.
            call.check(self.node, &self.incarnation, Some(&joined), members)?;
        }
        Ok(())
    }
}

/// Why a call is not let in. The text reaches the caller's log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
enum Refusal {
    #[error("this is node {me}, not node {asked}: check the addresses of the members")]
    OtherNode { me: u64, asked: u64 },
    #[error(
        "this node belongs to cluster {mine}, the caller to cluster {theirs}: check the addresses of the members"
    )]
    OtherCluster { mine: String, theirs: String },
    #[error(
        "node {me} came back without its data: the cluster knows its incarnation {asked}, its folder is {mine}; it \
         must not vote again under this id: {LOST_DATA_ADVICE}"
    )]
    Wiped { me: u64, asked: String, mine: String },
    #[error(
        "the caller, node {caller}, came back without its data: the cluster knows its incarnation {known}, it says \
         {said}; {LOST_DATA_ADVICE}"
    )]
    CallerWiped { caller: u64, known: String, said: String },
    #[error("the caller does not say who it is")]
    Anonymous,
}

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> Self {
        tonic::Status::failed_precondition(refusal.to_string())
    }
}

/// What the metadata of a call says.
struct Call<'a> {
    cluster: &'a str,
    from: Option<u64>,
    from_incarnation: &'a str,
    to: Option<u64>,
    to_incarnation: &'a str,
}

impl<'a> Call<'a> {
    fn read(metadata: &'a MetadataMap) -> Self {
        let text = |key| metadata.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Self {
            cluster: text(CLUSTER),
            from: text(FROM).parse().ok(),
            from_incarnation: text(FROM_INCARNATION),
            to: text(TO).parse().ok(),
            to_incarnation: text(TO_INCARNATION),
        }
    }

    fn check(
        &self,
        me: u64,
        incarnation: &str,
        cluster: Option<&str>,
        members: &Membership,
    ) -> Result<(), Refusal> {
        let (Some(from), Some(to)) = (self.from, self.to) else { return Err(Refusal::Anonymous) };
        if self.cluster.is_empty() {
            return Err(Refusal::Anonymous);
        }
        if to != me {
            return Err(Refusal::OtherNode { me, asked: to });
        }
        if let Some(mine) = cluster.filter(|mine| *mine != self.cluster) {
            return Err(Refusal::OtherCluster { mine: mine.to_owned(), theirs: self.cluster.to_owned() });
        }
        if self.to_incarnation != incarnation {
            let (asked, mine) = (self.to_incarnation.to_owned(), incarnation.to_owned());
            return Err(Refusal::Wiped { me, asked, mine });
        }
        match members.get_node(&from) {
            Some(member) if member.incarnation != self.from_incarnation => Err(Refusal::CallerWiped {
                caller: from,
                known: member.incarnation.clone(),
                said: self.from_incarnation.to_owned(),
            }),
            // A node that we do not know may be a leader that was added while we were away.
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn check(call: Call<'_>, cluster: Option<&str>) -> Result<(), Refusal> {
        let member = Member { incarnation: "leader-1".to_owned(), ..Member::default() };
        let members = BTreeMap::from([(1, member)]);
        let membership = Membership::new(vec![BTreeSet::from([1])], members).unwrap();
        call.check(2, "mine", cluster, &membership)
    }

    fn call() -> Call<'static> {
        Call {
            cluster: "c",
            from: Some(1),
            from_incarnation: "leader-1",
            to: Some(2),
            to_incarnation: "mine",
        }
    }

    #[test]
    fn only_the_right_life_of_the_right_node_hears_its_own_cluster() {
        assert_eq!(check(call(), Some("c")), Ok(()));
        assert_eq!(check(call(), None), Ok(()));
        assert_eq!(check(Call { from: Some(7), from_incarnation: "new", ..call() }, Some("c")), Ok(()));
        let refused = |call, cluster| check(call, cluster).unwrap_err();
        assert!(matches!(
            refused(Call { to: Some(3), ..call() }, None),
            Refusal::OtherNode { me: 2, asked: 3 }
        ));
        assert!(matches!(refused(call(), Some("d")), Refusal::OtherCluster { .. }));
        assert!(matches!(refused(Call { to_incarnation: "old", ..call() }, None), Refusal::Wiped { .. }));
        assert!(matches!(refused(Call { to_incarnation: "", ..call() }, None), Refusal::Wiped { .. }));
        let reborn = Call { from_incarnation: "leader-2", ..call() };
        assert!(matches!(refused(reborn, Some("c")), Refusal::CallerWiped { caller: 1, .. }));
        assert_eq!(refused(Call { cluster: "", ..call() }, None), Refusal::Anonymous);
        assert_eq!(refused(Call { from: None, ..call() }, None), Refusal::Anonymous);
    }
}
