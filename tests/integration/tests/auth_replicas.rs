//! One inference-service in front of several auth-services on one store, all of them real processes.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use integration::polling::{SOON, until};
use integration::process_pair::bearer;
use integration::processes::ServiceProcess;
use integration::redis_server::RedisServer;
use integration::reserved_port::ReservedPort;
use integration::scripted_upstream::{Script, ScriptedUpstream};
use integration::stack::{PASSWORD, channel, chat_request, read_all};
use shared::proto::auth;
use shared::proto::auth::accounts_client::AccountsClient;
use shared::proto::inference::inference_client::InferenceClient;
use shared::secret::Secret;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

const CALLERS: usize = 8;

struct Replicas {
    auths: Vec<ServiceProcess>,
    inference: ServiceProcess,
    environment: BTreeMap<String, String>,
    key: String,
    _ports: [ReservedPort; 2],
    _redis: RedisServer,
    _upstream: ScriptedUpstream,
}

impl Replicas {
    /// Two auth-services, and these URLs beside theirs.
    async fn start(more_urls: &[String]) -> Self {
        let (redis, upstream) = (RedisServer::start(), ScriptedUpstream::start().await);
        upstream.script("/api/chat", Script::chat(&["x"]));
        let secret = || Secret::generate().unwrap().1;
        let credential = secret();
        let mut environment: BTreeMap<String, String> = [
            ("TOLLGATE_REDIS_URL", redis.url()),
            ("TOLLGATE_JWT_SECRETS", format!("test:{}", secret())),
            ("TOLLGATE_SERVICE_CREDENTIALS", credential.clone()),
            ("TOLLGATE_SERVICE_CREDENTIAL", credential),
            ("TOLLGATE_STARTING_CREDITS", "1000000".to_owned()),
            ("TOLLGATE_ENGINE", "ollama".to_owned()),
            ("OLLAMA_HOST", upstream.url()),
            ("TOLLGATE_LOG", "debug,h2=info,hyper_util=info,tower=info".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        // One of them is started again where it was.
        let ports = [Ipv4Addr::new(127, 0, 0, 1), Ipv4Addr::new(127, 0, 0, 2)].map(ReservedPort::of);
        let auths: Vec<_> = ports
            .each_ref()
            .map(|port| {
                environment.insert("TOLLGATE_AUTH_LISTEN".to_owned(), port.address().to_string());
                ServiceProcess::start("auth-service", &environment)
            })
            .into();
        let urls: Vec<_> = more_urls.iter().cloned().chain(auths.iter().map(ServiceProcess::url)).collect();
        environment.insert("TOLLGATE_AUTH_URL".to_owned(), urls.join(","));
        let inference = ServiceProcess::start("inference-service", &environment);

        let mut accounts = AccountsClient::new(channel(auths[0].address()));
        let sign_up = auth::SignUpRequest { user_name: "ada".into(), password: PASSWORD.into(), ..Default::default() };
        accounts.sign_up(sign_up).await.unwrap();
        let login = auth::LoginRequest { user_name: "ada".into(), password: PASSWORD.into(), ..Default::default() };
        let token = accounts.login(login).await.unwrap().into_inner().access_token;
        let key = accounts.create_api_key(bearer(&token, auth::CreateApiKeyRequest::default())).await.unwrap().into_inner().key;
        Self { auths, inference, environment, key, _ports: ports, _redis: redis, _upstream: upstream }
    }

    /// Callers that chat one after the other. Each chat must be answered.
    fn load(&self) -> Load {
        let load = Load { callers: JoinSet::new(), stop: Arc::default(), chats: Arc::default() };
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let mut client = InferenceClient::new(channel(self.inference.address()));
            let (key, stop, chats) = (self.key.clone(), Arc::clone(&load.stop), Arc::clone(&load.chats));
            callers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let stream = client.chat(bearer(&key, chat_request("smollm2", "hi"))).await.unwrap();
                    let answer = read_all(&mut stream.into_inner()).await;
                    // A receipt that doesn't come in time is left out.
                    assert!(matches!(answer.charged(), None | Some(1)), "{answer:?}");
                    assert_eq!((answer.text().as_str(), answer.failure.is_none(), answer.finished.is_some()), ("x", true, true));
                    chats.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Load { callers, ..load }
    }

    /// What the account has paid, once nothing is held.
    async fn spent(&self) -> i64 {
        until("all holds to be resolved", SOON, || async {
            let mut accounts = AccountsClient::new(channel(self.auths[0].address()));
            let balance = accounts.get_balance(bearer(&self.key, auth::GetBalanceRequest {})).await.unwrap().into_inner().balance.unwrap();
            (balance.held_credits() == 0).then(|| balance.spent_credits())
        })
        .await
    }
}

struct Load {
    callers: JoinSet<()>,
    stop: Arc<AtomicBool>,
    chats: Arc<AtomicI64>,
}

impl Load {
    /// Waits for so many chats more.
    async fn more(&mut self, chats: i64) {
        let target = self.chats.load(Ordering::Relaxed) + chats;
        until("chats to go on", SOON, || async {
            (self.chats.load(Ordering::Relaxed) >= target || self.callers.len() < CALLERS).then_some(())
        })
        .await;
        assert!(self.callers.try_join_next().is_none(), "a chat failed");
    }

    /// How many chats there were, all of which were answered.
    async fn end(mut self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
        self.chats.load(Ordering::Relaxed)
    }
}

/// How many Checks this auth-service has answered.
fn checks(auth: &ServiceProcess) -> usize {
    auth.log().lines().filter(|line| line.contains("\"answered\"") && line.contains("Auth/Check")).count()
}

#[tokio::test]
async fn two_replicas_share_the_load_beside_an_address_where_nobody_listens() {
    let dead = TcpSocket::new_v4().unwrap();
    dead.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let replicas = Replicas::start(&[format!("http://{}", dead.local_addr().unwrap())]).await;
    let mut load = replicas.load();
    let shares = || -> Vec<_> { replicas.auths.iter().map(checks).collect() };
    // The first that is connected has all calls until the other one is.
    until("both to be connected", SOON, || async { shares().iter().all(|share| *share > 0).then_some(()) }).await;
    let before = shares();
    load.more(400).await;
    let chats = load.end().await;
    assert_eq!(replicas.spent().await, chats);
    let since: Vec<_> = shares().iter().zip(&before).map(|(all, before)| all - before).collect();
    assert!(since.iter().all(|share| *share >= 100), "{since:?} of {chats}, after {before:?}");
}

#[tokio::test]
async fn a_replica_that_is_drained_under_load_costs_no_call_and_comes_back() {
    let mut replicas = Replicas::start(&[]).await;
    let mut load = replicas.load();
    load.more(100).await;
    replicas.auths[1].signal("TERM");
    assert_eq!(replicas.auths[1].wait(SOON).code(), Some(0));
    load.more(100).await;

    replicas.environment.insert("TOLLGATE_AUTH_LISTEN".to_owned(), replicas.auths[1].address().to_string());
    replicas.auths[1] = ServiceProcess::start("auth-service", &replicas.environment);
    until("the replica to get calls again", SOON, || async { (checks(&replicas.auths[1]) > 10).then_some(()) }).await;
    load.more(1).await;
    let chats = load.end().await;
    assert_eq!(replicas.spent().await, chats, "each is charged once");
}

#[tokio::test]
async fn a_replica_that_is_killed_under_load_costs_no_call_and_each_is_charged_once() {
    let mut replicas = Replicas::start(&[]).await;
    let mut load = replicas.load();
    load.more(100).await;
    replicas.auths[1].kill();
    load.more(100).await;
    let chats = load.end().await;
    assert_eq!(replicas.spent().await, chats);
}

#[tokio::test]
async fn a_replica_that_freezes_under_load_costs_no_call_and_each_is_charged_once() {
    let replicas = Replicas::start(&[]).await;
    let mut load = replicas.load();
    load.more(100).await;
    replicas.auths[1].signal("STOP");
    let _lost = replicas.inference.wait_for_log("auth-service no longer answers on its connection");
    load.more(100).await;
    // What it had read before is done now, a second time.
    replicas.auths[1].signal("CONT");
    load.more(100).await;
    let chats = load.end().await;
    assert_eq!(replicas.spent().await, chats);
}
