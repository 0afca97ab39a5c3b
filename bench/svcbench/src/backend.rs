//! A TCP server whose answer is the address it was reached at, so that one process can stand for
//! thousands of endpoints (with `ip route add local NET dev lo` in its network namespace).

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

pub fn serve(listen: SocketAddr) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let listener = TcpListener::bind(listen).await?;
            loop {
                let Ok((mut stream, _)) = listener.accept().await else {
                    continue;
                };
                tokio::spawn(async move {
                    let Ok(local) = stream.local_addr() else {
                        return;
                    };
                    let mut request = [0; 64];
                    while matches!(stream.read(&mut request).await, Ok(n) if n > 0) {
                        if stream
                            .write_all(format!("{}\n", local.ip()).as_bytes())
                            .await
                            .is_err()
                        {
                            return;
                        }
                    }
                });
            }
        })
}
