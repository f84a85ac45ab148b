//! Somebody who reads all the time, at every node in turn, what was changed last: a former leader that does not know it yet would answer
//! with what was.

use std::sync::Arc;
use std::time::Duration;

use belfry_sdk::{Client, ClientError, ClientOptions, pb};

use super::book::{Book, Value};
use crate::chance::Chance;
use crate::invariants::api_1;
use crate::net;
use crate::node::api;
use crate::record::{Phase, Record};

/// Reads until everything is mended.
pub(super) async fn read(mut chance: Chance, nodes: u64, book: Arc<Book>, record: Record) {
    let connect = |node| {
        let options = ClientOptions {
            timeout: Duration::from_millis(400),
            try_timeout: Duration::from_millis(400),
            dialer: net::sdk_dialer(),
            ..ClientOptions::new([api(node)])
        };
        Client::connect(options).expect("the endpoint is an address")
    };
    let clients: Vec<_> = (1..=nodes).map(connect).collect();
    while record.lock().phase == Phase::Safety {
        tokio::time::sleep(chance.millis(20..160)).await;
        // Whoever leads, or did so a moment ago: what others pass on is read there, too.
        let leader = record.lock().leaders().map(|(node, _)| node).min();
        let node = leader.filter(|_| !chance.one_in(3)).unwrap_or_else(|| chance.within(1..nodes + 1));
        let Some(name) = book.changed_last() else { continue };
        let before = book.versions(&name);
        let client = &clients[usize::try_from(node - 1).expect("few nodes")];
        let read = match client.get_schedule(pb::GetScheduleRequest { name: name.clone() }).await {
            Ok(schedule) => Some(Value::of(&schedule)),
            Err(ClientError::NotFound(_)) => None,
            Err(_) => continue,
        };
        record.count("read_by_node");
        api_1::may_read(&record, &name, &book.since(&name, before), read.as_ref());
    }
}
