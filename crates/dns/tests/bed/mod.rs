//! A DNS server on loopback over a small cluster, and upstreams that behave well or badly.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Name, ToName};
use domain::rdata::{A, Cname};
use karve_dns::corefile;
use karve_dns::engine::{Around, Asker, Engine, Step};
use karve_dns::serve::Sockets;
use karve_dns::walk::Client;
use karve_dns::wire::Transport;
use karve_dns::zone::{Service, Slice, Zone};
use karve_watch::ObjectName;
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

pub fn query(name: &str, qtype: Rtype) -> Vec<u8> {
    asked(name, qtype, None)
}

pub fn query_with(name: &str, qtype: Rtype, size: u16) -> Vec<u8> {
    asked(name, qtype, Some(size))
}

fn asked(name: &str, qtype: Rtype, edns: Option<u16>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(rand::random());
    builder.header_mut().set_rd(true);
    let mut question = builder.question();
    question
        .push((Name::vec_from_str(name).unwrap(), qtype))
        .unwrap();
    let mut additional = question.additional();
    if let Some(size) = edns {
        additional
            .opt(|opt| {
                opt.set_udp_payload_size(size);
                Ok(())
            })
            .unwrap();
    }
    additional.finish()
}

/// A ClusterIP Service, one with 250 endpoints, aliases to the outside, the inside and in a ring.
pub fn zone() -> Zone {
    let mut zone = Zone::default();
    let mut service = |name: &str, spec: serde_json::Value| {
        let service = json!({"metadata": {"namespace": "default", "name": name}, "spec": spec});
        let service = Service::from_api(&serde_json::from_value(service).unwrap());
        zone.set_service(&ObjectName::new("default", name), service);
    };
    let alias = |to: &str| json!({"type": "ExternalName", "externalName": to});
    service(
        "redis",
        json!({"clusterIP": "10.96.7.7", "ports": [{"name": "resp", "port": 6379}]}),
    );
    service("many", json!({"clusterIP": "None"}));
    service("out", alias("example.org"));
    service("in", alias("redis.default.svc.cluster.local"));
    service("ring", alias("ring.default.svc.cluster.local"));
    let addresses: Vec<_> = (1..=250)
        .map(|n| json!({"addresses": [format!("10.244.1.{n}")]}))
        .collect();
    let slice = json!({
        "metadata": {"namespace": "default", "name": "many-a", "labels": {"kubernetes.io/service-name": "many"}},
        "addressType": "IPv4", "ports": [], "endpoints": addresses,
    });
    let slice = Slice::from_api(&serde_json::from_value(slice).unwrap());
    zone.set_slice(&ObjectName::new("default", "many-a"), slice);
    zone.services_complete();
    zone.slices_complete();
    zone
}

fn engine(own: IpAddr) -> Arc<Engine> {
    let private = ["10.96.0.0/12", "10.244.0.0/16"].map(|net| net.parse().unwrap());
    Arc::new(Engine::new(
        zone(),
        Around {
            own: vec![own],
            private: private.into(),
        },
    ))
}

/// A server without sockets.
pub struct Quiet {
    engine: Arc<Engine>,
}

pub fn quiet() -> Quiet {
    let engine = engine([127, 0, 0, 1].into());
    let plan = corefile::read("cluster.local {\n kubernetes\n}", &|_| None).unwrap();
    engine.set(Arc::new(engine.prepare(&plan, &|_| Vec::new(), &|_| None)));
    Quiet { engine }
}

impl Quiet {
    pub fn quick(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let asker = Asker {
            address: ([127, 0, 0, 1], 9).into(),
            transport: Transport::Udp,
            port: 53,
        };
        let mut out = Vec::new();
        let config = self.engine.config();
        let zone = self.engine.zone.read();
        let step = self.engine.quick(&config, &zone, bytes, &asker, &mut out);
        matches!(step, Step::Reply).then_some(out)
    }
}

pub struct Bed {
    pub engine: Arc<Engine>,
    sockets: Sockets,
    address: SocketAddr,
}

impl Bed {
    /// A server by a Corefile, in which UP stands for the upstreams in turn and SELF for the server.
    pub async fn new(text: &str, upstreams: &[&Upstream]) -> Bed {
        let probe = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = probe.local_addr().unwrap();
        drop(probe);
        let mut text = text.to_owned();
        for upstream in upstreams {
            text = text.replacen("UP", &upstream.address.to_string(), 1);
        }
        text = text.replace("SELF", &address.to_string());
        let mut plan = corefile::read(&text, &|_| None).unwrap();
        for (_, port) in plan.servers.iter_mut().flat_map(|server| &mut server.zones) {
            *port = address.port();
        }
        // The server would leave itself out.
        let own: IpAddr = match text.contains(&address.to_string()) {
            true => [127, 0, 0, 9].into(),
            false => address.ip(),
        };
        let engine = engine(own);
        engine.set(Arc::new(engine.prepare(&plan, &|_| Vec::new(), &|_| None)));
        let mut sockets = Sockets::new(engine.clone());
        sockets.set(&[address]).await.unwrap();
        karve_dns::engine::probe_loops(&engine);
        Bed {
            engine,
            sockets,
            address,
        }
    }

