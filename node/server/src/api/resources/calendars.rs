//! `CalendarService`.

use std::sync::Arc;

use belfry_core::ScheduleKey;
use belfry_core::object::{Calendar, Declared, Object, ObjectKind, ObjectName};
use belfry_proto::v1 as pb;
use belfry_proto::v1::calendar_service_server::CalendarService;
use tonic::{Request, Response, Status};

use super::{Listing, Putting, etag};
use crate::api::encode::timestamp;
use crate::api::errors::ApiError;
use crate::api::propose::{request_key, revision};
use crate::api::violations::Violations;
use crate::api::{Api, Freshness, names};
use crate::timings::{Assumed, CalendarProblem, parse_calendar};

/// Calendars assumed at once: more than any schedule uses.
const ASSUMED_MAX: usize = 64;

#[tonic::async_trait]
impl CalendarService for Api {
    async fn put_calendar(
        &self,
        request: Request<pb::PutCalendarRequest>,
    ) -> Result<Response<pb::Calendar>, Status> {
        let mut request = request.into_inner();
        let mut found = Violations::default();
        let request_key = request_key(&mut request, &mut found);
        let validate_only = request.validate_only;
        let given = request.calendar.unwrap_or_default();
        let expected = revision("calendar.etag", &given.etag, &mut found);
        let declared = self.read_calendar("calendar", given, &mut found).map(|(declared, _)| declared);
        let declared = found.or(declared).map_err(ApiError::from)?;
        let putting =
            Putting { declared: Declared::Calendar(declared), expected, request: request_key, validate_only };
        Ok(Response::new(encode(&self.put(putting).await?)?))
    }

    async fn get_calendar(
        &self,
        request: Request<pb::GetCalendarRequest>,
    ) -> Result<Response<pb::Calendar>, Status> {
        let freshness = Freshness::of(&request);
        let mut found = Violations::default();
        let name = self.calendar_name("name", &request.into_inner().name, &mut found);
        let name = found.or(name).map_err(ApiError::from)?;
        Ok(Response::new(encode(&self.object(name, freshness).await?)?))
    }

    async fn list_calendars(
        &self,
        request: Request<pb::ListCalendarsRequest>,
    ) -> Result<Response<pb::ListCalendarsResponse>, Status> {
        let freshness = Freshness::of(&request);
        let request = request.into_inner();
        let mut found = Violations::default();
        let namespace = found.take("parent", names::parse_namespaces(&request.parent, self.name_max()));
        let namespace = found.or(namespace).map_err(ApiError::from)?;
        let listing = Listing {
            list: format!("ListCalendars {}", request.parent),
            page_size: request.page_size,
            page_token: &request.page_token,
            first: ObjectName::Calendar(ScheduleKey::new(namespace.unwrap_or_default(), "")),
        };
        let inside = |name: &ObjectName| match name {
            ObjectName::Calendar(key) => namespace.is_none_or(|namespace| *key.namespace == *namespace),
            ObjectName::Pool(_) | ObjectName::Namespace(_) => false,
        };
        let (objects, next_page_token) = self.objects(listing, freshness, inside).await?;
        let calendars = objects.iter().map(encode).collect::<Result<_, _>>()?;
        Ok(Response::new(pb::ListCalendarsResponse { calendars, next_page_token }))
    }

    async fn delete_calendar(
        &self,
        request: Request<pb::DeleteCalendarRequest>,
    ) -> Result<Response<()>, Status> {
        let mut request = request.into_inner();
        let mut found = Violations::default();
        let request_key = request_key(&mut request, &mut found);
        let name = self.calendar_name("name", &request.name, &mut found);
        let (missing, validate) = (request.allow_missing, request.validate_only);
        self.delete_object(request_key, name, &request.etag, missing, validate, found).await?;
        Ok(Response::new(()))
    }
}

impl Api {
    fn calendar_name(&self, field: &str, name: &str, found: &mut Violations) -> Option<ObjectName> {
        found.take(field, names::parse_calendar(name, self.name_max())).map(ObjectName::Calendar)
    }

    /// The calendars that a request wants to be assumed, which only a check may.
    pub(in crate::api) fn read_assumed(
        &self,
        given: Vec<pb::Calendar>,
        validate_only: bool,
        found: &mut Violations,
    ) -> Assumed {
        if !validate_only && !given.is_empty() {
            found.add("assumed_calendars", "goes with validate_only alone: put the calendars first");
        }
        found.limit("assumed_calendars", given.len(), ASSUMED_MAX, "calendars");
        let given = given.into_iter().take(ASSUMED_MAX).enumerate();
        given
            .filter_map(|(index, calendar)| {
                let field = format!("assumed_calendars[{index}]");
                let (declared, calendar) = self.read_calendar(&field, calendar, found)?;
                Some((declared.key, Arc::new(calendar?)))
            })
            .collect()
    }

    /// A calendar as it is declared, and what it means if that makes sense.
    fn read_calendar(
        &self,
        field: &str,
        given: pb::Calendar,
        found: &mut Violations,
    ) -> Option<(Calendar, Option<belfry_timing::Calendar>)> {
        let name = format!("{field}.name");
        let key = found.take(&name, names::parse_calendar(&given.name, self.name_max()))?;
        let limits = &self.0.limits;
        let description = format!("{field}.description");
        found.limit(&description, given.description.len(), limits.description_bytes_max, "bytes");
        let calendar = Calendar {
            key,
            time_zone: (!given.time_zone.is_empty()).then_some(given.time_zone),
            days: given.days,
            periods: given.periods.into_iter().map(|period| (period.start, period.end)).collect(),
            description: given.description,
        };
        let parsed = match parse_calendar(&calendar) {
            Ok(valid) => Some(valid),
            Err(CalendarProblem::Zone(error)) => {
                found.add(format_args!("{field}.time_zone"), error);
                None
            }
            // The error names the entry and the way out.
            Err(CalendarProblem::Entry(error)) => {
                found.add(field, error);
                None
            }
        };
        Some((calendar, parsed))
    }
}

fn encode(object: &Object) -> Result<pb::Calendar, ApiError> {
    let ObjectKind::Calendar(calendar) = &object.kind else { return Err(ApiError::WrongOutcome) };
    let period =
        |(start, end): &(String, String)| pb::calendar::Period { start: start.clone(), end: end.clone() };
    Ok(pb::Calendar {
        name: names::calendar_name(&calendar.key),
        etag: etag(object),
        description: calendar.description.clone(),
        time_zone: calendar.time_zone.clone().unwrap_or_default(),
        days: calendar.days.clone(),
        periods: calendar.periods.iter().map(period).collect(),
        update_time: Some(timestamp(object.updated_at)),
    })
}
