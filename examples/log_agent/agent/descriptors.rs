//! How many connections there may be at once, so that descriptors are left for files.

/// What else is open at most: the servers' listeners, polls and wakers, standard streams, the lock, the compressor, and
/// a listing of the directory.
const OTHERS: u64 = 64;
/// Of each writer: a segment and its index, those of bad records, and what takes the place of one of them.
const EACH_WRITER: u64 = 6;

/// No more connections than the limit of open descriptors leaves room for, which is raised as far as it may be. A
/// connection more would be a segment that cannot be opened: then nobody's records are written, nobody is acknowledged,
/// and nobody goes. `others` are connections that are taken beside these.
pub fn connections(asked: usize, others: usize, writers: usize) -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX)
        .or_else(|_| rlimit::getrlimit(rlimit::Resource::NOFILE).map(|(soft, _)| soft));
    limit.map_or(asked, |limit| within(limit, asked, others, writers))
}

fn within(limit: u64, asked: usize, others: usize, writers: usize) -> usize {
    let most = limit.saturating_sub(OTHERS + others as u64 + EACH_WRITER * writers as u64).max(1);
    if asked as u64 <= most {
        return asked;
    }
    log::warn!(
        "--connections-max {asked} is more than the limit of {limit} open descriptors leaves: {most} connections are \
         taken at once; raise it (`ulimit -Hn`, `LimitNOFILE=`)"
    );
    most as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_their_descriptors_before_connections() {
        assert_eq!(within(1 << 20, 16_384, 256, 4), 16_384);
        assert_eq!(within(1024, 16_384, 0, 1), 1024 - 64 - 6);
        assert_eq!(within(1024, 16_384, 256, 1), 1024 - 256 - 64 - 6, "whoever asks for metrics has his, too");
        assert_eq!(within(1024, 900, 0, 4), 900);
        assert_eq!(within(20, 16_384, 0, 1), 1);
    }
}
