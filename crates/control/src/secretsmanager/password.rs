//! `GetRandomPassword`.

use super::{SecretsManager, invalid_parameter};
use crate::clock::{Chance, random};
use crate::endpoint::Call;
use apron_aws::ApiError;
use serde::Deserialize;
use serde_json::{Value, json};

/// Characters of a password, unless something else is asked for.
const LENGTH_DEFAULT: usize = 32;

const LOWERCASE: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPERCASE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const NUMBERS: &str = "0123456789";
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct GetRandomPassword {
    password_length: usize,
    exclude_characters: String,
    exclude_numbers: bool,
    exclude_punctuation: bool,
    exclude_uppercase: bool,
    exclude_lowercase: bool,
    include_space: bool,
    require_each_included_type: bool,
}

impl Default for GetRandomPassword {
    fn default() -> Self {
        GetRandomPassword {
            password_length: LENGTH_DEFAULT,
            exclude_characters: String::new(),
            exclude_numbers: false,
            exclude_punctuation: false,
            exclude_uppercase: false,
            exclude_lowercase: false,
            include_space: false,
            require_each_included_type: true,
        }
    }
}

impl GetRandomPassword {
    /// The characters of each type that is included.
    fn types(&self) -> Vec<Vec<char>> {
        let all = [
            (LOWERCASE, !self.exclude_lowercase),
            (UPPERCASE, !self.exclude_uppercase),
            (NUMBERS, !self.exclude_numbers),
            (PUNCTUATION, !self.exclude_punctuation),
            (" ", self.include_space),
        ];
        all.into_iter()
            .filter(|(_, included)| *included)
            .map(|(characters, _)| {
                let excluded = |c: &char| self.exclude_characters.contains(*c);
                characters
                    .chars()
                    .filter(|c| !excluded(c))
                    .collect::<Vec<char>>()
            })
            .filter(|characters| !characters.is_empty())
            .collect()
    }
}

impl SecretsManager {
    pub(super) fn get_random_password(&self, call: &Call) -> Result<Value, ApiError> {
        let input: GetRandomPassword = call.input()?;
        let (types, chance) = (input.types(), self.chance.as_ref());
        let all: Vec<char> = types.iter().flatten().copied().collect();
        if all.is_empty() {
            return Err(invalid_parameter(
                "The password can't be made: every character is excluded.",
            ));
        }
        let required = match input.require_each_included_type {
            true => types.len(),
            false => 0,
        };
        if input.password_length < required {
            return Err(invalid_parameter(format!(
                "The password can't be shorter than the number of included types, {required}."
            )));
        }
        let mut password: Vec<char> = types
            .iter()
            .take(required)
            .map(|characters| characters[below(characters.len(), chance)])
            .collect();
        while password.len() < input.password_length {
            password.push(all[below(all.len(), chance)]);
        }
        // Fisher and Yates, so that where a type stands tells nothing.
        for last in (1..password.len()).rev() {
            password.swap(last, below(last + 1, chance));
        }
        Ok(json!({ "RandomPassword": password.into_iter().collect::<String>() }))
    }
}

/// A random number below `bound`, each as likely as the others.
fn below(bound: usize, chance: &dyn Chance) -> usize {
    let bound = u32::try_from(bound).unwrap_or(u32::MAX).max(1);
    let fair = u32::MAX - u32::MAX % bound;
    loop {
        let drawn = u32::from_be_bytes(random(chance));
        if drawn < fair {
            return (drawn % bound) as usize;
        }
    }
}
