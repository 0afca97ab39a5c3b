//! The phases of a run: load, program, changes, creations, ratio.

use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benchkit::api::{Conn, Proto, Target};
use benchkit::proc::{self, Pid};
use benchkit::stats::{Lcg, round, summary};
use serde_json::{Value, json};

use crate::cluster::{self, Set};
use crate::{Run, connect, ratio};

const SEED: u64 = 42;
/// One probe's limit: short, because a packet to an address that nobody handles yet may vanish.
const PROBE_LIMIT: Duration = Duration::from_millis(20);
/// Only services of the first half are measured, only those of the second half churn.
const CHURN_FROM: f64 = 0.5;

pub async fn run(target: &Target, args: &Run) -> Result<Value> {
    let mut conn = target.connect(Proto::H2).await?;
    let load_s = cluster::load(target, args.services).await?;
    for i in 0..args.services.min(64) {
        cluster::change(&mut conn, i, Set::A).await?; // an earlier run may have left B
    }
    let vips: Vec<SocketAddrV4> = cluster::addresses(&mut conn)
        .await?
        .into_iter()
        .flatten()
        .take(args.services)
        .collect();
    if vips.len() != args.services {
        bail!(
            "{} of {} services have an address",
            vips.len(),
            args.services
        );
    }
    let baseline = match args.spawn.is_some() && args.rounds > 0 {
        true => Some(direct_without_proxy(args).await?),
        false => None,
    };
    let mut pids = args.pid.clone();
    let start = Instant::now();
    let child = args.spawn.as_deref().map(spawn).transpose()?;
    if let Some(child) = &child {
        pids.push(Pid {
            name: "proxy".into(),
            pid: child.id(),
        });
    }
    let result = phases(target, args, &mut conn, vips, &pids, start).await;
    if let Some(child) = child {
        end(child)?;
    }
    let mut value = result?;
    if let Some(baseline) = baseline {
        let mean = |v: &Value| v["ms"]["mean"].as_f64().unwrap_or(f64::NAN);
        value["ratio"]["service_to_baseline"] =
            json!(round(mean(&value["ratio"]["service"]) / mean(&baseline)));
        value["ratio"]["baseline"] = baseline;
    }
    value["services"] = json!(args.services);
    value["load_s"] = json!(round(load_s));
    value["churn_per_s"] = json!(args.churn);
    value["gap_ms"] = json!(args.gap_ms);
    Ok(value)
}

async fn phases(
    target: &Target,
    args: &Run,
    conn: &mut Conn,
    vips: Vec<SocketAddrV4>,
    pids: &[Pid],
    start: Instant,
) -> Result<Value> {
    let mut out = serde_json::Map::new();
    let zero = vec![proc::Usage::default(); pids.len()];
    let programmed = program(args, vips.clone(), start).await?;
    out.insert("programmed_s".into(), programmed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    out.insert(
        "after_programming".into(),
        proc::delta(pids, &zero, &proc::read(pids)),
    );

    let churn = Churn::start(target, args).await?;
    let before = proc::read(pids);
    out.insert("change".into(), changes(args, conn, &vips).await?);
    out.insert(
        "during_changes".into(),
        proc::delta(pids, &before, &proc::read(pids)),
    );
    let before = proc::read(pids);
    out.insert("creation".into(), creations(args, conn).await?);
    out.insert(
        "during_creations".into(),
        proc::delta(pids, &before, &proc::read(pids)),
    );
    out.insert("churn_writes".into(), json!(churn.stop().await?));

    if args.rounds > 0 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (netns, rounds, connections) =
            (args.client_netns.clone(), args.rounds, args.connections);
        let task = tokio::task::spawn_blocking(move || {
            in_netns(netns, move || ratio::run(&vips, rounds, connections))
        });
        out.insert("ratio".into(), task.await??);
    }
    Ok(Value::Object(out))
}

async fn direct_without_proxy(args: &Run) -> Result<Value> {
    let (netns, services, rounds, connections) = (
        args.client_netns.clone(),
        args.services,
        args.rounds,
        args.connections,
    );
    let work = move || {
        in_netns(netns, move || {
            ratio::baseline(services, rounds, connections)
        })
    };
    tokio::task::spawn_blocking(work).await?
}

