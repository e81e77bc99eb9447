//! A member who is removed from an organization while it pays for their answers, and one whom a cap stops.

use integration::http_client::HttpCall;
use integration::polling::{until, until_the_month_goes_on};
use integration::process_pair::bearer;
use shared::ErrorReason;
use shared::proto::auth;
use tonic::Request;

use crate::doors::DOORS;
use crate::moment::Moment;
use crate::stage::{AT_ONCE, CUT, Payer, Person, Running, SOON, Stage, WHOLE};

/// An organization with credits.
struct Company {
    account: String,
    owner: Person,
}

/// A message of somebody's, about an organization's account.
fn on<T>(account: &str, credential: &str, message: T) -> Request<T> {
    let mut request = bearer(credential, message);
    request.metadata_mut().insert("x-tollgate-account", account.parse().unwrap());
    request
}

impl Company {
    fn owner_token(&self) -> &str {
        self.owner.credential(Payer::Session(0))
    }

    async fn make(stage: &Stage, owner: Person) -> Self {
        let create = auth::CreateOrganizationRequest { name: "Plumbers".to_owned() };
        let made = stage.accounts().create_organization(bearer(owner.credential(Payer::Session(0)), create)).await.unwrap();
        let account = made.into_inner().organization.unwrap().account_id;
        let grant =
            auth::GrantCreditsRequest { credits: 1000, request_id: "first".to_owned(), account_id: account.clone(), ..Default::default() };
        stage.operator().grant_credits(bearer(&stage.admin, grant)).await.unwrap();
        Self { account, owner }
    }

    /// Makes somebody a member, with a key that the organization pays for; their id, and the key.
    async fn add(&self, stage: &Stage, person: &Person) -> (String, String) {
        let add = auth::AddMemberRequest {
            account_id: self.account.clone(),
            user_name: person.name.clone(),
            role: auth::MemberRole::Member.into(),
            ..Default::default()
        };
        let added = stage.accounts().add_member(bearer(self.owner_token(), add)).await.unwrap().into_inner();
        let create = on(&self.account, person.credential(Payer::Session(0)), auth::CreateApiKeyRequest::default());
        let made = stage.accounts().create_api_key(create).await.unwrap().into_inner();
        (added.member.unwrap().user_id, made.key)
    }

    /// On each inference-service an answer by this key, and one by this person's first session.
    async fn run(&self, stage: &Stage, person: &Person, key: &str) -> [Vec<Running>; 2] {
        let (mut by_key, mut by_session) = (Vec::new(), Vec::new());
        for replica in 0..stage.inferences.len() {
            by_key.push(stage.run(replica, "by key", key).await);
            let token = person.credential(Payer::Session(0));
            by_session.push(stage.run_for(replica, "by session", token, &self.account).await);
        }
        [by_key, by_session]
    }

    /// Waits until nothing is held, and answers what was spent.
    async fn spent(&self, stage: &Stage) -> i64 {
        let balance = || async {
            let request = on(&self.account, self.owner_token(), auth::GetBalanceRequest {});
            let balance = stage.accounts().get_balance(request).await.unwrap().into_inner().balance.unwrap();
            (balance.held_credits() == 0).then(|| balance.spent_credits())
        };
        until("all holds to be settled", SOON, balance).await
    }
}

