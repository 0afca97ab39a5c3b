//! karve-testkit
