//! The names of models: which spellings Ollama takes for one model, and the one spelling that each model has here.
//!
//! A price, or an API key's list of models, must not depend on the spelling. So both services bring a name to its canonical form, with
//! [`canonical`], before it is priced, compared or sent upstream. What Ollama takes for a name, and what of it says nothing, is in its
//! packages `types/model` and `internal/modelref`; a spelling that could be told apart only by guessing is refused.

use std::borrow::Cow;

use crate::credential_form::holds_credential;

/// The longest name, in bytes. Ollama's longest has 593; no more is kept here for each request than people's models need.
pub const MAX_BYTES: usize = 160;
/// The longest spelling of a name, with all that it may leave out.
const MAX_SPELLING_BYTES: usize = MAX_BYTES + "registry.ollama.ai/library/".len() + ":latest:local".len();
/// The longest namespace, model or tag, in bytes, as Ollama has it.
const MAX_PART_BYTES: usize = 80;
/// What Ollama fills in for a registry's host that isn't there.
pub const DEFAULT_REGISTRY: &str = "registry.ollama.ai";
/// What Ollama fills in for a namespace that isn't there.
pub const DEFAULT_NAMESPACE: &str = "library";
/// What Ollama fills in for a tag that isn't there.
pub const DEFAULT_TAG: &str = "latest";
/// The tag of a model that runs elsewhere, and, behind a hyphen, the ending of such a model's tag.
const CLOUD: &str = "cloud";
/// What asks Ollama for the model on its own machine, as a tag or behind one.
const LOCAL: &str = "local";

/// Why a text is no model's name; a sentence that goes on from the field's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidModelName {
    /// There is none.
    #[error("is required: name a model, such as llama3.2")]
    Empty,
    /// A character, a length, or the number of parts is wrong.
    #[error(
        "must be a name such as llama3.2 or library/llama3.2:3b: letters, digits, '.', '_', '-', each part beginning with a letter, a \
         digit or '_' and not ending with '.', at most {MAX_BYTES} characters"
    )]
    Malformed,
    /// It begins with `http://` or the like, which Ollama doesn't look at.
    #[error("must be a name without a scheme: leave out what is before and with ://")]
    Scheme,
    /// It asks for two places, or twice for one: Ollama refuses it, or takes the default tag of another place for one of its own.
    #[error("must say where it runs at most once: use one of :local, :cloud or -cloud, and no :latest before a cloud")]
    Place,
}

/// A name in its canonical form, as it is sent upstream: without what Ollama fills in by itself (`registry.ollama.ai/library/`, `:latest`)
/// or takes off (`:local`), and with `-cloud` for a `:cloud` behind a tag. Letters stay as they are, because a Modelfile's FROM finds a
/// file by them; names that differ by case alone are one model to Ollama, and [`folded`] is what they are compared by.
pub fn canonical(text: &str) -> Result<String, InvalidModelName> {
    if text.is_empty() {
        return Err(InvalidModelName::Empty);
    }
    // A name is logged, and told in refusals.
    if text.len() > MAX_SPELLING_BYTES || holds_credential(text) {
        return Err(InvalidModelName::Malformed);
    }
    if text.contains("://") {
        return Err(InvalidModelName::Scheme);
    }
    let (text, cloud) = without_place(text)?;
    let (path, last) = text.rsplit_once('/').map_or((None, text), |(path, last)| (Some(path), last));
    let (model, tag) = last.split_once(':').map_or((last, None), |(model, tag)| (model, Some(tag)));
    let (host, namespace) = match path {
        None => (None, None),
        Some(path) => path.rsplit_once('/').map_or((None, Some(path)), |(host, namespace)| (Some(host), Some(namespace))),
    };
    let fits = host.is_none_or(is_host) && namespace.is_none_or(is_namespace) && is_part(model) && tag.is_none_or(is_part);
    if !fits {
        return Err(InvalidModelName::Malformed);
    }
    let host = host.filter(|host| !host.eq_ignore_ascii_case(DEFAULT_REGISTRY));
    // Another registry's `library` is a namespace like any other.
    let namespace = namespace.filter(|namespace| host.is_some() || !namespace.eq_ignore_ascii_case(DEFAULT_NAMESPACE));
    let tag = match (tag, cloud) {
        // On a machine, `latest-cloud` and `cloud` are two files; elsewhere, one model.
        (Some(tag), true) if tag.eq_ignore_ascii_case(DEFAULT_TAG) => return Err(InvalidModelName::Place),
        (Some(tag), true) => Some(Cow::Owned(format!("{tag}-{CLOUD}"))),
        (None, true) => Some(Cow::Borrowed(CLOUD)),
        (tag, false) => tag.filter(|tag| !tag.eq_ignore_ascii_case(DEFAULT_TAG)).map(Cow::Borrowed),
    };
    let mut name = String::with_capacity(text.len() + CLOUD.len() + 1);
    for part in [host, namespace].into_iter().flatten() {
        name.push_str(part);
        name.push('/');
    }
    name.push_str(model);
    if let Some(tag) = tag {
        name.push(':');
        name.push_str(&tag);
    }
    if name.len() > MAX_BYTES { Err(InvalidModelName::Malformed) } else { Ok(name) }
}

