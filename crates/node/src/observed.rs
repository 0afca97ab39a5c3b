//! What the runtime holds of one pod, as planning and status see it.
//!
//! Plain data: the conversion from the runtime's own types is in `pod::runtime`. Containers are kept newest attempt
//! first, so the first entry of a name is the one whose state counts and the second is its `lastState`.

use std::net::IpAddr;

use k8s_openapi::jiff::Timestamp;

/// Everything that exists of one pod in the runtime.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The sandbox, if one was made and is not yet removed.
    pub sandbox: Option<Sandbox>,
    /// All containers, running or dead, newest attempt first.
    pub containers: Vec<Container>,
}

/// The pod's shared namespaces.
#[derive(Clone, Debug, PartialEq)]
pub struct Sandbox {
    /// False once it was stopped or its network is gone.
    pub ready: bool,
    /// The pod's address; none on the node's own network.
    pub ip: Option<IpAddr>,
}

/// One attempt to run one container.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// The runtime's id.
    pub id: String,
    /// The container's name in the pod's spec.
    pub name: String,
    /// How often a container of this name was started before: the `restartCount`.
    pub attempt: u32,
    /// The image as the image store names it.
    pub image: String,
    /// The digest that the image was resolved to.
    pub image_id: String,
    /// The image as the spec named it when the container was made; a change means a new definition.
    pub definition: String,
    /// Where it is in its life.
    pub state: State,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Made, its first process not yet started.
    Created,
    /// Its first process runs.
    Running {
        /// When that process started.
        started_at: Timestamp,
    },
    /// Its first process ended, or never started.
    Exited(Exit),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    /// The exit code; 128 + n after signal n.
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`.
    pub reason: String,
    /// The termination message, or why it could not be started.
    pub message: Option<String>,
    /// When it started; none when it never did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
}

impl Observed {
    /// The newest attempt of the container `name`.
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// The attempts of the container `name`, newest first.
    pub fn attempts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Container> {
        self.containers.iter().filter(move |c| c.name == name)
    }

    /// Whether any container's process may still be alive.
    pub fn any_alive(&self) -> bool {
        self.containers.iter().any(|c| c.state.is_alive())
    }

    /// Whether the sandbox exists and serves.
    pub fn sandbox_ready(&self) -> bool {
        self.sandbox.as_ref().is_some_and(|s| s.ready)
    }
}

impl State {
    /// Whether a process of it exists or is about to.
    pub fn is_alive(&self) -> bool {
        !matches!(self, State::Exited(_))
    }

    /// The end, when it came.
    pub fn exit(&self) -> Option<&Exit> {
        match self {
            State::Exited(exit) => Some(exit),
            _ => None,
        }
    }
}
