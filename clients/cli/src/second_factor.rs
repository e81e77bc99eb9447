//! The second factor: an authenticator app, recovery codes, and proving it anew.

use clap::Subcommand;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use serde_json::json;
use tollgate_client::{Client, NewTotp, RecoveryCodes};

use crate::display::{json_time, time};
use crate::failure::Failure;
use crate::output::{Output, hint};
use crate::password;
use crate::question;
use crate::second_factor_code::Given;

#[derive(Debug, Subcommand)]
pub(crate) enum Totp {
    /// Show the secret for an authenticator app, as text and as a QR code, and confirm it by a code of the app
    Setup,
    /// Turn the second factor on by a code of the app, and print recovery codes, this once
    Confirm(Given),
    /// Turn the second factor off
    Remove(Given),
    /// Make new recovery codes in place of those before, and print them, this once
    RecoveryCodes(Given),
    /// Show whether there is a second factor, and how many recovery codes are left
    Status,
}

pub(crate) async fn run(client: &Client, command: Totp, output: &mut Output) -> Result<(), Failure> {
    match command {
        Totp::Setup => setup(client, output).await,
        Totp::Confirm(code) => show_codes(&client.confirm_totp(&code.read()?).await?, output),
        Totp::Remove(code) => {
            client.remove_totp(&code.read()?).await?;
            output.said("the second factor is off", json!({"enabled": false}))
        }
        Totp::RecoveryCodes(code) => show_codes(&client.create_recovery_codes(&code.read()?).await?, output),
        Totp::Status => {
            let status = client.second_factor().await?;
            let document = json!({
                "enabled": status.enabled,
                "enabledAt": json_time(status.enabled_at),
                "recoveryCodesLeft": status.recovery_codes_left,
                "provedAt": json_time(status.proved_at),
            });
            let fields = [
                ("second factor", if status.enabled { "on" } else { "off" }.to_owned()),
                ("since", time(status.enabled_at)),
                ("recovery codes", status.recovery_codes_left.to_string()),
                ("proved at", time(status.proved_at)),
            ];
            output.record(&fields, document)
        }
    }
}

pub(crate) async fn step_up(client: &Client, code: Given, output: &mut Output) -> Result<(), Failure> {
    let until = client.step_up(&code.read()?).await?.map(Into::into);
    output.said(&format!("what asks for the second factor is allowed until {}", time(until)), json!({"goodUntil": json_time(until)}))
}

async fn setup(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let password = password::read_or_none("Password (nothing, if you have none): ")?;
    let totp = client.begin_totp(&password).await?;
    if output.is_json() {
        return output.document(&json!({"totpSecret": totp.secret, "otpauthUri": totp.otpauth_uri}));
    }
    show_secret(&totp, output)?;
    if !question::somebody_is_there() {
        hint("it counts once a code of the app has confirmed it: tollgate me totp confirm");
        return Ok(());
    }
    let code = password::read_secret("code", "Code that the app shows now: ")
        .inspect_err(|_| hint("nothing has changed; tollgate me totp confirm takes the code later"))?;
    show_codes(&client.confirm_totp(&code).await?, output)
}

fn show_secret(totp: &NewTotp, output: &mut Output) -> Result<(), Failure> {
    if output.is_terminal()
        && let Some(picture) = qr_code(&totp.otpauth_uri, terminal_size::terminal_size().map(|(width, _)| width.0), has_colours())
    {
        output.styled(&picture)?;
    }
    output.fields(&[("secret", totp.secret.clone()), ("address", totp.otpauth_uri.clone())])
}

fn show_codes(codes: &RecoveryCodes, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        output.document(&json!({"recoveryCodes": codes.expose()}))?;
    } else {
        codes.expose().iter().try_for_each(|code| output.line(code))?;
    }
    hint("recovery codes: each is good once in place of the app's code. Keep them where the app is not; they can't be shown again");
    Ok(())
}

fn has_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A QR code in half blocks; `None` when it is wider than the terminal, where nothing could read it. Dark on light, as readers want it: by
/// colours, or where those aren't wanted by the empty cells of a dark terminal.
fn qr_code(text: &str, columns: Option<u16>, colours: bool) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    /// Light cells on each side.
    const QUIET: usize = 8;
    if columns.is_some_and(|columns| usize::from(columns) < code.width() + QUIET) {
        return None;
    }
    let mut picture = code.render::<Dense1x2>();
    if !colours {
        picture.dark_color(Dense1x2::Light).light_color(Dense1x2::Dark);
    }
    let drawn = picture.quiet_zone(true).build();
    let line = |line: &str| if colours { format!("\u{1b}[30;107m{line}\u{1b}[0m\n") } else { format!("{line}\n") };
    Some(drawn.lines().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "otpauth://totp/Tollgate:ada?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Tollgate";

    /// The dark cells of a picture that is drawn in half blocks.
    fn dark(picture: &str, is_inverted: bool) -> Vec<Vec<bool>> {
        let rows = picture.lines().map(|line| line.replace("\u{1b}[30;107m", "").replace("\u{1b}[0m", ""));
        let halves = |c: char| match c {
            '█' => [true, true],
            '▀' => [true, false],
            '▄' => [false, true],
            _ => [false, false],
        };
        rows.flat_map(|row| [0, 1].map(|half| row.chars().map(|c| halves(c)[half] != is_inverted).collect())).collect()
    }

    #[test]
    fn a_qr_code_is_the_address_dark_on_light_with_and_without_colours() {
        let code = QrCode::with_error_correction_level(ADDRESS, EcLevel::L).unwrap();
        let (width, colours) = (code.width(), code.to_colors());
        for has_colours in [true, false] {
            let cells = dark(&qr_code(ADDRESS, Some(80), has_colours).unwrap(), !has_colours);
            for row in 0..width {
                for column in 0..width {
                    let expected = colours[row * width + column] == qrcode::Color::Dark;
                    assert_eq!(cells[row + 4][column + 4], expected, "row {row}, column {column}, colours {has_colours}");
                }
            }
        }
    }

    #[test]
    fn a_qr_code_that_is_wider_than_the_terminal_is_left_out() {
        assert!(qr_code(ADDRESS, Some(20), true).is_none());
        assert!(qr_code(ADDRESS, None, true).is_some());
    }
}
