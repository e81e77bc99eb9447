//! The page's files, which are in the binary.

use std::sync::LazyLock;

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sha2::{Digest, Sha256};
use shared::ErrorReason;
use shared::admission::MethodPolicy;
use shared::authorization::CallerKind;
use shared::doors::{DoorRequest, Refusal, Route};

/// The file at `/`.
const INDEX: &str = "index.html";

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        /// Every file of `account-page/`: its name and its content. A test compares the folder.
        const EMBEDDED: &[(&str, &[u8])] = &[$(($name, include_bytes!(concat!("../../../account-page/", $name)))),*];
    };
}

embedded![
    "account.js",
    "address.js",
    "announce.js",
    "audit-view.js",
    "client-name.js",
    "copy.js",
    "device-view.js",
    "dialog.js",
    "dom.js",
    "exact.js",
    "failure.js",
    "form.js",
    "guest-view.js",
    "icon.svg",
    "identities.js",
    "index.html",
    "invitation-view.js",
    "issuers.js",
    "key-forms.js",
    "key-lines.js",
    "keys-view.js",
    "ledger-view.js",
    "main.js",
    "member-forms.js",
    "models.js",
    "organization-view.js",
    "organizations-view.js",
    "organizations.js",
    "overview-view.js",
    "page.css",
    "plot.js",
    "qr.js",
    "rpc.js",
    "second-factor.js",
    "security-view.js",
    "service-account-forms.js",
    "session.js",
    "settings.js",
    "step-up.js",
    "stream.js",
    "table.js",
    "times.js",
    "transport.js",
    "try-view.js",
    "usage-view.js",
    "user-forms.js",
    "users-view.js",
    "view.js",
];

/// A file as it is answered.
struct File {
    name: &'static str,
    content: &'static [u8],
    media_type: HeaderValue,
    /// Names this content.
    etag: HeaderValue,
}

static FILES: LazyLock<Vec<File>> = LazyLock::new(|| EMBEDDED.iter().filter_map(|(name, content)| File::new(name, content)).collect());

impl File {
    /// `None`: nobody knows the type of such a file. A test sees to that there is none.
    fn new(name: &'static str, content: &'static [u8]) -> Option<Self> {
        let media_type = HeaderValue::from_static(media_type(name)?);
        let etag = format!("\"{}\"", hex::encode(&Sha256::digest(content)[..16]));
        Some(Self { name, content, media_type, etag: HeaderValue::try_from(etag).ok()? })
    }

    fn answer(&self, headers: &HeaderMap) -> Response<Body> {
        let is_known = names(headers, &self.etag);
        let mut response = Response::new(if is_known { Body::empty() } else { Body::from(self.content) });
        let of_response = response.headers_mut();
        of_response.insert(ETAG, self.etag.clone());
        // It may be kept, and is asked for each time: so a page and its scripts are of one release.
        of_response.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            response.headers_mut().insert(CONTENT_TYPE, self.media_type.clone());
        }
        response
    }
}

fn media_type(name: &str) -> Option<&'static str> {
    Some(match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/vnd.microsoft.icon",
        _ => return None,
    })
}

/// Whether `If-None-Match` names a tag (RFC 9110, section 13.1.2).
fn names(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let mut named = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    named.any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes()
    })
}

pub(super) fn routes() -> Vec<Route> {
    let policy = MethodPolicy { caller: CallerKind::Anybody, most_bytes: 0, is_recorded: false };
    let index = move |request: DoorRequest| std::future::ready(find(INDEX, &request));
    let device = move |request: DoorRequest| std::future::ready(find(INDEX, &request));
    let other = move |request: DoorRequest| {
        let name = request.path_param("file");
        // Its paths are those of people, so that what it loads has one origin of names.
        std::future::ready(if name == INDEX { Err(unknown()) } else { find(name, &request) })
    };
    vec![
        Route::new(Method::GET, "/", policy, "the account page, for people with a browser", index),
        // The address that a device shows. The page shows the view that approves it.
        Route::new(Method::GET, "/device", policy, "the account page, where a device's sign-in is approved", device),
        Route::new(Method::GET, "/account-page/{file}", policy, "a file of the account page", other),
    ]
}

fn find(name: &str, request: &DoorRequest) -> Result<Response<Body>, Refusal> {
    FILES.iter().find(|file| file.name == name).map(|file| file.answer(request.headers())).ok_or_else(unknown)
}

fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, ErrorReason::MethodUnknown, "the account page has no such file")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_file_of_the_folder_is_embedded_and_has_a_type_and_there_is_no_other() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../account-page");
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let there: BTreeSet<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        let embedded: BTreeSet<String> = EMBEDDED.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(there, embedded, "account-page/ and the list in files.rs");
        assert_eq!(FILES.len(), EMBEDDED.len(), "a file's type is unknown");
    }

    #[test]
    fn a_tag_is_known_in_every_form_that_a_browser_sends() {
        let etag = HeaderValue::from_static("\"a\"");
        let known = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IF_NONE_MATCH, HeaderValue::from_static(value));
            }
            names(&headers, &etag)
        };
        for same in [&["\"a\""][..], &["W/\"a\""], &["\"b\", \"a\""], &["\"b\"", "W/\"a\""], &["*"]] {
            assert!(known(same), "{same:?}");
        }
        for other in [&[][..], &["\"b\""], &["a"], &["\"a"], &[""]] {
            assert!(!known(other), "{other:?}");
        }
    }
}
