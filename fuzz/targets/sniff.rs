#![no_main]
//! The first bytes of a connection that is not TLS.

libfuzzer_sys::fuzz_target!(|data: &[u8]| carbyne_engine::tls::sniff::fuzz_sniff(data));
