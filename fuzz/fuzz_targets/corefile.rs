#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| karve_fuzz::run("corefile", input));
