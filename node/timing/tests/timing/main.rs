//! Tests of the timing language through its public surface, in one binary.

// Helpers of tests are tests too, which clippy cannot see in a binary of its own.
#![allow(clippy::unwrap_used)]

mod calendar_rules;
mod calendars;
mod compositions;
mod cron_text;
mod crontab;
mod daylight_saving;
mod ends_of_time;
mod marks;
mod model;
mod properties;
mod scenarios;
mod second_by_second;
mod warnings;
mod words;
