//! The account page over TLS that the service speaks itself, as a browser would ask for it: over HTTP/1.1 and over HTTP/2.

use integration::stack::PASSWORD;
use serde_json::json;

use crate::stage::{TlsPair, curl, https, said};

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_the_cookie_is_secure_the_policy_names_https_and_a_plaintext_page_of_this_host_is_another_origin() {
    let pair = TlsPair::start().await;
    pair.user("ada").await;
    let (url, ca) = (https(pair.auth.address()), pair.file("ca.pem"));
    let body = json!({ "user_name": "ada", "password": PASSWORD }).to_string();
    let jar = pair.file("jar");
    let (jar, ca) = (jar.to_str().unwrap(), ca.to_str().unwrap());
    for version in ["--http1.1", "--http2"] {
        let ask = async |path: &str, more: &[&str]| {
            let at = format!("{url}{path}");
            let all =
                [&["--cacert", ca, version, "--include", "--header", "content-type: application/json", at.as_str()][..], more].concat();
            said(&curl(&all).await)
        };
        let page = ask("/", &[]).await;
        assert!(page.contains("connect-src 'self' https://127.0.0.1:50052;"), "{version}: {page}");
        let (own, plaintext) = (format!("origin: {url}"), format!("origin: {}", url.replace("https", "http")));
        let sign_in = ["--data", &body, "--cookie-jar", jar, "--header"];
        for forged in [plaintext.as_str(), "origin: https://127.0.0.1", "origin: null", "sec-fetch-site: same-site"] {
            let refused = ask("/account/session", &[&sign_in[..], &[forged]].concat()).await;
            assert!(refused.contains(" 403") && refused.contains("CROSS_ORIGIN_REQUEST"), "{version} {forged}: {refused}");
        }
        for own in [own.as_str(), "sec-fetch-site: same-origin"] {
            let given = ask("/account/session", &[&sign_in[..], &[own]].concat()).await;
            let set = given.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie: ")).unwrap();
            assert!(
                set["set-cookie: ".len()..].starts_with("__Secure-tollgate_refresh=tgr_") && set.trim_end().ends_with("; Secure"),
                "{set}"
            );
            let refreshed = ask("/account/session/refresh", &["--request", "POST", "--cookie", jar, "--header", own]).await;
            assert!(refreshed.contains(" 200") && refreshed.contains("access_token"), "{version}: {refreshed}");
        }
    }
}