async fn a_removed_members_answers_end(stage: &Stage) {
    let (ada, eve) = (stage.person("ada").await, stage.person("eve").await);
    let company = Company::make(stage, stage.person("owner").await).await;
    let (ada_id, ada_key) = company.add(stage, &ada).await;
    let (_, eve_key) = company.add(stage, &eve).await;
    let gate = stage.gate();
    let [by_key, by_session] = company.run(stage, &ada, &ada_key).await;
    let mut kept: Vec<_> = company.run(stage, &eve, &eve_key).await.into_iter().flatten().collect();
    // What her own account pays for is hers.
    kept.extend(stage.run_everywhere("her own by key", ada.credential(Payer::Key(0))).await);
    kept.extend(stage.run_everywhere("her own by session", ada.credential(Payer::Session(0))).await);
    let remove = auth::RemoveMemberRequest { account_id: company.account.clone(), user_id: ada_id };
    stage.accounts().remove_member(bearer(company.owner_token(), remove)).await.unwrap();
    let removed = Moment::now();
    let mut cut = 0;
    for running in by_key.into_iter().chain(by_session) {
        let what = running.what.clone();
        let (took, _) = running.assert_cut(ErrorReason::AccountNotAllowed, removed).await;
        assert!(took < AT_ONCE, "{what}: {took:?}");
        cut += 1;
    }
    assert!(kept.iter().all(|running| !running.is_over()), "another's was cut");
    gate.open_for_good();
    for running in kept {
        running.assert_whole().await;
    }
    assert_eq!(company.spent(stage).await, cut * CUT + 4 * WHOLE);
    stage.has_spent(ada.credential(Payer::Session(1)), 4 * WHOLE).await;
    // From the next call on neither is good there, and both are elsewhere.
    for (credential, account) in [(ada_key.as_str(), ""), (ada.credential(Payer::Session(0)), company.account.as_str())] {
        let refused = stage.try_run(0, credential, account).await.unwrap_err();
        assert_eq!(refused.code(), if account.is_empty() { tonic::Code::Unauthenticated } else { tonic::Code::PermissionDenied });
    }
    stage.run(0, "her own", ada.credential(Payer::Session(0))).await.assert_whole().await;
}

#[tokio::test]
async fn a_removed_members_answer_ends_within_a_second_on_every_replica_and_what_other_accounts_pay_for_goes_on_on_sqlite() {
    a_removed_members_answers_end(&Stage::on_sqlite(&[]).await).await;
}

#[tokio::test]
async fn a_removed_members_answer_ends_within_a_second_on_every_replica_and_what_other_accounts_pay_for_goes_on_on_redis() {
    a_removed_members_answers_end(&Stage::on_redis(&[]).await).await;
}

#[tokio::test]
async fn whom_a_cap_stops_is_told_by_every_door_with_402_and_nobody_else_is_stopped() {
    until_the_month_goes_on().await;
    let stage = Stage::on_sqlite(&[]).await;
    let company = Company::make(&stage, stage.person("owner").await).await;
    let (ada, eve) = (stage.person("ada").await, stage.person("eve").await);
    let ((ada_id, ada_key), (_, eve_key)) = (company.add(&stage, &ada).await, company.add(&stage, &eve).await);
    let cap = |credits| auth::SetMemberCapRequest {
        account_id: company.account.clone(),
        user_id: ada_id.clone(),
        monthly_cap_credits: Some(credits),
    };
    stage.accounts().set_member_cap(bearer(company.owner_token(), cap(WHOLE))).await.unwrap();
    let gate = stage.gate();
    gate.open_for_good();
    stage.run(0, "within the cap", &ada_key).await.assert_whole().await;
    assert_eq!(company.spent(&stage).await, WHOLE);
    for door in &DOORS {
        for stream in [true, false] {
            let call = HttpCall::post(stage.inferences[0].address(), door.path, &(door.body)(stream)).bearer(&ada_key);
            let mut refused = call.send().await;
            assert_eq!(refused.status, 402, "{}", door.path);
            let text = refused.text().await;
            assert!(text.contains("MEMBER_CAP_REACHED"), "{}: {text}", door.path);
        }
    }
    stage.run(1, "another's", &eve_key).await.assert_whole().await;
    stage.run(1, "her own", ada.credential(Payer::Key(0))).await.assert_whole().await;
    // Another cap counts from the next call on.
    stage.accounts().set_member_cap(bearer(company.owner_token(), cap(2 * WHOLE))).await.unwrap();
    stage.run(1, "within the new cap", &ada_key).await.assert_whole().await;
    assert_eq!(company.spent(&stage).await, 3 * WHOLE);
}
