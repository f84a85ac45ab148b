//! What a fuzzer starts from: sound inputs of each target.

use belfry_proto::v1 as pb;
use belfry_server::codec::compress_block;
use prost::Message;

use crate::requests::methods;
use crate::{log_of, sound_log_file};

/// A log and a checkpoint as the first release wrote them.
const RECORDED: &str = include_str!("../../../node/server/src/codec/testdata/level_1.txt");

/// Sound inputs of a target; none of one that does not exist.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "cron" => cron(),
        "crontab" => vec![CRONTAB.as_bytes().to_vec()],
        "requests" => requests(),
        "stored" => {
            let compressed = recorded("block").map(|block| compress_block(block.into()).into());
            recorded("entry").chain(recorded("block")).chain(compressed).collect()
        }
        "log_file" => vec![sound_log_file(), Vec::new()],
        "commands" => logs(),
        _ => Vec::new(),
    }
}

const CRONTAB: &str = "MAILTO=a@b.c\nCRON_TZ=Europe/Berlin\n*/5 * * * * echo a\n@daily run%in\n0 3 1,15 * MON-FRI root x\n@reboot y\n~ ~ * * * z\n";

fn cron() -> Vec<Vec<u8>> {
    const EXPRESSIONS: [&str; 14] = [
        "* * * * *",
        "*/5 0-6/2,12 1,15 JAN-MAR MON#2",
        "0 30 2 * * SUN",
        "H H(1-5) L * *",
        "0 0 LW * 5L",
        "59 23 31 12 7",
        "0 0 31 2 *",
        "@every 90s",
        "@yearly",
        "15 2 29 2 MON",
        "0 0 15W * ?",
        "*/90 * * * *",
        "0 0 1 1 * 2030",
        "30 4 */2 * THU",
    ];
    let zoned = |(zone, text): (usize, &&str)| [&[zone as u8], text.as_bytes()].concat();
    EXPRESSIONS.iter().enumerate().map(zoned).collect()
}

/// Every method with an empty message, and some that are understood.
fn requests() -> Vec<Vec<u8>> {
    let methods = methods();
    let number = |name: &str| {
        let found = methods.iter().position(|method| method.path.ends_with(name));
        u8::try_from(found.expect("a method of the contract")).expect("there are fewer than 256")
    };
    let of = |name: &str, message: Vec<u8>| [vec![number(name)], message].concat();
    let cron = pb::Cron { expression: "0 3 * * *".into(), ..Default::default() };
    let handler = pb::HandlerTarget { handler: "h".into(), payload: "p".into() };
    let schedule = pb::Schedule {
        timing: Some(pb::Timing {
            include: vec![pb::Rule { rule: Some(pb::rule::Rule::Cron(cron)) }],
            time_zone: "Europe/Berlin".into(),
            ..Default::default()
        }),
        target: Some(pb::Target { target: Some(pb::target::Target::Handler(handler)) }),
        policies: Some(pb::Policies { misfire_limit: 3, ..Default::default() }),
        priority: 3,
        ..Default::default()
    };
    let name = || "namespaces/default/schedules/s".to_owned();
    let create = pb::CreateScheduleRequest {
        parent: "namespaces/default".into(),
        schedule_id: "s".into(),
        schedule: Some(schedule.clone()),
        request_id: "r".into(),
        ..Default::default()
    };
    let update = pb::UpdateScheduleRequest {
        schedule: Some(pb::Schedule { name: name(), ..schedule }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["priority".into()] }),
        ..Default::default()
    };
    let pause = pb::PauseScheduleRequest { name: name(), reason: "x".into(), ..Default::default() };
    let trigger = pb::TriggerScheduleRequest { name: name(), ..Default::default() };
    let runs =
        pb::ListRunsRequest { parent: name(), page_size: 10, page_token: "x".into(), ..Default::default() };
    let pool = pb::Pool { name: "pools/p".into(), slots: 1, ..Default::default() };
    let put = pb::PutPoolRequest { pool: Some(pool), ..Default::default() };
    let watch = pb::WatchRunsRequest { parent: name(), ..Default::default() };
    let list = pb::ListSchedulesRequest { parent: "namespaces/-".into(), ..Default::default() };
    let hello = pb::Hello {
        executor_id: "01M8D9CMX39FB94S4WF2AXT7NR".into(),
        slots: 2,
        handlers: vec!["h".into()],
        ..Default::default()
    };
    let hello = pb::ExecutorMessage { message: Some(pb::executor_message::Message::Hello(hello)) };
    let empty = (0..methods.len()).map(|number| vec![number as u8]);
    empty
        .chain([
            of("/CreateSchedule", create.encode_to_vec()),
            of("/UpdateSchedule", update.encode_to_vec()),
            of("/PauseSchedule", pause.encode_to_vec()),
            of("/TriggerSchedule", trigger.encode_to_vec()),
            of("/ListRuns", runs.encode_to_vec()),
            of("/PutPool", put.encode_to_vec()),
            of("/WatchRuns", watch.encode_to_vec()),
            of("/StreamSchedules", list.encode_to_vec()),
            // One message.
            of("/Session", [vec![0], hello.encode_to_vec()].concat()),
        ])
        .collect()
}

/// The lines of a kind that were recorded.
fn recorded(kind: &str) -> impl Iterator<Item = Vec<u8>> + use<'_> {
    RECORDED.lines().filter_map(move |line| {
        let mut words = line.split(' ');
        (words.next() == Some(kind)).then(|| unhex(words.next().unwrap_or_default()))
    })
}

fn unhex(digits: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("it was recorded as such");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// The recorded log whole, and in pieces that begin from nothing.
fn logs() -> Vec<Vec<u8>> {
    let entries: Vec<Vec<u8>> = recorded("entry").collect();
    let whole = [entries.as_slice()];
    whole.into_iter().chain(entries.chunks(20)).map(|part| log_of(part.iter().map(Vec::as_slice))).collect()
}
