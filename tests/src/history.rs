//! Whether a history of operations on schedules is linearizable (API-1).
//!
//! Every change of a schedule has a revision, the index of its log entry, and every answer carries the revision it saw. So
//! the order of the changes is known, and the check is one pass over each schedule instead of a search. An operation
//! whose outcome is unknown may have happened or not; one that was refused, or that the SDK says was certainly not carried
//! out, may not.
//!
//! - HIST-1: a revision stands for one content, and that content is what its write wrote.
//! - HIST-2: what one operation saw, no later one sees undone: neither a read of the same schedule (stale reads, lost
//!   writes), nor a write or a list of any.
//! - HIST-3: a change under an etag comes directly after the change of that etag.
//! - HIST-4: a schedule is gone only after somebody may have deleted it, and comes back only by a create.
//! - HIST-5: what was not carried out is never seen, and nothing is seen that nobody wrote.
//! - HIST-6: the answer to a request that was sent again, because the first one got lost, shows the schedule as it is by then, also when
//!   others have changed or deleted it: it is a write of which no more is known than that it may have been made, and a read. Few answers
//!   may be taken for such: only what lasted long enough to be sent twice, and only where that explains what is found.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// What a client did. Values are unique over the history: seen again, a value says who wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Creates the schedule with this description.
    Create(String),
    /// Sets the description.
    Update(String),
    /// Pauses with this reason.
    Pause(String),
    /// Ends the pause.
    Resume,
    /// Deletes.
    Delete,
    /// Reads this schedule.
    Get,
    /// Reads all schedules.
    List,
}

/// A schedule as an answer shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// Its etag.
    pub revision: u64,
    /// Differs between a schedule and one of the same name that was made after its end.
    pub uid: String,
    /// The value of the last create or update.
    pub description: String,
    /// The value of the last pause, while it lasts.
    pub pause: Option<String>,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was done, or read: this is how the schedule is now.
    Is(Version),
    /// The delete was done.
    Deleted,
    /// The read found nothing.
    Absent,
    /// All schedules by name, at this revision.
    Listed(u64, BTreeMap<String, Version>),
    /// The ledger refused it: the name is taken, or missing, or the etag is old.
    Refused,
    /// It was certainly not carried out.
    NotDone,
    /// It may have been carried out, then or later.
    Unknown,
}

/// One operation. Times are of one monotonic clock, in microseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Name of the schedule; empty for a list.
    pub key: String,
    /// What was done.
    pub action: Action,
    /// The revision on which it was conditional.
    pub etag: Option<u64>,
    /// What came of it.
    pub outcome: Outcome,
    /// When it began.
    pub began: u64,
    /// When its answer was there.
    pub ended: u64,
}

impl Operation {
    /// When it was over at the latest, as far as anybody knows.
    fn over(&self) -> u64 {
        if self.outcome == Outcome::Unknown { u64::MAX } else { self.ended }
    }

    fn may_have_happened(&self) -> bool {
        match self.outcome {
            Outcome::Refused | Outcome::NotDone => false,
            Outcome::Is(_) | Outcome::Deleted | Outcome::Absent | Outcome::Listed(..) | Outcome::Unknown => {
                true
            }
        }
    }

    fn value(&self) -> Option<&str> {
        match &self.action {
            Action::Create(value) | Action::Update(value) | Action::Pause(value) => Some(value),
            Action::Resume | Action::Delete | Action::Get | Action::List => None,
        }
    }

    fn is_write(&self) -> bool {
        match self.action {
            Action::Create(_) | Action::Update(_) | Action::Pause(_) | Action::Resume | Action::Delete => {
                true
            }
            Action::Get | Action::List => false,
        }
    }

    /// Whether an answer that shows a version shows what this operation wrote.
    fn shows_what_it_wrote(&self) -> bool {
        let Outcome::Is(version) = &self.outcome else { return true };
        match &self.action {
            Action::Create(value) | Action::Update(value) => version.description == *value,
            Action::Pause(value) => version.pause.as_ref() == Some(value),
            Action::Resume => version.pause.is_none(),
            Action::Delete | Action::Get | Action::List => true,
        }
    }

