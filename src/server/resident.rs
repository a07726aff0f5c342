//! Memory that depends on the operating system: the program itself, how much the system gives at once, and the kernel's
//! socket buffers.

use std::fmt;
use std::fs;
use std::hint::black_box;

use super::units::Bytes;

/// By how much the program may grow after its start without any peer causing it: code and tables that are touched for
/// the first time, and the allocator's own data.
pub(super) const PROGRAM_GROWTH: u64 = 8 << 20;
/// The resident memory of a small program, used if the operating system does not say.
const PROGRAM_ESTIMATE: u64 = 8 << 20;

/// Bytes of this process that are resident now, and where the number comes from.
pub(super) fn resident_at_start() -> (u64, &'static str) {
    match fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_in) {
        Some(bytes) => (bytes, "resident at start"),
        None => (PROGRAM_ESTIMATE, "estimated"),
    }
}

/// `VmRSS:     1736 kB`, in bytes. Unlike `statm`, it does not count in pages, whose size would have to be asked for.
fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// Any machine has this much. Asking for less could change how the allocator treats blocks of that size from then on.
const ALWAYS_GIVEN: u64 = 64 << 20;

/// True if the operating system gives this many bytes at once. It may give more than it has: they are not touched here.
pub(super) fn is_given(bytes: u64) -> bool {
    let reserved = |bytes| {
        let mut place = Vec::<u8>::new();
        // Without `black_box` the compiler would remove an allocation that nobody uses.
        place.try_reserve_exact(bytes).is_ok() && black_box(&place).capacity() >= bytes
    };
    bytes <= ALWAYS_GIVEN || usize::try_from(bytes).is_ok_and(reserved)
}

/// How much the kernel may hold for the connections, in either direction. Only the kernel bounds that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KernelBuffers {
    connections_max: usize,
    /// The most for one connection: receiving, sending.
    one: Option<(u64, u64)>,
}

impl KernelBuffers {
    pub(super) fn of(connections_max: usize) -> Self {
        let most = |name| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok().as_deref().and_then(third);
        Self { connections_max, one: most("tcp_rmem").zip(most("tcp_wmem")) }
    }
}

/// The last of the three numbers in `tcp_rmem` and its like: the maximum.
fn third(triple: &str) -> Option<u64> {
    triple.split_whitespace().nth(2)?.parse().ok()
}

impl fmt::Display for KernelBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((receive, send)) = self.one else { return f.write_str("whose size is unknown here") };
        let all = Bytes(self.connections_max as u64 * (receive + send));
        let (count, receive, send) = (self.connections_max, Bytes(receive), Bytes(send));
        write!(f, "{count} x ({receive} in + {send} out) = {all} at most (tcp_rmem, tcp_wmem; all bounded by tcp_mem)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_understood() {
        assert_eq!(resident_in("VmPeak:\t 9 kB\nVmRSS:\t    1736 kB\nThreads: 1\n"), Some(1736 << 10));
        assert_eq!(resident_in("Threads: 1\n"), None);
        assert_eq!(third("4096\t131072\t33554432\n"), Some(32 << 20));
        assert_eq!(third("4096"), None);
    }

    #[test]
    fn more_than_can_be_addressed_is_not_given() {
        assert!(is_given(0) && is_given(ALWAYS_GIVEN + 1));
        assert!(!is_given(1 << 60) && !is_given(u64::MAX));
    }

    #[test]
    fn the_buffers_are_a_product_or_unknown() {
        let known = KernelBuffers { connections_max: 1000, one: Some((6 << 20, 4 << 20)) };
        assert!(known.to_string().starts_with("1000 x (6 MiB in + 4 MiB out) = 9.8 GiB at most"), "{known}");
        let unknown = KernelBuffers { connections_max: 1000, one: None };
        assert_eq!(unknown.to_string(), "whose size is unknown here");
    }
}
