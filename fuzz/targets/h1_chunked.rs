#![no_main]
//! HTTP/1 bodies in chunks.

libfuzzer_sys::fuzz_target!(|data: &[u8]| carbyne_engine::http::h1::chunked::fuzz_chunked(data));
