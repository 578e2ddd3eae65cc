#![no_main]
//! HTTP/1 heads, of requests and of responses.

libfuzzer_sys::fuzz_target!(|data: &[u8]| carbyne_engine::http::h1::head::fuzz_heads(data));
