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

/// A text of letters that is about as large when it is compressed, another one for each seed.
pub fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let letters = (0..bytes).map(|_| {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    });
    letters.collect()
}
