//! What whole-daemon tests share: processes that end with the test, waiting with a deadline, namespaces, BGP daemons.

// Every test file takes the part that it needs.
#![allow(dead_code)]

pub(crate) mod bgp;
pub(crate) mod daemon;
pub(crate) mod deaths;
pub(crate) mod hook;
pub(crate) mod netns;
pub(crate) mod orders;
pub(crate) mod pcap;
pub(crate) mod routers;
pub(crate) mod site;
pub(crate) mod stub_engine;
pub(crate) mod stub_router;
pub(crate) mod traffic;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A name that no other test has, of this process or another, short enough for a network device.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}{:x}-{next:x}", std::process::id())
}

/// What `look` finds, as soon as it finds something. Panics with `what` when that takes too long.
#[track_caller]
pub(crate) fn wait_until<T>(timeout: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < timeout, "{what}: not within {timeout:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// That `look` finds nothing for as long as this. For what must not happen: the shorter the time, the weaker the proof.
#[track_caller]
pub(crate) fn never<T: std::fmt::Debug>(time: Duration, what: &str, mut look: impl FnMut() -> Option<T>) {
    let start = Instant::now();
    while start.elapsed() < time {
        let found = look();
        assert!(found.is_none(), "{what}: {found:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A small generator that always gives the same (xorshift64*).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.next(list.len())]
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next(256) as u8).collect()
    }
}

/// Runs a command to its end; its standard output. Panics with what it wrote to standard error when it fails.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{text}{errors}", output.status);
    text
}

/// Runs a program with arguments to its end; its standard output.
#[track_caller]
pub(crate) fn sh(program: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> String {
    output(Command::new(program).args(arguments))
}

/// A process of the test's own. Killed when dropped; where the test panics, the end of its log is shown.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a command; both its outputs go to the end of `log`.
    #[track_caller]
    pub(crate) fn start(name: &str, command: &mut Command, log: PathBuf) -> Process {
        Process::spawn(name, command.stdin(Stdio::null()), log)
    }

    /// The same with a pipe to its standard input.
    #[track_caller]
    pub(crate) fn start_with_input(name: &str, command: &mut Command, log: PathBuf) -> (Process, ChildStdin) {
        let mut process = Process::spawn(name, command.stdin(Stdio::piped()), log);
        let input = process.child.stdin.take().expect("a pipe");
        (process, input)
    }

    #[track_caller]
    fn spawn(name: &str, command: &mut Command, log: PathBuf) -> Process {
        let open = || File::options().create(true).append(true).open(&log).expect("open a log");
        let child = command.stdout(open()).stderr(open()).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Process { name: name.to_owned(), child, log }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its exit status, where it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("wait for a child")
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        // It fails where the process has ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends another signal, such as `TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        sh("kill", [format!("-{signal}"), self.id().to_string()]);
    }

    /// Waits for it to end by itself.
    #[track_caller]
    pub(crate) fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let what = format!("end of {}", self.name);
        wait_until(timeout, &what, || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("--- the end of the log of {}:\n{tail}", self.name);
        }
    }
}
