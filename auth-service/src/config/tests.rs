use std::collections::BTreeMap;

use super::*;

fn read(pairs: &[(&str, &str)]) -> Result<Config, Mistakes> {
    let strings: BTreeMap<String, String> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::read(&strings)
}

fn hex_secret() -> String {
    Secret::generate().unwrap().1
}

#[test]
fn without_configuration_the_secrets_are_made_once_in_the_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let set = [("TOLLGATE_DATA_DIR", path.to_str().unwrap())];
    let (first, second) = (read(&set).unwrap(), read(&set).unwrap());
    assert_eq!(first.signing_secrets[0].kid, second.signing_secrets[0].kid);
    assert_eq!(first.service_credentials[0].to_hex(), second.service_credentials[0].to_hex());
    assert_ne!(first.service_credentials[0].to_hex(), first.signing_secrets[0].secret.to_hex());
    assert_eq!(first.sign_up, SignUpPolicy::OnThisHost);
    assert_eq!(first.starting_credits, 10);
}

#[test]
fn redis_needs_its_secrets_given_and_makes_no_folder() {
    let Mistakes(mistakes) = read(&[("TOLLGATE_REDIS_URL", "redis://127.0.0.1"), ("TOLLGATE_DATA_DIR", "/dev/null/x")]).unwrap_err();
    let names: Vec<_> = mistakes.iter().map(|mistake| mistake.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["TOLLGATE_JWT_SECRETS", "TOLLGATE_SERVICE_CREDENTIALS"]);
    let (jwt, old, service) = (hex_secret(), hex_secret(), hex_secret());
    let config = read(&[
        ("TOLLGATE_REDIS_URL", "redis://127.0.0.1"),
        ("TOLLGATE_JWT_SECRETS", &format!("new:{jwt},old:{old}")),
        ("TOLLGATE_SERVICE_CREDENTIALS", &service),
    ])
    .unwrap();
    assert_eq!(config.signing_secrets.iter().map(|one| one.kid.as_str()).collect::<Vec<_>>(), ["new", "old"]);
    let shown = format!("{config:?}");
    assert!([jwt, old, service].iter().all(|secret| !shown.contains(&secret[..8])), "{shown}");
}

#[test]
fn every_secret_is_read_from_the_file_that_its_variable_names() {
    let folder = tempfile::tempdir().unwrap();
    let in_file = |name: &str, secret: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("{secret}\n")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (jwt, service) = (hex_secret(), hex_secret());
    let password = in_file("password", "a/b#c%41 $d");
    let (jwt_file, service_file) = (in_file("jwt", &format!("k1:{jwt}")), in_file("service", &service));
    for of_service in ["TOLLGATE_SERVICE_CREDENTIALS_FILE", "TOLLGATE_SERVICE_CREDENTIAL_FILE"] {
        let config = read(&[
            ("TOLLGATE_REDIS_URL", "redis://host"),
            ("TOLLGATE_REDIS_PASSWORD_FILE", &password),
            ("TOLLGATE_JWT_SECRETS_FILE", &jwt_file),
            (of_service, &service_file),
        ])
        .unwrap();
        assert_eq!(config.signing_secrets[0].secret.to_hex(), jwt);
        assert_eq!(config.service_credentials[0].to_hex(), service);
        let StoreConfig::Redis { password, .. } = config.store else { panic!("no Redis") };
        assert_eq!(password.unwrap().text(), "a/b#c%41 $d");
    }
    // One that can't be read is the only mistake, and no other secret is made in its place.
    let data = folder.path().join("data");
    let (data, missing) = (data.to_str().unwrap(), folder.path().join("missing").to_str().unwrap().to_owned());
    let Mistakes(mistakes) = read(&[("TOLLGATE_DATA_DIR", data), ("TOLLGATE_JWT_SECRETS_FILE", &missing)]).unwrap_err();
    assert!(mistakes.len() == 1 && mistakes[0].starts_with("TOLLGATE_JWT_SECRETS_FILE"), "{mistakes:?}");
    assert!(!folder.path().join("data").join(JWT_SECRET_FILE).exists());
}

#[test]
fn the_password_of_redis_needs_a_redis_and_stands_in_one_place() {
    let secrets = [("TOLLGATE_JWT_SECRETS", format!("k1:{}", hex_secret())), ("TOLLGATE_SERVICE_CREDENTIALS", hex_secret())];
    let with = |more: &[(&str, &str)]| {
        let secrets = secrets.iter().map(|(name, value)| (*name, value.as_str()));
        read(&secrets.chain(more.iter().copied()).collect::<Vec<_>>())
    };
    let password = ("TOLLGATE_REDIS_PASSWORD", "can/ary#1");
    let config = with(&[password, ("TOLLGATE_REDIS_URL", "redis://user@redis")]).unwrap();
    assert!(!format!("{config:?}").contains("ary"), "{config:?}");
    let folder = tempfile::tempdir().unwrap();
    let data = ("TOLLGATE_DATA_DIR", folder.path().to_str().unwrap());
    for (more, says) in [
        (&[password, data][..], "no Redis is named"),
        (&[password, ("TOLLGATE_REDIS_URL", "redis://:other@redis")], "take it out of the URL"),
    ] {
        let Mistakes(mistakes) = with(more).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].starts_with("TOLLGATE_REDIS_PASSWORD is set"), "{mistakes:?}");
        assert!(mistakes[0].contains(says) && !mistakes[0].contains("ary") && !mistakes[0].contains("other@"), "{mistakes:?}");
    }
}

