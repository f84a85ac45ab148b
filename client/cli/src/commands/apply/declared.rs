//! What of a schedule is declared, and where two declarations differ.

use belfry_sdk::pb;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::exit::{Exit, Failure};
use crate::output::view::ScheduleView;

/// Fields that are not declared: nodes set them, and a pause is for people to decide.
const NOT_DECLARED: [&str; 8] =
    ["uid", "etag", "generation", "state", "create_time", "update_time", "status", "pause"];

/// A field that differs. Absent values are null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) field: String,
    pub(super) before: Value,
    pub(super) after: Value,
}

/// The fields that differ between two answers of a node, in which every default is written out.
pub(super) fn changes(before: Option<&pb::Schedule>, after: &pb::Schedule) -> Result<Vec<Change>, Failure> {
    let before = before.map(declared).transpose()?.unwrap_or_default();
    let mut changes = Vec::new();
    compare("", &before, &declared(after)?, &mut changes);
    Ok(changes)
}

/// A schedule as a document that `apply` reads: nothing in it but what it would change, and the pause that it would begin in.
pub(super) fn exported(schedule: pb::Schedule) -> Result<Map<String, Value>, Failure> {
    let view = ScheduleView::from(schedule);
    let pause = view.pause.as_ref().map(|pause| {
        let mut kept = Map::new();
        kept.insert("reason".to_owned(), pause.reason.clone().into());
        kept.insert("actor".to_owned(), pause.actor.clone().into());
        if let Some(until) = pause.until {
            kept.insert("until".to_owned(), until.to_string().into());
        }
        kept
    });
    let mut document = of_view(&view)?;
    if let Some(pause) = pause {
        document.insert("pause".to_owned(), pause.into());
    }
    Ok(document)
}

fn declared(schedule: &pb::Schedule) -> Result<Map<String, Value>, Failure> {
    of_view(&ScheduleView::from(schedule.clone()))
}

fn of_view(view: &ScheduleView) -> Result<Map<String, Value>, Failure> {
    let unwritable = |why: String| Failure::new(Exit::Failed, format!("cannot write the schedule: {why}"));
    let Value::Object(mut document) =
        serde_json::to_value(view).map_err(|error| unwritable(error.to_string()))?
    else {
        return Err(unwritable("it is no mapping".to_owned()));
    };
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
    Ok(document)
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
    use super::*;

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

    fn fields(before: Option<&pb::Schedule>, after: &pb::Schedule) -> Vec<String> {
        changes(before, after).unwrap().into_iter().map(|change| change.field).collect()
    }

    #[test]
    fn what_nodes_set_is_no_difference() {
        let mut after = pb::Schedule { etag: "9".into(), uid: "u".into(), state: 2, ..schedule() };
        after.pause = Some(pb::Pause::default());
        assert_eq!(fields(Some(&schedule()), &after), [""; 0]);
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
        assert_eq!(fields(Some(&schedule()), &after), expected);
        let change = changes(Some(&schedule()), &after).unwrap().remove(0);
        assert_eq!((change.before, change.after), ("ops".into(), Value::Null));
        assert!(fields(None, &after).starts_with(&["name".to_owned(), "labels".to_owned()]));
    }

    #[test]
    fn an_exported_schedule_keeps_its_pause_and_nothing_of_the_nodes() {
        let pause =
            pb::Pause { reason: "disk".into(), actor: "anna".into(), skipped_count: 3, ..Default::default() };
        let exported = exported(pb::Schedule { pause: Some(pause), ..schedule() }).unwrap();
        let text = Value::Object(exported).to_string();
        assert!(text.ends_with(r#""pause":{"reason":"disk","actor":"anna"}}"#), "{text}");
        for absent in ["etag", "status", "resolved_expression", "skipped_count"] {
            assert!(!text.contains(absent), "{absent} in {text}");
        }
    }
}
