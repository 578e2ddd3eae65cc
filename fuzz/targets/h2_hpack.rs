#![no_main]
//! Header compression, there and back.

libfuzzer_sys::fuzz_target!(|data: &[u8]| carbyne_engine::http::h2::fuzz::hpack(data));
