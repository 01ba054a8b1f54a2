//! The gRPC service over a Unix socket: clients' questions to the control thread, its answers in the types of `proto`,
//! which stop here. No detection logic.

mod config;
pub(crate) mod convert;
mod who;

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam::channel::Sender;
use ipnet::IpNet;
use proto::v1;
use proto::v1::levee_server::{Levee, LeveeServer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, broadcast, oneshot};
use tokio_stream::wrappers::{BroadcastStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Response, Status};
use uuid::Uuid;

pub use who::user;
use who::who;

use crate::attack::{self, Direction, Target};
use crate::config::edit::Edit;
use crate::control::{Answered, Order, Reply, Request};
use crate::detector::Event;
use crate::meter;
use crate::record::FlowSpec;
use crate::reload::{LogFilter, Reloader};
use crate::rule_json;
use crate::samples;
use crate::search::{self, Place, Search};
use crate::store::Archive;

/// How long the control thread may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Listings have so many rows when the client does not say.
const HOSTS_DEFAULT: u32 = 20;
const ATTACKS_DEFAULT: u32 = 100;
const ACTS_DEFAULT: u32 = 100;
/// Most rows of a listing.
const ROWS_MAX: u32 = 1000;
/// Longest text that a client may give as a reason, in bytes.
const REASON_MAX: usize = 500;
/// Longest rule in JSON.
const RULE_MAX: usize = 16_384;
/// Longest key with its value, in bytes.
const EDIT_MAX: usize = 64 << 10;
/// Longest id of an attack.
const ID_MAX: usize = 36;
/// Most kinds of attacks in one search.
const KINDS_MAX: usize = 64;
/// How many may read from the disk at once.
pub const READERS_MAX: usize = 4;
/// Requests that one connection may have under way.
const CONCURRENCY_MAX: usize = 64;

/// What can go wrong with a request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control thread did not answer.
    #[error("the control thread does not answer; see the daemon's log")]
    NoAnswer,
    /// Something in the request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The request is right but cannot be met.
    #[error("{0}")]
    Refused(String),
    /// What is asked for is not there.
    #[error("{0}")]
    Missing(String),
    /// The disk is too slow.
    #[error("the disk does not answer; see the daemon's log")]
    NoDisk,
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let text = error.to_string();
        match error {
            Error::NoAnswer | Error::NoDisk => Status::unavailable(text),
            Error::Missing(_) => Status::not_found(text),
            Error::Invalid(_) => Status::invalid_argument(text),
            Error::Refused(_) => Status::failed_precondition(text),
        }
    }
}

/// Why the socket could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon serves it.
    #[error("another leveed serves {}; stop it, or give this one its own daemon.socket", .0.display())]
    InUse(PathBuf),
    /// The system refuses.
    #[error("the socket {} cannot be made: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
}

/// The service.
pub struct Api {
    /// To the control thread.
    pub requests: Sender<Request>,
    /// What it tells.
    pub events: broadcast::Sender<Event>,
    /// The log's filter.
    pub log: Arc<LogFilter>,
    /// The configuration that runs, and how it changes.
    pub reloader: Arc<Reloader>,
    /// By which prefix IPv6 hosts are counted.
    pub ipv6_prefix_length: u8,
    /// Attacks on disk.
    pub archive: Archive,
    /// One permit for each of those who may read from the disk at once.
    pub readers: Semaphore,
}

/// Binds the socket; one that a killed daemon left behind is replaced. Its owner and group may use it.
///
/// # Errors
/// [`BindError`].
pub async fn bind(path: &Path) -> Result<UnixListener, BindError> {
    let io = |source| BindError::Io { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    if path.exists() {
        if UnixStream::connect(path).await.is_ok() {
            return Err(BindError::InUse(path.to_owned()));
        }
        std::fs::remove_file(path).map_err(io)?;
    }
    let listener = UnixListener::bind(path).map_err(io)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(io)?;
    Ok(listener)
}

/// Serves until its task is aborted.
///
/// # Errors
/// When the transport fails.
pub async fn serve(api: Api, listener: UnixListener) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .concurrency_limit_per_connection(CONCURRENCY_MAX)
        .add_service(LeveeServer::new(api))
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await
}

