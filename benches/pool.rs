//! What a block costs: from the processor's own list, through the queue that all threads share, and from malloc.
//!
//! Each call takes a block, writes its first byte and gives it back. The sizes are those of the three tiers.

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use sluicegate::internals::{Line, Pool, SharedPool, WakeFlag};
use sluicegate::{HEADROOM, TIERS, TierConfig};

/// The sizes of the default tiers, and fewer blocks.
const TIER_CONFIGS: [TierConfig; TIERS] = [
    TierConfig { size: 4 << 10, count: 64 },
    TierConfig { size: 128 << 10, count: 16 },
    TierConfig { size: 1 << 20, count: 4 },
];

/// Calls that are timed together: one takes a few ticks of the clock.
const CALLS: u32 = 256;

fn main() {
    divan::main();
}

fn shared_pool() -> Arc<SharedPool> {
    SharedPool::new(TIER_CONFIGS, Line::new(Arc::new(WakeFlag::never_asleep())))
}

/// The processor's end of a pool, which holds up to `own` free blocks of each tier back.
fn processors_pool(own: usize) -> Pool {
    Pool::new(shared_pool(), [own; TIERS])
}

/// The way of a request: the block was put a moment ago and is still warm.
#[divan::bench(sample_size = CALLS, args = [0, 1, 2])]
fn own_list_tier(bencher: Bencher<'_, '_>, tier: usize) {
    let mut pool = processors_pool(8);
    bencher.bench_local(|| {
        let mut block = pool.lease(tier).expect("all are free");
        block.push(b"x");
        pool.put(black_box(block));
    });
}

/// The same for several connections at once: as many blocks out as the list holds.
#[divan::bench(sample_size = CALLS)]
fn own_list_8_of_tier_0(bencher: Bencher<'_, '_>) {
    let mut pool = processors_pool(8);
    let mut out = Vec::with_capacity(8);
    bencher.counter(ItemsCount::new(8_usize)).bench_local(|| {
        for _ in 0..8 {
            let mut block = pool.lease(0).expect("64 are free");
            block.push(b"x");
            out.push(block);
        }
        out.drain(..).for_each(|block| pool.put(block));
    });
}

/// The way of a message that is dropped by somebody else than the processor.
#[divan::bench(sample_size = CALLS, args = [0, 1, 2])]
fn shared_queue_tier(bencher: Bencher<'_, '_>, tier: usize) {
    let pool = shared_pool();
    let tier = &pool.tiers()[tier];
    bencher.bench_local(|| {
        let mut block = tier.lease().expect("all are free");
        block.push(b"x");
        drop(black_box(block));
    });
}

/// Two threads at the same tier, for long enough to meet.
#[divan::bench(sample_size = 64 * CALLS, threads = 2)]
fn shared_queue_tier_0_contended(bencher: Bencher<'_, '_>) {
    let pool = shared_pool();
    let tier = &pool.tiers()[0];
    bencher.bench(|| {
        let mut block = tier.lease().expect("64 are free for two");
        block.push(b"x");
        drop(black_box(block));
    });
}

/// The allocator, for memory that need not be zeroed.
#[divan::bench(sample_size = CALLS, args = [0, 1, 2])]
fn malloc_tier(bencher: Bencher<'_, '_>, tier: usize) {
    let size = TIER_CONFIGS[tier].size + HEADROOM;
    bencher.bench_local(|| {
        let mut bytes: Vec<u8> = Vec::with_capacity(black_box(size));
        bytes.push(b'x');
        black_box(bytes);
    });
}

/// The allocator, for memory that safe code can read into.
#[divan::bench(sample_size = CALLS, args = [0, 1, 2])]
fn malloc_zeroed_tier(bencher: Bencher<'_, '_>, tier: usize) {
    let size = TIER_CONFIGS[tier].size + HEADROOM;
    bencher.bench_local(|| {
        let mut bytes = vec![0_u8; black_box(size)];
        bytes[0] = b'x';
        black_box(bytes);
    });
}
