#![no_main]
//! Host and path made canonical, under every policy.

libfuzzer_sys::fuzz_target!(|data: &[u8]| carbyne_engine::http::canonical::fuzz_canonical(data));
