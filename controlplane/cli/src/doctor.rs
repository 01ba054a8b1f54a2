//! `leveectl doctor`: has `leveed doctor` look, which knows the outside systems and needs no daemon that runs.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process;

use anyhow::{Result, anyhow};
use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// MITIGATOR: nodes, certificates, log-in, version, policies, switches, and what would be switched for a host.
    Mitigator(Mitigator),
}

#[derive(Args)]
pub(crate) struct Mitigator {
    /// The daemon's configuration.
    #[arg(long, value_name = "FILE", default_value = "/etc/levee/levee.toml")]
    config: PathBuf,
    /// For this host; otherwise for the first of the protected ones.
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// For an attack of this class: tcp_syn, tcp, udp, icmp, fragments, other, by_hand; otherwise for each.
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
}

/// Becomes `leveed doctor`. Comes back only where that cannot be started.
pub(crate) fn run(command: &Command, json: bool) -> Result<()> {
    let Command::Mitigator(Mitigator { config, host, class }) = command;
    let mut leveed = process::Command::new(leveed());
    leveed.args(["doctor", "mitigator"]).arg(config);
    for (key, value) in [("--host", host), ("--class", class)] {
        leveed.args(value.iter().flat_map(|value| [key, value.as_str()]));
    }
    if json {
        leveed.arg("--json");
    }
    let error = leveed.exec();
    Err(anyhow!("cannot run {}: {error}", leveed.get_program().display()))
}

/// The daemon that was installed with this client, or else whichever there is.
fn leveed() -> OsString {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("leveed"));
    beside.filter(|path| path.is_file()).map_or_else(|| "leveed".into(), PathBuf::into_os_string)
}
