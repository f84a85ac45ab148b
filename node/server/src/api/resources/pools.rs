//! `PoolService`.

use std::time::Duration;

use arcstr::ArcStr;
use belfry_core::object::{Declared, Object, ObjectKind, ObjectName, Pool, Rate};
use belfry_core::run::Verdict;
use belfry_proto::v1 as pb;
use belfry_proto::v1::pool_service_server::PoolService;
use tonic::{Request, Response, Status};

use super::{Listing, Putting, etag};
use crate::api::definition::read_duration;
use crate::api::encode::{duration, timestamp, verdict};
use crate::api::errors::ApiError;
use crate::api::propose::{request_key, revision};
use crate::api::violations::Violations;
use crate::api::{Api, Freshness, names};

/// Bounds of the time of a rate.
const PER_MIN: Duration = Duration::from_millis(1);
const PER_MAX: Duration = Duration::from_secs(24 * 3600);

#[tonic::async_trait]
impl PoolService for Api {
    async fn put_pool(&self, request: Request<pb::PutPoolRequest>) -> Result<Response<pb::Pool>, Status> {
        let mut request = request.into_inner();
        let mut found = Violations::default();
        let request_key = request_key(&mut request, &mut found);
        let validate_only = request.validate_only;
        let given = request.pool.unwrap_or_default();
        let expected = revision("pool.etag", &given.etag, &mut found);
        let declared = self.read_pool(given, &mut found);
        let declared = Declared::Pool(found.or(declared).map_err(ApiError::from)?);
        let putting = Putting { declared, expected, request: request_key, validate_only };
        let object = self.put(putting).await?;
        Ok(Response::new(self.encode_pool(&object)?))
    }

    async fn get_pool(&self, request: Request<pb::GetPoolRequest>) -> Result<Response<pb::Pool>, Status> {
        let freshness = Freshness::of(&request);
        let mut found = Violations::default();
        let name = self.pool_name("name", &request.into_inner().name, &mut found);
        let name = found.or(name).map_err(ApiError::from)?;
        let object = self.object(name, freshness).await?;
        Ok(Response::new(self.encode_pool(&object)?))
    }

    async fn list_pools(
        &self,
        request: Request<pb::ListPoolsRequest>,
    ) -> Result<Response<pb::ListPoolsResponse>, Status> {
        let freshness = Freshness::of(&request);
        let request = request.into_inner();
        let listing = Listing {
            list: "ListPools".to_owned(),
            page_size: request.page_size,
            page_token: &request.page_token,
            first: ObjectName::Pool("".into()),
        };
        let inside = |name: &ObjectName| matches!(name, ObjectName::Pool(_));
        let (objects, next_page_token) = self.objects(listing, freshness, inside).await?;
        let pools = objects.iter().map(|object| self.encode_pool(object)).collect::<Result<_, _>>()?;
        Ok(Response::new(pb::ListPoolsResponse { pools, next_page_token }))
    }

    async fn delete_pool(&self, request: Request<pb::DeletePoolRequest>) -> Result<Response<()>, Status> {
        let mut request = request.into_inner();
        let mut found = Violations::default();
        let request_key = request_key(&mut request, &mut found);
        let name = self.pool_name("name", &request.name, &mut found);
        let (missing, validate) = (request.allow_missing, request.validate_only);
        self.delete_object(request_key, name, &request.etag, missing, validate, found).await?;
        Ok(Response::new(()))
    }
}

impl Api {
    fn pool_name(&self, field: &str, name: &str, found: &mut Violations) -> Option<ObjectName> {
        let name = found.take(field, names::parse_pool(name, self.name_max()))?;
        Some(ObjectName::Pool(name.into()))
    }

    fn read_pool(&self, given: pb::Pool, found: &mut Violations) -> Option<Pool> {
        let name = found.take("pool.name", names::parse_pool(&given.name, self.name_max()))?.into();
        let max = self.0.limits.description_bytes_max;
        found.limit("pool.description", given.description.len(), max, "bytes");
        let rate = given.rate.as_ref().and_then(|rate| read_rate(rate, found));
        let paused = given.pause.map(|pause| {
            if pause.reason.trim().is_empty() {
                found.add(
                    "pool.pause.reason",
                    "is required: whoever finds it paused at night wants to know why",
                );
            }
            found.limit("pool.pause.reason", pause.reason.len(), max, "bytes");
            found.limit("pool.pause.actor", pause.actor.len(), self.name_max(), "bytes");
            // Paused again by the same words it stays as it is.
            let (actor, reason) = (pause.actor.into(), pause.reason.into());
            let now = self.0.clock.now();
            let since = self.0.replica.read(|state| {
                let paused = state.pool(&name_of(&name)).and_then(|pool| pool.paused.as_ref());
                paused
                    .filter(|paused| paused.actor == actor && paused.reason == reason)
                    .map(|paused| paused.at)
            });
            Verdict { actor, reason, at: since.unwrap_or(now) }
        });
        let slots = (given.slots > 0).then_some(given.slots);
        Some(Pool { name, slots, rate, paused, description: given.description })
    }

    fn encode_pool(&self, object: &Object) -> Result<pb::Pool, ApiError> {
        let ObjectKind::Pool(pool) = &object.kind else { return Err(ApiError::WrongOutcome) };
        Ok(pb::Pool {
            name: names::pool_name(&pool.name),
            etag: etag(object),
            description: pool.description.clone(),
            slots: pool.slots.unwrap_or(0),
            rate: pool.rate.map(|rate| pb::pool::Rate { count: rate.count, per: Some(duration(rate.per)) }),
            pause: pool.paused.as_ref().map(verdict),
            running_count: self.0.replica.read(|state| state.running_in_pool(&pool.name)),
            update_time: Some(timestamp(object.updated_at)),
        })
    }
}

fn name_of(name: &ArcStr) -> String {
    name.to_string()
}

fn read_rate(rate: &pb::pool::Rate, found: &mut Violations) -> Option<Rate> {
    if rate.count == 0 {
        found.add("pool.rate.count", "must be at least 1: to let nothing begin, pause the pool");
    }
    let Some(per) = rate.per.as_ref() else {
        found.add("pool.rate.per", "is required: so many starts in how long?");
        return None;
    };
    let per = read_duration("pool.rate.per", per, PER_MIN, PER_MAX, found)?;
    Some(Rate { count: rate.count, per })
}
