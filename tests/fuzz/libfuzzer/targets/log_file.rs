#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| belfry_fuzz::log_file(input));
