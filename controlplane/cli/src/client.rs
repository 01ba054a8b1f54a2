//! The connection to the daemon, and what to tell a person when there is none.

use std::error::Error;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow};
use proto::v1::levee_client::LeveeClient;
use tonic::transport::{Channel, Endpoint};

/// How long a daemon may take to accept a connection, and then to begin its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Room for a thousand attacks with all their rules.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The client of the daemon's API.
pub(crate) type Client = LeveeClient<Channel>;

/// Connects to the daemon that listens at `socket`.
pub(crate) async fn connect(socket: &Path) -> Result<Client> {
    let endpoint =
        Endpoint::from_shared(format!("unix:{}", socket.display()))?.connect_timeout(TIMEOUT).timeout(TIMEOUT);
    match endpoint.connect().await {
        Ok(channel) => Ok(LeveeClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)),
        Err(error) => Err(unreachable(socket, &error)),
    }
}

/// Whether nobody listens at the socket: then no daemon runs.
pub(crate) fn is_down(socket: &Path) -> bool {
    let kind = std::os::unix::net::UnixStream::connect(socket).err().map(|error| error.kind());
    matches!(kind, Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
}

fn unreachable(socket: &Path, error: &tonic::transport::Error) -> anyhow::Error {
    let cause = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    let advice = match cause.map(io::Error::kind) {
        Some(io::ErrorKind::NotFound) => "there is no such socket: is leveed running? another path: --socket PATH",
        Some(io::ErrorKind::ConnectionRefused) => "nobody listens there: leveed has stopped; start it again",
        Some(io::ErrorKind::PermissionDenied) => "permission denied: use sudo, or join the group that owns the socket",
        _ => return anyhow!("cannot reach leveed at {}: {}", socket.display(), root(error)),
    };
    anyhow!("cannot reach leveed at {}: {advice}", socket.display())
}

/// An error and what it came from, the last one being the root.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

fn root(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

/// What the daemon answered instead of doing what was asked.
pub(crate) fn refused(status: tonic::Status) -> anyhow::Error {
    match status.code() {
        tonic::Code::Unavailable => anyhow!("lost the connection to leveed: {}", status.message()),
        tonic::Code::Unknown if status.source().is_some() => {
            anyhow!("lost the connection to leveed: {}", root(&status))
        }
        tonic::Code::Cancelled | tonic::Code::DeadlineExceeded => {
            anyhow!("leveed did not answer within {} s: does it hang? see its log", TIMEOUT.as_secs())
        }
        tonic::Code::Unimplemented => anyhow!("this leveed is older than leveectl and does not know the command"),
        _ => anyhow!("{}", status.message()),
    }
}
