//! The same connections by the rules and by sockets themselves: whoever answers must be the same.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::socket;

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cgroup for threads of this test, in the v2 tree.
struct Group(PathBuf);

impl Group {
    fn create() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let root = mounts.lines().find(|line| line.contains(" - cgroup2 "));
        let root = root
            .and_then(|line| line.split(' ').nth(4))
            .expect("a cgroup2 mount");
        let own = fs::read_to_string("/proc/self/cgroup").expect("own cgroup");
        let own = own
            .lines()
            .find_map(|line| line.strip_prefix("0::/"))
            .expect("in the v2 tree");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("karve-paths-{}-{number}", std::process::id());
        let path = PathBuf::from(root).join(own).join(name);
        fs::create_dir(&path).expect("make cgroup");
        fs::write(path.join("cgroup.type"), "threaded").expect("a cgroup of threads");
        Self(path)
    }

    /// Moves the calling thread.
    fn enter(&self) {
        fs::write(self.0.join("cgroup.threads"), "0").expect("enter cgroup");
    }

    fn options(&self) -> socket::Options {
        socket::Options {
            cgroup: self.0.clone(),
            report: std::env::temp_dir().join(self.0.file_name().expect("a name")),
        }
    }

    fn report(&self) -> String {
        fs::read_to_string(self.options().report).unwrap_or_default()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.options().report);
        let _ = fs::remove_dir(&self.0);
    }
}

/// A node with servers in its Pods, and clients that take one of the paths.
struct World {
    net: Net,
    proxier: Proxier,
    group: Option<Group>,
}

/// An answered connection.
struct Answer {
    stream: TcpStream,
    server: String,
    client: String,
}

impl World {
    fn new(by_sockets: bool) -> Self {
        let net = Net::new();
        for (pod, ip) in net.pods.iter().zip(PODS) {
            serve_tcp(pod, &format!("{ip}:8080"));
        }
        let proxier = proxy(&net.node);
        let group = by_sockets.then(Group::create);
        let mut world = Self {
            net,
            proxier,
            group,
        };
        world.balance();
        world
    }

    /// Lets sockets of the group follow the rules.
    fn balance(&mut self) {
        let Some(group) = &self.group else { return };
        let open = || socket::open(&group.options(), &[Family::V4]);
        let balancers = self.net.node.run_in(open).expect("enter");
        assert_eq!(balancers.len(), 1, "{}", group.report());
        balancers
            .into_iter()
            .for_each(|balancer| self.proxier.set_balancer(balancer));
    }

    fn set(&mut self, spec: serde_json::Value, endpoints: &[(&str, bool)]) {
        set_service(&mut self.proxier, "web", VIP, spec);
        set_endpoints(&mut self.proxier, "web", "TCP", endpoints);
        self.proxier.sync().expect("sync");
    }

    fn connect(&self, from: &NetNs, to: &str) -> io::Result<Answer> {
        let to: SocketAddr = to.parse().expect("address");
        let mut stream = from
            .run_in(|| {
                self.group.iter().for_each(Group::enter);
                TcpStream::connect_timeout(&to, PATIENCE)
            })
            .expect("enter")?;
        assert_eq!(stream.peer_addr().expect("peer"), to, "as was asked for");
        stream.set_read_timeout(Some(PATIENCE))?;
        let (mut line, mut byte) = (Vec::new(), [0]);
        while byte != [b'\n'] {
            stream.read_exact(&mut byte)?;
            line.extend(byte);
        }
        let line = String::from_utf8(line).expect("text");
        let (server, client) = line.trim().split_once(' ').expect("server and client");
        let (server, client) = (server.to_owned(), client.to_owned());
        Ok(Answer {
            stream,
            server,
            client,
        })
    }

    /// Who answers in many connections.
    fn servers(&self, from: &NetNs, to: &str) -> BTreeSet<String> {
        let answers = (0..48).map(|_| self.connect(from, to).expect("connect"));
        answers.map(|answer| answer.server).collect()
    }

    fn refused(&self, from: &NetNs, to: &str) {
        match self.connect(from, to) {
            Ok(answer) => panic!("{} answers at {to}", answer.server),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{to}"),
        }
    }
}