    /// Whether it may have been sent again and answered with a later version than its own (HIST-6).
    fn may_be_late(&self) -> bool {
        self.is_write() && matches!(self.outcome, Outcome::Is(_)) && self.ended - self.began >= SENT_TWICE_US
    }

    /// The revision that this operation wrote, or the list was read at: a point in the order of everything.
    fn point(&self) -> Option<u64> {
        match &self.outcome {
            Outcome::Is(version) if self.is_write() => Some(version.revision),
            Outcome::Listed(revision, _) => Some(*revision),
            Outcome::Is(_)
            | Outcome::Deleted
            | Outcome::Absent
            | Outcome::Refused
            | Outcome::NotDone
            | Outcome::Unknown => None,
        }
    }
}

/// A version that somebody saw, or an absence.
struct Sight<'a> {
    version: Option<&'a Version>,
    began: u64,
    ended: u64,
    by: &'a Operation,
}

/// Of so many writes one may be answered late (HIST-6); in any history, one.
const ANSWERED_LATE_ONE_IN: usize = 1000;
/// What an operation lasts at least that was sent twice, in microseconds.
const SENT_TWICE_US: u64 = 5_000;

/// Checks a history; says what cannot be. Nothing said: it is linearizable as far as its answers tell.
pub fn check(history: &[Operation]) -> Vec<String> {
    let writes = history.iter().filter(|operation| operation.is_write()).count();
    let mut history: Vec<_> = history.iter().map(Cow::Borrowed).collect();
    let mut found = Found::in_all(&history.iter().map(Cow::as_ref).collect::<Vec<_>>());
    for _ in 0..1 + writes / ANSWERED_LATE_ONE_IN {
        // Those that a problem names are enough nearly always, and are a few of thousands.
        let explained =
            explain(&history, &found, Found::names).or_else(|| explain(&history, &found, Found::concerns));
        let Some(Explained { late, unknown, read, left }) = explained else { break };
        history[late] = Cow::Owned(unknown);
        history.extend(read.map(Cow::Owned));
        found = left;
    }
    found.points.into_iter().chain(found.by_key.into_values().flatten()).collect()
}

/// A late answer (HIST-6), what it is taken for, and what cannot be then.
struct Explained {
    late: usize,
    unknown: Operation,
    read: Option<Operation>,
    left: Found,
}

