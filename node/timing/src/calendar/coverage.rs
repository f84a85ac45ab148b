//! What a calendar covers in one zone: half-open spans, so that long periods are jumped and not walked.

use std::sync::Arc;

/// The instants inside a calendar, in milliseconds. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Coverage(Arc<Table>);

/// Spans in order, not empty, with room between them.
#[derive(Debug)]
pub(super) struct Table(Vec<(i64, i64)>);

impl Table {
    pub(super) fn new(mut spans: Vec<(i64, i64)>) -> Table {
        spans.retain(|(start, end)| start < end);
        spans.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::with_capacity(spans.len());
        for (start, end) in spans {
            match joined.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                Some(_) | None => joined.push((start, end)),
            }
        }
        joined.shrink_to_fit();
        Table(joined)
    }
}

impl Coverage {
    pub(super) fn new(table: Arc<Table>) -> Coverage {
        Coverage(table)
    }

    /// Whether an instant is inside.
    pub fn contains(&self, instant: i64) -> bool {
        self.around(instant).is_some()
    }

    /// The first instant from `instant` on that is inside.
    pub fn next_inside(&self, instant: i64) -> Option<i64> {
        let next = self.0.0.partition_point(|(_, end)| *end <= instant);
        self.0.0.get(next).map(|(start, _)| instant.max(*start))
    }

    /// The first instant from `instant` on that is outside.
    pub fn next_outside(&self, instant: i64) -> i64 {
        self.around(instant).map_or(instant, |(_, end)| end)
    }

    /// The last instant up to `instant` that is inside.
    pub fn previous_inside(&self, instant: i64) -> Option<i64> {
        let later = self.0.0.partition_point(|(start, _)| *start <= instant);
        let (_, end) = self.0.0[..later].last()?;
        Some(instant.min(end - 1))
    }

    /// The last instant up to `instant` that is outside.
    pub fn previous_outside(&self, instant: i64) -> i64 {
        self.around(instant).map_or(instant, |(start, _)| start - 1)
    }

    /// The span that contains an instant.
    fn around(&self, instant: i64) -> Option<(i64, i64)> {
        let later = self.0.0.partition_point(|(start, _)| *start <= instant);
        self.0.0[..later].last().copied().filter(|(_, end)| instant < *end)
    }
}
