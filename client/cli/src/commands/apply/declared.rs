//! What of a document is declared, and where two declarations differ.

use serde::Serialize;
use serde_json::{Map, Value};

use super::document::Document;
use crate::exit::{Exit, Failure};
use crate::output::view::{CalendarView, NamespaceView, PoolView, ScheduleView};

/// Fields of any kind that are not declared: nodes set them, and a pause is for people to decide.
const NOT_DECLARED: [&str; 11] = [
    "uid",
    "etag",
    "generation",
    "state",
    "create_time",
    "update_time",
    "status",
    "pause",
    "running_count",
    "schedule_count",
    "next",
];
/// What of a pause is said of one that has to be made.
const DECLARED_OF_PAUSE: [&str; 3] = ["reason", "actor", "until"];

/// A field that differs. Absent values are null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) field: String,
    pub(super) before: Value,
    pub(super) after: Value,
}

/// The fields that differ between two answers of a node, in which every default is written out.
pub(super) fn changes(before: Option<&Document>, after: &Document) -> Result<Vec<Change>, Failure> {
    let before = before.map(declared).transpose()?.unwrap_or_default();
    let mut changes = Vec::new();
    compare("", &before, &declared(after)?, &mut changes);
    Ok(changes)
}

/// What is there as a document that `apply` reads: nothing in it but what it would change, and the pause that it would begin in.
pub(super) fn exported(document: Document) -> Result<Map<String, Value>, Failure> {
    let mut written = Map::new();
    written.insert("kind".to_owned(), document.kind().name().into());
    let mut whole = fields(&document)?;
    let pause = whole.get_mut("pause").map(Value::take);
    written.extend(declared_of(whole));
    if let Some(Value::Object(mut pause)) = pause {
        let kept = DECLARED_OF_PAUSE.iter().filter_map(|field| pause.shift_remove_entry(*field));
        written.insert("pause".to_owned(), kept.collect::<Map<_, _>>().into());
    }
    Ok(written)
}

fn declared(document: &Document) -> Result<Map<String, Value>, Failure> {
    fields(document).map(declared_of)
}

/// All fields, as `-o json` shows them.
fn fields(document: &Document) -> Result<Map<String, Value>, Failure> {
    let value = match document.clone() {
        Document::Namespace(namespace) => serde_json::to_value(NamespaceView::from(namespace)),
        Document::Pool(pool) => serde_json::to_value(PoolView::from(pool)),
        Document::Calendar(calendar) => serde_json::to_value(CalendarView::new(calendar, Vec::new(), "UTC")),
        Document::Schedule(schedule) => serde_json::to_value(ScheduleView::from(*schedule)),
    };
    let unwritable =
        |why: String| Failure::new(Exit::Failed, format!("cannot write {}: {why}", document.name()));
    match value {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_other) => Err(unwritable("it is no mapping".to_owned())),
        Err(error) => Err(unwritable(error.to_string())),
    }
}

fn declared_of(mut document: Map<String, Value>) -> Map<String, Value> {
    NOT_DECLARED.iter().for_each(|field| drop(document.shift_remove(*field)));
    for rules in ["/timing/include", "/timing/exclude"] {
        let mut timing = Value::Object(std::mem::take(&mut document));
        if let Some(Value::Array(rules)) = timing.pointer_mut(rules) {
            for cron in rules.iter_mut().filter_map(|rule| rule.get_mut("cron")?.as_object_mut()) {
                cron.shift_remove("resolved_expression");
            }
        }
        if let Value::Object(whole) = timing {
            document = whole;
        }
    }
    document
}

fn compare(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, changes: &mut Vec<Change>) {
    let added = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(added) {
        let field = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let (old, new) = (before.get(key).unwrap_or(&Value::Null), after.get(key).unwrap_or(&Value::Null));
        match (old, new) {
            (old, new) if old == new => {}
            (Value::Object(old), Value::Object(new)) => compare(&field, old, new, changes),
            (old, new) => changes.push(Change { field, before: old.clone(), after: new.clone() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use belfry_sdk::pb;

    use super::*;

    fn document(schedule: pb::Schedule) -> Document {
        Document::Schedule(Box::new(schedule))
    }

    fn schedule() -> pb::Schedule {
        let cron = pb::Cron {
            expression: "H 3 * * *".into(),
            resolved_expression: "7 3 * * *".into(),
            ..Default::default()
        };
        pb::Schedule {
            name: "namespaces/a/schedules/b".into(),
            etag: "7".into(),
            labels: [("team".to_owned(), "ops".to_owned())].into(),
            timing: Some(pb::Timing {
                include: vec![pb::Rule { rule: Some(pb::rule::Rule::Cron(cron)) }],
                ..Default::default()
            }),
            policies: Some(pb::Policies::default()),
            ..Default::default()
        }
    }

    fn changed(before: Option<pb::Schedule>, after: pb::Schedule) -> Vec<String> {
        let changes = changes(before.map(document).as_ref(), &document(after)).unwrap();
        changes.into_iter().map(|change| change.field).collect()
    }

    #[test]
    fn what_nodes_set_is_no_difference() {
        let mut after = pb::Schedule { etag: "9".into(), uid: "u".into(), state: 2, ..schedule() };
        after.pause = Some(pb::Pause::default());
        assert_eq!(changed(Some(schedule()), after.clone()), [""; 0]);
    }

    #[test]
    fn differences_are_named_by_their_path() {
        let mut after = schedule();
        after.labels = [("tier".to_owned(), "1".to_owned())].into();
        after.policies.as_mut().unwrap().overlap_policy = 2;
        after.timing.as_mut().unwrap().time_zone = "Europe/Berlin".into();
        after.priority = 9;
        let expected =
            ["labels.team", "labels.tier", "timing.time_zone", "policies.overlap_policy", "priority"];
        assert_eq!(changed(Some(schedule()), after.clone()), expected);
        let change = changes(Some(&document(schedule())), &document(after.clone())).unwrap().remove(0);
        assert_eq!((change.before, change.after), ("ops".into(), Value::Null));
        assert!(changed(None, after).starts_with(&["name".to_owned(), "labels".to_owned()]));
    }

    #[test]
    fn an_exported_schedule_keeps_its_pause_and_nothing_of_the_nodes() {
        let pause =
            pb::Pause { reason: "disk".into(), actor: "anna".into(), skipped_count: 3, ..Default::default() };
        let exported = exported(document(pb::Schedule { pause: Some(pause), ..schedule() })).unwrap();
        let text = Value::Object(exported).to_string();
        assert!(text.starts_with(r#"{"kind":"Schedule","name":"namespaces/a/schedules/b""#), "{text}");
        assert!(text.ends_with(r#""pause":{"reason":"disk","actor":"anna"}}"#), "{text}");
        for absent in ["etag", "status", "resolved_expression", "skipped_count"] {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
    }

    #[test]
    fn what_is_in_use_is_no_difference_and_a_pause_of_a_pool_no_declaration() {
        let before = pb::Pool { name: "pools/p".into(), slots: 1, ..Default::default() };
        let pause = pb::Verdict { reason: "r".into(), actor: "a".into(), ..Default::default() };
        let after = pb::Pool { running_count: 1, etag: "2".into(), pause: Some(pause), ..before.clone() };
        let (before, after) = (Document::Pool(before), Document::Pool(after));
        assert_eq!(changes(Some(&before), &after), Ok(vec![]));
        let text = Value::Object(exported(after).unwrap()).to_string();
        let expected = r#"{"kind":"Pool","name":"pools/p","description":"","slots":1,"pause":{"reason":"r","actor":"a"}}"#;
        assert_eq!(text, expected);
    }
}
