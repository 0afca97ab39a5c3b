//! The one command of redis that the counter needs, in RESP2.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long redis may take for anything.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest reply line that is believed.
const LINE_MAX: u64 = 1024;

/// Where redis is.
#[derive(Debug)]
pub struct Address {
    /// A name or an address.
    pub host: String,
    /// A port number.
    pub port: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Address {
    /// Adds one to the number at `key` and returns it. The error is a sentence for people.
    pub fn increment(&self, key: &str) -> Result<i64, String> {
        let mut stream = self.connect()?;
        let command = format!("*2\r\n$4\r\nINCR\r\n${}\r\n{key}\r\n", key.len());
        stream
            .write_all(command.as_bytes())
            .map_err(|err| format!("write to redis at {self}: {err}"))?;
        let mut line = String::new();
        let mut reply = BufReader::new(stream.take(LINE_MAX));
        reply
            .read_line(&mut line)
            .map_err(|err| format!("read from redis at {self}: {err}"))?;
        parse(&line).ok_or_else(|| format!("redis at {self} answered {:?}", line.trim_end()))
    }

    fn connect(&self) -> Result<TcpStream, String> {
        let port: u16 = self
            .port
            .parse()
            .map_err(|_| format!("REDIS_PORT={} is not a port number", self.port))?;
        let addresses = (self.host.as_str(), port).to_socket_addrs();
        let addresses = addresses.map_err(|err| format!("look up redis at {self}: {err}"))?;
        let mut last = format!("look up redis at {self}: no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    let limits = stream
                        .set_read_timeout(Some(PATIENCE))
                        .and(stream.set_write_timeout(Some(PATIENCE)));
                    return limits
                        .map(|()| stream)
                        .map_err(|err| format!("set up redis at {self}: {err}"));
                }
                Err(err) => last = format!("connect to redis at {self} ({address}): {err}"),
            }
        }
        Err(last)
    }
}

fn parse(line: &str) -> Option<i64> {
    line.strip_prefix(':')?.strip_suffix("\r\n")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_a_whole_integer_reply_counts() {
        assert_eq!(parse(":42\r\n"), Some(42));
        for line in [
            "",
            ":42",
            "+OK\r\n",
            "-ERR value is not an integer\r\n",
            ":4x\r\n",
        ] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
