//! `leveed replay`: the whole detector over capture files, by the files' own time stamps. The control thread's code is the
//! daemon's, and so is the pipeline; there is no device, no engine, no state and no socket. Reads files; prints nothing itself.

mod busiest;
mod pace;
mod player;
mod report;
mod setup;
mod sources;
mod text;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::capture_file;
use crate::config::{self, Config, Diagnostics};
use pace::{Moment, Pace};
use player::Player;
pub use report::Report;
pub use setup::Threshold;
use sources::Sources;

/// Cut frames with fewer bytes may lack their ports.
const HEADERS_MIN: usize = 64;
/// How far it is is said this often.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);
/// The clock is looked at after so many packets.
const PROGRESS_PACKETS: u64 = 4096;

/// What to replay.
#[derive(clap::Args, Clone, Debug)]
pub struct Replay {
    /// Capture files, pcap or pcapng; of several the packets are taken in the order of their time stamps.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The daemon's configuration: networks, groups, thresholds, all of [detection], [whitelist] and [miner].
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Without a configuration: a network to protect, more than once for several. Without any: the one to which most packets go.
    #[arg(long = "network", value_name = "PREFIX", conflicts_with = "config", value_parser = setup::network)]
    pub networks: Vec<IpNet>,
    /// Without a configuration: a threshold in both directions, such as udp_pps=10000, in place of the default. More than once for several.
    #[arg(long = "threshold", value_name = "NAME=VALUE", conflicts_with = "config", value_parser = setup::threshold)]
    pub thresholds: Vec<Threshold>,
    /// Prints JSON.
    #[arg(long)]
    pub json: bool,
    /// Says on standard error how far it is, once a second.
    #[arg(long)]
    pub progress: bool,
}

/// Why there was no replay.
#[allow(missing_docs, reason = "the messages say it")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: capture_file::Error },
    #[error("{0}")]
    Config(#[from] Diagnostics),
    #[error("{} is no file that can be read twice: say by --network or --config what is protected", .0.display())]
    Once(PathBuf),
    #[error("no packet of these files is IP over a known link: nothing to replay")]
    Nothing,
    #[error("networks: {0}")]
    Networks(#[from] dataplane::networks::Error),
    #[error("{0}")]
    Dataplane(#[from] dataplane::Error),
}

/// What is counted beside what the pipeline counts.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    packets: u64,
    /// Frames of which too little was kept.
    short: u64,
}

/// Replays files. `progress` is told once in a while how many packets were played, and to which time of the files.
///
/// # Errors
/// When a file cannot be read or is no capture, or the configuration is wrong.
pub fn replay(arguments: &Replay, progress: impl FnMut(u64, f64)) -> Result<Report, Error> {
    let (config, choice) = configuration(arguments)?;
    let mut sources = Sources::open(&arguments.files)?;
    let (mut pace, mut counted) = (Pace::default(), Counted::default());
    let mut player = None;
    let (start, end) = play(&mut sources, &mut pace, &mut counted, &config, &mut player, progress)?;
    let mut player = match player {
        Some(player) => player,
        None => Player::new(&config, start)?,
    };
    let attacks = player.end();
    Ok(Report::new(report::Replayed {
        files: sources.read(),
        start,
        end,
        odd: pace.odd,
        packets: counted.packets,
        short: counted.short,
        choice,
        config: &config,
        player: &player,
        attacks,
    }))
}

/// Plays all packets; gives the first and the last moment.
fn play(
    sources: &mut Sources,
    pace: &mut Pace,
    counted: &mut Counted,
    config: &Config,
    player: &mut Option<Player>,
    mut progress: impl FnMut(u64, f64),
) -> Result<(Moment, Moment), Error> {
    let (mut start, mut end, mut scratch) = (None, Moment::default(), Vec::new());
    let mut told = Instant::now();
    while let Some((time_us, frame)) = sources.next()? {
        end = pace.at(time_us);
        let player = match player {
            Some(player) => player,
            None => player.insert(Player::new(config, *start.insert(end))?),
        };
        counted.packets += 1;
        counted.short += u64::from(frame.data.len() < HEADERS_MIN.min(frame.length as usize));
        let (data, length) = frame.as_ethernet(&mut scratch);
        player.play(end, data, length);
        if counted.packets.is_multiple_of(PROGRESS_PACKETS) && told.elapsed() >= PROGRESS_PERIOD {
            told = Instant::now();
            progress(counted.packets, end.mono_us as f64 / 1e6);
        }
    }
    Ok((start.unwrap_or_default(), end))
}

/// What holds, and in words how that was chosen.
fn configuration(arguments: &Replay) -> Result<(Config, String), Error> {
    if let Some(path) = &arguments.config {
        return Ok((config::load(path)?, path.display().to_string()));
    }
    let (networks, choice) = match &arguments.networks[..] {
        [] => {
            if let Some(path) = arguments.files.iter().find(|path| path.exists() && !path.is_file()) {
                return Err(Error::Once(path.clone()));
            }
            let (network, share) = setup::busiest(&arguments.files)?.ok_or(Error::Nothing)?;
            let share = share * 100.0;
            let choice =
                format!("{network}, to which {share:.1} % of the packets go; --network or --config says otherwise");
            (vec![network], choice)
        }
        networks => (networks.to_vec(), "--network".to_owned()),
    };
    Ok((setup::config(&networks, &arguments.thresholds)?, choice))
}
