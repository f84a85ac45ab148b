//! The handler `http`: makes one HTTP request and judges its status.
//!
//! The payload is an encoded `HttpTarget`. The run is told in headers: `Belfry-Run`, `Belfry-Nominal-Time`,
//! `Belfry-Scheduled-Time`, `Belfry-Attempt`, `Belfry-Max-Attempts`, `Belfry-Fencing-Token`, `Belfry-Window-Start`,
//! `Belfry-Merged-Count`, `Belfry-Deadline`, `Belfry-Trigger`, `Belfry-Backfill`, and `Idempotency-Key` (unless the target sets one itself). Instants are RFC 3339.
//!
//! STOCK-3: no redirect is followed, because a redirected POST would be a second request, perhaps as a GET; and nothing
//! is tried again, because that is the schedule's retry policy to decide. For the same reason each request has a
//! connection of its own: one that was kept may have been closed by the server, or its machine may be gone, and that shows
//! only once the request is sent and nobody can say whether it arrived.

use std::error::Error as _;
use std::time::Duration;

use belfry_sdk::executor::{Handler, OUTPUT_TAIL_BYTES, Outcome, OutputTail, RunContext};
use belfry_sdk::pb;
use bytes::Bytes;
use prost::Message as _;
use reqwest::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, LOCATION, TRANSFER_ENCODING};
use reqwest::{Client, ClientBuilder, Method, Response, StatusCode, Url};

/// Limit of connecting. The attempt timeout limits the rest.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Name of the header by which payment APIs and others know a repeated request.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Makes HTTP requests.
#[derive(Clone, Debug)]
pub struct HttpHandler {
    /// The client, or why there is none.
    client: Result<Client, String>,
}

impl HttpHandler {
    /// A handler that connects anew for each request. It trusts the certificates that the system trusts; where the system
    /// has none, only `http://` works.
    #[must_use]
    pub fn new() -> Self {
        // An error says that the process has chosen a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = client_settings().build().or_else(|error| {
            tracing::warn!(cause = innermost(&error), "no certificate authorities: https requests will fail");
            client_settings().tls_certs_only([]).build()
        });
        Self { client: client.map_err(|error| innermost(&error)) }
    }

    async fn try_run(&self, run: &RunContext) -> Result<Outcome, HttpError> {
        let client = self.client.as_ref().map_err(|cause| HttpError::NoClient { cause: cause.clone() })?;
        let call = Call::read(run)?;
        let request = client.request(call.method, call.url.clone()).headers(call.headers).body(call.body);
        let response = request.send().await.map_err(|error| HttpError::of(&call.url, &error))?;
        Ok(judge(response, &call.success_codes, &run.output).await)
    }
}

impl Default for HttpHandler {
    fn default() -> Self {
        Self::new()
    }
}

impl Handler for HttpHandler {
    async fn run(&self, run: RunContext) -> Outcome {
        tokio::select! {
            outcome = self.try_run(&run) => {
                outcome.unwrap_or_else(|error| error.outcome())
            }
            () = run.cancelled.cancelled() => {
                Outcome::cancelled("no answer yet, the request may have been carried out")
            }
        }
    }
}

fn client_settings() -> ClientBuilder {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(concat!("belfry/", env!("CARGO_PKG_VERSION")))
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
enum HttpError {
    #[error("the payload is not an HTTP request: {0}")]
    Payload(#[from] prost::DecodeError),
    #[error("{url:?} is not an http or https URL: {cause}")]
    Url { url: String, cause: String },
    #[error("{method:?} is not an HTTP method")]
    Method { method: String },
    #[error(
        "the header {name:?} cannot be sent: its name or its value has characters that HTTP does not allow"
    )]
    Header { name: String },
    #[error("the header {name:?} cannot be set: it follows from the body, which has {body_bytes} bytes")]
    Framing { name: String, body_bytes: usize },
    #[error("success code {code} is not an HTTP status: give codes from 100 to 999")]
    SuccessCode { code: u32 },
    #[error("this executor cannot make HTTP requests: {cause}")]
    NoClient { cause: String },
    #[error("could not connect to {host}, nothing was sent: {cause}")]
    NotConnected { host: String, cause: String },
    #[error("no answer from {host}, the request may have been carried out: {cause}")]
    NoAnswer { host: String, cause: String },
}

impl HttpError {
    /// A request that nobody could send fails for good; what depends on this executor or on the server may be tried again.
    fn outcome(&self) -> Outcome {
        let failed = Outcome::failed(self.to_string());
        match self {
            Self::Payload(_)
            | Self::Url { .. }
            | Self::Method { .. }
            | Self::Header { .. }
            | Self::Framing { .. }
            | Self::SuccessCode { .. } => failed.non_retryable(),
            Self::NoClient { .. } | Self::NotConnected { .. } | Self::NoAnswer { .. } => failed,
        }
    }

    fn of(url: &Url, error: &reqwest::Error) -> Self {
        let host = url.authority().rsplit('@').next().unwrap_or_default().to_owned();
        let cause = innermost(error);
        if error.is_connect() { Self::NotConnected { host, cause } } else { Self::NoAnswer { host, cause } }
    }
}