/// The canonical form in lower case: what prices and keys' lists are compared with. To Ollama, case tells no two models apart.
pub fn folded(text: &str) -> Result<String, InvalidModelName> {
    canonical(text).map(|name| name.to_ascii_lowercase())
}

/// Whether a canonical name is of a model that runs elsewhere, on the operator's account: its tag is `cloud` or ends in `-cloud`.
#[must_use]
pub fn is_cloud(canonical: &str) -> bool {
    let last = canonical.rsplit('/').next().unwrap_or(canonical);
    last.split_once(':').is_some_and(|(_, tag)| place_of(tag) == Some(Place::Cloud))
}

/// Where a model is to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    Cloud,
}

/// The place that a tag, or what stands behind a tag, asks for.
fn place_of(tag: &str) -> Option<Place> {
    let tag = tag.to_ascii_lowercase();
    match tag.as_str() {
        LOCAL => Some(Place::Here),
        CLOUD => Some(Place::Cloud),
        _ => tag.strip_suffix(CLOUD).is_some_and(|rest| rest.ends_with('-')).then_some(Place::Cloud),
    }
}

/// A name without the place that it asks for, and whether that is elsewhere. Ollama takes the place off once, and refuses a second.
fn without_place(text: &str) -> Result<(&str, bool), InvalidModelName> {
    let place = |text: &str| {
        let (rest, tag) = text.rsplit_once(':')?;
        // A colon before the last slash is a port's.
        place_of(tag).filter(|_| !tag.contains('/')).map(|place| (rest.len(), tag.len(), place))
    };
    let Some((rest, tag, found)) = place(text) else { return Ok((text, false)) };
    let ends = match found {
        Place::Here => rest,
        Place::Cloud if tag == CLOUD.len() => rest,
        // Of `20b-cloud`, `20b` stays as the tag.
        Place::Cloud => text.len() - CLOUD.len() - 1,
    };
    let base = &text[..ends];
    if place(base).is_some() { Err(InvalidModelName::Place) } else { Ok((base, found == Place::Cloud)) }
}

fn begins_well(part: &str) -> bool {
    part.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'_')
}

/// A model or a tag. A dot at its end is nothing to the file system of a Windows host: `llama3.` would be `llama3`.
fn is_part(part: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    begins_well(part) && part.len() <= MAX_PART_BYTES && part.bytes().all(valid) && !part.ends_with('.')
}

/// A namespace has no dots: what has some is a host, which stands before a namespace.
fn is_namespace(part: &str) -> bool {
    is_part(part) && !part.contains('.')
}

