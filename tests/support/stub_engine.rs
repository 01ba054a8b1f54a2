//! An engine of our own that says no when told to, which gobgpd hardly ever does. It announces nothing to anyone.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use proto::gobgp::gobgp_api_server::{GobgpApi, GobgpApiServer};
use proto::gobgp::{
    AddPathRequest, AddPathResponse, DeletePathRequest, GetBgpRequest, GetBgpResponse, Global, ListPathRequest,
    ListPathResponse, ListPeerRequest, ListPeerResponse, WatchEventRequest, WatchEventResponse,
};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

/// What it is told, from any thread.
#[derive(Default)]
pub(crate) struct Orders {
    /// 0 is an engine that has not started.
    pub(crate) asn: AtomicU32,
    /// Whether it refuses every IPv6 path.
    pub(crate) refuse_ipv6: AtomicBool,
}

/// A running stub, on a Unix socket.
pub(crate) struct StubEngine {
    pub(crate) orders: Arc<Orders>,
    _runtime: Runtime,
    dir: TempDir,
}

impl StubEngine {
    pub(crate) fn start() -> StubEngine {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = Runtime::new().expect("a runtime");
        let orders = Arc::new(Orders::default());
        let listener = runtime.block_on(async { UnixListener::bind(dir.path().join("api.sock")) }).expect("a socket");
        let service = GobgpApiServer::new(Stub(Arc::clone(&orders)));
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        StubEngine { orders, _runtime: runtime, dir }
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.dir.path().join("api.sock").display())
    }
}

struct Stub(Arc<Orders>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl GobgpApi for Stub {
    type WatchEventStream = Answers<WatchEventResponse>;
    type ListPeerStream = Answers<ListPeerResponse>;
    type ListPathStream = Answers<ListPathResponse>;

    async fn get_bgp(&self, _: Request<GetBgpRequest>) -> Result<Response<GetBgpResponse>, Status> {
        let global = Global { asn: self.0.asn.load(Ordering::SeqCst), ..Global::default() };
        Ok(Response::new(GetBgpResponse { global: Some(global) }))
    }

    async fn add_path(&self, request: Request<AddPathRequest>) -> Result<Response<AddPathResponse>, Status> {
        let family = request.into_inner().path.and_then(|path| path.family).unwrap_or_default();
        if family.afi == 2 && self.0.refuse_ipv6.load(Ordering::SeqCst) {
            return Err(Status::unknown("not today"));
        }
        Ok(Response::new(AddPathResponse {}))
    }

    async fn delete_path(&self, _: Request<DeletePathRequest>) -> Result<Response<()>, Status> {
        Ok(Response::new(()))
    }

    async fn list_path(&self, _: Request<ListPathRequest>) -> Result<Response<Self::ListPathStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }

    async fn list_peer(&self, _: Request<ListPeerRequest>) -> Result<Response<Self::ListPeerStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }

    async fn watch_event(&self, _: Request<WatchEventRequest>) -> Result<Response<Self::WatchEventStream>, Status> {
        let first = tokio_stream::once(Ok(WatchEventResponse::default()));
        Ok(Response::new(Box::pin(first.chain(tokio_stream::pending()))))
    }
}
