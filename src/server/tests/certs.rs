//! The private CA and its files.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::super::certs::{Authority, CertError, make_or_load};

fn files(directory: &Path) -> Vec<(String, u32)> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            (entry.file_name().into_string().unwrap(), mode)
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_second_start_uses_what_the_first_one_made() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("certs");
    let first = make_or_load(&directory, None).unwrap();
    let second = make_or_load(&directory, None).unwrap();
    assert_eq!(first.ca_fingerprint_sha256, second.ca_fingerprint_sha256);
    assert_eq!(first.ca_fingerprint_sha256.len(), 64);
    assert_eq!(first.certificate_chain, second.certificate_chain);
    assert_eq!(first.key, second.key);
    assert_eq!(first.ca_path, directory.join("ca.pem"));
    let private = std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777;
    assert_eq!(private, 0o700);
    let expected = [
        (".lock", 0o600),
        ("ca-key.pem", 0o600),
        ("ca.pem", 0o644),
        ("server-key.pem", 0o600),
        ("server.pem", 0o644),
    ];
    assert_eq!(files(&directory), expected.map(|(name, mode)| (name.to_owned(), mode)));
}

#[test]
fn a_new_name_makes_a_new_certificate_that_keeps_the_old_names() {
    let parent = tempfile::tempdir().unwrap();
    let first = make_or_load(parent.path(), Some(IpAddr::from([10, 0, 0, 1]))).unwrap();
    let second = make_or_load(parent.path(), Some(IpAddr::from([10, 0, 0, 2]))).unwrap();
    assert_ne!(first.certificate_chain, second.certificate_chain);
    assert_eq!(first.ca_fingerprint_sha256, second.ca_fingerprint_sha256);
    for listen in [None, Some([10, 0, 0, 1]), Some([10, 0, 0, 2]), Some([0, 0, 0, 0])] {
        let again = make_or_load(parent.path(), listen.map(IpAddr::from)).unwrap();
        assert_eq!(again.certificate_chain, second.certificate_chain, "{listen:?}");
    }
}

#[test]
fn a_broken_server_certificate_is_made_again_and_a_broken_ca_is_an_error() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path();
    let first = make_or_load(directory, None).unwrap();
    for (file, content) in [
        ("server.pem", "nonsense".to_owned()),
        ("server-key.pem", String::new()),
        ("server-key.pem", std::fs::read_to_string(directory.join("ca-key.pem")).unwrap()),
        ("server.pem", std::fs::read_to_string(directory.join("ca.pem")).unwrap()),
    ] {
        let before = make_or_load(directory, None).unwrap();
        std::fs::write(directory.join(file), content).unwrap();
        let after = make_or_load(directory, None).unwrap();
        assert_ne!(before.certificate_chain, after.certificate_chain, "{file}");
        assert_eq!(first.ca_fingerprint_sha256, after.ca_fingerprint_sha256);
    }
    let ca_key = directory.join("ca-key.pem");
    let other = std::fs::read_to_string(directory.join("server-key.pem")).unwrap();
    for content in ["nonsense".to_owned(), other] {
        std::fs::write(&ca_key, content).unwrap();
        let error = make_or_load(directory, None).err().unwrap();
        assert!(matches!(error, CertError::UnusableAuthority { .. }), "{error}");
    }
    std::fs::remove_file(&ca_key).unwrap();
    assert!(
        matches!(make_or_load(directory, None).err().unwrap(), CertError::Io { path, .. } if path == ca_key)
    );
}

#[test]
fn a_server_certificate_of_another_ca_is_made_again() {
    let parent = tempfile::tempdir().unwrap();
    let (ours, others) = (parent.path().join("a"), parent.path().join("b"));
    make_or_load(&ours, None).unwrap();
    let foreign = make_or_load(&others, None).unwrap();
    for file in ["server.pem", "server-key.pem"] {
        std::fs::copy(others.join(file), ours.join(file)).unwrap();
    }
    assert_ne!(make_or_load(&ours, None).unwrap().certificate_chain, foreign.certificate_chain);
}

#[test]
fn those_who_race_end_with_the_same_certificate() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("certs");
    let made: Vec<_> = std::thread::scope(|scope| {
        let racers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| make_or_load(&directory, None).unwrap())).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    for one in &made {
        assert_eq!(one.certificate_chain, made[0].certificate_chain);
        assert_eq!(one.ca_fingerprint_sha256, made[0].ca_fingerprint_sha256);
    }
}

#[test]
fn the_authority_is_shared_with_other_uses() {
    let parent = tempfile::tempdir().unwrap();
    let authority = Authority::make_or_load(parent.path()).unwrap();
    let server = make_or_load(parent.path(), None).unwrap();
    assert_eq!(authority.fingerprint_sha256(), server.ca_fingerprint_sha256);
    let issued = authority.issue(&["management.azure.com".to_owned()]).unwrap();
    assert_eq!(issued.chain.len(), 1);
}
