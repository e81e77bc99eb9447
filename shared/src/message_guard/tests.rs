use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;

use super::pieces::Pieces;
use super::*;
use crate::admission::Confirm;
use crate::caller_address::CallerAddress;
use crate::error::reason_of;

const NETWORK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const MIB: usize = 1 << 20;

/// Says yes or no, and counts how often it was asked.
struct Judge {
    yes: bool,
    asked: AtomicUsize,
}

impl Confirm for Judge {
    fn confirm(&self, _: &str, _: HeaderMap, _: Option<CallerAddress>) -> Confirmation {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = if self.yes { Ok(()) } else { Err(CallError::new(Code::Unauthenticated, ErrorReason::CredentialInvalid, "unknown")) };
        Box::pin(std::future::ready(answer))
    }
}

fn rules(judge: &Arc<Judge>) -> BodyRules {
    BodyRules {
        most_bytes: 2 * MIB,
        many_messages: false,
        gzip: false,
        network: NETWORK,
        budgets: Arc::default(),
        caller: Some(Unconfirmed::of(Arc::clone(judge) as Arc<dyn Confirm>)),
    }
}

fn judge(yes: bool) -> Arc<Judge> {
    Arc::new(Judge { yes, asked: AtomicUsize::new(0) })
}

fn guarded(pieces: &[&[u8]], ends: bool, rules: BodyRules) -> GuardedBody {
    GuardedBody::new(Body::new(Pieces::new(pieces, ends)), rules)
}

async fn read(mut body: GuardedBody) -> Result<Vec<u8>, Status> {
    let mut read = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        read.extend(frame?.into_data().expect("data"));
    }
    Ok(read)
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

async fn refused(pieces: &[&[u8]], ends: bool, rules: BodyRules) -> (Code, ErrorReason) {
    let status = read(guarded(pieces, ends, rules)).await.unwrap_err();
    (status.code(), reason_of(&status).unwrap())
}