/// The late answer that explains most of what cannot be.
fn explain(
    history: &[Cow<'_, Operation>],
    found: &Found,
    is_suspect: impl Fn(&Found, &Operation) -> bool,
) -> Option<Explained> {
    let (mut best, mut problems) = (None, found.len());
    let is_suspect = |operation: &Operation| operation.may_be_late() && is_suspect(found, operation);
    for late in (0..history.len()).filter(|index| is_suspect(&history[*index])) {
        for read in apart(history, late) {
            let unknown = Operation { outcome: Outcome::Unknown, ..history[late].as_ref().clone() };
            let mut operations: Vec<_> = history.iter().map(Cow::as_ref).collect();
            operations[late] = &unknown;
            operations.extend(&read);
            let left = found.anew(&operations, &unknown.key);
            if left.len() < problems {
                problems = left.len();
                best = Some(Explained { late, unknown, read, left });
            }
        }
    }
    best
}

/// What may have been read where a late answer is taken for that of a write of unknown outcome (HIST-6): what it shows; or, where
/// somebody deleted the schedule, nothing, because it shows what was deleted.
fn apart(history: &[Cow<'_, Operation>], late: usize) -> Vec<Option<Operation>> {
    let answered = history[late].as_ref();
    let read = Operation { action: Action::Get, etag: None, ..answered.clone() };
    let is_delete = |it: &Operation| it.action == Action::Delete && it.may_have_happened();
    let is_deleted =
        history.iter().any(|it| it.key == answered.key && is_delete(it) && it.began <= answered.ended);
    if is_deleted { vec![Some(read), None] } else { vec![Some(read)] }
}

/// What cannot be, without excuses.
#[derive(Clone)]
struct Found {
    /// Of the order over all schedules.
    points: Vec<String>,
    by_key: BTreeMap<String, Vec<String>>,
}

impl Found {
    fn in_all(history: &[&Operation]) -> Self {
        let keys: BTreeSet<_> = history.iter().map(|operation| operation.key.as_str()).collect();
        let keys = keys.into_iter().filter(|key| !key.is_empty());
        let by_key = keys.map(|key| (key.to_owned(), check_key(key, history))).collect();
        Self { points: check_points(history), by_key }
    }

    /// The same of a history in which operations on one schedule, and no lists, are others, none of them with a new place in the log.
    fn anew(&self, history: &[&Operation], key: &str) -> Self {
        let mut anew = self.clone();
        anew.by_key.insert(key.to_owned(), check_key(key, history));
        if !self.points.is_empty() {
            anew.points = check_points(history);
        }
        anew
    }

    fn len(&self) -> usize {
        self.points.len() + self.by_key.values().map(Vec::len).sum::<usize>()
    }

    /// Whether a problem is about the schedule of an operation.
    fn concerns(&self, operation: &Operation) -> bool {
        self.of(&operation.key).next().is_some()
    }

    /// Whether a problem names an operation, or what it shows.
    fn names(&self, operation: &Operation) -> bool {
        let Outcome::Is(version) = &operation.outcome else { return false };
        let itself = format!("began: {},", operation.began);
        self.of(&operation.key).any(|problem| problem.contains(&itself) || problem.contains(&version.uid))
    }

    fn of(&self, key: &str) -> impl Iterator<Item = &String> {
        let of_order = self.points.iter().filter(move |problem| problem.contains(key));
        self.by_key.get(key).into_iter().flatten().chain(of_order)
    }
}

fn check_key(key: &str, history: &[&Operation]) -> Vec<String> {
    let of_key: Vec<_> = history.iter().copied().filter(|operation| operation.key == key).collect();
    let sights = sights(key, history);
    let mut found = Vec::new();
    let versions = check_contents(&of_key, &sights, &mut found);
    check_order(&sights, &mut found);
    check_etags(&of_key, &versions, &mut found);
    check_lives(&of_key, &sights, &mut found);
    found.into_iter().map(|problem| format!("{key}: {problem}")).collect()
}

/// Everything that was seen of a schedule, in the order in which it began.
fn sights<'a>(key: &str, history: &[&'a Operation]) -> Vec<Sight<'a>> {
    let mut sights = Vec::new();
    for operation in history {
        let version = match &operation.outcome {
            Outcome::Is(version) if operation.key == key => Some(version),
            Outcome::Absent if operation.key == key => None,
            Outcome::Listed(_, versions) => versions.get(key),
            Outcome::Is(_)
            | Outcome::Absent
            | Outcome::Deleted
            | Outcome::Refused
            | Outcome::NotDone
            | Outcome::Unknown => continue,
        };
        sights.push(Sight { version, began: operation.began, ended: operation.ended, by: operation });
    }
    sights.sort_by_key(|sight| sight.began);
    sights
}

/// HIST-2, over all schedules: writes and lists that follow each other in time do so in the log.
fn check_points(history: &[&Operation]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut points: Vec<_> =
        history.iter().filter_map(|operation| Some((operation.point()?, *operation))).collect();
    points.sort_by_key(|(_, operation)| operation.began);
    let mut ends: Vec<_> = points.clone();
    ends.sort_by_key(|(_, operation)| operation.ended);
    let mut ended = ends.into_iter().peekable();
    let mut newest: Option<(u64, &Operation)> = None;
    for (point, operation) in points {
        while let Some(before) = ended.next_if(|(_, before)| before.ended < operation.began) {
            newest = newest.filter(|newest| newest.0 >= before.0).or(Some(before));
        }
        let Some((newest, by)) = newest else { continue };
        if point < newest || (point == newest && operation.is_write()) {
            problems.push(format!("HIST-2: {operation:?} is at {point}, after {by:?} at {newest} had ended"));
        }
    }
    problems
}

