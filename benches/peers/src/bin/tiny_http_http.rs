//! tiny_http: a thread for each connection, and one that answers.

use std::io;

use tiny_http::{Header, Method, Response, Server};

use sluicegate_bench_peers::HELLO;
use sluicegate_bench_peers::start::Args;

fn main() -> io::Result<()> {
    let args = Args::parse();
    let server = Server::from_listener(args.listen_blocking()?, None).map_err(io::Error::other)?;
    let text: Header = "Content-Type: text/plain".parse().expect("a header");
    loop {
        let mut request = server.recv()?;
        // A peer that has gone is no error of the server's.
        let _ = match (request.method(), request.url()) {
            (Method::Get, "/plaintext") => request.respond(Response::from_data(HELLO).with_header(text.clone())),
            (Method::Post, "/echo") => {
                let mut body = Vec::new();
                request.as_reader().read_to_end(&mut body)?;
                request.respond(Response::from_data(body).with_chunked_threshold(usize::MAX))
            }
            _ => request.respond(Response::empty(404)),
        };
    }
}
