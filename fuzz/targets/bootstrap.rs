#![no_main]
//! A bootstrap as JSON, YAML or encoded, from the file to the plans of its listeners and clusters.

libfuzzer_sys::fuzz_target!(|data: &[u8]| carbyne_proxy::wire::bootstrap::fuzz(data));
