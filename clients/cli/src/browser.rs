//! Opening a browser, where there is one.

use std::process::{Command, Stdio};

/// Opens an address in a browser; whether one was started. Nothing but an address of the web is opened.
pub(crate) fn open(url: &str) -> bool {
    let Some(mut command) = is_of_the_web(url).then(|| command(url)).flatten() else { return false };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[cfg(unix)]
    {
        // Ctrl-C is for this command, and not for the browser that it began.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
    }
    command.spawn().is_ok()
}

fn is_of_the_web(url: &str) -> bool {
    (url.starts_with("https://") || url.starts_with("http://")) && url.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(target_os = "macos")]
fn command(url: &str) -> Option<Command> {
    let mut command = Command::new("open");
    command.arg(url);
    Some(command)
}

#[cfg(windows)]
fn command(url: &str) -> Option<Command> {
    let mut command = Command::new("rundll32");
    command.arg("url.dll,FileProtocolHandler").arg(url);
    Some(command)
}

#[cfg(all(unix, not(target_os = "macos")))]
fn command(url: &str) -> Option<Command> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(browsers) = variable("BROWSER") {
        return named(&browsers, url);
    }
    // Without a desktop it would be a browser in this terminal, in the way of what stands there.
    variable("WAYLAND_DISPLAY").or_else(|| variable("DISPLAY"))?;
    let mut command = Command::new("xdg-open");
    command.arg(url);
    Some(command)
}

/// The first of the commands in `BROWSER`, which are separated by colons. `%s` in one stands for the address.
#[cfg(all(unix, not(target_os = "macos")))]
fn named(browsers: &str, url: &str) -> Option<Command> {
    let mut words = browsers.split(':').find(|browser| !browser.trim().is_empty())?.split_whitespace();
    let mut command = Command::new(words.next()?);
    let mut is_said = false;
    for word in words {
        is_said |= word.contains("%s");
        command.arg(word.replace("%s", url));
    }
    if !is_said {
        command.arg(url);
    }
    Some(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_an_address_of_the_web_is_opened() {
        assert!(is_of_the_web("https://accounts.google.com/o/oauth2/v2/auth?client_id=a&state=b%20c"));
        assert!(is_of_the_web("http://127.0.0.1:1/"));
        for wrong in ["", "file:///etc/passwd", "-help", "javascript:alert(1)", "https://a b", "https://a\u{1b}", "HTTPS//x", "ssh://h"] {
            assert!(!is_of_the_web(wrong) && !open(wrong), "{wrong}");
        }
    }

    #[cfg(all(unix, not(target_os = "macos")))]
    #[test]
    fn a_browser_that_the_environment_names_gets_the_address_where_it_wants_it() {
        let words = |browsers| {
            let command = named(browsers, "http://h/").unwrap();
            let arguments = command.get_args().map(|word| word.to_str().unwrap().to_owned());
            std::iter::once(command.get_program().to_str().unwrap().to_owned()).chain(arguments).collect::<Vec<_>>()
        };
        assert_eq!(words("firefox"), ["firefox", "http://h/"]);
        assert_eq!(words(":w3m -T %s -x:links"), ["w3m", "-T", "http://h/", "-x"]);
        assert!(named(" : ", "http://h/").is_none());
    }
}
