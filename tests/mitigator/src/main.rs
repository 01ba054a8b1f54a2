//! The stub by itself, for scripts and for trying Levee out: prints what it is asked, a line each in JSON.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use mitigator_stub::Stub;
use serde_json::json;

/// A MITIGATOR that is none.
#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Which version it says that it is.
    #[arg(long, default_value = "v21.04")]
    version: String,
    /// Where to write its certificate: what Levee has as ca_file.
    #[arg(long)]
    certificate: PathBuf,
    /// Where to write the password of its user "levee": what Levee has as password_file.
    #[arg(long)]
    password: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let listener = TcpListener::bind(arguments.listen).with_context(|| arguments.listen.to_string())?;
    let stub = Stub::start(listener, &arguments.version);
    std::fs::write(&arguments.password, format!("{}\n", mitigator_stub::PASSWORD)).context("the password")?;
    std::fs::write(&arguments.certificate, stub.pem()).context("the certificate")?;
    let mut shown = 0;
    loop {
        let requests = stub.state().requests[shown..].to_vec();
        shown += requests.len();
        for request in requests {
            // Not what a log-in says.
            let body = if request.method == "PUT" { request.body } else { String::new() };
            let line = json!({ "time_ms": request.time_ms, "method": request.method, "path": request.path, "body": body,
                               "status": request.status });
            writeln!(std::io::stdout(), "{line}")?;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
