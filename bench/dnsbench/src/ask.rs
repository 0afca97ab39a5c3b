//! Questions over one socket, by a window or by the clock.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benchkit::stats::{self, Lcg};
use serde_json::{Value, json};

use crate::objects;

/// A question that is not answered by then is lost.
const LOST: Duration = Duration::from_secs(1);

/// Asks for the names of the Services.
pub struct Asker {
    socket: UdpSocket,
    queries: Vec<Vec<u8>>,
}

/// A query for the A records of `name`; its number is filled in later.
pub fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

impl Asker {
    /// An asker for `services` names.
    pub fn new(dns: SocketAddr, services: usize) -> Result<Asker> {
        let socket = UdpSocket::bind("0.0.0.0:0").context("bind a socket")?;
        socket.connect(dns).context("connect to the server")?;
        let names = (0..services).map(|i| query(&objects::full_name(i)));
        Ok(Asker {
            socket,
            queries: names.collect(),
        })
    }

    /// Until the last of the names is answered.
    pub fn wait(&self) -> Result<()> {
        let last = self.queries.last().context("there are no names")?;
        self.socket
            .set_read_timeout(Some(Duration::from_millis(200)))?;
        let end = Instant::now() + Duration::from_secs(120);
        let mut reply = [0; 2048];
        while Instant::now() < end {
            self.socket.send(last).ok();
            if let Ok(len) = self.socket.recv(&mut reply)
                && len > 12
                && reply[3] & 0xf == 0
                && reply[7] > 0
            {
                return Ok(());
            }
        }
        bail!("the names are not answered")
    }

    fn send(&self, id: u16, random: &mut Lcg, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.clear();
        buffer.extend_from_slice(&self.queries[random.below(self.queries.len())]);
        buffer[..2].copy_from_slice(&id.to_be_bytes());
        self.socket.send(buffer).context("ask").map(drop)
    }

    /// `window` questions in flight: a reply is followed by the next question.
    pub fn closed(&self, window: u16, length: Duration) -> Result<Value> {
        self.drain()?;
        self.socket.set_read_timeout(Some(LOST))?;
        let (mut random, mut buffer, mut reply) = (Lcg(7), Vec::new(), [0; 2048]);
        let start = Instant::now();
        let mut sent = vec![start; usize::from(window)];
        for id in 0..window {
            sent[usize::from(id)] = Instant::now();
            self.send(id, &mut random, &mut buffer)?;
        }
        let (mut samples, mut failed, mut lost) = (Vec::new(), 0u64, 0u64);
        while start.elapsed() < length {
            match self.socket.recv(&mut reply) {
                Ok(len) if len >= 12 => {
                    let id = u16::from_be_bytes([reply[0], reply[1]]);
                    let slot = &mut sent[usize::from(id % window)];
                    samples.push(slot.elapsed().as_secs_f64() * 1e3);
                    failed += u64::from(reply[3] & 0xf != 0 || reply[7] == 0);
                    *slot = Instant::now();
                    self.send(id, &mut random, &mut buffer)?;
                }
                Ok(_) => failed += 1,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => {
                    lost += u64::from(window);
                    for id in 0..window {
                        self.send(id, &mut random, &mut buffer)?;
                    }
                }
                Err(err) => return Err(err).context("hear an answer"),
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        Ok(json!({
            "answers": samples.len(),
            "per_second": stats::round(samples.len() as f64 / seconds),
            "failed": failed,
            "lost": lost,
            "ms": stats::summary(samples),
        }))
    }

    /// `rate` questions a second, sent by the clock whether earlier ones are answered or not. Times are counted from
    /// when a question was due.
    pub fn open(&self, rate: u64, length: Duration) -> Result<Value> {
        self.drain()?;
        let total = (rate as f64 * length.as_secs_f64()) as usize;
        let total = total.clamp(1, 4_000_000);
        let gap = length.as_secs_f64() / total as f64;
        let receiver = self.socket.try_clone()?;
        receiver.set_read_timeout(Some(LOST))?;
        let start = Instant::now();
        let due = move |at: usize| start + Duration::from_secs_f64(at as f64 * gap);
        let hearing = std::thread::spawn(move || {
            let (mut samples, mut reply) = (Vec::with_capacity(total), [0; 2048]);
            let mut seen = 0usize;
            while samples.len() < total {
                let Ok(len) = receiver.recv(&mut reply) else {
                    break;
                };
                if len < 12 {
                    continue;
                }
                // The number is the low half of the count; replies come nearly in order.
                let id = usize::from(u16::from_be_bytes([reply[0], reply[1]]));
                let near = seen & !0xffff | id;
                let at = match near {
                    near if near + 0x8000 < seen => near + 0x1_0000,
                    near if near > seen + 0x8000 => near.saturating_sub(0x1_0000),
                    near => near,
                };
                seen = seen.max(at);
                samples.push(due(at).elapsed().as_secs_f64() * 1e3);
            }
            samples
        });
        let (mut random, mut buffer) = (Lcg(11), Vec::new());
        for at in 0..total {
            let wait = due(at).saturating_duration_since(Instant::now());
            if wait > Duration::from_micros(200) {
                std::thread::sleep(wait - Duration::from_micros(100));
            }
            self.send(at as u16, &mut random, &mut buffer)?;
        }
        let samples = hearing
            .join()
            .map_err(|_| anyhow::anyhow!("hearing failed"))?;
        Ok(json!({
            "rate": rate,
            "asked": total,
            "lost": total.saturating_sub(samples.len()),
            "ms": stats::summary(samples),
        }))
    }

    /// Forgets what an earlier measurement left.
    fn drain(&self) -> Result<()> {
        self.socket
            .set_read_timeout(Some(Duration::from_millis(50)))?;
        let mut reply = [0; 2048];
        while self.socket.recv(&mut reply).is_ok() {}
        Ok(())
    }
}
