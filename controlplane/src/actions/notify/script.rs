//! Runs a program: in a process group of its own, without a shell, for a bounded time; its input is written and its output read as fast as
//! it goes, whatever it does. Knows nothing of attacks.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use dataplane::dpdk;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

/// All that a script finds in its environment.
const ENVIRONMENT: [(&str, &str); 2] =
    [("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8")];
/// Of its output so much is kept; the rest is read and dropped.
const OUTPUT_KEPT: usize = 4096;
/// Output that is still in the pipe when the program has ended is waited for so long: what it left running may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A killed program is gone within this, unless the kernel holds it.
const REAP: Duration = Duration::from_secs(5);
/// Of its output so many characters are shown beside a result.
const SHOWN_MAX: usize = 200;

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    Exited(i32),
    /// By a signal that was not ours.
    Killed(i32),
    /// It took longer than this, and was killed with all of its group.
    TimedOut(Duration),
    /// It could not be started.
    NotStarted(String),
}

/// What came of running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) ended: Ended,
    /// The beginning of what it wrote to standard output and standard error, in lines without control characters.
    pub(super) output: String,
    /// How much more it wrote.
    pub(super) dropped: u64,
}

impl Ran {
    pub(super) fn is_well(&self) -> bool {
        self.ended == Ended::Exited(0)
    }

    /// In one line.
    pub(super) fn in_words(&self) -> String {
        let how = match &self.ended {
            Ended::Exited(status) => format!("exit status {status}"),
            Ended::Killed(signal) => format!("killed by signal {signal}"),
            Ended::TimedOut(limit) => {
                format!("not done after {} s: killed, with all of its process group", limit.as_secs_f64())
            }
            Ended::NotStarted(why) => format!("cannot be started: {why}"),
        };
        let output = self.output.replace('\n', " / ");
        match output.char_indices().nth(SHOWN_MAX) {
            _ if output.is_empty() => how,
            Some((end, _)) => format!("{how}: {}…", &output[..end]),
            None => format!("{how}: {output}"),
        }
    }
}

/// Runs it to its end. Dropped before, it kills it.
pub(super) async fn run(path: &Path, arguments: &[String], input: String, limit: Duration) -> Ran {
    let mut output = Output::default();
    let ended = match start(path, arguments) {
        Ok(started) => attend(started, input, limit, &mut output).await,
        Err(error) => Ended::NotStarted(error.to_string()),
    };
    Ran { ended, output: output.shown(), dropped: output.dropped }
}

struct Started {
    child: Child,
    group: Group,
    stdin: Option<ChildStdin>,
    reader: pipe::Receiver,
}

fn start(path: &Path, arguments: &[String]) -> io::Result<Started> {
    let (reader, writer) = io::pipe()?;
    let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
    let mut command = Command::new(path);
    command.args(arguments).env_clear().envs(ENVIRONMENT).current_dir("/").process_group(0);
    command.stdin(Stdio::piped()).stderr(writer.try_clone()?).stdout(writer);
    // What Rust opens stays here by itself; what libraries opened is marked just before.
    dpdk::close_files_on_exec();
    // It holds the pipe's other end as long as it lives.
    let mut child = command.spawn()?;
    drop(command);
    if let Some(id) = child.id() {
        // The daemon is kept by the kernel when memory is short; what it starts is not. A process that is gone needs no file.
        let _ = fs::write(format!("/proc/{id}/oom_score_adj"), "0");
    }
    let group = Group(child.id().map(|id| Pid::from_raw(id as i32)));
    Ok(Started { stdin: child.stdin.take(), child, group, reader })
}

async fn attend(started: Started, input: String, limit: Duration, output: &mut Output) -> Ended {
    let Started { mut child, mut group, stdin, mut reader } = started;
    let ended = timeout(limit, async {
        let talk = async { tokio::join!(feed(stdin, input), output.read(&mut reader)) };
        tokio::pin!(talk);
        tokio::select! {
            status = child.wait() => {
                let _ = timeout(LAST_WORDS, talk).await;
                status
            }
            _ = &mut talk => child.wait().await,
        }
    });
    match ended.await {
        Ok(status) => {
            // What it left running on purpose is left alone.
            group.0 = None;
            status.map_or_else(|error| Ended::NotStarted(error.to_string()), how)
        }
        Err(_) => {
            drop(group);
            let _ = timeout(REAP, child.wait()).await;
            Ended::TimedOut(limit)
        }
    }
}