/// Runs a case on both paths.
fn by_both(case: impl Fn(World)) {
    for by_sockets in [false, true] {
        case(World::new(by_sockets));
    }
}

fn servers<const N: usize>(pods: [usize; N]) -> BTreeSet<String> {
    pods.iter()
        .map(|pod| format!("{}:8080", PODS[*pod]))
        .collect()
}

const TWO: [(&str, bool); 2] = [(PODS[0], true), (PODS[1], true)];

#[test]
fn pods_and_nodes_get_the_same_endpoints_by_every_address() {
    by_both(|mut world| {
        world.set(node_port("LoadBalancer"), &TWO);
        let addresses = [
            format!("{VIP}:80"),
            format!("[::ffff:{VIP}]:80"),
            format!("{NODE_IP}:30080"),
            format!("{EXTERNAL}:80"),
        ];
        for from in [&world.net.pods[2], &world.net.node] {
            for to in &addresses {
                assert_eq!(world.servers(from, to), servers([0, 1]), "{to}");
            }
            world.refused(from, &format!("{VIP}:81"));
        }
        world.refused(&world.net.node, "127.0.0.1:30080");
        assert_eq!(
            world.servers(&world.net.pods[2], &format!("{}:8080", PODS[0])),
            servers([0]),
            "directly"
        );
    });
}

#[test]
fn a_service_without_endpoints_refuses_until_there_is_one() {
    by_both(|mut world| {
        world.set(node_port("NodePort"), &[(PODS[0], false)]);
        for from in [&world.net.pods[2], &world.net.node] {
            world.refused(from, &format!("{VIP}:80"));
            world.refused(from, &format!("{NODE_IP}:30080"));
        }
        world.set(node_port("NodePort"), &[(PODS[0], true)]);
        assert_eq!(
            world.servers(&world.net.pods[2], &format!("{VIP}:80")),
            servers([0])
        );
        world
            .proxier
            .state
            .set_service(ObjectName::new("default", "web"), None);
        world.proxier.sync().expect("sync");
        world.refused(&world.net.node, &format!("{NODE_IP}:30080"));
    });
}

/// Endpoints with their conditions: ready, serving, terminating, and the node.
fn set_slice(world: &mut World, endpoints: &[(usize, [bool; 3], &str)]) {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(pod, [ready, serving, terminating], node)| {
            let conditions =
                json!({"ready": ready, "serving": serving, "terminating": terminating});
            json!({"addresses": [PODS[*pod]], "conditions": conditions, "nodeName": node})
        })
        .collect();
    let slice = serde_json::from_value(json!({
        "metadata": {"name": "web-abc", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    }))
    .expect("a slice");
    let parsed = Slice::parse(&slice, "node1");
    world
        .proxier
        .state
        .set_slice(ObjectName::new("default", "web-abc"), parsed);
    world.proxier.sync().expect("sync");
}

#[test]
fn policies_and_conditions_choose_alike() {
    const READY: [bool; 3] = [true, true, false];
    const ENDING: [bool; 3] = [false, true, true];
    const ENDED: [bool; 3] = [false, false, true];
    type Row = (
        &'static str,
        &'static str,
        &'static [(usize, [bool; 3], &'static str)],
        &'static [usize],
        &'static [usize],
    );
    let rows: &[Row] = &[
        (
            "both nodes",
            "Cluster",
            &[(0, READY, "node1"), (1, READY, "node2")],
            &[0, 1],
            &[0, 1],
        ),
        (
            "local",
            "Local",
            &[(0, READY, "node1"), (1, READY, "node2")],
            &[0],
            &[0, 1],
        ),
        (
            "terminating ones last",
            "Cluster",
            &[(0, ENDING, "node1"), (1, READY, "node2")],
            &[1],
            &[1],
        ),
        (
            "none but terminating",
            "Cluster",
            &[(0, ENDING, "node1"), (1, ENDED, "node2")],
            &[0],
            &[0],
        ),
        (
            "local terminating",
            "Local",
            &[(0, ENDING, "node1"), (1, READY, "node2")],
            &[0],
            &[1],
        ),
    ];
    by_both(|mut world| {
        for (name, policy, endpoints, internal, external) in rows {
            let mut spec = node_port("NodePort");
            spec["internalTrafficPolicy"] = json!(policy);
            spec["externalTrafficPolicy"] = json!(policy);
            world.set(spec, &[]);
            set_slice(&mut world, endpoints);
            for (to, expected) in [
                (format!("{VIP}:80"), internal),
                (format!("{NODE_IP}:30080"), external),
            ] {
                let expected: BTreeSet<_> = expected
                    .iter()
                    .map(|pod| format!("{}:8080", PODS[*pod]))
                    .collect();
                for from in [&world.net.pods[2], &world.net.node] {
                    assert_eq!(world.servers(from, &to), expected, "{name}: {to}");
                }
            }
        }
    });
}

