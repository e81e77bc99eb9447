//! Organizations: credits that members share, caps, invitations, and service accounts that stay.

use integration::polling::until_the_month_goes_on;
use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::{field, text};
use integration::stack::{Plan, Stack};
use integration::terminal::Setting;

use crate::person::Person;

/// Ada, who owns `lab` with 10 credits, and the operator who gave them; and the account's id.
async fn lab(stack: &Stack) -> (Person, Person, String) {
    until_the_month_goes_on().await;
    let (ada, boss) = (Person::signed_up(stack, "ada").await, Person::operator(stack).await);
    let made = ada.json(&["orgs", "create", "lab"], "").await;
    let id = made["accountId"].as_str().unwrap().to_owned();
    assert_eq!((&made["name"], &made["role"]), (&"lab".into(), &"owner".into()));
    let (said, _) = boss.shell.says(&["admin", "grant", "--account", &id, "10", "--note", "paid"], "").await;
    assert!(said.starts_with(&format!("account {id} got 10 credits, and has 10 available")), "{said}");
    (ada, boss, id)
}

const CHAT: [&str; 3] = ["chat", "smollm2", "hi"];

#[tokio::test]
async fn members_spend_an_organizations_credits_by_its_name_within_their_caps() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (ada, boss, id) = lab(&stack).await;
    let bob = Person::signed_up(&stack, "bob").await;
    assert_eq!(
        ada.shell.says(&["orgs", "add", "lab", "bob", "--cap", "1"], "").await.0,
        "bob is a member of lab, with a cap of 1 credit a month\n"
    );

    for account in ["lab", &id] {
        let lab = bob.shell.with("TOLLGATE_ACCOUNT", account);
        assert_eq!(field(&lab.says(&["me"], "").await.0, "organization"), "lab");
    }
    let by_flag = [&CHAT[..], &["--account", "lab"]].concat();
    bob.shell.says(&by_flag, "").await;
    let reached = bob.shell.run(&by_flag, "").await;
    assert_eq!(reached.status.code(), Some(3), "{}", text(&reached.stderr));
    assert!(text(&reached.stderr).contains("(MEMBER_CAP_REACHED)"), "{}", text(&reached.stderr));
    // The own account has nothing to do with it.
    bob.shell.says(&CHAT, "").await;
    let said = ada.shell.says(&["orgs", "cap", "lab", "BOB", "none"], "").await.0;
    assert_eq!(said, "bob spends lab's credits without a cap\n");
    // The profile says it once for all.
    bob.shell.says(&["config", "set", "account", "lab"], "").await;
    bob.shell.says(&CHAT, "").await;
    assert_eq!(bob.json(&["balance"], "").await["availableCredits"], 8);
    assert_eq!(bob.json(&["sessions", "list"], "").await.as_array().unwrap().len(), 1, "what is the user's own stays their own");

    let members = ada.json(&["orgs", "members", "lab"], "").await;
    let spent =
        |name: &str| members.as_array().unwrap().iter().find(|one| one["userName"] == name).unwrap()["spentThisMonthCredits"].clone();
    assert_eq!((spent("ada"), spent("bob")), (0.into(), 2.into()), "{members}");
    ada.shell.says(&by_flag, "").await;
    let calls = async |of: &[&str]| {
        let usage = ada.json(&[&["usage", "--account", "lab"], of].concat(), "").await;
        usage["rows"].as_array().unwrap().iter().map(|row| row["calls"].as_i64().unwrap()).sum::<i64>()
    };
    assert_eq!((calls(&[]).await, calls(&["--member", "bob"]).await, calls(&["--member", "ada"]).await), (3, 2, 1));
    let history = ada.json(&["history", "--account", "lab", "--member", "bob"], "").await;
    assert_eq!(history.as_array().unwrap().len(), 2, "{history}");
    assert_eq!(ada.json(&["orgs", "show", "lab"], "").await["availableCredits"], 7);

    assert_eq!(boss.shell.run(&["admin", "grant", "bob", "--account", &id, "5"], "").await.status.code(), Some(64));
    assert_eq!(boss.shell.run(&["admin", "grant", "5"], "").await.status.code(), Some(64));
    // What says who pays says not who gets.
    assert_eq!(boss.shell.with("TOLLGATE_ACCOUNT", &id).run(&["admin", "grant", "5"], "").await.status.code(), Some(64));
}

