//! The shim's one loop: pipes, socket, the container's end.

use crate::backlog::Backlog;
use crate::clock::now_ms;
use crate::connection::{Connection, News};
use crate::container::{REPORT_BYTES_MAX, REPORT_EXEC};
use crate::failure::Stage;
use crate::lines::Splitter;
use apron_link::instance::{EXIT_FILE, Exit, OomCounter, Plan, STALL_MS_MAX, Stream, ToShim};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Bytes read from an output at once.
const READ_BYTES: usize = 32 << 10;

/// Outputs rest so long after they were read, so that an application that prints a line for each request does not make work for
/// three processes with each. Not after so many bytes: who prints much is not held up.
const GATHER: Duration = Duration::from_millis(10);
const GATHERED_BYTES_MAX: usize = READ_BYTES / 2;

/// A container as its shim holds it.
pub struct Container {
    /// Its init.
    pub pid: Pid,
    /// Readable when the init has ended, and with it every process of the container.
    pub pidfd: OwnedFd,
    /// Reading end of standard output.
    pub stdout: OwnedFd,
    /// Reading end of standard error.
    pub stderr: OwnedFd,
    /// Reading end of the report.
    pub report: OwnedFd,
    /// Reading end of the status.
    pub status: OwnedFd,
}

struct Output {
    stream: Stream,
    pipe: Option<OwnedFd>,
    splitter: Splitter,
}

/// Everything a shim knows.
pub struct Supervisor {
    directory: PathBuf,
    oom_counter: OomCounter,
    stop_signal: Signal,
    listener: UnixListener,
    connection: Option<Connection>,
    backlog: Backlog,
    outputs: [Output; 2],
    report: Option<OwnedFd>,
    report_text: Vec<u8>,
    container: Option<(Pid, OwnedFd, OwnedFd)>,
    started: Option<(u64, i32)>,
    exit: Option<Exit>,
    kill_at: Option<Instant>,
    last_progress: Instant,
    gather_until: Option<Instant>,
    leave: bool,
}

impl Supervisor {
    /// Watches over a container.
    pub fn new(
        directory: &Path,
        plan: &Plan,
        listener: UnixListener,
        container: Container,
    ) -> Result<Supervisor, String> {
        let mut supervisor = Supervisor::empty(directory, plan, listener);
        let Container {
            pid,
            pidfd,
            stdout,
            stderr,
            report,
            status,
        } = container;
        supervisor.outputs[0].pipe = Some(stdout);
        supervisor.outputs[1].pipe = Some(stderr);
        supervisor.report = Some(report);
        supervisor.container = Some((pid, pidfd, status));
        Ok(supervisor)
    }

    /// Tells of a container that could not be made.
    pub fn failed(
        directory: &Path,
        plan: &Plan,
        listener: UnixListener,
        text: String,
    ) -> Result<Supervisor, String> {
        let mut supervisor = Supervisor::empty(directory, plan, listener);
        supervisor.conclude(Exit {
            code: None,
            signal: None,
            out_of_memory: false,
            error: Some(text),
            at_ms: now_ms(),
        })?;
        Ok(supervisor)
    }

    fn empty(directory: &Path, plan: &Plan, listener: UnixListener) -> Supervisor {
        let output = |stream| Output {
            stream,
            pipe: None,
            splitter: Splitter::default(),
        };
        Supervisor {
            directory: directory.to_owned(),
            oom_counter: plan.oom_counter.clone(),
            stop_signal: Signal::from_named_raw(plan.stop_signal).unwrap_or(Signal::TERM),
            listener,
            connection: None,
            backlog: Backlog::default(),
            outputs: [output(Stream::Stdout), output(Stream::Stderr)],
            report: None,
            report_text: Vec::new(),
            container: None,
            started: None,
            exit: None,
            kill_at: None,
            last_progress: Instant::now(),
            gather_until: None,
            leave: false,
        }
    }

    /// Works until the node says that it has taken the exit.
    pub fn run(mut self) -> ExitCode {
        while !self.leave {
            if let Err(text) = self.turn() {
                // Without its loop the shim is of no use; its end takes the container with it and the node sees it.
                let _ = std::fs::write(self.directory.join("shim.error"), text);
                return ExitCode::FAILURE;
            }
        }
        ExitCode::SUCCESS
    }

    fn turn(&mut self) -> Result<(), String> {
        let ready = self.wait()?;
        // What the former connection still said counts, so it is heard before another takes its place.
        if ready.connection {
            self.obey();
        }
        if ready.listener {
            self.accept();
        }
        self.read_report()?;
        self.read_outputs(ready.outputs);
        if ready.ended {
            self.collect()?;
        }
        if self.kill_at.is_some_and(|at| at <= Instant::now()) {
            self.kill_at = None;
            self.signal(Signal::KILL);
        }
        self.tell();
        Ok(())
    }

