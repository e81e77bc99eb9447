//! Which servers are called, and by what credential: flags, variables, the profile of the config file, and the session that is kept for it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::Args;
use tollgate_client::{Client, ClientBuilder};

use crate::config_file::ConfigFile;
use crate::failure::Failure;
use crate::keychain;
use crate::output::hint;
use crate::places::{self, Places};
use crate::private_file;
use crate::profile_text::{ProfileText, check_name};
use crate::second_factor_code;
use crate::session_file::SessionFile;
use crate::setting::{IN_KEYCHAIN, Setting};
use crate::settings::{Caller, Settings, Source, Values, Which};

/// The profile where none is named. It needn't be in the file.
pub(crate) const DEFAULT_PROFILE: &str = "default";
/// The variable that names the profile.
pub(crate) const PROFILE_VARIABLE: &str = "TOLLGATE_PROFILE";

#[derive(Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    // Not clap's `env`: its error messages would list what the environment gives as if it had been typed.
    /// Profile of the config file [env: TOLLGATE_PROFILE] [default: default]
    #[arg(long, global = true, value_name = "PROFILE")]
    profile: Option<String>,
    /// API key or access token [env: TOLLGATE_API_KEY, which others on this machine can't see]
    #[arg(long, global = true, value_name = "KEY")]
    key: Option<String>,
    /// File of a session: login writes it, and every command uses and refreshes it [env: TOLLGATE_SESSION]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "key")]
    session: Option<OsString>,
    /// Where auth-service listens [env: TOLLGATE_AUTH_URL]
    #[arg(long, global = true, value_name = "URL")]
    auth_url: Option<String>,
    /// Where inference-service listens [env: TOLLGATE_URL]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// The account that pays and is asked about: an organization's id, or the name of one of yours [env: TOLLGATE_ACCOUNT]
    #[arg(long, global = true, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Certificate authorities to trust, in PEM, in place of the system's [env: TOLLGATE_CA]
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<OsString>,
    /// Client certificate to show, in PEM [env: TOLLGATE_CLIENT_CERTIFICATE]
    #[arg(long, global = true, value_name = "FILE")]
    client_cert: Option<OsString>,
    /// Its private key, in PEM [env: TOLLGATE_CLIENT_KEY]
    #[arg(long, global = true, value_name = "FILE")]
    client_key: Option<OsString>,
}

// Not derived: the key must not be shown.
impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("auth_url", &self.auth_url).field("url", &self.url).finish_non_exhaustive()
    }
}

/// Which profile is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) name: String,
    /// The flag or the variable that names it; `None` for the default one.
    pub(crate) by: Option<&'static str>,
}

/// All that says how a command is run.
pub(crate) struct Situation {
    pub(crate) places: Places,
    /// The config file, if there is a place for one.
    pub(crate) config: Option<ConfigFile>,
    pub(crate) profile: Chosen,
    pub(crate) settings: Settings,
}

/// A client, and the file of its session if it has one.
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) file: Option<SessionFile>,
    pub(crate) situation: Situation,
    /// The id of the account that the command is about, where one is named.
    pub(crate) account: Option<String>,
}

impl Connected {
    /// The same, and whether a session that begins is kept.
    pub(crate) fn keeping(self, is_kept: bool) -> Self {
        Self { file: self.file.filter(|_| is_kept), ..self }
    }
}

impl Connection {
    /// What the flags, the environment and the profile say. Refused when the config file can't be used, or has no such profile.
    pub(crate) fn situation(self) -> Result<Situation, Failure> {
        let (places, profile, settings) = self.without_profile()?;
        let config = places.config().map(|path| ConfigFile::at(path.to_owned()));
        let mut situation = Situation { places, config, profile, settings };
        situation.read_profile()?;
        Ok(situation)
    }

    /// The same, but for the profile's values: the profile needn't be there.
    pub(crate) fn without_profile(self) -> Result<(Places, Chosen, Settings), Failure> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let named = self.profile.filter(|name| !name.is_empty()).map(|name| (OsString::from(name), "--profile"));
        let named = named.or_else(|| variable(PROFILE_VARIABLE).map(|name| (name, PROFILE_VARIABLE)));
        let profile = match named {
            None => Chosen { name: DEFAULT_PROFILE.to_owned(), by: None },
            Some((name, by)) => Chosen { name: name.to_string_lossy().into_owned(), by: Some(by) },
        };
        check_name(&profile.name).map_err(|rule| Failure::Usage(format!("{}: {rule}", profile.by.unwrap_or_default())))?;
        let flags = [
            (Setting::Key, self.key.map(OsString::from)),
            (Setting::Session, self.session),
            (Setting::AuthUrl, self.auth_url.map(OsString::from)),
            (Setting::Url, self.url.map(OsString::from)),
            (Setting::Account, self.account.map(OsString::from)),
            (Setting::Ca, self.ca),
            (Setting::ClientCertificate, self.client_cert),
            (Setting::ClientKey, self.client_key),
        ];
        let flags = flags.into_iter().filter_map(|(setting, value)| Some((setting, value.filter(|value| !value.is_empty())?))).collect();
        let variables = Setting::ALL.into_iter().filter_map(|setting| Some((setting, variable(setting.variable())?))).collect();
        Ok((Places::of_process(), profile, Settings { flags, variables, profile: Values::new() }))
    }

    /// A client for a command that calls so.
    pub(crate) async fn open(self, caller: Caller) -> Result<Connected, Failure> {
        self.situation()?.connect(caller).await
    }
}

