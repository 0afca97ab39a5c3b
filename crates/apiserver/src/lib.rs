//! karve-apiserver