    pub async fn send(&self, query: &[u8]) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(query, self.address).await.unwrap();
    }

    pub async fn udp(&self, query: &[u8]) -> Message<Vec<u8>> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.send_to(query, self.address).await.unwrap();
        let mut buffer = vec![0; 65_535];
        let len = socket.recv(&mut buffer).await.unwrap();
        buffer.truncate(len);
        assert_eq!(buffer[..2], query[..2]);
        Message::from_octets(buffer).unwrap()
    }

    /// All queries at once on one stream; the replies in the queries' order.
    pub async fn tcp(&self, queries: &[Vec<u8>]) -> Vec<Message<Vec<u8>>> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        for query in queries {
            stream.write_u16(query.len() as u16).await.unwrap();
            stream.write_all(query).await.unwrap();
        }
        let mut replies = Vec::new();
        for _ in queries {
            let mut reply = vec![0; usize::from(stream.read_u16().await.unwrap())];
            stream.read_exact(&mut reply).await.unwrap();
            replies.push(Message::from_octets(reply).unwrap());
        }
        replies
    }

    /// A Pod of `namespace` asks from `address`.
    pub fn client_of(&self, address: IpAddr, namespace: &str, more: &[&str]) {
        let pod = ObjectName::new(namespace, "p");
        let cluster = [
            &format!("{namespace}.svc.cluster.local"),
            "svc.cluster.local",
            "cluster.local",
        ];
        let client = Client {
            pod: pod.clone(),
            addresses: vec![address],
            searches: cluster
                .iter()
                .chain(more)
                .map(|search| (*search).to_owned())
                .collect(),
            ndots: 5,
        };
        self.engine.clients.write().set(&pod, Some(client));
    }

    /// Until the figures say so.
    pub async fn wait_for(&self, done: impl Fn(&str) -> bool) {
        while !done(&self.engine.metrics.text()) {
            tokio::task::yield_now().await;
        }
    }

    pub async fn end(self) {
        self.sockets.close().await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// 192.0.2.1 to every A, nothing to others, and no name that begins with `nx`, or lies below `nx.corp`.
    Honest,
    /// After a while.
    Slow,
    Silent,
    WrongId,
    WrongQuestion,
    Garbage,
    Servfail,
    /// With records of other names.
    Poison,
    /// Whole only over a stream.
    Truncated,
}

pub struct Upstream {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    pub async fn start(behaviour: Behaviour) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = UdpSocket::bind(address).await.unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let told = asked.clone();
        tasks.spawn(async move {
            let mut buffer = vec![0; 4096];
            loop {
                let (len, peer) = socket.recv_from(&mut buffer).await.unwrap();
                told.lock().push(describe(&buffer[..len], ""));
                if behaviour == Behaviour::Slow {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                if let Some(reply) = answer(&buffer[..len], behaviour) {
                    socket.send_to(&reply, peer).await.unwrap();
                }
            }
        });
        let told = asked.clone();
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut query = vec![0; usize::from(stream.read_u16().await.unwrap())];
                stream.read_exact(&mut query).await.unwrap();
                told.lock().push(describe(&query, " tcp"));
                let reply = answer(&query, Behaviour::Honest).unwrap();
                stream.write_u16(reply.len() as u16).await.unwrap();
                stream.write_all(&reply).await.unwrap();
            }
        });
        Upstream {
            address,
            asked,
            _tasks: tasks,
        }
    }

    /// What was asked, without probes of its health.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock();
        asked.iter().filter(|q| **q != ". NS").cloned().collect()
    }
}

fn describe(query: &[u8], how: &str) -> String {
    let message = Message::from_octets(query).unwrap();
    let question = message.sole_question().unwrap();
    format!("{} {}{how}", question.qname(), question.qtype())
}

fn answer(query: &[u8], behaviour: Behaviour) -> Option<Vec<u8>> {
    let message = Message::from_octets(query).unwrap();
    let question = message.sole_question().unwrap();
    let name: Name<Vec<u8>> = question.qname().to_name();
    let text = name.to_string();
    let missing = text.starts_with("nx") || text.ends_with("nx.corp");
    let rcode = match behaviour {
        Behaviour::Silent => return None,
        Behaviour::Garbage => return Some(vec![0xff; 40]),
        Behaviour::Servfail => Rcode::SERVFAIL,
        _ if missing => Rcode::NXDOMAIN,
        _ => Rcode::NOERROR,
    };
    let mut said = MessageBuilder::new_vec()
        .start_answer(&message, rcode)
        .unwrap();
    said.header_mut().set_ra(true);
    let address = A::from_octets(192, 0, 2, 1);
    let found = rcode == Rcode::NOERROR && question.qtype() == Rtype::A;
    if found && behaviour != Behaviour::Truncated {
        said.push((&name, Class::IN, 60, address)).unwrap();
    }
    if behaviour == Behaviour::Poison {
        let bank = Name::vec_from_str("bank.example").unwrap();
        said.push((&bank, Class::IN, 60, A::from_octets(6, 6, 6, 6)))
            .unwrap();
        said.push((&bank, Class::IN, 60, Cname::new(&name)))
            .unwrap();
    }
    let mut authority = said.authority();
    if !found {
        let soa = domain::rdata::Soa::new(
            Name::vec_from_str("ns.example").unwrap(),
            Name::vec_from_str("root.example").unwrap(),
            domain::base::Serial(1),
            domain::base::Ttl::from_secs(1),
            domain::base::Ttl::from_secs(1),
            domain::base::Ttl::from_secs(1),
            domain::base::Ttl::from_secs(60),
        );
        authority
            .push((Name::root_vec(), Class::IN, 60, soa))
            .unwrap();
    }
    let mut reply = authority.finish();
    match behaviour {
        Behaviour::WrongId => reply[0] ^= 1,
        Behaviour::WrongQuestion => reply[13] ^= 1,
        Behaviour::Truncated => reply[2] |= 2,
        _ => {}
    }
    Some(reply)
}
