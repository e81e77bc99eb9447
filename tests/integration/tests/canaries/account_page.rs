//! The account page's own doors: what a browser sends there, right and wrong.

use integration::hostile_http1::{HostileHttp1, Response};
use integration::process_pair::bearer;
use serde_json::json;
use shared::proto::auth as pb;

use crate::stage::{Held, MISPLACED, NEW_PASSWORD, PASSWORD, Stage, WRONG_PASSWORD};

const SESSION: &str = "/account/session";
const REFRESH: &str = "/account/session/refresh";
const RESET: &str = "/account/session/reset";

impl Stage {
    /// What the page's browser sends.
    async fn page(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let own = [("content-type", "application/json"), ("sec-fetch-site", "same-origin")];
        let mut http1 = HostileHttp1::connect(self.pair.auth.address()).await;
        http1.call(method, path, &[&own[..], headers].concat(), body.as_bytes()).await
    }

    /// Notes what a sign-in gave, and answers its cookie. The access token is the page's; the refresh token must be in the cookie alone.
    fn note_session(&mut self, answer: &Response) -> String {
        let (token, cookie) = (answer.json()["access_token"].as_str().unwrap().to_owned(), answer.header("set-cookie").to_owned());
        let pair = cookie.split(';').next().unwrap();
        let refresh_token = pair.split_once('=').unwrap().1;
        self.note_token(&token, "the page's access token");
        self.note_token(refresh_token, "the page's refresh token");
        assert!(!answer.text().contains(&refresh_token[32..]), "a refresh token is in a body");
        pair.to_owned()
    }

    /// What the page does, and what others try in its place.
    pub(super) async fn account_page(&mut self, operator: &Held) {
        let sign_up = pb::SignUpRequest { user_name: "pia".to_owned(), password: PASSWORD.to_owned(), ..Default::default() };
        self.accounts().sign_up(sign_up).await.unwrap();
        let sign_in = |name: &str, password: &str| json!({ "user_name": name, "password": password }).to_string();
        let given = self.page("POST", SESSION, &[], &sign_in("pia", PASSWORD)).await;
        let first = self.note_session(&given);
        let given = self.page("POST", REFRESH, &[("cookie", &first)], "").await;
        let second = self.note_session(&given);
        let token = first.split_once('=').unwrap().1.to_owned();
        let both = format!("{first}; {second}");
        let as_name = format!("{token}=1");
        let typed = format!("tollgate_refresh={token}x");
        for (method, path, headers, body) in [
            ("POST", SESSION, vec![], sign_in("pia", WRONG_PASSWORD)),
            ("POST", SESSION, vec![], sign_in(WRONG_PASSWORD, WRONG_PASSWORD)),
            ("POST", SESSION, vec![("user-agent", token.as_str())], sign_in(&token, MISPLACED)),
            ("POST", SESSION, vec![], json!({ "user_name": "pia", "password": { "x": PASSWORD } }).to_string()),
            ("POST", SESSION, vec![], format!("{{\"user_name\":\"pia\",\"password\":\"{PASSWORD}")),
            ("POST", SESSION, vec![("sec-fetch-site", "cross-site")], sign_in("pia", PASSWORD)),
            ("POST", SESSION, vec![("x-request-id", token.as_str())], sign_in("pia", WRONG_PASSWORD)),
            (
                "POST",
                RESET,
                vec![],
                json!({ "user_name": "pia", "one_time_password": WRONG_PASSWORD, "new_password": NEW_PASSWORD }).to_string(),
            ),
            ("POST", RESET, vec![], json!({ "user_name": "pia", "one_time_password": PASSWORD, "new_password": PASSWORD }).to_string()),
            ("POST", REFRESH, vec![("cookie", both.as_str())], String::new()),
            ("POST", REFRESH, vec![("cookie", as_name.as_str())], String::new()),
            ("POST", REFRESH, vec![("cookie", typed.as_str())], String::new()),
            ("POST", REFRESH, vec![("cookie", first.as_str()), ("sec-fetch-site", "none")], String::new()),
            ("POST", REFRESH, vec![("cookie", first.as_str()), ("origin", token.as_str())], token.clone()),
            ("PUT", SESSION, vec![("cookie", first.as_str())], token.clone()),
            ("DELETE", SESSION, vec![("cookie", both.as_str())], String::new()),
            ("GET", "/account-page/settings", vec![("cookie", first.as_str()), ("x-forwarded-for", token.as_str())], String::new()),
        ] {
            let answer = self.page(method, path, &headers, &body).await;
            if answer.status == 200 && method == "POST" {
                self.note_session(&answer);
            } else {
                self.note(&answer);
            }
        }
        for path in [format!("/account-page/{token}"), format!("{REFRESH}?token={token}"), format!("/account/{token}")] {
            let answer = self.page("POST", &path, &[], "").await;
            self.note(&answer);
        }
        let reset = bearer(&operator.token, pb::ResetPasswordRequest { user_name: "pia".to_owned() });
        let one_time_password = self.admin().reset_password(reset).await.unwrap().into_inner().one_time_password;
        self.secrets.insert(one_time_password.clone(), "a one-time password");
        let refused = self.page("POST", REFRESH, &[("cookie", &second)], "").await;
        self.note(&refused);
        let complete = json!({ "user_name": "pia", "one_time_password": one_time_password, "new_password": NEW_PASSWORD }).to_string();
        let given = self.page("POST", RESET, &[], &complete).await;
        let third = self.note_session(&given);
        let out = self.page("DELETE", SESSION, &[("cookie", &third)], "").await;
        self.note(&out);
        self.page_cookie = Some(third);
    }

    /// What the page is told while the store is away.
    pub(super) async fn account_page_without_store(&mut self) {
        let cookie = self.page_cookie.clone().unwrap();
        let body = json!({ "user_name": "pia", "password": NEW_PASSWORD }).to_string();
        for (method, path, body) in [("POST", REFRESH, ""), ("DELETE", SESSION, ""), ("POST", SESSION, body.as_str())] {
            let answer = self.page(method, path, &[("cookie", &cookie)], body).await;
            assert_eq!(answer.status, 503, "{method} {path}");
            self.note(&answer);
        }
    }
}
