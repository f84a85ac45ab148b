//! `belfry calendar`: days and periods that many schedules share.

mod file;
mod set;

use belfry_sdk::{Client, pb};
use belfry_timing::{Calendar, CalendarError, TimeZone};
use clap::{Args, Subcommand};

use super::documents::{self, DeleteArgs, PAGE_SIZE};
use super::{Context, converse};
use crate::exit::Failure;
use crate::output::prose;
use crate::output::view::{CalendarView, Span};
use crate::text;

/// Spans shown: a year of holidays.
const SPANS_SHOWN: usize = 10;

#[derive(Debug, Subcommand)]
pub(crate) enum CalendarCommand {
    /// List the calendars of the namespace.
    List,
    /// Show a calendar, and what it covers next.
    Get(GetArgs),
    /// Make a calendar, or change what is given and leave the rest as it is.
    Set(set::SetArgs),
    /// Make calendars what documents in files say: `belfry apply` for calendars alone.
    Apply(file::ApplyArgs),
    /// Delete calendars that no schedule uses.
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The calendar, as NAME or as its resource name.
    name: String,
    /// Zone by whose clocks to show a calendar that has none of its own.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
}

pub(crate) fn run(context: &Context, command: CalendarCommand) -> Result<(), Failure> {
    converse(async {
        match command {
            CalendarCommand::List => list(context).await,
            CalendarCommand::Get(args) => get(context, &args).await,
            CalendarCommand::Set(args) => set::run(context, &args).await,
            CalendarCommand::Apply(args) => file::run(context, &args).await,
            CalendarCommand::Delete(args) => delete(context, &args).await,
        }
    })
}

async fn list(context: &Context) -> Result<(), Failure> {
    let now = text::now_millis();
    let mut listing = context.printer.listing::<CalendarView>("calendars", now);
    each_page(&context.client()?, &context.parent(), |calendars| {
        let views: Vec<_> =
            calendars.into_iter().map(|calendar| view(calendar, &TimeZone::utc(), now)).collect();
        listing.page(&views)
    })
    .await?;
    if listing.end()? == 0 {
        prose(&format!("no calendars in {}", context.parent()));
    }
    Ok(())
}

/// Reads the calendars of a namespace, `namespaces/-` for all.
pub(crate) async fn each_page(
    client: &Client,
    parent: &str,
    take: impl FnMut(Vec<pb::Calendar>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let fetch = async |page_token| {
        let request =
            pb::ListCalendarsRequest { parent: parent.to_owned(), page_size: PAGE_SIZE, page_token };
        let page = client.list_calendars(request).await?;
        Ok((page.calendars, page.next_page_token))
    };
    documents::pages(fetch, take).await
}

async fn get(context: &Context, args: &GetArgs) -> Result<(), Failure> {
    let name = context.calendar(&args.name)?;
    let zone = TimeZone::parse(&args.tz).map_err(|error| Failure::usage(error.to_string()))?;
    show(context, context.client()?.get_calendar(pb::GetCalendarRequest { name }).await?, &zone)
}

async fn delete(context: &Context, args: &DeleteArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let call = async |deletion: documents::Deletion| {
        let documents::Deletion { name, etag, allow_missing, validate_only, request_id } = deletion;
        let request = pb::DeleteCalendarRequest { name, etag, allow_missing, request_id, validate_only };
        client.delete_calendar(request).await
    };
    documents::delete(args, |name| context.calendar(name), call).await
}

fn show(context: &Context, calendar: pb::Calendar, zone: &TimeZone) -> Result<(), Failure> {
    let now = text::now_millis();
    let view = view(calendar, zone, now);
    context.printer.one(&view, &view.name, |printer| view.screen(printer, now))
}

/// A calendar with what it covers from `now` on.
fn view(calendar: pb::Calendar, zone: &TimeZone, now: i64) -> CalendarView {
    // A calendar of a newer cluster may have what this release cannot read: the rest is worth showing.
    let spans = compile(&calendar).map(|calendar| spans(&calendar, zone, now)).unwrap_or_default();
    CalendarView::new(calendar, spans, zone.name())
}

/// A calendar that can be asked what it covers.
pub(crate) fn compile(calendar: &pb::Calendar) -> Result<Calendar, Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", calendar.name));
    let zone = match calendar.time_zone.as_str() {
        "" => None,
        zone => Some(TimeZone::parse(zone).map_err(|error| refused(&error))?),
    };
    entries(calendar, zone).map_err(|error| refused(&error))
}

/// The days and periods of a calendar, with the zone that it names.
pub(crate) fn entries(calendar: &pb::Calendar, zone: Option<TimeZone>) -> Result<Calendar, CalendarError> {
    let days: Vec<&str> = calendar.days.iter().map(String::as_str).collect();
    let periods: Vec<_> =
        calendar.periods.iter().map(|period| (period.start.as_str(), period.end.as_str())).collect();
    Calendar::parse(text::short_name(&calendar.name), zone, &days, &periods)
}

/// The next spans that it covers, the one that is under way included.
fn spans(calendar: &Calendar, zone: &TimeZone, from: i64) -> Vec<Span> {
    let coverage = calendar.coverage(zone);
    let span = |from: i64| {
        let inside = coverage.next_inside(from)?;
        let start = coverage.previous_outside(inside) + 1;
        Some(Span::new(start, coverage.next_outside(inside)))
    };
    std::iter::successors(span(from), |last| span(last.end())).take(SPANS_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_join_what_touches_and_begin_with_the_one_under_way() {
        let calendar = pb::Calendar {
            name: "namespaces/n/calendars/c".into(),
            time_zone: "Europe/Berlin".into(),
            days: vec!["2026-12-25".into(), "2026-12-26".into(), "*-01-01".into()],
            ..Default::default()
        };
        let from = belfry_timing::parse_time("2026-12-26T12:00:00Z", &TimeZone::utc()).unwrap();
        let spans = spans(&compile(&calendar).unwrap(), &TimeZone::utc(), from);
        assert_eq!(spans.len(), SPANS_SHOWN);
        let texts: Vec<_> = spans.iter().take(2).map(ToString::to_string).collect();
        assert_eq!(
            texts,
            ["2026-12-24T23:00:00Z/2026-12-26T23:00:00Z", "2026-12-31T23:00:00Z/2027-01-01T23:00:00Z"]
        );
    }

    #[test]
    fn a_calendar_that_makes_no_sense_is_named() {
        let wrong = pb::Calendar { name: "c".into(), days: vec!["2026-13-01".into()], ..Default::default() };
        assert!(compile(&wrong).unwrap_err().to_string().starts_with("c: "));
    }
}
