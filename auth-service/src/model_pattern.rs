//! Patterns of models' names: what a price is for, and what an API key is limited to.
//!
//! A pattern is compared with a model's full name, `registry/namespace/model:tag`, part by part, ignoring case. What a name leaves out is
//! filled in as Ollama does (`registry.ollama.ai`, `library`, `latest`), and so is what a pattern leaves out. A `*` stands for any run of
//! characters within its part, also none: it never reaches over a `/` or a `:`. There are three short forms:
//!
//! - `*` alone is every model.
//! - A model that ends in `*`, without a tag, is meant with every tag: `llama3*` is `llama3*:*`.
//! - `hf.co/*`, a registry and a `*`, is all of that registry: `hf.co/*/*:*`. A registry is known by its dot or its port.

use std::fmt;

use shared::model_name::{self, DEFAULT_NAMESPACE, DEFAULT_REGISTRY, DEFAULT_TAG, InvalidModelName};

/// Any run of characters.
const ANY: &str = "*";
/// As a tag or behind one: the model on Ollama's own machine.
const LOCAL: &str = "local";

/// Why a text is no pattern; a sentence that goes on from the pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// It would be no name if its stars were letters.
    #[error(transparent)]
    Name(#[from] InvalidModelName),
    /// A registry is followed by one part.
    #[error("must name a namespace behind the registry {registry}: write {registry}/*/{rest}, or {registry}/* for all that is there")]
    NoNamespace {
        /// What stands before the slash.
        registry: String,
        /// What stands behind it.
        rest: String,
    },
    /// It isn't said whether what is behind the `*` ends the model or a tag.
    #[error("must say which tags, because its * is not at its end: write {pattern}:*, or name:tag with the * in the tag, as in llama3*:*b")]
    NoTag {
        /// All of it.
        pattern: String,
    },
    /// `:*:local` would be every tag but those of models that run elsewhere, which no pattern can say.
    #[error("must not have :local behind a tag with a *: leave it out")]
    LocalOfMany,
}

/// A model's full name, lower case, nothing left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FullName<'a> {
    /// As [`model_name::folded`] gives it.
    folded: &'a str,
    /// Registry, namespace, model, tag.
    parts: [&'a str; 4],
}

impl<'a> FullName<'a> {
    /// The full name of a model, by its name as [`model_name::folded`] gives it.
    #[must_use]
    pub fn of(folded: &'a str) -> Self {
        let [registry, namespace, model, tag] = split(folded);
        let (registry, namespace) = (registry.unwrap_or(DEFAULT_REGISTRY), namespace.unwrap_or(DEFAULT_NAMESPACE));
        Self { folded, parts: [registry, namespace, model.unwrap_or_default(), tag.unwrap_or(DEFAULT_TAG)] }
    }
}

/// Registry, namespace, model and tag, as far as they are there; the model always is.
fn split(text: &str) -> [Option<&str>; 4] {
    let (path, last) = text.rsplit_once('/').map_or((None, text), |(path, last)| (Some(path), last));
    let (model, tag) = last.split_once(':').map_or((last, None), |(model, tag)| (model, Some(tag)));
    let (registry, namespace) = match path.map(|path| path.rsplit_once('/').ok_or(path)) {
        None => (None, None),
        Some(Ok((registry, namespace))) => (Some(registry), Some(namespace)),
        Some(Err(namespace)) => (None, Some(namespace)),
    };
    [registry, namespace, Some(model), tag]
}

/// Whether what stands before one slash is a registry: namespaces have neither dots nor ports.
fn is_registry(part: &str) -> bool {
    part.contains(['.', ':'])
}

/// How a key's patterns are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PatternRule {
    /// With full names, part by part.
    #[default]
    ByPart,
    /// With short names as a whole too: so they were when the key was made.
    Whole,
}

/// A pattern of names, made full and lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPattern {
    /// Registry, namespace, model, tag.
    parts: [String; 4],
    /// The pattern as it was kept when it was compared with the short name as a whole: what it didn't match then, it doesn't match now.
    whole: Option<String>,
}

