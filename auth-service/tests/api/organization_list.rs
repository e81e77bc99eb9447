//! Admin.ListAllOrganizations.

use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::{Code, Status};

use crate::support::{Server, assert_refused, start, violated, with};

async fn page(server: &mut Server, credential: &str, request: pb::ListAllOrganizationsRequest) -> Result<(Vec<String>, String), Status> {
    let answer = server.admin.list_all_organizations(with(credential, request)).await?.into_inner();
    let mut names: Vec<_> = answer.organizations.into_iter().map(|one| one.name).collect();
    names.sort();
    Ok((names, answer.next_page_token))
}

#[tokio::test]
async fn operators_find_organizations_of_others_by_what_their_names_begin_with_and_nobody_else_does() {
    let mut server = start().await;
    let (operator, ada, bob) = (server.operator().await, server.user("ada").await, server.user("bob").await);
    let mut accounts = Vec::new();
    for (who, name) in [(&ada, "Physics"), (&bob, "physics of B"), (&bob, "Éthique"), (&ada, "Painters")] {
        accounts.push(server.organize(who, name).await.unwrap().account_id);
    }
    let all = pb::ListAllOrganizationsRequest::default;
    let (names, next) = page(&mut server, &operator, all()).await.unwrap();
    assert_eq!((names.join(", "), next.as_str()), ("Painters, Physics, physics of B, Éthique".to_owned(), ""));
    for (prefix, expected) in [("PHYS", "Physics, physics of B"), ("physics o", "physics of B"), ("é", "Éthique"), ("x", "")] {
        let request = pb::ListAllOrganizationsRequest { name_prefix: prefix.into(), ..all() };
        assert_eq!(page(&mut server, &operator, request).await.unwrap().0.join(", "), expected, "{prefix}");
    }
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListAllOrganizationsRequest { page_size: 1, page_token, name_prefix: "p".into() };
        let answer = server.admin.list_all_organizations(with(&operator, request)).await.unwrap().into_inner();
        assert!(answer.organizations.iter().all(|one| one.me.is_none()));
        found.extend(answer.organizations.into_iter().map(|one| one.account_id));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    accounts.remove(2);
    accounts.sort();
    assert_eq!(found, accounts);
    let key = server.key(&ada, pb::CreateApiKeyRequest::default()).await.key;
    assert_refused(page(&mut server, &ada, all()).await, Code::PermissionDenied, ErrorReason::RoleRequired);
    assert_refused(page(&mut server, &key, all()).await, Code::PermissionDenied, ErrorReason::AccessTokenRequired);
    assert_refused(page(&mut server, "", all()).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
    let request = pb::ListAllOrganizationsRequest { page_size: 501, page_token: "x".into(), name_prefix: "a\n".into() };
    assert_eq!(violated(page(&mut server, &operator, request).await), ["page_size", "page_token", "name_prefix"]);
}
