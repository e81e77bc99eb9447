//! Organizations: who is in, what each may spend, invitations, service accounts, and whose account is looked at.

use integration::polling::until;
use integration::process_pair::bearer;
use integration::stack::PASSWORD;
use shared::ErrorReason;
use shared::error::reason_of;
use shared::proto::auth;

use crate::page::{Page, SOON, grouped, scene};
use crate::stage::{CALL, OPERATOR, Person, STARTING, Stage};

/// Goes to the view of an organization.
async fn open(page: &Page, account_id: &str) {
    page.browser.evaluate(&format!("location.hash = '#/organization?account={account_id}'")).await;
    page.find("heading", "Organization").await;
    page.loaded().await;
}

async fn members(stage: &Stage, owner: &Person, account_id: &str) -> Vec<auth::Member> {
    let asked = bearer(&owner.token, auth::ListMembersRequest { account_id: account_id.to_owned() });
    stage.accounts().list_members(asked).await.unwrap().into_inner().members
}

#[tokio::test]
async fn an_owner_makes_an_organization_and_adds_bounds_promotes_and_removes_a_member() {
    scene("an_owner_makes_an_organization_and_adds_bounds_promotes_and_removes_a_member", async |stage, page| {
        let owner = stage.person("makes.an.org").await;
        stage.person("is.added").await;
        page.sign_in(&owner.name).await;
        page.view("Organizations").await;
        page.says("You are a member of none.").await;
        page.press("button", "Make an organization").await;
        page.press("button", "Make the organization").await;
        page.says("is required").await;
        page.fill("textbox", "Name", "Made of Two").await;
        page.press("button", "Make the organization").await;
        page.says("Made of Two is there.").await;
        page.press("link", "Made of Two").await;
        page.find("heading", "Organization").await;
        page.find("heading", "Made of Two").await;
        page.loaded().await;
        let account_id = page.browser.evaluate("new URLSearchParams(location.hash.split('?')[1]).get('account')").await;
        let account_id = account_id.as_str().unwrap().to_owned();
        page.press("button", "Add a member").await;
        page.fill("textbox", "User name", "no.such.user").await;
        page.press("button", "Add").await;
        page.says("There is no such user.").await;
        page.fill("textbox", "User name", "is.added").await;
        page.fill("textbox", "Credits in a month (optional)", "many").await;
        page.press("button", "Add").await;
        page.says("must be a whole number").await;
        page.fill("textbox", "Credits in a month (optional)", "1500").await;
        page.press("button", "Add").await;
        page.says("is.added is in.").await;
        let row = page.part_with("row", "is.added").await;
        assert!(page.text_of(row).await.contains("1,500"), "{}", page.text_of(row).await);
        page.press("button", "Set the cap is.added").await;
        let dialog = page.find("dialog", "Set the cap").await;
        page.fill("textbox", "Credits in a month (optional)", "").await;
        page.press_in(dialog, "button", "Set the cap").await;
        page.says("The cap of is.added is set.").await;
        let row = page.part_with("row", "is.added").await;
        assert!(page.text_of(row).await.contains("no bound"));
        page.press("button", "Make an owner is.added").await;
        let dialog = page.find("dialog", "Make them an owner?").await;
        page.press_in(dialog, "button", "Make an owner").await;
        page.says("is.added is owner now.").await;
        let there = members(stage, &owner, &account_id).await;
        assert_eq!(there.len(), 2);
        assert_eq!((there[1].role(), there[1].monthly_cap_credits), (auth::MemberRole::Owner, None));
        page.press("button", "Remove is.added").await;
        let dialog = page.find("dialog", "Remove the member?").await;
        page.press_in(dialog, "button", "Remove").await;
        page.says("is.added is out.").await;
        assert_eq!(members(stage, &owner, &account_id).await.len(), 1);
        // Whoever is the last owner stays, and is told why.
        page.press("button", "Leave").await;
        let dialog = page.find("dialog", "Leave the organization?").await;
        page.press_in(dialog, "button", "Leave").await;
        page.says("An organization keeps an owner who can act.").await;
        assert_eq!(members(stage, &owner, &account_id).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_invitation_is_shown_once_and_whoever_opens_its_link_signs_up_and_accepts_it() {
    scene("an_invitation_is_shown_once_and_whoever_opens_its_link_signs_up_and_accepts_it", async |stage, page| {
        let owner = stage.person("invites").await;
        let account_id = stage.organization(&owner, "Open to Some").await;
        page.sign_in(&owner.name).await;
        open(page, &account_id).await;
        page.press("button", "Invite somebody").await;
        page.fill("textbox", "Who it is for (optional)", "the new one").await;
        page.fill("textbox", "Credits in a month (optional)", "700").await;
        page.press("button", "Make the invitation").await;
        page.find("dialog", "The invitation").await;
        let (link, code) = (page.text_at("new-invitation-link").await, page.text_at("new-invitation-code").await);
        assert_eq!(link, format!("{}/#/invitation?code={code}", stage.origin()));
        page.press("button", "I have kept it").await;
        page.gone("dialog", "The invitation").await;
        page.says("the new one").await;
        let all = page.browser.evaluate("document.documentElement.outerHTML").await;
        assert!(!all.as_str().unwrap().contains(&code), "it is still there");

        let invited = page.elsewhere().await;
        invited.browser.go("about:blank").await;
        invited.browser.go(&link).await;
        invited.says("Sign in, or sign up, to look at the invitation.").await;
        invited.press("link", "Sign up").await;
        invited.find("button", "Sign up").await;
        invited.fill("textbox", "User name", "was.invited").await;
        invited.fill("textbox", "Password", PASSWORD).await;
        invited.press("button", "Sign up").await;
        invited.find("heading", "Open to Some").await;
        invited.says("invites invites you to become a member.").await;
        invited.says("700 credits").await;
        // Nothing but the part of the address that stays here has had it, and that has it no longer.
        let seen = "[location.href, ...performance.getEntries().map(({ name }) => name.split('#')[0])].join('\\n')";
        let seen = invited.browser.evaluate(seen).await;
        assert!(!seen.as_str().unwrap().contains(&code), "{seen}");
        invited.press("button", "Accept").await;
        invited.says("You are a member of Open to Some now.").await;
        invited.find("heading", "Open to Some").await;
        invited.loaded().await;
        // A member is offered nothing that owners alone may do.
        for offered in ["Add a member", "Invite somebody", "Make a service account"] {
            assert!(invited.all("button", offered).await.is_empty(), "{offered}");
        }
        let there = members(stage, &owner, &account_id).await;
        assert_eq!((there[1].user_name.as_str(), there[1].monthly_cap_credits), ("was.invited", Some(700)));
        // It was good once.
        invited.browser.evaluate("location.hash = '#/invitation'").await;
        invited.fill("textbox", "Code", &code).await;
        invited.press("button", "Look at the invitation").await;
        invited.says("This invitation is not good, or no longer").await;
        invited.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_withdrawn_invitation_is_refused_in_words_to_whoever_looks_at_it_already() {
    scene("a_withdrawn_invitation_is_refused_in_words_to_whoever_looks_at_it_already", async |stage, page| {
        let owner = stage.person("takes.it.back").await;
        stage.person("was.too.slow").await;
        let account_id = stage.organization(&owner, "Closed Again").await;
        let invite = auth::InviteMemberRequest { account_id: account_id.clone(), note: "slow one".to_owned(), ..Default::default() };
        let code = stage.accounts().invite_member(bearer(&owner.token, invite)).await.unwrap().into_inner().invitation_code;
        let slow = page.elsewhere().await;
        slow.sign_in("was.too.slow").await;
        slow.browser.evaluate(&format!("location.hash = '#/invitation?code={code}'")).await;
        slow.find("heading", "Closed Again").await;
        page.sign_in(&owner.name).await;
        open(page, &account_id).await;
        let row = page.part_with("row", "slow one").await;
        let withdraw = page.all_in(Some(row), "button", None).await[0];
        page.press_node(withdraw).await;
        let dialog = page.find("dialog", "Withdraw the invitation?").await;
        page.press_in(dialog, "button", "Withdraw").await;
        page.says("The invitation is withdrawn.").await;
        page.says("None is open.").await;
        slow.press("button", "Accept").await;
        slow.says("This invitation is not good, or no longer").await;
        assert_eq!(members(stage, &owner, &account_id).await.len(), 1);
        slow.close().await;
    })
    .await;
}

#[tokio::test]
async fn credits_keys_ledger_and_calls_are_those_of_the_account_that_was_chosen() {
    scene("credits_keys_ledger_and_calls_are_those_of_the_account_that_was_chosen", async |stage, page| {
        let person = stage.person("has.two.accounts").await;
        stage.key(&person, "my own key").await;
        let account_id = stage.organization(&person, "The Other Purse").await;
        stage.grant_to(&account_id, 5_000).await;
        page.sign_in(&person.name).await;
        page.says(&grouped(STARTING)).await;
        page.choose("Account", "The Other Purse").await;
        page.says("This is the account of The Other Purse now.").await;
        page.says("Of the organization The Other Purse.").await;
        page.says("5,000").await;
        page.view("API keys").await;
        page.says("There is no key in force.").await;
        page.press("button", "Make a key").await;
        page.fill("textbox", "Name (optional)", "their key").await;
        page.press("button", "Make the key").await;
        page.find("dialog", "Your new key").await;
        let key = page.text_at("new-key-secret").await;
        page.press("button", "I have kept it").await;
        page.find("heading", "their key in force").await;
        stage.call(&key, "smollm2").await;
        page.view("Try a call").await;
        page.fill("textbox", "Prompt", "hello").await;
        page.press("button", "Send").await;
        page.says(&format!("Finished. Charged: {CALL} credits. Left: {}.", grouped(5_000 - 2 * CALL))).await;
        page.view("Ledger").await;
        let row = page.part_with("row", "Charge").await;
        assert!(page.text_of(row).await.contains("has.two.accounts"), "{}", page.text_of(row).await);
        page.view("Usage").await;
        page.choose("Of", "has.two.accounts").await;
        page.loaded().await;
        page.says("smollm2").await;
        // It is still that after a reload.
        page.load().await;
        page.says("Of the organization The Other Purse.").await;
        page.says(&grouped(5_000 - 2 * CALL)).await;
        assert_eq!(stage.balance(&person).await.available_credits(), STARTING);
        page.choose("Account", "your own").await;
        page.says("This is your own account now.").await;
        page.view("API keys").await;
        page.find("heading", "my own key in force").await;
        page.gone("heading", "their key in force").await;
    })
    .await;
}

#[tokio::test]
async fn whoever_is_removed_is_back_at_their_own_account_and_is_told() {
    scene("whoever_is_removed_is_back_at_their_own_account_and_is_told", async |stage, page| {
        let owner = stage.person("removes.them").await;
        let removed = stage.person("is.removed").await;
        let account_id = stage.organization(&owner, "For a While").await;
        let add = auth::AddMemberRequest { account_id: account_id.clone(), user_name: removed.name.clone(), ..Default::default() };
        let user_id = stage.accounts().add_member(bearer(&owner.token, add)).await.unwrap().into_inner().member.unwrap().user_id;
        page.sign_in(&removed.name).await;
        page.choose("Account", "For a While").await;
        page.says("Of the organization For a While.").await;
        let remove = auth::RemoveMemberRequest { account_id, user_id };
        stage.accounts().remove_member(bearer(&owner.token, remove)).await.unwrap();
        page.press("link", "Ledger").await;
        page.says("You are no member of that organization any more.").await;
        page.loaded().await;
        assert!(!page.text().await.contains("Of the organization"));
        page.gone("combobox", "Account").await;
        page.press("link", "Overview").await;
        page.says(&grouped(STARTING)).await;
    })
    .await;
}

#[tokio::test]
async fn a_service_account_is_made_bounded_given_a_key_and_removed() {
    scene("a_service_account_is_made_bounded_given_a_key_and_removed", async |stage, page| {
        let owner = stage.person("has.programs").await;
        let account_id = stage.organization(&owner, "With Programs").await;
        stage.grant_to(&account_id, 1_000).await;
        page.sign_in(&owner.name).await;
        open(page, &account_id).await;
        page.press("button", "Make a service account").await;
        page.fill("textbox", "Name", "nightly build").await;
        page.fill("textbox", "Credits in a month (optional)", "500").await;
        page.press("button", "Make the service account").await;
        page.says("nightly build is there.").await;
        page.press("button", "Make a key nightly build").await;
        page.fill("textbox", "Name (optional)", "of the nightly build").await;
        page.press("button", "Make the key").await;
        page.find("dialog", "Your new key").await;
        let key = page.text_at("new-key-secret").await;
        page.press("button", "I have kept it").await;
        stage.call(&key, "smollm2").await;
        let me = stage.accounts().get_me(bearer(&key, auth::GetMeRequest {})).await.unwrap().into_inner();
        assert_eq!(me.service_account.unwrap().name, "nightly build");
        page.press("button", "Set the cap nightly build").await;
        let dialog = page.find("dialog", "Set the cap").await;
        page.fill("textbox", "Credits in a month (optional)", "5").await;
        page.press_in(dialog, "button", "Set the cap").await;
        page.says("The cap of nightly build is set.").await;
        let row = page.part_with("row", "nightly build").await;
        let said = page.text_of(row).await;
        assert!(said.contains('5') && said.contains(&CALL.to_string()), "{said}");
        page.press("button", "Use its account").await;
        page.view("API keys").await;
        let card = page.part_with("listitem", "of the nightly build").await;
        assert!(page.text_of(card).await.contains("nightly build"));
        page.find("button", "Rotate of the nightly build").await;
        open(page, &account_id).await;
        page.press("button", "Remove nightly build").await;
        let dialog = page.find("dialog", "Remove the service account?").await;
        page.press_in(dialog, "button", "Remove").await;
        page.says("nightly build is removed.").await;
        let refused = stage.accounts().get_me(bearer(&key, auth::GetMeRequest {})).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn an_operator_opens_any_organization_and_grants_it_credits() {
    scene("an_operator_opens_any_organization_and_grants_it_credits", async |stage, page| {
        let owner = stage.person("owns.what.is.granted").await;
        let account_id = stage.organization(&owner, "Granted To").await;
        page.sign_in(OPERATOR).await;
        page.view("Organizations").await;
        page.fill("textbox", "Its account", &account_id).await;
        page.press("button", "Show the organization").await;
        page.says("an operator, and no member").await;
        page.says("owns.what.is.granted").await;
        page.press("button", "Grant credits").await;
        page.fill("textbox", "Credits", "321").await;
        page.press("button", "Grant").await;
        page.says("has 321 credits now.").await;
        let mut asked = bearer(&owner.token, auth::GetBalanceRequest {});
        asked.metadata_mut().insert("x-tollgate-account", account_id.parse().unwrap());
        let balance = stage.accounts().get_balance(asked).await.unwrap().into_inner().balance.unwrap();
        assert_eq!(balance.available_credits(), 321);
    })
    .await;
}

#[tokio::test]
async fn whoever_is_no_member_is_shown_nothing_of_an_organization_by_its_address() {
    scene("whoever_is_no_member_is_shown_nothing_of_an_organization_by_its_address", async |stage, page| {
        let owner = stage.person("keeps.it.private").await;
        let stranger = stage.person("is.a.stranger").await;
        let account_id = stage.organization(&owner, "None of Yours").await;
        page.sign_in(&stranger.name).await;
        open(page, &account_id).await;
        page.says("There is no such organization, or you are no member of it.").await;
        until("nothing of it", SOON, || async { (!page.text().await.contains("None of Yours")).then_some(()) }).await;
        let asked = bearer(&stranger.token, auth::ListMembersRequest { account_id });
        let refused = stage.accounts().list_members(asked).await.unwrap_err();
        assert_eq!(reason_of(&refused), Some(ErrorReason::OrganizationNotFound));
    })
    .await;
}
