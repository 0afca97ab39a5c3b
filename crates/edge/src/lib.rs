//! karve-edge