#[test]
fn a_client_stays_with_its_endpoint_while_that_is_there() {
    by_both(|mut world| {
        let mut spec = node_port("NodePort");
        spec["sessionAffinity"] = json!("ClientIP");
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 600}});
        world.set(spec.clone(), &TWO);
        let (pod, vip) = (&world.net.pods[2], format!("{VIP}:80"));
        let first = world.servers(pod, &vip);
        assert_eq!(first.len(), 1, "{first:?}");
        assert_eq!(
            world.servers(pod, &format!("{NODE_IP}:30080")),
            first,
            "whichever address"
        );
        let left = usize::from(first == servers([0]));
        world.set(spec.clone(), &[(PODS[left], true)]);
        let pod = &world.net.pods[2];
        assert_eq!(
            world.servers(pod, &vip),
            servers([left]),
            "its endpoint has gone"
        );
        world.set(spec, &TWO);
        let pod = &world.net.pods[2];
        assert_eq!(
            world.servers(pod, &vip),
            servers([left]),
            "the new one is remembered"
        );
        world.set(node_port("NodePort"), &TWO);
        assert_eq!(
            world.servers(&world.net.pods[2], &vip),
            servers([0, 1]),
            "no affinity any more"
        );
    });
}

#[test]
fn an_affinity_ends_when_its_time_is_over() {
    by_both(|mut world| {
        let config = json!({"clientIP": {"timeoutSeconds": 1}});
        let spec = json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": config});
        world.set(spec, &TWO);
        let (pod, vip) = (&world.net.pods[2], format!("{VIP}:80"));
        let mut seen = BTreeSet::new();
        // Each pause is longer than the affinity: soon the other endpoint answers too.
        for _ in 0..24 {
            seen.insert(world.connect(pod, &vip).expect("connect").server);
            if seen.len() == 2 {
                return;
            }
            std::thread::sleep(Duration::from_millis(1_100));
        }
        panic!("only {seen:?}");
    });
}

#[test]
fn an_established_connection_outlives_its_endpoint() {
    by_both(|mut world| {
        world.set(json!({}), &TWO);
        let vip = format!("{VIP}:80");
        let mut answer = world.connect(&world.net.pods[2], &vip).expect("connect");
        let left = usize::from(answer.server == format!("{}:8080", PODS[0]));
        world.set(json!({}), &[(PODS[left], true)]);
        assert_eq!(echo(&mut answer.stream).expect("still open"), "hello");
        assert_eq!(world.servers(&world.net.pods[2], &vip), servers([left]));
    });
}

#[test]
fn endpoints_are_picked_evenly() {
    by_both(|mut world| {
        let three: Vec<_> = PODS.iter().map(|ip| (*ip, true)).collect();
        world.set(json!({}), &three);
        const CONNECTIONS: u32 = 3_000;
        let (node, vip) = (&world.net.node, format!("{VIP}:80"));
        let mut counts = BTreeMap::new();
        for _ in 0..CONNECTIONS {
            let answer = world.connect(node, &vip).expect("connect");
            *counts.entry(answer.server).or_insert(0_u32) += 1;
        }
        let expected = f64::from(CONNECTIONS) / 3.0;
        let chi_square: f64 = counts
            .values()
            .map(|n| (f64::from(*n) - expected).powi(2) / expected)
            .sum();
        // Two degrees of freedom: more than this is seen once in three million runs.
        assert!(counts.len() == 3 && chi_square < 30.0, "{counts:?}");
    });
}

