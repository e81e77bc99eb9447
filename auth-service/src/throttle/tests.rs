use super::failures::{LEAK, LONGEST_WAIT, MOST_REMEMBERED};
use super::*;

const HOME: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));

fn elsewhere(number: u8) -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, number]))
}

fn v6(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

/// A login at a time of the test's own.
fn begin(throttle: &LoginThrottle, name: &str, password: &str, address: Option<IpAddr>, now: Instant) -> Result<LoginAttempt, Duration> {
    match throttle.decide(name, password, address, now) {
        Decision::Admitted(attempt) => Ok(attempt),
        Decision::Refused(wait) => Err(wait),
        Decision::Undecided => panic!("it waits for others' verdict"),
    }
}

fn is_undecided(throttle: &LoginThrottle, name: &str, address: Option<IpAddr>, now: Instant) -> bool {
    matches!(throttle.decide(name, &fresh(), address, now), Decision::Undecided)
}

/// A password that nobody tried yet.
fn fresh() -> String {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string()
}

fn guess(throttle: &LoginThrottle, name: &str, address: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
    begin(throttle, name, &fresh(), address, now).map(|attempt| attempt.failed_at(now))
}

fn fail(throttle: &LoginThrottle, name: &str, address: Option<IpAddr>, now: Instant) {
    guess(throttle, name, address, now).unwrap();
}

fn log_in(throttle: &LoginThrottle, name: &str, address: Option<IpAddr>, now: Instant) {
    begin(throttle, name, "right", address, now).unwrap().succeeded();
}

#[test]
fn failures_for_a_name_make_the_next_wait_longer_and_never_longer_than_a_minute() {
    let throttle = LoginThrottle::default();
    let mut now = Instant::now();
    (0..FREE_FAILURES).for_each(|_| fail(&throttle, "mario", HOME, now));
    let mut waits = Vec::new();
    for _ in 0..5 {
        let wait = guess(&throttle, "mario", HOME, now).unwrap_err();
        waits.push(wait.as_secs());
        now += wait;
        fail(&throttle, "mario", HOME, now);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16]);
    for _ in 0..100 {
        let wait = guess(&throttle, "mario", HOME, now).unwrap_err();
        assert!(wait <= LONGEST_WAIT && wait >= LEAK / 2, "{wait:?}");
        now += wait;
        fail(&throttle, "mario", HOME, now);
    }
    assert!(guess(&throttle, "luigi", HOME, now).is_ok(), "another name doesn't wait");
}

#[test]
fn nobody_locks_a_user_out_of_a_network_that_the_user_has_logged_in_from() {
    let throttle = LoginThrottle::default();
    let mut now = Instant::now();
    log_in(&throttle, "mario", HOME, now);
    // An attacker with many networks, who goes on for an hour.
    for _ in 0..3600 {
        for number in 0..20 {
            let _refused = guess(&throttle, "mario", elsewhere(number), now);
        }
        now += Duration::from_secs(1);
    }
    let _refused = guess(&throttle, "mario", elsewhere(0), now);
    let stranger = guess(&throttle, "mario", elsewhere(200), now).unwrap_err();
    assert!(stranger <= LONGEST_WAIT, "{stranger:?}");
    log_in(&throttle, "mario", HOME, now);
}

#[test]
fn a_known_user_gets_in_from_a_network_that_others_have_counted_out() {
    // The flood of the issue: 30 wrong logins, then one each 20 ms for a minute.
    let throttle = LoginThrottle::default();
    let mut now = Instant::now();
    log_in(&throttle, "mario", HOME, now);
    for number in 0..FREE_FAILURES_BY_NETWORK {
        fail(&throttle, &format!("user{number}"), HOME, now);
    }
    let mut guessed = 0;
    for number in 0..3000 {
        now += Duration::from_millis(20);
        guessed += u32::from(guess(&throttle, &format!("other{number}"), HOME, now).is_ok());
        if number % 30 == 0 {
            log_in(&throttle, "mario", HOME, now);
        }
    }
    assert!(guessed <= 7, "{guessed} of 3000 guesses were let through");
    assert!(guess(&throttle, "luigi", HOME, now).is_err(), "one who isn't known waits");
}

#[test]
fn failures_from_one_network_make_no_other_wait() {
    let throttle = LoginThrottle::default();
    let mut now = Instant::now();
    for _ in 0..600 {
        let _refused = guess(&throttle, "mario", elsewhere(1), now);
        now += Duration::from_secs(1);
    }
    let _refused = guess(&throttle, "mario", elsewhere(1), now);
    assert!(guess(&throttle, "mario", elsewhere(1), now).is_err());
    assert!(guess(&throttle, "mario", HOME, now).is_ok());
}