#[test]
fn a_mistake_names_the_variable_of_the_service_credential_that_was_set() {
    let redis = ("TOLLGATE_REDIS_URL", "redis://redis");
    let jwt = format!("k1:{}", hex_secret());
    let jwt = ("TOLLGATE_JWT_SECRETS", jwt.as_str());
    let (one, list) = (("TOLLGATE_SERVICE_CREDENTIAL", "weak"), ("TOLLGATE_SERVICE_CREDENTIALS", "weak"));
    let Mistakes(mistakes) = read(&[redis, jwt, one]).unwrap_err();
    assert!(mistakes.len() == 1 && mistakes[0].starts_with("TOLLGATE_SERVICE_CREDENTIAL must"), "{mistakes:?}");
    assert_eq!(read(&[redis, jwt, one, list]).unwrap_err().0.len(), 2);
    // As a compose file gives it: the list is there, and empty.
    let secret = hex_secret();
    let config = read(&[redis, jwt, ("TOLLGATE_SERVICE_CREDENTIALS", ""), ("TOLLGATE_SERVICE_CREDENTIAL", &secret)]).unwrap();
    assert_eq!(config.service_credentials[0].to_hex(), secret);
    let other = hex_secret();
    let both = format!("{secret},{other}");
    let config = read(&[redis, jwt, ("TOLLGATE_SERVICE_CREDENTIALS", &both), ("TOLLGATE_SERVICE_CREDENTIAL", &secret)]).unwrap();
    assert_eq!(config.service_credentials.len(), 2);
}

#[test]
fn a_network_address_needs_plaintext_to_be_allowed_and_closes_sign_up() {
    let folder = tempfile::tempdir().unwrap();
    let data = ("TOLLGATE_DATA_DIR", folder.path().to_str().unwrap());
    let listen = ("TOLLGATE_AUTH_LISTEN", "0.0.0.0:50051");
    let Mistakes(mistakes) = read(&[data, listen]).unwrap_err();
    assert!(mistakes.len() == 1 && mistakes[0].starts_with("TOLLGATE_AUTH_LISTEN"), "{mistakes:?}");
    let plaintext = ("TOLLGATE_ALLOW_PLAINTEXT", "true");
    assert_eq!(read(&[data, listen, plaintext]).unwrap().sign_up, SignUpPolicy::Closed);
    assert_eq!(read(&[data, listen, plaintext, ("TOLLGATE_SIGNUP", "open")]).unwrap().sign_up, SignUpPolicy::Open);
}

#[test]
fn the_ledger_is_kept_unless_a_retention_is_given_that_no_receipt_outlives() {
    let folder = tempfile::tempdir().unwrap();
    let data = ("TOLLGATE_DATA_DIR", folder.path().to_str().unwrap());
    let retention = |value| ("TOLLGATE_LEDGER_RETENTION", value);
    assert_eq!(read(&[data]).unwrap().ledger_retention, None);
    assert_eq!(read(&[data, retention("")]).unwrap().ledger_retention, None);
    assert_eq!(read(&[data, retention("1h")]).unwrap().ledger_retention, Some(Duration::from_secs(3600)));
    let forget_after = ("TOLLGATE_FORGET_AFTER", "2h");
    assert_eq!(read(&[data, forget_after, retention("2h")]).unwrap().ledger_retention, Some(Duration::from_secs(7200)));
    for wrong in [&[data, retention("3599s")][..], &[data, forget_after, retention("119m")], &[data, retention("0s")]] {
        let Mistakes(mistakes) = read(wrong).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].starts_with("TOLLGATE_LEDGER_RETENTION"), "{mistakes:?}");
    }
}

#[test]
fn api_keys_last_for_ever_unless_a_time_is_given_that_is_within_the_longest() {
    let folder = tempfile::tempdir().unwrap();
    let data = ("TOLLGATE_DATA_DIR", folder.path().to_str().unwrap());
    let (default, longest) = (|value| ("TOLLGATE_KEY_LIFETIME", value), |value| ("TOLLGATE_KEY_MAX_LIFETIME", value));
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
    for (given, lifetimes) in [
        (vec![], KeyLifetimes::default()),
        (vec![default("1h")], KeyLifetimes { default: hours(1), longest: None }),
        (vec![default("2h"), longest("2h")], KeyLifetimes { default: hours(2), longest: hours(2) }),
    ] {
        assert_eq!(read(&[&[data][..], &given].concat()).unwrap().key_lifetimes, lifetimes);
    }
    let Mistakes(mistakes) = read(&[data, default("2h"), longest("119m")]).unwrap_err();
    assert!(mistakes.len() == 1 && mistakes[0].starts_with("TOLLGATE_KEY_LIFETIME must be at most"), "{mistakes:?}");
}

#[test]
fn a_refused_secret_is_not_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let data = ("TOLLGATE_DATA_DIR", folder.path().to_str().unwrap());
    let weak = "correct-horse-battery-staple";
    for name in ["TOLLGATE_JWT_SECRETS", "TOLLGATE_SERVICE_CREDENTIALS", "TOLLGATE_REDIS_URL"] {
        let error = read(&[data, (name, weak)]).unwrap_err().to_string();
        assert!(error.contains(name) && !error.contains(weak), "{error}");
        let error = read(&[data, (name, &format!("kid:{weak}"))]).unwrap_err().to_string();
        assert!(error.contains(name) && !error.contains(weak), "{error}");
    }
}
