//! Declaring many schedules in few calls.
//!
//! - APPLY-5: a schedule is made in a batch exactly as it would be alone; one that changed or appeared between reading and writing is
//!   made alone, where it is read again (DECLARE-1).

use std::collections::BTreeMap;

use belfry_sdk::{Client, ClientError, ItemResult, pb};
use prost::Message as _;

use super::declare::{Mode, creation, repeatable, update};
use super::document::Document;
use crate::exit::Failure;

/// Schedules of one call: few enough that progress shows, and many enough that the way to the cluster costs next to nothing.
const ITEMS_MAX: usize = 250;
/// Bytes of one call; a schedule that has more goes alone.
const BYTES_MAX: usize = 1024 * 1024;

/// What was there, and what is there now; none: somebody else was faster, and it must be made alone.
pub(super) type Made = Result<Option<(Option<Document>, Document)>, Failure>;

/// Splits documents of schedules into those of one call each.
pub(super) fn batches(documents: Vec<Document>, mode: &Mode) -> Vec<Vec<Document>> {
    let mut batches: Vec<Vec<Document>> = Vec::new();
    let mut bytes = 0;
    let assumed = |schedule: &pb::Schedule| -> usize {
        mode.assumed(schedule).iter().map(prost::Message::encoded_len).sum()
    };
    for document in documents {
        let own = document.schedule().map_or(0, |schedule| schedule.encoded_len() + assumed(schedule));
        match batches.last_mut() {
            Some(last) if last.len() < ITEMS_MAX && bytes + own <= BYTES_MAX => {
                bytes += own;
                last.push(document);
            }
            _ => {
                bytes = own;
                batches.push(vec![document]);
            }
        }
    }
    batches
}

/// Makes the cluster's what schedules declare: one answer for each, in order. A failure of a call is that of all that it was about.
pub(super) async fn made(client: &Client, schedules: &[&pb::Schedule], mode: &Mode) -> Vec<Made> {
    let names = schedules.iter().map(|schedule| schedule.name.clone()).collect();
    let before = match client.batch_get_schedules(names).await {
        Ok(before) => before,
        Err(error) => return vec![Err(error.into()); schedules.len()],
    };
    let (mut creations, mut updates) = (Vec::new(), Vec::new());
    for (index, (schedule, before)) in schedules.iter().zip(&before).enumerate() {
        let schedule = (*schedule).clone();
        match before {
            Err(ClientError::NotFound(_)) if schedule.pause.is_some() => {
                creations.push((index, creation(schedule, mode)));
            }
            Ok(_) | Err(ClientError::NotFound(_)) => updates.push((index, update(schedule, mode))),
            Err(_) => {}
        }
    }
    let mut after = BTreeMap::new();
    if !creations.is_empty() {
        let (places, requests): (Vec<_>, Vec<_>) = creations.into_iter().unzip();
        let created = client.batch_create_schedules(requests).await;
        after.extend(answers(places, created));
    }
    if !updates.is_empty() {
        let (places, requests): (Vec<_>, Vec<_>) = updates.into_iter().unzip();
        let updated = client.batch_update_schedules(requests).await;
        after.extend(answers(places, updated));
    }
    complete(client, &mut after).await;
    let document = |schedule| Document::Schedule(Box::new(schedule));
    let made = before.into_iter().enumerate().map(|(index, before)| match (before, after.remove(&index)) {
        (before, Some(Ok(Some(after)))) => Ok(Some((before.ok().map(document), document(after)))),
        (_, Some(Ok(None))) => Ok(None),
        (_, Some(Err(failure))) => Err(failure),
        (Err(error), None) => Err(error.into()),
        (Ok(_), None) => unreachable!("what was read is updated"),
    });
    made.collect()
}

/// What a schedule is now; none: somebody else was faster.
type After = Result<Option<pb::Schedule>, Failure>;

/// The answers to the items of a call, by their places.
fn answers(
    places: Vec<usize>,
    answered: Result<Vec<ItemResult<pb::Schedule>>, ClientError>,
) -> Vec<(usize, After)> {
    match answered {
        Ok(answers) => places.into_iter().zip(answers.into_iter().map(after)).collect(),
        Err(error) => {
            let failure = repeatable(error);
            places.into_iter().map(|place| (place, Err(failure.clone()))).collect()
        }
    }
}

fn after(answer: ItemResult<pb::Schedule>) -> After {
    match answer {
        Ok(schedule) => Ok(Some(schedule)),
        Err(ClientError::Conflict(_) | ClientError::AlreadyExists(_)) => Ok(None),
        Err(error) => Err(repeatable(error)),
    }
}

/// Reads those anew whose answers were shortened for want of room.
async fn complete(client: &Client, after: &mut BTreeMap<usize, After>) {
    let shortened: Vec<(usize, String)> = after
        .iter()
        .filter_map(|(index, made)| Some((*index, made.as_ref().ok()?.as_ref()?)))
        .filter(|(_, schedule)| schedule.timing.is_none())
        .map(|(index, schedule)| (index, schedule.name.clone()))
        .collect();
    if shortened.is_empty() {
        return;
    }
    let (places, names): (Vec<_>, Vec<_>) = shortened.into_iter().unzip();
    let read = client.batch_get_schedules(names).await;
    after.extend(answers(places, read));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_in_items_and_bytes() {
        let document = |bytes: usize| {
            Document::Schedule(Box::new(pb::Schedule {
                description: "x".repeat(bytes),
                ..Default::default()
            }))
        };
        let sizes = |documents: Vec<Document>| {
            batches(documents, &Mode::Write).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes((0..ITEMS_MAX * 2 + 1).map(|_| document(10)).collect()), [ITEMS_MAX, ITEMS_MAX, 1]);
        let half = BYTES_MAX / 2 - 100;
        assert_eq!(sizes(vec![document(half), document(half), document(half)]), [2, 1]);
        assert_eq!(sizes(vec![document(10), document(BYTES_MAX * 2), document(10)]), [1, 1, 1]);
        assert!(sizes(Vec::new()).is_empty());
    }
}