/// A host may have a port.
fn is_host(part: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
    begins_well(part) && part.bytes().all(valid) && !part.ends_with(['.', ':'])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way to write one model.
    const LLAMA: &[&str] = &[
        "llama3.2",
        "llama3.2:latest",
        "llama3.2:LATEST",
        "llama3.2:local",
        "llama3.2:Local",
        "llama3.2:LOCAL",
        "llama3.2:latest:local",
        "LLAMA3.2:Latest:LOCAL",
        "Llama3.2",
        "library/llama3.2",
        "Library/llama3.2:local",
        "registry.ollama.ai/library/llama3.2",
        "Registry.Ollama.AI/Library/Llama3.2:latest:local",
    ];

    #[test]
    fn every_spelling_of_a_name_is_one_model() {
        for spelling in LLAMA {
            assert_eq!(folded(spelling).as_deref(), Ok("llama3.2"), "{spelling}");
        }
        for (spelling, name) in [
            ("gpt-oss:20b:cloud", "gpt-oss:20b-cloud"),
            ("gpt-oss:20b:CLOUD", "gpt-oss:20b-cloud"),
            ("gpt-oss:20b-cloud", "gpt-oss:20b-cloud"),
            ("gpt-oss:20B-Cloud", "gpt-oss:20b-cloud"),
            ("qwen3:cloud", "qwen3:cloud"),
            ("qwen3:8b:local", "qwen3:8b"),
            ("localhost:11434/library/foo:cloud", "localhost:11434/library/foo:cloud"),
            ("localhost:11434/library/foo:8b:local", "localhost:11434/library/foo:8b"),
            ("my-cloud-model", "my-cloud-model"),
            ("my-local", "my-local"),
            ("foo:8b-local", "foo:8b-local"),
            ("cloud", "cloud"),
            ("local", "local"),
            ("latest", "latest"),
            ("foo:latest2", "foo:latest2"),
            ("gpt-oss:clod", "gpt-oss:clod"),
            // Another registry's names say nothing of this one's.
            ("hf.co/library/tiny", "hf.co/library/tiny"),
            ("hf.co/bartowski/Llama-3.2-1B-GGUF:Q4_K_M", "hf.co/bartowski/llama-3.2-1b-gguf:q4_k_m"),
            ("registry.ollama.ai/someone/tiny", "someone/tiny"),
            ("registry.ollama.ai:443/library/tiny", "registry.ollama.ai:443/library/tiny"),
            ("xlibrary/tiny", "xlibrary/tiny"),
            ("registry.ollama.ai/library/dolphin-mistral:7b-v2.6-dpo-laser-q6_K", "dolphin-mistral:7b-v2.6-dpo-laser-q6_k"),
            ("host:port/namespace/model:tag", "host:port/namespace/model:tag"),
            ("h/n/m:t", "h/n/m:t"),
            ("_why/_the/_lucky:_stiff", "_why/_the/_lucky:_stiff"),
        ] {
            assert_eq!(folded(spelling).as_deref(), Ok(name), "{spelling}");
        }
    }

    #[test]
    fn a_canonical_name_is_its_own_canonical_form_and_keeps_its_letters() {
        for spelling in LLAMA.iter().copied().chain(["gpt-oss:20b:cloud", "a:cloud", "h/n/m:t", "A/B:C:local"]) {
            let name = canonical(spelling).unwrap();
            assert_eq!(canonical(&name).as_deref(), Ok(name.as_str()), "{spelling}");
            assert_eq!(folded(&name), folded(spelling));
        }
        assert_eq!(canonical("hf.co/bartowski/Llama-3.2-1B-GGUF:Q4_K_M:local").as_deref(), Ok("hf.co/bartowski/Llama-3.2-1B-GGUF:Q4_K_M"));
    }

    #[test]
    fn what_ollama_refuses_or_tells_apart_by_guessing_is_refused() {
        let long = "8".repeat(81);
        for (wrong, why) in [
            ("", InvalidModelName::Empty),
            // Two places, or one twice.
            ("foo:cloud:local", InvalidModelName::Place),
            ("foo:local:cloud", InvalidModelName::Place),
            ("foo:local:local", InvalidModelName::Place),
            ("foo:8b-cloud:local", InvalidModelName::Place),
            ("foo:8b-cloud:cloud", InvalidModelName::Place),
            ("foo:8b-cloud-cloud", InvalidModelName::Place),
            ("foo:local-cloud", InvalidModelName::Place),
            ("foo:cloud-cloud", InvalidModelName::Place),
            // `foo:latest-cloud` and `foo:cloud` are two files here, and one model there.
            ("foo:latest-cloud", InvalidModelName::Place),
            ("foo:latest:cloud", InvalidModelName::Place),
            // Ollama looks for the same file whatever the scheme.
            ("https://registry.ollama.ai/library/llama3.2", InvalidModelName::Scheme),
            ("http://registry.ollama.ai/library/llama3.2", InvalidModelName::Scheme),
            ("ollama://llama3.2", InvalidModelName::Scheme),
        ] {
            assert_eq!(canonical(wrong), Err(why), "{wrong}");
        }
        for wrong in [
            " llama3.2",
            "llama3.2 ",
            "llama3.2: local",
            "llama3.2\t",
            "llama3.2\n",
            "foo:-cloud",
            ":local",
            ":cloud",
            "foo:8b:16b",
            "foo::local",
            "foo:",
            ":tag",
            "/nn/mm",
            "//",
            "//mm",
            "hh//",
            "a/b/c/d",
            "-hh/nn/mm:tt",
            "hh/-nn/mm:tt",
            "hh/nn/-mm:tt",
            "hh/nn/mm:-tt",
            ".hidden",
            "..",
            "a/../b",
            "host/name:space/model:tag",
            // A namespace has no dots: a host needs a namespace behind it.
            "registry.ollama.ai/llama3.2",
            "foo:bar-cloud/baz",
            "@sha256:1000000000000000000000000000000000000000000000000000000000000000",
            "llama3.2@sha256:1000000000000000000000000000000000000000000000000000000000000000",
            "^",
            "mod*l",
            "é",
            "\u{212a}imi",
            "llama3.2\u{200b}",
            "C:\\models",
            // A Windows host drops a dot at the end.
            "llama3.2.",
            "llama3:latest.",
            "library./llama3",
            &long,
            &format!("{}/{}/{}:{}", "3".repeat(40), "3".repeat(40), "3".repeat(40), "3".repeat(38)),
            "llama3.2\0",
            "llama3.2/",
            "/llama3.2",
            "l\u{131}ama3.2",
            "\u{ff4c}lama3.2",
        ] {
            assert_eq!(canonical(wrong), Err(InvalidModelName::Malformed), "{wrong}");
        }
    }

    #[test]
    fn the_longest_name_has_160_characters_and_says_so() {
        let longest = format!("{}:{}", "m".repeat(80), "t".repeat(79));
        assert_eq!((longest.len(), canonical(&longest).as_deref()), (MAX_BYTES, Ok(longest.as_str())));
        assert_eq!(canonical(&format!("registry.ollama.ai/library/{longest}:local")).as_deref(), Ok(longest.as_str()));
        let longer = canonical(&format!("n/{longest}"));
        assert_eq!(longer, Err(InvalidModelName::Malformed));
        assert!(longer.unwrap_err().to_string().contains("at most 160 characters"));
    }

    #[test]
    fn a_cloud_model_is_known_by_its_canonical_name() {
        for cloud in ["qwen3:cloud", "gpt-oss:20b:cloud", "gpt-oss:20b-cloud", "GPT-OSS:20B-CLOUD", "h:1/n/m:x-Cloud"] {
            assert!(is_cloud(&canonical(cloud).unwrap()), "{cloud}");
        }
        for local in ["cloud", "my-cloud", "cloud/x", "x-cloud/y:z", "qwen3:cloudy", "qwen3:8b:local"] {
            assert!(!is_cloud(&canonical(local).unwrap()), "{local}");
        }
    }
}
