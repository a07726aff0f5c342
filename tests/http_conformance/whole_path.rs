//! A case on its whole way: from the bytes of a client, through a whole server in a simulated world, to what comes
//! back.

use std::time::Duration;

use sluicegate::http1::{Http1, Response};
use sluicegate::sim::{End as SimEnd, Network, SimWorkers, Simulation, Weather};
use sluicegate::{Config, Finish, Message, Reply};

use super::http1_cases::{self, Case, escape};
use super::splits::{self, play};
use super::wire::{self, End};

/// Far longer than everything takes, and shorter than the timeouts.
const WHILE: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_millis(10);

/// What the client of a case got.
pub struct Talk {
    pub bytes: Vec<u8>,
    pub end: End,
}

impl Talk {
    pub fn outcome(&self) -> String {
        wire::outcome(&self.bytes, self.end)
    }

    /// The bytes as case files write them, dates masked. A date that is not in the one right form is left to be seen.
    pub fn masked(&self) -> String {
        let text = escape(&self.bytes);
        let mut parts = text.split("Date: ");
        let mut masked = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (date, rest) = part.split_at(httpdate::fmt_http_date(std::time::UNIX_EPOCH).len());
            let right = httpdate::parse_http_date(date).is_ok_and(|time| httpdate::fmt_http_date(time) == date);
            masked.push_str("Date: ");
            masked.push_str(if right { "*" } else { date });
            masked.push_str(rest);
        }
        masked
    }
}

/// Plays the case to a server.
pub fn talk(case: &Case) -> Talk {
    let user = |network: &Network, _: &SimWorkers| {
        let network = network.clone();
        move |request: Message<'_, Http1>, reply: Reply<'_, Http1>| answer(&network, request, reply)
    };
    let mut server = Simulation::new(1, Config::default(), case.protocol(), user).expect("the default settings");
    let peer = server.connect(Weather::calm()).expect("there is room");
    for piece in case.pieces() {
        peer.send(piece);
        server.run_for(WHILE).unwrap_or_else(|broken| panic!("{}: {broken}", case.name));
    }
    if case.client_ends {
        peer.finish();
        server.run_for(WHILE).unwrap_or_else(|broken| panic!("{}: {broken}", case.name));
    }
    let end = match peer.end() {
        None => End::Open,
        Some(SimEnd::Finished) => End::Closed,
        Some(SimEnd::Reset) => End::Reset,
    };
    let talk = Talk { bytes: peer.take_received(), end };
    server.shutdown(Duration::ZERO, Finish::Answer).unwrap_or_else(|broken| panic!("{}: {broken}", case.name));
    talk
}

/// The user of that server: does what the target says.
fn answer(network: &Network, request: Message<'_, Http1>, reply: Reply<'_, Http1>) {
    match request.target() {
        "/drop" => drop(reply),
        "/later" => {
            let reply = reply.defer();
            network.after(LATER, move || reply.send(Response::ok("later")));
        }
        target => reply.send(response(target, request.body().len())),
    }
}

fn response(target: &str, body_len: usize) -> Response<'static> {
    let hello = Response::ok("hello");
    let made = match target {
        "/empty" => return Response::new(200),
        "/close" => return hello.close(),
        "/upgrade" => Response::new(426).body("hello").header("Upgrade", "h2c"),
        "/split" => hello.header("X", "a\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK"),
        _ if status(target).is_some() => return Response::new(status(target).unwrap_or_default()).body("hello"),
        _ if body_len == 0 => return hello,
        _ => hello.header("X-Body", body_len.to_string()),
    };
    made.unwrap_or_else(|_| Response::new(500).body("hello"))
}

/// `/status/204`, or `status:204` for CONNECT.
fn status(target: &str) -> Option<u16> {
    let number = target.strip_prefix("/status/").or_else(|| target.strip_prefix("status:"))?;
    number.parse().ok()
}

/// What has to come back, by what the decoder makes of the case: each message is answered until one is the last; then,
/// or behind what is refused, the connection ends.
pub fn derived(case: &Case) -> String {
    let played = play(&case.protocol(), [case.input.as_slice()], http1_cases::see);
    let mut words = Vec::new();
    for message in &played.messages {
        words.push(match message.body_len() {
            0 => "200".to_owned(),
            length => format!("200({length})"),
        });
        if !message.stays() {
            words.push(End::Closed.word().to_owned());
            return words.join(" ");
        }
    }
    match (&played.end, case.client_ends) {
        (splits::End::Refused { status, .. }, _) => words.push(format!("{status} close")),
        (splits::End::Open { .. }, true) => words.push(End::Closed.word().to_owned()),
        (splits::End::Open { .. }, false) => words.push(End::Open.word().to_owned()),
    }
    words.join(" ")
}
