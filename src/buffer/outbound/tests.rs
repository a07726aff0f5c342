//! What an outbound does with an answer of which the end lies elsewhere.

use super::super::{Line, TIERS, TierConfig, reserve};
use super::*;
use crate::wake::WakeFlag;

const REPLY_MAX: usize = 4000;
const EARLIER: &[u8] = b"an answer before it";
const HEAD: &[u8] = b"its head";

/// An outbound of a processor, with so many blocks of each tier; and the pool that they are of.
fn outbound(counts: [usize; TIERS]) -> (Outbound, Arc<SharedPool>) {
    let line = Line::new(Arc::new(WakeFlag::never_asleep()));
    let tiers = [(16, counts[0]), (64, counts[1]), (256, counts[2])].map(|(size, count)| TierConfig { size, count });
    let pool = SharedPool::new(tiers, Arc::clone(&line));
    let own = Pool::new(Arc::clone(&pool), [1; TIERS]);
    (Outbound::of_processor(own, reserve(REPLY_MAX, &line), REPLY_MAX, Arc::new(WallClock::at(0))), pool)
}

fn stage(out: &mut Outbound, answer: &[u8]) {
    out.begin();
    out.put(answer);
    assert_eq!(out.finish(), Ok(answer.len()));
}

fn begin(out: &mut Outbound) {
    stage(out, EARLIER);
    out.begin();
    out.put(HEAD);
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

#[test]
fn what_a_socket_leaves_of_a_large_answer_is_kept_in_its_place() {
    // In one block; in several; and in the reserve behind them.
    for (length, counts) in [(400, [1, 1, 1]), (1700, [2, 2, 1]), (2500, [1, 1, 1])] {
        let tail = pattern(length);
        let all = [EARLIER, HEAD, &tail].concat();
        for taken in (0..=all.len()).filter(|taken| taken % 7 == 0 || *taken < 40 || *taken == all.len()) {
            let (mut out, pool) = outbound(counts);
            begin(&mut out);
            let written = out.put_through(&tail, |slices| {
                let offered: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
                assert_eq!(offered, all);
                taken
            });
            assert_eq!(written, Ok((HEAD.len() + length, taken)));
            assert_eq!((out.to_vec(), out.len()), (all[taken..].to_vec(), all.len() - taken), "{length}: {taken}");
            stage(&mut out, b"the next");
            assert_eq!(out.to_vec(), [&all[taken..], b"the next"].concat());
            out.settle(out.len(), |_| unreachable!("all of it has left"));
            assert!(out.is_empty() && out.reserve_whole());
            assert!(
                pool.tiers().iter().map(|tier| tier.in_use()).sum::<usize>() <= 1,
                "one is kept for the next answer"
            );
        }
    }
}

#[test]
fn no_byte_of_an_answer_leaves_before_there_is_room_for_all_of_it() {
    let no_room = EncodeError::NoRoom { wanted: 0 };
    let too_long = EncodeError::ReplyTooLong { wanted: HEAD.len() + REPLY_MAX, limit: REPLY_MAX };
    for (length, expected) in [(REPLY_MAX - HEAD.len(), no_room), (REPLY_MAX, too_long)] {
        let (mut out, pool) = outbound([1, 0, 0]);
        begin(&mut out);
        // What lies in the reserve is not room.
        let taken = out.source.lease(REPLY_MAX, 1).expect("the reserve is whole");
        let failed = out.put_through(&pattern(length), |_| unreachable!("there is no room"));
        match (failed, expected) {
            (Err(EncodeError::NoRoom { .. }), EncodeError::NoRoom { .. }) => {}
            (failed, expected) => assert_eq!(failed, Err(expected)),
        }
        out.roll_back();
        assert_eq!((out.to_vec(), out.len()), (EARLIER.to_vec(), EARLIER.len()));
        drop((taken, out));
        assert!(pool.all_home());
    }
}
