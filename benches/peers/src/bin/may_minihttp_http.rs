//! may_minihttp on one worker of may's. It knows no `Connection: close`.

use std::io::{self, Read};

use may_minihttp::{HttpServer, HttpService, Request, Response};

use sluicegate_bench_peers::HELLO;
use sluicegate_bench_peers::start::{Args, announce};

#[derive(Clone)]
struct Echo;

impl HttpService for Echo {
    fn call(&mut self, request: Request, answer: &mut Response) -> io::Result<()> {
        match (request.method(), request.path()) {
            ("GET", "/plaintext") => {
                answer.header("Content-Type: text/plain").body(HELLO);
            }
            ("POST", "/echo") => {
                let mut body = Vec::new();
                request.body().read_to_end(&mut body)?;
                answer.body_vec(body);
            }
            _ => {
                answer.status_code(404, "Not Found");
            }
        }
        Ok(())
    }
}

fn main() -> io::Result<()> {
    let args = Args::parse();
    may::config().set_workers(1);
    let address = args.free_address()?;
    let server = HttpServer(Echo).start(address)?;
    announce(address)?;
    server.join().map_err(|_| io::Error::other("it has panicked"))
}
