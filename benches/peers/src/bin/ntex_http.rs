//! ntex with one worker, on tokio.

use std::io;

use ntex::SharedCfg;
use ntex::http::HttpServiceConfig;
use ntex::time::Seconds;
use ntex::util::Bytes;
use ntex::web::types::PayloadConfig;
use ntex::web::{self, App, HttpServer};

use sluicegate_bench_peers::start::Args;
use sluicegate_bench_peers::{BODY_MAX, HELLO};

/// Connections that say nothing are not closed while it is measured.
const PATIENCE: Seconds = Seconds(600);

#[ntex::main]
async fn main() -> io::Result<()> {
    let args = Args::parse();
    let config = HttpServiceConfig::new().set_keepalive(PATIENCE).set_client_timeout(Seconds::ZERO);
    HttpServer::new(async || {
        App::new()
            .state(PayloadConfig::new(BODY_MAX))
            .route("/plaintext", web::get().to(async || HELLO))
            .route("/echo", web::post().to(async |body: Bytes| web::HttpResponse::Ok().body(body)))
    })
    .workers(1)
    .config(SharedCfg::new("PEER").add(config))
    .listen(args.listen()?)?
    .run()
    .await
}
