//! The flags that say what.

use belfry_sdk::pb;
use clap::Args;

use super::replace;
use crate::exit::Failure;
use crate::text::{self, Pair};

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "What")]
pub(super) struct TargetArgs {
    /// Command for /bin/sh -c.
    #[arg(long, value_name = "SHELL", group = "what")]
    command: Option<String>,
    /// Take the program and its arguments from behind `--`, without a shell.
    #[arg(long, requires = "program")]
    argv: bool,
    /// Program and arguments.
    #[arg(last = true, value_name = "PROGRAM", group = "what")]
    program: Vec<String>,
    /// HTTP POST to this URL.
    #[arg(long, value_name = "URL", group = "what")]
    http_post: Option<String>,
    /// HTTP request to this URL, by --http-method.
    #[arg(long, value_name = "URL", group = "what")]
    url: Option<String>,
    /// Method of the HTTP request.
    #[arg(long, value_name = "METHOD", conflicts_with = "http_post")]
    http_method: Option<String>,
    /// Handler that executors registered with the SDK.
    #[arg(long, value_name = "NAME", group = "what")]
    handler: Option<String>,
    /// Variable of the command's environment; repeatable.
    #[arg(long, value_name = "KEY=VALUE", value_parser = Pair::parse_equals)]
    env: Vec<Pair>,
    /// Folder that the command runs in.
    #[arg(long, value_name = "DIR")]
    workdir: Option<String>,
    /// Unix user that the command runs as; the executor must allow it.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// What the command reads: text, or @FILE.
    #[arg(long, value_name = "TEXT|@FILE")]
    stdin: Option<String>,
    /// Header of the HTTP request; repeatable.
    #[arg(long, value_name = "NAME:VALUE", value_parser = Pair::parse_colon)]
    header: Vec<Pair>,
    /// Body of the HTTP request: text, or @FILE.
    #[arg(long, value_name = "TEXT|@FILE")]
    body: Option<String>,
    /// Status code that counts as success; repeatable. 200-299 unless given.
    #[arg(long = "success-code", value_name = "CODE", value_parser = clap::value_parser!(u32).range(100..=599))]
    success_codes: Vec<u32>,
    /// What the handler is told: text, or @FILE.
    #[arg(long, value_name = "TEXT|@FILE")]
    payload: Option<String>,
}

impl TargetArgs {
    pub(super) fn apply(&self, target: &mut Option<pb::Target>) -> Result<bool, Failure> {
        use pb::target::Target;
        let current = target.take().and_then(|target| target.target);
        let (changed, is_changed) = match (self.kind(), current) {
            (Some(Kind::Command), Some(Target::Command(current))) => (Some(self.command(current)?), true),
            (Some(Kind::Command), _) => (Some(self.command(pb::CommandTarget::default())?), true),
            (Some(Kind::Http), Some(Target::Http(current))) => (Some(self.http(current)?), true),
            (Some(Kind::Http), _) => (Some(self.http(pb::HttpTarget::default())?), true),
            (Some(Kind::Handler), Some(Target::Handler(current))) => (Some(self.handler(current)?), true),
            (Some(Kind::Handler), _) => (Some(self.handler(pb::HandlerTarget::default())?), true),
            (None, current) => match (self.has_details(), current) {
                (false, current) => (current, false),
                (true, Some(Target::Command(current))) => (Some(self.command(current)?), true),
                (true, Some(Target::Http(current))) => (Some(self.http(current)?), true),
                (true, Some(Target::Handler(current))) => (Some(self.handler(current)?), true),
                // `create` without a kind says what is missing.
                (true, None) => (None, false),
            },
        };
        *target = changed.map(|changed| pb::Target { target: Some(changed) });
        Ok(is_changed)
    }

    /// What kind of target the flags name, if they do.
    fn kind(&self) -> Option<Kind> {
        if self.command.is_some() || !self.program.is_empty() {
            Some(Kind::Command)
        } else if self.http_post.is_some() || self.url.is_some() {
            Some(Kind::Http)
        } else {
            self.handler.is_some().then_some(Kind::Handler)
        }
    }

    fn has_details(&self) -> bool {
        self.has_command_details() || self.has_http_details() || self.payload.is_some()
    }

    fn has_command_details(&self) -> bool {
        !self.env.is_empty() || self.workdir.is_some() || self.user.is_some() || self.stdin.is_some()
    }

    fn has_http_details(&self) -> bool {
        !self.header.is_empty()
            || self.body.is_some()
            || !self.success_codes.is_empty()
            || self.http_method.is_some()
    }

    fn command(&self, mut target: pb::CommandTarget) -> Result<pb::target::Target, Failure> {
        if self.has_http_details() || self.payload.is_some() {
            let message =
                "--header, --body, --success-code, --http-method and --payload mean nothing to a command";
            return Err(Failure::usage(message));
        }
        if let Some(shell) = &self.command {
            (target.shell, target.argv) = (shell.clone(), Vec::new());
        }
        if !self.program.is_empty() {
            (target.shell, target.argv) = (String::new(), self.program.clone());
        }
        if !self.env.is_empty() {
            target.environment = Pair::map(&self.env);
        }
        replace(&mut target.working_directory, self.workdir.as_ref());
        replace(&mut target.user, self.user.as_ref());
        if let Some(stdin) = &self.stdin {
            target.stdin = content(stdin)?.into();
        }
        Ok(pb::target::Target::Command(target))
    }

    fn http(&self, mut target: pb::HttpTarget) -> Result<pb::target::Target, Failure> {
        if self.has_command_details() || self.payload.is_some() {
            let message = "--env, --workdir, --user, --stdin and --payload mean nothing to an HTTP request";
            return Err(Failure::usage(message));
        }
        if let Some(url) = &self.http_post {
            (target.url, target.method) = (url.clone(), "POST".to_owned());
        }
        replace(&mut target.url, self.url.as_ref());
        replace(&mut target.method, self.http_method.as_ref());
        if !self.header.is_empty() {
            target.headers = Pair::map(&self.header);
        }
        if !self.success_codes.is_empty() {
            target.success_codes.clone_from(&self.success_codes);
        }
        if let Some(body) = &self.body {
            target.body = content(body)?.into();
        }
        Ok(pb::target::Target::Http(target))
    }

    fn handler(&self, mut target: pb::HandlerTarget) -> Result<pb::target::Target, Failure> {
        if self.has_command_details() || self.has_http_details() {
            let message = "a handler takes --payload only, no flags of commands or HTTP requests";
            return Err(Failure::usage(message));
        }
        replace(&mut target.handler, self.handler.as_ref());
        if let Some(payload) = &self.payload {
            target.payload = content(payload)?.into();
        }
        Ok(pb::target::Target::Handler(target))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Command,
    Http,
    Handler,
}

fn content(argument: &str) -> Result<Vec<u8>, Failure> {
    text::content(argument).map_err(Failure::usage)
}
