//! What the clients are made of: the crates that they bring along, and how their modules depend on one another.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Crates that serve, log or store. Nobody who calls needs them.
const OF_SERVERS: [&str; 15] = [
    "argon2",
    "auth-service",
    "axum",
    "flate2",
    "inference-service",
    "ipnet",
    "mimalloc",
    "ppp",
    "redis",
    "rusqlite",
    "rustix",
    "strsim",
    "tonic-health",
    "tonic-reflection",
    "tracing-subscriber",
];

/// Features by which crates that callers need as well become servers.
const SERVERS: [&str; 6] = ["server", "server-auto", "server-graceful", "service", "transport", "router"];

/// The workspace's folder.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The crates that the library is built of when it is built alone, each with its features.
fn crates_of_the_library() -> BTreeMap<String, Vec<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let listed = Command::new(cargo)
        .args(["tree", "--locked", "--package", "tollgate-client", "--edges", "normal", "--prefix", "none", "--format", "{p}|{f}"])
        .current_dir(workspace())
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).unwrap();
    let lines = listed.lines().filter_map(|line| line.split_once('|'));
    let named = lines.filter_map(|(package, features)| Some((package.split(' ').next()?.to_owned(), features)));
    named.map(|(name, features)| (name, features.trim_end_matches(" (*)").split(',').map(str::to_owned).collect())).collect()
}

#[test]
fn the_client_library_brings_no_server_along() {
    let crates = crates_of_the_library();
    for needed in ["shared", "tonic", "hyper", "h2", "tokio"] {
        assert!(crates.contains_key(needed), "{needed} is missing: was the list read rightly? {crates:?}");
    }
    let servers: Vec<_> = crates.keys().filter(|name| OF_SERVERS.contains(&name.as_str())).collect();
    assert!(servers.is_empty(), "{servers:?}");
    for (name, features) in crates {
        let serving: Vec<_> = features.iter().filter(|feature| SERVERS.contains(&feature.as_str())).collect();
        assert!(serving.is_empty(), "{name} has the features {serving:?}");
    }
}

/// What ships of a file of Rust, or of all files of a folder.
fn shipped(path: &Path) -> String {
    if path.is_dir() {
        return std::fs::read_dir(path).unwrap().map(|entry| shipped(&entry.unwrap().path())).collect();
    }
    std::fs::read_to_string(path).unwrap().split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

/// The modules that each module of a crate names by `crate::`, tests aside. What is in a module's folder is the module's.
fn imports(source: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut modules: BTreeMap<String, String> = BTreeMap::new();
    for file in std::fs::read_dir(source).unwrap().map(|entry| entry.unwrap().path()) {
        modules.entry(file.file_stem().unwrap().to_str().unwrap().to_owned()).or_default().push_str(&shipped(&file));
    }
    // The root names its modules, and they re-exports of its own in their docs.
    modules.retain(|module, _| module != "lib" && module != "main");
    let named = |text: &str| {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let paths: Vec<String> = code.flat_map(|line| line.split("crate::").skip(1).map(str::to_owned).collect::<Vec<_>>()).collect();
        assert!(!paths.iter().any(|path| path.starts_with('{')), "one `use` for each module of this crate");
        let first = |path: &String| path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned();
        paths.iter().map(first).filter(|module| modules.contains_key(module)).collect()
    };
    modules.iter().map(|(module, text)| (module.clone(), named(text))).collect()
}

/// The modules that lead back to themselves.
fn circles(mut imports: BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    loop {
        let left: BTreeSet<String> = imports.keys().cloned().collect();
        // What imports nothing that is left is in no circle, and neither is what imports only such.
        imports.retain(|_, imported| imported.iter().any(|module| left.contains(module)));
        if imports.len() == left.len() {
            return left;
        }
    }
}

#[test]
fn no_module_of_the_clients_imports_one_that_imports_it() {
    for source in ["clients/rust/src", "clients/cli/src"] {
        let imports = imports(&workspace().join(source));
        assert!(imports.values().any(|imported| !imported.is_empty()), "{source}: was it read rightly? {imports:?}");
        assert_eq!(circles(imports), BTreeSet::new(), "{source}");
    }
}

#[test]
fn circles_are_found() {
    let of = |edges: &[(&str, &[&str])]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        circles(edges.iter().map(|(module, imported)| ((*module).to_owned(), owned(imported))).collect())
    };
    assert_eq!(of(&[("a", &["b"]), ("b", &["c"]), ("c", &[])]), BTreeSet::new());
    assert_eq!(of(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]).len(), 3, "and what leads into one");
}
