//! Ways in which a call ends without a charge, and calls that cost nothing at all.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use integration::process_pair::bearer;
use integration::stack::{AnswerEvent, chat_request, read_all};
use shared::error::{reason_name, reason_of};
use shared::model_name::MAX_BYTES;
use shared::proto::inference;
use shared::request_id::MAX_REQUEST_ID_CHARACTERS;
use tonic::{Response, Status, Streaming};

use crate::stage::Account;

/// How a call ended: the reason of its refusal, or what else there is to say.
pub(crate) type Ended = String;
/// Of a call that was answered.
pub(crate) const ANSWERED: &str = "answered";
/// Of a call that its caller left.
pub(crate) const LEFT: &str = "left";

type Call = Box<dyn Fn(Account, usize) -> Pin<Box<dyn Future<Output = Ended> + Send>> + Send + Sync>;

/// A way to call for nothing, again and again.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// How often it is gone.
    pub(crate) calls: usize,
    /// Callers at the same time.
    pub(crate) callers: usize,
    /// What some of its calls must end with; otherwise the attack is none.
    pub(crate) ends_with: &'static [&'static str],
    /// What it may spend of the one credit.
    pub(crate) spends: i64,
    /// One call: by whom, and its number.
    pub(crate) call: Call,
}

/// A way that costs nothing.
pub(crate) fn way<F>(
    name: &'static str,
    calls: usize,
    ends_with: &'static [&'static str],
    call: impl Fn(Account, usize) -> F + Send + Sync + 'static,
) -> Way
where
    F: Future<Output = Ended> + Send + 'static,
{
    Way { name, calls, callers: 3, ends_with, spends: 0, call: Box::new(move |account, number| Box::pin(call(account, number))) }
}

/// How a refusal is told.
pub(crate) fn told(status: &Status) -> Ended {
    reason_of(status).map_or_else(|| format!("{:?}", status.code()), |reason| reason_name(reason).to_owned())
}

/// How a call with a single answer ended.
pub(crate) fn ended<T>(result: &Result<T, Status>) -> Ended {
    result.as_ref().map_or_else(told, |_| ANSWERED.to_owned())
}

/// How a stream ended that is read to its end.
async fn end_of<E: Into<AnswerEvent>>(stream: Result<Response<Streaming<E>>, Status>) -> Ended {
    match stream {
        Ok(stream) => read_all(&mut stream.into_inner()).await.failure.as_ref().map_or_else(|| ANSWERED.to_owned(), told),
        Err(status) => told(&status),
    }
}

/// A chat under a request id, with the bound on tokens at its least.
fn named(model: &str, request_id: &str) -> inference::ChatRequest {
    inference::ChatRequest { request_id: request_id.to_owned(), max_output_tokens: Some(1), ..chat_request(model, "hi") }
}

/// A request id as long as may be, another one for each number.
pub(crate) fn longest_id(number: usize) -> String {
    format!("{number:~>0$}", MAX_REQUEST_ID_CHARACTERS)
}

/// The name of a model as long as may be, another one for each number, with this tag.
pub(crate) fn longest_name(number: usize, tag: &str) -> String {
    let (host, namespace) = (format!("host{number}.example"), "n".repeat(70));
    // No part has more than 80 characters.
    let model = "m".repeat((MAX_BYTES - host.len() - namespace.len() - tag.len() - 3).min(80));
    format!("{host}/{namespace}/{model}:{tag}")
}

/// Calls that hold the credit and give it back. Where each leaves 650 bytes, these leave more than a mebibyte.
const REFUNDS: usize = 1700;
/// Calls that never hold anything.
const REFUSALS: usize = 200;

/// The tag of models that upstream has no place for.
pub(crate) const FULL_TAG: &str = "full";

/// Upstream has the model, and no place in its queue. Names are as long as may be.
pub(crate) fn full() -> Way {
    let way = way("upstream is full", REFUNDS, &["UPSTREAM_BUSY"], |mut who, number| async move {
        end_of(who.inference.chat(bearer(&who.key, named(&longest_name(0, FULL_TAG), &longest_id(number)))).await).await
    });
    Way { callers: 1, ..way }
}

