//! The names of variables that Tollgate's programs read: a name that none of them reads is a mistake.

use super::{Reader, Variable};

/// What every variable's name begins with.
const PREFIX: &str = "TOLLGATE_";

/// Names that may stand in a service's environment, whichever program reads them: both services, and what is started beside them, often
/// have one environment. A test holds this list against each program's own.
pub const NAMES: &[&str] = &[
    // auth-service and inference-service.
    "TOLLGATE_ACCESS_TOKEN_TTL",
    "TOLLGATE_ACCOUNT_PAGE",
    "TOLLGATE_ALLOW_CLOUD_MODELS",
    "TOLLGATE_ALLOW_PLAINTEXT",
    "TOLLGATE_ALLOW_UNSAFE_REDIS",
    "TOLLGATE_ARGON2_MEMORY_KIB",
    "TOLLGATE_ARGON2_PASSES",
    "TOLLGATE_AUDIT_EVENTS",
    "TOLLGATE_AUDIT_OPERATOR_EVENTS",
    "TOLLGATE_AUTH_CA",
    "TOLLGATE_AUTH_CLIENT_CERTIFICATE",
    "TOLLGATE_AUTH_CLIENT_KEY",
    "TOLLGATE_AUTH_CLIENT_NAMES",
    "TOLLGATE_AUTH_LISTEN",
    "TOLLGATE_AUTH_PUBLIC_URL",
    "TOLLGATE_AUTH_SERVER_NAME",
    "TOLLGATE_AUTH_URL",
    "TOLLGATE_CHECK_TIMEOUT",
    "TOLLGATE_CLOCK_LEEWAY",
    "TOLLGATE_CONNECTION_AGE",
    "TOLLGATE_CONNECTION_IDLE",
    "TOLLGATE_CORS_ORIGINS",
    "TOLLGATE_DATA_DIR",
    "TOLLGATE_DRAIN_DEADLINE",
    "TOLLGATE_EMBEDDED_QUEUE",
    "TOLLGATE_ENGINE",
    "TOLLGATE_FIRST_BYTE_TIMEOUT",
    "TOLLGATE_FORGET_AFTER",
    "TOLLGATE_HOLD_TTL",
    "TOLLGATE_KEY_LIFETIME",
    "TOLLGATE_KEY_MAX_LIFETIME",
    "TOLLGATE_IDLE_TIMEOUT",
    "TOLLGATE_INFERENCE_URL",
    "TOLLGATE_ISSUER",
    "TOLLGATE_JWT_SECRETS",
    "TOLLGATE_JWT_SECRETS_FILE",
    "TOLLGATE_KEY_IN_PATH",
    "TOLLGATE_LEDGER_RETENTION",
    "TOLLGATE_LISTEN",
    "TOLLGATE_LOG",
    "TOLLGATE_LOG_FORMAT",
    "TOLLGATE_MAX_CONNECTIONS",
    "TOLLGATE_MAX_CONNECTIONS_PER_ADDRESS",
    "TOLLGATE_MAX_CONTEXT_TOKENS",
    "TOLLGATE_MAX_KEEP_ALIVE",
    "TOLLGATE_MAX_OPEN_HOLDS",
    "TOLLGATE_MAX_OUTPUT_TOKENS",
    "TOLLGATE_MAX_REMEMBERED_REQUESTS",
    "TOLLGATE_MAX_STREAM_LIFE",
    "TOLLGATE_MODELS_DIR",
    "TOLLGATE_OLLAMA_API_KEY",
    "TOLLGATE_OLLAMA_API_KEY_FILE",
    "TOLLGATE_OLLAMA_HOST",
    "TOLLGATE_OLLAMA_HOST_FILE",
    "TOLLGATE_OIDC_CLIENT_SECRET_FILE",
    "TOLLGATE_OIDC_ISSUERS",
    "TOLLGATE_OIDC_ISSUERS_FILE",
    "TOLLGATE_PRICES",
    "TOLLGATE_PUBLISHED_ADDRESS",
    "TOLLGATE_REDIS_KEY_PREFIX",
    "TOLLGATE_REDIS_PASSWORD",
    "TOLLGATE_REDIS_PASSWORD_FILE",
    "TOLLGATE_REDIS_URL",
    "TOLLGATE_REFLECTION",
    "TOLLGATE_REFUNDS_PER_SECOND",
    "TOLLGATE_REFUND_BURST",
    "TOLLGATE_REQUIRE_ADMIN_TOTP",
    "TOLLGATE_SERVICE_CREDENTIAL",
    "TOLLGATE_SERVICE_CREDENTIALS",
    "TOLLGATE_SERVICE_CREDENTIALS_FILE",
    "TOLLGATE_SERVICE_CREDENTIAL_FILE",
    "TOLLGATE_SESSION_IDLE",
    "TOLLGATE_SESSION_LIFETIME",
    "TOLLGATE_SETTLE_RETRY",
    "TOLLGATE_SETTLE_WAIT",
    "TOLLGATE_SIGNUP",
    "TOLLGATE_SIGNUPS_PER_HOUR",
    "TOLLGATE_SLOW_READER_TIMEOUT",
    "TOLLGATE_STARTING_CREDITS",
    "TOLLGATE_SWEEP_INTERVAL",
    "TOLLGATE_TLS_CERTIFICATE",
    "TOLLGATE_TLS_CLIENT_CA",
    "TOLLGATE_TLS_KEY",
    "TOLLGATE_TOKEN_ALGORITHM",
    "TOLLGATE_TOKEN_ISSUERS_FILE",
    "TOLLGATE_TOKEN_KEY_PERIOD",
    "TOLLGATE_TRUSTED_PROXIES",
    // The clients.
    "TOLLGATE_ACCOUNT",
    "TOLLGATE_API_KEY",
    "TOLLGATE_CA",
    "TOLLGATE_CLIENT_CERTIFICATE",
    "TOLLGATE_CLIENT_KEY",
    "TOLLGATE_CONFIG",
    "TOLLGATE_MODEL",
    "TOLLGATE_PROFILE",
    "TOLLGATE_SESSION",
    "TOLLGATE_URL",
    // The compose file, from .env.
    "TOLLGATE_AUTH_MEMORY",
    "TOLLGATE_AUTH_PORT",
    "TOLLGATE_AUTH_REPLICAS",
    "TOLLGATE_BIND",
    "TOLLGATE_INFERENCE_MEMORY",
    "TOLLGATE_INFERENCE_REPLICAS",
    "TOLLGATE_LOG_FILES",
    "TOLLGATE_LOG_SIZE",
    "TOLLGATE_OLLAMA_MEMORY",
    "TOLLGATE_PORT",
    "TOLLGATE_REDIS_MAXMEMORY",
    "TOLLGATE_REDIS_MEMORY",
    "TOLLGATE_STOP_GRACE",
    "TOLLGATE_TLS_NAME",
    "TOLLGATE_VERSION",
    // The tests.
    "TOLLGATE_GRPCURL",
    "TOLLGATE_TEST_MODELS_DIR",
];

