//! The sockets: datagrams and streams in, replies out.
//!
//! Each address has one thread for datagrams, which takes and answers them by the batch and waits for nobody; what
//! takes time goes to tasks. Streams are tasks; questions on one may be answered in another order (RFC 7766, 6.2.1.1).

use std::collections::HashMap;
use std::io::{self, PipeReader, PipeWriter};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use karve_sys::datagram::{self, Batch};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Error;
use crate::engine::{Asker, Engine, Server, Step};
use crate::resolve::Trace;
use crate::wire::{Transport, rcode};

/// Questions that wait for others at once; more are answered SERVFAIL.
const WAITING_MAX: usize = 8192;
/// Streams open at once; more are closed.
const STREAMS_MAX: usize = 1024;
/// Of one client.
const STREAMS_OF_ONE_MAX: usize = 64;
/// Questions of one stream that wait for others at once; the next one is not read.
const PIPELINE_MAX: usize = 32;
/// A stream that says nothing for so long is closed (RFC 7766, 6.2.3).
const STREAM_IDLE: Duration = Duration::from_secs(10);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The open sockets, by address.
pub struct Sockets {
    engine: Arc<Engine>,
    open: HashMap<SocketAddr, Open>,
    waiting: Arc<Semaphore>,
    streams: Arc<Streams>,
}

