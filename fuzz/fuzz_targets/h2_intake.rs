#![no_main]

#[path = "../proxy.rs"]
#[allow(dead_code)]
mod proxy;

libfuzzer_sys::fuzz_target!(|data: &[u8]| proxy::h2_intake(data));