#[test]
fn failures_of_all_networks_together_are_counted_for_a_name() {
    let throttle = LoginThrottle::default();
    let now = Instant::now();
    let guesses = (0..=255).flat_map(|number| [elsewhere(number); 2]);
    let admitted = guesses.filter(|address| guess(&throttle, "mario", *address, now).is_ok()).count();
    assert_eq!(admitted, FREE_FAILURES_BY_NAME as usize);
}

#[test]
fn many_names_with_one_password_each_count_out_their_network() {
    let throttle = LoginThrottle::default();
    let now = Instant::now();
    let stuffed = |name: &String| begin(&throttle, name, "hunter2 hunter2 hunter2", HOME, now).map(|attempt| attempt.failed_at(now));
    let names: Vec<String> = (0..1000).map(|number| format!("user{number}")).collect();
    assert_eq!(names.iter().filter(|name| stuffed(name).is_ok()).count(), FREE_FAILURES_BY_NETWORK as usize);
    assert!(guess(&throttle, "mario", elsewhere(1), now).is_ok(), "another network doesn't wait");
}

#[test]
fn the_same_wrong_pair_counts_once_and_is_compared_once_a_second() {
    let throttle = LoginThrottle::default();
    let mut now = Instant::now();
    let script = |now| begin(&throttle, "mario", "an old password", HOME, now).map(|attempt| attempt.failed_at(now));
    let mut compared = 0;
    // A script with an old password, ten times a second for an hour.
    for _ in 0..36_000 {
        compared += u32::from(script(now).is_ok());
        now += Duration::from_millis(100);
    }
    assert!((3599..=3602).contains(&compared), "{compared}");
    // It has counted neither its name nor its network out.
    for number in 0..FREE_FAILURES_BY_NETWORK - 1 {
        fail(&throttle, &format!("user{number}"), HOME, now);
    }
    assert!(begin(&throttle, "mario", "right", HOME, now).is_ok());
}

#[test]
fn a_guess_that_was_wrong_before_counts_once_and_may_come_again_at_once() {
    let (throttle, now) = (LoginThrottle::of_guesses(), Instant::now());
    for _ in 0..20 {
        begin(&throttle, "mario", "wrong", elsewhere(1), now).unwrap().failed_at(now);
    }
    for _ in 0..FREE_FAILURES - 1 {
        guess(&throttle, "mario", elsewhere(1), now).unwrap();
    }
    assert!(begin(&throttle, "mario", "wrong", elsewhere(1), now).is_err());
}

#[test]
fn pairs_are_told_apart_by_name_and_password() {
    let throttle = LoginThrottle::default();
    let now = Instant::now();
    for (name, password) in [("ab", "c"), ("a", "bc"), ("a", "b"), ("abc", "")] {
        begin(&throttle, name, password, HOME, now).unwrap().failed_at(now);
    }
    let logins = throttle.lock();
    let network = Network::of(HOME);
    assert!([("ab", "c"), ("a", "bc")].iter().all(|pair| logins.by_network.knows(&network, throttle.0.pairs.hash_one(pair))));
    assert!(!logins.by_network.knows(&network, throttle.0.pairs.hash_one(("abc", "d"))));
}

#[test]
fn an_ipv6_host_counts_by_its_network_and_its_site_higher() {
    let throttle = LoginThrottle::default();
    let now = Instant::now();
    let one_network = (0..1000).filter(|number| guess(&throttle, &fresh(), v6(&format!("2001:db8::{number:x}")), now).is_ok());
    assert_eq!(one_network.count(), FREE_FAILURES_BY_NETWORK as usize);
    let one_site = (1..1000).filter(|number| guess(&throttle, &fresh(), v6(&format!("2001:db8:0:{number:x}::1")), now).is_ok());
    assert_eq!(one_site.count(), (FREE_FAILURES_BY_SITE - FREE_FAILURES_BY_NETWORK) as usize);
    assert!(guess(&throttle, &fresh(), v6("2001:db8:1::1"), now).is_ok(), "another /48 doesn't wait");
    assert!(guess(&throttle, &fresh(), v6("::ffff:192.0.2.1"), now).is_ok());
}

#[test]
fn counts_leak_one_failure_at_a_time() {
    let throttle = LoginThrottle::default();
    let mut now = Instant::now();
    (0..FREE_FAILURES).for_each(|_| fail(&throttle, "mario", HOME, now));
    now += LEAK * 2;
    (0..2).for_each(|_| fail(&throttle, "mario", HOME, now));
    assert!(guess(&throttle, "mario", HOME, now).is_err(), "two leaked, not all");
    now += LEAK * FREE_FAILURES;
    (0..FREE_FAILURES).for_each(|_| fail(&throttle, "mario", HOME, now));
    for number in 0..FREE_FAILURES_BY_NETWORK {
        fail(&throttle, &format!("user{number}"), elsewhere(1), now);
    }
    assert!(guess(&throttle, "another", elsewhere(1), now).is_err());
    now += LEAK;
    fail(&throttle, "another", elsewhere(1), now);
    assert!(guess(&throttle, "another", elsewhere(1), now).is_err());
}

