//! Users of the cluster: they create, change, pause, trigger and delete schedules through the SDK, remember what was acknowledged, and
//! hold every answer against it.
//!
//! A user owns its schedules, and does one thing after the other; so what an answer may say is known exactly. When an answer is lost
//! the user asks again with the same request id until it knows (API-2 makes that safe), as the documentation tells it to.

mod batch;
pub mod book;
mod operator;
mod reader;
pub mod request;
mod runs;

use std::sync::Arc;
use std::time::Duration;

use belfry_sdk::{Client, ClientError, ClientOptions, pb};
use futures_util::future::join_all;

use self::batch::Change;
use self::book::{Book, Value};
use self::operator::Operator;
use self::request::{Answer, Request};
use self::runs::Told;
use crate::chance::Chance;
use crate::invariants::{api_1, api_2};
use crate::net;
use crate::node::api;
use crate::record::{Phase, Record};

/// How many users there are.
const USERS: usize = 3;

/// How many people finish what they are about when all is mended: the users, and the operator.
pub const FINISHING: usize = USERS + 1;

/// Answers that a user remembers to ask for once more.
const KNOWN_MAX: usize = 20;

/// Schedules that a user has at once.
const SCHEDULES_MAX: usize = 4;

/// All users and the operator, on their one host. Of `nodes` nodes the first `founders` make the cluster.
pub async fn all(seed: u64, nodes: u64, founders: u64, record: Record) -> turmoil::Result {
    let book = Arc::new(Book::default());
    let connect = |chance: &mut Chance| {
        let mut endpoints: Vec<_> = (1..=nodes).map(api).collect();
        let turned = usize::try_from(chance.within(0..nodes)).expect("few nodes");
        endpoints.rotate_left(turned);
        let options = ClientOptions {
            timeout: Duration::from_secs(8),
            try_timeout: Duration::from_secs(2),
            dialer: net::sdk_dialer(),
            ..ClientOptions::new(endpoints)
        };
        Client::connect(options).expect("the endpoints are addresses")
    };
    let users = (0..USERS).map(|number| {
        let mut chance = Chance::new(seed, &format!("user {number}"));
        let clients = [connect(&mut chance), connect(&mut chance)];
        let user = User {
            number,
            chance,
            clients,
            book: book.clone(),
            record: record.clone(),
            asked: 0,
            known: Vec::new(),
            told: Vec::new(),
        };
        user.act()
    });
    let reader = reader::read(Chance::new(seed, "reader"), nodes, book.clone(), record.clone());
    let mut chance = Chance::new(seed, "operator");
    let operator = Operator {
        client: connect(&mut chance),
        chance,
        record: record.clone(),
        members: (1..=founders).collect(),
        spares: (founders + 1..=nodes).rev().collect(),
    };
    let operator = async {
        operator.operate().await;
        record.trace("the operator is done");
        record.lock().users_done += 1;
    };
    tokio::join!(join_all(users), reader, operator);
    std::future::pending().await
}

struct User {
    number: usize,
    chance: Chance,
    /// Two connections of one person: what is asked through both at once is one request.
    clients: [Client; 2],
    book: Arc<Book>,
    record: Record,
    asked: u64,
    /// Requests that were answered, to be asked once more.
    known: Vec<(Request, Answer)>,
    /// What was acknowledged of runs.
    told: Vec<(String, Told)>,
}

impl User {
    async fn act(mut self) {
        // There must be a calendar before a schedule uses it; whoever is first makes it, and it is the same from all.
        self.ask_for(Request::put_calendar("first".to_owned())).await;
        while self.record.lock().phase == Phase::Safety {
            tokio::time::sleep(self.chance.millis(20..900)).await;
            Box::pin(self.do_something()).await;
        }
        Box::pin(self.look_back()).await;
        self.record.trace(format!("user {} is done", self.number));
        self.record.lock().users_done += 1;
    }

