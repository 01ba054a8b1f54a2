//! The calls to an engine: GoBGP's gRPC interface, each within a time-out. Decides nothing.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use proto::gobgp;
use proto::gobgp::gobgp_api_client::GobgpApiClient;
use proto::gobgp::peer_state::SessionState;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use super::path::{Announcement, Key, Table};
use super::plan::Held;
use super::{Engine, Peer};
use crate::crash::{self, Step, When};

/// An engine that takes longer for one answer hangs. It needs 0.4 ms for a path, and 0.4 s to list 10,000.
const CALL_MAX: Duration = Duration::from_secs(5);

/// Why an engine could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither kind of address.
    #[error("\"{0}\" is not an engine's address, such as \"unix:///run/gobgp.sock\" or \"http://127.0.0.1:50051\"")]
    Address(String),
    /// Nobody answers there.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Where to.
        address: String,
        /// Why.
        reason: String,
    },
    /// gobgpd runs, but has not read its configuration yet, or has none.
    #[error("the engine has not started BGP")]
    NotStarted,
    /// The engine hangs.
    #[error("{call}: no answer within {} s", CALL_MAX.as_secs())]
    NoAnswer {
        /// Which call.
        call: &'static str,
    },
    /// The connection failed.
    #[error("{call}: connection lost: {reason}")]
    Lost {
        /// Which call.
        call: &'static str,
        /// Why.
        reason: String,
    },
    /// The engine said no.
    #[error("{call}: the engine refused: {reason}")]
    Refused {
        /// Which call.
        call: &'static str,
        /// In its words.
        reason: String,
    },
    /// Told to withdraw, the engine still lists paths of ours.
    #[error("{0} of our paths are still at the engine")]
    NotWithdrawn(usize),
}

impl Error {
    pub(super) fn of(call: &'static str, status: &Status) -> Error {
        // What the engine answers has no source; what befalls the connection has.
        let lost = status.source().is_some() || matches!(status.code(), Code::Unavailable | Code::Cancelled);
        match lost {
            true => Error::Lost { call, reason: innermost(status) },
            false => Error::Refused { call, reason: status.message().to_owned() },
        }
    }
}

/// The first cause: the outer errors only say "transport error".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

async fn within<T>(step: Step, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Error> {
    let call = step.name();
    crash::point(step, When::Before);
    let answer = tokio::time::timeout(CALL_MAX, answer).await.map_err(|_| Error::NoAnswer { call })?;
    crash::point(step, When::After);
    answer.map_err(|status| Error::of(call, &status))
}

/// A connection to an engine that has started.
pub(super) struct Client(GobgpApiClient<Channel>);

impl Client {
    /// Connects, and says which AS and router id the engine has.
    pub(super) async fn connect(address: &str) -> Result<(Client, (u32, String)), Error> {
        if !address.starts_with("unix:///") && !address.starts_with("http://") {
            return Err(Error::Address(address.to_owned()));
        }
        let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|_| Error::Address(address.to_owned()))?;
        let connected = tokio::time::timeout(CALL_MAX, endpoint.connect()).await;
        let channel = connected
            .map_err(|_| Error::NoAnswer { call: "connect" })?
            .map_err(|error| Error::Connect { address: address.to_owned(), reason: innermost(&error) })?;
        let mut client = Client(GobgpApiClient::new(channel));
        let speaker = client.speaker().await?;
        Ok((client, speaker))
    }

    async fn speaker(&mut self) -> Result<(u32, String), Error> {
        let answer = within(Step::GetBgp, self.0.get_bgp(gobgp::GetBgpRequest {})).await?;
        match answer.into_inner().global {
            Some(global) if global.asn != 0 => Ok((global.asn, global.router_id)),
            _ => Err(Error::NotStarted),
        }
    }

    pub(super) async fn add(&mut self, announcement: &Announcement) -> Result<(), Error> {
        within(Step::AddPath, self.0.add_path(announcement.to_request())).await.map(drop)
    }

    pub(super) async fn delete(&mut self, key: &Key) -> Result<(), Error> {
        within(Step::DeletePath, self.0.delete_path(key.to_withdrawal())).await.map(drop)
    }

    /// Everything that carries the mark.
    pub(super) async fn list(&mut self, engine: &Engine) -> Result<Held, Error> {
        let mut held = Held::new();
        for table in Table::ours(engine) {
            let request = gobgp::ListPathRequest {
                table_type: gobgp::TableType::Global.into(),
                family: Some(table.to_family()),
                enable_only_binary: true,
            };
            let mut listed = within(Step::ListPath, self.0.list_path(request)).await?.into_inner();
            while let Some(answer) = within(Step::ListPath, listed.message()).await? {
                let paths = answer.destination.unwrap_or_default().paths;
                let ours = paths.into_iter().filter_map(|path| Announcement::from_listed(path, table, engine.mark));
                held.extend(ours.map(Announcement::into_parts));
            }
        }
        Ok(held)
    }

    /// Peers by address.
    pub(super) async fn peers(&mut self) -> Result<Vec<Peer>, Error> {
        let request = gobgp::ListPeerRequest { enable_advertised: true };
        let mut listed = within(Step::ListPeer, self.0.list_peer(request)).await?.into_inner();
        let mut peers = Vec::new();
        while let Some(answer) = within(Step::ListPeer, listed.message()).await? {
            peers.extend(answer.peer.map(peer));
        }
        peers.sort_unstable_by(|one, other| one.address.cmp(&other.address));
        Ok(peers)
    }

    /// A message at once, one for each change of a peer's state, and the end as soon as the engine is gone.
    pub(super) async fn watch_peers(&mut self) -> Result<Streaming<gobgp::WatchEventResponse>, Error> {
        let request = gobgp::WatchEventRequest { peer: Some(gobgp::watch_event_request::Peer {}) };
        within(Step::WatchEvent, self.0.watch_event(request)).await.map(tonic::Response::into_inner)
    }
}

/// A dynamic neighbour has its address in its state alone.
pub(super) fn peer_address(peer: &gobgp::Peer) -> String {
    let configured = peer.conf.iter().map(|conf| &conf.neighbor_address);
    let dynamic = peer.state.iter().map(|state| &state.neighbor_address);
    configured.chain(dynamic).find(|address| !address.is_empty()).cloned().unwrap_or_default()
}

fn peer(peer: gobgp::Peer) -> Peer {
    let address = peer_address(&peer);
    let session = peer.state.unwrap_or_default();
    let times = peer.timers.unwrap_or_default().state.unwrap_or_default();
    let (state, since) = match session.session_state() {
        SessionState::Established => ("established", times.uptime),
        SessionState::Openconfirm => ("openconfirm", times.downtime),
        SessionState::Opensent => ("opensent", times.downtime),
        SessionState::Active => ("active", times.downtime),
        SessionState::Connect => ("connect", times.downtime),
        SessionState::Idle => ("idle", times.downtime),
        SessionState::Unknown => ("unknown", times.downtime),
    };
    let seconds = since.and_then(|since| u64::try_from(since.seconds).ok()).filter(|seconds| *seconds > 0);
    let received = session.messages.as_ref().and_then(|messages| messages.received.as_ref());
    let tables: Vec<gobgp::AfiSafiState> = peer.afi_safis.into_iter().filter_map(|table| table.state).collect();
    Peer {
        address,
        state,
        since: seconds.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))),
        asn: session.peer_asn,
        families: tables.iter().filter_map(|table| Table::name_of(table.family.as_ref()?)).collect(),
        advertised: tables.iter().map(|table| table.advertised).sum(),
        falls: session.flops,
        notifications: received.map_or(0, |received| received.notification),
    }
}
