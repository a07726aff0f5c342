//! The limit of open descriptors: raised at start, with a warning if it is still too low.

use std::net::SocketAddr;

/// What the server and its surroundings need besides one descriptor for each connection: listener, polls, wakers, a
/// timer, standard streams, log files, and some for the user.
const OTHER_DESCRIPTORS: u64 = 64;

/// Descriptors of each further processor: its poll, its waker and its timer.
const MORE_DESCRIPTORS: u64 = 3;

/// Raises the soft limit of open descriptors as far as the hard one. Logs one WARN if that is still too low for
/// `connections_max`; the server works all the same, and accepts nothing while there are none.
pub(super) fn raise_descriptors(server: SocketAddr, connections_max: usize, processors: usize) {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => {
            if let Some(text) = shortage(limit, connections_max, processors) {
                log::warn!("{server}: {text}");
            }
        }
        Err(error) => log::warn!("{server}: cannot raise the limit of open descriptors: {error}"),
    }
}

/// What to say when `limit` descriptors are not enough for `connections_max` connections.
fn shortage(limit: u64, connections_max: usize, processors: usize) -> Option<String> {
    let more = processors.saturating_sub(1) as u64 * MORE_DESCRIPTORS;
    let wanted = connections_max as u64 + OTHER_DESCRIPTORS + more;
    (limit < wanted).then(|| {
        format!(
            "connections_max = {connections_max} needs about {wanted} open descriptors, but the limit is {limit}: \
             raise it (`ulimit -Hn`, `LimitNOFILE=`) or lower connections_max"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_low_a_limit_is_told_with_both_numbers() {
        assert_eq!((shortage(1064, 1000, 1), shortage(1073, 1000, 4)), (None, None));
        assert!(shortage(1072, 1000, 4).is_some());
        let text = shortage(1063, 1000, 1).expect("one too few");
        assert!(text.contains("connections_max = 1000") && text.contains("1063"), "{text}");
    }
}
