//! Somebody who exchanges nodes while everything goes on, as `docs/operations.md` tells: adds a spare one until it votes, removes a member,
//! whoever leads. Asks again until it is known what became of it.

use belfry_sdk::{Client, ClientError, pb};

use crate::chance::Chance;
use crate::node::peer;
use crate::record::{Phase, Record};

/// Who operates.
pub(super) struct Operator {
    pub(super) chance: Chance,
    pub(super) client: Client,
    pub(super) record: Record,
    /// Those that belong to the cluster.
    pub(super) members: Vec<u64>,
    /// Those that never did, the next one last: an id that was removed is never used again.
    pub(super) spares: Vec<u64>,
}

impl Operator {
    /// Until everything is mended, or there are no spare nodes left. What was begun is finished.
    pub(super) async fn operate(mut self) {
        let wanted = self.members.len();
        while self.record.lock().phase == Phase::Safety {
            tokio::time::sleep(self.chance.millis(500..6_000)).await;
            let begins_with_remove = !self.spares.is_empty() && self.chance.one_in(3);
            if self.members.len() > wanted || (self.members.len() == wanted && begins_with_remove) {
                let index = self.chance.within(0..self.members.len() as u64);
                let member = self.members.remove(usize::try_from(index).expect("few members"));
                self.remove(member).await;
            } else if let Some(spare) = self.spares.pop() {
                self.add(spare).await;
            }
        }
    }

    /// Until it votes; or, when that takes long, until it is not even a learner any more.
    async fn add(&mut self, node: u64) {
        let patience = self.chance.within(3..60);
        for _ in 0..patience {
            let request =
                pb::AddMemberRequest { peer_address: peer(node), node_id: node, ..Default::default() };
            let answered = self.client.add_member(request).await;
            let voter = |member: &pb::Member| member.role() != pb::member::Role::Learner;
            match answered {
                Ok(answer) if answer.member.as_ref().is_some_and(voter) => {
                    self.record.trace(format!("n{node} votes"));
                    self.record.count("member_added");
                    self.members.push(node);
                    return;
                }
                Ok(_) => self.record.trace(format!("n{node} learns")),
                Err(error) => self.refused("added", node, &error),
            }
            tokio::time::sleep(self.chance.millis(50..500)).await;
        }
        self.record.trace(format!("n{node} is given up"));
        self.remove(node).await;
    }

    /// Until it is gone.
    async fn remove(&mut self, node: u64) {
        loop {
            let request = pb::RemoveMemberRequest { node_id: node, ..Default::default() };
            match self.client.remove_member(request).await {
                Ok(_) => {
                    self.record.trace(format!("n{node} is removed"));
                    self.record.count("member_removed");
                    return;
                }
                Err(error) => self.refused("removed", node, &error),
            }
            tokio::time::sleep(self.chance.millis(50..500)).await;
        }
    }

    fn refused(&self, what: &str, node: u64, error: &ClientError) {
        self.record.trace(format!("n{node} is not {what}: {error}"));
    }
}
