//! What a node says of itself: status, health, reflection, the admin port.

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::*;

/// Status and body of a GET on the admin port.
pub(super) async fn admin(alone: &Alone, path: &str) -> (StatusCode, String) {
    let mut stream = tokio::net::TcpStream::connect(alone.admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, body.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_says_how_the_cluster_is() {
    let alone = Alone::start().await;
    alone.create("team", "invoices").await;
    alone.trigger("namespaces/team/schedules/invoices").await;
    let status =
        alone.cluster().get_cluster_status(pb::GetClusterStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.node_id, status.leader_id, status.writable), (1, 1, true));
    assert_eq!((status.schedule_count, status.due_count, status.run_count), (1, 1, 1));
    assert!(!status.state_digest.is_empty() && !status.cluster_id.is_empty() && status.term > 0);
    assert_eq!((status.nodes.len(), status.nodes[0].leader, status.nodes[0].voter), (1, true, true));
    for validate_only in [false, true] {
        let to = pb::TransferLeadershipRequest { to_node_id: 9, validate_only };
        let refused = alone.cluster().transfer_leadership(to).await.unwrap_err();
        assert_eq!(told(&refused), (Code::FailedPrecondition, "NOT_A_VOTER".into()));
        let nobody = pb::DrainExecutorRequest { executor_id: "01X".into(), validate_only };
        let refused = alone.cluster().drain_executor(nobody).await.unwrap_err();
        assert_eq!(told(&refused), (Code::NotFound, "EXECUTOR_NOT_FOUND".into()));
    }
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_reflection_are_on() {
    let alone = Alone::start().await;
    let mut health = HealthClient::new(alone.channel.clone());
    for service in ["", "belfry.v1.ScheduleService", "belfry.v1.ExecutorService"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let unknown = HealthCheckRequest { service: "x".into() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
    let endless = HealthCheckRequest { service: "x".repeat(1_000_000) };
    assert_eq!(health.check(endless).await.unwrap_err().code(), Code::NotFound);

    let ask = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut answers = ServerReflectionClient::new(alone.channel.clone())
        .server_reflection_info(tokio_stream::once(ask))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("not a list");
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["belfry.v1.ScheduleService", "belfry.v1.RunService", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|found| found == name), "{name} is not in {names:?}");
    }

    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let stopping = tokio::spawn(alone.stop());
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_port_answers() {
    let alone = Alone::start().await;
    alone.create("team", "invoices").await;
    assert_eq!(admin(&alone, "/healthz").await, (StatusCode::OK, "ok\n".into()));
    assert_eq!(admin(&alone, "/readyz").await, (StatusCode::OK, "ready\n".into()));
    assert!(admin(&alone, "/").await.1.contains("/metrics"));
    assert_eq!(admin(&alone, "/other").await.0, StatusCode::NOT_FOUND);
    let (code, text) = admin(&alone, "/metrics").await;
    assert_eq!(code, StatusCode::OK);
    for line in [
        "belfry_schedules 1",
        "belfry_raft_is_leader 1",
        "belfry_raft_apply_lag 0",
        "belfry_rpc_duration_seconds_count{method=\"CreateSchedule\",code=\"OK\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
    }
    alone.stop().await;
}
