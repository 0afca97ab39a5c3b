//! `CONNECT`: the way from the API server, whose network need not lead to the pods', to a pod.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use ipnet::Ipv4Net;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::answer::{Body, full, text};

/// Until the pod answers, it has this long.
const CONNECT_MAX: Duration = Duration::from_secs(30);

/// Connects to the pod that the request names, and passes on what either side says. A failure to connect is answered
/// with the number of the kernel's error.
pub(super) async fn open(pods: Ipv4Net, request: Request<Incoming>) -> Response<Body> {
    let authority = request.uri().authority().map(|a| a.as_str());
    let Some(address) = authority.and_then(|text| text.parse().ok()) else {
        return text(StatusCode::BAD_REQUEST, "not an address and a port");
    };
    if !leads_to_pods(pods, address) {
        return text(StatusCode::FORBIDDEN, "not an address of a pod");
    }
    let connected = match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::from_raw_os_error(nix::libc::ETIMEDOUT)),
    };
    let mut pod = match connected {
        Ok(stream) => stream,
        Err(err) => {
            let number = err.raw_os_error().unwrap_or(nix::libc::EIO);
            return text(StatusCode::BAD_GATEWAY, number.to_string());
        }
    };
    // Small messages go at once, as they came.
    let _ = pod.set_nodelay(true);
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(request).await else {
            return;
        };
        // Either end may just go.
        let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(upgraded), &mut pod).await;
    });
    Response::new(full(""))
}

/// The API server has no other business in this network.
fn leads_to_pods(pods: Ipv4Net, address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => pods.contains(&ip),
        IpAddr::V6(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pods_are_connected_to() {
        let pods = "10.244.0.0/16".parse().expect("net");
        for (address, want) in [
            ("10.244.1.2:80", true),
            ("10.96.0.1:443", false),
            ("127.0.0.1:22", false),
            ("[::1]:22", false),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(leads_to_pods(pods, address), want, "{address}");
        }
    }
}