impl Api {
    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(request(reply)).map_err(|_| Error::NoAnswer)?;
        match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) | Err(_) => Err(Error::NoAnswer),
        }
    }

    fn host(&self, text: &str) -> Result<IpNet, Error> {
        host(text, self.ipv6_prefix_length)
    }

    /// A host, or a wider prefix.
    fn host_or_network(&self, text: &str) -> Result<IpNet, Error> {
        self.host(text).or_else(|error| text.parse::<IpNet>().map(|network| network.trunc()).map_err(|_| error))
    }

    /// A prefix, or the host of an address; none where nothing is given.
    fn prefix(&self, text: &str) -> Result<Option<IpNet>, Error> {
        if text.is_empty() {
            return Ok(None);
        }
        let prefix = text.parse().or_else(|_| self.host(text));
        prefix.map(Some).map_err(|_| Error::Invalid(format!("\"{text}\" is no prefix, such as 192.0.2.0/24")))
    }

    /// What a client asks for, as far back as the history goes.
    fn search(&self, request: v1::ListAttacksRequest, limit: usize) -> Result<Search, Error> {
        let id = id_or_beginning(&request.id)?;
        if request.kinds.len() > KINDS_MAX {
            return Err(Error::Invalid(format!("more than {KINDS_MAX} kinds of attacks")));
        }
        let mut kinds = Vec::new();
        for word in &request.kinds {
            kinds.extend(search::kinds(word).map_err(Error::Invalid)?);
        }
        let after = match request.page.as_str() {
            "" => None,
            page => Some(page.parse().map_err(Error::Invalid)?),
        };
        let kept_since = SystemTime::now()
            .checked_sub(self.reloader.running().history.kept)
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let kept_since_ms = kept_since.map_or(0, |since| since.as_millis() as i64);
        Ok(Search {
            alive_only: request.alive_only,
            id,
            host: self.prefix(&request.host)?,
            since_ms: Some(request.since_ms.max(kept_since_ms)),
            until_ms: Some(request.until_ms).filter(|&until_ms| until_ms != 0),
            kinds,
            after,
            limit,
        })
    }

    /// What the control thread has at hand, and what else is on disk; and why that cannot be read, if it cannot.
    async fn find(&self, search: Search) -> Result<(Vec<Answered>, String), Error> {
        let at_hand = search.clone();
        let mut found = self.ask(|reply| Request::Attacks { search: at_hand, reply }).await?;
        if search.alive_only {
            return Ok((found, String::new()));
        }
        let (archive, limit) = (self.archive.clone(), search.limit);
        let incomplete = match self.read(move || archive.search(&search)).await? {
            Ok(records) => {
                // The control thread knows more of an attack than the disk, and knows it sooner.
                let known: HashSet<Uuid> = found.iter().map(|answered| answered.record.id).collect();
                found.extend(records.into_iter().filter(|record| !known.contains(&record.id)).map(Answered::from));
                String::new()
            }
            Err(error) => {
                tracing::warn!("the history cannot be read: {error}");
                error.to_string()
            }
        };
        found.sort_by_key(|answered| std::cmp::Reverse(Place::from(&*answered.record)));
        found.truncate(limit);
        Ok((found, incomplete))
    }

    /// Reads from the disk, where nobody else waits for it; few do so at once.
    async fn read<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let reading = async {
            let _turn = self.readers.acquire().await.ok()?;
            tokio::task::spawn_blocking(read).await.ok()
        };
        tokio::time::timeout(ANSWER_TIMEOUT, reading).await.ok().flatten().ok_or(Error::NoDisk)
    }
}

