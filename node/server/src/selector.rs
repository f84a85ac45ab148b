//! Conditions on labels: `team=billing,tier!=test,owned,!legacy`.
//!
//! One grammar for all who select: requests that carry a selector, and commands that select among what they read.

use std::collections::BTreeMap;
use std::fmt;

/// Conditions of one selector: more than anybody types.
const CONDITIONS_MAX: usize = 64;

/// Conditions on labels, all of which must hold. Without any, everything fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Condition>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Equals(String, String),
    Differs(String, String),
    Present(String),
    Absent(String),
}

impl Selector {
    /// Reads a selector, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let conditions = parts.map(Condition::parse).collect::<Result<Vec<_>, _>>()?;
        if conditions.len() > CONDITIONS_MAX {
            return Err(format!(
                "has {} conditions: at most {CONDITIONS_MAX} are accepted",
                conditions.len()
            ));
        }
        Ok(Self(conditions))
    }

    /// Whether it has no conditions.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether labels meet all conditions.
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|condition| condition.holds(labels))
    }
}

/// As it can be read again.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, condition) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            match condition {
                Condition::Equals(key, value) => write!(f, "{key}={value}")?,
                Condition::Differs(key, value) => write!(f, "{key}!={value}")?,
                Condition::Present(key) => f.write_str(key)?,
                Condition::Absent(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, String> {
        let owned = |(key, value): (&str, &str)| (key.trim().to_owned(), value.trim().to_owned());
        let condition = if let Some(pair) = text.split_once("!=") {
            let (key, value) = owned(pair);
            Self::Differs(key, value)
        } else if let Some(pair) = text.split_once("==").or_else(|| text.split_once('=')) {
            let (key, value) = owned(pair);
            Self::Equals(key, value)
        } else if let Some(key) = text.strip_prefix('!') {
            Self::Absent(key.trim().to_owned())
        } else {
            Self::Present(text.to_owned())
        };
        let key = condition.key();
        if key.is_empty() || key.contains(['!', '=', ' ']) {
            let text: String = text.chars().take(80).collect();
            return Err(format!("`{text}` is no condition: write key=value, key!=value, key or !key"));
        }
        Ok(condition)
    }

    fn key(&self) -> &str {
        match self {
            Self::Equals(key, _) | Self::Differs(key, _) | Self::Present(key) | Self::Absent(key) => key,
        }
    }

    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(self.key());
        match self {
            Self::Equals(_, wanted) => value == Some(wanted),
            Self::Differs(_, unwanted) => value != Some(unwanted),
            Self::Present(_) => value.is_some(),
            Self::Absent(_) => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_select() {
        let labels =
            BTreeMap::from([("team".to_owned(), "billing".to_owned()), ("owned".to_owned(), String::new())]);
        for (text, expected) in [
            ("", true),
            ("team=billing", true),
            ("team==billing, owned", true),
            ("team!=billing", false),
            ("tier!=test,!legacy", true),
            ("!owned", false),
            ("legacy", false),
            ("team=billing,legacy", false),
        ] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.fits(&labels), expected, "{text}");
            assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector, "{text}");
        }
        for text in ["=x", "a b", "!", &"a,".repeat(65)] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }
}
