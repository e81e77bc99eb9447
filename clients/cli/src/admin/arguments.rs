//! The command line of what operators do.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};
use shared::ledger::{MAX_CREDITS, MAX_PAGE_ENTRIES};
use tollgate_client::proto::auth::UserState;

use crate::account::SignUp;

#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Make a user
    CreateUser {
        #[command(flatten)]
        user: SignUp,
        /// Make an operator
        #[arg(long)]
        admin: bool,
        /// Credits to start with [default: the server's]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..=MAX_CREDITS))]
        credits: Option<i64>,
    },
    /// List users by name
    Users(Users),
    /// List all organizations, whoever is a member
    Orgs {
        /// Only those whose names begin with this
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        prefix: String,
    },
    /// Give a user credits, or with --account an organization
    #[command(allow_missing_positional = true)]
    Grant {
        /// User name; none with --account
        name: Option<String>,
        /// How many
        #[arg(value_parser = clap::value_parser!(i64).range(1..=MAX_CREDITS))]
        credits: i64,
        /// Names the grant: repeating it under the same id adds nothing [default: a new one]
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
        /// Why, for the ledger
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        note: String,
    },
    /// Refuse all of a user's credentials, from the next call on, and end what runs
    Disable(Restriction),
    /// Let a disabled user log in and use API keys again
    Enable {
        /// User name
        name: String,
    },
    /// Keep a user from logging in, and end their sessions; their API keys stay in force
    Lock(Restriction),
    /// Let a locked user log in again
    Unlock {
        /// User name
        name: String,
    },
    /// Turn a user's second factor off: they have lost it; ends their sessions
    ResetSecondFactor {
        /// User name
        name: String,
    },
    /// Print a one-time password, this once, with which the user chooses another; ends their sessions
    ResetPassword {
        /// User name
        name: String,
    },
    /// List the identities at issuers that sign a user in: of one who was in other hands, they may be somebody else's
    Identities {
        /// User name
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// Let an identity sign a user in no longer; sessions that it began end
    UnlinkIdentity {
        /// User name
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// The issuer: its name or identifier
        issuer: String,
        /// Who it is at the issuer, from `admin identities`; only where there are several
        subject: Option<String>,
    },
    /// Show what operators and users changed or tried to, the newest first
    Audit(Audit),
}

#[derive(Debug, Args)]
pub(crate) struct Users {
    /// Only those whose names begin with this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) prefix: String,
    /// Only those in this state
    #[arg(long, value_name = "STATE", value_enum)]
    pub(crate) state: Option<State>,
}

/// What a user's state lets them do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// Neither disabled nor locked
    Enabled,
    /// Disabled
    Disabled,
    /// Locked, and not disabled
    Locked,
}

impl From<State> for UserState {
    fn from(state: State) -> Self {
        match state {
            State::Enabled => Self::Enabled,
            State::Disabled => Self::Disabled,
            State::Locked => Self::Locked,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Restriction {
    /// User name
    pub(crate) name: String,
    /// Why, for other operators
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Only what this user did, or what was done to them
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(crate) user: String,
    /// Only this, such as disable_user
    #[arg(long, value_name = "ACTION", default_value = "", hide_default_value = true)]
    pub(crate) action: String,
    /// The most events to show; 0: all
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: usize,
    /// Show the last ones, oldest first, and go on with what comes, until Ctrl-C
    #[arg(short = 'f', long)]
    pub(crate) follow: bool,
}

impl Audit {
    /// Events to begin with when following.
    pub(crate) fn last(&self) -> u32 {
        u32::try_from(self.limit).ok().filter(|limit| *limit > 0).unwrap_or(MAX_PAGE_ENTRIES)
    }
}
