//! The systems: how each is started, and how it wants its records framed.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    Bare,
    Agent,
    AgentDefault,
    Rsyslog,
    SyslogNg,
    AgentAck,
    RsyslogSafe,
}

impl System {
    /// Those that nobody asks to force anything to disk, and then those that are, in the order of a round.
    pub const ALL: [Self; 7] =
        [Self::Bare, Self::Agent, Self::Rsyslog, Self::SyslogNg, Self::AgentDefault, Self::AgentAck, Self::RsyslogSafe];

    /// True if a round of it is enough: it takes long, and nothing is compared with it closely.
    pub fn once(self) -> bool {
        self == Self::RsyslogSafe
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare epoll loop",
            Self::Agent => "log_agent",
            Self::AgentDefault => "log_agent --fsync interval:500",
            Self::Rsyslog => "rsyslog",
            Self::SyslogNg => "syslog-ng",
            Self::AgentAck => "log_agent --ack",
            Self::RsyslogSafe => "rsyslog safest",
        }
    }

    /// One record of `size` bytes, framed.
    pub fn frame(self, size: usize) -> Vec<u8> {
        // As syslog has it, so that no parser has to give up on it; the others do not care.
        let mut record = b"<14>1 2026-11-21T09:30:00Z host app 1 - - ".to_vec();
        while record.len() < size {
            record.push(b'a' + (record.len() % 26) as u8);
        }
        record.truncate(size);
        match self {
            Self::Bare | Self::Agent | Self::AgentDefault | Self::AgentAck => {
                [&(size as u32).to_be_bytes()[..], &record].concat()
            }
            Self::Rsyslog | Self::RsyslogSafe => [format!("{size} ").as_bytes(), &record].concat(),
            Self::SyslogNg => [&record[..], b"\n"].concat(),
        }
    }

    /// True if nothing counts before it is forced to disk.
    pub fn durable(self) -> bool {
        matches!(self, Self::AgentAck | Self::RsyslogSafe)
    }

    /// True if it is log_agent, however it is started.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Agent | Self::AgentDefault | Self::AgentAck)
    }

    pub fn acknowledges(self) -> bool {
        self == Self::AgentAck
    }

    /// Starts it, to write to `directory` what comes to `port`.
    pub fn start(self, agent: &Path, peers: &Path, port: u16, directory: &Path) -> io::Result<Child> {
        let text = directory.to_str().ok_or_else(|| io::Error::other("the folder's name is no text"))?;
        let port_text = port.to_string();
        let mut command = match self {
            Self::Bare => {
                let mut command = ends_with_us(std::env::current_exe()?);
                command.args(["bare", &port_text, &format!("{text}/records.log")]);
                command
            }
            Self::Agent | Self::AgentDefault | Self::AgentAck => {
                let mut command = ends_with_us(agent);
                command.args(["127.0.0.1", &port_text, "--dir", text]);
                match self {
                    Self::AgentAck => command.arg("--ack"),
                    Self::AgentDefault => &mut command,
                    _ => command.args(["--fsync", "never"]),
                };
                command
            }
            Self::Rsyslog | Self::RsyslogSafe => {
                let name = if self == Self::Rsyslog { "rsyslog.conf" } else { "rsyslog-safe.conf" };
                let config = configure(name, port, text)?;
                let mut command = ends_with_us(peers.join("usr/sbin/rsyslogd"));
                command.args(["-n", "-C", "-f", &config, "-i", &format!("{text}/pid")]);
                command.arg("-M").arg(absolute(peers, "usr/lib/x86_64-linux-gnu/rsyslog")?);
                command
            }
            Self::SyslogNg => {
                let config = configure("syslog-ng.conf", port, text)?;
                let mut command = ends_with_us(peers.join("usr/sbin/syslog-ng"));
                command.args(["-F", "--no-caps", "-f", &config, "-R", &format!("{text}/persist")]);
                command.args(["-c", &format!("{text}/control"), "-p", &format!("{text}/pid")]);
                command.arg("--module-path").arg(absolute(peers, "usr/lib/syslog-ng/3.38")?);
                command
            }
        };
        command.env("LD_LIBRARY_PATH", libraries(peers)?).stdin(Stdio::null());
        let log = fs::File::create(directory.join("stderr"))?;
        command.stdout(log.try_clone()?).stderr(log).spawn()
    }
}

/// A program that ends with this one, however that ends, where the system can see to that.
fn ends_with_us(program: impl AsRef<OsStr>) -> Command {
    if !Path::new("/usr/bin/setpriv").is_file() {
        return Command::new(program);
    }
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// Where the peers' libraries are.
pub fn libraries(peers: &Path) -> io::Result<String> {
    let folders = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/syslog-ng"];
    let folders: Vec<_> = folders.iter().map(|path| absolute(peers, path)).collect::<Result<_, _>>()?;
    Ok(folders.join(":"))
}

fn absolute(folder: &Path, path: &str) -> io::Result<String> {
    let path = std::path::absolute(folder.join(path))?;
    Ok(path.to_string_lossy().into_owned())
}

/// Fills in a configuration of this folder.
fn configure(name: &str, port: u16, directory: &str) -> io::Result<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name))?;
    let path = format!("{directory}/{name}");
    fs::write(&path, text.replace("@PORT@", &port.to_string()).replace("@DIR@", directory))?;
    Ok(path)
}
