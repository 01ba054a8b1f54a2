//! The gRPC service over a Unix socket: clients' questions to the control thread, its answers in the types of `proto`,
//! which stop here. No detection logic.

mod convert;

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use crossbeam::channel::Sender;
use ipnet::IpNet;
use proto::v1;
use proto::v1::levee_server::{Levee, LeveeServer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, oneshot};
use tokio_stream::wrappers::{BroadcastStream, UnixListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Response, Status};

use crate::attack::{self, Direction, Target};
use crate::control::{Reply, Request};
use crate::detector::Event;
use crate::meter::Order;

/// How long the control thread may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Listings have so many rows when the client does not say.
const HOSTS_DEFAULT: u32 = 20;
const ATTACKS_DEFAULT: u32 = 100;
/// Most rows of a listing.
const ROWS_MAX: u32 = 1000;
/// Longest text that a client may give as a reason, in bytes.
const REASON_MAX: usize = 500;
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
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        let text = error.to_string();
        match error {
            Error::NoAnswer => Status::unavailable(text),
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

/// Changes the log's filter, or says why the new one is none.
pub type SetLog = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// The service.
pub struct Api {
    /// To the control thread.
    pub requests: Sender<Request>,
    /// What it tells.
    pub events: broadcast::Sender<Event>,
    /// The log's filter.
    pub set_log: SetLog,
    /// The log's filter at the start.
    pub log_level: tokio::sync::RwLock<String>,
    /// By which prefix IPv6 hosts are counted.
    pub ipv6_prefix_length: u8,
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
}

/// Who asks, by the credentials of the other end of the socket.
fn who<T>(request: &tonic::Request<T>) -> String {
    let credentials = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    let Some(uid) = credentials.map(|credentials| credentials.uid()) else { return "unknown".to_owned() };
    match nix::unistd::User::from_uid(uid.into()) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
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
        let status = self.ask(Request::Status).await?;
        Ok(Response::new(convert::status(&status, self.log_level.read().await.clone())))
    }

    async fn list_hosts(
        &self,
        request: tonic::Request<v1::ListHostsRequest>,
    ) -> Result<Response<v1::ListHostsResponse>, Status> {
        let request = request.into_inner();
        let order = match request.order() {
            v1::HostOrder::Pps => Order::Pps,
            v1::HostOrder::Bps => Order::Bps,
            v1::HostOrder::IncomingPps => Order::DirectionPps(Direction::Incoming),
            v1::HostOrder::IncomingBps => Order::DirectionBps(Direction::Incoming),
            v1::HostOrder::OutgoingPps => Order::DirectionPps(Direction::Outgoing),
            v1::HostOrder::OutgoingBps => Order::DirectionBps(Direction::Outgoing),
        };
        let prefix = match request.prefix.as_str() {
            "" => None,
            text => match text.parse::<IpNet>() {
                Ok(prefix) => Some(prefix),
                Err(_) => Some(
                    self.host(text)
                        .map_err(|_| Error::Invalid(format!("\"{text}\" is no prefix, such as 192.0.2.0/24")))?,
                ),
            },
        };
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
        let v1::ListAttacksRequest { alive_only, limit } = request.into_inner();
        let limit = rows(limit, ATTACKS_DEFAULT);
        let answer = self.ask(|reply| Request::Attacks { alive_only, limit, reply }).await?;
        Ok(Response::new(v1::ListAttacksResponse { attacks: answer.iter().map(convert::answered).collect() }))
    }

    async fn list_rules(
        &self,
        _: tonic::Request<v1::ListRulesRequest>,
    ) -> Result<Response<v1::ListRulesResponse>, Status> {
        let limit = ROWS_MAX as usize;
        let answer = self.ask(|reply| Request::Attacks { alive_only: true, limit, reply }).await?;
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
        let (seconds, reason) = (u64::from(request.seconds), reason(request.reason)?);
        let banned = self.ask(|reply| Request::Ban { target, seconds, reason, by, reply }).await?;
        let attack = banned.map_err(Error::Refused)?;
        Ok(Response::new(v1::BanResponse { attack_id: attack.to_string(), host: attack::name(target.prefix) }))
    }

    async fn unban(&self, request: tonic::Request<v1::UnbanRequest>) -> Result<Response<v1::UnbanResponse>, Status> {
        let by = who(&request);
        let request = request.into_inner();
        let (host, reason) = (self.host(&request.host)?, reason(request.reason)?);
        let name = attack::name(host);
        let ended = self.ask(|reply| Request::Unban { host, reason, by, reply }).await?;
        if ended.is_empty() {
            return Err(Error::Refused(format!("no attack on {name} is alive")).into());
        }
        let attack_ids = ended.iter().map(ToString::to_string).collect();
        Ok(Response::new(v1::UnbanResponse { attack_ids, host: name }))
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
        let mut current = self.log_level.write().await;
        (self.set_log)(&level).map_err(Error::Invalid)?;
        tracing::info!(by, level, "log level changed");
        let previous = std::mem::replace(&mut *current, level);
        Ok(Response::new(v1::SetLogLevelResponse { previous }))
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
