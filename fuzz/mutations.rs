//! The fuzz targets on a stable compiler: over their corpus, and over what a fixed sequence of mutations makes of it. The
//! tests of the crates that read the bytes include this file.

use std::path::Path;

/// Mutated inputs per file of a corpus.
const MUTATIONS: u32 = 3_000;

/// Mutations of one input.
const STEPS_MAX: usize = 6;

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

fn mutate(input: &[u8], other: &[u8], words: &[&[u8]], numbers: &mut Numbers) -> Vec<u8> {
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
                let word = words[numbers.below(words.len())];
                out.splice(at..at, word.iter().copied());
            }
        }
    }
    out
}

/// Checks the corpus of a target below the directory `fuzz`, and mutations of it; `words` mean something to what reads it.
pub fn run(fuzz: &Path, target: &str, words: &[&[u8]], check: fn(&[u8])) {
    let corpus = fuzz.join("corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(corpus)
        .expect("the target has a corpus")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let inputs: Vec<Vec<u8>> = files
        .iter()
        .map(|file| std::fs::read(file).expect("a file"))
        .collect();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    for input in &inputs {
        check(input);
        for _ in 0..MUTATIONS {
            let other = &inputs[numbers.below(inputs.len())];
            let mutated = mutate(input, other, words, &mut numbers);
            let checked = std::panic::catch_unwind(|| check(&mutated));
            assert!(
                checked.is_ok(),
                "{target}: {:?}",
                mutated.escape_ascii().to_string()
            );
        }
    }
}
