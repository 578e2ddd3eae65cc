#![no_main]
//! HTTP/2 connections, either side.

libfuzzer_sys::fuzz_target!(|data: &[u8]| carbyne_engine::http::h2::fuzz::frames(data));
