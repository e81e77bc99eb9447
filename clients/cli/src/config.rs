//! The config file's profiles: what they say, what counts, and changing them.

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use tollgate_client::{Client, Credential};

use crate::config_file::ConfigFile;
use crate::connection::{Connection, DEFAULT_PROFILE, Situation, no_config_file};
use crate::credential_text::{shown_key, shown_url};
use crate::failure::Failure;
use crate::keychain;
use crate::output::{Output, hint};
use crate::password;
use crate::places::Places;
use crate::private_file;
use crate::profile_text::{Change, Profile};
use crate::setting::{IN_KEYCHAIN, Setting};
use crate::settings::{Caller, Source, Which};
use crate::table::Table;

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Show every value that counts, and where it comes from; the same as `tollgate config` alone
    Show,
    /// Print one value that counts; of a key, no more than tells it from others
    Get {
        /// Which
        #[arg(value_enum)]
        setting: SettingName,
    },
    /// Set a value in a profile (--profile, or `default`), which is made when it isn't there
    Set {
        /// Which
        #[arg(value_enum)]
        setting: SettingName,
        /// The value. A key is no argument, since others could see it: it is asked for, or read from standard input
        value: Option<String>,
        /// Keep the key in the operating system's keychain, and nothing of it in the file
        #[arg(long)]
        keychain: bool,
    },
    /// Remove a value from a profile
    Unset {
        /// Which
        #[arg(value_enum)]
        setting: SettingName,
    },
    /// List the profiles; the one that counts has a star
    List,
    /// Remove a profile
    Remove {
        /// Its name
        name: String,
    },
    /// Print where the config file is, also when it isn't there yet
    Path,
}

/// A setting, as it is named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SettingName(Setting);

impl ValueEnum for SettingName {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [SettingName; Setting::ALL.len()] = {
            let mut all = [SettingName(Setting::Key); Setting::ALL.len()];
            let mut at = 0;
            while at < all.len() {
                all[at] = SettingName(Setting::ALL[at]);
                at += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.0.name()).help(self.0.meaning()))
    }
}

pub(crate) async fn run(connection: Connection, command: Config, output: &mut Output) -> Result<(), Failure> {
    match command {
        Config::Show => show(&connection.situation()?, output),
        Config::Get { setting: SettingName(setting) } => get(&connection.situation()?, setting, output),
        Config::Path => path(output),
        Config::List => list(connection, output),
        Config::Set { setting: SettingName(setting), value, keychain } => {
            let (file, profile) = target(connection)?;
            let value = checked(&file, &profile, setting, value, keychain)?;
            let stored = set(&file, &profile, setting, &value, keychain).await?;
            let said = format!("{} of profile {profile} is kept in {}", setting.name(), stored.join(" and "));
            output.said(&said, json!({"profile": profile, "setting": setting.name(), "file": file.path(), "keychain": keychain}))
        }
        Config::Unset { setting: SettingName(setting) } => {
            let (file, profile) = target(connection)?;
            unset(&file, &profile, setting).await?;
            let said = format!("profile {profile} says nothing of {} any more", setting.name());
            output.said(&said, json!({"profile": profile, "setting": setting.name(), "file": file.path()}))
        }
        Config::Remove { name } => {
            let (file, _) = target(connection)?;
            remove(&file, &name).await?;
            output.said(&format!("profile {name} is removed"), json!({"profile": name, "file": file.path()}))
        }
    }
}

/// The config file, and the profile that a change is meant for.
pub(crate) fn target(connection: Connection) -> Result<(ConfigFile, String), Failure> {
    let (places, profile, _) = connection.without_profile()?;
    let file = places.config().map(|path| ConfigFile::at(path.to_owned())).ok_or_else(no_config_file)?;
    Ok((file, profile.name))
}

/// What a profile should say of a setting, if it can.
fn checked(file: &ConfigFile, profile: &str, setting: Setting, value: Option<String>, keychain: bool) -> Result<String, Failure> {
    let refused = |why: &str| Err(Failure::Usage(why.to_owned()));
    if keychain && setting != Setting::Key {
        return refused("--keychain is for keys");
    }
    refuse_two_credentials(file, profile, setting)?;
    if setting == Setting::Key {
        return match value.as_deref() {
            None | Some("-") => {
                Ok(Credential::new(password::read_secret("key", &format!("Key of profile {profile}: "))?)?.expose().to_owned())
            }
            Some(_) => refused(
                "a key is no argument, since others here could see it: leave it out, and it is asked for or read from standard input",
            ),
        };
    }
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        return Err(Failure::Usage(format!("which {}? tollgate config unset {0} removes it", setting.name())));
    };
    if value.chars().any(char::is_control) {
        return refused("a value has no line breaks and no other control characters");
    }
    let builder = Client::builder();
    match setting {
        Setting::Url => builder.inference_url(&value).build().map(drop)?,
        Setting::AuthUrl => builder.auth_url(&value).build().map(drop)?,
        Setting::Account => builder.account(&value).build().map(drop)?,
        // A path is kept from the root on: it is meant from here, and read from elsewhere.
        setting if setting.is_path() && !value.starts_with("~/") => {
            let path = std::path::absolute(&value);
            let path = path.map_err(|source| Failure::Io { what: format!("{value} can't be found"), source })?;
            return path.into_os_string().into_string().map_err(|_| Failure::Usage(format!("the path of {value} isn't UTF-8")));
        }
        _ => {}
    }
    Ok(value)
}

