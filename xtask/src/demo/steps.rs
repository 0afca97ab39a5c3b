//! The tutorial, step by step: its own manifests, its own order.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::CLUSTER;
use crate::interrupt::Interrupt;
use crate::stage::Stage;

/// A part of the tutorial, with what a person types in it.
struct Step {
    title: &'static str,
    lines: Vec<String>,
}

/// Plays all steps and prints how long each took.
pub fn play(stage: &Stage, archives: &Path, keep: bool, interrupt: &mut Interrupt) -> Result<()> {
    let begun = Instant::now();
    let mut took: Vec<(&str, Duration)> = Vec::new();
    let mut perform = |steps: Vec<Step>| -> Result<()> {
        for step in steps {
            println!("\n# {}", step.title);
            let mut sum = Duration::ZERO;
            for line in &step.lines {
                sum += stage.play(line)?;
                interrupt.check()?;
            }
            println!("# took {:.2} s", sum.as_secs_f64());
            took.push((step.title, sum));
        }
        Ok(())
    };
    perform(opening(archives))?;
    let ip = stage.ask(&format!("karve ip --name {CLUSTER}"))?;
    let second = stage.ask(&format!("karve ip --name {CLUSTER} --node node2"))?;
    perform(node_port(&ip, &second))?;
    perform(pending())?;
    println!(
        "\n# A LoadBalancer for a cluster at home: the node's own address, as in the tutorial"
    );
    let enable = stage.play(&format!("karve addons enable metallb --name {CLUSTER}"))?;
    let configure = stage.play_dialogue(
        &format!("karve addons configure metallb --name {CLUSTER}"),
        &[&ip, &ip],
    )?;
    println!("# took {:.2} s", (enable + configure).as_secs_f64());
    perform(load_balancer(&ip))?;
    perform(self_healing(&ip))?;
    if !keep {
        perform(vec![step(
            "All is taken down again",
            &[&format!("karve down --name {CLUSTER}")],
        )])?;
    }
    println!("\n# {:<82} {:>8}", "STEP", "SECONDS");
    for (title, time) in &took {
        println!("# {title:<82} {:>8.2}", time.as_secs_f64());
    }
    println!("# {:<82} {:>8.2}", "all", begun.elapsed().as_secs_f64());
    Ok(())
}

fn step(title: &'static str, lines: &[&str]) -> Step {
    Step {
        title,
        lines: lines.iter().map(|&line| line.to_owned()).collect(),
    }
}

fn opening(archives: &Path) -> Vec<Step> {
    let load = format!("karve image load {}/*.tar", archives.display());
    let up = format!("karve up --name {CLUSTER} --nodes 2 --no-load-balancer");
    vec![
        step("The tutorial's images, from archives", &[&load]),
        step(
            "A cluster of two nodes",
            &[&up, "kubectl get nodes -o wide"],
        ),
        step(
            "redis behind a Service of type ClusterIP, and the counter that finds it by name",
            &[
                "kubectl apply -f redis.yml",
                "kubectl apply -f counter.yml",
                "kubectl rollout status deployment/redis",
                "kubectl rollout status deployment/counter",
                "kubectl get pods -o wide",
            ],
        ),
    ]
}

fn node_port(ip: &str, second: &str) -> Vec<Step> {
    let curl = |ip: &str| format!("curl -sS --max-time 5 http://{ip}:31000");
    let name = format!("karve service counter-np --url --name {CLUSTER}");
    vec![
        step(
            "A NodePort: the same port on every node",
            &[
                "kubectl apply -f counter-nodeport.yml",
                "kubectl get svc",
                &format!("karve ip --name {CLUSTER}"),
                &curl(ip),
                &curl(second),
                &name,
            ],
        ),
        step(
            "The Service's name and address from inside, as a Pod sees them",
            &[
                "kubectl run inside --image=busybox --restart=Never --image-pull-policy=IfNotPresent -- wget -qO- http://counter-np:3000",
                "kubectl wait pod/inside --for=jsonpath='{.status.phase}'=Succeeded --timeout=30s",
                "kubectl logs inside",
                "kubectl delete pod inside",
            ],
        ),
    ]
}

fn pending() -> Vec<Step> {
    let lines = [
        "kubectl apply -f counter-lb.yml",
        "kubectl get svc counter-lb",
    ];
    vec![step(
        "A LoadBalancer without addresses to give: <pending>",
        &lines,
    )]
}

fn load_balancer(ip: &str) -> Vec<Step> {
    let lines = [
        "kubectl wait svc/counter-lb --for=jsonpath='{.status.loadBalancer.ingress}' --timeout=10s",
        "kubectl get svc counter-lb",
        &format!("curl -sS --max-time 5 http://{ip}:30000"),
    ];
    vec![step("The address is there", &lines)]
}

fn self_healing(ip: &str) -> Vec<Step> {
    let curl = format!("curl -sS --max-time 5 http://{ip}:31000");
    vec![
        step(
            "A deleted Pod is replaced",
            &[
                "kubectl delete pod -l app=counter,tier=app",
                "kubectl rollout status deployment/counter",
                "kubectl get pods -l tier=app -o wide",
                &curl,
            ],
        ),
        step(
            "Three Pods, spread over the nodes; the Service follows",
            &[
                "kubectl scale deployment/counter --replicas=3",
                "kubectl rollout status deployment/counter",
                "kubectl get pods -l tier=app -o wide",
                "kubectl get endpointslices -l kubernetes.io/service-name=counter-np",
                &curl,
                &curl,
                &curl,
            ],
        ),
    ]
}