#[tokio::test]
async fn a_name_that_several_of_ones_organizations_have_is_refused_with_their_ids() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (ada, _, id) = lab(&stack).await;
    let (bob, carol) = (Person::signed_up(&stack, "bob").await, Person::signed_up(&stack, "carol").await);
    let other = carol.json(&["orgs", "create", "lab"], "").await["accountId"].as_str().unwrap().to_owned();
    for owner in [&ada, &carol] {
        owner.shell.says(&["orgs", "add", "lab", "bob"], "").await;
    }
    let refused = bob.shell.fails(&["balance", "--account", "lab"], 1).await;
    assert!(refused.contains(&id) && refused.contains(&other), "{refused}");
    assert_eq!(bob.json(&["balance", "--account", &id], "").await["availableCredits"], 10);
    assert_eq!(bob.json(&["balance", "--account", &other], "").await["availableCredits"], 0);
    let unknown = bob.shell.fails(&["orgs", "members", "workshop"], 1).await;
    assert!(unknown.contains("no organization \"workshop\""), "{unknown}");
    assert!(ada.shell.fails(&["orgs", "role", "lab", "nobody", "owner"], 1).await.contains("\"nobody\" is no member"));
}

#[tokio::test]
async fn an_organization_that_is_named_as_anothers_id_gets_nothing_that_is_meant_for_that_one() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (ada, boss, id) = lab(&stack).await;
    let mallory = Person::signed_up(&stack, "mallory").await;
    let decoy = mallory.json(&["orgs", "create", &id], "").await["accountId"].as_str().unwrap().to_owned();
    for name in ["ada", "root.admin"] {
        mallory.shell.says(&["orgs", "add", &decoy, name], "").await;
    }

    let refused = boss.shell.fails(&["admin", "grant", "--account", &id, "10"], 1).await;
    assert!(refused.contains(&decoy), "{refused}");
    assert_eq!(mallory.json(&["balance", "--account", &decoy], "").await["availableCredits"], 0);
    // Who is a member of the one that is meant reaches it as before.
    assert_eq!(ada.json(&["balance", "--account", &id], "").await["availableCredits"], 10);
    boss.shell.says(&["orgs", "leave", &decoy], "").await;
    boss.shell.says(&["admin", "grant", "--account", &id, "10"], "").await;
    assert_eq!(ada.json(&["balance", "--account", &id], "").await["availableCredits"], 20);
}

#[tokio::test]
async fn an_invitation_is_shown_before_it_is_accepted_and_is_good_for_nothing_once_withdrawn_or_leaked() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (ada, _, _) = lab(&stack).await;
    let (bob, carol) = (Person::signed_up(&stack, "bob").await, Person::signed_up(&stack, "carol").await);
    let invite = async |more: &[&str]| ada.shell.says(&[&["orgs", "invite", "lab"], more].concat(), "").await.0.trim().to_owned();
    let code = invite(&["--cap", "5", "--note", "for bob", "--expires-in", "3d"]).await;
    assert!(code.starts_with("tgi_"), "the code alone");
    let open = ada.json(&["orgs", "invitations", "lab"], "").await;
    assert!(open[0]["note"] == "for bob" && open[0]["monthlyCapCredits"] == 5 && !open.to_string().contains(&code), "{open}");

    for (answer, exit) in [("n\r", 1), ("y\r", 0)] {
        let mut terminal = Setting::of(&bob.shell, &["orgs", "join"]).open();
        terminal.until("Invitation code").await;
        terminal.until_nothing_is_echoed().await;
        terminal.types(&format!("{code}\r"));
        let screen = terminal.until("Accept? [y/N]").await;
        assert!(screen.contains("ada invites you to become a member of lab, with a cap of 5 credits a month"), "{screen}");
        assert!(!screen.contains(&code), "a code is not shown again");
        terminal.types(answer);
        assert_eq!(terminal.ends().await, exit, "{}", terminal.screen());
    }
    assert_eq!(bob.json(&["orgs", "list"], "").await[0]["monthlyCapCredits"], 5);
    let again = carol.shell.run(&["orgs", "join"], format!("{code}\n")).await;
    assert!(text(&again.stderr).contains("(INVITATION_INVALID)"), "it is good once: {}", text(&again.stderr));

    let (withdrawn, leaked, piped) = (invite(&[]).await, invite(&[]).await, invite(&["--owner"]).await);
    let open = ada.json(&["orgs", "invitations", "lab"], "").await;
    let oldest = open.as_array().unwrap().last().unwrap()["invitationId"].as_str().unwrap().to_owned();
    ada.shell.says(&["orgs", "withdraw", "lab", &oldest], "").await;
    let (found, _) = carol.shell.says(&["keys", "revoke", "--leaked", "-"], format!("join with {leaked}!")).await;
    assert!(found.contains("is revoked") && !found.contains(&leaked), "{found}");
    for code in [&withdrawn, &leaked] {
        let refused = carol.shell.run(&["orgs", "join"], format!("{code}\n")).await;
        assert!(text(&refused.stderr).contains("(INVITATION_INVALID)"), "{}", text(&refused.stderr));
    }
    let (said, _) = carol.shell.says(&["orgs", "join"], format!("{piped}\n")).await;
    assert!(said.starts_with("you are an owner of lab, without a cap"), "{said}");
}