#[test]
fn as_many_are_under_way_as_may_still_fail_and_the_next_waits_for_a_verdict() {
    let throttle = LoginThrottle::default();
    let now = Instant::now();
    (0..2).for_each(|_| fail(&throttle, "mario", HOME, now));
    let mut running: Vec<_> = (2..FREE_FAILURES).map(|_| begin(&throttle, "mario", &fresh(), HOME, now).unwrap()).collect();
    assert!(is_undecided(&throttle, "mario", HOME, now));
    running.pop().unwrap().withdraw();
    running.push(begin(&throttle, "mario", &fresh(), HOME, now).unwrap());
    running.into_iter().for_each(|attempt| attempt.failed_at(now));
    assert!(guess(&throttle, "mario", HOME, now).is_err(), "all of them failed");
    // When the wait is over, one at a time.
    let now = now + LONGEST_WAIT;
    (0..2).for_each(|_| fail(&throttle, "mario", HOME, now));
    let now = now + LONGEST_WAIT / 4;
    let _running = begin(&throttle, "mario", &fresh(), HOME, now).unwrap();
    assert!(is_undecided(&throttle, "mario", HOME, now));
}

#[test]
fn the_wait_begins_at_the_verdict_and_not_at_the_beginning() {
    let throttle = LoginThrottle::default();
    let now = Instant::now();
    let running: Vec<_> = (0..FREE_FAILURES).map(|_| begin(&throttle, "mario", &fresh(), HOME, now).unwrap()).collect();
    // Five comparisons that had to wait for their turn.
    let verdict = now + Duration::from_secs(5);
    running.into_iter().for_each(|attempt| attempt.failed_at(verdict));
    assert_eq!(guess(&throttle, "mario", HOME, verdict).unwrap_err(), Duration::from_secs(1));
}

#[test]
fn guesses_under_way_are_bounded_for_a_network_and_for_a_name_too() {
    let throttle = LoginThrottle::default();
    let now = Instant::now();
    log_in(&throttle, "known", elsewhere(1), now);
    let of_network: Vec<_> = (0..FREE_FAILURES_BY_NETWORK).map(|_| begin(&throttle, &fresh(), "x", elsewhere(1), now).unwrap()).collect();
    assert!(is_undecided(&throttle, "mario", elsewhere(1), now));
    assert!(begin(&throttle, "known", "right", elsewhere(1), now).is_ok(), "a known one doesn't wait for strangers");
    drop(of_network);
    let addresses = (100..).map(elsewhere).take(FREE_FAILURES_BY_NAME as usize);
    let of_name: Vec<_> = addresses.map(|address| begin(&throttle, "mario", &fresh(), address, now).unwrap()).collect();
    assert!(is_undecided(&throttle, "mario", elsewhere(99), now));
    drop(of_name);
}

#[test]
fn an_attempt_that_is_cancelled_counts_as_failed_each_time() {
    let throttle = LoginThrottle::default();
    let now = Instant::now();
    (0..FREE_FAILURES).for_each(|_| drop(begin(&throttle, "mario", "always the same", HOME, now).unwrap()));
    assert!(guess(&throttle, "mario", HOME, now).is_err());
}

#[test]
fn an_attempt_that_is_withdrawn_never_happened() {
    let throttle = LoginThrottle::default();
    let now = Instant::now();
    (0..1000).for_each(|_| begin(&throttle, "mario", &fresh(), HOME, now).unwrap().withdraw());
    let logins = throttle.lock();
    assert_eq!((logins.by_name_and_network.len(), logins.by_name.len(), logins.by_network.len(), logins.by_site.len()), (0, 0, 0, 0));
}

#[test]
fn a_login_clears_its_name_and_not_its_network() {
    let throttle = LoginThrottle::default();
    let now = Instant::now();
    for number in 0..FREE_FAILURES_BY_NETWORK - 1 {
        fail(&throttle, &format!("user{number}"), HOME, now);
    }
    log_in(&throttle, "mario", HOME, now);
    (0..FREE_FAILURES).for_each(|_| fail(&throttle, "mario", HOME, now));
    assert!(guess(&throttle, "mario", HOME, now).is_err());
    assert!(guess(&throttle, "luigi", HOME, now).is_err());
    assert!(guess(&throttle, "mario", elsewhere(1), now).is_ok());
}

