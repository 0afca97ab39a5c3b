//! Images that are there, that are not, and that are broken.

use std::fs;

use karve_e2e::{Registry, TestHost, archives, eventually};

#[test]
fn images_are_loaded_listed_and_removed() {
    let host = TestHost::without_images();
    let archive = archives().join("busybox.tar").display().to_string();
    assert_eq!(
        host.karve(&["image", "load", &archive]).ok(),
        "docker.io/library/busybox:latest\n"
    );
    let list = host.karve(&["image", "ls"]).ok();
    assert!(
        list.starts_with("IMAGE ") && list.contains("docker.io/library/busybox:latest"),
        "{list}"
    );
    assert_eq!(
        host.karve(&["image", "rm", "busybox"]).ok(),
        "docker.io/library/busybox:latest\n"
    );
    let said = host.karve(&["image", "rm", "busybox"]).failed();
    assert!(
        said.contains("there is no image docker.io/library/busybox:latest"),
        "{said}"
    );
    assert_eq!(host.karve(&["image", "ls", "-o", "json"]).ok(), "[]\n");
}

#[test]
fn a_corrupt_archive_is_refused_whole() {
    let host = TestHost::without_images();
    let whole = fs::read(archives().join("busybox.tar")).expect("the archive");
    let broken = host.folder().join("broken.tar");
    let load = |bytes: &[u8]| {
        fs::write(&broken, bytes).expect("writes");
        host.karve(&["image", "load", &broken.display().to_string()])
            .failed()
    };
    let cut = load(&whole[..whole.len() / 2]);
    assert_eq!(cut.trim().lines().count(), 1, "{cut}");
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    load(&flipped);
    load(b"no archive at all");
    assert_eq!(
        host.karve(&["image", "ls", "-o", "json"]).ok(),
        "[]\n",
        "nothing was kept"
    );
}

#[test]
fn an_image_that_cannot_be_found_is_told() {
    let host = TestHost::new();
    let cluster = host.cluster(&[]);
    // Nothing listens there: the pull fails at once.
    cluster.kubectl(&[
        "run",
        "lost",
        "--image=localhost:5000/none:1",
        "--restart=Never",
    ]);
    cluster.wait(
        "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull",
        &["pod/lost"],
    );
    cluster.wait(
        "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff",
        &["pod/lost"],
    );
    let events = eventually("the reason is in the events", || {
        let events =
            cluster.kubectl(&["get", "events", "--field-selector=involvedObject.name=lost"]);
        if events.contains("BackOff") {
            Ok(events)
        } else {
            Err(events)
        }
    });
    assert!(
        events.contains("Failed to pull image \"localhost:5000/none:1\""),
        "{events}"
    );
    assert!(events.contains("Error: ErrImagePull"), "{events}");

    cluster.kubectl(&[
        "run",
        "never",
        "--image=busybox:none",
        "--image-pull-policy=Never",
        "--restart=Never",
    ]);
    cluster.wait(
        "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImageNeverPull",
        &["pod/never"],
    );
    // kubectl run checks names itself.
    cluster.apply(
        "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"odd\"}, \
         \"spec\": {\"containers\": [{\"name\": \"odd\", \"image\": \"Not/An:Image:Name\"}]}}",
    );
    cluster.wait(
        "jsonpath={.status.containerStatuses[0].state.waiting.reason}=InvalidImageName",
        &["pod/odd"],
    );
    cluster.down();
}

#[test]
fn images_are_pulled_from_a_registry_as_the_policy_says() {
    let host = TestHost::without_images();
    let registry = Registry::start(&host);
    registry.push(&host, &archives().join("busybox.tar"), "tools/busybox", "1");
    let pulled = host
        .karve(&["image", "pull", "localhost:5000/tools/busybox:1"])
        .ok();
    assert_eq!(pulled, "localhost:5000/tools/busybox:1\n");
    host.karve(&["image", "rm", "localhost:5000/tools/busybox:1"])
        .ok();

    let cluster = host.cluster(&[]);
    let run = |name: &str, policy: &str| {
        let policy = format!("--image-pull-policy={policy}");
        let image = "--image=localhost:5000/tools/busybox:1";
        cluster.kubectl(&[
            "run",
            name,
            image,
            &policy,
            "--restart=Never",
            "--command",
            "--",
            "echo",
            name,
        ]);
        cluster.wait(
            "jsonpath={.status.phase}=Succeeded",
            &[&format!("pod/{name}")],
        );
        let id = cluster.json(&["pod", name])["status"]["containerStatuses"][0]["imageID"].clone();
        assert!(
            id.as_str()
                .is_some_and(|id| id.starts_with("localhost:5000/tools/busybox@sha256:")),
            "{id}"
        );
        eventually("it is told how the image came", || {
            let selector = format!("--field-selector=involvedObject.name={name},reason=Pulled");
            let events = cluster.kubectl(&[
                "get",
                "events",
                "-o",
                "jsonpath={.items[*].message}",
                &selector,
            ]);
            if events.is_empty() {
                Err("no event")
            } else {
                Ok(events)
            }
        })
    };
    let absent = run("absent", "IfNotPresent");
    assert!(
        absent.contains("Successfully pulled image \"localhost:5000/tools/busybox:1\" in "),
        "{absent}"
    );
    let present = run("present", "IfNotPresent");
    assert!(present.contains("already present on machine"), "{present}");
    let always = run("always", "Always");
    assert!(always.contains("Successfully pulled image"), "{always}");

    // A tag that the registry has not: its own answer is the reason.
    cluster.kubectl(&[
        "run",
        "lost",
        "--image=localhost:5000/tools/busybox:2",
        "--restart=Never",
    ]);
    cluster.wait(
        "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull",
        &["pod/lost"],
    );
    let message = eventually("the reason is told", || {
        let pod = cluster.json(&["pod", "lost"]);
        let message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
            .as_str()
            .map(str::to_owned);
        message.ok_or("no message")
    });
    assert!(
        message.contains("localhost:5000/tools/busybox:2"),
        "{message}"
    );
    drop(registry);
    assert_eq!(
        cluster.run(
            "offline",
            "localhost:5000/tools/busybox:1",
            &["echo", "here"]
        ),
        "here\n",
        "what is here needs no registry"
    );
    cluster.down();
}

#[test]
fn a_command_that_does_not_exist_is_told() {
    let host = TestHost::new();
    let cluster = host.cluster(&[]);
    let image = ["--image=busybox", "--image-pull-policy=IfNotPresent"];
    cluster.kubectl(
        &[
            &["run", "absent"],
            &image[..],
            &["--command", "--", "/no/such/program"],
        ]
        .concat(),
    );
    // Upstream: the container is created, starting it fails, and it is tried again later.
    let reason = eventually("the start fails", || {
        let pod = cluster.json(&["pod", "absent"]);
        let state = &pod["status"]["containerStatuses"][0];
        let reason = state["lastState"]["terminated"]["reason"]
            .as_str()
            .or(state["state"]["waiting"]["reason"].as_str());
        match reason {
            Some(reason) if reason != "ContainerCreating" => Ok(reason.to_owned()),
            _ => Err(state.to_string()),
        }
    });
    assert!(
        ["StartError", "RunContainerError", "CrashLoopBackOff"].contains(&reason.as_str()),
        "{reason}"
    );
    let events = cluster.kubectl(&[
        "get",
        "events",
        "--field-selector=involvedObject.name=absent",
    ]);
    assert!(events.contains("no such file or directory"), "{events}");
    cluster.kubectl(&["delete", "pod", "absent"]);
    cluster.down();
}
