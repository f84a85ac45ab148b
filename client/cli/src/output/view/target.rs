//! Targets as documents and in a line.

use std::collections::BTreeMap;

use belfry_sdk::pb;
use serde::Serialize;

use super::Content;

/// Exactly one of its fields.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct TargetView {
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<CommandView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<HttpView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handler: Option<HandlerView>,
}

#[derive(Clone, Debug, Serialize)]
struct CommandView {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    argv: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    shell: String,
    environment: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    working_directory: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    user: String,
    #[serde(flatten)]
    stdin: Content,
}

#[derive(Clone, Debug, Serialize)]
struct HttpView {
    url: String,
    method: String,
    headers: BTreeMap<String, String>,
    #[serde(flatten)]
    body: Content,
    success_codes: Vec<u32>,
}

#[derive(Clone, Debug, Serialize)]
struct HandlerView {
    handler: String,
    #[serde(flatten)]
    payload: Content,
}

impl TargetView {
    pub(super) fn of(target: Option<&pb::Target>) -> Self {
        use pb::target::Target;
        match target.and_then(|target| target.target.clone()) {
            Some(Target::Command(command)) => {
                let stdin = Content::of("stdin", &command.stdin);
                let pb::CommandTarget { argv, shell, environment, working_directory, user, .. } = command;
                let view = CommandView { argv, shell, environment, working_directory, user, stdin };
                Self { command: Some(view), ..Self::default() }
            }
            Some(Target::Http(http)) => {
                let body = Content::of("body", &http.body);
                let method = if http.method.is_empty() { "POST".to_owned() } else { http.method };
                let pb::HttpTarget { url, headers, success_codes, .. } = http;
                Self { http: Some(HttpView { url, method, headers, body, success_codes }), ..Self::default() }
            }
            Some(Target::Handler(handler)) => {
                let payload = Content::of("payload", &handler.payload);
                Self { handler: Some(HandlerView { handler: handler.handler, payload }), ..Self::default() }
            }
            None => Self::default(),
        }
    }

    /// What runs, in one line.
    pub(crate) fn short(&self) -> String {
        match (&self.command, &self.http, &self.handler) {
            (Some(command), _, _) if command.shell.is_empty() => format!("argv {:?}", command.argv),
            (Some(command), _, _) => format!("shell {}", command.shell),
            (None, Some(http), _) => format!("http {} {}", http.method, http.url),
            (None, None, Some(handler)) => format!("handler {}", handler.handler),
            (None, None, None) => "?".to_owned(),
        }
    }

    /// The circumstances under which it runs, where they are not the default.
    pub(crate) fn circumstances(&self) -> Vec<String> {
        let Some(command) = &self.command else { return Vec::new() };
        let named = [("in", &command.working_directory), ("as user", &command.user)];
        let mut parts: Vec<String> = named
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(word, value)| format!("{word} {value}"))
            .collect();
        if !command.environment.is_empty() {
            let names: Vec<&str> = command.environment.keys().map(String::as_str).collect();
            parts.push(format!("with {}", names.join(", ")));
        }
        parts
    }

    /// The handler that an executor must offer.
    pub(crate) fn handler_name(&self) -> &str {
        match (&self.command, &self.http, &self.handler) {
            (Some(_), _, _) => "command",
            (None, Some(_), _) => "http",
            (None, None, Some(handler)) => &handler.handler,
            (None, None, None) => "",
        }
    }
}
