//! The real kubectl against the server.

mod served;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use served::Served;

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: c, image: nginx}]
"#;

const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 31000}]
"#;

struct Kubectl<'a> {
    config: &'a Path,
    home: tempfile::TempDir,
}

impl Kubectl<'_> {
    fn new(config: &Path) -> Kubectl<'_> {
        Kubectl {
            config,
            home: tempfile::tempdir().expect("temporary directory"),
        }
    }

    fn run(&self, arguments: &str, input: &str) -> Output {
        let mut child = Command::new("kubectl")
            .args(arguments.split_whitespace())
            .env("KUBECONFIG", self.config)
            .env("HOME", self.home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl is installed");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(input.as_bytes())
            .expect("kubectl reads");
        child.wait_with_output().expect("kubectl ends")
    }

    fn ok(&self, arguments: &str, input: &str) -> String {
        let output = self.run(arguments, input);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {arguments}: {error}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn fails(&self, arguments: &str, input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(!output.status.success(), "kubectl {arguments} succeeds");
        String::from_utf8(output.stderr).expect("text")
    }
}

/// A row of a table, its cells joined by one blank.
fn cells(table: &str, name: &str) -> String {
    let row = table
        .lines()
        .find(|line| line.split_whitespace().next() == Some(name));
    row.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" "))
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_live_as_kubectl_expects() {
    let served = Served::start().await;
    let config = served.kubeconfig("admin", "system:masters");
    let work = tokio::task::spawn_blocking(move || {
        let kubectl = Kubectl::new(&config);
        assert!(
            kubectl
                .ok("version", "")
                .contains("Server Version: v1.37.2")
        );
        assert!(kubectl.ok("api-resources", "").contains("deployments"));
        assert!(kubectl.ok("get ns", "").contains("kube-node-lease"));

        assert_eq!(
            kubectl.ok("apply -f -", DEPLOYMENT),
            "deployment.apps/web created\n"
        );
        assert_eq!(
            kubectl.ok("apply -f -", DEPLOYMENT),
            "deployment.apps/web unchanged\n"
        );
        let more = DEPLOYMENT.replace("replicas: 2", "replicas: 3");
        assert_eq!(
            kubectl.ok("apply -f -", &more),
            "deployment.apps/web configured\n"
        );
        assert!(cells(&kubectl.ok("get deploy", ""), "web").starts_with("web 0/3 0 0"));
        assert_eq!(
            kubectl.ok("scale deploy web --replicas=4", ""),
            "deployment.apps/web scaled\n"
        );
        assert_eq!(
            kubectl.ok("label deploy web a=b", ""),
            "deployment.apps/web labeled\n"
        );
        assert!(
            kubectl
                .ok("get deploy -l a=b -o name", "")
                .contains("deployment.apps/web")
        );
        assert_eq!(
            kubectl.ok("apply --server-side --force-conflicts -f -", &more),
            "deployment.apps/web serverside-applied\n"
        );
        assert!(
            kubectl
                .ok("describe deploy web", "")
                .contains("StrategyType")
        );

        assert_eq!(kubectl.ok("apply -f -", SERVICE), "service/web created\n");
        let service = cells(&kubectl.ok("get svc", ""), "web");
        assert!(
            service.starts_with("web NodePort 10.96.") && service.contains("<none> 80:31000/TCP"),
            "{service}"
        );
        let taken = kubectl.fails(
            "apply -f -",
            &SERVICE.replace("{name: web}", "{name: other}"),
        );
        assert!(
            taken.contains("provided port is already allocated"),
            "{taken}"
        );

        assert_eq!(
            kubectl.ok("create configmap c --from-literal=a=b", ""),
            "configmap/c created\n"
        );
        assert!(
            kubectl
                .fails(
                    "apply -f -",
                    "apiVersion: v1\nkind: Nope\nmetadata: {name: a}"
                )
                .contains("no matches for kind")
        );
        let unknown = DEPLOYMENT.replace("replicas: 2", "replica: 2");
        assert!(
            kubectl
                .fails("apply -f -", &unknown)
                .contains("unknown field \"spec.replica\"")
        );
        assert_eq!(
            kubectl.ok("delete deploy/web svc/web cm/c", ""),
            "deployment.apps \"web\" deleted\nservice \"web\" deleted\nconfigmap \"c\" deleted\n"
        );
        assert!(
            kubectl
                .fails("get deploy web", "")
                .contains("deployments.apps \"web\" not found")
        );
    });
    work.await.expect("kubectl agrees");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_may_do_nothing() {
    let served = Served::start().await;
    let config = served.kubeconfig("eve", "nobody");
    let work = tokio::task::spawn_blocking(move || {
        let error = Kubectl::new(&config).fails("get pods", "");
        assert!(
            error.contains("pods is forbidden: User \"eve\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""),
            "{error}"
        );
    });
    work.await.expect("kubectl agrees");
}
