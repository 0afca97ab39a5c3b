//! karve-proxy
