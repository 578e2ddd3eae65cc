#![no_main]
//! HTTP/1 heads that are read, written and read again.

libfuzzer_sys::fuzz_target!(|data: &[u8]| carbyne_engine::http::h1::encode::fuzz_round_trip(data));
