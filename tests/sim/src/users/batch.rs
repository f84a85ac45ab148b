//! Users who ask for many schedules at once: batches, each item of which is a request of its own, and lists that come page by page.

use belfry_sdk::{Client, ClientError, pb};
use futures_util::{StreamExt as _, future::BoxFuture};

use super::book::Value;
use super::request::{Answer, Request};
use super::{SCHEDULES_MAX, User, is_undecided};
use crate::invariants::{api_1, api_2};

/// Schedules of one page: fewer than there are.
const PAGE: i32 = 3;

/// A change of one schedule.
pub(super) struct Change {
    /// Its name.
    pub(super) name: String,
    /// What is asked for.
    pub(super) request: Request,
    /// What it is when that was done.
    pub(super) after: Option<Value>,
}

/// What became of each item.
type Answers = Vec<Result<Answer, ClientError>>;

impl User {
    /// As many more as there is room for, another description of all, or all but one deleted.
    pub(super) async fn change_many(&mut self) {
        let mine = self.book.living_of(self.number);
        let what = self.chance.within(0..4);
        let mut changes = Vec::new();
        if what == 0 && mine.len() < SCHEDULES_MAX {
            for _ in mine.len()..SCHEDULES_MAX {
                changes.push(self.creation());
            }
        } else if what == 1 && mine.len() > 2 {
            let deletion =
                |name: &String| Change { name: name.clone(), request: Request::delete(name), after: None };
            changes.extend(mine[1..].iter().map(deletion));
        } else {
            for name in &mine {
                changes.extend(self.description(name));
            }
        }
        for change in &mut changes {
            change.request = self.numbered(change.request.clone());
        }
        self.change_all(changes).await;
    }

    /// Sends a batch until every item was answered. An item that was done before must be answered likewise then (API-2).
    async fn change_all(&mut self, changes: Vec<Change>) {
        for change in &changes {
            self.book.begin(&change.name, change.after.clone());
        }
        let requests: Vec<_> = changes.iter().map(|change| change.request.clone()).collect();
        let mut answers = vec![None; changes.len()];
        while answers.iter().any(Option::is_none) {
            match send(&requests, &self.clients[0]).await {
                Ok(items) => {
                    for ((change, known), item) in changes.iter().zip(&mut answers).zip(items) {
                        self.take_item(change, known, item);
                    }
                }
                Err(error) if is_undecided(&error) => self.record.count("asked_again_for_a_batch"),
                // What is wrong with one schedule is said of its item.
                Err(error) => {
                    self.record.violation("API-1", format!("a batch was refused: {error}"));
                    return;
                }
            }
            if answers.iter().any(Option::is_none) {
                tokio::time::sleep(self.chance.millis(50..600)).await;
            }
        }
        self.record.count("batch");
        for (change, answer) in changes.into_iter().zip(answers) {
            if let Some(answer) = answer {
                // From now on as a call for one.
                self.remember(change.request, answer);
            }
        }
    }

    fn take_item(&self, change: &Change, known: &mut Option<Answer>, item: Result<Answer, ClientError>) {
        let (id, what, name) = (change.request.id(), change.request.what(), &change.name);
        match (item, &known) {
            (Err(error), _) if is_undecided(&error) => {}
            (Ok(again), Some(answer)) => api_2::same(&self.record, &id, answer, &again),
            (Err(error), Some(answer)) => api_2::refused(&self.record, &id, answer, &error),
            (Ok(answer), None) => {
                self.record.trace(format!("{id} {what} {name} in a batch: {answer:?}"));
                self.record.count("batch_item");
                self.book.done(name);
                *known = Some(answer);
            }
            // Nothing of what is asked for here can be refused.
            (Err(error), None) => {
                self.record.violation("API-1", format!("{what} of {name} in a batch was refused: {error}"));
            }
        }
    }

    /// API-1: nobody else changes what a user has, so what it reads of them is what it knows.
    pub(super) async fn read_many(&mut self) {
        if self.chance.one_in(2) { self.read_batch().await } else { self.read_list().await }
    }

    async fn read_batch(&self) {
        let names = self.book.all_of(self.number);
        let items = match self.clients[1].batch_get_schedules(names.clone()).await {
            Ok(items) => items,
            Err(error) => return self.unreadable("a batch", &error),
        };
        self.record.count("read_batch");
        for (name, item) in names.iter().zip(items) {
            let read = match item {
                Ok(schedule) => Some(Value::of(&schedule)),
                Err(ClientError::NotFound(_)) => None,
                Err(error) => {
                    self.unreadable(name, &error);
                    continue;
                }
            };
            api_1::may_read(&self.record, name, &[self.book.now(name)], read.as_ref());
        }
    }

    /// Nobody may be able to answer just now; anything else is wrong.
    fn unreadable(&self, what: &str, error: &ClientError) {
        if !is_undecided(error) {
            self.record.violation("API-1", format!("{what} cannot be read: {error}"));
        }
    }

    async fn read_list(&self) {
        let request = pb::ListSchedulesRequest {
            parent: "namespaces/default".to_owned(),
            page_size: PAGE,
            ..pb::ListSchedulesRequest::default()
        };
        let mut pages = self.clients[1].stream_schedules(request);
        let mut listed = Vec::new();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error) => return self.unreadable("a list", &error),
            };
            self.record.count("page");
            listed.extend(page.schedules.into_iter().map(|schedule| (Value::of(&schedule), schedule.name)));
        }
        self.record.count("list");
        let known = self.book.living_of(self.number).into_iter();
        let known: Vec<_> = known.filter_map(|name| Some((self.book.now(&name)?, name))).collect();
        let prefix = format!("namespaces/default/schedules/u{}-", self.number);
        api_1::must_list(&self.record, &known, &listed, &prefix);
    }
}

/// All of them, which are of one kind.
fn send<'a>(requests: &[Request], client: &'a Client) -> BoxFuture<'a, Result<Answers, ClientError>> {
    macro_rules! items {
        ($kind:ident) => {
            requests
                .iter()
                .filter_map(|request| match request {
                    Request::$kind(request) => Some(request.clone()),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
    }
    let schedules = |items: Vec<Result<pb::Schedule, ClientError>>| {
        items.into_iter().map(|item| item.map(|schedule| Answer::Schedule(schedule.uid))).collect()
    };
    let (creations, updates, deletions) = (items!(Create), items!(Update), items!(Delete));
    let most = creations.len().max(updates.len()).max(deletions.len());
    assert_eq!(most, requests.len(), "a batch is of one kind");
    Box::pin(async move {
        if !creations.is_empty() {
            let items = creations.into_iter().map(|item| *item).collect();
            client.batch_create_schedules(items).await.map(schedules)
        } else if !updates.is_empty() {
            let items = updates.into_iter().map(|item| *item).collect();
            client.batch_update_schedules(items).await.map(schedules)
        } else {
            let items = client.batch_delete_schedules(deletions).await?;
            Ok(items.into_iter().map(|item| item.map(|()| Answer::Deleted)).collect())
        }
    })
}
