//! Names, as two C libraries look them up.

use std::fs::{self, File};
use std::process::Command;

use karve_e2e::{Output, TestHost};
use karve_testkit::{busybox, elf};

/// Prints the addresses of a name, or why there are none.
const LOOKUP: &str = r#"
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        struct addrinfo hints, *list;
        memset(&hints, 0, sizeof hints);
        hints.ai_family = AF_INET;
        hints.ai_socktype = SOCK_STREAM;
        int failed = getaddrinfo(argv[i], 0, &hints, &list);
        if (failed) { printf("%s: %s\n", argv[i], failed == EAI_NONAME ? "no such name" : gai_strerror(failed)); continue; }
        for (; list; list = list->ai_next) {
            char text[64];
            inet_ntop(AF_INET, &((struct sockaddr_in *)list->ai_addr)->sin_addr, text, sizeof text);
            printf("%s: %s\n", argv[i], text);
        }
    }
    return 0;
}
"#;

const NAMES: [&str; 6] = [
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "kube-dns.kube-system",
    "nobody.default.svc.cluster.local",
];

/// Builds `LOOKUP` with a compiler and puts it into an image.
fn image(host: &TestHost, compiler: &[&str], name: &str) {
    let source = host.folder().join("lookup.c");
    fs::write(&source, LOOKUP).expect("writes");
    let program = host.folder().join(name);
    Output::of(
        Command::new(compiler[0])
            .args(&compiler[1..])
            .arg("-O1")
            .arg("-o")
            .arg(&program)
            .arg(&source),
    )
    .ok();
    let mut image = busybox::image(name).expect("an image");
    let mut layer = karve_testkit::layer();
    elf::add_program(&mut layer, &program, "bin/lookup", &[]).expect("a layer");
    image.layers.push(layer.finish().expect("a layer"));
    let archive = host.folder().join(format!("{name}.tar"));
    image
        .write_oci(File::create(&archive).expect("a file"))
        .expect("writes");
    host.karve(&["image", "load", &archive.display().to_string()])
        .ok();
}

#[test]
fn glibc_and_musl_find_the_clusters_names() {
    let host = TestHost::without_images();
    image(&host, &["cc"], "lookup-glibc");
    image(&host, &["musl-gcc", "-static"], "lookup-musl");
    let cluster = host.cluster(&["--nodes", "2"]);
    let expected = "\
kubernetes: 10.96.0.1
kubernetes.default: 10.96.0.1
kubernetes.default.svc: 10.96.0.1
kubernetes.default.svc.cluster.local: 10.96.0.1
kube-dns.kube-system: 10.96.0.10
nobody.default.svc.cluster.local: no such name
";
    for name in ["lookup-glibc", "lookup-musl"] {
        let lookup = [&["lookup"][..], &NAMES].concat();
        assert_eq!(cluster.run(name, name, &lookup), expected, "{name}");
    }
    cluster.down();
}

#[test]
fn dns_answers_over_tcp_and_refuses_what_it_cannot_ask_for() {
    let host = TestHost::new();
    let cluster = host.cluster(&[]);
    // busybox' nslookup tells an unreachable server, a refusal and a name that does not exist apart.
    let command = "nslookup -type=a kubernetes.default.svc.cluster.local; nslookup -type=a nobody.cluster.local; true";
    let said = cluster.run("udp", "busybox", &["sh", "-c", command]);
    assert!(said.contains("10.96.0.1"), "{said}");
    assert!(said.contains("NXDOMAIN"), "{said}");
    let tcp = "printf '\\000\\041\\113\\126\\001\\000\\000\\001\\000\\000\\000\\000\\000\\000\\012kubernetes\\007default\\003svc\\000\\000\\001\\000\\001' | nc 10.96.0.10 53 | wc -c";
    let answered: usize = cluster
        .run("tcp", "busybox", &["sh", "-c", tcp])
        .trim()
        .parse()
        .expect("a number");
    assert!(
        answered > 12,
        "a whole answer comes back over TCP: {answered}"
    );
    cluster.down();
}
