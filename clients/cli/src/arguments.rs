//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::account::SignUp;
use crate::admin::Admin;
use crate::config::Config;
use crate::connection::Connection;
use crate::devices::Devices;
use crate::duration::{parse_duration, parse_duration_or_zero};
use crate::identities::Identities;
use crate::keys::Keys;
use crate::login::Login;
use crate::organizations::Organizations;
use crate::second_factor::Totp;
use crate::second_factor_code::Given;
use crate::service_accounts::ServiceAccounts;
use crate::sessions::{Password, Sessions};
use crate::settings::Caller;

/// What stands below the list of commands.
const AFTER_HELP: &str = "\
A first session:
  tollgate signup alice
  tollgate login alice
  tollgate keys create --name laptop --save
  tollgate chat llama3.2 'Why is the sky blue?'
  tollgate chat llama3.2                                  # a conversation
  tollgate balance

Without a password: tollgate login --with google, or tollgate login --device where there is no browser.

Passwords, keys and invitations are asked for, or read from the first line of standard input; they are never arguments.

Each value comes from its flag, else from the environment, else from the profile in ~/.config/tollgate/config.yaml; \
tollgate config shows from where. login keeps its session for the profile, and it counts where nothing else gives a credential.

Environment:
  TOLLGATE_PROFILE   profile of the config file       [default: default]
  TOLLGATE_CONFIG    another config file
  TOLLGATE_API_KEY   API key or access token
  TOLLGATE_SESSION   file of a session, which login writes and every command keeps
  TOLLGATE_AUTH_URL  where auth-service listens       [default: http://127.0.0.1:50051]
  TOLLGATE_URL       where inference-service listens  [default: http://127.0.0.1:50052]
  TOLLGATE_ACCOUNT   the account that pays: an organization's id or name
  BROWSER            what login --with opens the issuer's page with
  TOLLGATE_MODEL     the model to chat with where none is named
  TOLLGATE_CA, TOLLGATE_CLIENT_CERTIFICATE, TOLLGATE_CLIENT_KEY
                     files for URLs that begin with https://, as --ca, --client-cert and --client-key
  NO_COLOR           no colours in help and errors

Exit codes:
  0    done
  1    failed for another reason
  3    not enough credits
  64   wrong arguments, or a value that the server refused
  69   a server can't be reached, or is not available
  75   try again later: rate limited, busy, in progress, or out of time
  77   the credential was refused, or may not do this
  130  cancelled with Ctrl-C; 129, 131 and 143: a signal ended a conversation";

/// Talk to models through Tollgate, and look after your account, keys and credits.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, arg_required_else_help = true, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Print JSON: one document, or one a line where records follow one another
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an account for yourself, where the server lets you
    Signup(SignUp),
    /// Sign in: keep the session for the profile, or in --session FILE, and use it from then on
    Login(Login),
    /// Sign out: end the session, and remove its file
    Logout {
        /// End all sessions of the user, on every host; API keys stay in force
        #[arg(long)]
        everywhere: bool,
    },
    /// List the places where you are signed in, and sign out there
    #[command(subcommand)]
    Sessions(Sessions),
    /// Change the password, or choose one after an operator's reset
    #[command(subcommand)]
    Password(Password),
    /// Show who the credential belongs to; your second factor, and how else you sign in
    #[command(args_conflicts_with_subcommands = true)]
    Me {
        #[command(subcommand)]
        command: Option<Me>,
    },
    /// Let a device without a browser sign in as you, or refuse it
    #[command(subcommand)]
    Devices(Devices),
    /// Share an account: organizations, their members, caps and invitations
    #[command(subcommand, name = "orgs")]
    Organizations(Organizations),
    /// Make, list and remove programs that belong to an organization
    #[command(subcommand)]
    ServiceAccounts(ServiceAccounts),
    /// Make, list, rotate and revoke API keys
    #[command(subcommand)]
    Keys(Keys),
    /// Show the account's credits
    Balance,
    /// Show what credits were granted and charged, newest first
    History {
        /// The most entries to show; 0: all
        #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
        limit: usize,
        #[command(flatten)]
        of: OfMember,
    },
    /// Show what was used, by day and model
    Usage {
        /// The first day, in UTC, such as 2026-11-29; the 29th before the last unless given
        #[arg(long, default_value = "", hide_default_value = true, value_name = "DAY")]
        from: String,
        /// The last day; today unless given. At most 92 days in all
        #[arg(long, default_value = "", hide_default_value = true, value_name = "DAY")]
        to: String,
        #[command(flatten)]
        of: OfMember,
    },
    /// Show what became of a request
    Receipt {
        /// As given with --request-id, or as the chat's last line showed it
        request_id: String,
    },
    /// Ask a model; the answer appears as it is generated, the receipt on standard error
    ///
    /// Without a PROMPT, on a terminal, it is a conversation: /? says what can be done there, and /bye or Ctrl-D ends it. Standard input
    /// that is no terminal is the prompt, or goes behind it.
    Chat(Chat),
    /// Let a model go on from a text, without a conversation
    Generate(Generate),
    /// List, show, make and remove models
    #[command(subcommand)]
    Models(Models),
    /// Manage users and credits, as an operator
    #[command(subcommand)]
    Admin(Admin),
    /// Show which values count and where they come from, and change the profiles of the config file
    #[command(args_conflicts_with_subcommands = true)]
    Config {
        #[command(subcommand)]
        command: Option<Config>,
    },
    /// Make certificates for the services
    #[command(subcommand)]
    Tls(Tls),
    /// Print what a shell completes this command by
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print this command's page of the manual, or write the pages of all commands into a folder
    Man {
        /// Where to
        folder: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Me {
    /// The second factor: an authenticator app, and recovery codes
    #[command(subcommand)]
    Totp(Totp),
    /// Identities at issuers such as google that sign you in
    #[command(subcommand)]
    Identities(Identities),
    /// Prove your second factor anew: what asks for it is allowed for 15 minutes
    StepUp(Given),
}

/// Whose part of an organization's account.
#[derive(Debug, Args)]
pub(crate) struct OfMember {
    /// Only what this member or service account did, by name or id, in the organization that --account names
    #[arg(long, value_name = "NAME")]
    pub(crate) member: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tls {
    /// Make a certificate authority and certificates for both services, or renew them
    ///
    /// FOLDER gets ca/ca.pem and ca/ca.key, and for each service a folder with certificate.pem, key.pem and ca.pem. What is public is in
    /// public/ca.pem as well. Run again, it keeps the authority while that lasts, and makes the services' certificates and keys anew;
    /// services read them without a restart.
    MakeCertificates {
        /// Where to
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
        /// A name or IP address by which a service is reached, such as auth-service=auth.example, beside its own name, localhost and this
        /// host's loopback; without a service it is of both; may be repeated
        #[arg(long = "name", value_name = "[SERVICE=]NAME")]
        names: Vec<String>,
        /// How long the services' certificates count, such as 30d
        #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "90d")]
        valid_for: Duration,
    },
}

impl Command {
    /// Who it calls as.
    pub(crate) fn caller(&self) -> Caller {
        match self {
            Self::Signup(_) | Self::Login(_) | Self::Password(Password::CompleteReset { .. }) => Caller::Nobody,
            Self::Keys(keys) if keys.needs_no_credential() => Caller::Nobody,
            Self::Keys(keys) if keys.needs_a_person() => Caller::Person,
            Self::Logout { .. }
            | Self::Sessions(_)
            | Self::Password(Password::Change)
            | Self::Me { command: Some(_) }
            | Self::Devices(_)
            | Self::Organizations(_)
            | Self::ServiceAccounts(_)
            | Self::Admin(_) => Caller::Person,
            _ => Caller::User,
        }
    }

    /// Whether it is about the account that `--account` names, and not about the user alone.
    pub(crate) fn is_of_account(&self) -> bool {
        match self {
            Self::Keys(keys) => !keys.needs_no_credential(),
            Self::Me { command } => command.is_none(),
            Self::Balance | Self::History { .. } | Self::Usage { .. } | Self::Receipt { .. } => true,
            Self::Chat(_) | Self::Generate(_) | Self::Models(_) => true,
            _ => false,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// The model's name, from `models list` [env: TOLLGATE_MODEL] [default: the only one there is]
    pub(crate) model: Option<String>,
    /// What to ask; - is standard input alone
    pub(crate) prompt: Vec<String>,
    #[command(flatten)]
    pub(crate) generation: Generation,
    /// How long the model stays loaded afterwards, such as 30m; 0: not at all [default: the model server's]
    #[arg(long, alias = "keepalive", value_name = "DURATION", value_parser = parse_duration_or_zero)]
    pub(crate) keep_alive: Option<Duration>,
    /// Don't show what the model thinks
    #[arg(long, alias = "hidethinking")]
    pub(crate) hide_thinking: bool,
    /// Show what the model server measured
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Don't break lines between words, in a conversation
    #[arg(long, alias = "nowordwrap")]
    pub(crate) no_word_wrap: bool,
    /// Don't keep on disk what is asked, in a conversation
    #[arg(long)]
    pub(crate) no_history: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// The model's name, from `models list`
    pub(crate) model: String,
    /// The text to go on from; - reads it from standard input
    pub(crate) prompt: String,
    /// What comes after the gap, for models that can fill in
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) suffix: String,
    /// Send the prompt as it is, without the model's template
    #[arg(long, conflicts_with = "system")]
    pub(crate) raw: bool,
    #[command(flatten)]
    pub(crate) generation: Generation,
}

#[derive(Debug, Args)]
pub(crate) struct Generation {
    /// What the model is told beforehand
    #[arg(long, value_name = "TEXT")]
    pub(crate) system: Option<String>,
    /// A picture to look at (PNG, JPEG or WebP); may be repeated
    #[arg(long = "image", value_name = "FILE")]
    pub(crate) images: Vec<PathBuf>,
    /// The most tokens to generate
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
    /// Refuse when the credits can't pay for all of --max-tokens, instead of generating fewer
    #[arg(long)]
    pub(crate) require_full: bool,
    /// How freely to choose; 0 always takes the likeliest token
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    pub(crate) temperature: Option<f32>,
    /// The same seed and prompt give the same answer on the same machine
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) seed: Option<i64>,
    /// How much to think first, for models that can; the thoughts go to standard error
    #[arg(long, value_name = "LEVEL", value_parser = ["off", "on", "low", "medium", "high", "max"])]
    pub(crate) think: Option<String>,
    /// Answer in JSON
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
    /// Answer in JSON that fits a schema: its text, or @FILE
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) format: Option<String>,
    /// Names the request: repeating it under the same id is charged once
    #[arg(long, value_name = "ID")]
    pub(crate) request_id: Option<String>,
    /// Give up after this long, such as 30s or 5m; what was generated is charged [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Models {
    /// List the models there are
    List,
    /// Show what a model is and can do
    Show {
        /// The model's name
        name: String,
    },
    /// Make a model from a Modelfile; operators only
    Create {
        /// The new model's name
        name: String,
        /// The Modelfile; - reads it from standard input
        #[arg(short = 'f', long = "file", value_name = "MODELFILE")]
        file: PathBuf,
    },
    /// Remove a model; operators only
    Rm {
        /// The model's name
        name: String,
    },
}

#[cfg(test)]
mod tests;
