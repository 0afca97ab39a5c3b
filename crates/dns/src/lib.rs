//! karve-dns
