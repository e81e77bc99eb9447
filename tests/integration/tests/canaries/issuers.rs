//! What a sign-in with an issuer is made of: our secret at the issuer, what was begun, the code, the ID token.

use integration::hostile_http1::HostileHttp1;
use integration::oidc_issuer::{Trouble, code_and_state};
use integration::process_pair::bearer;
use serde_json::json;
use shared::proto::auth as pb;

use crate::stage::{Held, Stage};

/// Our secret at the issuer.
pub(super) const CLIENT_SECRET: &str = "canary-client-secret-8Rt5nX";

impl Stage {
    pub(super) async fn begun(&mut self) -> pb::BeginSignInResponse {
        let begin = pb::BeginSignInRequest { issuer: "one".to_owned(), redirect_uri: "http://127.0.0.1:9/callback/one".to_owned() };
        let begun = self.accounts().begin_sign_in(begin).await.unwrap().into_inner();
        self.secrets.insert(begun.sign_in.clone(), "a sign-in that was begun");
        begun
    }

    async fn proof(&mut self) -> pb::IssuerProof {
        let begun = self.begun().await;
        let (authorization_code, state) = code_and_state(&self.issuer.visit(&begun.authorization_url).await);
        self.secrets.insert(authorization_code[2..30].to_owned(), "a code");
        self.secrets.insert(state.clone(), "a state");
        pb::IssuerProof { sign_in: begun.sign_in, authorization_code, state, id_token: String::new() }
    }

    pub(super) fn id_token(&mut self, claims: serde_json::Value) -> String {
        let token = self.issuer.id_token(claims);
        self.note_token(&token, "an ID token");
        token
    }

    /// Sign-ins that work, and every way in which they don't, by gRPC and by the account page.
    pub(super) async fn issuers(&mut self, held: &Held) {
        let mut accounts = self.accounts();
        let exchange = |proof: pb::IssuerProof| pb::ExchangeIdTokenRequest { proof: Some(proof), ..Default::default() };
        let proof = self.proof().await;
        let other = self.begun().await;
        for wrong in [
            pb::IssuerProof { state: other.state.clone(), ..proof.clone() },
            pb::IssuerProof { sign_in: other.sign_in.clone(), state: other.state.clone(), ..proof.clone() },
            pb::IssuerProof { sign_in: format!("{}x", proof.sign_in), ..proof.clone() },
            pb::IssuerProof { id_token: proof.authorization_code.clone(), ..Default::default() },
            pb::IssuerProof { id_token: proof.sign_in.clone(), ..Default::default() },
        ] {
            self.said.push(format!("{:?}", accounts.exchange_id_token(exchange(wrong)).await.unwrap_err()));
        }
        let signed_in = accounts.exchange_id_token(exchange(proof.clone())).await.unwrap().into_inner();
        self.note_token(&signed_in.access_token, "an access token");
        self.note_token(&signed_in.refresh_token, "a refresh token");
        self.said.push(format!("{:?}", accounts.exchange_id_token(exchange(proof)).await.unwrap_err()));
        for trouble in [Trouble::Status("500 Internal Server Error".to_owned()), Trouble::Garbage] {
            let proof = self.proof().await;
            self.issuer.trouble("/token", Some(trouble));
            self.said.push(format!("{:?}", accounts.exchange_id_token(exchange(proof)).await.unwrap_err()));
            self.issuer.trouble("/token", None);
        }
        for claims in [json!({ "aud": "another" }), json!({ "exp": 1 }), json!({ "nonce": other.nonce }), json!({ "sub": "" })] {
            let id_token = self.id_token(claims);
            self.said.push(format!("{:?}", accounts.exchange_id_token(exchange(pb::IssuerProof { id_token, ..Default::default() })).await));
        }
        // Where it doesn't belong.
        let id_token = self.id_token(json!({}));
        self.said.push(format!("{:?}", accounts.get_me(bearer(&id_token, pb::GetMeRequest {})).await.unwrap_err()));
        self.said.push(format!("{:?}", accounts.get_me(bearer(&other.sign_in, pb::GetMeRequest {})).await.unwrap_err()));
        let misplaced = pb::ExchangeIdTokenRequest { id_token: id_token.clone(), client: other.sign_in.clone(), proof: None };
        self.said.push(format!("{:?}", accounts.exchange_id_token(misplaced).await));
        // Linked and unlinked.
        let proof = self.proof().await;
        let link = bearer(&held.token, pb::LinkIdentityRequest { proof: Some(proof) });
        self.said.push(format!("{:?}", accounts.link_identity(link).await));
        let list = bearer(&signed_in.access_token, pb::ListIdentitiesRequest::default());
        self.said.push(format!("{:?}", accounts.list_identities(list).await.unwrap()));
        self.page_sign_in().await;
    }

    async fn page_sign_in(&mut self) {
        let address = self.pair.auth.address();
        let page = [("content-type", "application/json"), ("sec-fetch-site", "same-origin"), ("origin", "http://localhost")];
        let begun = HostileHttp1::connect(address).await.call("POST", "/account/session/issuer", &page, b"{}").await;
        assert_eq!(begun.status, 200, "{begun:?}");
        let cookie = begun.header("set-cookie").split(';').next().unwrap().to_owned();
        self.secrets.insert(cookie.split_once('=').unwrap().1.to_owned(), "a sign-in that was begun");
        let body: serde_json::Value = serde_json::from_slice(&begun.body).unwrap();
        let back = self.issuer.visit(body["authorization_url"].as_str().unwrap()).await;
        let (code, state) = code_and_state(&back);
        self.secrets.insert(code[2..30].to_owned(), "a code");
        self.secrets.insert(state, "a state");
        let target = &back[back.find("/account/").unwrap()..];
        for cookie in ["x=y", cookie.as_str(), cookie.as_str()] {
            let answer = HostileHttp1::connect(address).await.call("GET", target, &[("cookie", cookie)], b"").await;
            assert_eq!(answer.status, 303, "{answer:?}");
            self.said.push(answer.header("location").to_owned());
            for cookie in answer.headers.get_all("set-cookie").iter().filter_map(|cookie| cookie.to_str().ok()) {
                if let Some(refresh) = cookie.strip_prefix("tollgate_refresh=") {
                    self.note_token(refresh.split(';').next().unwrap(), "a refresh token");
                }
            }
        }
    }
}
