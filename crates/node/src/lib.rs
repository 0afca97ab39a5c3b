//! karve-node
