//! What the servers are asked for.

/// Which answers are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Http,
    LengthPrefixed,
    /// HTTP, and each answer comes from a worker thread.
    Deferred,
}

/// What grows, in a series of works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    Connections,
    Size,
    Depth,
}

/// One work.
#[derive(Debug, Clone)]
pub struct Work {
    pub name: String,
    pub title: String,
    pub kind: Kind,
    pub connections: usize,
    pub depth: usize,
    pub size: usize,
    pub reconnect: bool,
    /// Other connections, which say nothing.
    pub idle: usize,
    /// Its place in a series.
    pub growth: Option<(Axis, usize)>,
}

const SIZES: [(&str, usize, usize); 3] = [("100", 100, 64), ("16k", 16 << 10, 64), ("256k", 256 << 10, 16)];
/// So many connections carry messages of up to a mebibyte each.
const LARGE_CONNECTIONS: usize = 8;

impl Work {
    fn new(name: &str, title: &str, kind: Kind) -> Self {
        let (name, title) = (name.into(), title.into());
        Self { name, title, kind, connections: 64, depth: 1, size: 0, reconnect: false, idle: 0, growth: None }
    }
}

/// All of them.
pub fn all() -> Vec<Work> {
    let mut works = Vec::new();
    for connections in [1, 64, 1000] {
        let title = format!("GET keep-alive, {connections} connections");
        works.push(Work { connections, ..Work::new(&format!("get-{connections}"), &title, Kind::Http) });
    }
    let pipelined = Work::new("pipelined", "GET pipelined by 16, 64 connections", Kind::Http);
    works.push(Work { depth: 16, ..pipelined });
    for (name, size, connections) in SIZES {
        let title = format!("POST echo of {size} bytes, {connections} connections");
        works.push(Work { size, connections, ..Work::new(&format!("post-{name}"), &title, Kind::Http) });
    }
    let reconnect = Work::new("reconnect", "GET, a connection for each request, 64 at once", Kind::Http);
    works.push(Work { reconnect: true, ..reconnect });
    let idle = Work::new("idle", "GET keep-alive, 64 connections, 10,000 others idle", Kind::Http);
    works.push(Work { idle: 10_000, ..idle });
    for (name, depth, size) in [("lp-1", 1, 100), ("lp-16", 16, 100), ("lp-64k", 1, 64 << 10)] {
        let title = format!("length-prefixed echo of {size} bytes, 64 connections, depth {depth}");
        works.push(Work { depth, size, ..Work::new(name, &title, Kind::LengthPrefixed) });
    }
    let deferred = "GET, answered by a worker thread, 64 connections (bare-epoll answers at once)";
    works.push(Work::new("deferred", deferred, Kind::Deferred));
    works.extend(growth());
    works
}

/// How cost grows: three series.
fn growth() -> Vec<Work> {
    let one = |axis, name: &str, value: usize, work: Work| {
        let (name, title) = (format!("{name}-{value}"), format!("{name} = {value}"));
        Work { name, title, growth: Some((axis, value)), ..work }
    };
    let get = || Work::new("", "", Kind::Http);
    let echo = || Work { connections: LARGE_CONNECTIONS, ..Work::new("", "", Kind::LengthPrefixed) };
    let connections = [1, 10, 100, 1000, 10_000].into_iter();
    let connections = connections
        .map(|value| one(Axis::Connections, "grow-connections", value, Work { connections: value, ..get() }));
    let sizes = (6..=20).step_by(2).map(|power| 1 << power);
    let sizes = sizes.map(|value| one(Axis::Size, "grow-size", value, Work { size: value, ..echo() }));
    let depths = (0..=6).map(|power| 1 << power);
    let depths = depths.map(|value| one(Axis::Depth, "grow-depth", value, Work { depth: value, ..get() }));
    connections.chain(sizes).chain(depths).collect()
}

impl Axis {
    pub const ALL: [Self; 3] = [Self::Connections, Self::Size, Self::Depth];

    /// What it is called in a table and below a chart.
    pub fn title(self) -> &'static str {
        match self {
            Self::Connections => "connections, all active (GET)",
            Self::Size => "bytes of a message (length-prefixed echo, 8 connections)",
            Self::Depth => "requests under way on each of 64 connections (GET)",
        }
    }

    pub fn file(self) -> &'static str {
        match self {
            Self::Connections => "growth-connections.svg",
            Self::Size => "growth-size.svg",
            Self::Depth => "growth-depth.svg",
        }
    }
}