/// HIST-1 and HIST-5. Says which versions there were.
fn check_contents<'a>(
    of_key: &[&'a Operation],
    sights: &[Sight<'a>],
    problems: &mut Vec<String>,
) -> BTreeMap<u64, &'a Version> {
    let mut versions = BTreeMap::<u64, &Version>::new();
    for version in sights.iter().filter_map(|sight| sight.version) {
        let first = versions.entry(version.revision).or_insert(version);
        if *first != version {
            problems.push(format!("HIST-1: one revision, two contents: {first:?} and {version:?}"));
        }
    }
    let writers: BTreeMap<_, _> =
        of_key.iter().filter_map(|operation| Some((operation.value()?, *operation))).collect();
    for sight in sights {
        let Some(version) = sight.version else { continue };
        let values = [Some(version.description.as_str()), version.pause.as_deref()];
        for value in values.into_iter().flatten() {
            match writers.get(value) {
                None => problems.push(format!("HIST-5: nobody wrote {value:?}: {:?}", sight.by)),
                Some(writer) if !writer.may_have_happened() => {
                    problems.push(format!("HIST-5: {writer:?} was not done, and is seen by {:?}", sight.by));
                }
                Some(writer) if writer.began > sight.ended => {
                    problems.push(format!("HIST-2: {value:?} was seen before {writer:?}"));
                }
                Some(_) => {}
            }
        }
    }
    for operation in of_key.iter().filter(|operation| !operation.shows_what_it_wrote()) {
        problems.push(format!("HIST-1: not what was written: {operation:?}"));
    }
    versions
}

/// HIST-2, of one schedule: who begins after somebody has seen a version sees this one or a later one.
fn check_order(sights: &[Sight<'_>], problems: &mut Vec<String>) {
    let mut ends: Vec<_> = sights.iter().filter(|sight| sight.version.is_some()).collect();
    ends.sort_by_key(|sight| sight.ended);
    let mut ended = ends.into_iter().peekable();
    let mut newest: Option<(u64, &Operation)> = None;
    let revision = |sight: &Sight<'_>| sight.version.map_or(0, |version| version.revision);
    for sight in sights {
        while let Some(before) = ended.next_if(|before| before.ended < sight.began) {
            newest =
                newest.filter(|newest| newest.0 >= revision(before)).or(Some((revision(before), before.by)));
        }
        let (Some(version), Some((newest, by))) = (sight.version, newest) else { continue };
        if version.revision < newest {
            problems.push(format!("HIST-2: {:?} sees less than {by:?}, which had ended", sight.by));
        }
    }
}

/// HIST-3, and the content that follows from it.
fn check_etags(of_key: &[&Operation], versions: &BTreeMap<u64, &Version>, problems: &mut Vec<String>) {
    for operation in of_key.iter().filter(|operation| operation.is_write()) {
        let (Some(etag), Outcome::Is(version)) = (operation.etag, &operation.outcome) else { continue };
        if version.revision <= etag {
            problems.push(format!("HIST-3: a change that is not after its etag: {operation:?}"));
            continue;
        }
        if let Some((between, _)) = versions.range(etag + 1..version.revision).next() {
            problems.push(format!("HIST-3: {between} came between {operation:?} and its etag"));
        }
        let Some(before) = versions.get(&etag) else { continue };
        let keeps = match operation.action {
            Action::Update(_) => before.pause == version.pause,
            Action::Pause(_) | Action::Resume => before.description == version.description,
            Action::Create(_) | Action::Delete | Action::Get | Action::List => true,
        };
        if before.uid != version.uid || !keeps {
            problems.push(format!("HIST-3: {operation:?} was made on something else than {before:?}"));
        }
    }
}

/// One life of a name, from a create to a delete.
struct Life<'a> {
    uid: &'a str,
    first: u64,
    last: u64,
    /// No later than this it was there.
    seen_by: u64,
    /// It was there still when this began.
    seen_until: u64,
}

