//! axum on tokio's current_thread runtime.

use std::io;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use tokio::net::TcpListener;

use sluicegate_bench_peers::start::Args;
use sluicegate_bench_peers::{BODY_MAX, HELLO};

fn main() -> io::Result<()> {
    let args = Args::parse();
    let routes = Router::new()
        .route("/plaintext", get(async || HELLO))
        .route("/echo", post(async |body: Bytes| body))
        .layer(DefaultBodyLimit::max(BODY_MAX));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { axum::serve(TcpListener::from_std(args.listen()?)?, routes).await })
}
