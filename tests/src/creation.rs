//! The request that creates a plain schedule.

use belfry_sdk::pb;

/// A schedule of a cron expression, with defaults for the rest.
pub fn creation(
    namespace: &str,
    id: impl Into<String>,
    cron: impl Into<String>,
    target: pb::target::Target,
) -> pb::CreateScheduleRequest {
    let cron = pb::Cron { expression: cron.into(), ..Default::default() };
    let schedule = pb::Schedule {
        timing: Some(pb::Timing {
            include: vec![pb::Rule { rule: Some(pb::rule::Rule::Cron(cron)) }],
            ..Default::default()
        }),
        target: Some(pb::Target { target: Some(target) }),
        ..Default::default()
    };
    pb::CreateScheduleRequest {
        parent: format!("namespaces/{namespace}"),
        schedule_id: id.into(),
        schedule: Some(schedule),
        ..Default::default()
    }
}

/// A handler of this name, without a payload.
pub fn handler(name: &str) -> pb::target::Target {
    pb::target::Target::Handler(pb::HandlerTarget { handler: name.into(), payload: Default::default() })
}

/// A command for the shell.
pub fn shell(command: impl Into<String>) -> pb::target::Target {
    pb::target::Target::Command(pb::CommandTarget { shell: command.into(), ..Default::default() })
}
