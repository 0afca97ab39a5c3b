//! Watch fan-out: one writer updates one ConfigMap; every watcher notes when it saw each update.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use benchkit::api::{Conn, Proto, Target};
use benchkit::proc::{self, Pid};
use benchkit::stats::{round, summary};
use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::space;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long, default_value_t = 100)]
    pub watchers: usize,
    #[arg(long, default_value_t = 1000)]
    pub updates: usize,
    /// Updates per second; 0 is one after the other without a pause
    #[arg(long, default_value_t = 100)]
    pub rate: u64,
    /// Protocol of the watchers, which have a connection each
    #[arg(long, default_value = "h2")]
    pub proto: Proto,
}

impl Default for Args {
    fn default() -> Self {
        Args {
            watchers: 100,
            updates: 1000,
            rate: 100,
            proto: Proto::H2,
        }
    }
}

fn object(seq: usize) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"},
           "data": {"seq": format!("{seq:08}"), "value": "x".repeat(850)}})
}

pub async fn run(target: &Target, pids: &[Pid], args: &Args) -> Result<Value> {
    let mut conn = target.connect(Proto::H2).await?;
    let space = space::make(&mut conn).await?;
    let base = format!("/api/v1/namespaces/{space}/configmaps");
    conn.post(&base, &object(0)).await?.ok()?;
    let at_rest = proc::read(pids);

    let ready = Arc::new(Barrier::new(args.watchers + 1));
    let mut tasks = Vec::new();
    for mut watcher in target.callers(args.proto, args.watchers, 1).await? {
        let (ready, path, last) = (ready.clone(), format!("{base}?watch=true"), args.updates);
        tasks.push(tokio::spawn(async move {
            let seen = see(&mut watcher, &path, last, ready);
            tokio::time::timeout(Duration::from_secs(120), seen)
                .await
                .map_err(|_| anyhow!("watcher saw no end"))?
        }));
    }
    ready.wait().await;
    let (watching, own) = (proc::read(pids), proc::own_cpu());

    let start = Instant::now();
    let (sent, acked) = write(&mut conn, &format!("{base}/one"), args).await?;
    let writing = start.elapsed().as_secs_f64();
    let (mut from_sent, mut from_ack, mut missed) = (Vec::new(), Vec::new(), 0);
    for task in tasks {
        for (i, at) in task.await??.into_iter().enumerate() {
            match at {
                Some(at) => {
                    from_sent.push(ms(sent[i], at));
                    from_ack.push(ms(acked[i], at));
                }
                None => missed += 1,
            }
        }
    }
    let (after, client) = (proc::read(pids), proc::own_cpu() - own);
    space::clear(&mut conn, &space, "configmaps").await?;
    let write_ms = sent.iter().zip(&acked).map(|(s, a)| ms(*s, *a)).collect();
    Ok(json!({
        "watchers": args.watchers, "updates": args.updates, "missed": missed,
        "updates_per_s": round(args.updates as f64 / writing),
        "events_per_s": round((args.updates * args.watchers) as f64 / start.elapsed().as_secs_f64().max(writing)),
        "write_ms": summary(write_ms), "sent_to_seen_ms": summary(from_sent), "acked_to_seen_ms": summary(from_ack),
        "opening_watches": proc::delta(pids, &at_rest, &watching),
        "client_cpu_s": round(client),
        "updating": proc::delta(pids, &watching, &after),
    }))
}

/// Signed milliseconds from `a` to `b`: an event may come before the acknowledgement.
fn ms(a: Instant, b: Instant) -> f64 {
    match b.checked_duration_since(a) {
        Some(d) => d.as_secs_f64() * 1e3,
        None => -(a.duration_since(b).as_secs_f64() * 1e3),
    }
}

async fn write(conn: &mut Conn, path: &str, args: &Args) -> Result<(Vec<Instant>, Vec<Instant>)> {
    let (mut sent, mut acked) = (Vec::new(), Vec::new());
    let mut tick = (args.rate > 0)
        .then(|| tokio::time::interval(Duration::from_micros(1_000_000 / args.rate)));
    for seq in 1..=args.updates {
        if let Some(tick) = &mut tick {
            tick.tick().await;
        }
        let object = object(seq);
        sent.push(Instant::now());
        let reply = conn.put(path, &object).await?;
        acked.push(Instant::now());
        reply.ok()?;
    }
    Ok((sent, acked))
}

/// When each update was seen, by its number; the first event is the object as it was.
async fn see(
    conn: &mut Conn,
    path: &str,
    last: usize,
    ready: Arc<Barrier>,
) -> Result<Vec<Option<Instant>>> {
    let mut lines = conn.watch(path).await?;
    let mut seen = vec![None; last];
    let mut waiting = Some(ready);
    let key = b"\"seq\":\"";
    while let Some(line) = lines.next().await? {
        let now = Instant::now();
        let Some(at) = memchr::memmem::find(&line, key).map(|at| at + key.len()) else {
            continue;
        };
        let seq: usize = std::str::from_utf8(&line[at..at + 8])?.parse()?;
        if let Some(ready) = waiting.take() {
            ready.wait().await;
        }
        if seq > 0 {
            seen[seq - 1] = Some(now);
        }
        if seq == last {
            break;
        }
    }
    Ok(seen)
}
