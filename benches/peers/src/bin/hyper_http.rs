//! hyper on tokio's current_thread runtime; with `--worker`, each answer comes from a worker thread.
//!
//! `pipeline_flush` gathers the answers to pipelined requests, and copies large bodies for that. axum leaves it off:
//! the two show what it gives and takes.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use sluicegate_bench_peers::HELLO;
use sluicegate_bench_peers::start::Args;

type Answer = Response<Full<Bytes>>;
type Work = (Request<Bytes>, oneshot::Sender<Answer>);

fn main() -> io::Result<()> {
    let args = Args::parse();
    let worker = if args.worker { Some(start_worker()?) } else { None };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(serve(args.listen()?, worker))
}

async fn serve(listener: std::net::TcpListener, worker: Option<SyncSender<Work>>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (socket, _) = listener.accept().await?;
        let worker = worker.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, worker.clone()));
            // A connection that fails is that peer's matter.
            let _ = http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn answer(request: Request<Incoming>, worker: Option<SyncSender<Work>>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = if head.method == Method::GET { Bytes::new() } else { collect(body).await };
    let request = Request::from_parts(head, body);
    let Some(worker) = worker else { return Ok(work(request)) };
    let (sender, later) = oneshot::channel();
    let _ = worker.send((request, sender));
    Ok(later.await.unwrap_or_default())
}

async fn collect(body: Incoming) -> Bytes {
    body.collect().await.map(|body| body.to_bytes()).unwrap_or_default()
}

fn work(request: Request<Bytes>) -> Answer {
    let mut answer = Answer::default();
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/plaintext") => {
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            *answer.body_mut() = Full::new(Bytes::from_static(HELLO.as_bytes()));
        }
        (&Method::POST, "/echo") => *answer.body_mut() = Full::new(request.into_body()),
        _ => *answer.status_mut() = StatusCode::NOT_FOUND,
    }
    answer
}

fn start_worker() -> io::Result<SyncSender<Work>> {
    let (sender, works) = mpsc::sync_channel::<Work>(1024);
    thread::Builder::new().name("worker".into()).spawn(move || {
        for (request, later) in works {
            let _ = later.send(work(request));
        }
    })?;
    Ok(sender)
}
