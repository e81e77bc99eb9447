//! Before a credential has proved good, a caller of a door costs bounded memory and bounded time: shown on real processes.

use integration::hostile_http1::{HostileHttp1, head};
use integration::polling::SOON;
use integration::process_pair::ProcessPair;
use integration::processes::ServiceProcess;
use integration::scripted_upstream::ScriptedUpstream;
use shared::credential_form::{API_KEY_PREFIX, checksum, to_bearer};

use crate::metered_door::DOORS;

const MIB: usize = 1 << 20;

/// A figure of a process in KiB, by its name in `/proc/PID/status`.
fn memory_kib(process: &ServiceProcess, figure: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(figure)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// From here on the peak counts anew.
fn reset_peak(process: &ServiceProcess) {
    std::fs::write(format!("/proc/{}/clear_refs", process.pid()), "5").unwrap();
}

/// A key whose form and checksum are right, and which nobody has.
fn made_up_key() -> String {
    let body = format!("{API_KEY_PREFIX}{}", "Zz19".repeat(10));
    format!("{body}{}", std::str::from_utf8(&checksum(&body)).unwrap())
}

/// 31 MiB of JSON, of which each element would be many times as large in memory.
fn bomb() -> Vec<u8> {
    let mut bomb = Vec::with_capacity(31 * MIB);
    bomb.extend_from_slice(b"{\"model\":\"smollm2\",\"messages\":[");
    while bomb.len() < 31 * MIB - 16 {
        bomb.extend_from_slice(b"{},");
    }
    bomb.extend_from_slice(b"{}]}");
    bomb
}

#[tokio::test]
async fn a_bomb_of_json_costs_nothing_until_its_caller_is_confirmed_and_only_its_bytes_after() {
    let upstream = ScriptedUpstream::start().await;
    let pair = ProcessPair::start(&upstream.url(), &[]);
    let key = pair.user().await;
    let (bomb, deep) = (bomb(), [&b"{\"messages\":"[..], &b"[".repeat(31 * MIB)].concat());
    let (paying, made_up) = (to_bearer(&key), to_bearer(&made_up_key()));
    let before = memory_kib(&pair.inference, "VmRSS");
    reset_peak(&pair.inference);
    for door in &DOORS {
        for credential in
            [None, Some(("authorization", "Bearer nonsense")), Some(("x-api-key", "nonsense")), Some(("authorization", made_up.as_str()))]
        {
            let headers: Vec<_> = credential.into_iter().collect();
            let mut http1 = HostileHttp1::connect(pair.inference.address()).await;
            let answer = http1.call("POST", door.path, &headers, &bomb).await;
            assert_eq!(answer.status, 401, "{} {credential:?}", door.path);
            // In chunks, which announce nothing.
            let mut http1 = HostileHttp1::connect(pair.inference.address()).await;
            http1.send(&head("POST", door.path, &[&headers[..], &[("transfer-encoding", "chunked")]].concat())).await;
            http1.send_what_is_taken(&integration::hostile_http1::chunk(&bomb)).await;
            assert_eq!(http1.response(false).await.status, 401, "{} {credential:?}", door.path);
        }
    }
    let peak = memory_kib(&pair.inference, "VmHWM").saturating_sub(before);
    assert!(peak < 16 * 1024, "{peak} KiB");
    for door in &DOORS {
        for (body, word) in [(&bomb, "values"), (&deep, "deep")] {
            let mut http1 = HostileHttp1::connect(pair.inference.address()).await;
            let answer = http1.call("POST", door.path, &[("authorization", &paying)], body).await;
            assert_eq!(answer.status, 400, "{}", door.path);
            assert!(answer.text().contains(word), "{}", answer.text());
        }
    }
    let peak = memory_kib(&pair.inference, "VmHWM").saturating_sub(before);
    assert!(peak < 150 * 1024, "{peak} KiB: the bytes themselves, and not what they would become");
    assert!(DOORS.iter().all(|door| upstream.requests_to(door.upstream).is_empty()));
    let balance = pair.balance(&key).await.unwrap();
    assert_eq!((balance.held_credits(), balance.spent_credits()), (0, 0));
}

#[tokio::test]
async fn a_credential_is_judged_before_a_byte_of_the_body_at_every_path_that_takes_one() {
    let upstream = ScriptedUpstream::start().await;
    let pair = ProcessPair::start(&upstream.url(), &[]);
    let mut http1 = HostileHttp1::connect(pair.inference.address()).await;
    let list = http1.call("GET", "/nothing", &[], b"").await.json();
    let lines: Vec<String> = list["doors"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect();
    assert!(DOORS.iter().all(|door| lines.iter().any(|line| line.starts_with(&format!("POST {} ", door.path)))), "{lines:?}");
    for line in lines.iter().filter(|line| line.starts_with("POST ") || line.starts_with("DELETE ")) {
        let (method, rest) = line.split_once(' ').unwrap();
        let path = rest.split_whitespace().next().unwrap();
        let mut http1 = HostileHttp1::connect(pair.inference.address()).await;
        http1.send(&head(method, path, &[("content-length", "30000000"), ("expect", "100-continue")])).await;
        let answered = tokio::time::timeout(SOON, http1.head()).await.expect("it is answered at once");
        assert_eq!(answered.0, 401, "{line}");
    }
}
