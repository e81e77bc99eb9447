//! A revocation ends what it must whatever breaks on the way: a forwarder, an auth-service, Redis, the news itself.

use std::time::Duration;

use integration::lossy_forwarder::{Loss, LossyForwarder};
use integration::polling::until;
use integration::process_pair::bearer;
use integration::processes::ServiceProcess;
use integration::reserved_port::ReservedPort;
use integration::stack::channel;
use shared::ErrorReason;
use shared::proto::auth;
use shared::proto::auth::accounts_client::AccountsClient;

use crate::moment::Moment;
use crate::stage::{AT_ONCE, CUT, Payer, Person, SOON, Stage};

/// How soon it is noticed that a connection is dead which nobody closed.
const SILENCE: Duration = Duration::from_secs(6);

/// Revokes the person's first key through one of the auth-services, as soon as it can; when that was answered.
async fn revoke_through(stage: &Stage, auth: usize, user: &Person) -> Moment {
    let address = stage.auths[auth].address();
    until("the key to be revoked", SOON, || async {
        let revoke = auth::RevokeApiKeyRequest { api_key_id: user.key_id(0), ..Default::default() };
        AccountsClient::new(channel(address)).revoke_api_key(bearer(user.credential(Payer::Session(0)), revoke)).await.ok()
    })
    .await;
    Moment::now()
}

#[tokio::test]
async fn an_answer_whose_revocation_nobody_tells_ends_at_its_next_extend_and_no_other_does() {
    for stage in [Stage::on_sqlite(&[("TOLLGATE_HOLD_TTL", "15s")]).await, Stage::on_redis(&[("TOLLGATE_HOLD_TTL", "15s")]).await] {
        let (user, another) = (stage.person("ada").await, stage.person("eve").await);
        let gate = stage.gate();
        let running = stage.run(0, "a key's", &user.keys[0].key).await;
        let mut kept = stage.run_everywhere("another key's", &user.keys[1].key).await;
        kept.push(stage.run(0, "another user's", &another.keys[0].key).await);
        forget_key(&stage, &user).await;
        let forgotten = Moment::now();
        let (took, _) = running.assert_cut(ErrorReason::CredentialRevoked, forgotten).await;
        // A third of how long a hold lives, and what it takes.
        assert!(took < Duration::from_secs(5) + AT_ONCE, "{took:?}");
        eprintln!("nobody told: {took:?}");
        gate.open_for_good();
        for running in kept {
            running.assert_whole().await;
        }
    }
}

/// Removes a key from the store behind its back: as after a failover that kept the revocation, and lost the news of it.
async fn forget_key(stage: &Stage, user: &Person) {
    let account = &user.keys[0].key[3..19];
    match &stage.redis {
        Some(redis) => {
            let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
            let forget = redis::Script::new(
                "local counters = redis.call('HGET', KEYS[1], 'counters') \
                 redis.call('HSET', KEYS[1], 'counters', counters:sub(1, #counters - 8) .. ARGV[1]) \
                 for _, field in ipairs(redis.call('HKEYS', KEYS[2])) do \
                   if redis.call('HGET', KEYS[2], field):find(ARGV[2], 1, true) then redis.call('HDEL', KEYS[2], field) end \
                 end",
            );
            let [acct, keys] = ["acct", "keys"].map(|part| format!("tg:{{{account}}}:{part}"));
            forget.key(acct).key(keys).arg("anything").arg(user.key_id(0)).invoke::<()>(&mut connection).unwrap();
        }
        None => {
            let file = std::path::Path::new(&stage.environment["TOLLGATE_DATA_DIR"]).join(auth_service::config::STORE_FILE);
            let outside = rusqlite::Connection::open(file).unwrap();
            outside.busy_timeout(SOON).unwrap();
            let gone = outside.execute("DELETE FROM api_keys WHERE instr(record, ?) > 0", [user.key_id(0).as_bytes()]).unwrap();
            assert_eq!(gone, 1);
            outside.execute("UPDATE accounts SET rights_version = randomblob(8) WHERE account_id = ?", [account]).unwrap();
        }
    }
}

#[tokio::test]
async fn a_watch_that_a_forwarder_has_lost_is_noticed_and_what_it_missed_is_made_up_for() {
    let mut stage = Stage::on_redis(&[]).await;
    let forwarder = LossyForwarder::to(stage.auths[0].address()).await;
    stage.start_inference(&forwarder.url());
    let user = stage.person("ada").await;
    let gate = stage.gate();
    let running = stage.run(2, "a key's", &user.keys[0].key).await;
    let kept = stage.run(2, "another key's", &user.keys[1].key).await;
    forwarder.lose(Loss::All);
    forwarder.lose(Loss::Nothing);
    let revoked = revoke_through(&stage, 1, &user).await;
    let (took, _) = running.assert_cut(ErrorReason::CredentialRevoked, revoked).await;
    assert!(took < SILENCE, "{took:?}");
    eprintln!("a lost connection: {took:?}");
    gate.open_for_good();
    kept.assert_whole().await;
}

