//! `leveectl config`: what runs, what the file says otherwise, and single keys, as users of `fcli` know it.

use anyhow::Result;
use clap::Subcommand;
use proto::v1;

use super::client::{self, Client};
use super::show;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// What runs: each key with its value, defaults and what groups inherit included.
    Show {
        /// Only this key and those below it, such as detection or groups.web.incoming.
        #[arg(default_value = "", hide_default_value = true)]
        key: String,
    },
    /// What would change: from what runs to the file on disk, and to what was set and not committed.
    Diff,
    /// Takes the file over, whole or not at all, as SIGHUP does.
    Reload,
    /// Sets a key of the candidate, which changes nothing before `commit`.
    Set {
        /// Such as detection.ban_time_s or groups.web.incoming.udp_pps.
        key: String,
        /// As in the file; a text needs no quotes, a list does: '["198.18.0.0/24"]'.
        value: String,
    },
    /// Takes a key, or a whole section, out of the candidate.
    Unset {
        /// Such as groups.web.incoming.udp_pps or groups.web.
        key: String,
    },
    /// Writes the candidate to the file, comments and order kept, and takes it over.
    Commit {
        /// Also where somebody edited the file since it was loaded; the edited one is kept as FILE.1.
        #[arg(long)]
        force: bool,
    },
    /// Drops the candidate; without one, goes back to the file that the last commit replaced.
    Rollback {
        /// Also where somebody edited the file since it was loaded.
        #[arg(long)]
        force: bool,
    },
}

pub(crate) async fn run(mut client: Client, command: Command, json: bool) -> Result<()> {
    match command {
        Command::Show { key } => {
            let answer = client.get_config(v1::GetConfigRequest { key }).await.map_err(client::refused)?.into_inner();
            show(json, &answer, keys)
        }
        Command::Diff => {
            let answer = client.diff_config(v1::DiffConfigRequest {}).await.map_err(client::refused)?.into_inner();
            show(json, &answer, diff)
        }
        Command::Reload => {
            let answer = client.reload_config(v1::ReloadConfigRequest {}).await.map_err(client::refused)?.into_inner();
            show(json, &answer, |answer| changed(&format!("{} is taken over", answer.file), answer))
        }
        Command::Set { key, value } => set(client, key, Some(value), json).await,
        Command::Unset { key } => set(client, key, None, json).await,
        Command::Commit { force } => {
            let request = v1::CommitConfigRequest { force };
            let answer = client.commit_config(request).await.map_err(client::refused)?.into_inner();
            show(json, &answer, |answer| changed(&format!("{} is written and taken over", answer.file), answer))
        }
        Command::Rollback { force } => {
            let request = v1::RollbackConfigRequest { force };
            let answer = client.rollback_config(request).await.map_err(client::refused)?.into_inner();
            show(json, &answer, rolled_back)
        }
    }
}

async fn set(mut client: Client, key: String, value: Option<String>, json: bool) -> Result<()> {
    let request = v1::SetConfigRequest { key, value };
    let answer = client.set_config(request).await.map_err(client::refused)?.into_inner();
    show(json, &answer, |answer| changed("set; `leveectl config commit` would change", answer))
}

fn rolled_back(answer: &v1::RollbackConfigResponse) -> String {
    match &answer.changed {
        _ if answer.candidate_dropped => "what was set is dropped; what runs is as before\n".to_owned(),
        Some(answer) => changed(&format!("{} is as before the last commit, and taken over", answer.file), answer),
        None => String::new(),
    }
}

fn keys(answer: &v1::GetConfigResponse) -> String {
    let line = |v1::ConfigKey { key, values, is_list }: &v1::ConfigKey| match is_list {
        true => format!("{key} = [{}]\n", values.join(", ")),
        false => format!("{key} = {}\n", values.join("")),
    };
    answer.keys.iter().map(line).collect()
}

fn changed(what: &str, answer: &v1::ConfigChanged) -> String {
    let mut text = match answer.changes.is_empty() {
        true => format!("{what}: no key says anything else\n"),
        false => format!("{what}:\n{}", changes(&answer.changes)),
    };
    text.extend(answer.notes.iter().map(|note| format!("note: {note}\n")));
    text
}

