//! karve-sys