impl Reader<'_> {
    /// Records every variable that is set and has Tollgate's prefix, and that no program of Tollgate's reads: a mistyped name, which would
    /// else leave a default in force without a word. `own` are those that the service itself reads.
    pub fn refuse_unknown(&mut self, own: &[Variable]) {
        let is_known = |name: &str| NAMES.contains(&name) || own.iter().any(|variable| variable.name == name);
        let mut names = self.strings.names();
        // In an order of their own, so that the same mistakes are always told in the same one.
        names.sort_unstable();
        for name in names.iter().filter(|name| is_ours(name) && !is_known(name)) {
            let Some(value) = self.string(name) else { continue };
            if is_service_link(name, &value) {
                continue;
            }
            let nearest = nearest(name, own.iter().map(|variable| variable.name).chain(NAMES.iter().copied()));
            // A name may be anything that an environment takes.
            let name = name.escape_debug().to_string();
            match nearest {
                Some(nearest) => self.mistake(&name, format_args!("is no variable of Tollgate's: is {nearest} meant?")),
                None => self.mistake(&name, "is no variable of Tollgate's: docs/variables.md lists them"),
            }
        }
    }
}

/// Whether a name is meant for Tollgate, however it is spelled: a variable's name has one case on most systems, and another is a mistake.
fn is_ours(name: &str) -> bool {
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// The name that is most like another, if any is at all.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // The prefix would make all of them alike.
    let (_, own) = name.split_at(PREFIX.len());
    let own = own.to_ascii_uppercase();
    let distance = |known: &str| strsim::damerau_levenshtein(&own, known.strip_prefix(PREFIX).unwrap_or(known));
    let nearest = known.map(|known| (distance(known), known)).min_by_key(|(distance, _)| *distance)?;
    (nearest.0 <= own.len().max(6) / 2).then_some(nearest.1)
}

