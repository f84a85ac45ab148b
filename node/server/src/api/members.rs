//! Members in the words of the contract: `ClusterService` without what it says of executors and leadership.

use belfry_core::State;
use belfry_proto::v1 as pb;

use super::Api;
use super::errors::ApiError;
use super::violations::{INVALID_FIELD, Violations};
use crate::raft::{Candidate, Intent, MemberReport, NodeId};

/// Longest address: a DNS name has 253 bytes.
const ADDRESS_BYTES_MAX: usize = 300;

impl Api {
    pub(super) async fn list_members(&self) -> pb::ListMembersResponse {
        let members = self.0.replica.members().await;
        pb::ListMembersResponse {
            members: members.iter().map(member).collect(),
            feature_level: self.0.replica.read(State::feature_level),
        }
    }

    pub(super) async fn add_member(
        &self,
        request: pb::AddMemberRequest,
    ) -> Result<pb::AddMemberResponse, ApiError> {
        check_address(&request.peer_address)?;
        let id = (request.node_id != 0).then_some(NodeId(request.node_id));
        let candidate = Candidate { peer_address: request.peer_address, id };
        let step = self.0.replica.add_member(&candidate, intent(request.validate_only)).await?;
        let members = self.0.replica.members().await;
        let known = members.iter().find(|known| known.status.id == step.node).map(member);
        let mut member = known.unwrap_or_else(|| pb::Member {
            node_id: step.node.0,
            api_address: step.member.api_address.clone(),
            peer_address: step.member.peer_address.clone(),
            incarnation: step.member.incarnation.clone(),
            ..Default::default()
        });
        // What it is, and for a call that only asks, what it would be.
        if step.voter && member.role != pb::member::Role::Leader as i32 {
            member.set_role(pb::member::Role::Follower);
        } else if !step.voter {
            member.set_role(pb::member::Role::Learner);
        }
        Ok(pb::AddMemberResponse { member: Some(member), changed: step.changed })
    }

    pub(super) async fn remove_member(
        &self,
        request: &pb::RemoveMemberRequest,
    ) -> Result<pb::RemoveMemberResponse, ApiError> {
        if request.node_id == 0 {
            return Err(invalid("node_id", "0 is no id: `belfry cluster members` shows them"));
        }
        let node = NodeId(request.node_id);
        let changed = self.0.replica.remove_member(node, intent(request.validate_only)).await?;
        let members = self.0.replica.members().await;
        let left = members.iter().filter(|member| member.status.id != node).map(member);
        Ok(pb::RemoveMemberResponse { changed, members: left.collect() })
    }
}

fn intent(validate_only: bool) -> Intent {
    if validate_only { Intent::Validate } else { Intent::Act }
}

fn invalid(field: &str, why: &str) -> ApiError {
    ApiError::Invalid(Violations::one(field, why, INVALID_FIELD))
}

fn check_address(address: &str) -> Result<(), ApiError> {
    let authority = address.parse::<http::uri::Authority>().ok();
    let dialable =
        authority.is_some_and(|it| !it.host().is_empty() && it.port_u16().is_some_and(|port| port != 0));
    if dialable && address.len() <= ADDRESS_BYTES_MAX {
        return Ok(());
    }
    Err(invalid(
        "peer_address",
        "is not host:port, the address of the new node's listen.peer as the others reach it",
    ))
}

fn member(report: &MemberReport) -> pb::Member {
    let status = &report.status;
    let role = match (report.leads, status.voter) {
        (true, _) => pb::member::Role::Leader,
        (false, true) => pb::member::Role::Follower,
        (false, false) => pb::member::Role::Learner,
    };
    pb::Member {
        node_id: status.id.0,
        role: role.into(),
        api_address: status.member.api_address.clone(),
        peer_address: status.member.peer_address.clone(),
        incarnation: status.member.incarnation.clone(),
        lag: report.lag,
        silent_ms: status.silent_for.map(|silent| u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
        feature_level: report.feature_level,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for address in ["node-4:7401", "10.0.0.4:7401", "[::1]:7401", "127.0.0.1:1"] {
            assert!(check_address(address).is_ok(), "{address}");
        }
        for address in ["", "node-4", "http://node-4:7401", ":7401", "node-4:0", "node 4:7401"] {
            assert!(check_address(address).is_err(), "{address}");
        }
    }
}
