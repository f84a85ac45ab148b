//! `belfry calendar set`.

use std::str::FromStr;

use belfry_sdk::{Client, ClientError, pb};
use belfry_timing::TimeZone;
use clap::Args;

use super::show;
use crate::commands::Context;
use crate::commands::documents::{self, ChangeArgs};
use crate::exit::Failure;

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The calendar, as NAME or as its resource name.
    name: String,
    /// Exactly these days: 2026-12-25, or *-12-25 for every year, or none; repeat it, or separate several by commas.
    #[arg(long, value_name = "DAY", value_delimiter = ',')]
    day: Vec<String>,
    /// A further day.
    #[arg(long, value_name = "DAY", value_delimiter = ',', conflicts_with = "day")]
    add_day: Vec<String>,
    /// A day that it has no longer.
    #[arg(long, value_name = "DAY", value_delimiter = ',', conflicts_with = "day")]
    remove_day: Vec<String>,
    /// Exactly these periods: 2026-11-27T18:00/2026-11-30T06:00 by the clocks of its zone, or two instants, or none.
    #[arg(long, value_name = "START/END", value_delimiter = ',')]
    period: Vec<Period>,
    /// A further period.
    #[arg(long, value_name = "START/END", value_delimiter = ',', conflicts_with = "period")]
    add_period: Vec<Period>,
    /// A period that it has no longer.
    #[arg(long, value_name = "START/END", value_delimiter = ',', conflicts_with = "period")]
    remove_period: Vec<Period>,
    /// Zone of its days and periods, or none: that of the schedule that uses it.
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// A period, or `none`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Period(Option<(String, String)>);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((start, end)) => Ok(Self(Some((start.trim().to_owned(), end.trim().to_owned())))),
            None if text == "none" => Ok(Self(None)),
            None => Err("write START/END, as in 2026-11-27T18:00/2026-11-30T06:00, or none".to_owned()),
        }
    }
}

impl Period {
    fn all(periods: &[Self]) -> impl Iterator<Item = pb::calendar::Period> + '_ {
        periods
            .iter()
            .filter_map(|Self(period)| period.clone())
            .map(|(start, end)| pb::calendar::Period { start, end })
    }
}

impl SetArgs {
    fn is_empty(&self) -> bool {
        let days = self.day.len() + self.add_day.len() + self.remove_day.len();
        let periods = self.period.len() + self.add_period.len() + self.remove_period.len();
        days + periods == 0 && self.tz.is_none() && self.description.is_none()
    }

    fn apply(&self, calendar: &mut pb::Calendar) -> Result<(), Failure> {
        let named = |days: &[String]| days.iter().filter(|day| *day != "none").cloned().collect::<Vec<_>>();
        if !self.day.is_empty() {
            calendar.days = named(&self.day);
        }
        if !self.period.is_empty() {
            calendar.periods = Period::all(&self.period).collect();
        }
        add(&mut calendar.days, named(&self.add_day));
        add(&mut calendar.periods, Period::all(&self.add_period));
        for day in &self.remove_day {
            remove(&mut calendar.days, day, day)?;
        }
        for period in Period::all(&self.remove_period) {
            remove(&mut calendar.periods, &period, &format!("{}/{}", period.start, period.end))?;
        }
        if let Some(zone) = &self.tz {
            calendar.time_zone = if zone == "none" { String::new() } else { zone.clone() };
        }
        if let Some(description) = &self.description {
            calendar.description.clone_from(description);
        }
        Ok(())
    }
}

fn add<T: PartialEq>(entries: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for entry in more {
        if !entries.contains(&entry) {
            entries.push(entry);
        }
    }
}

/// What is not there is a slip that should be seen: it may be there in other words.
fn remove<T: PartialEq>(entries: &mut Vec<T>, entry: &T, text: &str) -> Result<(), Failure> {
    let before = entries.len();
    entries.retain(|other| other != entry);
    match entries.len() < before {
        true => Ok(()),
        false => Err(Failure::usage(format!("{text} is not in it: `belfry calendar get` shows what is"))),
    }
}

pub(super) async fn run(context: &Context, args: &SetArgs) -> Result<(), Failure> {
    if args.is_empty() {
        return Err(Failure::usage(
            "nothing to change: give at least one flag, see `belfry calendar set --help`",
        ));
    }
    let (name, client, change) = (context.calendar(&args.name)?, context.client()?, &args.change);
    let read = async || read(&client, &name).await;
    let write = async |calendar: pb::Calendar| {
        let calendar = pb::Calendar { etag: change.etag(&calendar.etag), ..calendar };
        let request = pb::PutCalendarRequest {
            calendar: Some(calendar),
            request_id: change.request.id(),
            validate_only: change.check.dry_run,
        };
        client.put_calendar(request).await
    };
    let calendar = documents::change(change, read, |calendar| args.apply(calendar), write).await?;
    show(context, calendar, &TimeZone::utc())
}

/// The calendar, or an empty one of this name.
pub(super) async fn read(client: &Client, name: &str) -> Result<pb::Calendar, ClientError> {
    let read = client.get_calendar(pb::GetCalendarRequest { name: name.to_owned() }).await;
    documents::or_new(read, || pb::Calendar { name: name.to_owned(), ..Default::default() })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: SetArgs,
    }

    fn changed(words: &[&str]) -> Result<pb::Calendar, Failure> {
        let line = Line::parse_from(["x", "holidays"].iter().chain(words));
        let mut calendar = pb::Calendar {
            days: vec!["2026-12-25".into()],
            periods: vec![pb::calendar::Period { start: "a".into(), end: "b".into() }],
            time_zone: "Europe/Berlin".into(),
            ..Default::default()
        };
        line.args.apply(&mut calendar).map(|()| calendar)
    }

    #[test]
    fn days_and_periods_are_replaced_added_and_removed() {
        assert_eq!(changed(&["--day", "2027-01-01,*-05-01"]).unwrap().days, ["2027-01-01", "*-05-01"]);
        assert_eq!(changed(&["--day", "none"]).unwrap().days, [""; 0]);
        let added = changed(&["--add-day", "*-05-01", "--add-day", "2026-12-25"]).unwrap();
        assert_eq!(added.days, ["2026-12-25", "*-05-01"]);
        assert_eq!(changed(&["--add-period", "c/d"]).unwrap().periods.len(), 2);
        assert_eq!(changed(&["--period", "none"]).unwrap().periods, []);
        let removed =
            changed(&["--remove-day", "2026-12-25", "--remove-period", "a/b", "--tz", "none"]).unwrap();
        assert_eq!(removed, pb::Calendar::default());
        let missing = changed(&["--remove-day", "2026-12-26"]).unwrap_err().to_string();
        assert!(missing.starts_with("2026-12-26 is not in it"), "{missing}");
    }
}