/// Whether Kubernetes or Docker set it, for a service or a container whose name begins like ours: an address, which nobody chose.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_port_of = |part: &str| {
        let mut words = part.split('_');
        let port = words.next().is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
        port && words.next().is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || name.split("_PORT_").skip(1).any(is_port_of)
        || (name.ends_with("_PORT") && ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::Mistakes;
    use super::*;

    const OWN: &[Variable] = &[Variable { name: "TOLLGATE_BRAND_NEW", default: "", meaning: "", bad: "" }];

    fn mistakes(set: &[(&str, &str)]) -> Vec<String> {
        let strings: BTreeMap<String, String> = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut reader = Reader::new(&strings);
        reader.refuse_unknown(OWN);
        reader.finish(()).err().map(|Mistakes(mistakes)| mistakes).unwrap_or_default()
    }

    #[test]
    fn a_mistyped_name_is_reported_with_the_nearest_one() {
        for (typed, nearest) in [
            ("TOLLGATE_SIGNUPS", "TOLLGATE_SIGNUP"),
            ("TOLLGATE_SIGN_UP", "TOLLGATE_SIGNUP"),
            ("TOLLGATE_PRICE", "TOLLGATE_PRICES"),
            ("TOLLGATE_STARTING_CREDIT", "TOLLGATE_STARTING_CREDITS"),
            ("TOLLGATE_JWT_SECRET", "TOLLGATE_JWT_SECRETS"),
            ("TOLLGATE_BRAND_NWE", "TOLLGATE_BRAND_NEW"),
            ("tollgate_listen", "TOLLGATE_LISTEN"),
            ("Tollgate_Redis_Url", "TOLLGATE_REDIS_URL"),
        ] {
            let said = mistakes(&[(typed, "x")]);
            assert_eq!(said, [format!("{typed} is no variable of Tollgate's: is {nearest} meant?")]);
        }
        assert_eq!(
            mistakes(&[("TOLLGATE_XYZZY_FROBNICATE_QUUX", "x")]),
            ["TOLLGATE_XYZZY_FROBNICATE_QUUX is no variable of Tollgate's: docs/variables.md lists them"]
        );
        assert_eq!(mistakes(&[("TOLLGATE_", "x")]).len(), 1);
        assert_eq!(mistakes(&[("TOLLGATE_A\nB", "x")])[0].lines().count(), 1);
        assert_eq!(mistakes(&[("TOLLGATE_ONE_MISTAKE", "x"), ("TOLLGATE_ANOTHER_ONE", "y")]).len(), 2, "all at once");
    }

    #[test]
    fn a_value_is_not_repeated() {
        assert!(!mistakes(&[("TOLLGATE_JWT_SECRET", "hunter2")])[0].contains("hunter2"));
    }

    #[test]
    fn names_of_other_programs_are_no_mistakes_and_neither_is_what_is_not_set() {
        let all: Vec<_> =
            NAMES.iter().map(|name| (*name, "x")).chain([("TOLLGATE_BRAND_NEW", "x"), ("PATH", "/bin"), ("TOLLGATEX", "x")]).collect();
        assert_eq!(mistakes(&all), [""; 0]);
        assert_eq!(mistakes(&[("TOLLGATE_SIGNUPS", "")]), [""; 0], "set to nothing counts as unset");
    }

    #[test]
    fn addresses_that_kubernetes_sets_are_no_mistakes() {
        let set = [
            ("TOLLGATE_AUTH_SERVICE_HOST", "10.0.0.1"),
            ("TOLLGATE_AUTH_SERVICE_PORT", "50051"),
            ("TOLLGATE_AUTH_SERVICE_PORT_GRPC", "50051"),
            ("TOLLGATE_AUTH_SERVICE_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
            ("TOLLGATE_INFERENCE_PORT", "tcp://10.0.0.2:50052"),
            ("TOLLGATE_INFERENCE_PORT_50052_TCP_ADDR", "10.0.0.2"),
            ("TOLLGATE_INFERENCE_PORT_50052_TCP_PROTO", "tcp"),
        ];
        assert_eq!(mistakes(&set), [""; 0]);
        assert_eq!(mistakes(&[("TOLLGATE_INFERENCE_PORT", "50052")]).len(), 1);
    }
}
