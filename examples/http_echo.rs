//! tmp
use sluicegate::{
    Server,
    http1::{Http1, Response},
};
fn main() -> std::io::Result<()> {
    env_logger::init();
    Server::bind("127.0.0.1:8080", Http1::default())?.serve(|request, reply| {
        if request.target() == "/plaintext" {
            return reply.send(Response::ok("Hello, World!").content_type("text/plain"));
        }
        if request.body().is_empty() {
            reply.send(Response::ok(request.head()))
        } else {
            reply.send(Response::ok(request.body()))
        }
    })
}
