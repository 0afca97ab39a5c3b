//! What the cluster's zone says, as a reply.

use std::cell::Cell;

use crate::reply::{Owner, Reply, Section};
use crate::wire::{Query, Transport, rcode, rtype};
use crate::zone::{Data, OwnedName, View, Want};

/// Seconds of the zone's SOA: refresh, retry, expire, as CoreDNS has them.
const SOA_TIMES: [u32; 3] = [7200, 1800, 86_400];

/// What an answer about the cluster's names needs besides the zone.
#[derive(Clone, Copy)]
pub struct Shown<'v> {
    /// The zone's rules.
    pub view: &'v View,
    /// Records come in another order each time.
    pub shuffle: bool,
}

impl Shown<'_> {
    /// Addresses of a Service.
    pub fn addresses(
        &self,
        out: &mut Vec<u8>,
        query: &Query<'_>,
        transport: Transport,
        addresses: &[std::net::IpAddr],
    ) {
        let want = Want::of(query.qtype);
        let mut reply = Reply::start(out, query, transport, rcode::NOERROR);
        for address in addresses.iter().filter(|ip| want.is_family(**ip)) {
            reply.address(Section::Answer, Owner::Question, self.view.ttl, *address);
        }
        reply.finish(0);
    }

    /// Records, with the addresses of their targets.
    pub fn records(
        &self,
        out: &mut Vec<u8>,
        query: &Query<'_>,
        transport: Transport,
        mut records: Vec<Data>,
        additional: &[(OwnedName, std::net::IpAddr)],
    ) {
        if self.shuffle {
            shuffle(&mut records);
        }
        let mut reply = Reply::start(out, query, transport, rcode::NOERROR);
        let mut whole = true;
        for data in &records {
            whole &= self.push(&mut reply, Owner::Question, data);
            if !whole {
                break;
            }
        }
        // A courtesy: what doesn't fit is left out without a word.
        for (name, address) in additional.iter().take_while(|_| whole) {
            let owner = Owner::Name(name.as_slice());
            if !reply.address(Section::Additional, owner, self.view.ttl, *address) {
                break;
            }
        }
        reply.finish(0);
    }

    /// NXDOMAIN or NODATA, with the SOA that lets resolvers keep it (RFC 2308). `apex` is the zone that
    /// denies: the view's own, or a reverse one.
    pub fn negative(
        &self,
        out: &mut Vec<u8>,
        query: &Query<'_>,
        transport: Transport,
        rcode: u8,
        apex: &[u8],
    ) {
        let mut reply = Reply::start(out, query, transport, rcode);
        self.soa(&mut reply, Section::Authority, apex);
        reply.finish(0);
    }

    /// RFC 8482: one synthetic record instead of everything.
    pub fn any(&self, out: &mut Vec<u8>, query: &Query<'_>, transport: Transport) {
        let mut reply = Reply::start(out, query, transport, rcode::NOERROR);
        reply.record(
            Section::Answer,
            Owner::Question,
            rtype::HINFO,
            self.view.ttl,
            |reply| reply.bytes(b"\x07RFC8482\x00"),
        );
        reply.finish(0);
    }

    /// An ExternalName alone.
    pub fn alias(
        &self,
        out: &mut Vec<u8>,
        query: &Query<'_>,
        transport: Transport,
        target: &OwnedName,
    ) {
        let mut reply = Reply::start(out, query, transport, rcode::NOERROR);
        reply.record(
            Section::Answer,
            Owner::Question,
            rtype::CNAME,
            self.view.ttl,
            |reply| reply.name(target.as_slice()),
        );
        reply.finish(0);
    }

    fn push(&self, reply: &mut Reply<'_>, owner: Owner<'_>, data: &Data) -> bool {
        let ttl = self.view.ttl;
        let section = Section::Answer;
        match data {
            Data::Address(address) => reply.address(section, owner, ttl, *address),
            Data::Srv {
                port,
                weight,
                target,
            } => reply.record(section, owner, rtype::SRV, ttl, |reply| {
                reply.number(0);
                reply.number(*weight);
                reply.number(*port);
                // Not compressed (RFC 2782).
                reply.bytes(target.as_slice());
            }),
            Data::Ptr(name) => reply.record(section, owner, rtype::PTR, ttl, |reply| {
                reply.name(name.as_slice());
            }),
            Data::Ns(name) => reply.record(section, owner, rtype::NS, ttl, |reply| {
                reply.name(name.as_slice());
            }),
            Data::Txt(text) => reply.record(section, owner, rtype::TXT, ttl, |reply| {
                reply.bytes(&[text.len() as u8]);
                reply.bytes(text.as_bytes());
            }),
            Data::Soa => self.soa(reply, section, self.view.origin().as_slice()),
        }
    }

    fn soa(&self, reply: &mut Reply<'_>, section: Section, apex: &[u8]) -> bool {
        let ttl = self.view.ttl;
        reply.record(section, Owner::Name(apex), rtype::SOA, ttl, |reply| {
            let origin = self.view.origin().as_slice();
            for labels in [&b"\x02ns\x03dns"[..], b"\x0ahostmaster"] {
                reply.bytes(labels);
                reply.name(origin);
            }
            // The serial never moves: nobody transfers this zone.
            for number in [1].iter().chain(&SOA_TIMES).chain(&[ttl]) {
                reply.bytes(&number.to_be_bytes());
            }
        })
    }
}

/// Another order, each as likely. No secret hangs on it, so that a small generator will do.
fn shuffle<T>(items: &mut [T]) {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(rand::random::<u64>() | 1);
    }
    if items.len() < 2 {
        return;
    }
    STATE.with(|state| {
        let mut x = state.get();
        for last in (1..items.len()).rev() {
            // xorshift64 (Marsaglia 2003).
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            items.swap(last, (x % (last as u64 + 1)) as usize);
        }
        state.set(x);
    });
}
