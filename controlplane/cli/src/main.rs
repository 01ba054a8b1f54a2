//! `leveectl`, the client of `leveed`: arguments in, one call, a table or JSON out. Exit status 0, 1 for what failed, 2
//! for wrong usage.

mod bgp;
mod client;
mod config;
mod doctor;
mod json;
mod tables;
mod units;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use proto::v1;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use client::Client;

/// Watches and steers leveed.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The daemon's socket.
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/levee/levee.sock")]
    socket: PathBuf,
    /// JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Ports, workers, engines, and what needs attention.
    Status(Status),
    /// All traffic, and that of each network.
    Totals,
    /// The busiest hosts.
    Hosts(Hosts),
    /// Host groups as they are in force, with what they inherit.
    Groups {
        /// Only this one.
        name: Option<String>,
    },
    /// Attacks, newest first; or one in full.
    Attacks(Attacks),
    /// Rules that are wanted, and who holds them; or a rule by hand.
    Rules {
        #[command(subcommand)]
        command: Option<Rules>,
    },
    /// Opens an attack on a host by hand.
    Ban(Ban),
    /// Ends every attack on a host and withdraws its rules.
    Unban(Unban),
    /// Nothing is announced, withdrawn or called from now on: outside systems stay exactly as they are. All else goes on.
    Pause(Pause),
    /// BGP engines: their sessions, the rules that each holds, what it refuses.
    Bgp,
    /// Takes everything of ours out of all engines, and keeps it so until `leveectl resume`; works also while leveed is down.
    WithdrawAll {
        /// The configuration that names the engines, where leveed is down.
        #[arg(long, value_name = "FILE", default_value = "/etc/levee/levee.toml")]
        config: PathBuf,
        /// Why, for the record.
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Actions go on: outside systems are made equal to what is wanted by then.
    Resume {
        /// Why, for the record.
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// What persons did, newest first: bans, rules, pauses, and who.
    Audit {
        /// Most lines shown, up to 1000.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// What happens from now on, one line an event, until interrupted.
    Events,
    /// The configuration: shows it, reloads its file, changes single keys.
    Config {
        #[command(subcommand)]
        command: config::Command,
    },
    /// Looks at an outside system as the daemon would use it, and changes nothing there. Needs no running daemon: it runs `leveed doctor`.
    Doctor {
        #[command(subcommand)]
        command: doctor::Command,
    },
    /// Changes what the daemon logs.
    LogLevel {
        /// error, warn, info, debug or trace, or a tracing filter.
        level: String,
    },
}

#[derive(Args)]
struct Status {
    /// Instead: why frames could not be parsed, how many, and a recent one of each kind in hex.
    #[arg(long)]
    unparsed: bool,
}

#[derive(Args)]
struct Hosts {
    /// Most hosts shown, up to 1000.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Which hosts come first.
    #[arg(long, value_enum, default_value_t = Order::Pps)]
    by: Order,
    /// Only hosts within this prefix.
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Order {
    Pps,
    Bps,
    IncomingPps,
    IncomingBps,
    OutgoingPps,
    OutgoingBps,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
struct Attacks {
    #[command(flatten)]
    listing: Listing,
    #[command(subcommand)]
    command: Option<AttacksCommand>,
}

#[derive(Args)]
struct Listing {
    /// Only attacks that are not over.
    #[arg(long)]
    alive: bool,
    /// Only attacks on this host, or in this prefix, or on a network around it.
    #[arg(long, value_name = "HOST", value_parser = host)]
    host: Option<String>,
    /// Only attacks that were not over before: "2026-11-21", "2026-11-21T21:00:00Z", or so long ago: "90m", "12h", "7d".
    #[arg(long, value_name = "TIME", value_parser = point)]
    since: Option<i64>,
    /// Only attacks that were detected before.
    #[arg(long, value_name = "TIME", value_parser = point)]
    until: Option<i64>,
    /// Only attacks of this kind, or of one of these: a metric (udp_pps), all of its traffic (udp), by_hand.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<String>,
    /// Most attacks shown, up to 1000.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// The next page of a listing, as it says at its end.
    #[arg(long, value_name = "PAGE", default_value = "", hide_default_value = true)]
    page: String,
}

#[derive(Subcommand)]
enum AttacksCommand {
    /// As without a command.
    List(Listing),
    /// One attack with its figures, times, rules and journal.
    Show {
        /// The attack's id, or its beginning.
        id: String,
    },
    /// The captured packets of one attack, as a capture file.
    Pcap {
        /// The attack's id, or its beginning.
        id: String,
        /// Where to; otherwise to standard output.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

#[derive(Args)]
struct Ban {
    /// The attacked (or attacking) host: an address, or a prefix as listings show it.
    #[arg(value_parser = host)]
    host: String,
    /// Which way the attack goes, seen from the protected network.
    #[arg(long, value_enum, default_value_t = Direction::Incoming)]
    direction: Direction,
    /// How long: "90s", "10m", "1h", "7d"; otherwise as for any attack.
    #[arg(long = "for", value_name = "TIME", value_parser = length)]
    length: Option<u32>,
    /// The same in seconds.
    #[arg(long, value_name = "N", conflicts_with = "length", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    /// Why, for the record.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Direction {
    Incoming,
    Outgoing,
}

#[derive(Subcommand)]
enum Rules {
    /// As without a command.
    List,
    /// Wants a rule, in the JSON of docs/rules.md. It must filter traffic to, or from, a prefix within a protected network.
    Add {
        /// The rule itself, or a file that holds it, or "-" for standard input.
        #[arg(value_name = "JSON|FILE")]
        rule: String,
        /// How long: "90s", "10m", "1h", "7d"; otherwise until it is removed.
        #[arg(long = "for", value_name = "TIME", value_parser = length)]
        length: Option<u32>,
        /// Why, for the record.
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Takes a rule by hand back.
    Remove {
        /// Its id, or its attack's, or the beginning of either.
        id: String,
        /// Why, for the record.
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
}

#[derive(Args)]
struct Pause {
    /// How long: "90s", "10m", "1h"; otherwise until `leveectl resume`.
    #[arg(long = "for", value_name = "TIME", value_parser = length)]
    length: Option<u32>,
    /// Why, for the record.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Args)]
struct Unban {
    /// The host: an address, or a prefix as listings show it.
    #[arg(value_parser = host)]
    host: String,
    /// Why, for the record.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

/// An address, perhaps with a prefix length. Whether that is one host is the daemon's to say.
fn host(text: &str) -> Result<String, std::net::AddrParseError> {
    let address = text.split('/').next().unwrap_or_default();
    address.parse::<IpAddr>().map(|_| text.to_owned())
}

/// A point in time, or how long ago it was, in milliseconds since 1970.
fn point(text: &str) -> Result<i64, String> {
    units::point(text, now_ms()).ok_or_else(|| {
        "write \"2026-11-21\" or \"2026-11-21T21:00:00Z\" (UTC), or so long ago: \"90m\", \"12h\", \"7d\"".to_owned()
    })
}

/// A length of time, in seconds.
fn length(text: &str) -> Result<u32, String> {
    units::length(text)
        .filter(|&seconds| seconds > 0)
        .ok_or_else(|| "write \"90s\", \"10m\", \"1h\" or \"7d\"".to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has seen enough, as with `leveectl events | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leveectl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn run(cli: Cli) -> Result<()> {
    let json = cli.json;
    if let Command::WithdrawAll { config, reason } = cli.command {
        return bgp::withdraw_all(&cli.socket, config, reason, json).await;
    }
    if let Command::Doctor { command } = &cli.command {
        return doctor::run(command, json);
    }
    let mut client = client::connect(&cli.socket).await?;
    match cli.command {
        Command::WithdrawAll { config, reason } => bgp::withdraw_all(&cli.socket, config, reason, json).await,
        Command::Bgp => bgp::engines(client, json).await,
        Command::Status(Status { unparsed }) => {
            let status = client.get_status(v1::GetStatusRequest {}).await.map_err(client::refused)?.into_inner();
            match unparsed {
                true if json => {
                    print(&format!("{:#}\n", json::shape(&serde_json::json!({ "unparsed": status.unparsed }))?))
                }
                true => print(&tables::unparsed(&status, now_ms())),
                false => show(json, &status, |status| tables::status(status, now_ms())),
            }
        }
        Command::Totals => {
            let totals = client.get_totals(v1::GetTotalsRequest {}).await.map_err(client::refused)?.into_inner();
            show(json, &totals, tables::totals)
        }
        Command::Hosts(args) => hosts(client, args, json).await,
        Command::Groups { name } => groups(client, name, json).await,
        Command::Attacks(Attacks { command, listing }) => match command {
            None => attacks(client, listing, json).await,
            Some(AttacksCommand::List(listing)) => attacks(client, listing, json).await,
            Some(AttacksCommand::Show { id }) => {
                let attack = one_attack(&mut client, &id).await?;
                show(json, &attack, |attack| tables::attack(attack, now_ms()))
            }
            Some(AttacksCommand::Pcap { id, file }) => sample(client, &id, file).await,
        },
        Command::Rules { command } => rules(client, command.unwrap_or(Rules::List), json).await,
        Command::Ban(args) => ban(client, args, json).await,
        Command::Unban(args) => unban(client, args, json).await,
        Command::Pause(Pause { length, reason }) => {
            let request = v1::PauseRequest { seconds: length.unwrap_or(0).into(), reason };
            let answer = client.pause(request).await.map_err(client::refused)?.into_inner();
            show(json, &answer, |answer| tables::bgp::paused(&answer.pause.clone().unwrap_or_default(), now_ms()))
        }
        Command::Resume { reason } => {
            let answer = client.resume(v1::ResumeRequest { reason }).await.map_err(client::refused)?.into_inner();
            show(json, &answer, |answer| tables::bgp::resumed(&answer.pause.clone().unwrap_or_default(), now_ms()))
        }
        Command::Audit { limit } => {
            let acts = client.list_acts(v1::ListActsRequest { limit }).await.map_err(client::refused)?.into_inner();
            show(json, &acts, |acts| tables::acts(&acts.acts))
        }
        Command::Events => events(client, json).await,
        Command::Config { command } => config::run(client, command, json).await,
        Command::Doctor { command } => doctor::run(&command, json),
        Command::LogLevel { level } => {
            let request = v1::SetLogLevelRequest { level: level.clone() };
            let answer = client.set_log_level(request).await.map_err(client::refused)?.into_inner();
            show(json, &answer, |answer| format!("log level: {level} (was {})\n", answer.previous))
        }
    }
}

async fn hosts(mut client: Client, args: Hosts, json: bool) -> Result<()> {
    let order = match args.by {
        Order::Pps => v1::HostOrder::Pps,
        Order::Bps => v1::HostOrder::Bps,
        Order::IncomingPps => v1::HostOrder::IncomingPps,
        Order::IncomingBps => v1::HostOrder::IncomingBps,
        Order::OutgoingPps => v1::HostOrder::OutgoingPps,
        Order::OutgoingBps => v1::HostOrder::OutgoingBps,
    };
    let request = v1::ListHostsRequest { limit: args.limit, order: order.into(), prefix: args.prefix };
    let hosts = client.list_hosts(request).await.map_err(client::refused)?.into_inner();
    show(json, &hosts, tables::hosts)
}

async fn attacks(mut client: Client, listing: Listing, json: bool) -> Result<()> {
    let request = v1::ListAttacksRequest {
        alive_only: listing.alive,
        limit: listing.limit,
        id: String::new(),
        host: listing.host.unwrap_or_default(),
        since_ms: listing.since.unwrap_or(0),
        until_ms: listing.until.unwrap_or(0),
        kinds: listing.kind,
        page: listing.page,
    };
    let attacks = client.list_attacks(request).await.map_err(client::refused)?.into_inner();
    if !attacks.incomplete.is_empty() {
        eprintln!("leveectl: older attacks may be missing: {}", attacks.incomplete);
    }
    show(json, &attacks, |attacks| tables::attacks(attacks, now_ms()))
}

async fn groups(mut client: Client, name: Option<String>, json: bool) -> Result<()> {
    let mut groups = client.list_groups(v1::ListGroupsRequest {}).await.map_err(client::refused)?.into_inner();
    if let Some(name) = name {
        groups.groups.retain(|group| group.name == name);
        if groups.groups.is_empty() {
            bail!("no group {name}; `leveectl groups` lists them");
        }
    }
    show(json, &groups, tables::groups)
}

async fn one_attack(client: &mut Client, id: &str) -> Result<v1::Attack> {
    let request = v1::ListAttacksRequest { id: id.to_owned(), ..v1::ListAttacksRequest::default() };
    let mut found = client.list_attacks(request).await.map_err(client::refused)?.into_inner();
    match (found.attacks.len(), found.attacks.pop()) {
        (1, Some(attack)) => Ok(attack),
        (0, _) if !found.incomplete.is_empty() => bail!("no attack {id} at hand, and {}", found.incomplete),
        (0, _) => bail!("no attack {id}; `leveectl attacks` lists them"),
        (many, _) => bail!("{many} attacks begin with {id}: give more of the id"),
    }
}

async fn sample(mut client: Client, id: &str, file: Option<PathBuf>) -> Result<()> {
    if file.is_none() && io::stdout().is_terminal() {
        bail!("a capture file is nothing for a terminal: name a FILE, or pipe it, as in `| tshark -r -`");
    }
    let attack_id = one_attack(&mut client, id).await?.id;
    let request = v1::GetSampleRequest { attack_id };
    let sample = client.get_sample(request).await.map_err(client::refused)?.into_inner();
    match file {
        Some(file) => fs::write(&file, &sample.pcap).with_context(|| format!("cannot write {}", file.display())),
        None => Ok(io::stdout().lock().write_all(&sample.pcap)?),
    }
}

async fn ban(mut client: Client, args: Ban, json: bool) -> Result<()> {
    let direction = match args.direction {
        Direction::Incoming => v1::Direction::Incoming,
        Direction::Outgoing => v1::Direction::Outgoing,
    };
    let Ban { host, length, seconds, reason, .. } = args;
    let seconds = length.or(seconds).unwrap_or(0);
    let request = v1::BanRequest { host, direction: direction.into(), seconds, reason };
    let answer = client.ban(request).await.map_err(client::refused)?.into_inner();
    show(json, &answer, |answer| format!("{} is banned: attack {}\n", answer.host, answer.attack_id))
}

async fn rules(mut client: Client, command: Rules, json: bool) -> Result<()> {
    match command {
        Rules::List => {
            let rules = client.list_rules(v1::ListRulesRequest {}).await.map_err(client::refused)?.into_inner();
            show(json, &rules, |rules| tables::rules(&rules.rules, now_ms()))
        }
        Rules::Add { rule, length, reason } => {
            let flow_spec_json = match rule.trim_start() {
                "-" => io::read_to_string(io::stdin()).context("cannot read standard input")?,
                json if json.starts_with('{') => rule,
                file => fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?,
            };
            let request = v1::AddRuleRequest { flow_spec_json, seconds: length.unwrap_or(0).into(), reason };
            let answer = client.add_rule(request).await.map_err(client::refused)?.into_inner();
            show(json, &answer, |answer| tables::added(&answer.rule.clone().unwrap_or_default()))
        }
        Rules::Remove { id, reason } => {
            let request = v1::RemoveRuleRequest { id, reason };
            let answer = client.remove_rule(request).await.map_err(client::refused)?.into_inner();
            show(json, &answer, |answer| format!("removed: {}\n", answer.text))
        }
    }
}

async fn unban(mut client: Client, args: Unban, json: bool) -> Result<()> {
    let request = v1::UnbanRequest { host: args.host, reason: args.reason };
    let answer = client.unban(request).await.map_err(client::refused)?.into_inner();
    show(json, &answer, |answer| match answer.attack_ids.len() {
        0 => format!("there is no attack on {}\n", answer.host),
        _ => format!("{} is unbanned: ended {}\n", answer.host, answer.attack_ids.join(", ")),
    })
}

async fn events(mut client: Client, json: bool) -> Result<()> {
    // Before the first event, so that an interrupt at any time is an orderly end.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for an interrupt")?;
    let mut events = client.watch_events(v1::WatchEventsRequest {}).await.map_err(client::refused)?.into_inner();
    loop {
        let event = tokio::select! {
            event = events.message() => event.map_err(client::refused)?,
            _ = interrupt.recv() => return Ok(()),
        };
        let Some(event) = event else { bail!("leveed ended the stream of events") };
        match json {
            true => print(&format!("{}\n", json::shape(&event)?))?,
            false => print(&tables::event(&event))?,
        }
    }
}

/// Prints an answer as JSON or as what `table` makes of it.
fn show<T: Serialize>(json: bool, answer: &T, table: impl FnOnce(&T) -> String) -> Result<()> {
    match json {
        true => print(&format!("{:#}\n", json::shape(answer)?)),
        false => print(&table(answer)),
    }
}

fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64)
}
