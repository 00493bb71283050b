//! The fuzz targets on a stable compiler: over their corpus, and over what a fixed sequence of mutations makes of it.

#[path = "../../../../fuzz/harness.rs"]
mod harness;

use std::path::Path;

/// Mutated inputs per file of a corpus.
const MUTATIONS: u32 = 3_000;

/// Mutations of one input.
const STEPS_MAX: usize = 6;

/// Pieces that mean something to parsers of HTTP.
const WORDS: [&[u8]; 24] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b"\0",
    b";",
    b",",
    b"0\r\n\r\n",
    b"content-length: 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b"chunked",
    b"host: a\r\n",
    b"connection: close, x\r\n",
    b"upgrade: websocket\r\n",
    b"expect: 100-continue\r\n",
    b"ffff",
    b"HTTP/1.1",
    b"\xff",
    b"x_forwarded_for: y\r\n",
    b"te: trailers\r\n",
    b"=",
];

/// A sequence of numbers that is the same every time (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }
}

fn mutate(input: &[u8], other: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..=numbers.below(STEPS_MAX) {
        let at = numbers.below(out.len() + 1);
        let end = (at + numbers.below(16)).min(out.len());
        match numbers.below(7) {
            0 if at < out.len() => out[at] ^= 1 << numbers.below(8),
            1 if at < out.len() => out[at] = numbers.below(256) as u8,
            2 => drop(out.drain(at..end)),
            3 => {
                let piece = out[at..end].to_vec();
                out.splice(at..at, piece);
            }
            4 => {
                let from = numbers.below(other.len() + 1);
                let to = (from + numbers.below(64)).min(other.len());
                out.splice(at..at, other[from..to].iter().copied());
            }
            _ => {
                let word = WORDS[numbers.below(WORDS.len())];
                out.splice(at..at, word.iter().copied());
            }
        }
    }
    out
}

fn run(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let inputs: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for input in &inputs {
        check(input);
        for _ in 0..MUTATIONS {
            let other = &inputs[numbers.below(inputs.len())];
            let mutated = mutate(input, other, &mut numbers);
            let checked = std::panic::catch_unwind(|| check(&mutated));
            assert!(
                checked.is_ok(),
                "{target}: {:?}",
                mutated.escape_ascii().to_string()
            );
        }
    }
}

#[test]
fn request_heads() {
    run("request_head", harness::request_head);
}

#[test]
fn chunked_bodies() {
    run("chunked", harness::chunked);
}

#[test]
fn response_heads() {
    run("response_head", harness::response_head);
}

#[test]
fn http_2_requests() {
    run("h2_intake", harness::h2_intake);
}

#[test]
fn frames_of_the_link() {
    run("link_frames", harness::link_frames);
}