/// Runs `work` on a thread of its own inside the client's namespace.
fn in_netns<T: Send + 'static>(
    netns: PathBuf,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let thread = std::thread::spawn(move || {
        connect::enter(&netns)?;
        work()
    });
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("client thread panicked"))?
}

fn spawn(cmd: &str) -> Result<Child> {
    // `exec`, so that the child's pid is the proxy's.
    Command::new("sh")
        .args(["-c", &format!("exec {cmd}")])
        .stdin(Stdio::null())
        .spawn()
        .context("start the proxy")
}

fn end(mut child: Child) -> Result<()> {
    Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()?;
    let deadline = Instant::now() + Duration::from_secs(10);
    while child.try_wait()?.is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().ok();
    child.wait()?;
    Ok(())
}

/// Until each service has answered once. Few probes at a time: the prober shares the machine with the proxy.
async fn program(args: &Run, vips: Vec<SocketAddrV4>, start: Instant) -> Result<Value> {
    let (netns, deadline) = (
        args.client_netns.clone(),
        start + Duration::from_secs(args.timeout),
    );
    let work = move || {
        let (mut pending, mut lcg) = (vips, Lcg(SEED));
        let mut first = None;
        while !pending.is_empty() {
            let mut any = false;
            for _ in 0..pending.len().min(50) {
                let k = lcg.below(pending.len());
                if connect::ask(pending[k], PROBE_LIMIT).is_ok() {
                    pending.swap_remove(k);
                    any = true;
                    first.get_or_insert_with(|| start.elapsed());
                } else {
                    break;
                }
            }
            if Instant::now() > deadline {
                bail!(
                    "{} services not programmed after {:?}",
                    pending.len(),
                    start.elapsed()
                );
            }
            if !any {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let s = |d: Duration| round(d.as_secs_f64());
        Ok(json!({"first": first.map(s), "all": s(start.elapsed())}))
    };
    tokio::task::spawn_blocking(move || in_netns(netns, work)).await?
}

/// What a prober saw of one change.
struct Seen {
    /// When the first connection answered by a wanted backend had its answer.
    first_new: Instant,
    /// When the last connection answered by another backend had its answer.
    last_old: Option<Instant>,
    errors: usize,
}

/// Connects again and again until 20 answers in a row come from `want`.
fn watch_vip(
    vip: SocketAddrV4,
    want: [std::net::Ipv4Addr; 2],
    gap: Duration,
    limit: Duration,
) -> Result<Seen> {
    let (mut first_new, mut last_old, mut errors, mut row) = (None, None, 0, 0);
    let deadline = Instant::now() + limit;
    while row < 20 {
        if Instant::now() > deadline {
            bail!("{vip}: not seen within {limit:?}, {errors} errors");
        }
        match connect::ask(vip, PROBE_LIMIT) {
            Ok(ip) if want.contains(&ip) => {
                first_new.get_or_insert_with(Instant::now);
                row += 1;
            }
            Ok(_) => {
                last_old = Some(Instant::now());
                row = 0;
            }
            Err(_) => {
                errors += 1;
                row = 0;
            }
        }
        std::thread::sleep(gap);
    }
    Ok(Seen {
        first_new: first_new.context("no answer")?,
        last_old,
        errors,
    })
}

fn signed_ms(from: Instant, to: Instant) -> f64 {
    to.checked_duration_since(from)
        .map_or_else(|| -(from - to).as_secs_f64(), |d| d.as_secs_f64())
        * 1e3
}

async fn pause(args: &Run, lcg: &mut Lcg) {
    let extra = lcg.below(args.gap_ms as usize / 2 + 1) as u64;
    tokio::time::sleep(Duration::from_millis(args.gap_ms + extra)).await;
}

async fn changes(args: &Run, conn: &mut Conn, vips: &[SocketAddrV4]) -> Result<Value> {
    let mut lcg = Lcg(SEED);
    let mut sets = vec![Set::A; vips.len()];
    let (mut from_ack, mut from_sent, mut old_after_ack, mut errors, mut late) =
        (vec![], vec![], vec![], 0, 0);
    for _ in 0..args.changes {
        pause(args, &mut lcg).await;
        let i = lcg.below(((vips.len() as f64 * CHURN_FROM) as usize).clamp(1, 64));
        sets[i] = sets[i].other();
        let (vip, want, netns) = (
            vips[i],
            cluster::endpoints(i, sets[i]),
            args.client_netns.clone(),
        );
        let (gap, limit) = (
            Duration::from_micros(args.probe_us),
            Duration::from_secs(args.timeout),
        );
        let prober = tokio::task::spawn_blocking(move || {
            in_netns(netns, move || watch_vip(vip, want, gap, limit))
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (sent, acked) = cluster::change(conn, i, sets[i]).await?;
        match prober.await? {
            Ok(seen) => {
                from_ack.push(signed_ms(acked, seen.first_new));
                from_sent.push(signed_ms(sent, seen.first_new));
                old_after_ack.extend(seen.last_old.map(|at| signed_ms(acked, at)));
                errors += seen.errors;
            }
            Err(err) => {
                late += 1;
                eprintln!("{err}");
            }
        }
    }
    Ok(
        json!({"acked_to_first_new_ms": summary(from_ack), "sent_to_first_new_ms": summary(from_sent),
              "acked_to_last_old_ms": summary(old_after_ack), "failed_connections": errors, "not_seen": late}),
    )
}

async fn creations(args: &Run, conn: &mut Conn) -> Result<Value> {
    let mut lcg = Lcg(SEED);
    let (mut from_ack, mut from_sent, mut late) = (vec![], vec![], 0);
    for n in 0..args.creations {
        pause(args, &mut lcg).await;
        let (i, name) = (cluster::MAX + n, format!("new-{n}"));
        cluster::remove(conn, &name).await?;
        let (vip, sent, acked) = cluster::create(conn, &name, i).await?;
        let (want, netns) = (cluster::endpoints(i, Set::A), args.client_netns.clone());
        let (gap, limit) = (
            Duration::from_micros(args.probe_us),
            Duration::from_secs(args.timeout),
        );
        match tokio::task::spawn_blocking(move || {
            in_netns(netns, move || watch_vip(vip, want, gap, limit))
        })
        .await?
        {
            Ok(seen) => {
                from_ack.push(signed_ms(acked, seen.first_new));
                from_sent.push(signed_ms(sent, seen.first_new));
            }
            Err(err) => {
                late += 1;
                eprintln!("{err}");
            }
        }
        cluster::remove(conn, &name).await?;
    }
    Ok(
        json!({"acked_to_first_answer_ms": summary(from_ack), "sent_to_first_answer_ms": summary(from_sent), "not_seen": late}),
    )
}

/// Endpoint changes of other services in the background.
struct Churn {
    stop: Arc<AtomicBool>,
    task: Option<tokio::task::JoinHandle<Result<usize>>>,
}

impl Churn {
    async fn start(target: &Target, args: &Run) -> Result<Churn> {
        let stop = Arc::new(AtomicBool::new(false));
        let from = (args.services as f64 * CHURN_FROM) as usize;
        if args.churn == 0 || args.services < 4 {
            return Ok(Churn { stop, task: None });
        }
        let (mut conn, flag) = (target.connect(Proto::H2).await?, stop.clone());
        let (services, period) = (args.services, Duration::from_micros(1_000_000 / args.churn));
        let task = tokio::spawn(async move {
            let (mut n, mut tick) = (0, tokio::time::interval(period));
            while !flag.load(Ordering::Relaxed) {
                tick.tick().await;
                let i = from + n % (services - from);
                let set = if (n / (services - from)).is_multiple_of(2) {
                    Set::B
                } else {
                    Set::A
                };
                cluster::change(&mut conn, i, set).await?;
                n += 1;
            }
            Ok(n)
        });
        Ok(Churn {
            stop,
            task: Some(task),
        })
    }

    async fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        match self.task {
            Some(task) => task.await?,
            None => Ok(0),
        }
    }
}
