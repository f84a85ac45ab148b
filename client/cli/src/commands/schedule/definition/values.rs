//! Values of flags that may be `none`: what applies when nothing is said.

use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use belfry_timing::parse_duration;

use crate::text;

/// A duration, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit(Option<Duration>);

impl Limit {
    pub(crate) fn parse(text: &str) -> Result<Self, belfry_timing::DurationError> {
        if text == "none" { Ok(Self(None)) } else { parse_duration(text).map(Some).map(Self) }
    }

    pub(crate) fn proto(self) -> Option<prost_types::Duration> {
        self.0.map(text::proto_duration)
    }
}

/// A number from 1, or `none`, which the contract writes as 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(u32);

impl Count {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(0)),
            text => match text.parse() {
                Ok(count) if count > 0 => Ok(Self(count)),
                Ok(_) | Err(_) => Err("write a number from 1, or none".to_owned()),
            },
        }
    }

    pub(crate) fn get(self) -> u32 {
        self.0
    }
}

/// A text, or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named(Option<String>);

impl Named {
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }

    pub(crate) fn all(names: &[Self]) -> impl Iterator<Item = &str> {
        names.iter().filter_map(Self::get)
    }
}

impl FromStr for Named {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self((text != "none").then(|| text.to_owned())))
    }
}