/// What only sockets do: nobody's address is translated.
#[test]
fn clients_keep_their_address_when_sockets_balance() {
    let mut world = World::new(true);
    world.set(node_port("NodePort"), &[(PODS[0], true)]);
    let pod = &world.net.pods[2];
    let answer = world
        .connect(pod, &format!("{NODE_IP}:30080"))
        .expect("connect");
    assert_eq!(answer.client, PODS[2], "by a node port");
    let itself = world
        .connect(&world.net.pods[0], &format!("{VIP}:80"))
        .expect("connect");
    assert_eq!(itself.client, PODS[0], "its own endpoint");
    assert_eq!(
        world.group.as_ref().map(Group::report).as_deref(),
        Some("bpf\n")
    );
}

/// Two nodes of one machine, of which each has an endpoint of its own for the same address.
#[test]
fn each_node_has_endpoints_of_its_own() {
    let mut nodes = [World::new(true), World::new(true)];
    for (index, node) in nodes.iter_mut().enumerate() {
        node.set(json!({}), &[(PODS[index], true)]);
    }
    for (index, node) in nodes.iter().enumerate() {
        assert_eq!(
            node.servers(&node.net.pods[2], &format!("{VIP}:80")),
            servers([index])
        );
    }
}

#[test]
fn sockets_balance_while_the_agent_is_away_and_go_on_unchanged() {
    let mut world = World::new(true);
    world.set(node_port("NodePort"), &TWO);
    world.set(node_port("NodePort"), &[(PODS[0], true), (PODS[2], true)]);
    let group = world.group.as_ref().expect("by sockets");
    let before = kernel(group);
    // The agent is gone with all that it held.
    let state = std::mem::replace(&mut world.proxier, proxy(&world.net.node)).state;
    let pod = &world.net.pods[1];
    assert_eq!(
        world.servers(pod, &format!("{NODE_IP}:30080")),
        servers([0, 2])
    );

    world.balance();
    let group = world.group.as_ref().expect("by sockets");
    assert_eq!(kernel(group), before, "before it knows anything");
    world.proxier.state = state.restarted();
    world.proxier.sync().expect("sync");
    assert_eq!(kernel(group), before, "nothing has changed");
    world.set(node_port("NodePort"), &TWO);
    assert_eq!(
        world.servers(&world.net.pods[1], &format!("{VIP}:80")),
        servers([0, 1])
    );
}

/// Programs and their maps' contents at a cgroup.
fn kernel(group: &Group) -> String {
    use karve_sys::bpf::{Hook, Program};
    use std::os::fd::AsFd;
    let dir = fs::File::open(&group.0).expect("open cgroup");
    let programs = Program::attached(dir.as_fd(), Hook::Connect4).expect("list programs");
    let facts: Vec<_> = programs
        .iter()
        .map(|program| program.facts().expect("facts"))
        .collect();
    format!(
        "{facts:?} {:?}",
        socket::contents(&group.0).expect("contents")
    )
}

#[test]
fn without_programs_the_rules_serve() {
    let mut world = World::new(true);
    world.set(node_port("NodePort"), &TWO);
    let group = world.group.as_ref().expect("by sockets");
    socket::detach(&group.0).expect("detach");
    let answer = world
        .connect(&world.net.pods[2], &format!("{NODE_IP}:30080"))
        .expect("connect");
    assert_eq!(answer.client, NODE_IP, "masqueraded by the rules");
}

#[test]
fn a_cgroup_that_is_not_there_is_told() {
    let group = Group::create();
    let options = socket::Options {
        cgroup: group.0.join("absent"),
        ..group.options()
    };
    assert!(socket::open(&options, &[Family::V4]).is_empty());
    let report = group.report();
    assert!(report.starts_with("nf_tables: open cgroup"), "{report}");
}
