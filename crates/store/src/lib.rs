//! karve-store
