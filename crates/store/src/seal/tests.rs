use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn open(path: &Path) -> Result<Sealer, SealError> {
    let sealer = Sealer::open(MasterSource::File(path.to_owned()))?;
    sealer.add_data_key(&[1; 8], &[2; 32])?;
    Ok(sealer)
}

fn sealer() -> (tempfile::TempDir, Sealer) {
    let dir = tempfile::tempdir().unwrap();
    let sealer = open(&dir.path().join(KEY_FILE)).unwrap();
    (dir, sealer)
}

#[test]
fn what_is_sealed_opens_again_and_shows_nothing() {
    let (_dir, sealer) = sealer();
    for value in [
        &b""[..],
        b"x",
        b"correct horse battery staple",
        &[7; 100_000],
    ] {
        let envelope = sealer.seal("purpose", value).unwrap();
        assert_eq!(sealer.unseal("purpose", &envelope).unwrap(), value);
        assert_eq!(envelope.len(), 1 + 8 + 12 + value.len() + 16);
        if value.len() > 8 {
            assert!(!envelope.windows(8).any(|window| value.starts_with(window)));
        }
    }
}

#[test]
fn the_same_value_is_never_sealed_to_the_same_bytes() {
    let (_dir, sealer) = sealer();
    assert_ne!(
        sealer.seal("p", b"v").unwrap(),
        sealer.seal("p", b"v").unwrap()
    );
}

#[test]
fn every_changed_byte_and_another_purpose_are_noticed() {
    let (_dir, sealer) = sealer();
    let envelope = sealer.seal("a", b"secret").unwrap();
    assert!(matches!(
        sealer.unseal("b", &envelope),
        Err(SealError::Forged)
    ));
    for index in 0..envelope.len() {
        let mut changed = envelope.clone();
        changed[index] ^= 1;
        assert!(sealer.unseal("a", &changed).is_err(), "byte {index}");
        assert!(
            sealer.unseal("a", &envelope[..index]).is_err(),
            "cut at {index}"
        );
    }
}

#[test]
fn the_key_file_is_private_and_stays_the_same() {
    let (dir, sealer) = sealer();
    let path = dir.path().join(KEY_FILE);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let again = open(&path).unwrap();
    assert_eq!(sealer.key_id(), again.key_id());
    assert_eq!(
        again.unseal("p", &sealer.seal("p", b"v").unwrap()).unwrap(),
        b"v"
    );
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        1,
        "no draft is left"
    );
}

#[test]
fn a_key_file_that_others_may_read_or_that_is_damaged_is_refused() {
    let (dir, _sealer) = sealer();
    let path = dir.path().join(KEY_FILE);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let message = open(&path).unwrap_err().to_string();
    assert!(
        message.contains("640") && message.contains("chmod 600"),
        "{message}"
    );
    for text in [
        "",
        "something else\n",
        "apron sealing keys 1\n",
        "apron sealing keys 1\n00 11\n",
        "apron sealing keys 1\nzz\n",
    ] {
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(
            matches!(open(&path), Err(SealError::KeyFile { .. })),
            "{text:?}"
        );
    }
}

#[test]
fn an_older_master_key_opens_and_the_newest_seals() {
    let (dir, old) = sealer();
    let envelope = old.seal_by_master("p", b"v").unwrap();
    let path = dir.path().join(KEY_FILE);
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str(&format!("0102030405060708 {}\n", "ab".repeat(32)));
    std::fs::write(&path, text).unwrap();
    let both = open(&path).unwrap();
    assert_eq!(both.key_id(), "0102030405060708");
    assert_eq!(both.unseal("p", &envelope).unwrap(), b"v");
    let newer = both.seal_by_master("p", b"v").unwrap();
    assert!(
        matches!(old.unseal("p", &newer), Err(SealError::KeyMissing { key }) if key == "0102030405060708")
    );
}

#[test]
fn a_customers_key_opens_with_the_same_context_only() {
    let (_dir, sealer) = sealer();
    let context = EncryptionContext::of("secret", "a");
    assert!(matches!(
        sealer.seal_with(&[9; 16], &context, b"v"),
        Err(SealError::KeyMissing { .. })
    ));
    sealer.add_customer_key([9; 16], &[3; 32]).unwrap();
    let envelope = sealer.seal_with(&[9; 16], &context, b"v").unwrap();
    assert_eq!(Sealer::customer_key_of(&envelope), Some([9; 16]));
    assert_eq!(sealer.open_with(&context, &envelope).unwrap(), b"v");
    let other = EncryptionContext::of("secret", "b");
    assert!(matches!(
        sealer.open_with(&other, &envelope),
        Err(SealError::Forged)
    ));
    assert!(sealer.unseal("p", &envelope).is_err());
    sealer.forget_customer_key(&[9; 16]);
    assert!(matches!(
        sealer.open_with(&context, &envelope),
        Err(SealError::KeyMissing { .. })
    ));
}

#[test]
fn keys_come_from_a_command_or_a_file_of_somebody_else() {
    let (dir, own) = sealer();
    let path = dir.path().join(KEY_FILE);
    let envelope = own.seal_by_master("p", b"v").unwrap();
    let shown = MasterSource::Command(vec!["cat".to_owned(), path.display().to_string()]);
    for source in [shown, MasterSource::Provided(path.clone())] {
        let sealer = Sealer::open(source).unwrap();
        assert_eq!(sealer.unseal("p", &envelope).unwrap(), b"v");
    }
    for (words, part) in [
        (vec!["false"], "exit status: 1"),
        (vec!["true"], "first line"),
        (vec!["/does/not/exist"], "No such file"),
        (vec![], "no program"),
    ] {
        let words = words.into_iter().map(str::to_owned).collect();
        let error = Sealer::open(MasterSource::Command(words)).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}
