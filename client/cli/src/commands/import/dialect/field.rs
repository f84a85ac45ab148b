//! The fields of an expression as sets of bits, value `n` at bit `n`.

/// What a field may hold.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) min: u32,
    pub(super) max: u32,
    /// Names of values, the first one being `min`.
    pub(super) names: &'static [&'static str],
}

pub(super) const SECOND: Kind = Kind { name: "second", min: 0, max: 59, names: &[] };
pub(super) const MINUTE: Kind = Kind { name: "minute", min: 0, max: 59, names: &[] };
pub(super) const HOUR: Kind = Kind { name: "hour", min: 0, max: 23, names: &[] };
pub(super) const MONTH_DAY: Kind = Kind { name: "day of month", min: 1, max: 31, names: &[] };
pub(super) const MONTH: Kind = Kind {
    name: "month",
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Go's: Sunday is 0.
pub(super) const WEEK_DAY: Kind = Kind { name: "day of week", min: 0, max: 6, names: DAYS };
/// Vixie's: Sunday is 0 and 7.
pub(super) const WEEK_DAY_TO_7: Kind = Kind { name: "day of week", min: 0, max: 7, names: DAYS };

/// One item of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// None: every value.
    pub(super) range: Option<(u32, u32)>,
    pub(super) step: Option<u32>,
}

impl Item {
    pub(super) fn bits(&self, kind: &Kind) -> u64 {
        let (first, last) = self.range.unwrap_or((kind.min, kind.max));
        let step = self.step.unwrap_or(1).max(1) as usize;
        (first..=last).step_by(step).fold(0, |bits, value| bits | 1 << value)
    }
}

/// Reads `*`, `?` where `question` allows it, `n`, `a-b`, each with a step; `n/s` runs to the end of the field.
pub(super) fn item(text: &str, kind: &Kind, question: bool) -> Result<Item, String> {
    let refuse = |why: &str| Err(format!("`{text}` in the {} field {why}", kind.name));
    let (base, step) = match text.split_once('/') {
        Some((base, step)) => (base, Some(step)),
        None => (text, None),
    };
    let step = match step.map(number) {
        None => None,
        Some(Some(0)) => return refuse("has a step of 0"),
        Some(Some(step)) => Some(step),
        Some(None) => return refuse("has a step that is no number"),
    };
    if base == "*" || (question && base == "?") {
        return Ok(Item { range: None, step });
    }
    let value = |text: &str| {
        let named = kind.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        named.and_then(|index| u32::try_from(index).ok()).map_or_else(|| number(text), |i| Some(i + kind.min))
    };
    let ends = match base.split_once('-') {
        Some((first, last)) => (value(first), value(last)),
        None => (value(base), if step.is_some() { Some(kind.max) } else { value(base) }),
    };
    match ends {
        (Some(first), Some(last)) if first >= kind.min && last <= kind.max && first <= last => {
            Ok(Item { range: Some((first, last)), step })
        }
        (Some(_), Some(_)) => refuse("is out of range or backward"),
        (None, _) | (_, None) => refuse("is not a value"),
    }
}

/// At most nine digits: no field has larger values.
fn number(text: &str) -> Option<u32> {
    let is_number = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// Whether a set has a value.
pub(super) fn has(bits: u64, value: i8) -> bool {
    u32::try_from(value).is_ok_and(|value| value < 64 && bits >> value & 1 == 1)
}
