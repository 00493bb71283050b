#![no_main]

#[path = "../proxy.rs"]
#[allow(dead_code)]
mod proxy;

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy::request_head(data));
