//! An executor in the hands of a test: it begins and completes what it is told to, and nothing by itself.

use std::collections::VecDeque;

use belfry_proto::v1::executor_message::Message;
use belfry_proto::v1::executor_reply::Message as Reply;
use belfry_proto::v1::executor_service_client::ExecutorServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::*;

pub(super) struct Hand {
    messages: mpsc::Sender<pb::ExecutorMessage>,
    replies: Streaming<pb::ExecutorReply>,
    /// Offered, and not looked at yet.
    grants: VecDeque<pb::Grant>,
}

/// A run with the right to execute it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lease {
    pub(super) run_id: u64,
    pub(super) fencing_token: u64,
}

impl Hand {
    /// Dials in with so many slots for the handler, and no credit yet.
    pub(super) async fn dial(alone: &Alone, handler: &str, slots: u32) -> Self {
        Self::dial_over(alone.channel.clone(), "hand", handler, slots).await
    }

    /// The same as another executor, over a connection of its own or another's.
    pub(super) async fn dial_over(channel: Channel, id: &str, handler: &str, slots: u32) -> Self {
        let (messages, outgoing) = mpsc::channel(64);
        let hello =
            pb::Hello { executor_id: id.into(), handlers: vec![handler.into()], slots, ..Default::default() };
        let message = pb::ExecutorMessage { message: Some(Message::Hello(hello)) };
        messages.send(message).await.unwrap();
        let mut client = ExecutorServiceClient::new(channel);
        let replies = client.session(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        let mut hand = Self { messages, replies, grants: VecDeque::new() };
        assert!(matches!(hand.hear().await, Reply::Welcome(_)));
        hand
    }

    async fn say(&self, message: Message) {
        self.messages.send(pb::ExecutorMessage { message: Some(message) }).await.unwrap();
    }

    async fn hear(&mut self) -> Reply {
        self.replies.message().await.unwrap().expect("the session goes on").message.unwrap()
    }

    /// The next reply that is no grant; those are kept.
    async fn hear_answer(&mut self) -> Reply {
        loop {
            match self.hear().await {
                Reply::Grants(grants) => self.grants.extend(grants.grants),
                other => return other,
            }
        }
    }

    /// Has room for so many, whenever they are offered.
    pub(super) async fn give_credit(&self, count: u32) {
        self.say(Message::Credits(pb::Credits { count })).await;
    }

    /// Says that it is there, again and again, and reads no answer, until its stream is ended.
    pub(super) async fn talk_to_the_end(&self) {
        let message = pb::ExecutorMessage { message: Some(Message::KeepAlive(pb::KeepAlive {})) };
        while self.messages.send(message.clone()).await.is_ok() {}
    }

    /// The next run that is offered.
    pub(super) async fn next_grant(&mut self) -> pb::Grant {
        loop {
            if let Some(grant) = self.grants.pop_front() {
                return grant;
            }
            match self.hear().await {
                Reply::Grants(grants) => self.grants.extend(grants.grants),
                other => panic!("{other:?} instead of grants"),
            }
        }
    }

    /// So many runs that it is told to end.
    pub(super) async fn next_cancels(&mut self, count: usize) -> Vec<u64> {
        let mut told = Vec::new();
        while told.len() < count {
            let Reply::Cancels(cancels) = self.hear_answer().await else { panic!("no cancels") };
            told.extend(cancels.cancels.into_iter().map(|cancel| cancel.run_id));
        }
        told
    }

    /// With what its stream ends.
    pub(super) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.replies.message().await {
                return status;
            }
        }
    }

    /// Takes this many runs: gives credit for them and waits until they are offered.
    pub(super) async fn take(&mut self, count: u32) -> Vec<pb::Grant> {
        self.give_credit(count).await;
        while self.grants.len() < count as usize {
            match self.hear().await {
                Reply::Grants(grants) => self.grants.extend(grants.grants),
                other => panic!("{other:?} instead of grants"),
            }
        }
        self.grants.drain(..).collect()
    }

    /// Begins runs in this order.
    pub(super) async fn begin(&mut self, grants: &[pb::Grant]) -> Vec<Lease> {
        let begin = |grant: &pb::Grant| pb::Begin { run_id: grant.run_id, attempt: grant.attempt };
        self.say(Message::Begins(pb::Begins { begins: grants.iter().map(begin).collect() })).await;
        let mut leases = Vec::new();
        while leases.len() < grants.len() {
            let Reply::BeginReplies(answers) = self.hear_answer().await else { panic!("no begin reply") };
            leases.extend(answers.replies.into_iter().map(|answer| {
                assert_ne!(answer.fencing_token, 0, "run {} was refused", answer.run_id);
                Lease { run_id: answer.run_id, fencing_token: answer.fencing_token }
            }));
        }
        leases
    }

    /// Reports runs as succeeded and waits until that is in the ledger.
    pub(super) async fn succeed(&mut self, leases: &[Lease]) {
        let completion = |lease: &Lease| pb::Completion {
            run_id: lease.run_id,
            fencing_token: lease.fencing_token,
            result: pb::completion::Result::Succeeded.into(),
            ..Default::default()
        };
        let completions = leases.iter().map(completion).collect();
        self.say(Message::Completions(pb::Completions { completions })).await;
        let mut acknowledged = 0;
        while acknowledged < leases.len() {
            let Reply::CompletionAcks(acks) = self.hear_answer().await else { panic!("no acknowledgement") };
            assert!(acks.acks.iter().all(|ack| ack.accepted));
            acknowledged += acks.acks.len();
        }
    }

    /// Offers that came although nobody asked.
    pub(super) fn unasked(&self) -> usize {
        self.grants.len()
    }
}
