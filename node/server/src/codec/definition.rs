//! Definitions and policies.

use std::time::Duration;

use belfry_core::UnixMillis;
use belfry_core::definition::{
    Definition, MisfirePolicy, OverlapPolicy, Policies, Rule, Target, Timing, UnknownOutcomePolicy,
};
use belfry_proto::internal as pb;

use super::{CodecError, required};

pub(super) fn encode(definition: &Definition) -> pb::Definition {
    pb::Definition {
        include: definition.timing.include.iter().map(encode_rule).collect(),
        time_zone: definition.timing.time_zone.clone(),
        handler: definition.target.handler.clone(),
        payload: definition.target.payload.clone(),
        pool: definition.pool.clone(),
        policies: Some(encode_policies(&definition.policies)),
        labels: definition.labels.clone(),
        description: definition.description.clone(),
    }
}

pub(super) fn decode(definition: pb::Definition) -> Result<Definition, CodecError> {
    Ok(Definition {
        timing: Timing {
            include: definition.include.into_iter().map(decode_rule).collect::<Result<_, _>>()?,
            time_zone: definition.time_zone,
        },
        target: Target { handler: definition.handler, payload: definition.payload },
        policies: decode_policies(required(definition.policies, "Definition", "policies")?)?,
        pool: definition.pool,
        labels: definition.labels,
        description: definition.description,
    })
}

fn encode_rule(rule: &Rule) -> pb::Rule {
    use pb::rule;
    let rule = match rule {
        Rule::Cron { expression, resolved, allow_never } => rule::Rule::Cron(rule::Cron {
            expression: expression.clone(),
            resolved: resolved.clone(),
            allow_never: *allow_never,
        }),
        Rule::Interval { every, phase } => {
            rule::Rule::Interval(rule::Interval { every_ms: millis(*every), phase_ms: millis(*phase) })
        }
        Rule::At(at) => rule::Rule::AtUnixMs(at.0),
    };
    pb::Rule { rule: Some(rule) }
}

fn decode_rule(rule: pb::Rule) -> Result<Rule, CodecError> {
    use pb::rule;
    Ok(match required(rule.rule, "Rule", "rule")? {
        rule::Rule::Cron(cron) => {
            Rule::Cron { expression: cron.expression, resolved: cron.resolved, allow_never: cron.allow_never }
        }
        rule::Rule::Interval(interval) => Rule::Interval {
            every: Duration::from_millis(interval.every_ms),
            phase: Duration::from_millis(interval.phase_ms),
        },
        rule::Rule::AtUnixMs(at) => Rule::At(UnixMillis(at)),
    })
}

fn encode_policies(policies: &Policies) -> pb::Policies {
    pb::Policies {
        overlap: match policies.overlap {
            OverlapPolicy::HoldOne => 1,
        },
        misfire: match policies.misfire {
            MisfirePolicy::Coalesce => 1,
        },
        unknown_outcome: match policies.unknown_outcome {
            UnknownOutcomePolicy::Hold => 1,
        },
        start_deadline_ms: policies.start_deadline.map(millis),
        attempt_timeout_ms: millis(policies.attempt_timeout),
        lease_duration_ms: millis(policies.lease_duration),
    }
}

fn decode_policies(policies: pb::Policies) -> Result<Policies, CodecError> {
    let unknown = |field, value: u32| CodecError::Unknown { field, value: value.into() };
    Ok(Policies {
        overlap: match policies.overlap {
            1 => OverlapPolicy::HoldOne,
            other => return Err(unknown("overlap", other)),
        },
        misfire: match policies.misfire {
            1 => MisfirePolicy::Coalesce,
            other => return Err(unknown("misfire", other)),
        },
        unknown_outcome: match policies.unknown_outcome {
            1 => UnknownOutcomePolicy::Hold,
            other => return Err(unknown("unknown_outcome", other)),
        },
        start_deadline: policies.start_deadline_ms.map(Duration::from_millis),
        attempt_timeout: Duration::from_millis(policies.attempt_timeout_ms),
        lease_duration: Duration::from_millis(policies.lease_duration_ms),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
