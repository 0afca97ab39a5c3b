//! Questions asked from another network namespace, again and again until they are answered.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

/// Longest wait for one answer (short, since packets to an address that nobody handles yet may vanish), and the pause
/// before the next question.
const LIMIT: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(2);

/// A query for `kubernetes.default.svc.cluster.local`, type A (RFC 1035, 4.1).
const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\
    \x0akubernetes\x07default\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01";

/// Where the questions come from.
#[derive(Clone)]
pub struct Inside {
    pub netns: Option<PathBuf>,
}

impl Inside {
    /// When `ask` first succeeded, asked on a thread of its own.
    pub fn until(
        &self,
        ask: impl Fn() -> Result<()> + Send + 'static,
    ) -> oneshot::Receiver<Instant> {
        let (answered, answer) = oneshot::channel();
        let netns = self.netns.clone();
        std::thread::spawn(move || {
            if let Some(netns) = netns {
                while !File::open(&netns)
                    .is_ok_and(|file| setns(file, CloneFlags::CLONE_NEWNET).is_ok())
                {
                    std::thread::sleep(PAUSE);
                }
            }
            while ask().is_err() {
                if answered.is_closed() {
                    return;
                }
                std::thread::sleep(PAUSE);
            }
            // The asker may have given up meanwhile.
            let _ = answered.send(Instant::now());
        });
        answer
    }
}

/// One DNS query that must be answered with an address.
pub fn resolve(server: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.connect(server)?;
    socket.send(QUERY)?;
    let mut reply = [0; 512];
    let len = socket.recv(&mut reply)?;
    let answers = u16::from_be_bytes([reply[6], reply[7]]);
    ensure!(
        len > QUERY.len() && reply[..2] == QUERY[..2] && reply[3] & 0x0f == 0 && answers > 0,
        "no address yet"
    );
    Ok(())
}

/// One HTTP request that must be answered with 200.
pub fn ask(server: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&server, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    ensure!(
        head.starts_with(b"HTTP/1.") && &head[9..] == b"200",
        "not HTTP 200"
    );
    Ok(())
}