#[test]
fn the_maps_are_bounded_and_nobody_displaces_the_networks_that_another_is_known_in() {
    let throttle = LoginThrottle::default();
    let mut now = Instant::now();
    log_in(&throttle, "luigi", HOME, now);
    let address = |number: usize| {
        let network = u128::try_from(number).unwrap() << 80;
        Some(IpAddr::from(std::net::Ipv6Addr::from(network | 0x2001 << 112)))
    };
    for number in 0..MOST_REMEMBERED + 100 {
        log_in(&throttle, "mario", address(number), now);
        fail(&throttle, &number.to_string(), address(number), now);
    }
    // Many more users than are remembered, made by somebody to displace the one.
    for number in 0..MOST_KNOWN_NAMES + 100 {
        now += Duration::from_millis(1);
        throttle.lock().known.learn(throttle.name_hash(&number.to_string()), Network::of(HOME), now);
    }
    {
        let logins = throttle.lock();
        assert_eq!(logins.by_name_and_network.len(), MOST_REMEMBERED);
        assert_eq!(
            (logins.by_name.len(), logins.by_network.len(), logins.by_site.len()),
            (MOST_REMEMBERED, MOST_REMEMBERED, MOST_REMEMBERED)
        );
        assert_eq!(logins.known.by_name.len(), MOST_KNOWN_NAMES);
        assert_eq!(logins.known.by_name[&throttle.name_hash("mario")].networks.len(), KNOWN_NETWORKS_OF_A_NAME);
        assert!(logins.known.has(throttle.name_hash("luigi"), Network::of(HOME)));
        assert!(logins.repeats.is_empty() && logins.waiting.is_empty());
    }
    // A month later there is room again, and only for want of it are the quiet ones forgotten.
    log_in(&throttle, "peach", HOME, now + KNOWN_FOR);
    let logins = throttle.lock();
    assert!(logins.known.has(throttle.name_hash("peach"), Network::of(HOME)));
    assert_eq!(logins.known.by_name.len(), 1);
}

#[tokio::test]
async fn right_logins_at_once_all_pass_one_after_the_other() {
    let throttle = LoginThrottle::default();
    // A crowd behind one address.
    let logins = (0..500).map(|_| {
        let throttle = throttle.clone();
        tokio::spawn(async move {
            let attempt = throttle.begin("mario", "right", HOME).await?;
            tokio::task::yield_now().await;
            attempt.succeeded();
            Ok::<(), PutOff>(())
        })
    });
    for login in logins.collect::<Vec<_>>() {
        login.await.unwrap().unwrap();
    }
    let logins = throttle.lock();
    assert_eq!((logins.all_waiting, logins.waiting.len()), (0, 0));
}

#[tokio::test]
async fn of_a_thousand_guesses_at_once_as_many_are_compared_as_of_a_thousand_in_a_row() {
    let throttle = LoginThrottle::default();
    let guesses = (0..1000).map(|_| {
        let throttle = throttle.clone();
        tokio::spawn(async move {
            let attempt = throttle.begin("mario", &fresh(), HOME).await?;
            tokio::task::yield_now().await;
            attempt.failed();
            Ok::<(), PutOff>(())
        })
    });
    let mut compared = 0;
    for guess in guesses.collect::<Vec<_>>() {
        compared += u32::from(guess.await.unwrap().is_ok());
    }
    assert_eq!(compared, FREE_FAILURES);
    let logins = throttle.lock();
    assert_eq!((logins.all_waiting, logins.waiting.len()), (0, 0));
}

#[tokio::test]
async fn those_that_wait_are_bounded_and_one_that_leaves_makes_room() {
    let throttle = LoginThrottle::default();
    let running: Vec<_> = (0..FREE_FAILURES).map(|_| begin(&throttle, "mario", &fresh(), HOME, Instant::now()).unwrap()).collect();
    let mut waiting: Vec<_> = (0..MOST_WAITING_OF_A_NETWORK)
        .map(|_| {
            let throttle = throttle.clone();
            Box::pin(async move { throttle.begin("mario", &fresh(), HOME).await.map(LoginAttempt::failed) })
        })
        .collect();
    for login in &mut waiting {
        assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(login.as_mut().poll(cx).is_pending())).await);
    }
    assert_eq!(throttle.begin("mario", &fresh(), HOME).await.unwrap_err(), PutOff::Crowd(COME_AGAIN));
    waiting.pop();
    assert_eq!(throttle.lock().all_waiting, MOST_WAITING_OF_A_NETWORK - 1);
    running.into_iter().for_each(LoginAttempt::failed);
    for login in waiting {
        assert!(matches!(login.await, Err(PutOff::Failures(_))));
    }
    assert_eq!(throttle.lock().all_waiting, 0);
}
