//! Texts that are nearly policies: reading them never panics, and what is read can be printed and read again.

use apron_aws::policy::{Kind, Policy};

/// Texts that are made from each seed.
const ROUNDS: u64 = 4_000;

const SEEDS: &[&str] = &[
    r#"{"Version":"2012-10-17","Id":"x","Statement":[{"Sid":"A1","Effect":"Allow","Principal":{"AWS":["111122223333","arn:aws:iam::111122223333:role/a"],"Service":"a.amazonaws.com"},"Action":["s3:Get*","ecr:*"],"Resource":["arn:aws:s3:::b/${aws:username, 'é'}/*","*"],"Condition":{"ForAnyValue:StringLikeIfExists":{"aws:TagKeys":["a*","${*}b?"]},"NumericLessThan":{"a:b":-1.50},"Bool":{"a:c":true},"DateGreaterThan":{"a:d":"2024-02-29T10:00:00.5+01:00"},"IpAddress":{"a:e":"2001:db8::/32"},"BinaryEquals":{"a:f":"YQ=="},"ArnLike":{"a:g":"arn:aws:*:*:*:x"},"Null":{"a:h":"true"}}}]}"#,
    r#"{"Statement":{"Effect":"Deny","NotPrincipal":"*","NotAction":"iam:?et*","NotResource":"arn:aws:logs:us-east-1:111122223333:log-group:*:x","Condition":{"StringNotEquals":{"aws:x":"${aws:PrincipalTag/a b}"}}}}"#,
];

const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\u0000",
    "\\ud83d\\ude00",
    "\\",
    "${",
    "'",
    "*",
    "?",
    "é",
    "\u{0}",
    "-",
    "1e9",
    "null",
    "true",
    "Effect",
    "Allow",
    "Deny",
    "Not",
    "IfExists",
    "ForAllValues:",
    "arn:",
    "/0",
    "/999",
    "99999999999999999999",
    "9999-99-99T99:99:99Z",
];

/// xorshift64*: the same texts every time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let value = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(value).unwrap() % bound.max(1)
    }
}

fn boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn mutate(text: &mut String, random: &mut Random) {
    let from = boundary(text, random.below(text.len() + 1));
    let to = boundary(text, (from + random.below(12)).min(text.len())).max(from);
    match random.below(5) {
        0 => text.replace_range(from..to, ""),
        1 => text.insert_str(from, TOKENS[random.below(TOKENS.len())]),
        2 => text.replace_range(from..to, TOKENS[random.below(TOKENS.len())]),
        3 => {
            let piece = text[from..to].to_owned();
            let at = boundary(text, random.below(text.len() + 1));
            text.insert_str(at, &piece);
        }
        _ => {
            let piece = text[from..to].to_owned();
            text.insert_str(from, &piece);
        }
    }
}

#[test]
fn reading_never_panics_and_printing_is_stable() {
    let (mut read, mut refused) = (0, 0);
    for (number, seed) in SEEDS.iter().enumerate() {
        for kind in [Kind::Key, Kind::Managed, Kind::Trust] {
            let mut random = Random(0x9E37_79B9_7F4A_7C15 + number as u64);
            for _ in 0..ROUNDS {
                let mut text = (*seed).to_owned();
                for _ in 0..=random.below(3) {
                    mutate(&mut text, &mut random);
                }
                let Ok(policy) = Policy::parse(&text, kind) else {
                    refused += 1;
                    continue;
                };
                read += 1;
                let printed = policy.to_string();
                let again = Policy::parse(&printed, kind)
                    .unwrap_or_else(|error| panic!("{text}\n{printed}\n{error}"));
                assert_eq!(again, policy, "{text}");
                assert_eq!(again.to_string(), printed, "{text}");
                assert_eq!(again.context_keys(), policy.context_keys());
            }
        }
    }
    assert!(
        read > 500 && refused > 500,
        "{read} were read, {refused} were refused"
    );
}

#[test]
fn our_reader_takes_what_is_json_and_nothing_else() {
    let mut random = Random(7);
    for _ in 0..ROUNDS {
        let mut text = SEEDS[random.below(SEEDS.len())].to_owned();
        mutate(&mut text, &mut random);
        let ours = Policy::parse(&text, Kind::Key);
        let json = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        assert!(json || ours.is_err(), "this is no JSON: {text}");
        if let Err(error) = ours
            && json
        {
            // What is JSON is refused for what it says, not for how it is written.
            let message = error.to_string();
            assert!(
                !message.contains("expected `") && !message.contains("expected a value"),
                "{message}: {text}"
            );
        }
    }
}
