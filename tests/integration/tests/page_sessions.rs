//! The account page's sessions on real processes: over HTTP/2, and while the store goes away and comes back.

use integration::hostile_http1::{HostileHttp1, Response};
use integration::polling::until;
use integration::process_pair::ProcessPair;
use integration::redis_server::RedisServer;
use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::SOON;
use integration::stack::PASSWORD;
use serde_json::json;
use shared::secret::Secret;

const OWN: [(&str, &str); 2] = [("content-type", "application/json"), ("sec-fetch-site", "same-origin")];
const SESSION: &str = "/account/session";
const REFRESH: &str = "/account/session/refresh";

async fn call(pair: &ProcessPair, method: &str, path: &str, cookie: &str, body: &str) -> Response {
    let mut http1 = HostileHttp1::connect(pair.auth.address()).await;
    http1.call(method, path, &[&OWN[..], &[("cookie", cookie)]].concat(), body.as_bytes()).await
}

fn cookie(answer: &Response) -> String {
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

async fn sign_in(pair: &ProcessPair) -> Response {
    let body = json!({ "user_name": "mario", "password": PASSWORD }).to_string();
    let answer = call(pair, "POST", SESSION, "", &body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

async fn sign_up(pair: &ProcessPair) {
    let body = json!({ "userName": "mario", "password": PASSWORD }).to_string();
    let mut http1 = HostileHttp1::connect(pair.auth.address()).await;
    let headers = [("content-type", "application/json")];
    assert_eq!(http1.call("POST", "/tollgate.auth.v1.Accounts/SignUp", &headers, body.as_bytes()).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_signs_nobody_out_and_the_cookie_is_good_when_it_is_back() {
    let upstream = ScriptedUpstream::start().await;
    let mut redis = RedisServer::start();
    let (signing, service) = (format!("k1:{}", Secret::generate().unwrap().1), Secret::generate().unwrap().1);
    let variables = [
        ("TOLLGATE_REDIS_URL", redis.url()),
        ("TOLLGATE_JWT_SECRETS", signing),
        ("TOLLGATE_SERVICE_CREDENTIALS", service.clone()),
        ("TOLLGATE_SERVICE_CREDENTIAL", service),
    ];
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let pair = ProcessPair::start(&upstream.url(), &variables);
    sign_up(&pair).await;
    let kept = cookie(&sign_in(&pair).await);
    redis.kill();
    for (method, path) in [("POST", REFRESH), ("DELETE", SESSION)] {
        let answer = call(&pair, method, path, &kept, "").await;
        assert_eq!((answer.status.as_u16(), answer.header("set-cookie")), (503, ""), "{method} {path}: {}", answer.text());
        assert!(answer.text().contains("STORE_UNAVAILABLE") && answer.json()["code"] == "unavailable", "{}", answer.text());
    }
    redis.start_again();
    let again = || async { Some(call(&pair, "POST", REFRESH, &kept, "").await).filter(|answer| answer.status == 200) };
    let next = cookie(&until("the cookie is good again", SOON, again).await);
    assert_eq!(call(&pair, "DELETE", SESSION, &next, "").await.status, 204);
    assert_eq!(call(&pair, "POST", REFRESH, &next, "").await.status, 401);
}
