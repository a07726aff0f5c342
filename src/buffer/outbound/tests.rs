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

/// The outbound of a worker, with a pool of so many blocks of each usual size; with or without a reserve.
fn workers_outbound(counts: [usize; TIERS], has_reserve: bool) -> (Outbound, Arc<SharedPool>) {
    const LARGEST: usize = 1 << 20;
    let line = Line::new(Arc::new(WakeFlag::never_asleep()));
    let tiers = [(4 << 10, counts[0]), (128 << 10, counts[1]), (LARGEST, counts[2])];
    let pool = SharedPool::new(tiers.map(|(size, count)| TierConfig { size, count }), Arc::clone(&line));
    let reserve = has_reserve.then(|| reserve(LARGEST, &line));
    (Outbound::of_worker(Arc::clone(&pool), reserve, LARGEST, Arc::new(WallClock::at(0))), pool)
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
            assert_eq!(out.used_reserve(), length == 2500);
            stage(&mut out, b"the next");
            assert_eq!(out.to_vec(), [&all[taken..], b"the next"].concat());
            out.take_undelivered(out.len(), |_| unreachable!("all of it has left"));
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

/// An answer that had all its segments took the reserve as one more, for which nobody had a place.
#[test]
fn an_answer_of_a_worker_has_no_more_segments_than_its_place_in_the_queue() {
    let shared: Arc<[u8]> = pattern(5000).into();
    // With room; without a reserve; and with nothing but the reserve for what does not fit small blocks.
    for (counts, has_reserve) in [([4, 4, 4], true), ([4, 4, 4], false), ([4, 1, 0], true)] {
        let (mut out, pool) = workers_outbound(counts, has_reserve);
        let mut whole = vec![0; 8];
        out.begin();
        let prefix = out.reserve_prefix::<8>();
        for piece in 0..40 {
            out.put_shared(Arc::clone(&shared));
            out.put(&pattern(100 + piece));
            whole.extend([&shared, &pattern(100 + piece)[..]].concat());
        }
        out.patch(prefix, *b"prefixed");
        whole[..8].copy_from_slice(b"prefixed");
        assert_eq!(out.finish(), Ok(whole.len()));
        assert_eq!(out.to_vec(), whole);
        assert!(out.staged_segments() <= QUEUED_SEGMENTS, "{} segments", out.staged_segments());
        drop(out.into_segments());
        assert!(pool.all_home());
    }
}

/// Who is told that there is no room tries again, which must be of some use.
#[test]
fn what_no_free_pool_could_hold_either_is_not_called_want_of_room() {
    let piecemeal = |length: usize| move |out: &mut Outbound| pattern(length).chunks(1000).for_each(|it| out.put(it));
    let behind_shared = |out: &mut Outbound| {
        out.put(b"head");
        (0..2).for_each(|_| out.put_shared(pattern(8000).into()));
        out.put(&pattern((1 << 20) + 600));
    };
    let fails = |write: &dyn Fn(&mut Outbound), others: usize| {
        let (mut out, pool) = workers_outbound([4, 4, 4], false);
        out.reply_max = 4 << 20;
        let _others: Vec<_> = (0..others).map(|_| pool.tiers()[TIERS - 1].lease().expect("it is free")).collect();
        out.begin();
        write(&mut out);
        out.finish().err()
    };
    let is_hopeless = |failed| matches!(failed, Some(EncodeError::TooManyPieces { wanted, limit }) if wanted > limit);
    assert!(is_hopeless(fails(&piecemeal(3 << 20), 0)) && is_hopeless(fails(&behind_shared, 0)));
    // Large blocks that others have come back.
    assert!(matches!(fails(&piecemeal(700_000), 4), Some(EncodeError::NoRoom { .. })));
    assert_eq!(fails(&piecemeal(700_000), 0), None);
}

/// The one large block is there for what is announced, but the answer has it already.
#[test]
fn what_is_only_announced_takes_no_room_from_what_is_there() {
    let (mut out, _) = workers_outbound([4, 4, 1], false);
    out.reply_max = 1_572_864;
    let whole = pattern(1_363_148);
    stage(&mut out, &whole);
    assert_eq!(out.to_vec(), whole);
}

/// The prefix of an answer may lie in the block that is exchanged for a larger one.
#[test]
fn a_prefix_keeps_its_place_when_the_last_block_of_an_answer_is_exchanged() {
    let shared: Arc<[u8]> = pattern(5000).into();
    let (mut out, _) = workers_outbound([4, 4, 4], true);
    stage(&mut out, b"first");
    (0..2).for_each(|_| out.put_shared(Arc::clone(&shared)));
    let prefix = out.reserve_prefix::<8>();
    let rest = pattern(600 << 10);
    rest.chunks(999).for_each(|chunk| out.put(chunk));
    out.patch(prefix, *b"prefixed");
    assert_eq!(out.to_vec(), [b"first", &shared[..], &shared, b"prefixed", &rest].concat());
    assert_eq!(out.staged_segments(), QUEUED_SEGMENTS);
}

/// A small block stays for the next answer, and no more than one, wherever the others come from.
#[test]
fn one_small_block_stays_for_the_next_answer() {
    let (mut out, pool) = outbound([3, 1, 1]);
    let in_use = |tier: usize| pool.tiers()[tier].in_use();
    stage(&mut out, b"first");
    out.all_delivered();
    assert_eq!((out.len(), out.staged_segments(), in_use(0)), (0, 0, 1), "it stays, and nothing waits in it");
    stage(&mut out, b"second");
    assert_eq!((out.one_piece(), in_use(0)), (Some(&b"second"[..]), 1), "the next begins in it");
    out.all_delivered();
    // What comes home from a queue meanwhile is not kept, too.
    let block = out.source.lease(1, 1).expect("there is one more");
    out.recycle(Segment::Block { block, start: 0 });
    assert_eq!(in_use(0), 1);
    // One that needs more than is kept finds it behind that.
    let long = pattern(1200);
    stage(&mut out, &long);
    assert_eq!((out.to_vec(), in_use(0) >= 1), (long, true));
    out.all_delivered();
    assert_eq!([in_use(0), in_use(1), in_use(2)], [1, 0, 0]);
    // What is taken back leaves nothing of it, in whichever block it lay.
    stage(&mut out, EARLIER);
    out.begin();
    out.put(&pattern(1000));
    assert_eq!(out.roll_back(), 1000);
    assert_eq!((out.to_vec(), out.len()), (EARLIER.to_vec(), EARLIER.len()));
    out.take_undelivered(0, |segment| assert_eq!(segment.bytes(), EARLIER));
    assert_eq!([in_use(0), in_use(1), in_use(2)], [0, 0, 0], "it went with what was left");
    drop(out);
    assert!(pool.all_home());
}
