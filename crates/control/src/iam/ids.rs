//! Unique ids, access keys and their secrets
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids>).

use crate::clock::{Chance, random};
use apron_aws::sigv4::Secret;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// Characters of unique ids after their prefix: base 32 (RFC 4648).
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What an id names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// A user.
    User,
    /// A group.
    Group,
    /// A role.
    Role,
    /// A managed policy.
    Policy,
    /// An OpenID Connect provider. AWS shows no ids of these; the prefix is our own.
    Provider,
}

impl IdKind {
    fn prefix(self) -> &'static str {
        match self {
            IdKind::User => "AIDA",
            IdKind::Group => "AGPA",
            IdKind::Role => "AROA",
            IdKind::Policy => "ANPA",
            IdKind::Provider => "AOPA",
        }
    }
}

/// A fresh unique id: 21 characters.
pub fn unique_id(kind: IdKind, chance: &dyn Chance) -> String {
    letters::<17>(kind.prefix(), chance)
}

/// A fresh id of a user's access key: 20 characters.
pub fn access_key_id(chance: &dyn Chance) -> String {
    letters::<16>("AKIA", chance)
}

/// A fresh id of temporary credentials: 20 characters.
pub fn temporary_key_id(chance: &dyn Chance) -> String {
    letters::<16>("ASIA", chance)
}

/// A fresh secret access key: 40 characters of Base64, 240 random bits.
pub fn secret_access_key(chance: &dyn Chance) -> Secret {
    Secret::new(BASE64_STANDARD.encode(random::<30>(chance)))
}

fn letters<const N: usize>(prefix: &str, chance: &dyn Chance) -> String {
    let letter = |byte: u8| char::from(ALPHABET[usize::from(byte % 32)]);
    let bytes = random::<N>(chance);
    prefix
        .chars()
        .chain(bytes.into_iter().map(letter))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Machine;

    #[test]
    fn ids_have_the_forms_of_aws() {
        let id = unique_id(IdKind::Role, &Machine);
        assert!(id.len() == 21 && id.starts_with("AROA"), "{id}");
        let key = access_key_id(&Machine);
        assert!(key.len() == 20 && key.starts_with("AKIA"), "{key}");
        assert_eq!(secret_access_key(&Machine).reveal().len(), 40);
        assert_ne!(
            secret_access_key(&Machine).reveal(),
            secret_access_key(&Machine).reveal()
        );
    }
}