/// HIST-4.
fn check_lives(of_key: &[&Operation], sights: &[Sight<'_>], problems: &mut Vec<String>) {
    let lives = lives(sights);
    for pair in lives.windows(2) {
        if pair[0].last >= pair[1].first {
            problems.push(format!("HIST-4: two schedules at once: {} and {}", pair[0].uid, pair[1].uid));
        }
    }
    // Where each life may have ended: the earliest instant, or never.
    let gone: Vec<_> = lives.iter().map(|life| gone_from(life, of_key)).collect();
    for (life, gone) in lives.iter().zip(&gone).take(lives.len().saturating_sub(1)) {
        if gone.is_none() {
            problems.push(format!("HIST-4: {} was replaced, and nobody deleted it", life.uid));
        }
    }
    for deleted in of_key.iter().filter(|operation| operation.outcome == Outcome::Deleted) {
        let Some(life) = lives.iter().find(|life| deleted.etag.is_some_and(|etag| life.holds(etag))) else {
            continue;
        };
        if deleted.etag.is_some_and(|etag| etag < life.last) {
            problems
                .push(format!("HIST-3: {deleted:?} deleted a later version than its etag, {}", life.last));
        }
        if life.seen_until > deleted.ended {
            problems.push(format!("HIST-4: {} is seen after {deleted:?} had ended", life.uid));
        }
    }
    for sight in sights.iter().filter(|sight| sight.version.is_none()) {
        // It was absent before the first life, or between the end of one and the begin of the next.
        let before_first = lives.first().is_none_or(|first| sight.began <= first.seen_by);
        let after = |(index, gone): (usize, &Option<u64>)| {
            let next_seen = lives.get(index + 1).map_or(u64::MAX, |next| next.seen_by);
            gone.is_some_and(|gone| gone <= sight.ended) && sight.began <= next_seen
        };
        if !before_first && !gone.iter().enumerate().any(after) {
            problems.push(format!("HIST-4: {:?} does not see what was there", sight.by));
        }
    }
}

impl Life<'_> {
    fn holds(&self, revision: u64) -> bool {
        (self.first..=self.last).contains(&revision)
    }
}

fn lives<'a>(sights: &[Sight<'a>]) -> Vec<Life<'a>> {
    let mut lives = BTreeMap::<&str, Life<'_>>::new();
    for (version, sight) in sights.iter().filter_map(|sight| Some((sight.version?, sight))) {
        let life = lives.entry(&version.uid).or_insert(Life {
            uid: &version.uid,
            first: version.revision,
            last: version.revision,
            seen_by: sight.ended,
            seen_until: sight.began,
        });
        life.first = life.first.min(version.revision);
        life.last = life.last.max(version.revision);
        life.seen_by = life.seen_by.min(sight.ended);
        life.seen_until = life.seen_until.max(sight.began);
    }
    let mut lives: Vec<_> = lives.into_values().collect();
    lives.sort_by_key(|life| life.first);
    lives
}

