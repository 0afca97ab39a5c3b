//! The sockets: datagrams and streams in, replies out.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use domain::base::iana::Rcode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Error;
use crate::message::{self, Step, Transport};
use crate::upstream;
use crate::zone::Zone;

/// Queries that wait for an upstream at once; more are answered SERVFAIL.
const FORWARDS_MAX: usize = 1024;
/// Streams open at once; more wait in the kernel's backlog.
const STREAMS_MAX: usize = 256;
/// A stream that says nothing for so long is closed (RFC 7766, 6.2.3).
const STREAM_IDLE: Duration = Duration::from_secs(10);

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bound sockets, not yet served.
pub struct Listeners {
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
}

impl Listeners {
    /// Binds UDP and TCP on each address.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] names the address that could not be had.
    pub async fn bind(addresses: &[SocketAddr]) -> Result<Listeners, Error> {
        let (mut udp, mut tcp) = (Vec::new(), Vec::new());
        for &address in addresses {
            let failed = |source| Error::Listen { address, source };
            udp.push(UdpSocket::bind(address).await.map_err(failed)?);
            tcp.push(TcpListener::bind(address).await.map_err(failed)?);
        }
        Ok(Listeners { udp, tcp })
    }

    /// Serves until `shutdown`, then lets what is under way end.
    pub async fn serve(
        self,
        zone: Arc<RwLock<Zone>>,
        upstreams: Arc<[SocketAddr]>,
        shutdown: CancellationToken,
    ) {
        let server = Server {
            zone,
            upstreams,
            forwards: Arc::new(Semaphore::new(FORWARDS_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            tasks: TaskTracker::new(),
        };
        for socket in self.udp {
            let served = server.clone().datagrams(Arc::new(socket));
            server
                .tasks
                .spawn(shutdown.clone().run_until_cancelled_owned(served));
        }
        for listener in self.tcp {
            let served = server.clone().streams(listener);
            server
                .tasks
                .spawn(shutdown.clone().run_until_cancelled_owned(served));
        }
        server.tasks.close();
        server.tasks.wait().await;
    }
}

#[derive(Clone)]
struct Server {
    zone: Arc<RwLock<Zone>>,
    upstreams: Arc<[SocketAddr]>,
    forwards: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Server {
    fn respond(&self, query: &[u8], transport: Transport) -> Step {
        let zone = self
            .zone
            .read()
            .expect("no reader or writer of the zone panics");
        message::respond(query, &zone, transport)
    }

    async fn datagrams(self, socket: Arc<UdpSocket>) {
        let mut buffer = [0u8; 4096];
        loop {
            let (len, peer) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // An ICMP error of an earlier reply is reported here; it says nothing of the next query.
                Err(err) => {
                    tracing::trace!(err = %err, "receive failed");
                    continue;
                }
            };
            let query = &buffer[..len];
            match self.respond(query, Transport::Udp) {
                Step::Reply(reply) => send(&socket, &reply, peer).await,
                Step::Drop => {}
                step @ (Step::Forward | Step::Chase(_)) => {
                    let Ok(permit) = self.forwards.clone().try_acquire_owned() else {
                        if let Some(reply) = message::fail(query, Transport::Udp, Rcode::SERVFAIL) {
                            send(&socket, &reply, peer).await;
                        }
                        continue;
                    };
                    let (server, socket, query) = (self.clone(), socket.clone(), query.to_vec());
                    self.tasks.spawn(async move {
                        if let Some(reply) = server.ask(&query, step, Transport::Udp).await {
                            send(&socket, &reply, peer).await;
                        }
                        drop(permit);
                    });
                }
            }
        }
    }

    /// What an upstream makes of a query that the zone does not answer alone.
    async fn ask(&self, query: &[u8], step: Step, transport: Transport) -> Option<Vec<u8>> {
        if self.upstreams.is_empty() {
            return match step {
                Step::Chase(target) => message::finish_alias(query, &target, None, transport),
                _ => message::fail(query, transport, Rcode::REFUSED),
            };
        }
        match step {
            Step::Chase(target) => {
                let asked = message::query_for(query, &target, rand::random());
                let said = match asked {
                    Some(asked) => {
                        upstream::exchange(&asked, &self.upstreams, Transport::Tcp).await
                    }
                    None => None,
                };
                message::finish_alias(query, &target, said.as_deref(), transport)
            }
            _ => match upstream::exchange(query, &self.upstreams, transport).await {
                Some(reply) => Some(reply),
                None => message::fail(query, transport, Rcode::SERVFAIL),
            },
        }
    }

    async fn streams(self, listener: TcpListener) {
        loop {
            let Ok(permit) = self.streams.clone().acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let server = self.clone();
                    self.tasks.spawn(async move {
                        // The asker hung up or stalled: its own affair.
                        let _ = server.stream(stream).await;
                        drop(permit);
                    });
                }
                Err(err) => {
                    tracing::warn!(err = %err, "accept failed");
                    // Out of descriptors: trying again at once would only spin.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn stream(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        loop {
            let len = timeout(STREAM_IDLE, stream.read_u16()).await??;
            let mut query = vec![0u8; usize::from(len)];
            timeout(STREAM_IDLE, stream.read_exact(&mut query)).await??;
            let reply = match self.respond(&query, Transport::Tcp) {
                Step::Reply(reply) => Some(reply),
                Step::Drop => return Ok(()),
                step => self.ask(&query, step, Transport::Tcp).await,
            };
            let Some(reply) = reply else { return Ok(()) };
            let mut framed = Vec::with_capacity(reply.len() + 2);
            framed.extend_from_slice(&(reply.len() as u16).to_be_bytes());
            framed.extend_from_slice(&reply);
            timeout(STREAM_IDLE, stream.write_all(&framed)).await??;
        }
    }
}

async fn send(socket: &UdpSocket, reply: &[u8], peer: SocketAddr) {
    if let Err(err) = socket.send_to(reply, peer).await {
        tracing::trace!(err = %err, peer = %peer, "send failed");
    }
}
