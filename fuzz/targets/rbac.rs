#![no_main]
//! Rules as a control plane may send them, and connections that they judge.

libfuzzer_sys::fuzz_target!(|data: &[u8]| carbyne_proxy::filter::rbac::fuzz::fuzz_rbac(data));