/// The earliest instant at which a life may have ended; none if nobody may have ended it.
fn gone_from(life: &Life<'_>, of_key: &[&Operation]) -> Option<u64> {
    let deletes = of_key.iter().filter(|operation| {
        operation.action == Action::Delete
            && matches!(operation.outcome, Outcome::Deleted | Outcome::Unknown)
            && operation.etag.is_none_or(|etag| etag == life.last)
            && operation.over() >= life.seen_until
    });
    deletes.map(|delete| delete.began.max(life.seen_until)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(revision: u64, uid: &str, description: &str, pause: Option<&str>) -> Version {
        Version {
            revision,
            uid: uid.into(),
            description: description.into(),
            pause: pause.map(str::to_owned),
        }
    }

    fn operation(at: (u64, u64), action: Action, etag: Option<u64>, outcome: Outcome) -> Operation {
        Operation { key: "k".into(), action, etag, outcome, began: at.0, ended: at.1 }
    }

    fn create(at: (u64, u64), value: &str, revision: u64, uid: &str) -> Operation {
        operation(at, Action::Create(value.into()), None, Outcome::Is(version(revision, uid, value, None)))
    }

    fn update(at: (u64, u64), value: &str, etag: u64, revision: u64) -> Operation {
        let outcome = Outcome::Is(version(revision, "u", value, None));
        operation(at, Action::Update(value.into()), Some(etag), outcome)
    }

    fn get(at: (u64, u64), value: &str, revision: u64) -> Operation {
        operation(at, Action::Get, None, Outcome::Is(version(revision, "u", value, None)))
    }

    fn absent(at: (u64, u64)) -> Operation {
        operation(at, Action::Get, None, Outcome::Absent)
    }

    fn delete(at: (u64, u64), etag: u64, outcome: Outcome) -> Operation {
        operation(at, Action::Delete, Some(etag), outcome)
    }

    fn list(at: (u64, u64), revision: u64, versions: &[Version]) -> Operation {
        let versions = versions.iter().map(|version| ("k".to_owned(), version.clone())).collect();
        let outcome = Outcome::Listed(revision, versions);
        Operation { key: String::new(), ..operation(at, Action::List, None, outcome) }
    }

    #[track_caller]
    fn passes(history: &[Operation]) {
        assert_eq!(check(history), Vec::<String>::new());
    }

    #[track_caller]
    fn fails(history: &[Operation], id: &str) {
        let problems = check(history);
        assert!(problems.iter().any(|problem| problem.contains(id)), "no {id} in {problems:?}");
    }

    #[test]
    fn a_plain_history_passes() {
        let paused = version(14, "u", "b", Some("p"));
        passes(&[
            absent((0, 1)),
            create((2, 4), "a", 10, "u"),
            get((5, 6), "a", 10),
            update((7, 9), "b", 10, 12),
            // Read while it was written: either is right.
            get((8, 10), "a", 10),
            get((8, 11), "b", 12),
            operation((12, 13), Action::Pause("p".into()), Some(12), Outcome::Is(paused.clone())),
            list((14, 15), 14, &[paused]),
            delete((16, 18), 14, Outcome::Deleted),
            absent((17, 18)),
            list((19, 20), 16, &[]),
            create((21, 22), "c", 17, "v"),
        ]);
    }

    #[test]
    fn a_stale_read_is_found() {
        let history = [create((0, 1), "a", 10, "u"), update((2, 3), "b", 10, 11), get((4, 5), "a", 10)];
        fails(&history, "HIST-2");
    }

    #[test]
    fn a_lost_write_is_found() {
        // The update was acknowledged, and then another one is made on what was before it.
        let history =
            [create((0, 1), "a", 10, "u"), update((2, 3), "b", 10, 11), update((4, 5), "c", 10, 12)];
        fails(&history, "HIST-3");
        // A create was acknowledged, and nobody finds it.
        fails(&[create((0, 1), "a", 10, "u"), absent((2, 3))], "HIST-4");
        fails(&[create((0, 1), "a", 10, "u"), list((2, 3), 12, &[])], "HIST-4");
    }

    #[test]
    fn a_log_that_went_back_is_found() {
        // Two schedules: the later write has the earlier place in the log.
        let other = Operation { key: "l".into(), ..create((2, 3), "b", 9, "v") };
        fails(&[create((0, 1), "a", 10, "u"), other], "HIST-2");
        let seen = version(10, "u", "a", None);
        fails(&[create((0, 1), "a", 10, "u"), list((2, 3), 9, &[seen])], "HIST-2");
    }

    #[test]
    fn two_contents_of_one_revision_are_found() {
        let unknown = operation((0, 9), Action::Update("b".into()), Some(10), Outcome::Unknown);
        let history = [create((0, 1), "a", 10, "u"), unknown, get((2, 3), "a", 11), get((4, 5), "b", 11)];
        fails(&history, "HIST-1");
        let wrong = Outcome::Is(version(10, "u", "b", None));
        fails(&[operation((0, 1), Action::Create("a".into()), None, wrong)], "HIST-5");
    }

    /// An update that lasts long enough to have been sent twice, and shows this version.
    fn late(began: u64, value: &str, etag: u64, shows: &str, revision: u64) -> Operation {
        let outcome = Outcome::Is(version(revision, "u", shows, None));
        let at = (began, began + SENT_TWICE_US);
        operation(at, Action::Update(value.into()), Some(etag), outcome)
    }

    #[test]
    fn hist_6_an_answer_may_come_late_but_seldom() {
        // Of two writers, one asks again after the other has changed what it wrote.
        let first = create((0, 1), "a", 10, "u");
        let history = [first.clone(), late(2, "b", 10, "c", 12), update((4, 5), "c", 11, 12)];
        passes(&history);
        // Nobody wrote what it shows.
        fails(&history[..2], "HIST-5");
        // It was too quick to have been sent twice.
        let quick = Operation { ended: 9, ..late(2, "b", 10, "c", 12) };
        fails(&[first.clone(), quick, update((4, 5), "c", 11, 12)], "HIST-1");
        // It is no excuse for all of them.
        let (second, third) = (late(6_000, "d", 12, "e", 14), update((6_001, 6_002), "e", 13, 14));
        let history = [first, late(2, "b", 10, "c", 12), update((4, 5), "c", 11, 12), second, third];
        fails(&history, "HIST-1");
    }

    #[test]
    fn hist_6_a_late_answer_may_show_what_was_deleted() {
        // Written at 11, deleted under that etag, and then shown as it was deleted, at 12.
        let seen = get((3, 4), "b", 11);
        let gone = delete((5, 6), 11, Outcome::Deleted);
        let again = create((7_000, 7_001), "c", 15, "v");
        passes(&[create((0, 1), "a", 10, "u"), late(2, "b", 10, "b", 12), seen, gone, again]);
    }

    #[test]
    fn what_was_not_done_must_not_be_seen() {
        for outcome in [Outcome::Refused, Outcome::NotDone] {
            let refused = operation((2, 3), Action::Update("b".into()), Some(10), outcome);
            let history = [create((0, 1), "a", 10, "u"), refused, get((4, 5), "b", 11)];
            fails(&history, "HIST-5");
        }
        fails(&[create((0, 1), "a", 10, "u"), get((2, 3), "z", 11)], "HIST-5");
        let early = [create((0, 1), "a", 10, "u"), get((2, 3), "b", 11), update((4, 5), "b", 10, 11)];
        fails(&early, "HIST-2");
    }

    #[test]
    fn an_unknown_outcome_may_be_either() {
        let unknown = |at| operation(at, Action::Update("b".into()), Some(10), Outcome::Unknown);
        passes(&[create((0, 1), "a", 10, "u"), unknown((2, 3)), get((4, 5), "a", 10)]);
        passes(&[create((0, 1), "a", 10, "u"), unknown((2, 3)), get((4, 5), "b", 11)]);
        // It may happen long after the client gave up.
        let late = [get((4, 5), "a", 10), get((6, 7), "b", 11)];
        passes(&[&[create((0, 1), "a", 10, "u"), unknown((2, 3))][..], &late].concat());
        // But it happens once.
        let back = [get((4, 5), "b", 11), get((6, 7), "a", 10)];
        fails(&[&[create((0, 1), "a", 10, "u"), unknown((2, 3))][..], &back].concat(), "HIST-2");
    }

    #[test]
    fn an_unknown_delete_may_be_either() {
        let unknown = delete((2, 3), 10, Outcome::Unknown);
        passes(&[create((0, 1), "a", 10, "u"), unknown.clone(), get((4, 5), "a", 10)]);
        passes(&[create((0, 1), "a", 10, "u"), unknown.clone(), absent((4, 5))]);
        passes(&[create((0, 1), "a", 10, "u"), unknown.clone(), create((4, 5), "c", 14, "v")]);
        // Gone once, it does not come back by itself.
        let back = [create((0, 1), "a", 10, "u"), unknown, absent((4, 5)), get((6, 7), "a", 10)];
        fails(&back, "HIST-4");
    }

    #[test]
    fn what_was_deleted_stays_so() {
        let deleted = [create((0, 1), "a", 10, "u"), delete((2, 3), 10, Outcome::Deleted)];
        fails(&[&deleted[..], &[get((4, 5), "a", 10)]].concat(), "HIST-4");
        // Deleted on an old etag: the change in between was lost.
        let history =
            [create((0, 1), "a", 10, "u"), update((2, 3), "b", 10, 11), delete((4, 5), 10, Outcome::Deleted)];
        fails(&history, "HIST-3");
    }

    #[test]
    fn a_schedule_is_not_replaced_behind_its_back() {
        fails(&[create((0, 1), "a", 10, "u"), create((2, 3), "b", 11, "v")], "HIST-4");
        let refused = delete((2, 3), 10, Outcome::Refused);
        fails(&[create((0, 1), "a", 10, "u"), refused, create((4, 5), "b", 11, "v")], "HIST-4");
    }
}
