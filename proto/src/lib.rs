//! The gRPC interfaces that Levee has to do with, generated from the `.proto` files.

pub mod json;

/// Levee's own interface.
#[allow(missing_docs)]
pub mod v1 {
    tonic::include_proto!("levee.v1");
}

/// The part of GoBGP's interface that Levee speaks, as of GoBGP v3.10.0.
#[allow(missing_docs)]
pub mod gobgp {
    tonic::include_proto!("apipb");
}