    /// Whether lines can be read without losing any, or have to be read because nobody takes them.
    fn may_read(&mut self) -> bool {
        // What the application prints comes after the news of its start.
        if self.report.is_some() {
            return false;
        }
        if !self.backlog.is_full() {
            return true;
        }
        let stalled = self.last_progress.elapsed() >= Duration::from_millis(STALL_MS_MAX);
        if self.connection.is_none() || stalled {
            self.backlog.make_room();
            return true;
        }
        false
    }

    fn timeout(&self) -> Option<Timespec> {
        let stall_at = (self.connection.is_some() && self.backlog.is_full())
            .then(|| self.last_progress + Duration::from_millis(STALL_MS_MAX));
        let at = [stall_at, self.kill_at, self.gather_until]
            .into_iter()
            .flatten()
            .min()?;
        let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        Some(Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        })
    }

    fn wait(&mut self) -> Result<Ready, String> {
        self.gather_until = self
            .gather_until
            .filter(|until| self.container.is_some() && *until > Instant::now());
        let room = self.gather_until.is_none() && self.may_read();
        let timeout = self.timeout();
        let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
        let mut names = vec![Name::Listener];
        let mut add = |name, fd| {
            names.push(name);
            fds.push(fd);
        };
        if let Some(connection) = &self.connection {
            let write = if connection.wants_to_write() {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            };
            add(
                Name::Connection,
                PollFd::new(connection.stream(), PollFlags::IN | write),
            );
        }
        if let Some(report) = &self.report {
            add(Name::Report, PollFd::new(report, PollFlags::IN));
        }
        for (index, output) in self.outputs.iter().enumerate() {
            if let (true, Some(pipe)) = (room, &output.pipe) {
                add(Name::Output(index), PollFd::new(pipe, PollFlags::IN));
            }
        }
        if let Some((_, pidfd, _)) = &self.container {
            add(Name::Container, PollFd::new(pidfd, PollFlags::IN));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err::<Ready, _>(errno).stage("wait for events"),
        }
        let mut ready = Ready::default();
        for (name, fd) in names.iter().zip(&fds) {
            if fd.revents().is_empty() {
                continue;
            }
            match name {
                Name::Listener => ready.listener = true,
                Name::Connection => ready.connection = true,
                Name::Report => {}
                Name::Output(index) => ready.outputs[*index] = true,
                Name::Container => ready.ended = true,
            }
        }
        Ok(ready)
    }

    fn accept(&mut self) {
        if let Ok((stream, _)) = self.listener.accept() {
            // Whoever comes last is the node: a former one may have died without a word.
            self.connection = Connection::greet(stream, &self.backlog).ok();
            self.last_progress = Instant::now();
        }
    }

    fn obey(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let commands = match connection.receive() {
            Ok(commands) => commands,
            Err(_) => {
                self.connection = None;
                return;
            }
        };
        for command in commands {
            match command {
                ToShim::Ack { sequence } => {
                    self.last_progress = Instant::now();
                    self.backlog.acknowledge(sequence);
                }
                ToShim::Stop { grace_ms } => {
                    let at = Instant::now() + Duration::from_millis(grace_ms);
                    self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
                    self.signal(self.stop_signal);
                }
                ToShim::Kill => self.signal(Signal::KILL),
                ToShim::Leave => self.leave = self.exit.is_some() && self.backlog.is_empty(),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some((_, pidfd, _)) = &self.container {
            // It may have ended in the meantime.
            let _ = rustix::process::pidfd_send_signal(pidfd, signal);
        }
    }

    fn tell(&mut self) {
        let exit = self
            .exit
            .as_ref()
            .filter(|_| self.outputs.iter().all(|output| output.pipe.is_none()));
        let mut news = News {
            started: self.started,
            backlog: &mut self.backlog,
            exit,
        };
        if let Some(connection) = &mut self.connection
            && connection.send(&mut news).is_err()
        {
            self.connection = None;
        }
    }

    fn read_report(&mut self) -> Result<(), String> {
        let Some(report) = &self.report else {
            return Ok(());
        };
        let mut buffer = [0; REPORT_BYTES_MAX];
        match rustix::io::read(report, &mut buffer) {
            Ok(0) => {
                self.report = None;
                if self.report_text == [REPORT_EXEC] {
                    let init_pid = self
                        .container
                        .as_ref()
                        .map_or(0, |(pid, ..)| pid.as_raw_nonzero().get());
                    self.started = Some((now_ms(), init_pid));
                }
            }
            Ok(count) => self.report_text.extend_from_slice(&buffer[..count]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno).stage("read the report"),
        }
        Ok(())
    }

    fn read_outputs(&mut self, ready: [bool; 2]) {
        if ready == [false; 2] || !self.may_read() {
            return;
        }
        let mut most = 0;
        for (index, _) in ready.iter().enumerate().filter(|(_, ready)| **ready) {
            most = most.max(self.read_output(index));
        }
        self.gather_until = (most < GATHERED_BYTES_MAX).then(|| Instant::now() + GATHER);
    }

    /// Takes what an output has now, and gives how many bytes it was.
    fn read_output(&mut self, index: usize) -> usize {
        let output = &mut self.outputs[index];
        let Some(pipe) = &output.pipe else { return 0 };
        let mut buffer = [0; READ_BYTES];
        let (backlog, stream, at_ms) = (&mut self.backlog, output.stream, now_ms());
        match rustix::io::read(pipe, &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Ok(count) if count > 0 => {
                output
                    .splitter
                    .push(&buffer[..count], |line| backlog.push(stream, at_ms, line));
                count
            }
            Ok(_) | Err(_) => {
                output.pipe = None;
                output
                    .splitter
                    .finish(|line| backlog.push(stream, at_ms, line));
                0
            }
        }
    }

    /// Learns how the container ended. All its processes are gone: the kernel ends them before it lets go of the init.
    fn collect(&mut self) -> Result<(), String> {
        let Some((pid, _, status)) = self.container.take() else {
            return Ok(());
        };
        let ended = rustix::process::waitpid(Some(pid), WaitOptions::empty())
            .stage("collect the container")?;
        let mut message = [0; 8];
        let application = match rustix::io::read(&status, &mut message) {
            Ok(8) => Some(application_status(message)),
            _ => None,
        };
        while self.report.is_some() {
            self.read_report()?;
        }
        self.kill_at = None;
        let init_signal = ended.and_then(|(_, status)| status.terminating_signal());
        let (code, signal) = application.unwrap_or((None, init_signal));
        let error = self.failure_text();
        let failed = code != Some(0);
        let out_of_memory = failed && oom_kills(&self.oom_counter) > 0;
        let (code, signal) = if error.is_some() {
            (None, None)
        } else {
            (code, signal)
        };
        self.conclude(Exit {
            code,
            signal,
            out_of_memory,
            error,
            at_ms: now_ms(),
        })
    }

    /// Why the application never ran, if so.
    fn failure_text(&self) -> Option<String> {
        if self.started.is_some() {
            return None;
        }
        let text = self
            .report_text
            .strip_prefix(&[REPORT_EXEC])
            .unwrap_or(&self.report_text);
        Some(match text {
            [] => "ended before its application was started".to_owned(),
            text => String::from_utf8_lossy(text).into_owned(),
        })
    }

    fn conclude(&mut self, exit: Exit) -> Result<(), String> {
        let temporary = self.directory.join("exit.json.new");
        let bytes =
            serde_json::to_vec(&exit).map_err(|error| format!("encode the exit: {error}"))?;
        std::fs::write(&temporary, bytes).stage("write the exit")?;
        std::fs::rename(&temporary, self.directory.join(EXIT_FILE)).stage("write the exit")?;
        self.exit = Some(exit);
        Ok(())
    }
}

#[derive(Default)]
struct Ready {
    listener: bool,
    connection: bool,
    outputs: [bool; 2],
    ended: bool,
}

enum Name {
    Listener,
    Connection,
    Report,
    Output(usize),
    Container,
}

fn application_status(message: [u8; 8]) -> (Option<i32>, Option<i32>) {
    let [c0, c1, c2, c3, s0, s1, s2, s3] = message;
    let known = |value: i32| (value >= 0).then_some(value);
    (
        known(i32::from_ne_bytes([c0, c1, c2, c3])),
        known(i32::from_ne_bytes([s0, s1, s2, s3])),
    )
}

fn oom_kills(counter: &OomCounter) -> u64 {
    let text = std::fs::read_to_string(&counter.file).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(key, _)| *key == counter.key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use apron_link::instance::{CgroupView, VERSION};

    /// A plan for tests that need one.
    pub fn plan() -> Plan {
        Plan {
            version: VERSION,
            id: "0".repeat(32),
            service: "1".repeat(32),
            revision: 1,
            image: String::new(),
            slot: 0,
            address: ([10, 0, 0, 2], 8080).into(),
            args: vec!["/bin/true".to_owned()],
            cwd: "/".to_owned(),
            user: String::new(),
            stop_signal: 15,
            hostname: "test".to_owned(),
            hosts: String::new(),
            resolv_conf: String::new(),
            layers_directory: "/".into(),
            layers: Vec::new(),
            shm_bytes: 0,
            open_files_max: 1024,
            cpu_millis: 1000,
            build: false,
            identity: false,
            users: None,
            cgroups: Vec::new(),
            cgroup_view: CgroupView::V2,
            oom_counter: OomCounter {
                file: "/nowhere".into(),
                key: "oom_kill".to_owned(),
            },
        }
    }

    #[test]
    fn memory_events_are_counted_in_both_layouts() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("memory.events");
        let counter = OomCounter {
            file: file.clone(),
            key: "oom_kill".to_owned(),
        };
        assert_eq!(oom_kills(&counter), 0);
        std::fs::write(&file, "low 0\noom 3\noom_kill 2\noom_group_kill 1\n").unwrap();
        assert_eq!(oom_kills(&counter), 2);
        std::fs::write(&file, "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n").unwrap();
        assert_eq!(oom_kills(&counter), 1);
    }
}
