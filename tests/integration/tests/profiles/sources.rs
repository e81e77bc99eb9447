//! Every value from every source, and which source wins.

use integration::scripted_upstream::ScriptedUpstream;
use integration::shell::{Shell, field};
use integration::stack::Plan;
use serde_json::Value;

use super::{Person, ended};

/// Name, flag, variable; for each source another value.
const SETTINGS: [(&str, &str, &str, [&str; 3]); 8] = [
    ("session", "--session", "TOLLGATE_SESSION", ["/flag", "/variable", "/profile"]),
    ("auth_url", "--auth-url", "TOLLGATE_AUTH_URL", ["http://flag:1", "http://variable:1", "http://profile:1"]),
    ("url", "--url", "TOLLGATE_URL", ["http://flag:1", "http://variable:1", "http://profile:1"]),
    ("account", "--account", "TOLLGATE_ACCOUNT", ["flag", "variable", "profile"]),
    ("model", "", "TOLLGATE_MODEL", ["", "variable", "profile"]),
    ("ca", "--ca", "TOLLGATE_CA", ["/flag", "/variable", "/profile"]),
    ("client_certificate", "--client-cert", "TOLLGATE_CLIENT_CERTIFICATE", ["/flag", "/variable", "/profile"]),
    ("client_key", "--client-key", "TOLLGATE_CLIENT_KEY", ["/flag", "/variable", "/profile"]),
];

fn row<'a>(config: &'a Value, name: &str) -> &'a Value {
    config["values"].as_array().unwrap().iter().find(|value| value["name"] == name).unwrap()
}

#[tokio::test]
async fn each_value_is_the_flags_else_the_variables_else_the_profiles_and_config_says_which() {
    for (name, flag, variable, values) in SETTINGS {
        for bits in 0..8 {
            let has = [bits & 4 != 0 && !flag.is_empty(), bits & 2 != 0, bits & 1 != 0];
            let ada = Person::new();
            if has[2] {
                ada.write(format!("default:\n  {name}: {}\n", values[2]));
            }
            // What is empty counts as unset.
            let set = |value: &'static str, is_set: bool| if is_set { value } else { "" };
            let mut shell = ada.shell.with(variable, set(values[1], has[1]));
            if bits == 0 {
                shell.environment.remove(variable);
            }
            let person = Person { shell, home: ada.home };
            let arguments = if flag.is_empty() { vec!["config"] } else { vec!["config", flag, set(values[0], has[0])] };
            let config = person.json(&arguments).await;
            let won = has.iter().position(|has| *has);
            let row = row(&config, name);
            let expected = won.map_or("default or unset", |at| ["flag", "environment", "profile"][at]);
            let source = row["source"].as_str().unwrap();
            assert!(expected == source || (won.is_none() && expected.contains(source)), "{name} {has:?}: {row}");
            if let Some(at) = won {
                assert_eq!(row["value"], values[at], "{name} {has:?}");
                assert_eq!(row["from"], [flag, variable, "profile default"][at], "{name} {has:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_servers_that_are_called_and_the_key_that_is_shown_them_are_those_of_the_winning_source() {
    let upstream = ScriptedUpstream::start().await;
    let stack = Plan::with_upstream(&upstream.url()).start().await;
    let there = Shell::at(&stack);
    let (_, ada) = there.user("ada").await;
    let (_, bob) = there.user("bob").await;
    let (_, eve) = there.user("eve").await;
    let key = |shell: &Shell| shell.environment["TOLLGATE_API_KEY"].clone();
    let urls = format!("  auth_url: {}\n  url: {}\n", there.environment["TOLLGATE_AUTH_URL"], there.environment["TOLLGATE_URL"]);

    let person = Person::new();
    person.write(format!("work:\n  key: {}\n{urls}", key(&ada)));
    let by_profile = person.shell.with("TOLLGATE_PROFILE", "work");
    assert_eq!(field(&by_profile.says(&["me"], "").await.0, "user"), "ada", "all of the profile");
    by_profile.says(&["models", "list"], "").await;
    let by_variable = by_profile.with_key(&key(&bob));
    assert_eq!(field(&by_variable.says(&["me"], "").await.0, "user"), "bob");
    let by_flag = by_variable.says(&["me", "--key", &key(&eve)], "").await.0;
    assert_eq!(field(&by_flag, "user"), "eve");
    let nowhere = by_profile.with("TOLLGATE_AUTH_URL", "http://127.0.0.1:9");
    assert!(nowhere.fails(&["me"], 69).await.contains("127.0.0.1:9"));
    nowhere.says(&["me", "--auth-url", &there.environment["TOLLGATE_AUTH_URL"]], "").await;

    // Flag and flag are refused, and so are both in one profile; a session of a higher source wins over a key of a lower one.
    assert!(ended(&by_profile, &["me", "--key", "k", "--session", "s"], "").await.1.contains("cannot be used with"));
    let gone = by_profile.with("TOLLGATE_SESSION", "/nonexistent/session");
    assert!(gone.fails(&["me"], 77).await.contains("no session in /nonexistent/session"));
    assert_eq!(field(&gone.with_key(&key(&bob)).says(&["me"], "").await.0, "user"), "bob", "of both variables the key counts");
    let config = serde_json::from_str::<Value>(&gone.says(&["config", "--json"], "").await.0).unwrap();
    assert_eq!((&row(&config, "session")["isCredential"], &row(&config, "key")["isCredential"]), (&true.into(), &false.into()));
    assert!(gone.says(&["config"], "").await.0.contains("not used"), "what is beaten is said to be");
}
