//! Levee's gRPC interface, generated from `levee.proto`.

/// Levee's own interface.
#[allow(missing_docs)]
pub mod v1 {
    tonic::include_proto!("levee.v1");
}
