//! tokio-util's LengthDelimitedCodec on tokio's current_thread runtime.

use std::io;

use bytes::BytesMut;
use futures_util::StreamExt;
use tokio::net::TcpListener;
use tokio_util::codec::LengthDelimitedCodec;

use sluicegate_bench_peers::BODY_MAX;
use sluicegate_bench_peers::start::Args;

fn main() -> io::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::from_std(args.listen()?)?;
        loop {
            let (socket, _) = listener.accept().await?;
            tokio::spawn(async move {
                let framed = LengthDelimitedCodec::builder().max_frame_length(BODY_MAX).new_framed(socket);
                let (sink, stream) = framed.split();
                // It writes when nothing more is there to be read. A connection that fails is that peer's matter.
                let _ = stream.map(|message| message.map(BytesMut::freeze)).forward(sink).await;
            });
        }
    })
}
