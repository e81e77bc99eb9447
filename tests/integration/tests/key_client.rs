//! API keys by the Rust client, when answers are lost.

use integration::lossy_forwarder::{Loss, LossyForwarder};
use integration::polling::{SOON, until};
use integration::scripted_upstream::ScriptedUpstream;
use integration::stack::{PASSWORD, Plan, Stack};
use tollgate_client::{ApiKeyOptions, Client, Error, ErrorReason, NewApiKey, RotationOptions};

/// A user's client with a network between that can lose answers, and one without.
struct User {
    forwarder: LossyForwarder,
    far: Client,
    near: Client,
}

impl User {
    async fn new(stack: &Stack) -> Self {
        let forwarder = LossyForwarder::to(stack.auths[0].address()).await;
        let anybody = Client::builder().auth_url(format!("http://{}", stack.auths[0].address())).build().unwrap();
        anybody.sign_up("ada", PASSWORD, Default::default()).await.unwrap();
        let token = anybody.login("ada", PASSWORD).await.unwrap().access_token;
        let far = Client::builder().auth_url(forwarder.url()).call_timeout(SOON).build().unwrap().with_credential(token.clone());
        // So that a connection stands.
        far.get_me().await.unwrap();
        Self { forwarder, far, near: anybody.with_credential(token) }
    }

    /// How many keys there are, and how many secrets that ever were.
    async fn count(&self) -> (usize, usize) {
        let keys = self.near.list_api_keys().await.unwrap();
        (keys.len(), keys.iter().map(|key| key.secrets.len()).sum())
    }

    /// Makes a call whose answer is lost with its connection, once the service has done what it asks for.
    async fn with_a_lost_answer<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let before = self.count().await;
        self.forwarder.lose(Loss::Answers);
        let calling = tokio::spawn(call);
        until("the call whose answer is lost", SOON, || async { (self.count().await != before).then_some(()) }).await;
        self.forwarder.lose(Loss::Nothing);
        self.forwarder.close();
        calling.await.unwrap()
    }

    async fn works(&self, key: &NewApiKey) -> bool {
        self.near.with_credential(key.key.clone()).balance().await.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_whose_answer_is_lost_is_made_once_and_the_secret_of_the_repetition_works() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = User::new(&stack).await;
    let far = user.far.clone();
    let made = user.with_a_lost_answer(async move { far.create_api_key(ApiKeyOptions::default()).await }).await.unwrap();
    assert_eq!(user.count().await.0, 1);
    assert!(user.works(&made).await);

    let (far, id) = (user.far.clone(), made.api_key.api_key_id.clone());
    let rotated = user.with_a_lost_answer(async move { far.rotate_api_key(&id, RotationOptions::default()).await }).await.unwrap();
    assert_eq!(rotated.api_key.api_key_id, made.api_key.api_key_id);
    assert!(user.works(&made).await && user.works(&rotated).await);
    // The repetitions' secrets took the place of those that were lost.
    let in_force = rotated.api_key.secrets.iter().filter(|secret| secret.revoked_at.is_none()).count();
    assert_eq!(in_force, 2, "{:?}", rotated.api_key.secrets);
}

#[tokio::test]
async fn a_caller_repeats_by_the_request_id_of_the_error_and_other_fields_under_it_are_refused() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = User::new(&stack).await;
    let options = |name: &str, id: &str| ApiKeyOptions { name: name.to_owned(), request_id: Some(id.to_owned()), ..Default::default() };
    let first = user.near.create_api_key(options("ci", "order-7")).await.unwrap();
    let again = user.near.create_api_key(options("ci", "order-7")).await.unwrap();
    assert_eq!(first.api_key.api_key_id, again.api_key.api_key_id);
    assert!(!user.works(&first).await && user.works(&again).await);
    let reused = user.near.create_api_key(options("other", "order-7")).await.unwrap_err();
    assert_eq!((reused.reason(), reused.request_id()), (Some(ErrorReason::RequestIdReused), Some("order-7")));
    assert_eq!(user.count().await.0, 1);
}

#[tokio::test]
async fn whoever_holds_a_credential_revokes_it_without_another_one() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let user = User::new(&stack).await;
    let key = user.near.create_api_key(ApiKeyOptions::default()).await.unwrap();
    let anybody = Client::builder().auth_url(format!("http://{}", stack.auths[0].address())).build().unwrap();
    for _ in 0..2 {
        let revoked = anybody.revoke_credential(key.key.expose()).await.unwrap();
        assert_eq!((revoked.api_key_id.as_str(), revoked.session_id.as_str()), (key.api_key.api_key_id.as_str(), ""));
    }
    assert!(!user.works(&key).await);
    let session = anybody.login("ada", PASSWORD).await.unwrap();
    let revoked = anybody.revoke_credential(session.refresh_token.as_ref().unwrap().expose()).await.unwrap();
    assert_eq!(revoked.session_id, session.session_id);
    let ended = anybody.with_session(session).get_me().await.unwrap_err();
    assert!(matches!(ended, Error::SessionEnded(_)), "{ended:?}");
    user.near.get_me().await.unwrap();
}
