//! Log-ins beside other load: so many at a time, each from an address of its own, all with the right password. Who is told to come again
//! comes again then.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shared::error::retry_delay_of;
use shared::proto::auth as pb;
use shared::proto::auth::accounts_client::AccountsClient;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

/// How long a flood may take until a log-in is hashed and another put off.
const BEGINS_WITHIN: Duration = Duration::from_secs(120);

/// Log-ins that go on while something else is measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoginFlood {
    /// auth-service.
    pub url: String,
    /// Log-ins at a time.
    pub callers: u32,
    /// Who logs in, in turn.
    pub user_names: Vec<String>,
    /// The password of each.
    pub password: String,
}

/// How log-ins ended.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Logins {
    /// With a token.
    pub succeeded: u64,
    /// Refused, and told when to come again.
    pub put_off: u64,
}

/// The connections of a flood, open from the start.
pub(super) struct Flood {
    clients: Vec<(AccountsClient<Channel>, pb::LoginRequest)>,
    ended: Arc<watch::Sender<Logins>>,
}

impl Flood {
    pub(super) async fn open(job: &LoginFlood) -> Self {
        let mut clients = Vec::new();
        for (number, user_name) in (0..job.callers).zip(job.user_names.iter().cycle()) {
            // What is throttled by address is not what is measured.
            let address = IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + number));
            let endpoint = Endpoint::from_shared(job.url.clone()).expect("a URL").local_address(Some(address));
            let channel = endpoint.connect().await.expect("a connection");
            let login = pb::LoginRequest { user_name: user_name.clone(), password: job.password.clone(), ..Default::default() };
            clients.push((AccountsClient::new(channel), login));
        }
        Self { clients, ended: Arc::default() }
    }

    /// Has all of them begin. Dropped, what is returned ends them.
    pub(super) fn begin(&self) -> JoinSet<()> {
        let mut callers = JoinSet::new();
        for (client, login) in self.clients.clone() {
            callers.spawn(log_in_again_and_again(client, login, Arc::clone(&self.ended)));
        }
        callers
    }

    /// Waits until a log-in has succeeded and another was put off: only then is there a flood beside what is measured.
    pub(super) async fn under_way(&self) {
        let mut ended = self.ended.subscribe();
        let both = ended.wait_for(|logins| logins.succeeded > 0 && logins.put_off > 0);
        let _ = timeout(BEGINS_WITHIN, both).await.unwrap_or_else(|_| panic!("not all of the log-ins are hashed: {:?}", self.logins()));
    }

    pub(super) fn logins(&self) -> Logins {
        *self.ended.borrow()
    }
}

async fn log_in_again_and_again(mut client: AccountsClient<Channel>, login: pb::LoginRequest, ended: Arc<watch::Sender<Logins>>) {
    loop {
        match client.login(login.clone()).await {
            Ok(_) => ended.send_modify(|logins| logins.succeeded += 1),
            Err(refused) => {
                let wait = retry_delay_of(&refused).unwrap_or_else(|| panic!("a log-in ended with {refused:?}"));
                ended.send_modify(|logins| logins.put_off += 1);
                tokio::time::sleep(wait).await;
            }
        }
    }
}
