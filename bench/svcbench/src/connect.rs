//! Short connections from a client's network namespace: connect, one request, one answer, reset.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

/// Moves the calling thread into a network namespace.
pub fn enter(netns: &Path) -> Result<()> {
    let file = File::open(netns).with_context(|| format!("open {}", netns.display()))?;
    nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("enter {}", netns.display()))
}

/// One short connection; the answer is the backend's own address. Reset at the end, so that
/// no TIME_WAIT uses up the client's ports.
pub fn ask(to: SocketAddrV4, limit: Duration) -> std::io::Result<Ipv4Addr> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_write_timeout(Some(limit))?;
    socket.set_read_timeout(Some(limit))?;
    socket.connect_timeout(&to.into(), limit)?;
    (&socket).write_all(b"?")?;
    let mut answer = [0; 32];
    let n = (&socket).read(&mut answer)?;
    let text = std::str::from_utf8(&answer[..n]).unwrap_or("").trim();
    text.parse()
        .map_err(|_| std::io::Error::other(format!("answer {text:?}")))
}

/// A kept connection's request and answer, for latency without the handshake.
pub fn exchange(socket: &mut (impl Read + Write)) -> std::io::Result<()> {
    let mut answer = [0; 32];
    socket.write_all(b"?")?;
    match socket.read(&mut answer)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
