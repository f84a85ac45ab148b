//! `NamespaceService`.

use belfry_core::object::{Declared, Namespace, Object, ObjectKind, ObjectName};
use belfry_proto::v1 as pb;
use belfry_proto::v1::namespace_service_server::NamespaceService;
use tonic::{Request, Response, Status};

use super::{Listing, Putting, etag};
use crate::api::definition::read_duration;
use crate::api::encode::{duration, timestamp};
use crate::api::errors::ApiError;
use crate::api::propose::{request_key, revision};
use crate::api::timing::{SPREAD_MAX, SPREAD_MIN};
use crate::api::violations::Violations;
use crate::api::{Api, Freshness, names};

/// Largest weight: beyond it the least share of a neighbour would be too small to notice.
const WEIGHT_MAX: u32 = 100;

#[tonic::async_trait]
impl NamespaceService for Api {
    async fn put_namespace(
        &self,
        request: Request<pb::PutNamespaceRequest>,
    ) -> Result<Response<pb::Namespace>, Status> {
        let mut request = request.into_inner();
        let mut found = Violations::default();
        let request_key = request_key(&mut request, &mut found);
        let validate_only = request.validate_only;
        let given = request.namespace.unwrap_or_default();
        let expected = revision("namespace.etag", &given.etag, &mut found);
        let declared = self.read_namespace(given, &mut found);
        let declared = Declared::Namespace(found.or(declared).map_err(ApiError::from)?);
        let putting = Putting { declared, expected, request: request_key, validate_only };
        let object = self.put(putting).await?;
        Ok(Response::new(self.encode_namespace(&object)?))
    }

    async fn get_namespace(
        &self,
        request: Request<pb::GetNamespaceRequest>,
    ) -> Result<Response<pb::Namespace>, Status> {
        let freshness = Freshness::of(&request);
        let mut found = Violations::default();
        let name = self.namespace_name("name", &request.into_inner().name, &mut found);
        let name = found.or(name).map_err(ApiError::from)?;
        let object = self.object(name, freshness).await?;
        Ok(Response::new(self.encode_namespace(&object)?))
    }

    async fn list_namespaces(
        &self,
        request: Request<pb::ListNamespacesRequest>,
    ) -> Result<Response<pb::ListNamespacesResponse>, Status> {
        let freshness = Freshness::of(&request);
        let request = request.into_inner();
        let listing = Listing {
            list: "ListNamespaces".to_owned(),
            page_size: request.page_size,
            page_token: &request.page_token,
            first: ObjectName::Namespace("".into()),
        };
        let inside = |name: &ObjectName| matches!(name, ObjectName::Namespace(_));
        let (objects, next_page_token) = self.objects(listing, freshness, inside).await?;
        let namespaces =
            objects.iter().map(|object| self.encode_namespace(object)).collect::<Result<_, _>>()?;
        Ok(Response::new(pb::ListNamespacesResponse { namespaces, next_page_token }))
    }

    async fn delete_namespace(
        &self,
        request: Request<pb::DeleteNamespaceRequest>,
    ) -> Result<Response<()>, Status> {
        let mut request = request.into_inner();
        let mut found = Violations::default();
        let request_key = request_key(&mut request, &mut found);
        let name = self.namespace_name("name", &request.name, &mut found);
        let (missing, validate) = (request.allow_missing, request.validate_only);
        self.delete_object(request_key, name, &request.etag, missing, validate, found).await?;
        Ok(Response::new(()))
    }
}

impl Api {
    fn namespace_name(&self, field: &str, name: &str, found: &mut Violations) -> Option<ObjectName> {
        let name = found.take(field, names::parse_namespace(name, self.name_max()))?;
        Some(ObjectName::Namespace(name.into()))
    }

    fn read_namespace(&self, given: pb::Namespace, found: &mut Violations) -> Option<Namespace> {
        let name = found.take("namespace.name", names::parse_namespace(&given.name, self.name_max()))?.into();
        let max = self.0.limits.description_bytes_max;
        found.limit("namespace.description", given.description.len(), max, "bytes");
        if given.weight > WEIGHT_MAX {
            found.add("namespace.weight", format_args!("{} is not from 1 to {WEIGHT_MAX}", given.weight));
        }
        let spread = given
            .spread
            .as_ref()
            .and_then(|spread| read_duration("namespace.spread", spread, SPREAD_MIN, SPREAD_MAX, found));
        Some(Namespace {
            name,
            running_max: (given.running_max > 0).then_some(given.running_max),
            schedules_max: (given.schedules_max > 0).then_some(given.schedules_max),
            weight: given.weight.max(1),
            spread,
            description: given.description,
        })
    }

    fn encode_namespace(&self, object: &Object) -> Result<pb::Namespace, ApiError> {
        let ObjectKind::Namespace(namespace) = &object.kind else { return Err(ApiError::WrongOutcome) };
        let name = &*namespace.name;
        let (running_count, schedule_count) =
            self.0.replica.read(|state| (state.running_in_namespace(name), state.schedules_in(name)));
        Ok(pb::Namespace {
            name: names::namespace_name(name),
            etag: etag(object),
            description: namespace.description.clone(),
            running_max: namespace.running_max.unwrap_or(0),
            schedules_max: namespace.schedules_max.unwrap_or(0),
            weight: namespace.weight,
            spread: namespace.spread.map(duration),
            running_count,
            schedule_count,
            update_time: Some(timestamp(object.updated_at)),
        })
    }
}