    async fn do_something(&mut self) {
        let mine = self.book.living_of(self.number);
        if mine.is_empty() || (mine.len() < SCHEDULES_MAX && self.chance.one_in(4)) {
            let creation = self.creation();
            return self.change(creation).await;
        }
        let name = self.chance.pick(&mine).clone();
        match self.chance.within(0..20) {
            0 | 1 => {
                let Some(description) = self.description(&name) else { return };
                self.change(description).await;
            }
            2 | 3 => {
                let request = Request::retime(&name, &mut self.chance);
                let after = self.book.now(&name);
                self.change(Change { name, request, after }).await;
            }
            4 => {
                let request = Request::other_policies(&name, &mut self.chance);
                let after = self.book.now(&name);
                self.change(Change { name, request, after }).await;
            }
            5 | 6 => {
                let Some(now) = self.book.now(&name) else { return };
                let request =
                    if now.paused { Request::resume(&name, &mut self.chance) } else { Request::pause(&name) };
                let after = Some(Value { paused: !now.paused, ..now });
                self.change(Change { name, request, after }).await;
            }
            7 if mine.len() > 1 => {
                let request = Request::delete(&name);
                self.change(Change { name, request, after: None }).await;
            }
            8 | 9 => self.trigger(&name).await,
            10 => self.ask_again().await,
            11 => self.hand_over().await,
            12 if self.number == 0 => {
                let slots = u32::try_from(self.chance.within(0..5)).expect("small");
                self.ask_for(Request::put_pool(slots)).await;
                // POOL-1 must see each limit.
                tokio::time::sleep(Duration::from_millis(600)).await;
            }
            12 => self.ask_for(Request::put_calendar(format!("text {}", self.asked))).await,
            13 | 14 => self.cancel(&name).await,
            15 => self.resolve(&name).await,
            16 => self.backfill(&name).await,
            17 => self.change_many().await,
            18 => self.read_many().await,
            _ => self.read().await,
        }
    }

    /// One more schedule.
    fn creation(&mut self) -> Change {
        self.asked += 1;
        let id = format!("u{}-{}", self.number, self.asked);
        let request = Request::create(&id, &mut self.chance);
        let name = format!("namespaces/default/schedules/{id}");
        Change { name, request, after: Some(Value { text: String::new(), paused: false }) }
    }

    /// Another description, of what is there.
    fn description(&mut self, name: &str) -> Option<Change> {
        self.asked += 1;
        let text = format!("text {}", self.asked);
        let after = Value { text: text.clone(), ..self.book.now(name)? };
        Some(Change { name: name.to_owned(), request: Request::describe(name, text), after: Some(after) })
    }

    /// Carries a request out until it is known what became of it.
    async fn change(&mut self, change: Change) {
        let Change { name, request, after } = change;
        self.book.begin(&name, after);
        let (request, answered) = self.ask(request).await;
        match answered {
            Ok(answer) => {
                self.book.done(&name);
                self.remember(request, answer);
            }
            Err(error) => {
                self.book.not_done(&name);
                api_1::refused(&self.record, &name, request.what(), &error);
            }
        }
    }

    /// Carries out what is not a change of a schedule.
    async fn ask_for(&mut self, request: Request) {
        let (name, what) = (request.name().to_owned(), request.what());
        let (request, answered) = self.ask(request).await;
        match answered {
            Ok(answer) => self.remember(request, answer),
            Err(error) => api_1::refused(&self.record, &name, what, &error),
        }
    }

    fn remember(&mut self, request: Request, answer: Answer) {
        if self.known.len() < KNOWN_MAX {
            self.known.push((request, answer));
        }
    }

    async fn trigger(&mut self, name: &str) {
        let request = Request::trigger(name, &mut self.chance);
        let (request, answered) = self.ask(request).await;
        match answered {
            Ok(answer) => {
                if let Answer::Run(run) = &answer {
                    self.book.triggered(run);
                }
                self.remember(request, answer);
            }
            Err(error) => api_1::refused(&self.record, name, "trigger", &error),
        }
    }

    /// With a request id of its own.
    fn numbered(&mut self, request: Request) -> Request {
        self.asked += 1;
        request.with_id(&format!("u{}-r{}", self.number, self.asked))
    }

    /// Asks with one request id until there is an answer.
    async fn ask(&mut self, request: Request) -> (Request, Result<Answer, ClientError>) {
        let request = self.numbered(request);
        let id = request.id();
        let twice = self.chance.one_in(8);
        for tried in 0_u32.. {
            let answered = if twice {
                self.record.count("asked_twice_at_once");
                let (first, second) = (request.send(&self.clients[0]), request.send(&self.clients[1]));
                let (first, second) = tokio::join!(first, second);
                if let (Ok(first), Ok(second)) = (&first, &second) {
                    api_2::same(&self.record, &id, first, second);
                }
                if first.is_ok() { first } else { second }
            } else {
                request.send(&self.clients[0]).await
            };
            match answered {
                Err(error) if is_undecided(&error) => {
                    if tried == 0 {
                        self.record.trace(format!("{id} {} undecided: {error}", request.what()));
                    }
                    self.record.count("asked_again_for_an_answer");
                    tokio::time::sleep(self.chance.millis(50..600)).await;
                }
                Ok(answer) => {
                    self.record.trace(format!("{id} {} {}: {answer:?}", request.what(), request.name()));
                    self.record.count(request.what());
                    return (request, Ok(answer));
                }
                Err(error) => {
                    self.record.trace(format!("{id} {} {} refused: {error}", request.what(), request.name()));
                    return (request, Err(error));
                }
            }
        }
        unreachable!("it is asked until it is known")
    }

