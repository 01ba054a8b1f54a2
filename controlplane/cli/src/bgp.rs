//! `leveectl bgp` and `leveectl withdraw-all`: what engines hold, and how all of it is taken out, also where no daemon runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use proto::v1;

use crate::client::{self, Client};
use crate::{now_ms, show, tables};

/// How long engines may take to give up everything.
const WITHDRAWN_BY: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Engines, their sessions, and what each holds.
pub(crate) async fn engines(mut client: Client, json: bool) -> Result<()> {
    let engines = list(&mut client).await?;
    show(json, &engines, |engines| tables::bgp::engines(engines, now_ms()))
}

async fn list(client: &mut Client) -> Result<v1::ListEnginesResponse> {
    Ok(client.list_engines(v1::ListEnginesRequest {}).await.map_err(client::refused)?.into_inner())
}

/// Has the daemon take everything out, and waits until engines have. Without a daemon, `leveed` does it by the configuration.
pub(crate) async fn withdraw_all(socket: &Path, config: PathBuf, reason: String, json: bool) -> Result<()> {
    let mut client = match client::connect(socket).await {
        Ok(client) => client,
        Err(error) if client::is_down(socket) => {
            eprintln!("leveectl: {error:#}; asking the engines directly");
            return without_daemon(&config, &reason);
        }
        Err(error) => return Err(error),
    };
    let request = v1::WithdrawAllRequest { reason };
    let answer = client.withdraw_all(request).await.map_err(client::refused)?.into_inner();
    let deadline = Instant::now() + WITHDRAWN_BY;
    let left = loop {
        let engines = list(&mut client).await?.engines;
        let left: Vec<String> = engines.iter().filter_map(left).collect();
        if left.is_empty() || Instant::now() > deadline {
            break left;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    show(json, &answer, |answer| tables::bgp::paused(&answer.pause.clone().unwrap_or_default(), now_ms()))?;
    if left.is_empty() { Ok(()) } else { bail!("not done: {}", left.join("; ")) }
}

/// What an engine still has, or may have.
fn left(engine: &v1::Engine) -> Option<String> {
    match (engine.connected, engine.held) {
        (true, 0) => None,
        (true, held) => Some(format!("engine {} still has {held} routes", engine.name)),
        (false, _) => Some(format!("engine {} cannot be asked: {}", engine.name, engine.error)),
    }
}

fn without_daemon(config: &Path, reason: &str) -> Result<()> {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name("leveed")).filter(|path| path.exists());
    let leveed = beside.unwrap_or_else(|| "leveed".into());
    let mut command = Command::new(&leveed);
    command.arg("withdraw-all").arg(config).args(["--reason", reason]);
    let status = command.status().with_context(|| format!("cannot run {}", leveed.display()))?;
    if status.success() { Ok(()) } else { bail!("{} failed", leveed.display()) }
}
