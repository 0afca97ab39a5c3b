//! Time from spawning a command until the API server listens, is ready, and takes a write.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use benchkit::api::{Proto, Target};
use benchkit::stats::summary;
use hyper::StatusCode;
use serde_json::{Value, json};

#[derive(clap::Args)]
pub struct Args {
    /// Shell command that starts the server in the foreground
    #[arg(long)]
    pub cmd: String,
    /// Shell command before each start (for example: remove the data)
    #[arg(long)]
    pub before: Option<String>,
    /// Shell command after each measurement, before the server's process group is ended
    #[arg(long)]
    pub after: Option<String>,
    #[arg(long, default_value_t = 3)]
    pub runs: usize,
    /// Leave the last one running
    #[arg(long)]
    pub keep: bool,
    #[arg(long, default_value_t = 120)]
    pub timeout: u64,
}

pub async fn run(target: &Target, args: &Args) -> Result<Value> {
    let (mut listening, mut ready, mut writing) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..args.runs {
        if let Some(before) = &args.before {
            Command::new("sh").args(["-c", before]).status()?;
        }
        let start = Instant::now();
        let mut child = spawn(&args.cmd)?;
        let times =
            tokio::time::timeout(Duration::from_secs(args.timeout), follow(target, start)).await;
        if let Some(after) = &args.after {
            Command::new("sh").args(["-c", after]).status()?;
        }
        if !(args.keep && n + 1 == args.runs) {
            end(&mut child)?;
        }
        let times = times.context("not ready in time")??;
        listening.push(times[0]);
        ready.push(times[1]);
        writing.push(times[2]);
    }
    Ok(
        json!({"listening_ms": summary(listening), "readyz_ms": summary(ready), "first_write_ms": summary(writing)}),
    )
}

fn spawn(cmd: &str) -> Result<Child> {
    use std::os::unix::process::CommandExt;
    Ok(Command::new("sh")
        .args(["-c", cmd])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?)
}

/// Ends the process group that we started, and waits until no member is left.
fn end(child: &mut Child) -> Result<()> {
    let group = format!("-{}", child.id());
    let signal = |name: &str| {
        Command::new("kill")
            .args([name, "--", &group])
            .stderr(Stdio::null())
            .status()
    };
    signal("-TERM")?;
    let start = Instant::now();
    loop {
        child.try_wait()?;
        if !signal("-0")?.success() {
            return Ok(());
        }
        if start.elapsed() > Duration::from_secs(15) {
            signal("-KILL")?;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Milliseconds until a TCP connection, until /readyz is 200, until a ConfigMap was created.
async fn follow(target: &Target, start: Instant) -> Result<[f64; 3]> {
    let since = || start.elapsed().as_secs_f64() * 1e3;
    let pause = || tokio::time::sleep(Duration::from_millis(5));
    let mut conn = loop {
        match target.connect(Proto::H1).await {
            Ok(conn) => break conn,
            Err(_) => pause().await,
        }
    };
    let listening = since();
    loop {
        match conn.get("/readyz").await {
            Ok(reply) if reply.status == StatusCode::OK => break,
            Ok(_) => {}
            Err(_) => {
                if let Ok(again) = target.connect(Proto::H1).await {
                    conn = again;
                }
            }
        }
        pause().await;
    }
    let ready = since();
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "boot-"}});
    loop {
        let reply = conn
            .post("/api/v1/namespaces/default/configmaps", &object)
            .await?;
        match reply.status {
            StatusCode::CREATED => return Ok([listening, ready, since()]),
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN | StatusCode::INTERNAL_SERVER_ERROR => {
                pause().await
            }
            status => bail!("first write: {status}"),
        }
    }
}