    /// Another node is to lead, while runs begin.
    async fn hand_over(&mut self) {
        let now = self.record.lock().true_now.0;
        let until = u64::try_from(1_000 - now.rem_euclid(1_000)).expect("within a second");
        tokio::time::sleep(Duration::from_millis(until) + self.chance.millis(0..120)).await;
        match self.clients[0].transfer_leadership(pb::TransferLeadershipRequest::default()).await {
            Ok(now) => {
                self.record.trace(format!("leadership was handed over to n{}", now.leader_id));
                self.record.count("handover");
            }
            Err(error) => self.record.trace(format!("leadership was not handed over: {error}")),
        }
    }

    /// API-2: the same request id, any time later, at any node.
    async fn ask_again(&mut self) {
        if self.known.is_empty() {
            return;
        }
        let (request, answer) = self.chance.pick(&self.known).clone();
        let client = usize::from(self.chance.one_in(2));
        match request.send(&self.clients[client]).await {
            Ok(again) => {
                api_2::same(&self.record, &request.id(), &answer, &again);
                self.record.count("asked_again");
            }
            Err(error) if is_undecided(&error) => {}
            Err(error) => api_2::refused(&self.record, &request.id(), &answer, &error),
        }
    }

    /// API-1: what anybody reads is what was acknowledged to somebody.
    async fn read(&mut self) {
        let all = self.book.all();
        let name = self.chance.pick(&all).clone();
        let before = self.book.versions(&name);
        let request = pb::GetScheduleRequest { name: name.clone() };
        let read = match self.clients[1].get_schedule(request).await {
            Ok(schedule) => Some(Value::of(&schedule)),
            Err(ClientError::NotFound(_)) => None,
            Err(_) => return,
        };
        self.record.count("read");
        api_1::may_read(&self.record, &name, &self.book.since(&name, before), read.as_ref());
    }

    /// When all is mended: everything that was acknowledged is there, and nothing that was not.
    async fn look_back(&mut self) {
        if self.number == 0 {
            // A limit is as good as a fault to what waits.
            self.ask_for(Request::put_pool(0)).await;
        }
        self.look_back_at_runs().await;
        for name in self.book.all_of(self.number) {
            let read = loop {
                match self.clients[0].get_schedule(pb::GetScheduleRequest { name: name.clone() }).await {
                    Ok(schedule) => break Some(Value::of(&schedule)),
                    Err(ClientError::NotFound(_)) => break None,
                    Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                }
            };
            api_1::may_read(&self.record, &name, &[self.book.now(&name)], read.as_ref());
        }
        for (request, answer) in std::mem::take(&mut self.known) {
            loop {
                match request.send(&self.clients[1]).await {
                    Ok(again) => {
                        api_2::same(&self.record, &request.id(), &answer, &again);
                        break;
                    }
                    Err(error) if is_undecided(&error) => {
                        tokio::time::sleep(Duration::from_millis(200)).await
                    }
                    Err(error) => {
                        api_2::refused(&self.record, &request.id(), &answer, &error);
                        break;
                    }
                }
            }
        }
        if self.number == 0 {
            for name in self.book.all_triggered() {
                loop {
                    match self.clients[0].get_run(pb::GetRunRequest { name: name.clone() }).await {
                        Ok(_) => break,
                        Err(ClientError::NotFound(_)) => {
                            self.record.violation(
                                "API-1",
                                format!("{name} was acknowledged, and there is no such run"),
                            );
                            break;
                        }
                        Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
                    }
                }
            }
        }
    }
}

/// Whether it is not known what became of a request; asking again tells.
fn is_undecided(error: &ClientError) -> bool {
    match error {
        ClientError::OutcomeUnknown { .. }
        | ClientError::Unreachable { .. }
        | ClientError::NoLeader(_)
        | ClientError::ResourceExhausted(_) => true,
        ClientError::FailedPrecondition(_) | ClientError::Other(_) => {
            matches!(error.reason(), Some("NOT_CAUGHT_UP" | "FEATURE_LEVEL"))
                || matches!(error, ClientError::Other(_))
        }
        _ => false,
    }
}