impl ModelPattern {
    /// Parses a pattern that somebody writes. What could be meant in two ways is refused.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if !text.contains('*') {
            return Ok(Self::read(&model_name::folded(text)?));
        }
        let text = text.to_ascii_lowercase();
        let [registry, namespace, model, tag] = split(&text);
        let model = model.unwrap_or_default();
        if let (None, Some(registry)) = (registry, namespace.filter(|namespace| is_registry(namespace))) {
            if model != ANY || tag.is_some() {
                let (registry, rest) = (registry.to_owned(), text[registry.len() + 1..].to_owned());
                return Err(InvalidPattern::NoNamespace { registry, rest });
            }
            try_as_name(&format!("{registry}/*/*"))?;
        } else {
            try_as_name(&text)?;
            if tag.is_none() && model.contains('*') && !model.ends_with('*') {
                return Err(InvalidPattern::NoTag { pattern: text });
            }
        }
        Ok(Self::read(&with_canonical_place(&text, tag)?))
    }

    /// What a pattern says that was parsed before. A text that is no pattern matches no model, because no name has its characters.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        let [registry, namespace, model, tag] = split(&text);
        let model = model.unwrap_or_default();
        let rest = tag.unwrap_or(if model.ends_with('*') { ANY } else { DEFAULT_TAG });
        let parts = match (registry, namespace) {
            (None, None) if text == ANY => [ANY; 4],
            (None, Some(registry)) if model == ANY && tag.is_none() && is_registry(registry) => [registry, ANY, ANY, ANY],
            _ => [registry.unwrap_or(DEFAULT_REGISTRY), namespace.unwrap_or(DEFAULT_NAMESPACE), model, rest],
        };
        Self { parts: parts.map(str::to_owned), whole: None }
    }

    /// What a pattern says that was kept when patterns were compared with short names as a whole, and a `*` reached over every part. It
    /// matches what it matches by both rules, and so never more than before.
    #[must_use]
    pub fn read_whole(text: &str) -> Self {
        Self { whole: Some(text.to_ascii_lowercase()), ..Self::read(text) }
    }

    /// What a pattern says that was kept under a rule.
    #[must_use]
    pub fn read_by(rule: PatternRule, text: &str) -> Self {
        match rule {
            PatternRule::ByPart => Self::read(text),
            PatternRule::Whole => Self::read_whole(text),
        }
    }

    /// Whether it matches a model.
    #[must_use]
    pub fn matches(&self, name: &FullName<'_>) -> bool {
        let by_part = self.parts.iter().zip(name.parts).all(|(pattern, part)| matches(pattern, part));
        by_part && self.whole.as_ref().is_none_or(|whole| matches(whole, name.folded))
    }
}

/// Refuses a pattern that would be no name if its stars were letters.
fn try_as_name(pattern: &str) -> Result<(), InvalidPattern> {
    model_name::canonical(&pattern.replace('*', "x")).map(|_| ()).map_err(InvalidPattern::Name)
}

/// The pattern with its place as canonical names have it: without `:local`, and with `-cloud` for a `:cloud` behind a tag.
fn with_canonical_place(pattern: &str, tag: Option<&str>) -> Result<String, InvalidPattern> {
    let Some((rest, place)) = pattern.rsplit_once(':').filter(|_| tag.is_some()) else { return Ok(pattern.to_owned()) };
    let first = tag.and_then(|tag| tag.split_once(':')).map(|(first, _)| first);
    match (place, first) {
        (LOCAL, Some(tag)) if tag.contains('*') => Err(InvalidPattern::LocalOfMany),
        (LOCAL, Some(_)) => Ok(rest.to_owned()),
        (LOCAL, None) => Ok(format!("{rest}:{DEFAULT_TAG}")),
        // A second tag can be nothing but a place.
        (place, Some(_)) => Ok(format!("{rest}-{place}")),
        (_, None) => Ok(pattern.to_owned()),
    }
}

/// As short as it can be written, in lower case. [`ModelPattern::read`] reads the same from it.
impl fmt::Display for ModelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [registry, namespace, model, tag] = self.parts.each_ref().map(String::as_str);
        let left_out = if model.ends_with('*') { tag == ANY } else { tag == DEFAULT_TAG && !model.contains('*') };
        let tag = (!left_out).then_some(tag);
        let all = namespace == ANY && model == ANY && tag.is_none();
        match (registry, namespace) {
            (ANY, _) if all => f.write_str(ANY)?,
            (DEFAULT_REGISTRY, DEFAULT_NAMESPACE) if model != ANY || tag.is_some() => f.write_str(model)?,
            (DEFAULT_REGISTRY, _) if !is_registry(namespace) => write!(f, "{namespace}/{model}")?,
            _ if all && is_registry(registry) => write!(f, "{registry}/*")?,
            _ => write!(f, "{registry}/{namespace}/{model}")?,
        }
        tag.map_or(Ok(()), |tag| write!(f, ":{tag}"))
    }
}

/// Whether a text matches a pattern, in which `*` stands for any run of characters, also none. What is between two stars is looked for
/// once, from where the part before it was first found, so that no pattern makes it go back.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
