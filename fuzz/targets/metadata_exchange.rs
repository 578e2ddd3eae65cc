#![no_main]
//! The frame in which TCP peers say who they are.

libfuzzer_sys::fuzz_target!(|data: &[u8]| carbyne_proxy::filter::metadata_exchange::tcp::fuzz(data));