/// A host, given by an address of it, or by a prefix that is no wider.
fn host(text: &str, ipv6_prefix_length: u8) -> Result<IpNet, Error> {
    let wrong = || Error::Invalid(format!("\"{text}\" is not an address of a host, such as 192.0.2.1 or 2001:db8::1"));
    let given: IpNet = match text.parse::<IpAddr>() {
        Ok(address) => address.into(),
        Err(_) => text.parse().map_err(|_| wrong())?,
    };
    Some(attack::host(given.addr(), ipv6_prefix_length)).filter(|host| host.contains(&given)).ok_or_else(wrong)
}

/// In lower case.
fn id_or_beginning(text: &str) -> Result<String, Error> {
    let id = text.to_ascii_lowercase();
    if id.len() > ID_MAX || !id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') {
        return Err(Error::Invalid(format!("\"{id}\" is not an id, nor its beginning")));
    }
    Ok(id)
}

fn flow_spec(json: &str) -> Result<FlowSpec, Error> {
    if json.len() > RULE_MAX {
        return Err(Error::Invalid(format!("the rule is longer than {RULE_MAX} bytes")));
    }
    let value = serde_json::from_str(json).map_err(|error| Error::Invalid(format!("no JSON: {error}")))?;
    let (rule, action) = rule_json::from_json(&value).map_err(|error| Error::Invalid(error.to_string()))?;
    Ok(FlowSpec { rule, action })
}

fn reason(text: String) -> Result<String, Error> {
    if text.len() > REASON_MAX {
        return Err(Error::Invalid(format!("the reason is longer than {REASON_MAX} bytes")));
    }
    Ok(text)
}

fn rows(limit: u32, default: u32) -> usize {
    if limit == 0 { default as usize } else { limit.min(ROWS_MAX) as usize }
}

type EventStream = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

#[tonic::async_trait]
impl Levee for Api {
    async fn get_status(&self, _: tonic::Request<v1::GetStatusRequest>) -> Result<Response<v1::Status>, Status> {
        let mut status = self.ask(|reply| Request::Status { in_full: false, reply }).await?;
        status.alarms.extend(self.reloader.alarm());
        Ok(Response::new(convert::status(&status, self.log.level())))
    }

    async fn list_engines(
        &self,
        _: tonic::Request<v1::ListEnginesRequest>,
    ) -> Result<Response<v1::ListEnginesResponse>, Status> {
        let status = self.ask(|reply| Request::Status { in_full: true, reply }).await?;
        let v1::Status { engines, pause, .. } = convert::status(&status, String::new());
        Ok(Response::new(v1::ListEnginesResponse { engines, pause }))
    }

    async fn list_hosts(
        &self,
        request: tonic::Request<v1::ListHostsRequest>,
    ) -> Result<Response<v1::ListHostsResponse>, Status> {
        let request = request.into_inner();
        let order = match request.order() {
            v1::HostOrder::Pps => meter::Order::Pps,
            v1::HostOrder::Bps => meter::Order::Bps,
            v1::HostOrder::IncomingPps => meter::Order::DirectionPps(Direction::Incoming),
            v1::HostOrder::IncomingBps => meter::Order::DirectionBps(Direction::Incoming),
            v1::HostOrder::OutgoingPps => meter::Order::DirectionPps(Direction::Outgoing),
            v1::HostOrder::OutgoingBps => meter::Order::DirectionBps(Direction::Outgoing),
        };
        let prefix = self.prefix(&request.prefix)?;
        let limit = rows(request.limit, HOSTS_DEFAULT);
        let answer = self.ask(|reply| Request::Hosts { limit, order, prefix, reply }).await?;
        Ok(Response::new(convert::hosts(&answer)))
    }

    async fn get_totals(&self, _: tonic::Request<v1::GetTotalsRequest>) -> Result<Response<v1::Totals>, Status> {
        Ok(Response::new(convert::totals(&self.ask(Request::Totals).await?)))
    }

    async fn list_groups(
        &self,
        _: tonic::Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let groups = self.ask(Request::Groups).await?;
        let groups = groups.iter().map(|group| convert::group(group, ROWS_MAX as usize)).collect();
        Ok(Response::new(v1::ListGroupsResponse { groups }))
    }

