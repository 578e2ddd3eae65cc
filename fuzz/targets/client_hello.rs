#![no_main]
//! The first bytes of a TLS connection.

libfuzzer_sys::fuzz_target!(|data: &[u8]| carbyne_engine::tls::hello::fuzz_hello(data));
