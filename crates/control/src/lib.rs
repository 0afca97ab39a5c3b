//! karve-control
