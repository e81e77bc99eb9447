//! The OpenID issuer of tests, as a process: `oidc-issuer [CLIENT_ID [CLIENT_SECRET [PORT]]]`. Its first line is its identifier; it runs
//! until its standard input ends. `POST /control` changes what it does: see `src/oidc_issuer.rs`.

use std::error::Error;

use integration::oidc_issuer::{CLIENT_ID, OidcIssuer};
use jsonwebtoken::Algorithm;
use tokio::io::AsyncReadExt;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let client_id = arguments.next().unwrap_or_else(|| CLIENT_ID.to_owned());
    let client_secret = arguments.next().filter(|secret| !secret.is_empty());
    let port: u16 = arguments.next().unwrap_or_default().parse().unwrap_or_default();
    let issuer = OidcIssuer::start_on(([127, 0, 0, 1], port).into(), Algorithm::RS256).await;
    {
        let mut behaviour = issuer.behaviour();
        (behaviour.client_id, behaviour.client_secret) = (client_id, client_secret);
    }
    println!("{}", issuer.url());
    let mut rest = Vec::new();
    tokio::io::stdin().read_to_end(&mut rest).await?;
    Ok(())
}
