//! hyper's server, with its default settings: reads each body, and says how long it was.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::{io, thread};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

/// Serves until the program ends.
pub fn start() -> io::Result<SocketAddr> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                tokio::task::spawn_local(connection);
            }
        });
    });
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let length = request.into_body().collect().await?.to_bytes().len();
    let answer = Response::builder().header("X-Body", length).body(Full::from("hello"));
    Ok(answer.unwrap_or_else(|error| match never(error) {}))
}

fn never(error: hyper::http::Error) -> Infallible {
    panic!("a number is a value: {error}")
}

/// The version that was built in.
pub fn version() -> String {
    let lock = include_str!("../Cargo.lock");
    let behind = lock.split("name = \"hyper\"\nversion = \"").nth(1).unwrap_or_default();
    behind.split('"').next().unwrap_or_default().to_owned()
}
