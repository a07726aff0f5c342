//! The twelve attacks: what each does, at which rate, for how long.

mod fin;
mod framing;
mod garbage;
mod hold;
mod pipeline;
mod slow;
mod storm;

use crate::script::Family;

/// One way to bring a server down.
pub struct Attack {
    pub name: &'static str,
    /// What it does, at which rate.
    pub about: &'static str,
    /// How long it lasts.
    pub seconds: f64,
    /// Polite connections that are there besides those that measure.
    pub polite: usize,
    /// The server is started with this limit of open descriptors.
    pub descriptors: Option<u64>,
    /// The memory that it must fill, as a share of the ceiling: a ceiling that is never reached says little.
    pub fills: Option<f64>,
    pub families: fn() -> Vec<Family>,
}

const fn attack(name: &'static str, seconds: f64, families: fn() -> Vec<Family>, about: &'static str) -> Attack {
    Attack { name, about, seconds, polite: 0, descriptors: None, fills: None, families }
}

/// All of them, in the order in which they run.
pub const ATTACKS: &[Attack] = &[
    attack("slow-head", 10.0, || vec![slow::head()], "2,000 heads at 1 byte a second; the lost ones replaced at 200/s"),
    attack(
        "slow-body",
        10.0,
        || vec![slow::body()],
        "2,000 bodies that begin with 0 to 200 KiB, then 1 byte a second; replaced at 200/s",
    ),
    attack(
        "slow-reader",
        10.0,
        || vec![pipeline::unread()],
        "200 connections pipeline posts of 64 KiB as fast as they are taken, answers never read",
    ),
    attack("idle", 8.0, || vec![hold::idle()], "5,000 connections that say nothing, opened at 2,500/s"),
    attack(
        "half-messages",
        10.0,
        || vec![hold::half_messages()],
        "5,000 half posts that claim 960 KiB (120 KiB an eighth), sent so far: 3, 100 or 900 KiB; opened at 2,500/s, \
         replaced at 250/s",
    ),
    attack("reset-storm", 8.0, || vec![storm::resets()], "20,000 connects and resets at 4,000/s"),
    attack(
        "garbage",
        6.0,
        || vec![garbage::garbage()],
        "2,000 connections a second with random bytes or a mutated request",
    ),
    Attack {
        polite: 100,
        ..attack(
            "endless-pipeline",
            6.0,
            || vec![pipeline::endless()],
            "one connection pipelines GETs as fast as they are taken, beside 100 polite ones of 20 requests a second",
        )
    },
    Attack {
        descriptors: Some(256),
        ..attack(
            "descriptors",
            8.0,
            || vec![hold::descriptors()],
            "600 connections for a server of 256 descriptors, opened at 600/s",
        )
    },
    attack(
        "chunk-tricks",
        6.0,
        || vec![framing::tricks()],
        "48 connections, 20 messages a second each: large chunk extensions, one-byte chunks, many headers and trailers",
    ),
    attack(
        "fin-everywhere",
        6.0,
        || vec![fin::everywhere()],
        "1,000 connections a second that end, half-close or reset after each possible byte",
    ),
    Attack {
        fills: Some(0.5),
        ..attack(
            "everything",
            15.0,
            || {
                let readers = [pipeline::unread(), pipeline::unread_large()];
                [slow::head(), slow::body(), hold::idle(), hold::half_messages()].into_iter().chain(readers).collect()
            },
            "slow-head, slow-body, slow-reader (with 900 KiB, too), idle and half-messages at once: 14,400 connections",
        )
    },
];

/// The attack of that name, or with that number.
pub fn find(name: &str) -> Option<&'static Attack> {
    let by_number = || name.parse::<usize>().ok().and_then(|number| ATTACKS.get(number.checked_sub(1)?));
    ATTACKS.iter().find(|attack| attack.name == name).or_else(by_number)
}

/// What `--help` lists.
pub fn list() -> String {
    let lines = ATTACKS.iter().zip(1..).map(|(attack, number)| {
        let Attack { name, about, seconds, .. } = attack;
        format!("{number:>4} {name:<17} {about} ({seconds} s)")
    });
    std::iter::once("Attacks, by number or name:".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}