fn how(status: ExitStatus) -> Ended {
    match status.code() {
        Some(code) => Ended::Exited(code),
        None => Ended::Killed(status.signal().unwrap_or(0)),
    }
}

/// A process group that ends with this. Its first process is not waited for before, so the number is nobody else's.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        // It may be gone already.
        self.0.map(|id| killpg(id, Signal::SIGKILL));
    }
}

/// Writes the input as far as it is read.
async fn feed(stdin: Option<ChildStdin>, input: String) {
    let Some(mut stdin) = stdin else { return };
    // Whoever closes it does not want more.
    let _ = stdin.write_all(input.as_bytes()).await;
}

/// The beginning of what a program writes.
#[derive(Default)]
struct Output {
    kept: Vec<u8>,
    dropped: u64,
}

impl Output {
    async fn read(&mut self, reader: &mut pipe::Receiver) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            let keep = count.min(OUTPUT_KEPT - self.kept.len());
            self.kept.extend_from_slice(&buffer[..keep]);
            self.dropped += (count - keep) as u64;
        }
    }

    fn shown(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let clean = |line: &str| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        let lines: Vec<String> = text.lines().map(|line| clean(line).trim_end().to_owned()).collect();
        lines.join("\n").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    struct Shop(tempfile::TempDir);

    impl Shop {
        fn new() -> Shop {
            Shop(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.path(name)).unwrap_or_default()
        }

        /// A shell script of these lines, in whose way `$D` is this folder.
        fn script(&self, lines: &str) -> PathBuf {
            let path = self.path("script");
            // Written elsewhere and moved: a file that is open to be written cannot be run.
            let text = format!("#!/bin/sh\nD={}\n{lines}\n", self.0.path().display());
            fs::write(self.path("new"), text).unwrap();
            fs::set_permissions(self.path("new"), fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(self.path("new"), &path).unwrap();
            path
        }
    }

    fn run_on(path: &Path, arguments: &[&str], input: &str, limit: Duration) -> Ran {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        loop {
            let ran = runtime.block_on(run(path, &arguments, input.to_owned(), limit));
            // Another test of this process forked while the file was being written.
            if ran.ended != Ended::NotStarted("Text file busy (os error 26)".into()) {
                return ran;
            }
        }
    }

    #[test]
    fn arguments_and_input_arrive_as_they_are_and_output_and_status_come_back() {
        let shop = Shop::new();
        let path = shop.script("printf '%s|' \"$@\"; cat; echo error >&2; pwd; exit 3");
        let ran = run_on(&path, &["192.0.2.1", "$(id); `id` 'x\"", ""], "two\nlines\n", LONG);
        let output = "192.0.2.1|$(id); `id` 'x\"||two\nlines\nerror\n/";
        assert_eq!(ran, Ran { ended: Ended::Exited(3), output: output.into(), dropped: 0 });
        assert_eq!(ran.in_words(), "exit status 3: 192.0.2.1|$(id); `id` 'x\"||two / lines / error / /");
        assert!(!ran.is_well() && run_on(&shop.script("true"), &[], "", LONG).is_well());
    }

    #[test]
    fn it_finds_a_clean_place() {
        let shop = Shop::new();
        // A file of ours that a library left open for children.
        let open = fs::File::create(shop.path("open")).unwrap();
        nix::fcntl::fcntl(&open, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
        let path = shop.script(
            "env | cut -d= -f1 | sort | xargs; ls /proc/$$/fd | xargs; grep -E 'Sig(Blk|Ign)' /proc/self/status",
        );
        let ran = run_on(&path, &[], "", LONG);
        let lines: Vec<&str> = ran.output.lines().collect();
        // The shell itself has the script open, at 10 or above.
        let files: Vec<&str> = lines[1].split(' ').filter(|file| file.len() == 1).collect();
        assert_eq!((lines[0], files), ("LANG PATH PWD", vec!["0", "1", "2"]), "{ran:?}");
        assert!(lines[1].split(' ').count() <= 4, "{ran:?}");
        for line in &lines[2..] {
            // Two signals above 31 are the C library's own.
            let set = u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap();
            assert_eq!(set & 0x7fff_ffff, 0, "{line}");
        }
    }

    #[test]
    fn one_that_hangs_is_killed_with_its_children_and_theirs() {
        let shop = Shop::new();
        let lines = "export D\ntrap '' TERM INT HUP\n\
                     (sh -c 'echo $$ >$D/child; sleep 100 & echo $! >$D/grandchild; wait' &)\necho begun; sleep 100";
        let path = shop.script(lines);
        let started = Instant::now();
        let ran = run_on(&path, &[], "", Duration::from_millis(1_500));
        assert_eq!((&ran.ended, ran.output.as_str()), (&Ended::TimedOut(Duration::from_millis(1_500)), "begun"));
        assert!(started.elapsed() < Duration::from_secs(10) && ran.in_words().contains("not done after 1.5 s"));
        for name in ["child", "grandchild"] {
            let id = shop.read(name).trim().to_owned();
            assert!(!id.is_empty(), "{name} ran");
            let gone = || match fs::read_to_string(format!("/proc/{id}/stat")) {
                Ok(stat) => stat.contains(") Z "),
                Err(_) => true,
            };
            let deadline = Instant::now() + LONG;
            while !gone() {
                assert!(Instant::now() < deadline, "{name} {id} lives");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    #[test]
    fn one_that_does_not_read_or_closes_its_input_holds_up_nobody() {
        let shop = Shop::new();
        let input = "x".repeat(1 << 20);
        for lines in ["exit 0", "exec <&-; sleep 0.1", "sleep 0.1", "read line; head -c 10 >/dev/null"] {
            let ran = run_on(&shop.script(lines), &[], &input, LONG);
            assert_eq!(ran.ended, Ended::Exited(0), "{lines}");
        }
        let ran = run_on(&shop.script("wc -c"), &[], &input, LONG);
        assert_eq!(ran.output.trim(), "1048576", "whoever reads gets all of it");
    }

    #[test]
    fn what_it_leaves_running_is_left_and_not_waited_for() {
        let shop = Shop::new();
        let path = shop.script("sleep 30 & echo $!");
        let started = Instant::now();
        let ran = run_on(&path, &[], "", LONG);
        assert_eq!(ran.ended, Ended::Exited(0));
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        let left = Pid::from_raw(ran.output.trim().parse().unwrap());
        nix::sys::signal::kill(left, Signal::SIGKILL).expect("it runs");
    }

    #[test]
    fn of_much_output_the_beginning_is_kept() {
        let shop = Shop::new();
        let ran = run_on(&shop.script("echo first; head -c 50000000 /dev/zero | tr '\\0' 'x'"), &[], "", LONG);
        assert_eq!((ran.output.len(), ran.dropped), (OUTPUT_KEPT, 50_000_006 - OUTPUT_KEPT as u64));
        assert!(ran.in_words().starts_with("exit status 0: first / xxx") && ran.in_words().len() < 300);
    }

    #[test]
    fn one_that_cannot_be_started_says_why() {
        let shop = Shop::new();
        let plain = shop.path("plain");
        fs::write(&plain, "no program").unwrap();
        for (path, why) in
            [(shop.path("nowhere"), "No such file"), (plain, "Permission denied"), (shop.path(""), "denied")]
        {
            let ran = run_on(&path, &[], "", LONG);
            assert!(matches!(&ran.ended, Ended::NotStarted(text) if text.contains(why)), "{ran:?}");
        }
        let ran = run_on(&shop.script("kill -9 $$"), &[], "", LONG);
        assert_eq!(ran.in_words(), "killed by signal 9");
    }
}
