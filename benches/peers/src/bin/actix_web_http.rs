//! actix-web with one worker.

use std::io;
use std::time::Duration;

use actix_web::web::{self, Bytes, PayloadConfig};
use actix_web::{App, HttpServer, rt};

use sluicegate_bench_peers::start::Args;
use sluicegate_bench_peers::{BODY_MAX, HELLO};

/// Connections that say nothing are not closed while it is measured.
const PATIENCE: Duration = Duration::from_secs(600);

fn main() -> io::Result<()> {
    let args = Args::parse();
    let app = || {
        App::new()
            .app_data(PayloadConfig::new(BODY_MAX))
            .route("/plaintext", web::get().to(async || HELLO))
            .route("/echo", web::post().to(async |body: Bytes| body))
    };
    let listener = args.listen()?;
    rt::System::new().block_on(async {
        HttpServer::new(app)
            .workers(1)
            .keep_alive(PATIENCE)
            .client_request_timeout(Duration::ZERO)
            .listen(listener)?
            .run()
            .await
    })
}
