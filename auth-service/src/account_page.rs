//! The account page: its files, what it must know before anybody signs in, and the sessions that it keeps in a cookie.
//!
//! All else the page does by the methods that every client calls, with an access token that it keeps in a variable. A refresh token is out
//! of its reach: the doors here put it into a cookie that no script reads, and take it from there. They answer a page of this service
//! alone (`own_page`), and nobody of another origin, whatever `TOLLGATE_CORS_ORIGINS` says.

mod cookie;
mod files;
mod headers;
mod inference_url;
mod issuer_sign_in;
mod own_page;
mod sessions;
mod settings;
mod sign_in_cookie;

use std::sync::Arc;

use shared::doors::site::Site;
use shared::doors::{Door, connect_form};
use shared::env::Reader;

pub use self::inference_url::InferenceUrl;
pub use self::issuer_sign_in::REFUSED as SIGN_IN_REFUSED;
pub use self::sessions::REFUSED;
use self::settings::Settings;
use crate::service::accounts::AccountsService;

/// Whether there is a page.
pub const PAGE_VARIABLE: &str = "TOLLGATE_ACCOUNT_PAGE";
/// Where people reach inference-service.
pub const INFERENCE_URL_VARIABLE: &str = "TOLLGATE_INFERENCE_URL";

/// What the page is told by configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountPage {
    /// Where people reach inference-service; `None`: on the host that they asked, at its default port.
    pub inference_url: Option<InferenceUrl>,
    /// Whether callers speak TLS with the service itself.
    pub tls: bool,
}

impl AccountPage {
    /// Reads its variables; `None`: there is no page.
    pub fn read(reader: &mut Reader<'_>, tls: bool) -> Option<Self> {
        let is_there = reader.boolean(PAGE_VARIABLE, true);
        let inference_url = reader.parse(INFERENCE_URL_VARIABLE, InferenceUrl::parse);
        is_there.then_some(Self { inference_url, tls })
    }

    /// What browsers may ask of the page's origin alone.
    pub(crate) fn site(&self) -> Site {
        let page = self.clone();
        Site {
            paths: &["/", "/account-page", "/account", "/device"],
            folders: &["/account-page/", "/account/"],
            headers: Arc::new(move |uri, headers| headers::of_answer(&page, uri, headers)),
        }
    }

    pub(crate) fn doors(&self, accounts: &Arc<AccountsService>) -> [Door; 1] {
        let issuers = accounts.issuers.configs().map(|config| (config.name.clone(), config.issuer.clone())).collect();
        let settings = Settings { page: self.clone(), sign_up: accounts.sign_up, issuers };
        let mut routes = files::routes();
        routes.push(settings::route(settings));
        routes.extend(sessions::routes(accounts, self.tls));
        routes.extend(issuer_sign_in::routes(accounts, self.tls));
        [Door { name: "Account page", refusal: connect_form, routes }]
    }
}
