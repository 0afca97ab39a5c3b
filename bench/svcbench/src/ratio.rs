//! Short connections and kept connections, direct and through Services, in turns of one run.

use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use benchkit::stats::{Lcg, percentile, round, summary};
use serde_json::{Value, json};

use crate::cluster::{self, BACKEND_PORT, Set};
use crate::connect;

const LIMIT: Duration = Duration::from_secs(2);
/// Requests on each kept connection.
const KEPT: usize = 2000;

/// Latencies in ms and failures of `n` short connections to targets that `pick` names.
fn block(n: usize, mut pick: impl FnMut() -> SocketAddrV4) -> (Vec<f64>, usize) {
    let (mut samples, mut failed) = (Vec::with_capacity(n), 0);
    for _ in 0..n {
        let to = pick();
        let start = Instant::now();
        match connect::ask(to, LIMIT) {
            Ok(_) => samples.push(start.elapsed().as_secs_f64() * 1e3),
            Err(_) => failed += 1,
        }
    }
    (samples, failed)
}

fn median(mut xs: Vec<f64>) -> f64 {
    xs.sort_by(f64::total_cmp);
    round(percentile(&xs, 50.0))
}

/// Short direct connections with no proxy running: iptables rules also slow those that are not for a Service.
pub fn baseline(services: usize, rounds: usize, connections: usize) -> Result<Value> {
    let mut lcg = Lcg(7);
    let (samples, failed) = block(rounds * connections, || {
        SocketAddrV4::new(
            cluster::endpoints(lcg.below(services), Set::A)[0],
            BACKEND_PORT,
        )
    });
    let per_s = 1e3 * samples.len() as f64 / samples.iter().sum::<f64>();
    Ok(json!({"failed": failed, "per_s": round(per_s), "ms": summary(samples)}))
}

/// Rounds in turns (direct, service, service, direct, …), so that drift hits both alike.
pub fn run(vips: &[SocketAddrV4], rounds: usize, connections: usize) -> Result<Value> {
    let mut lcg = Lcg(7);
    let (mut direct, mut service) = (Vec::new(), Vec::new());
    let (mut means, mut medians, mut failed) = (Vec::new(), Vec::new(), 0);
    for round in 0..rounds {
        let (mut d, mut s) = (Vec::new(), Vec::new());
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                let i_of = |lcg: &mut Lcg| {
                    SocketAddrV4::new(
                        cluster::endpoints(lcg.below(vips.len()), Set::A)[0],
                        BACKEND_PORT,
                    )
                };
                let (samples, bad) = block(connections, || i_of(&mut lcg));
                (d, failed) = (samples, failed + bad);
            } else {
                let (samples, bad) = block(connections, || vips[lcg.below(vips.len())]);
                (s, failed) = (samples, failed + bad);
            }
        }
        let mean = |xs: &[f64]| xs.iter().sum::<f64>() / xs.len() as f64;
        means.push(mean(&s) / mean(&d));
        medians.push(median(s.clone()) / median(d.clone()));
        direct.extend(d);
        service.extend(s);
    }
    let per_s = |xs: &[f64]| round(1e3 * xs.len() as f64 / xs.iter().sum::<f64>());
    Ok(json!({
        "failed": failed,
        "direct": {"per_s": per_s(&direct), "ms": summary(direct)},
        "service": {"per_s": per_s(&service), "ms": summary(service)},
        "short_mean_ratio": summary(means),
        "short_p50_ratio": summary(medians),
        "kept_p50_ratio": kept(vips, rounds)?,
    }))
}

/// Request and answer on connections that stay open: what a Service costs per packet.
fn kept(vips: &[SocketAddrV4], rounds: usize) -> Result<Value> {
    let open = |to: SocketAddrV4| -> Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&to.into(), LIMIT)
            .with_context(|| format!("connect {to}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(stream)
    };
    let mut direct = open(SocketAddrV4::new(
        cluster::endpoints(0, Set::A)[0],
        BACKEND_PORT,
    ))?;
    let mut service = open(vips[0])?;
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let time = |stream: &mut TcpStream| -> Result<f64> {
            let mut samples = Vec::with_capacity(KEPT);
            for _ in 0..KEPT {
                let start = Instant::now();
                connect::exchange(stream)?;
                samples.push(start.elapsed().as_secs_f64() * 1e3);
            }
            Ok(median(samples))
        };
        let (d, s) = if round % 2 == 0 {
            let d = time(&mut direct)?;
            (d, time(&mut service)?)
        } else {
            let s = time(&mut service)?;
            (time(&mut direct)?, s)
        };
        ratios.push(s / d);
    }
    Ok(summary(ratios))
}
