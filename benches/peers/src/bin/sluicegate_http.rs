//! sluicegate over HTTP, with its defaults; with `--worker`, each answer comes from a worker thread.

use std::io;

use sluicegate::http1::{Body, Http1, Response};
use sluicegate::{Message, Server, Workers};

use sluicegate_bench_peers::HELLO;
use sluicegate_bench_peers::start::{Args, announce};

fn main() -> io::Result<()> {
    let args = Args::parse();
    let server = Server::bind(args.address, Http1::default())?;
    announce(server.local_addr())?;
    match args.worker {
        false => server.serve(|request, reply| reply.send(answer(&request))),
        true => server.serve_on(Workers::new(1, 1024), |request, reply| reply.send(answer(&request))),
    }
}

fn answer<'a>(request: &'a Message<'_, Http1>) -> Response<'a> {
    match (request.method(), request.target()) {
        ("GET", "/plaintext") => Response::ok(Body::from_static(HELLO)).content_type("text/plain"),
        ("POST", "/echo") => Response::ok(request.body()),
        _ => Response::new(404),
    }
}