fn diff(answer: &v1::ConfigDiff) -> String {
    let mut text = part(&format!("from what runs to {}", answer.file), &answer.changes, &answer.wrong);
    if answer.steps.is_empty() {
        return text;
    }
    let mut who: Vec<&str> = answer.steps.iter().map(|step| step.by.as_str()).collect();
    who.sort_unstable();
    who.dedup();
    let title = format!("from what runs to the candidate, set by {}", who.join(", "));
    text += &part(&title, &answer.candidate_changes, &answer.candidate_wrong);
    text
}

fn part(title: &str, list: &[v1::ConfigChange], wrong: &str) -> String {
    match (wrong, list) {
        ("", []) => format!("{title}: nothing changes\n"),
        ("", list) => format!("{title}:\n{}", changes(list)),
        (wrong, _) => format!("{title}: {wrong}\n"),
    }
}

fn changes(list: &[v1::ConfigChange]) -> String {
    list.iter().map(change).collect()
}

fn change(change: &v1::ConfigChange) -> String {
    let v1::ConfigChange { key, old, new, restart } = change;
    let what = match (old, new) {
        (Some(old), Some(new)) => format!("{old} → {new}"),
        (None, Some(new)) => format!("+ {new}"),
        (Some(old), None) => format!("- {old}"),
        (None, None) => "as it is".to_owned(),
    };
    let restart = if restart.is_empty() { String::new() } else { format!("  (takes a restart: {restart})") };
    format!("  {key}: {what}{restart}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, old: Option<&str>, new: Option<&str>, restart: &str) -> v1::ConfigChange {
        let text = |text: Option<&str>| text.map(str::to_owned);
        v1::ConfigChange { key: key.into(), old: text(old), new: text(new), restart: restart.into() }
    }

    #[test]
    fn a_diff_says_key_by_key_what_changes() {
        let mut answer = v1::ConfigDiff {
            file: "/etc/levee/levee.toml".into(),
            changes: vec![
                of("networks", None, Some("\"198.18.5.0/24\""), ""),
                of("detection.ban_time_s", Some("60"), Some("30"), ""),
                of("groups.web.incoming.udp_pps", Some("5"), None, ""),
                of("dpdk.burst_max", Some("128"), Some("64"), "it is read at the start alone"),
            ],
            ..v1::ConfigDiff::default()
        };
        assert_eq!(
            diff(&answer),
            "from what runs to /etc/levee/levee.toml:\n  networks: + \"198.18.5.0/24\"\n  detection.ban_time_s: 60 → 30\n  \
             groups.web.incoming.udp_pps: - 5\n  dpdk.burst_max: 128 → 64  (takes a restart: it is read at the start alone)\n"
        );
        answer.changes.clear();
        let step = |by: &str| v1::ConfigStep { by: by.into(), ..v1::ConfigStep::default() };
        answer.steps = vec![step("root"), step("ann"), step("root")];
        answer.candidate_changes = vec![of("daemon.dry_run", Some("false"), Some("true"), "")];
        assert_eq!(
            diff(&answer),
            "from what runs to /etc/levee/levee.toml: nothing changes\nfrom what runs to the candidate, set by ann, root:\n  \
             daemon.dry_run: false → true\n"
        );
        answer.wrong = "the configuration is wrong".into();
        assert!(diff(&answer).starts_with("from what runs to /etc/levee/levee.toml: the configuration is wrong\n"));
    }

    #[test]
    fn keys_are_shown_as_a_file_has_them() {
        let key = |key: &str, values: &[&str], is_list| v1::ConfigKey {
            key: key.into(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            is_list,
        };
        let keys_of = vec![key("networks", &["\"a\"", "\"b\""], true), key("detection.ban_time_s", &["60"], false)];
        let answer = v1::GetConfigResponse { keys: keys_of, ..v1::GetConfigResponse::default() };
        assert_eq!(keys(&answer), "networks = [\"a\", \"b\"]\ndetection.ban_time_s = 60\n");
    }
}
