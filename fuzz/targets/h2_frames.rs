#![no_main]
//! HTTP/2 frames as the guard sees them.

libfuzzer_sys::fuzz_target!(|data: &[u8]| carbyne_engine::http::h2_guard::fuzz_frames(data));