#[tokio::test]
async fn a_member_who_is_removed_is_refused_at_once_and_the_last_owner_stays() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (ada, _, _) = lab(&stack).await;
    let bob = Person::signed_up(&stack, "bob").await;
    ada.shell.says(&["orgs", "add", "lab", "bob"], "").await;
    let key = bob.shell.says(&["keys", "create", "--account", "lab"], "").await.0.trim().to_owned();
    let with_key = bob.shell.with_key(&key);
    with_key.says(&CHAT, "").await;
    let keys = ada.shell.says(&["keys", "list", "--account", "lab"], "").await.0;
    assert!(keys.lines().nth(1).unwrap().split_whitespace().any(|word| word == "bob"), "whose it is: {keys}");

    let last = ada.shell.fails(&["orgs", "leave", "lab"], 1).await;
    assert!(last.contains("(LAST_OWNER)") && last.contains("tollgate orgs role"), "{last}");
    assert_eq!(
        ada.shell.says(&["orgs", "remove", "lab", "bob"], "").await.0,
        "bob is no member of lab any more; their keys there are revoked\n"
    );
    with_key.fails(&CHAT, 77).await;
    bob.shell.fails(&["balance", "--account", "lab"], 1).await;
    ada.shell.says(&["orgs", "add", "lab", "bob"], "").await;
    with_key.fails(&CHAT, 77).await;
    ada.shell.says(&["orgs", "role", "lab", "bob", "owner"], "").await;
    ada.shell.says(&["orgs", "leave", "lab"], "").await;
    assert_eq!(bob.json(&["orgs", "members", "lab"], "").await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_service_account_has_keys_of_its_own_and_works_on_when_its_maker_is_disabled() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let (ada, boss, id) = lab(&stack).await;
    let bob = Person::signed_up(&stack, "bob").await;
    ada.shell.says(&["orgs", "add", "lab", "bob", "--owner"], "").await;
    let (_, hint) = ada.shell.says(&["service-accounts", "create", "lab", "nightly run", "--cap", "2"], "").await;
    assert!(hint.contains(&format!("tollgate keys create --account {id} --service-account")), "{hint}");
    let create = ["keys", "create", "--account", "lab", "--service-account", "nightly run"];
    let key = ada.shell.says(&create, "").await.0.trim().to_owned();
    assert_eq!(ada.shell.run(&["keys", "create", "--service-account", "nightly run"], "").await.status.code(), Some(64), "of which?");
    let program = Person::new(&stack).shell.with_key(&key);
    let me: serde_json::Value = serde_json::from_str(&program.says(&["me", "--json"], "").await.0).unwrap();
    assert!(me["serviceAccount"] == "nightly run" && me["userName"].is_null() && me["organization"] == "lab", "{me}");

    boss.shell.says(&["admin", "disable", "ada"], "").await;
    for _ in 0..2 {
        program.says(&CHAT, "").await;
    }
    assert_eq!(program.run(&CHAT, "").await.status.code(), Some(3), "its cap");
    bob.shell.says(&["service-accounts", "cap", "lab", "nightly run", "none"], "").await;
    program.says(&CHAT, "").await;
    let list = bob.json(&["service-accounts", "list", "lab"], "").await;
    assert!(list[0]["spentThisMonthCredits"] == 3 && list[0]["monthlyCapCredits"].is_null(), "{list}");
    bob.shell.says(&["service-accounts", "remove", "lab", "nightly run"], "").await;
    program.fails(&CHAT, 77).await;
}
