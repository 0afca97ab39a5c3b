//! The parts of a role: tasks that live as long as the process, and end together.

use std::future::Future;

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Tasks by name. None of them may end before all are told to.
pub struct Parts {
    tasks: JoinSet<(&'static str, Result<()>)>,
    shutdown: CancellationToken,
}

impl Parts {
    /// Parts that end at `shutdown`.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self {
            tasks: JoinSet::new(),
            shutdown,
        }
    }

    /// The token that ends them.
    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Starts a part.
    pub fn start<E>(
        &mut self,
        name: &'static str,
        part: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<anyhow::Error> + Send + 'static,
    {
        self.tasks
            .spawn(async move { (name, part.await.map_err(Into::into)) });
    }

    /// Returns when all have ended. One that fails, panics or ends too early ends the others.
    pub async fn join(mut self) -> Result<()> {
        let mut outcome = Ok(());
        while let Some(ended) = self.tasks.join_next().await {
            let result = match ended {
                Ok((name, Err(error))) => Err(error).with_context(|| format!("run {name}")),
                Ok((name, Ok(()))) if !self.shutdown.is_cancelled() => bail_early(name),
                Ok(_) => Ok(()),
                Err(panic) => Err(panic).context("run a part"),
            };
            self.shutdown.cancel();
            outcome = outcome.and(result);
        }
        outcome
    }
}

fn bail_early(name: &str) -> Result<()> {
    bail!("{name} ended without being told to")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_fails_ends_the_others() {
        let mut parts = Parts::new(CancellationToken::new());
        let shutdown = parts.shutdown();
        parts.start("waiting", async move {
            shutdown.cancelled().await;
            anyhow::Ok(())
        });
        parts.start("failing", async { Err(anyhow::anyhow!("no luck")) });
        let error = parts.join().await.expect_err("fails");
        assert_eq!(format!("{error:#}"), "run failing: no luck");
    }

    #[tokio::test]
    async fn parts_end_at_shutdown_only() {
        let shutdown = CancellationToken::new();
        let mut early = Parts::new(shutdown.clone());
        early.start("early", async { anyhow::Ok(()) });
        let error = early.join().await.expect_err("too early");
        assert_eq!(error.to_string(), "early ended without being told to");
        assert!(shutdown.is_cancelled());

        let mut told = Parts::new(shutdown);
        told.start("told", async { anyhow::Ok(()) });
        told.join().await.expect("was told");
    }
}
