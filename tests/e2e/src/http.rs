//! As much of HTTP as `curl URL` needs, from the calling thread's network.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// What is there answers at once.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Why there was no page.
#[derive(Debug)]
pub enum HttpError {
    /// No connection, or one that broke.
    Io(io::Error),
    /// An answer other than 200.
    Status(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Status(answer) => f.write_str(answer),
        }
    }
}

impl From<io::Error> for HttpError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The body of `http://ADDRESS/`.
pub fn get(address: &str) -> Result<String, HttpError> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, address.to_owned());
    let address: SocketAddr = address.to_socket_addrs()?.next().ok_or_else(unknown)?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    write!(
        stream,
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(HttpError::Status(answer)),
    }
}
