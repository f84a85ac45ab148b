//! What users know: every state that each schedule was acknowledged to have, in order, and what is being changed.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use belfry_sdk::pb;

/// What of a schedule is held against the book.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value {
    /// Its description.
    pub text: String,
    /// Whether it is paused.
    pub paused: bool,
}

impl Value {
    /// Of a schedule as it was read.
    pub fn of(schedule: &pb::Schedule) -> Self {
        Self { text: schedule.description.clone(), paused: schedule.pause.is_some() }
    }
}

#[derive(Default)]
struct Page {
    /// All states that were acknowledged; none: it is not there. It begins with not being there.
    states: Vec<Option<Value>>,
    /// What is asked for and not answered.
    pending: Option<Option<Value>>,
    /// That was asked for since, and answered with a refusal: it may have been read as pending.
    owner: usize,
}

/// The book of all users.
#[derive(Default)]
pub struct Book {
    pages: Mutex<BTreeMap<String, Page>>,
    triggered: Mutex<Vec<String>>,
    changed_last: Mutex<Option<String>>,
}

impl Book {
    fn pages(&self) -> MutexGuard<'_, BTreeMap<String, Page>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is asked for.
    pub fn begin(&self, name: &str, after: Option<Value>) {
        let mut pages = self.pages();
        let page = pages.entry(name.to_owned()).or_default();
        if page.states.is_empty() {
            page.states.push(None);
            page.owner = owner_of(name);
        }
        page.pending = Some(after);
    }

    /// It was done.
    pub fn done(&self, name: &str) {
        if let Some(page) = self.pages().get_mut(name)
            && let Some(after) = page.pending.take()
        {
            page.states.push(after);
            *self.changed_last.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.to_owned());
        }
    }

    /// What was changed last.
    pub fn changed_last(&self) -> Option<String> {
        self.changed_last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It was refused.
    pub fn not_done(&self, name: &str) {
        if let Some(page) = self.pages().get_mut(name) {
            page.pending = None;
        }
    }

    /// The run of a trigger that was acknowledged.
    pub fn triggered(&self, run: &str) {
        self.triggered.lock().unwrap_or_else(PoisonError::into_inner).push(run.to_owned());
    }

    /// All of them.
    pub fn all_triggered(&self) -> Vec<String> {
        self.triggered.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// As it was last acknowledged.
    pub fn now(&self, name: &str) -> Option<Value> {
        self.pages().get(name).and_then(|page| page.states.last().cloned()).flatten()
    }

    /// Everything that was ever asked for.
    pub fn all(&self) -> Vec<String> {
        self.pages().keys().cloned().collect()
    }

    /// Likewise, of one user.
    pub fn all_of(&self, owner: usize) -> Vec<String> {
        self.pages().iter().filter(|(_, page)| page.owner == owner).map(|(name, _)| name.clone()).collect()
    }

    /// What a user has.
    pub fn living_of(&self, owner: usize) -> Vec<String> {
        let pages = self.pages();
        let lives = |page: &Page| page.owner == owner && page.states.last().is_some_and(Option::is_some);
        pages.iter().filter(|(_, page)| lives(page)).map(|(name, _)| name.clone()).collect()
    }

    /// How many states were acknowledged before a read, and what was pending then.
    pub fn versions(&self, name: &str) -> (usize, Option<Option<Value>>) {
        self.pages().get(name).map_or((0, None), |page| (page.states.len(), page.pending.clone()))
    }

    /// What a read may find that began with these versions and ends now.
    pub fn since(&self, name: &str, before: (usize, Option<Option<Value>>)) -> Vec<Option<Value>> {
        let pages = self.pages();
        let Some(page) = pages.get(name) else { return vec![None] };
        let states = page.states[before.0.saturating_sub(1)..].iter().cloned();
        states.chain(before.1).chain(page.pending.clone()).collect()
    }
}

/// Names say whose they are: `…/u{number}-…`.
fn owner_of(name: &str) -> usize {
    let id = name.rsplit('/').next().unwrap_or_default();
    id.trim_start_matches('u').split('-').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
