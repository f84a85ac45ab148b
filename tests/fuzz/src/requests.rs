//! The edge: any bytes as the message, or the messages, of any method, to a node that runs.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use belfry_server::clock::SystemClock;
use belfry_server::config::{Config, Listen};
use belfry_server::node::{Listeners, Node};
use belfry_server::raft::Leadership;
use bytes::{Buf as _, BufMut as _, Bytes};
use futures_util::{StreamExt as _, stream};
use prost::Message as _;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

/// Calls to one node: what they create stays in its memory.
const CALLS_MAX: usize = 20_000;

/// Longest wait for one answer. No request needs a second; a busy machine may.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Messages that are read of a method that answers with a stream, and how long each is waited for: one who watches may have nothing
/// to be told.
const ANSWERS_MAX: usize = 3;
const NEXT_ANSWER_TIMEOUT: Duration = Duration::from_millis(50);

/// A method of the public contract.
#[derive(Clone, Debug)]
pub struct Method {
    /// `/PACKAGE.SERVICE/NAME`.
    pub path: String,
    /// It takes a stream of messages.
    pub takes_many: bool,
    /// It answers with one.
    pub answers_many: bool,
}

/// All methods of the public contract, in its order.
pub fn methods() -> Vec<Method> {
    let files = prost_types::FileDescriptorSet::decode(belfry_proto::DESCRIPTORS)
        .expect("the descriptors were written by our own build")
        .file;
    let mut methods = Vec::new();
    for file in files.iter().filter(|file| file.package() == "belfry.v1") {
        for service in &file.service {
            methods.extend(service.method.iter().map(|method| Method {
                path: format!("/belfry.v1.{}/{}", service.name(), method.name()),
                takes_many: method.client_streaming(),
                answers_many: method.server_streaming(),
            }));
        }
    }
    methods
}

/// The number of a method, then the bytes of its request; of one that takes a stream, how many messages they are cut into comes first.
/// The node does not answer that it has failed.
pub fn requests(input: &[u8]) {
    static SITE: Mutex<Option<Site>> = Mutex::new(None);
    let Some((method, message)) = input.split_first() else { return };
    let mut site = SITE.lock().unwrap_or_else(PoisonError::into_inner);
    if site.as_ref().is_some_and(|site| site.calls == CALLS_MAX) {
        *site = None;
    }
    let site = site.get_or_insert_with(Site::start);
    let method = &site.methods[usize::from(*method) % site.methods.len()];
    site.calls += 1;
    let messages = if method.takes_many { cut(message) } else { vec![Bytes::copy_from_slice(message)] };
    let answer = site.runtime.block_on(call(site.channel.clone(), method, messages));
    let Err(status) = answer else { return };
    // tonic's own words for bytes that are no message.
    let is_no_message =
        status.code() == Code::Internal && status.message().contains("decode Protobuf message");
    let is_failure = matches!(
        status.code(),
        Code::Internal | Code::Unknown | Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded
    );
    assert!(is_no_message || !is_failure, "{} given {message:02x?}: {status}", method.path);
}

/// One to four messages of about the same length.
fn cut(input: &[u8]) -> Vec<Bytes> {
    let Some((count, message)) = input.split_first() else { return Vec::new() };
    let length = message.len().div_ceil(1 + usize::from(count % 4)).max(1);
    message.chunks(length).map(Bytes::copy_from_slice).collect()
}

async fn call(channel: Channel, method: &Method, messages: Vec<Bytes>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    // One who sends many has more to say, and says nothing.
    let more =
        if method.takes_many { stream::pending().left_stream() } else { stream::empty().right_stream() };
    let mut request = Request::new(stream::iter(messages).chain(more));
    request.set_timeout(ANSWER_TIMEOUT);
    let path = method.path.parse().expect("a path of the contract");
    let answers = client.streaming(request, path, Raw);
    if !method.answers_many {
        let answer = answers.await?.into_inner().message().await?;
        return answer.map(drop).ok_or_else(|| Status::internal("an answer without a message"));
    }
    // One who sends many is answered once there is something to say.
    let begins_within = if method.takes_many { NEXT_ANSWER_TIMEOUT } else { ANSWER_TIMEOUT };
    let Ok(answers) = timeout(begins_within, answers).await else { return Ok(()) };
    let mut answers = answers?.into_inner();
    for _ in 0..ANSWERS_MAX {
        match timeout(NEXT_ANSWER_TIMEOUT, answers.message()).await {
            Ok(Ok(Some(_))) => {}
            Ok(Err(status)) => return Err(status),
            Ok(Ok(None)) | Err(_) => break,
        }
    }
    Ok(())
}

/// A node that is alone, and a way to it.
struct Site {
    runtime: Runtime,
    channel: Channel,
    methods: Vec<Method>,
    calls: usize,
    _node: Node,
    _data: TempDir,
}

impl Site {
    fn start() -> Self {
        let runtime = Runtime::new().expect("the system gives threads");
        let data = tempfile::tempdir().expect("the machine has room for temporary files");
        let any = || "127.0.0.1:0".to_owned();
        let mut config =
            Config { listen: Listen { api: any(), peer: any(), admin: any() }, ..Config::default() };
        config.node.id = 1;
        config.node.data = data.path().display().to_string();
        let (node, channel) = runtime.block_on(async {
            let listeners = Listeners::bind(&config).await.expect("loopback has a free port");
            let [api, ..] = listeners.addresses().expect("they are bound");
            let node = Box::pin(Node::start(&config, listeners, std::sync::Arc::new(SystemClock))).await;
            let node = node.expect("a node alone starts");
            let mut leadership = node.replica().leadership();
            let leads = leadership.wait_for(|now| matches!(now, Leadership::Leader { .. })).await;
            leads.expect("a node alone leads");
            let endpoint = Endpoint::from_shared(format!("http://{api}")).expect("it is an address");
            (node, endpoint.connect_lazy())
        });
        Self { runtime, channel, methods: methods(), calls: 0, _node: node, _data: data }
    }
}

/// Messages as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
