//! Where a browser comes back to after a sign-in with an issuer: an address on loopback (RFC 8252), for one request. Its path is the
//! issuer's own: none can have another one's code brought there (RFC 9700, section 4.4).

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// A request's first line and headers; a code has some hundred bytes.
const MOST_BYTES: usize = 16 << 10;
const MOST_HEADERS: usize = 100;
/// Connections that have said nothing yet. Browsers make some ahead of need.
const AT_ONCE: usize = 16;
/// Before an issuer's name.
const CALLBACKS: &str = "/callback/";
/// How long a connection has to send its request, and to take an answer.
const WITHIN: Duration = Duration::from_secs(10);

/// A listener that nobody off this host reaches.
pub(crate) struct Loopback {
    listener: TcpListener,
    address: SocketAddr,
    /// Of the issuer alone.
    path: String,
}

/// What an issuer sent the person back with.
#[derive(PartialEq, Eq)]
pub(crate) enum Said {
    /// The code.
    Code(String),
    /// Why there is none, such as `access_denied`.
    Error(String),
}

/// What an issuer sent the person back with, and to where.
struct Answer {
    said: Said,
    state: String,
    issuer: Option<String>,
    is_own: bool,
}

/// The one request of this sign-in, which waits for its answer.
pub(crate) struct CameBack {
    pub(crate) said: Said,
    pub(crate) state: String,
    /// Which issuer it says that it is (RFC 9207); `None`: it doesn't.
    pub(crate) issuer: Option<String>,
    /// Whether it came to the address of this issuer, and not to another one's.
    pub(crate) is_own: bool,
    browser: TcpStream,
}

impl Loopback {
    /// For whoever comes back from the issuer of this name.
    pub(crate) async fn listen(issuer: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, path: format!("{CALLBACKS}{issuer}") })
    }

    /// What the issuer is told.
    pub(crate) fn redirect_uri(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }

    /// Waits for the request that has this sign-in's state. Anything else that comes is turned away and changes nothing.
    pub(crate) async fn comes_back(self, is_state: impl Fn(&str) -> bool) -> io::Result<CameBack> {
        let mut reading = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if reading.len() < AT_ONCE => match accepted {
                    Ok((browser, _)) => reading.push(request(browser)),
                    Err(error) if is_of_one_connection(&error) => {}
                    Err(error) => return Err(error),
                },
                Some(request) = reading.next(), if !reading.is_empty() => {
                    let Some((mut browser, target)) = request else { continue };
                    match target.as_deref().and_then(|target| answer_of_the_issuer(target, &self.path)) {
                        Some(Answer { said, state, issuer, is_own }) if is_state(&state) => {
                            return Ok(CameBack { said, state, issuer, is_own, browser });
                        }
                        // It may be an old tab's, or somebody's who would like us to take their code.
                        Some(_) => say(&mut browser, "400 Bad Request", "This is not the sign-in that tollgate waits for.").await,
                        None => say(&mut browser, "404 Not Found", "There is nothing here.").await,
                    }
                }
            }
        }
    }
}

impl CameBack {
    /// Shows the person a plain page, and ends the connection.
    pub(crate) async fn answer(mut self, text: &str) {
        say(&mut self.browser, "200 OK", text).await;
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted)
}

/// The connection, and what its request is for; no connection when it sent none in time. What is no GET is for nothing.
async fn request(mut browser: TcpStream) -> Option<(TcpStream, Option<String>)> {
    let target = timeout(WITHIN, read_target(&mut browser)).await.ok()?.ok()?;
    Some((browser, target))
}

async fn read_target(browser: &mut TcpStream) -> io::Result<Option<String>> {
    let mut head = Vec::new();
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&head) {
            Ok(httparse::Status::Complete(_)) => return Ok(request.path.filter(|_| request.method == Some("GET")).map(str::to_owned)),
            Ok(httparse::Status::Partial) if head.len() < MOST_BYTES => {}
            Ok(httparse::Status::Partial) | Err(_) => return Ok(None),
        }
        let mut chunk = [0; 2048];
        let read = browser.read(&mut chunk).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&chunk[..read]);
    }
}

/// What a request's target says; `None` when it is no issuer's answer.
fn answer_of_the_issuer(target: &str, own_path: &str) -> Option<Answer> {
    let (path, query) = target.split_once('?')?;
    if !path.starts_with(CALLBACKS) || form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "iss").count() > 1 {
        return None;
    }
    let value = |name: &str| {
        let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        // Of two, nobody knows which is meant.
        let first = values.next().filter(|value| !value.is_empty());
        if values.next().is_some() { None } else { first }
    };
    let state = value("state")?;
    let said = match (value("code"), value("error")) {
        (Some(code), None) => Said::Code(code),
        (None, Some(error)) => Said::Error(error),
        _ => return None,
    };
    Some(Answer { said, state, issuer: value("iss"), is_own: path == own_path })
}

