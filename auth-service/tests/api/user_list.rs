//! Admin.ListUsers.

use shared::ErrorReason;
use shared::proto::auth as pb;
use tonic::{Code, Status};

use crate::support::{Server, assert_refused, start, violated, with};

async fn page(server: &mut Server, credential: &str, request: pb::ListUsersRequest) -> Result<(Vec<String>, String), Status> {
    let pb::ListUsersResponse { users, next_page_token } = server.admin.list_users(with(credential, request)).await?.into_inner();
    Ok((users.into_iter().map(|user| user.user_name).collect(), next_page_token))
}

#[tokio::test]
async fn operators_list_users_by_name_by_prefix_and_by_state_and_nobody_else_does() {
    let mut server = start().await;
    let operator = server.operator().await;
    for name in ["mario", "Luigi", "marina", "peach"] {
        server.sign_up(name).await;
    }
    server.admin.disable_user(with(&operator, pb::DisableUserRequest { user_name: "marina".into(), ..Default::default() })).await.unwrap();
    let all = pb::ListUsersRequest::default;
    let (names, next) = page(&mut server, &operator, all()).await.unwrap();
    assert_eq!((names.join(" "), next.as_str()), ("luigi marina mario operator peach template".to_owned(), ""));
    let (names, next) = page(&mut server, &operator, pb::ListUsersRequest { page_size: 4, ..all() }).await.unwrap();
    assert_eq!(names.join(" "), "luigi marina mario operator");
    let (names, next) = page(&mut server, &operator, pb::ListUsersRequest { page_size: 4, page_token: next, ..all() }).await.unwrap();
    assert_eq!((names.join(" "), next.as_str()), ("peach template".to_owned(), ""));
    for (prefix, state, expected) in [
        ("MAR", pb::UserState::Unspecified, "marina mario"),
        ("mar", pb::UserState::Enabled, "mario"),
        ("mar", pb::UserState::Disabled, "marina"),
        ("", pb::UserState::Disabled, "marina"),
        ("x", pb::UserState::Unspecified, ""),
    ] {
        let request = pb::ListUsersRequest { name_prefix: prefix.into(), state: state.into(), ..all() };
        let (names, _) = page(&mut server, &operator, request).await.unwrap();
        assert_eq!(names.join(" "), expected, "{prefix} {state:?}");
    }
    let token = server.login("mario").await;
    let key = server.key(&token, pb::CreateApiKeyRequest::default()).await.key;
    assert_refused(page(&mut server, &token, all()).await, Code::PermissionDenied, ErrorReason::RoleRequired);
    assert_refused(page(&mut server, &key, all()).await, Code::PermissionDenied, ErrorReason::AccessTokenRequired);
    assert_refused(page(&mut server, "", all()).await, Code::Unauthenticated, ErrorReason::CredentialInvalid);
}

#[tokio::test]
async fn all_that_is_wrong_with_a_request_for_users_is_named_at_once() {
    let mut server = start().await;
    let operator = server.operator().await;
    let request = pb::ListUsersRequest { page_size: 501, page_token: "x".into(), name_prefix: "a*".into(), state: 9 };
    assert_eq!(violated(page(&mut server, &operator, request).await), ["page_size", "page_token", "name_prefix", "state"]);
}