struct Open {
    /// Dropped to end the thread.
    end: PipeWriter,
    thread: JoinHandle<()>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Sockets {
    /// No sockets yet.
    pub fn new(engine: Arc<Engine>) -> Sockets {
        Sockets {
            engine,
            open: HashMap::new(),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            streams: Arc::default(),
        }
    }

    /// Opens what is wanted and not open, then closes what is open and not wanted. When one can't be opened, all stays
    /// as it was.
    ///
    /// # Errors
    /// [`Error::Listen`] names the address.
    pub async fn set(&mut self, wanted: &[SocketAddr]) -> Result<(), Error> {
        let mut opened = Vec::new();
        for &address in wanted.iter().filter(|a| !self.open.contains_key(a)) {
            let failed = |source| Error::Listen { address, source };
            let udp = datagram::bind(address).map_err(failed)?;
            let tcp = TcpListener::bind(address).await.map_err(failed)?;
            opened.push((address, udp, tcp));
        }
        for (address, udp, tcp) in opened {
            let open = self
                .serve(address, udp, tcp)
                .map_err(|source| Error::Listen { address, source })?;
            self.open.insert(address, open);
        }
        let old = self.open.keys().filter(|address| !wanted.contains(address));
        for address in old.copied().collect::<Vec<_>>() {
            if let Some(open) = self.open.remove(&address) {
                open.close().await;
            }
        }
        Ok(())
    }

    fn serve(&self, address: SocketAddr, udp: UdpSocket, tcp: TcpListener) -> io::Result<Open> {
        let (reader, end) = io::pipe()?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let datagrams = Datagrams {
            engine: self.engine.clone(),
            socket: Arc::new(udp),
            port: address.port(),
            waiting: self.waiting.clone(),
            runtime: Handle::current(),
            tasks: tasks.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("dns-udp".to_owned())
            .spawn(move || datagrams.run(&reader))?;
        let listener = Listener {
            engine: self.engine.clone(),
            port: address.port(),
            streams: self.streams.clone(),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(stop.clone().run_until_cancelled_owned(listener.accept(tcp)));
        Ok(Open {
            end,
            thread,
            stop,
            tasks,
        })
    }

    /// Closes all, and lets what is under way end.
    pub async fn close(mut self) {
        for (_, open) in self.open.drain() {
            open.close().await;
        }
    }
}

impl Open {
    async fn close(self) {
        drop(self.end);
        self.stop.cancel();
        let thread = self.thread;
        // It ends at once; waiting for it must not hold up the runtime all the same.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        self.tasks.close();
        self.tasks.wait().await;
    }
}

struct Datagrams {
    engine: Arc<Engine>,
    socket: Arc<UdpSocket>,
    port: u16,
    waiting: Arc<Semaphore>,
    runtime: Handle,
    tasks: TaskTracker,
}

type Late = (Arc<Server>, Vec<u8>, Asker);

impl Datagrams {
    fn run(self, end: &PipeReader) {
        let mut batch = Batch::new();
        let mut late = Vec::new();
        loop {
            let count = match batch.receive(&self.socket) {
                Ok(count) => count,
                // An ICMP error of an earlier reply is reported here; it says nothing of the next query.
                Err(err) => {
                    tracing::trace!(err = %err, "receive failed");
                    continue;
                }
            };
            if count == 0 {
                match datagram::wait(&self.socket, end.as_fd()) {
                    Ok(true) => continue,
                    Ok(false) => return,
                    Err(err) => {
                        tracing::error!(err = %err, "waiting for queries failed");
                        return;
                    }
                }
            }
            self.answer(&mut batch, count, &mut late);
            batch.send(&self.socket);
            for each in late.drain(..) {
                self.later(each);
            }
        }
    }

    fn answer(&self, batch: &mut Batch, count: usize, late: &mut Vec<Late>) {
        let config = self.engine.config();
        let zone = self.engine.zone.read();
        for at in 0..count {
            let (bytes, peer, out) = batch.datagram(at);
            let Some(address) = peer else { continue };
            let asker = Asker {
                address: SocketAddr::new(address.ip().to_canonical(), address.port()),
                transport: Transport::Udp,
                port: self.port,
            };
            match self.engine.quick(&config, &zone, bytes, &asker, out) {
                Step::Reply => {}
                Step::Drop => out.clear(),
                Step::Later(server) => {
                    out.clear();
                    // The reply goes to the address as it came.
                    let asker = Asker { address, ..asker };
                    late.push((server, bytes.to_vec(), asker));
                }
            }
        }
    }

    fn later(&self, (server, bytes, mut asker): Late) {
        let to = asker.address;
        asker.address.set_ip(to.ip().to_canonical());
        let socket = self.socket.clone();
        let send = move |reply: &[u8]| {
            if let Err(err) = socket.send_to(reply, to) {
                tracing::trace!(err = %err, peer = %to, "send failed");
            }
        };
        let Ok(permit) = self.waiting.clone().try_acquire_owned() else {
            if let Some(reply) = crate::reply::bare(&bytes, rcode::SERVFAIL) {
                send(&reply);
            }
            return;
        };
        let engine = self.engine.clone();
        let task = async move {
            let trace = Trace::default();
            if let Some(reply) = engine.later(&server, &bytes, &asker, &trace).await {
                send(&reply);
            }
            drop(permit);
        };
        self.tasks.spawn_on(task, &self.runtime);
    }
}

/// Who has how many streams open.
#[derive(Debug, Default)]
struct Streams {
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One stream's place, given back when dropped.
struct Place {
    streams: Arc<Streams>,
    client: IpAddr,
}

impl Streams {
    fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Place> {
        let mut open = self.open.lock();
        let all: usize = open.values().sum();
        let own = open.get(&client).copied().unwrap_or(0);
        if all >= STREAMS_MAX || own >= STREAMS_OF_ONE_MAX {
            return None;
        }
        open.insert(client, own + 1);
        Some(Place {
            streams: self.clone(),
            client,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock();
        match open.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&self.client)),
        }
    }
}

struct Listener {
    engine: Arc<Engine>,
    port: u16,
    streams: Arc<Streams>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Listener {
    async fn accept(self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let client = peer.ip().to_canonical();
                    let Some(place) = self.streams.enter(client) else {
                        continue;
                    };
                    let asker = Asker {
                        address: SocketAddr::new(client, peer.port()),
                        transport: Transport::Tcp,
                        port: self.port,
                    };
                    let served = serve_stream(self.engine.clone(), stream, asker);
                    let stop = self.stop.clone();
                    self.tasks.spawn(async move {
                        // The asker hung up or stalled: its own affair.
                        let _ = stop.run_until_cancelled_owned(served).await;
                        drop(place);
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
}

async fn serve_stream(engine: Arc<Engine>, stream: TcpStream, asker: Asker) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let (replies, queue) = mpsc::channel(PIPELINE_MAX);
    let writing = tokio::spawn(write_replies(writer, queue));
    let pipeline = Arc::new(Semaphore::new(PIPELINE_MAX));
    let mut out = Vec::new();
    loop {
        let len = match timeout(STREAM_IDLE, reader.read_u16()).await {
            Ok(Ok(len)) => usize::from(len),
            // Silent, or at its end.
            Ok(Err(_)) | Err(_) => break,
        };
        let mut query = vec![0u8; len];
        timeout(STREAM_IDLE, reader.read_exact(&mut query)).await??;
        let step = {
            let config = engine.config();
            let zone = engine.zone.read();
            engine.quick(&config, &zone, &query, &asker, &mut out)
        };
        match step {
            Step::Drop => break,
            Step::Reply => {
                if replies.send(out.clone()).await.is_err() {
                    break;
                }
            }
            Step::Later(server) => {
                let Ok(permit) = pipeline.clone().acquire_owned().await else {
                    break;
                };
                let (engine, replies) = (engine.clone(), replies.clone());
                tokio::spawn(async move {
                    let trace = Trace::default();
                    if let Some(reply) = engine.later(&server, &query, &asker, &trace).await {
                        // The stream may have ended.
                        let _ = replies.send(reply).await;
                    }
                    drop(permit);
                });
            }
        }
    }
    drop(replies);
    // Answers under way are still sent.
    let _ = writing.await;
    Ok(())
}

async fn write_replies(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) {
    while let Some(reply) = queue.recv().await {
        let mut framed = Vec::with_capacity(reply.len() + 2);
        framed.extend_from_slice(&(reply.len() as u16).to_be_bytes());
        framed.extend_from_slice(&reply);
        let written = timeout(STREAM_IDLE, writer.write_all(&framed)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}