#[tokio::test]
async fn an_auth_service_that_is_killed_or_stopped_takes_no_revocation_with_it() {
    for (gone, signal) in [(0, "KILL"), (1, "KILL"), (0, "TERM"), (1, "TERM")] {
        let mut stage = Stage::on_redis(&[]).await;
        let urls: Vec<_> = stage.auths.iter().map(ServiceProcess::url).collect();
        stage.start_inference(&urls.join(","));
        let user = stage.person("ada").await;
        let gate = stage.gate();
        let running = stage.run(2, "a key's", &user.keys[0].key).await;
        let kept = stage.run(2, "another key's", &user.keys[1].key).await;
        stage.auths[gone].signal(signal);
        let revoked = revoke_through(&stage, 1 - gone, &user).await;
        let (took, _) = running.assert_cut(ErrorReason::CredentialRevoked, revoked).await;
        assert!(took < AT_ONCE, "{signal} of {gone}: {took:?}");
        eprintln!("{signal} of auth-service {gone}: {took:?}");
        gate.open_for_good();
        kept.assert_whole().await;
    }
}

#[tokio::test]
async fn an_auth_service_that_freezes_keeps_no_answer_from_ending_within_a_second() {
    for frozen in [0, 1] {
        let mut stage = Stage::on_redis(&[]).await;
        let urls: Vec<_> = stage.auths.iter().map(ServiceProcess::url).collect();
        stage.start_inference(&urls.join(","));
        let user = stage.person("ada").await;
        let _gate = stage.gate();

        // Both auth-services tell what is revoked.
        let _told = stage.inferences[2].wait_for_log("\"watches\":2");
        let running = stage.run(2, "a key's", &user.keys[0].key).await;
        stage.auths[frozen].signal("STOP");
        let revoked = revoke_through(&stage, 1 - frozen, &user).await;
        let (took, _) = running.assert_cut(ErrorReason::CredentialRevoked, revoked).await;
        stage.auths[frozen].signal("CONT");
        assert!(took < AT_ONCE, "{took:?}");
        stage.has_spent(user.credential(Payer::Session(0)), CUT).await;
        eprintln!("auth-service {frozen} frozen: {took:?}");
    }
}

#[tokio::test]
async fn after_an_auth_service_or_redis_was_started_again_revocations_end_answers_as_before_and_nothing_else_does() {
    // The only auth-service of a file.
    let port = ReservedPort::new();
    let listen = port.address().to_string();
    let mut stage = Stage::on_sqlite(&[("TOLLGATE_HOLD_TTL", "60s"), ("TOLLGATE_AUTH_LISTEN", &listen)]).await;
    let user = stage.person("ada").await;
    let gate = stage.gate();
    let running = stage.run_everywhere("a key's", &user.keys[0].key).await;
    let kept = stage.run_everywhere("another key's", &user.keys[1].key).await;
    stage.auths[0].kill();
    stage.auths[0] = ServiceProcess::start("auth-service", &stage.environment);
    let revoked = revoke_through(&stage, 0, &user).await;
    for running in running {
        let (took, _) = running.assert_cut(ErrorReason::CredentialRevoked, revoked).await;
        assert!(took < AT_ONCE, "{took:?}");
        eprintln!("auth-service started again: {took:?}");
    }
    gate.open_for_good();
    for running in kept {
        running.assert_whole().await;
    }

    let mut stage = Stage::on_redis(&[]).await;
    let user = stage.person("ada").await;
    let gate = stage.gate();
    let running = stage.run_everywhere("a key's", &user.keys[0].key).await;
    let kept = stage.run_everywhere("another key's", &user.keys[1].key).await;
    let redis = stage.redis.as_mut().unwrap();
    redis.kill();
    redis.start_again();
    let revoked = revoke_through(&stage, 0, &user).await;
    for running in running {
        let (took, _) = running.assert_cut(ErrorReason::CredentialRevoked, revoked).await;
        assert!(took < AT_ONCE, "{took:?}");
        eprintln!("Redis started again: {took:?}");
    }
    gate.open_for_good();
    for running in kept {
        running.assert_whole().await;
    }
    stage.has_spent(user.credential(Payer::Session(0)), 2 * CUT + 2 * crate::stage::WHOLE).await;
}

#[tokio::test]
async fn a_service_whose_callers_watch_stops_as_quickly_as_one_whose_callers_do_not() {
    let mut stage = Stage::on_redis(&[]).await;
    let user = stage.person("ada").await;
    let gate = stage.gate();
    let running = stage.run(0, "a key's", &user.keys[0].key).await;
    gate.open_for_good();
    running.assert_whole().await;
    let began = Moment::now();
    stage.auths[0].signal("TERM");
    assert_eq!(stage.auths[0].wait(SOON).code(), Some(0));
    // Long before its drain's deadline.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}