/// A profile has a key or a session file.
pub(crate) fn refuse_two_credentials(file: &ConfigFile, profile: &str, setting: Setting) -> Result<(), Failure> {
    let other = match setting {
        Setting::Key => Setting::Session,
        Setting::Session => Setting::Key,
        _ => return Ok(()),
    };
    match file.read()?.profile(profile).and_then(|profile| profile.get(other)) {
        Some(_) => Err(Failure::Usage(format!(
            "profile {profile} has a {}, and can't have a {} beside it: tollgate config unset {0} --profile {profile}",
            other.name(),
            setting.name()
        ))),
        None => Ok(()),
    }
}

/// Keeps a value that was checked; where it is then.
pub(crate) async fn set(
    file: &ConfigFile,
    profile: &str,
    setting: Setting,
    value: &str,
    in_keychain: bool,
) -> Result<Vec<String>, Failure> {
    let path = file.path().display().to_string();
    if !in_keychain {
        let was_in_keychain = setting == Setting::Key && is_in_keychain(file.read()?.profile(profile));
        file.set(profile, setting, value)?;
        if was_in_keychain {
            forget(profile).await;
        }
        return Ok(vec![path]);
    }
    // First what may fail for a reason of its own: the file never names a key that isn't there.
    file.hold()?.read()?;
    keychain::keep(profile, value).await?;
    file.set(profile, setting, IN_KEYCHAIN)?;
    Ok(vec!["the keychain".to_owned()])
}

async fn unset(file: &ConfigFile, profile: &str, setting: Setting) -> Result<(), Failure> {
    let before = {
        let mut held = file.hold()?;
        let text = held.read()?;
        let there = text.profile(profile).filter(|profile| profile.get(setting).is_some());
        let Some(there) = there else {
            return Err(Failure::Usage(format!("profile {profile} says nothing of {}", setting.name())));
        };
        held.change(&[Change::Unset { profile, setting }])?;
        there.clone()
    };
    if setting == Setting::Key && is_in_keychain(Some(&before)) {
        forget(profile).await;
    }
    Ok(())
}

async fn remove(file: &ConfigFile, name: &str) -> Result<(), Failure> {
    if let Some(session) = Places::of_process().session(name).filter(|path| private_file::is_there(path)) {
        return Err(Failure::Usage(format!(
            "profile {name} is signed in: tollgate logout --profile {name} ends that; the session is in {}",
            session.display()
        )));
    }
    let before = {
        let mut held = file.hold()?;
        let text = held.read()?;
        let before = text.profile(name).cloned();
        let before =
            before.ok_or_else(|| Failure::Usage(format!("there is no profile {name:?}: tollgate config list shows what there is")))?;
        held.change(&[Change::Remove { profile: name }])?;
        before
    };
    if is_in_keychain(Some(&before)) {
        forget(name).await;
    }
    Ok(())
}

fn is_in_keychain(profile: Option<&Profile>) -> bool {
    profile.is_some_and(|profile| profile.get(Setting::Key) == Some(IN_KEYCHAIN))
}

/// What isn't needed any more is no reason to fail.
pub(crate) async fn forget(profile: &str) {
    if let Err(failure) = keychain::forget(profile).await {
        hint(&format!("the key of profile {profile} may be in the keychain still: {failure}"));
    }
}

/// A value as it is shown, and where it comes from.
struct Row {
    setting: Setting,
    value: Option<String>,
    source: &'static str,
    from: String,
    /// It is the credential that commands use.
    counts: bool,
}

fn rows(situation: &Situation) -> Vec<Row> {
    let which = situation.credential(Caller::User);
    Setting::ALL.into_iter().map(|setting| row(situation, setting, which)).collect()
}

fn row(situation: &Situation, setting: Setting, which: Which) -> Row {
    // Of credentials the one that counts is shown; the other one, as it would be.
    let of_credential = match (setting, which) {
        (Setting::Key, Which::Key(source)) | (Setting::Session, Which::Session(source)) => {
            situation.settings.of(source).get(&setting).map(|value| (value, source))
        }
        _ => situation.settings.get(setting),
    };
    let counts = matches!((setting, which), (Setting::Key, Which::Key(_)) | (Setting::Session, Which::Session(_) | Which::Kept));
    if setting == Setting::Session && which == Which::Kept {
        let path = situation.places.session(&situation.profile.name).map(|path| path.display().to_string());
        return Row { setting, value: path, source: "login", from: "login, kept for the profile".to_owned(), counts };
    }
    let Some((value, source)) = of_credential else {
        let default = match setting {
            Setting::Url => Some(shared::default_address::INFERENCE_URL),
            Setting::AuthUrl => Some(shared::default_address::AUTH_URL),
            _ => None,
        };
        let (source, from) = if default.is_some() { ("default", "default") } else { ("unset", "") };
        return Row { setting, value: default.map(str::to_owned), source, from: from.to_owned(), counts };
    };
    let text = value.to_string_lossy();
    let shown = match setting {
        Setting::Key => shown_key(&text, source == Source::Profile),
        Setting::Url | Setting::AuthUrl => shown_url(&text),
        _ => text.into_owned(),
    };
    let (word, from) = match source {
        Source::Flag => ("flag", setting.flag().to_owned()),
        Source::Variable => ("environment", setting.variable().to_owned()),
        Source::Profile => ("profile", format!("profile {}", situation.profile.name)),
    };
    Row { setting, value: Some(shown), source: word, from, counts }
}