    async fn list_attacks(
        &self,
        request: tonic::Request<v1::ListAttacksRequest>,
    ) -> Result<Response<v1::ListAttacksResponse>, Status> {
        let request = request.into_inner();
        let limit = rows(request.limit, ATTACKS_DEFAULT);
        let in_full = !request.id.is_empty();
        // One more than fits shows whether there is another page.
        let search = self.search(request, limit + 1)?;
        let (mut found, incomplete) = self.find(search).await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let last = found.last().filter(|_| more).map(|last| Place::from(&*last.record).to_string());
        let shown = if in_full { convert::answered_in_full } else { convert::answered };
        Ok(Response::new(v1::ListAttacksResponse {
            attacks: found.iter().map(shown).collect(),
            next_page: last.unwrap_or_default(),
            incomplete,
        }))
    }

    async fn get_sample(&self, request: tonic::Request<v1::GetSampleRequest>) -> Result<Response<v1::Sample>, Status> {
        let id = request.into_inner().attack_id;
        let attack: Uuid = id.parse().map_err(|_| Error::Invalid(format!("\"{id}\" is not the id of an attack")))?;
        let running = self.reloader.running();
        let Some(folder) = &running.history.samples else {
            return Err(Error::Refused("no samples are kept: set history.samples to a folder".to_owned()).into());
        };
        let path = samples::path(folder, attack);
        match self.read(move || std::fs::read(path)).await? {
            Ok(pcap) => Ok(Response::new(v1::Sample { pcap })),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::Missing(format!(
                "no sample of attack {id}: its capture has not ended, or its file went to make room"
            ))
            .into()),
            Err(error) => Err(Error::Refused(format!("the sample of attack {id} cannot be read: {error}")).into()),
        }
    }

    async fn list_rules(
        &self,
        _: tonic::Request<v1::ListRulesRequest>,
    ) -> Result<Response<v1::ListRulesResponse>, Status> {
        let search = Search { alive_only: true, limit: ROWS_MAX as usize, ..Search::default() };
        let answer = self.ask(|reply| Request::Attacks { search, reply }).await?;
        let rules = answer.iter().flat_map(convert::wanted_rules).collect();
        Ok(Response::new(v1::ListRulesResponse { rules }))
    }

    async fn ban(&self, request: tonic::Request<v1::BanRequest>) -> Result<Response<v1::BanResponse>, Status> {
        let by = who(&request);
        let request = request.into_inner();
        let direction = match request.direction() {
            v1::Direction::Outgoing => Direction::Outgoing,
            v1::Direction::Incoming | v1::Direction::Unspecified => Direction::Incoming,
        };
        let target = Target { prefix: self.host(&request.host)?, direction };
        let order = Order { seconds: request.seconds.into(), reason: reason(request.reason)?, by };
        let banned = self.ask(|reply| Request::Ban { target, order, reply }).await?;
        let attack = banned.map_err(Error::Refused)?;
        Ok(Response::new(v1::BanResponse { attack_id: attack.to_string(), host: attack::name(target.prefix) }))
    }

    async fn unban(&self, request: tonic::Request<v1::UnbanRequest>) -> Result<Response<v1::UnbanResponse>, Status> {
        let by = who(&request);
        let request = request.into_inner();
        let order = Order { seconds: 0, reason: reason(request.reason)?, by };
        let host = self.host_or_network(&request.host)?;
        let name = attack::name(host);
        let ended = self.ask(|reply| Request::Unban { host, order, reply }).await?;
        if ended.is_empty() {
            return Err(Error::Refused(format!("no attack on {name} is alive")).into());
        }
        let attack_ids = ended.iter().map(ToString::to_string).collect();
        Ok(Response::new(v1::UnbanResponse { attack_ids, host: name }))
    }

    async fn add_rule(
        &self,
        request: tonic::Request<v1::AddRuleRequest>,
    ) -> Result<Response<v1::AddRuleResponse>, Status> {
        let by = who(&request);
        let request = request.into_inner();
        let flow_spec = Box::new(flow_spec(&request.flow_spec_json)?);
        let order = Order { seconds: request.seconds, reason: reason(request.reason)?, by };
        let added = self.ask(|reply| Request::AddRule { flow_spec, order, reply }).await?.map_err(Error::Refused)?;
        Ok(Response::new(v1::AddRuleResponse { rule: convert::wanted_rules(&added).pop() }))
    }

    async fn remove_rule(
        &self,
        request: tonic::Request<v1::RemoveRuleRequest>,
    ) -> Result<Response<v1::RemoveRuleResponse>, Status> {
        let by = who(&request);
        let request = request.into_inner();
        let id = id_or_beginning(&request.id)?;
        if id.is_empty() {
            return Err(Error::Invalid("give the id of a rule".to_owned()).into());
        }
        let order = Order { seconds: 0, reason: reason(request.reason)?, by };
        let removed = self.ask(|reply| Request::RemoveRule { id, order, reply }).await?.map_err(Error::Refused)?;
        let text = removed.rules.first().map(|rule| convert::rule_text(&rule.flow_spec)).unwrap_or_default();
        Ok(Response::new(v1::RemoveRuleResponse { attack_id: removed.id.to_string(), text }))
    }

    async fn pause(&self, request: tonic::Request<v1::PauseRequest>) -> Result<Response<v1::PauseResponse>, Status> {
        let by = who(&request);
        let request = request.into_inner();
        let order = Order { seconds: request.seconds, reason: reason(request.reason)?, by };
        let pause = self.ask(|reply| Request::Pause { order, reply }).await?;
        Ok(Response::new(v1::PauseResponse { pause: Some(convert::pause(&pause)) }))
    }

    async fn withdraw_all(
        &self,
        request: tonic::Request<v1::WithdrawAllRequest>,
    ) -> Result<Response<v1::WithdrawAllResponse>, Status> {
        let by = who(&request);
        let order = Order { seconds: 0, reason: reason(request.into_inner().reason)?, by };
        let pause = self.ask(|reply| Request::WithdrawAll { order, reply }).await?;
        Ok(Response::new(v1::WithdrawAllResponse { pause: Some(convert::pause(&pause)) }))
    }

    async fn resume(&self, request: tonic::Request<v1::ResumeRequest>) -> Result<Response<v1::ResumeResponse>, Status> {
        let by = who(&request);
        let order = Order { seconds: 0, reason: reason(request.into_inner().reason)?, by };
        let pause = self.ask(|reply| Request::Resume { order, reply }).await?;
        let pause = pause.ok_or_else(|| Error::Refused("actions are not paused".to_owned()))?;
        Ok(Response::new(v1::ResumeResponse { pause: Some(convert::pause(&pause)) }))
    }

    async fn list_acts(
        &self,
        request: tonic::Request<v1::ListActsRequest>,
    ) -> Result<Response<v1::ListActsResponse>, Status> {
        let (limit, archive) = (rows(request.into_inner().limit, ACTS_DEFAULT), self.archive.clone());
        let acts = self.read(move || archive.acts(limit)).await?;
        let acts = acts.map_err(|error| Error::Refused(error.to_string()))?;
        Ok(Response::new(v1::ListActsResponse { acts: acts.into_iter().map(convert::act).collect() }))
    }

    type WatchEventsStream = EventStream;

    async fn watch_events(&self, _: tonic::Request<v1::WatchEventsRequest>) -> Result<Response<EventStream>, Status> {
        let events = BroadcastStream::new(self.events.subscribe()).map(|event| {
            Ok(match event {
                Ok(event) => convert::event(&event),
                Err(tokio_stream::wrappers::errors::BroadcastStreamRecvError::Lagged(lost)) => v1::Event {
                    kind: "dropped".to_owned(),
                    text: format!("{lost} events were dropped: this client reads too slowly"),
                    ..v1::Event::default()
                },
            })
        });
        Ok(Response::new(Box::pin(events)))
    }

    async fn set_log_level(
        &self,
        request: tonic::Request<v1::SetLogLevelRequest>,
    ) -> Result<Response<v1::SetLogLevelResponse>, Status> {
        let by = who(&request);
        let level = request.into_inner().level;
        let previous = self.log.change(&level).map_err(Error::Invalid)?;
        tracing::info!(by, level, "log level changed");
        Ok(Response::new(v1::SetLogLevelResponse { previous }))
    }

    async fn get_config(
        &self,
        request: tonic::Request<v1::GetConfigRequest>,
    ) -> Result<Response<v1::GetConfigResponse>, Status> {
        let leaves = self.reloader.show(&request.into_inner().key)?;
        Ok(Response::new(config::shown(self.reloader.path(), leaves)))
    }

    async fn diff_config(&self, _: tonic::Request<v1::DiffConfigRequest>) -> Result<Response<v1::ConfigDiff>, Status> {
        Ok(Response::new(config::diff(self.reloader.path(), self.reloader.diff().await)))
    }

    async fn reload_config(
        &self,
        request: tonic::Request<v1::ReloadConfigRequest>,
    ) -> Result<Response<v1::ConfigChanged>, Status> {
        let outcome = self.reloader.reload(&who(&request)).await?;
        Ok(Response::new(config::changed(self.reloader.path(), outcome)))
    }

    async fn set_config(
        &self,
        request: tonic::Request<v1::SetConfigRequest>,
    ) -> Result<Response<v1::ConfigChanged>, Status> {
        let by = who(&request);
        let v1::SetConfigRequest { key, value } = request.into_inner();
        if key.len() + value.as_ref().map_or(0, String::len) > EDIT_MAX {
            return Err(Error::Invalid(format!("key and value have more than {EDIT_MAX} bytes: edit the file")).into());
        }
        let outcome = self.reloader.set(Edit { key, value }, &by).await?;
        Ok(Response::new(config::changed(self.reloader.path(), outcome)))
    }

    async fn commit_config(
        &self,
        request: tonic::Request<v1::CommitConfigRequest>,
    ) -> Result<Response<v1::ConfigChanged>, Status> {
        let by = who(&request);
        let outcome = self.reloader.commit(request.into_inner().force, &by).await?;
        Ok(Response::new(config::changed(self.reloader.path(), outcome)))
    }

    async fn rollback_config(
        &self,
        request: tonic::Request<v1::RollbackConfigRequest>,
    ) -> Result<Response<v1::RollbackConfigResponse>, Status> {
        let by = who(&request);
        let (candidate_dropped, outcome) = self.reloader.rollback(request.into_inner().force, &by).await?;
        let changed = Some(config::changed(self.reloader.path(), outcome));
        Ok(Response::new(v1::RollbackConfigResponse { candidate_dropped, changed }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_of_either_family_and_nothing_wider() {
        let shown = |text: &str, length| host(text, length).map(|host| host.to_string()).expect("a host");
        for length in [64, 128] {
            assert_eq!(shown("192.0.2.1", length), "192.0.2.1/32");
            assert_eq!(shown("192.0.2.1/32", length), "192.0.2.1/32");
        }
        assert_eq!(shown("2001:db8::1", 128), "2001:db8::1/128");
        for text in ["2001:db8:0:1::1", "2001:db8:0:1::/64", "2001:db8:0:1::1/64", "2001:db8:0:1:8000::/65"] {
            assert_eq!(shown(text, 64), "2001:db8:0:1::/64");
        }
        for (wrong, length) in
            [("192.0.2.0/24", 64), ("", 128), ("host", 128), ("192.0.2.1/33", 128), ("::/0", 64), ("2001:db8::/63", 64)]
        {
            let error = host(wrong, length).expect_err("not a host").to_string();
            assert!(error.contains("not an address of a host"), "{error}");
        }
    }

    #[test]
    fn listings_are_bounded() {
        assert_eq!((rows(0, 20), rows(7, 20), rows(u32::MAX, 20)), (20, 7, 1000));
    }
}