/// A plain page that runs nothing, is kept nowhere, and tells nobody the address that it was at. That nobody reads it is no failure.
async fn say(browser: &mut TcpStream, status: &str, text: &str) {
    let page = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\ncache-control: no-store\r\n\
         referrer-policy: no-referrer\r\nx-content-type-options: nosniff\r\ncontent-security-policy: default-src 'none'\r\n\
         connection: close\r\n\r\n{text}\n",
        text.len() + 1
    );
    let _ = timeout(WITHIN, async {
        browser.write_all(page.as_bytes()).await?;
        browser.shutdown().await
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(address: &str, target: &str) -> String {
        let mut browser = TcpStream::connect(address).await.unwrap();
        browser.write_all(format!("GET {target} HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        browser.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[test]
    fn an_issuers_answer_has_one_state_and_either_one_code_or_one_error() {
        let answer_of = |target: &str| answer_of_the_issuer(target, "/callback/one");
        let code = |target| match answer_of(target) {
            Some(Answer { said: Said::Code(code), state, issuer: None, is_own: true }) => Some((code, state)),
            _ => None,
        };
        assert_eq!(code("/callback/one?code=4%2F0a&state=s+1&scope=openid"), Some(("4/0a".into(), "s 1".into())));
        assert!(answer_of("/callback/one?error=access_denied&state=s").unwrap().said == Said::Error("access_denied".into()));
        let named = answer_of("/callback/one?code=c&state=s&iss=https%3A%2F%2Fone.example").unwrap();
        assert_eq!(named.issuer.as_deref(), Some("https://one.example"));
        for another in ["/callback/two?code=c&state=s", "/callback/one/?code=c&state=s", "/callback/%6fne?code=c&state=s"] {
            assert!(!answer_of(another).unwrap().is_own, "{another}");
        }
        for wrong in [
            "/",
            "/favicon.ico",
            "/callback/one",
            "/?code=c&state=s",
            "/callback/one?code=c",
            "/callback/one?code=c&state=",
            "/callback/one?state=s",
            "/callback/one?code=c&code=d&state=s",
            "/callback/one?code=c&state=s&state=t",
            "/callback/one?code=c&error=e&state=s",
            "/callback/one?code=&state=s",
            "/callback/one?code=c&state=s&iss=a&iss=b",
        ] {
            assert!(answer_of(wrong).is_none(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn one_request_with_the_state_is_answered_and_others_are_turned_away_and_change_nothing() {
        let loopback = Loopback::listen("one").await.unwrap();
        let uri = loopback.redirect_uri();
        let address = uri.strip_prefix("http://").unwrap().strip_suffix("/callback/one").unwrap().to_owned();
        assert!(address.starts_with("127.0.0.1:"), "{uri}");
        let waiting = tokio::spawn(loopback.comes_back(|state| state == "right"));
        // As browsers make them ahead of need.
        let _silent = TcpStream::connect(&address).await.unwrap();
        assert!(get(&address, "/favicon.ico").await.starts_with("HTTP/1.1 404 "));
        assert!(get(&address, "/callback/one?code=theirs&state=wrong").await.starts_with("HTTP/1.1 400 "));
        assert!(get(&address, "/callback/one?code=theirs").await.starts_with("HTTP/1.1 404 "));
        let asking = tokio::spawn(async move { get(&address, "/callback/one?code=ours&state=right").await });
        let came_back = waiting.await.unwrap().unwrap();
        assert!(came_back.said == Said::Code("ours".into()) && came_back.state == "right" && came_back.is_own);
        came_back.answer("You are signed in.").await;
        let page = asking.await.unwrap();
        assert!(page.starts_with("HTTP/1.1 200 OK") && page.ends_with("\r\n\r\nYou are signed in.\n"), "{page}");
        assert!(page.contains("no-store") && page.contains("no-referrer"), "{page}");
    }

    #[tokio::test]
    async fn what_is_no_request_is_not_read_to_its_end() {
        let loopback = Loopback::listen("one").await.unwrap();
        let address = loopback.address.to_string();
        let waiting = tokio::spawn(loopback.comes_back(|_| true));
        let mut endless = TcpStream::connect(&address).await.unwrap();
        endless.write_all(&[&b"GET /?code=a&state="[..], &[b'a'; MOST_BYTES]].concat()).await.unwrap();
        let mut answer = Vec::new();
        let _ = endless.read_to_end(&mut answer).await;
        assert!(!waiting.is_finished());
        waiting.abort();
    }
}