/// A target that makes sense, with the headers of its run.
#[derive(Debug)]
struct Call {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    success_codes: Vec<StatusCode>,
}

impl Call {
    fn read(run: &RunContext) -> Result<Self, HttpError> {
        let target = pb::HttpTarget::decode(run.payload.clone())?;
        let method = if target.method.is_empty() { "POST" } else { target.method.as_str() };
        Ok(Self {
            method: method.parse().map_err(|_| HttpError::Method { method: method.to_owned() })?,
            url: read_url(&target.url)?,
            headers: headers(&target, run)?,
            success_codes: target
                .success_codes
                .iter()
                .map(|&code| read_code(code))
                .collect::<Result<_, _>>()?,
            body: target.body,
        })
    }
}

fn read_url(text: &str) -> Result<Url, HttpError> {
    let bad = |cause: String| HttpError::Url { url: text.to_owned(), cause };
    let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(bad(format!("its scheme is {scheme}"))),
    }
}

fn read_code(code: u32) -> Result<StatusCode, HttpError> {
    let bad = HttpError::SuccessCode { code };
    let Ok(short) = u16::try_from(code) else { return Err(bad) };
    StatusCode::from_u16(short).map_err(|_| bad)
}

/// The target's headers, and the run's. Nobody but Belfry sets `Belfry-*`.
fn headers(target: &pb::HttpTarget, run: &RunContext) -> Result<HeaderMap, HttpError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &target.headers {
        refuse_framing(name, value, target.body.len())?;
        set(&mut headers, name, value)?;
    }
    if !headers.contains_key(IDEMPOTENCY_KEY) {
        set(&mut headers, IDEMPOTENCY_KEY.as_str(), &run.idempotency_key)?;
    }
    set(&mut headers, "Belfry-Run", run.run.as_str())?;
    set(&mut headers, "Belfry-Nominal-Time", &run.nominal_time.to_string())?;
    set(&mut headers, "Belfry-Scheduled-Time", &run.scheduled_time.to_string())?;
    set(&mut headers, "Belfry-Attempt", &run.attempt.to_string())?;
    set(&mut headers, "Belfry-Max-Attempts", &run.max_attempts.to_string())?;
    set(&mut headers, "Belfry-Fencing-Token", &run.fencing_token.to_string())?;
    set(&mut headers, "Belfry-Window-Start", &run.window_start.to_string())?;
    set(&mut headers, "Belfry-Merged-Count", &run.merged_count.to_string())?;
    set(&mut headers, "Belfry-Deadline", &run.deadline.to_string())?;
    set(&mut headers, "Belfry-Trigger", if run.manual { "manual" } else { "timer" })?;
    set(&mut headers, "Belfry-Backfill", if run.backfill { "true" } else { "false" })?;
    Ok(headers)
}

/// Refuses what would cut the body off, or have the server wait for more of it: the status would then be that of another
/// request than the one that was described.
fn refuse_framing(name: &str, value: &str, body_bytes: usize) -> Result<(), HttpError> {
    let wrong_length =
        name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str()) && value.trim().parse() != Ok(body_bytes);
    if wrong_length || name.eq_ignore_ascii_case(TRANSFER_ENCODING.as_str()) {
        return Err(HttpError::Framing { name: name.to_owned(), body_bytes });
    }
    Ok(())
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), HttpError> {
    let bad = || HttpError::Header { name: name.to_owned() };
    let value = HeaderValue::from_str(value).map_err(|_| bad())?;
    headers.insert(name.parse::<HeaderName>().map_err(|_| bad())?, value);
    Ok(())
}

/// The status decides; the start of the body becomes the output.
async fn judge(mut response: Response, success_codes: &[StatusCode], output: &OutputTail) -> Outcome {
    let status = response.status();
    let mut message = format!("status {status}");
    if status.is_redirection()
        && let Some(location) = response.headers().get(LOCATION)
    {
        message.push_str(&format!(
            ", redirects to {} (redirects are not followed)",
            String::from_utf8_lossy(location.as_bytes())
        ));
    }
    if let Err(error) = keep_start(&mut response, output).await {
        message.push_str(&format!(", its body broke off: {}", innermost(&error)));
    }
    let exit_code = i32::from(status.as_u16());
    let success =
        if success_codes.is_empty() { status.is_success() } else { success_codes.contains(&status) };
    if success {
        Outcome::SucceededWith { exit_code, message }
    } else {
        Outcome::Failed { exit_code: Some(exit_code), message }
    }
}

/// Keeps as much of the body as the output takes, and reads no further: a body may have no end.
async fn keep_start(response: &mut Response, output: &OutputTail) -> Result<(), reqwest::Error> {
    let mut room = OUTPUT_TAIL_BYTES;
    while room > 0
        && let Some(piece) = response.chunk().await?
    {
        let kept = piece.len().min(room);
        output.write(&piece[..kept]);
        room -= kept;
    }
    Ok(())
}

/// The words of the first error in the chain, such as `Connection refused (os error 111)`.
fn innermost(error: &reqwest::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words = error.to_string();
        source = error.source();
    }
    words
}
