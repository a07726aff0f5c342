//! Who is measured.

use crate::works::{Kind, Work};

/// How much a server counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// A bare loop: what can be done at all.
    Yardstick,
    Ours,
    Peer,
}

/// How a server is started.
#[derive(Debug, Clone, Copy)]
pub enum Start {
    /// A program of this crate, and its flags.
    Program(&'static [&'static str]),
    Nginx,
}

/// A server, with what it can do.
#[derive(Debug)]
pub struct Server {
    pub name: &'static str,
    pub rank: Rank,
    pub http: Option<Start>,
    pub length_prefixed: Option<Start>,
    /// With answers from a worker thread.
    pub deferred: Option<Start>,
    /// Sends back what was posted.
    pub posts: bool,
    /// Knows `Connection: close`.
    pub closes: bool,
    /// In the growth of cost.
    pub grows: bool,
}

const NONE: Server = Server {
    name: "",
    rank: Rank::Peer,
    http: None,
    length_prefixed: None,
    deferred: None,
    posts: true,
    closes: true,
    grows: false,
};

/// All of them. The first is what the others are compared with.
pub const SERVERS: &[Server] = &[
    Server {
        name: "bare-epoll",
        rank: Rank::Yardstick,
        http: Some(Start::Program(&["bare_epoll"])),
        length_prefixed: Some(Start::Program(&["bare_epoll", "--length-prefixed"])),
        // It answers at once: what the detour costs is seen beside it.
        deferred: Some(Start::Program(&["bare_epoll"])),
        grows: true,
        ..NONE
    },
    Server {
        name: "bare-mio",
        rank: Rank::Yardstick,
        http: Some(Start::Program(&["bare_mio"])),
        length_prefixed: Some(Start::Program(&["bare_mio", "--length-prefixed"])),
        ..NONE
    },
    Server {
        name: "bare-mio-accepter",
        rank: Rank::Yardstick,
        http: Some(Start::Program(&["bare_mio", "--accepter"])),
        ..NONE
    },
    Server {
        name: "sluicegate",
        rank: Rank::Ours,
        http: Some(Start::Program(&["sluicegate_http"])),
        length_prefixed: Some(Start::Program(&["sluicegate_length_prefixed"])),
        deferred: Some(Start::Program(&["sluicegate_http", "--worker"])),
        grows: true,
        ..NONE
    },
    Server {
        name: "hyper",
        http: Some(Start::Program(&["hyper_http"])),
        deferred: Some(Start::Program(&["hyper_http", "--worker"])),
        ..NONE
    },
    Server { name: "axum", http: Some(Start::Program(&["axum_http"])), ..NONE },
    Server { name: "actix-web", http: Some(Start::Program(&["actix_web_http"])), ..NONE },
    Server { name: "ntex", http: Some(Start::Program(&["ntex_http"])), ..NONE },
    Server { name: "may_minihttp", http: Some(Start::Program(&["may_minihttp_http"])), closes: false, ..NONE },
    Server {
        name: "tiny_http",
        http: Some(Start::Program(&["tiny_http_http"])),
        // By its nature: each request goes from the thread of its connection to the one that answers.
        deferred: Some(Start::Program(&["tiny_http_http"])),
        ..NONE
    },
    Server { name: "nginx", http: Some(Start::Nginx), posts: false, ..NONE },
    Server { name: "tokio-util", length_prefixed: Some(Start::Program(&["tokio_length_prefixed"])), ..NONE },
    Server { name: "message-io", length_prefixed: Some(Start::Program(&["message_io_length_prefixed"])), ..NONE },
];

impl Server {
    /// How it is started for `work`, if it can do it.
    pub fn start(&self, work: &Work) -> Option<Start> {
        let cannot = (work.size > 0 && work.kind == Kind::Http && !self.posts)
            || (work.reconnect && !self.closes)
            || (work.growth.is_some() && !self.grows);
        match work.kind {
            _ if cannot => None,
            Kind::Http => self.http,
            Kind::LengthPrefixed => self.length_prefixed,
            Kind::Deferred => self.deferred,
        }
    }
}

pub fn find(name: &str) -> Option<&'static Server> {
    SERVERS.iter().find(|server| server.name == name)
}