impl Situation {
    fn read_profile(&mut self) -> Result<(), Failure> {
        let Some(config) = &self.config else {
            return if self.profile.name == DEFAULT_PROFILE { Ok(()) } else { Err(no_config_file()) };
        };
        let text = config.read()?;
        let Some(profile) = text.profile(&self.profile.name) else {
            return if self.profile.name == DEFAULT_PROFILE { Ok(()) } else { Err(self.no_such_profile(&text)) };
        };
        let place = |setting: Setting, value: &str| {
            if setting.is_path() { self.places.named_in_config(value).into_os_string() } else { OsString::from(value) }
        };
        self.settings.profile = profile.values().map(|(setting, value)| (setting, place(setting, value))).collect();
        Ok(())
    }

    fn no_such_profile(&self, text: &ProfileText) -> Failure {
        let (name, path) = (&self.profile.name, self.config.as_ref().map(|config| config.path().display().to_string()).unwrap_or_default());
        let there: Vec<&str> = text.profiles().iter().map(|profile| profile.name.as_str()).collect();
        let there = if there.is_empty() { "it has none".to_owned() } else { format!("it has {}", there.join(", ")) };
        Failure::Usage(format!(
            "there is no profile {name:?} in {path}; {there}; tollgate config set auth_url URL --profile {name} makes it"
        ))
    }

    /// The file of the session that `login` keeps for the profile, if there is a place for it.
    pub(crate) fn kept(&self) -> Result<Option<SessionFile>, Failure> {
        let Some(path) = self.places.session(&self.profile.name) else { return Ok(None) };
        Ok(Some(SessionFile::kept(path, self.auth_url()?)))
    }

    /// Whether `login` keeps a session for the profile.
    pub(crate) fn is_kept(&self) -> bool {
        let path = self.places.session(&self.profile.name);
        path.is_some_and(|path| private_file::is_there(&path))
    }

    /// The credential that counts for a command that calls so.
    pub(crate) fn credential(&self, caller: Caller) -> Which {
        self.settings.credential(caller, self.is_kept())
    }

    /// Where auth-service is.
    pub(crate) fn auth_url(&self) -> Result<String, Failure> {
        Ok(self.text(Setting::AuthUrl)?.unwrap_or_else(|| shared::default_address::AUTH_URL.to_owned()))
    }

    /// The value of a setting that isn't a path, such as the model to talk to where none is named.
    pub(crate) fn text(&self, setting: Setting) -> Result<Option<String>, Failure> {
        self.settings.get(setting).map(|(value, source)| in_text(value, setting, source)).transpose()
    }

    /// The session's file that counts, or where a session goes that begins.
    fn session_file(&self, which: Which) -> Result<Option<SessionFile>, Failure> {
        match which {
            Which::Session(source) => Ok(self.settings.of(source).get(&Setting::Session).map(|path| SessionFile::at(PathBuf::from(path)))),
            Which::Kept => self.kept(),
            Which::Nothing | Which::Key(_) => Ok(None),
        }
    }

    async fn key(&self, source: Source) -> Result<Option<String>, Failure> {
        let Some(key) = self.settings.of(source).get(&Setting::Key) else { return Ok(None) };
        if source == Source::Profile && key == IN_KEYCHAIN {
            return keychain::key(&self.profile.name).await.map(Some);
        }
        in_text(key, Setting::Key, source).map(Some)
    }

    /// Sets a client up.
    async fn connect(self, caller: Caller) -> Result<Connected, Failure> {
        let which = self.credential(caller);
        let mut builder = ClientBuilder::default();
        if let Which::Key(source) = which
            && let Some(key) = self.key(source).await?
        {
            builder = builder.credential(key);
        }
        if let Some(url) = self.text(Setting::AuthUrl)? {
            builder = builder.auth_url(url);
        }
        if let Some(url) = self.text(Setting::Url)? {
            builder = builder.inference_url(url);
        }
        let path = |setting| self.settings.get(setting).map(|(path, _)| PathBuf::from(path));
        if let Some(file) = path(Setting::Ca) {
            builder = builder.ca_file(file);
        }
        if let Some(file) = path(Setting::ClientCertificate) {
            builder = builder.client_certificate_file(file);
        }
        if let Some(file) = path(Setting::ClientKey) {
            builder = builder.client_key_file(file);
        }
        let allowed = std::env::var_os("TOLLGATE_ALLOW_PLAINTEXT").is_some_and(|value| value == "true");
        for url in builder.plaintext_urls().into_iter().filter(|_| !allowed) {
            hint(&format!(
                "tollgate: {url} is called without TLS: others on the way can read passwords and keys. Use https://, or say \
                 TOLLGATE_ALLOW_PLAINTEXT=true"
            ));
        }
        let client = builder.build()?;
        let file = self.session_file(which)?;
        let client = match &file {
            Some(file) if caller != Caller::Nobody => {
                let session = file.read()?.ok_or_else(|| Failure::NoSession { path: file.path().to_owned() })?;
                client.with_stored_session(session, file.clone())
            }
            _ => client,
        };
        Ok(Connected { client: client.with_step_up(second_factor_code::to_go_on), file, situation: self, account: None })
    }
}

/// Where nothing says where the config file is.
pub(crate) fn no_config_file() -> Failure {
    let home = places::HOME;
    Failure::Usage(format!("there is no place for a config file: {home} isn't set; TOLLGATE_CONFIG names one"))
}

fn in_text(value: &OsStr, setting: Setting, source: Source) -> Result<String, Failure> {
    let named = match source {
        Source::Flag => setting.flag(),
        Source::Variable => setting.variable(),
        Source::Profile => setting.name(),
    };
    value.to_str().map(str::to_owned).ok_or_else(|| Failure::Usage(format!("{named} isn't UTF-8")))
}