fn show(situation: &Situation, output: &mut Output) -> Result<(), Failure> {
    let rows = rows(situation);
    let file = situation.config.as_ref().map(|config| config.path());
    let is_there = file.is_some_and(private_file::is_there);
    let by = situation.profile.by.unwrap_or("default");
    if output.is_json() {
        let values: Vec<Value> = rows
            .iter()
            .map(|row| {
                let from = if row.from.is_empty() { Value::Null } else { json!(row.from) };
                json!({"name": row.setting.name(), "value": row.value, "source": row.source, "from": from, "isCredential": row.counts})
            })
            .collect();
        return output.document(&json!({
            "profile": situation.profile.name,
            "profileFrom": by,
            "file": file,
            "fileExists": is_there,
            "values": values,
        }));
    }
    let file = match file {
        Some(file) if is_there => file.display().to_string(),
        Some(file) => format!("{} (not there)", file.display()),
        None => String::new(),
    };
    output.fields(&[("profile", format!("{} ({by})", situation.profile.name)), ("file", file)])?;
    output.line("")?;
    let mut table = Table::new(&["NAME", "VALUE", "FROM"]);
    for row in rows {
        // A credential that another one beats is said to be so.
        let is_beaten = matches!(row.setting, Setting::Key | Setting::Session) && row.value.is_some() && !row.counts;
        let from = if is_beaten { format!("{}, not used: another credential counts first", row.from) } else { row.from };
        table.row([row.setting.name().to_owned(), row.value.unwrap_or_default(), from]);
    }
    output.table(&table)
}

fn get(situation: &Situation, setting: Setting, output: &mut Output) -> Result<(), Failure> {
    let row = row(situation, setting, situation.credential(Caller::User));
    match row.value {
        Some(value) => output.said(&value, json!({"name": setting.name(), "value": value, "source": row.source, "from": row.from})),
        None => Err(Failure::NotSet(setting.name())),
    }
}

fn path(output: &mut Output) -> Result<(), Failure> {
    let places = Places::of_process();
    let config = places.config().ok_or_else(no_config_file)?;
    output.said(&config.display().to_string(), json!({"file": config, "state": places.state()}))
}

fn list(connection: Connection, output: &mut Output) -> Result<(), Failure> {
    let (places, current, _) = connection.without_profile()?;
    let text = match places.config() {
        Some(path) => ConfigFile::at(path.to_owned()).read()?,
        None => return output.records(&[], &Table::new(&["PROFILE"])),
    };
    let is_signed_in = |name: &str| places.session(name).is_some_and(|path| private_file::is_there(&path));
    let mut table = Table::new(&["PROFILE", "CURRENT", "AUTH-URL", "URL", "CREDENTIAL", "SIGNED-IN", "MODEL"]);
    let mut records = Vec::new();
    // The default profile is there without a word in the file, once somebody signed in.
    let silent = (text.profile(DEFAULT_PROFILE).is_none() && is_signed_in(DEFAULT_PROFILE)).then_some(DEFAULT_PROFILE);
    let names = text.profiles().iter().map(|profile| profile.name.as_str()).chain(silent);
    for name in names {
        let profile = text.profile(name);
        let said = |setting| profile.and_then(|profile| profile.get(setting));
        let credential = match (said(Setting::Key), said(Setting::Session)) {
            (Some(IN_KEYCHAIN), _) => Some("key in the keychain"),
            (Some(_), _) => Some("key"),
            (None, Some(_)) => Some("session"),
            (None, None) => None,
        };
        let url = |setting| said(setting).map(shown_url);
        records.push(json!({
            "profile": name,
            "current": name == current.name,
            "authUrl": url(Setting::AuthUrl),
            "url": url(Setting::Url),
            "credential": credential,
            "signedIn": is_signed_in(name),
            "model": said(Setting::Model),
        }));
        let yes = |is_so: bool, word: &str| if is_so { word.to_owned() } else { String::new() };
        table.row([
            name.to_owned(),
            yes(name == current.name, "*"),
            url(Setting::AuthUrl).unwrap_or_default(),
            url(Setting::Url).unwrap_or_default(),
            credential.unwrap_or_default().to_owned(),
            yes(is_signed_in(name), "yes"),
            said(Setting::Model).unwrap_or_default().to_owned(),
        ]);
    }
    output.records(&records, &table)
}
