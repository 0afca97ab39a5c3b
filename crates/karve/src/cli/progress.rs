//! Talk: what a command says to a person while it works. Always on standard error.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What takes longer than this is shown while it lasts.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says what is done and what is waited for.
#[derive(Debug, Clone)]
pub struct Progress {
    terminal: bool,
}

impl Progress {
    /// Talks to standard error.
    pub fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// A step that is done.
    pub fn done(&self, text: &str) {
        let mark = if self.terminal {
            "\x1b[32m✓\x1b[0m"
        } else {
            "✓"
        };
        eprintln!(" {mark} {text}");
    }

    /// Something that a person should know.
    pub fn note(&self, text: &str) {
        let mark = if self.terminal {
            "\x1b[33m!\x1b[0m"
        } else {
            "!"
        };
        eprintln!(" {mark} {text}");
    }

    /// A line without a mark.
    pub fn say(&self, text: &str) {
        eprintln!("{text}");
    }

    /// Waits for `work`, with a spinner on a terminal once it takes longer than a second.
    pub async fn during<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if let Ok(result) = tokio::time::timeout(PATIENCE, &mut work).await {
            return result;
        }
        if !self.terminal {
            eprintln!(" … {what}");
            return work.await;
        }
        let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template(" {spinner} {msg} ({elapsed})")
            .expect("the template is well formed");
        spinner.set_style(style);
        spinner.set_message(what.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(100));
        let result = work.await;
        spinner.finish_and_clear();
        result
    }
}
