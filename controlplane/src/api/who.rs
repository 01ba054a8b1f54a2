//! Who a client is.

use tonic::transport::server::UdsConnectInfo;

/// Who asks, by the credentials of the other end of the socket.
pub(super) fn who<T>(request: &tonic::Request<T>) -> String {
    let credentials = request.extensions().get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
    let Some(uid) = credentials.map(|credentials| credentials.uid()) else { return "unknown".to_owned() };
    user(uid.into())
}

/// The name of a user.
pub fn user(uid: nix::unistd::Uid) -> String {
    match nix::unistd::User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}
