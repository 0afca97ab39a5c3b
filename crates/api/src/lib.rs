//! karve-api
