//! What `/proc` says about a process.

use std::fs;
use std::io;
use std::process::Command;

/// Waits until everything that was written anywhere is on its disk.
pub fn flush_disks() -> io::Result<()> {
    match Command::new("sync").status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other("sync has failed")),
    }
}

/// What a program says that it is, in its first line.
pub fn first_line(program: &str, args: &[&str], libraries: &str) -> String {
    let output = Command::new(program).args(args).env("LD_LIBRARY_PATH", libraries).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("unknown").trim().trim_end_matches(" compiled with:").to_owned()
}

/// Seconds of processor time of all threads that live, to the nanosecond.
pub fn cpu_seconds(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = threads.filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok());
    texts.filter_map(|text| text.split_whitespace().next()?.parse::<f64>().ok()).sum::<f64>() / 1e9
}

/// The most memory that it ever had, in MiB; nothing if it has ended.
pub fn peak_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}

/// True if this process listens at `port`. That somebody does is not enough: it may be another.
pub fn listens(pid: u32, port: u16) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut links = descriptors.filter_map(|file| fs::read_link(file.path()).ok());
    let listeners = listeners(port);
    links.any(|link| listeners.iter().any(|inode| link.to_str() == Some(&format!("socket:[{inode}]"))))
}

/// The sockets that listen at `port`, whosever they are.
fn listeners(port: u16) -> Vec<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, local, _, state, ..] = fields[..] else { return None };
        let listens = state == "0A" && local.ends_with(&format!(":{port:04X}"));
        listens.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    };
    tables.iter().flat_map(|table| table.lines()).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn only_who_listens_itself_is_seen_to_listen() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let us = std::process::id();
        assert!(listens(us, address.port()));
        let mut other = Command::new("sleep").arg("60").spawn().expect("another process");
        let theirs = listens(other.id(), address.port());
        other.kill().and_then(|()| other.wait()).expect("it ends");
        assert!(!theirs, "it listens to nothing");
        let peer = TcpStream::connect(address).expect("a connection");
        assert!(!listens(us, peer.local_addr().expect("its address").port()), "a connection is no listener");
    }
}