#[tokio::test]
async fn a_short_message_is_handed_on_wherever_it_is_split_and_nobody_is_asked() {
    let judge = judge(false);
    let whole = framed(0, b"message");
    for cut in 0..=whole.len() {
        assert_eq!(read(guarded(&[&whole[..cut], &whole[cut..]], true, rules(&judge))).await.unwrap(), whole);
    }
    assert_eq!(judge.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_long_message_is_read_only_once_its_caller_is_confirmed() {
    let whole = framed(0, &vec![7; MIB]);
    let pieces: Vec<&[u8]> = whole.chunks(10_000).collect();
    let yes = judge(true);
    assert_eq!(read(guarded(&pieces, true, rules(&yes))).await.unwrap(), whole);
    assert_eq!(yes.asked.load(Ordering::Relaxed), 1);
    // No more than its prefix is needed to ask.
    let no = refused(&[&whole[..PREFIX_BYTES]], false, rules(&judge(false))).await;
    assert_eq!(no, (Code::Unauthenticated, ErrorReason::CredentialInvalid));
    let nobody = BodyRules { caller: None, ..rules(&yes) };
    assert_eq!(refused(&[&whole[..PREFIX_BYTES]], false, nobody).await, (Code::ResourceExhausted, ErrorReason::MessageTooLarge));
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_by_its_prefix() {
    let prefix = [&[0][..], &u32::MAX.to_be_bytes()].concat();
    let yes = judge(true);
    let status = read(guarded(&[&prefix], false, rules(&yes))).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status)), (Code::ResourceExhausted, Some(ErrorReason::MessageTooLarge)));
    assert!(status.message().contains("2097152"), "{}", status.message());
    assert_eq!(yes.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_is_not_exactly_one_message_is_malformed() {
    let one = framed(0, b"one");
    let two = [one.clone(), one.clone()].concat();
    for wrong in [&b""[..], &one[..3], &one[..6], &two, &framed(2, b"x"), &framed(1, b"x")] {
        let refused = refused(&[wrong], true, rules(&judge(true))).await;
        assert_eq!(refused, (Code::InvalidArgument, ErrorReason::MessageMalformed), "{wrong:?}");
    }
    let many = BodyRules { many_messages: true, ..rules(&judge(true)) };
    assert_eq!(read(guarded(&[&two], true, many)).await.unwrap(), two, "where many may come");
}

#[tokio::test]
async fn gzip_is_taken_off_and_never_becomes_more_than_its_caller_may_send() {
    let with_gzip = |judge: &Arc<Judge>| BodyRules { gzip: true, ..rules(judge) };
    let short = framed(1, &gzip(b"hello, hello, hello"));
    for cut in 0..=short.len() {
        let plain = read(guarded(&[&short[..cut], &short[cut..]], true, with_gzip(&judge(false)))).await.unwrap();
        assert_eq!(plain, framed(0, b"hello, hello, hello"));
    }
    // A thousand bytes that stand for a million.
    let bomb = framed(1, &gzip(&vec![0; MIB]));
    assert!(bomb.len() < MAX_UNCONFIRMED_BYTES);
    let (yes, no) = (judge(true), judge(false));
    assert_eq!(read(guarded(&[&bomb], true, with_gzip(&yes))).await.unwrap(), framed(0, &vec![0; MIB]));
    assert_eq!(yes.asked.load(Ordering::Relaxed), 1);
    assert_eq!(refused(&[&bomb], true, with_gzip(&no)).await, (Code::Unauthenticated, ErrorReason::CredentialInvalid));
    let larger = framed(1, &gzip(&vec![0; 3 * MIB]));
    assert_eq!(refused(&[&larger], true, with_gzip(&yes)).await, (Code::ResourceExhausted, ErrorReason::MessageTooLarge));
    for wrong in [framed(1, b"no gzip"), framed(1, &short[5..20])] {
        assert_eq!(refused(&[&wrong], true, with_gzip(&yes)).await, (Code::InvalidArgument, ErrorReason::MessageMalformed));
    }
}

#[tokio::test]
async fn what_is_waited_for_comes_out_of_the_budget_and_goes_back() {
    let rules = || BodyRules {
        budgets: Arc::new(Budgets { unconfirmed: ReceiveBudget::new(64 << 10, 32 << 10), confirmed: ReceiveBudget::new(MIB, MIB) }),
        ..rules(&judge(true))
    };
    let shared = rules();
    let with_shared = || BodyRules { budgets: shared.budgets.clone(), ..rules() };
    let begun = framed(0, &[7; 30 << 10]);
    let mut waiting = guarded(&[&begun[..1000]], false, with_shared());
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(matches!(Pin::new(&mut waiting).poll_frame(&mut cx), Poll::Ready(Some(Ok(_)))));
    let busy = refused(&[&begun[..1000]], false, with_shared()).await;
    assert_eq!(busy, (Code::ResourceExhausted, ErrorReason::ServerBusy));
    assert!(read(guarded(&[&begun], true, with_shared())).await.is_ok(), "what is whole at once waits for nothing");
    drop(waiting);
    assert!(read(guarded(&[&begun[..1000], &begun[1000..]], true, with_shared())).await.is_ok());
}

#[tokio::test]
async fn a_message_that_never_ends_is_given_up() {
    let mut body = guarded(&[&framed(0, &[7; 100])[..50]], false, rules(&judge(true)));
    body.began = Instant::now() - UNCONFIRMED_TIMEOUT;
    let status = read(body).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status)), (Code::DeadlineExceeded, Some(ErrorReason::MessageTooSlow)));
    let mut body = guarded(&[&framed(0, &vec![7; MIB])[..50]], false, rules(&judge(true)));
    body.began = Instant::now() - RECEIVE_TIMEOUT;
    assert_eq!(reason_of(&read(body).await.unwrap_err()), Some(ErrorReason::MessageTooSlow));
}
