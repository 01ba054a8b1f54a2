//! `leveed doctor`: from the command line to what looks at an outside system.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use controlplane::actions::mitigator::doctor::{Example, examine};
use controlplane::actions::mitigator::settings::Class;
use controlplane::config::{self, Config};

use crate::BadConfig;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// MITIGATOR: nodes, certificates, log-in, version, policies, switches, and what would be switched for a host.
    Mitigator(Mitigator),
}

#[derive(Args)]
pub(crate) struct Mitigator {
    /// The configuration.
    #[arg(default_value = "/etc/levee/levee.toml")]
    config: PathBuf,
    /// For this host; otherwise for the first of the protected ones.
    #[arg(long, value_name = "ADDRESS")]
    host: Option<IpAddr>,
    /// For an attack of this class: tcp_syn, tcp, udp, icmp, fragments, other, by_hand; otherwise for each.
    #[arg(long, value_name = "CLASS", value_parser = class)]
    class: Option<Class>,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

fn class(text: &str) -> Result<Class, String> {
    let known = Class::ALL.map(Class::name);
    let class = Class::ALL.into_iter().find(|class| class.name() == text);
    class.ok_or_else(|| config::suggestion(text, &known))
}

pub(crate) fn run(command: &Command) -> anyhow::Result<()> {
    let Command::Mitigator(arguments) = command;
    let config = config::load(&arguments.config).map_err(|findings| BadConfig(findings.to_string()))?;
    let Some(settings) = &config.mitigator else {
        bail!("{} has no section [mitigator]", arguments.config.display());
    };
    let example = example(arguments, &config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let findings = runtime.block_on(examine(settings, &example));
    let text = match arguments.json {
        true => format!("{}\n", serde_json::to_string_pretty(&findings)?),
        false => findings.to_string(),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever reads it has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    if findings.is_good() { Ok(()) } else { bail!("MITIGATOR cannot be used as it is configured: see what is BAD") }
}

fn example(arguments: &Mitigator, config: &Config) -> anyhow::Result<Example> {
    let first = || config.networks.first().and_then(|network| network.hosts().next());
    let host = arguments.host.or_else(first).context("no host to ask for: give --host")?;
    Ok(Example {
        host,
        ipv6_prefix_length: config.tables.ipv6_prefix_length,
        group: config.group_of(host).name.to_string(),
        classes: arguments.class.map_or_else(|| Class::ALL.to_vec(), |class| vec![class]),
    })
}
