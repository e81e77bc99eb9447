//! The variables that auth-service reads, as docs/variables.md shows them.

use shared::env::Variable;
use shared::serving::{CONNECTION_VARIABLES, CORS_VARIABLE};
use shared::tls::TLS_VARIABLES;

use crate::account_page::{INFERENCE_URL_VARIABLE, PAGE_VARIABLE};
use crate::public_url::PUBLIC_URL_VARIABLE;

/// All variables that auth-service reads.
pub const VARIABLES: &[Variable] = &[
    variable("TOLLGATE_AUTH_LISTEN", "127.0.0.1:50051", "The address and port to listen on.", "localhost"),
    variable("TOLLGATE_DATA_DIR", "./data", "The folder of the embedded store and of secrets made on the first start.", "/dev/null/data"),
    variable(
        "TOLLGATE_REDIS_URL",
        "unset: SQLite in the data folder",
        "`redis://[user:password@]host[:port][/db]`, of a Redis 7 or newer, or a Valkey.",
        "http://redis",
    ),
    variable(
        "TOLLGATE_REDIS_PASSWORD",
        "unset: that of the URL, or none",
        "Redis's password, as it is: any characters, none of them escaped.",
        "without a Redis",
    ),
    variable("TOLLGATE_REDIS_KEY_PREFIX", "tg", "What every Redis key starts with: 1 to 32 letters, digits, `-`, `_`.", "{tg}"),
    variable(
        "TOLLGATE_ALLOW_UNSAFE_REDIS",
        "unset: none",
        "Comma list of what a Redis may lack: `eviction` (another policy than noeviction), `no-aof` (no append-only file).",
        "everything",
    ),
    variable(
        "TOLLGATE_JWT_SECRETS",
        "made once in the data folder; required with Redis",
        "`kid:secret`, comma separated: each secret at least 64 hexadecimal digits (`openssl rand -hex 32`). The first signs, all verify.",
        "2026:secret",
    ),
    variable(
        "TOLLGATE_SERVICE_CREDENTIALS",
        "made once in the data folder; required with Redis",
        "One or two secrets of at least 64 hexadecimal digits, comma separated: any of them opens the Auth service.",
        "secret",
    ),
    variable(
        "TOLLGATE_SERVICE_CREDENTIAL",
        "unset",
        "The one of `TOLLGATE_SERVICE_CREDENTIALS`, where that is unset: both services can be given the same variable.",
        "secret",
    ),
    variable("TOLLGATE_JWT_SECRETS_FILE", "unset", "The file that holds `TOLLGATE_JWT_SECRETS`.", "/dev/null/secret"),
    variable("TOLLGATE_SERVICE_CREDENTIALS_FILE", "unset", "The file that holds `TOLLGATE_SERVICE_CREDENTIALS`.", "/dev/null/secret"),
    variable("TOLLGATE_SERVICE_CREDENTIAL_FILE", "unset", "The file that holds `TOLLGATE_SERVICE_CREDENTIAL`.", "/dev/null/secret"),
    variable("TOLLGATE_REDIS_PASSWORD_FILE", "unset", "The file that holds `TOLLGATE_REDIS_PASSWORD`.", "/dev/null/secret"),
    variable(
        "TOLLGATE_SIGNUP",
        "callers on this host while it listens on loopback, else closed",
        "`open` or `closed`: whether anybody may sign up.",
        "maybe",
    ),
    variable("TOLLGATE_SIGNUPS_PER_HOUR", "60", "Sign-ups from one address, at once and in an hour.", "0"),
    variable("TOLLGATE_STARTING_CREDITS", "10", "Credits of a new user.", "-1"),
    variable(
        "TOLLGATE_PRICES",
        "one credit a call",
        "`pattern=per_call[/per_1k_input_tokens[/per_1k_output_tokens]]` in whole credits, comma separated; the first match counts. \
         docs/models.md has what a pattern matches.",
        "llama3=cheap",
    ),
    variable("TOLLGATE_ACCESS_TOKEN_TTL", "30m", "How long an access token is good.", "30"),
    variable(
        "TOLLGATE_TOKEN_ALGORITHM",
        "HS256",
        "What signs access tokens: `HS256`, a secret itself, or `EdDSA`, keys derived from it that change by themselves, so that others \
         can verify tokens by `/.well-known/jwks.json`. Tokens of both are taken.",
        "RS256",
    ),
    variable(
        "TOLLGATE_TOKEN_KEY_PERIOD",
        "30d",
        "How long a key of `EdDSA` signs. It is published for one period before that and for one after. Whole seconds, 10s to 366d, and \
         no less than `TOLLGATE_ACCESS_TOKEN_TTL` and twice `TOLLGATE_CLOCK_LEEWAY` together. When it is changed, the access \
         tokens of `EdDSA` in force end.",
        "5s",
    ),
    variable(
        "TOLLGATE_ISSUER",
        "unset: `tollgate` in tokens",
        "The URL by which clients of OAuth2 know auth-service; it is the `iss` of access tokens. Those issued before are still taken.",
        "tollgate",
    ),
    variable(
        "TOLLGATE_TOKEN_ISSUERS_FILE",
        "unset: none",
        "A JSON file of other issuers whose tokens are taken; docs/http.md has its form.",
        "/dev/null/issuers.json",
    ),
    variable("TOLLGATE_SESSION_IDLE", "14d", "How long a session lives without a refresh; at least `TOLLGATE_ACCESS_TOKEN_TTL`.", "1s"),
    variable(
        "TOLLGATE_SESSION_LIFETIME",
        "90d",
        "How long a session lives, however often it is refreshed; at least `TOLLGATE_ACCESS_TOKEN_TTL`.",
        "forever",
    ),
    variable(
        "TOLLGATE_AUDIT_EVENTS",
        "100000",
        "Changes by users that the audit log keeps, at least; 1,000 to 10,000,000. Above, the oldest go. Of attempts that failed it keeps \
         20,000.",
        "10",
    ),
    variable(
        "TOLLGATE_AUDIT_OPERATOR_EVENTS",
        "100000",
        "Operators' actions that it keeps, at least, in a log of their own; 1,000 to 10,000,000.",
        "10",
    ),
    variable("TOLLGATE_HOLD_TTL", "60s", "How long a hold lives after Check and after each Extend; 1s to 1h.", "2h"),
    variable("TOLLGATE_FORGET_AFTER", "1h", "How long a resolved request is remembered.", "soon"),
    variable("TOLLGATE_MAX_OPEN_HOLDS", "64", "Calls in progress of one account, at most: each has an open hold; 1 to 1,000,000.", "0"),
    variable(
        "TOLLGATE_MAX_REMEMBERED_REQUESTS",
        "200000",
        "Charged requests that an account has remembered; above, the oldest is forgotten before its time. Of those that cost nothing, 500.",
        "many",
    ),
    variable("TOLLGATE_REFUND_BURST", "100", "Calls of one account that may come to nothing at once; 1 to 1,000,000.", "0"),
    variable("TOLLGATE_REFUNDS_PER_SECOND", "10", "How many more may in each second after that; 1 to 1,000.", "0"),
    variable("TOLLGATE_SWEEP_INTERVAL", "5s", "Time between two walks over all accounts for holds that are due.", "0s"),
    variable("TOLLGATE_DRAIN_DEADLINE", "30s", "How long running calls may go on after SIGTERM.", "forever"),
    variable(
        "TOLLGATE_REFLECTION",
        "true; false where `TOLLGATE_PUBLISHED_ADDRESS` is not loopback",
        "Whether server reflection is there.",
        "perhaps",
    ),
    variable(
        "TOLLGATE_ALLOW_PLAINTEXT",
        "false",
        "Whether to listen on another address than loopback without TLS, where a proxy in front speaks it.",
        "perhaps",
    ),
    TLS_VARIABLES[0],
    TLS_VARIABLES[1],
    TLS_VARIABLES[2],
    variable(
        "TOLLGATE_AUTH_CLIENT_NAMES",
        "unset: none",
        "Names of client certificates that may call the Auth service without a service credential: whole DNS names and URIs, comma \
         separated.",
        "*.example.com",
    ),
    variable("TOLLGATE_ARGON2_MEMORY_KIB", "19456", "Memory of one password hash in KiB; at least 19456.", "1024"),
    variable("TOLLGATE_ARGON2_PASSES", "2", "Passes of one password hash; at least 2.", "1"),
    variable("TOLLGATE_LOG", "info", "What is logged: a level, or a list of target=level.", "auth_service=loud"),
    variable("TOLLGATE_LOG_FORMAT", "auto", "`auto` (human on a terminal, else JSON), `human` or `json`.", "xml"),
    CONNECTION_VARIABLES[0],
    CONNECTION_VARIABLES[1],
    CONNECTION_VARIABLES[2],
    CONNECTION_VARIABLES[3],
    CONNECTION_VARIABLES[4],
    CORS_VARIABLE,
    variable(
        "TOLLGATE_CLOCK_LEEWAY",
        "5s",
        "How far the clocks of auth-services may differ that take each other's access tokens; at most 60s.",
        "2m",
    ),
    variable(
        "TOLLGATE_PUBLISHED_ADDRESS",
        "unset: none but `TOLLGATE_AUTH_LISTEN`",
        "The IP address on which a container's port is published. Only the default of `TOLLGATE_REFLECTION` follows from it.",
        "localhost",
    ),
    variable(
        "TOLLGATE_LEDGER_RETENTION",
        "unset: all entries are kept",
        "How old a ledger entry becomes before `auth-service export-ledger` folds it; at least `TOLLGATE_FORGET_AFTER`.",
        "1y",
    ),
    variable(
        "TOLLGATE_REQUIRE_ADMIN_TOTP",
        "false",
        "Whether operators' changes need a session that has proved its second factor (TOTP) within 15 minutes. API keys and foreign \
         issuers' tokens change nothing then.",
        "perhaps",
    ),
    variable(
        "TOLLGATE_KEY_LIFETIME",
        "unset: `TOLLGATE_KEY_MAX_LIFETIME`, or for ever",
        "How long a new API key lasts of which nothing is said; at most `TOLLGATE_KEY_MAX_LIFETIME`.",
        "0s",
    ),
    variable(
        "TOLLGATE_KEY_MAX_LIFETIME",
        "unset: no limit",
        "The longest that a new API key may last. Keys that were made before keep their time.",
        "forever",
    ),
    variable(
        "TOLLGATE_OIDC_ISSUERS",
        "unset: none",
        "The issuers that people can sign in with (Google, and any OpenID provider): a JSON file's path, or the JSON itself, a list of \
         `name`, `issuer`, `client_id`, and where there are some `client_secret` or `client_secret_file`, and `scopes`. At each of them, \
         `<TOLLGATE_AUTH_PUBLIC_URL>/account/sign-in/callback/<name>` must be registered as a redirect URI.",
        "/dev/null/issuers.json",
    ),
    variable(
        PUBLIC_URL_VARIABLE,
        "unset: the host that the browser asked",
        "Where people reach auth-service, without a slash at the end. Issuers send people back there.",
        "tollgate.example.com",
    ),
    variable(PAGE_VARIABLE, "true", "Whether the account page is at `/`.", "perhaps"),
    variable(
        INFERENCE_URL_VARIABLE,
        "unset: the host that the browser asked, at port 50052",
        "Where people reach inference-service: the account page's 'try a call' goes there. It must list the page's origin in its own \
         `TOLLGATE_CORS_ORIGINS`.",
        "localhost",
    ),
];

const fn variable(name: &'static str, default: &'static str, meaning: &'static str, bad: &'static str) -> Variable {
    Variable { name, default, meaning, bad }
}
