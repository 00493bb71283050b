#![no_main]

#[path = "../aws.rs"]
#[allow(dead_code)]
mod aws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| aws::authorization(data));