/// Chats that are held, and end without a charge.
pub(crate) fn refunded() -> Vec<Way> {
    let ways = vec![
        way("a missing model", REFUNDS, &["MODEL_NOT_FOUND"], |mut who, _| async move {
            end_of(who.inference.chat(bearer(&who.key, chat_request("nosuchmodel", "hi"))).await).await
        }),
        way("another missing model each time, its name and the request id as long as may be", REFUNDS, &["MODEL_NOT_FOUND"], {
            |mut who, number| async move {
                end_of(who.inference.chat(bearer(&who.key, named(&longest_name(number, "missing"), &longest_id(number)))).await).await
            }
        }),
        way("Generate with a missing model", REFUNDS, &["MODEL_NOT_FOUND"], |mut who, number| async move {
            let request = inference::GenerateRequest { model: format!("missing-{number}"), prompt: "hi".into(), ..Default::default() };
            end_of(who.inference.generate(bearer(&who.key, request)).await).await
        }),
        way("a model that was made from one elsewhere", REFUNDS, &["NOT_SUPPORTED"], |mut who, _| async move {
            end_of(who.inference.chat(bearer(&who.key, chat_request("elsewhere", "hi"))).await).await
        }),
        way("upstream is down", REFUNDS, &["UPSTREAM_UNAVAILABLE"], |mut who, number| async move {
            end_of(who.down.chat(bearer(&who.key, named("smollm2", &longest_id(number)))).await).await
        }),
        full(),
        way("upstream refuses, breaks, or answers nonsense", REFUNDS, &["UPSTREAM_UNAVAILABLE", "UPSTREAM_PROTOCOL"], {
            |mut who, number| async move {
                let model = ["refuses", "breaks", "garbles", "cuts", "ends", "complains"][number % 6];
                end_of(who.inference.chat(bearer(&who.key, chat_request(model, "hi"))).await).await
            }
        }),
        way("upstream is silent for too long", 300, &["UPSTREAM_TIMEOUT"], |mut who, number| async move {
            end_of(who.impatient.chat(bearer(&who.key, named("waits", &longest_id(number)))).await).await
        }),
        way("one request, refunded and tried again", REFUNDS, &["UPSTREAM_BUSY"], |mut who, _| async move {
            end_of(who.inference.chat(bearer(&who.key, named("full", "again"))).await).await
        }),
        way("left before it is dispatched", REFUNDS, &[LEFT], |mut who, number| async move {
            match who.undispatched.chat(bearer(&who.key, named("smollm2", &longest_id(number)))).await {
                // It is held, and Started is on its way.
                Ok(stream) => drop(stream),
                Err(status) => return told(&status),
            }
            LEFT.to_owned()
        }),
        way("left at any moment", REFUNDS, &[LEFT], |mut who, number| async move {
            let call = who.undispatched.chat(bearer(&who.key, named("smollm2", &longest_id(number))));
            let patience = Duration::from_micros(150 * (number as u64 % 64));
            match tokio::time::timeout(patience, call).await {
                Ok(Err(status)) => told(&status),
                Ok(Ok(_)) | Err(_) => LEFT.to_owned(),
            }
        }),
    ];
    // One credit is held for one call: a second caller would only be told so.
    ways.into_iter().map(|way| Way { callers: 1, ..way }).collect()
}

/// Chats that cost nothing because their model does.
pub(crate) fn gratis() -> Way {
    way("a model that costs nothing", REFUNDS, &[ANSWERED], |mut who, number| async move {
        end_of(who.inference.chat(bearer(&who.key, named("gratis", &longest_id(number)))).await).await
    })
}

/// Chats that the one credit is spent on, once.
pub(crate) fn repeated() -> Vec<Way> {
    let paid = |way: Way| Way { spends: 1, ..way };
    vec![
        paid(way("a settled request, over and over", REFUSALS, &[ANSWERED], |mut who, _| async move {
            end_of(who.inference.chat(bearer(&who.key, named("smollm2", "again"))).await).await
        })),
        paid(way("a request id for other requests", REFUSALS, &["REQUEST_ID_REUSED"], |mut who, number| async move {
            let request = inference::ChatRequest { request_id: "mine".into(), ..chat_request("smollm2", &format!("hi {number}")) };
            end_of(who.inference.chat(bearer(&who.key, request)).await).await
        })),
        paid(way("a request that is in progress", REFUSALS, &["REQUEST_IN_PROGRESS"], |mut who, number| async move {
            if number + 1 == REFUSALS {
                who.gate.open(1);
            }
            end_of(who.inference.chat(bearer(&who.key, named("waits", "running"))).await).await
        })),
    ]
}
