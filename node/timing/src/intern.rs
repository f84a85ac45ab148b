//! One compiled rule per meaning: a million schedules that say `0 * * * *` share one.
//!
//! The table holds rules weakly and sweeps the dead ones out whenever it has doubled, so it never holds more than twice
//! the rules in use, and the sweep costs O(1) per insertion.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::rule::Rule;

struct Table {
    rules: BTreeMap<String, Weak<Rule>>,
    sweep_at: usize,
}

/// Below this many entries a sweep is not worth it.
const SWEEP_AT_MIN: usize = 64;

static TABLE: Mutex<Table> = Mutex::new(Table { rules: BTreeMap::new(), sweep_at: SWEEP_AT_MIN });

/// The rule with this canonical text: the one in use, or a new one.
pub(crate) fn rule(canonical: String, new: impl FnOnce(String) -> Rule) -> Arc<Rule> {
    // A panic while holding the lock leaves the table whole, so poison means nothing.
    let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(rule) = table.rules.get(&canonical).and_then(Weak::upgrade) {
        return rule;
    }
    if table.rules.len() >= table.sweep_at {
        table.rules.retain(|_, rule| rule.strong_count() > 0);
        table.sweep_at = (2 * table.rules.len()).max(SWEEP_AT_MIN);
    }
    let rule = Arc::new(new(canonical.clone()));
    table.rules.insert(canonical, Arc::downgrade(&rule));
    rule
}
