//! The server's own numbers: GET /metrics on a connection that is kept.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take. While the server is attacked, it may.
const PATIENCE: Duration = Duration::from_secs(10);

/// All numbers at one moment, by name: `closed{reason="idle"}`.
#[derive(Debug, Clone, Default)]
pub struct Numbers(BTreeMap<String, u64>);

impl Numbers {
    /// The number of that name; zero if there is none.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Those of a family: `closed` gives `idle`, `too_slow` and so on.
    pub fn by<'a>(&'a self, family: &'a str) -> impl Iterator<Item = (&'a str, u64)> {
        self.0.iter().filter_map(move |(name, value)| {
            let (_, label) = name.strip_prefix(family)?.strip_prefix('{')?.strip_suffix("\"}")?.split_once("=\"")?;
            Some((label, *value))
        })
    }

    /// Blocks that are in use, inbound and outbound, all tiers.
    pub fn blocks(&self) -> u64 {
        self.all_blocks().map(|(_, count)| count).sum()
    }

    /// True if no more blocks are in use than in `before`, tier by tier.
    pub fn blocks_are_back(&self, before: &Self) -> bool {
        self.all_blocks().all(|(name, count)| {
            // Leased at the first need and kept: a spare for messages that are kept, and one for unfinished rests.
            let kept = if name.starts_with("inbound") { 2 } else { 0 };
            count <= before.of(name).max(kept)
        })
    }

    fn all_blocks(&self) -> impl Iterator<Item = (&str, u64)> {
        let in_use = |name: &str| name.starts_with("inbound_blocks{") || name.starts_with("outbound_blocks{");
        self.0.iter().filter(move |(name, _)| in_use(name)).map(|(name, count)| (name.as_str(), *count))
    }

    /// How a family grew since `before`: `idle 3, too_slow 4`, or nothing.
    pub fn growth(&self, before: &Self, family: &str) -> String {
        let grown = self.by(family).zip(before.by(family)).filter(|((_, now), (_, then))| now > then);
        let texts: Vec<_> = grown.map(|((reason, now), (_, then))| format!("{reason} {}", now - then)).collect();
        texts.join(", ")
    }

    /// Reads a page for Prometheus. The names lose what all have in common, and counters their end.
    fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.strip_prefix("sluicegate_")?.rsplit_once(' '));
        let short = |name: &str| match name.split_once('{') {
            Some((family, label)) => format!("{}{{{label}", family.trim_end_matches("_total")),
            None => name.trim_end_matches("_total").to_owned(),
        };
        Self(pairs.filter_map(|(name, value)| Some((short(name), value.parse().ok()?))).collect())
    }
}

/// Asks for the numbers.
pub struct Reader {
    address: SocketAddr,
    stream: TcpStream,
}

impl Reader {
    /// Connects, and sees that the server tells its numbers.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let mut reader = Self { address, stream: connect(address)? };
        match reader.read()?.of("memory_ceiling_bytes") {
            0 => Err(io::Error::other(format!("{address} does not tell its numbers: start it with --metrics"))),
            _ => Ok(reader),
        }
    }

    /// The numbers now.
    pub fn read(&mut self) -> io::Result<Numbers> {
        let (status, body) = ask(&mut self.stream, "/metrics").map_err(|error| {
            io::Error::new(error.kind(), format!("{} does not tell its numbers: {error}", self.address))
        })?;
        match status {
            200 => Ok(Numbers::parse(&String::from_utf8_lossy(&body))),
            other => Err(io::Error::other(format!("{} answers {other} to /metrics", self.address))),
        }
    }
}

/// A normal request on a new connection: `Err` says what went wrong.
pub fn try_normal_request(address: SocketAddr) -> Result<(), String> {
    let answer = connect(address).and_then(|mut stream| ask(&mut stream, "/plaintext"));
    match answer {
        Ok((200, body)) if body == b"Hello, World!" => Ok(()),
        Ok((status, body)) => Err(format!("answered {status} with {} bytes", body.len())),
        Err(error) => Err(error.to_string()),
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot connect to {address}: {error}")))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Asks for `target`; the status and the body of the answer.
fn ask(stream: &mut TcpStream, target: &str) -> io::Result<(u16, Vec<u8>)> {
    stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: attack\r\n\r\n").as_bytes())?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(answer) = whole_answer(&bytes) {
            return Ok(answer);
        }
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
}

fn whole_answer(bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length: usize = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?.parse().ok()?;
    let body = bytes.get(end..end + length)?;
    Some((status, body.to_vec()))
}
