//! The tutorial's app: a page that counts its visitors in redis.
//!
//! Listens on `PORT` (3000), increments the key `count` in the redis at `REDIS_HOST`:`REDIS_PORT`
//! (`redis`:6379). The name is looked up for each visit, so that a moved redis is found.

mod redis;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

/// Visitors served at once; more are told to come back.
const VISITORS_MAX: usize = 256;
/// A visitor who says nothing for so long is sent away.
const PATIENCE: Duration = Duration::from_secs(5);
const TEXT: &str = "text/plain; charset=utf-8";
/// The most that a request's head may be long.
const HEAD_MAX: u64 = 16 * 1024;

fn main() -> Result<(), String> {
    // As a container's first process, this one gets no signal that it does not ask for.
    let stop = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    stop.thread_block()
        .map_err(|err| format!("block signals: {err}"))?;

    let port = variable("PORT", "3000");
    let redis = Arc::new(redis::Address {
        host: variable("REDIS_HOST", "redis"),
        port: variable("REDIS_PORT", "6379"),
    });
    let listener = port
        .parse()
        .map_err(|_| format!("PORT={port} is not a port number"))
        .and_then(|port: u16| {
            TcpListener::bind(("0.0.0.0", port))
                .map_err(|err| format!("listen on port {port}: {err}"))
        })?;
    println!("counting on port {port}, in redis at {redis}");

    let visitors = Arc::new(Visitors::default());
    let serving = visitors.clone();
    thread::spawn(move || serve(&listener, &redis, &serving));

    stop.wait()
        .map_err(|err| format!("wait for a signal: {err}"))?;
    println!("stopping");
    visitors.wait_until_gone();
    Ok(())
}

/// How many are being served.
#[derive(Default)]
struct Visitors {
    inside: Mutex<usize>,
    left: Condvar,
}

impl Visitors {
    fn enter(&self) -> bool {
        let mut inside = self.inside.lock().expect("no holder panics");
        let room = *inside < VISITORS_MAX;
        *inside += usize::from(room);
        room
    }

    fn leave(&self) {
        *self.inside.lock().expect("no holder panics") -= 1;
        self.left.notify_all();
    }

    /// Those who are inside are still served, for as long as any of them may take.
    fn wait_until_gone(&self) {
        let inside = self.inside.lock().expect("no holder panics");
        let _ = self
            .left
            .wait_timeout_while(inside, PATIENCE, |inside| *inside > 0);
    }
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn serve(listener: &TcpListener, redis: &Arc<redis::Address>, visitors: &Arc<Visitors>) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        if !visitors.enter() {
            let _ = respond(
                &mut stream,
                "503 Service Unavailable",
                TEXT,
                "too many visitors\n",
            );
            continue;
        }
        let (redis, visitors) = (redis.clone(), visitors.clone());
        thread::spawn(move || {
            // A visitor who hangs up has only himself to tell.
            let _ = visit(stream, &redis);
            visitors.leave();
        });
    }
}

fn visit(mut stream: TcpStream, redis: &redis::Address) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = BufReader::new((&stream).take(HEAD_MAX));
    let mut request = String::new();
    head.read_line(&mut request)?;
    let mut wants_html = false;
    let mut line = String::new();
    while head.read_line(&mut line)? > 2 {
        let lower = line.to_ascii_lowercase();
        wants_html |= lower.starts_with("accept:") && lower.contains("text/html");
        line.clear();
    }
    drop(head);
    let mut words = request.split_whitespace();
    match (words.next(), words.next()) {
        (Some("GET"), Some("/")) => {}
        (Some("GET"), Some("/healthz")) => return respond(&mut stream, "200 OK", TEXT, "ok\n"),
        (Some("GET"), Some(_)) => return respond(&mut stream, "404 Not Found", TEXT, "not here\n"),
        _ => return respond(&mut stream, "405 Method Not Allowed", TEXT, "only GET\n"),
    }
    match redis.increment("count") {
        Ok(count) => {
            let host = nix::unistd::gethostname()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            let (kind, page) = match wants_html {
                true => ("text/html; charset=utf-8", page(count, &host)),
                false => (
                    "text/plain; charset=utf-8",
                    format!("count {count}, said by {host}\n"),
                ),
            };
            respond(&mut stream, "200 OK", kind, &page)
        }
        Err(err) => {
            eprintln!("{err}");
            respond(
                &mut stream,
                "502 Bad Gateway",
                "text/plain; charset=utf-8",
                &format!("{err}\n"),
            )
        }
    }
}

fn page(count: i64, host: &str) -> String {
    format!(
        "<!doctype html><meta charset=utf-8><title>{count}</title>\
         <body style='font-family:system-ui;text-align:center;margin-top:20vh'>\
         <p style='font-size:8rem;margin:0'>{count}</p><p>visits, said by {host}</p>\n"
    )
}

fn respond(stream: &mut TcpStream, status: &str, kind: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.flush()
}
