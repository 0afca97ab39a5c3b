//! karve-runtime
