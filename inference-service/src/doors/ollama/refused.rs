//! What Ollama has and this door hasn't: each with why it is refused. docs/http.md is made of the same tables.

use http::Method;

use crate::prompt::Violations;

/// Fields, each with why it is refused; one may end in the value that is.
pub type RefusedFields = &'static [(&'static str, &'static str)];

const NO_SAMPLER: &str = "is no sampler of Ollama any more; leave it out";
const SAME_WEIGHTS: &str = "is not taken: the weights stay as they are";
const NO_FILES: &str = "is not taken: a model is made from one that is there, which `from` names";

/// Of `/api/chat` and `/api/generate`.
pub const REFUSED: RefusedFields = &[
    ("_debug_render_only: true", "is not taken: a prompt's final form is the operator's"),
    ("context", "is not taken: send the conversation to /api/chat"),
    ("keep_alive", "must be at most TOLLGATE_MAX_KEEP_ALIVE; less than 0 is as long as that"),
    ("options.mirostat", NO_SAMPLER),
    ("options.num_ctx", "must be at most TOLLGATE_MAX_CONTEXT_TOKENS: more would cost more than is held"),
    ("options.num_keep", "is not taken: the contract has no word for it; leave it out"),
    ("options.tfs_z", NO_SAMPLER),
    ("shift: false", "is not taken: where the context is full, its oldest part gives way"),
    ("template", "is not taken: an operator makes a model with another template"),
];

/// Of `/api/create`.
pub const CREATE_REFUSED: RefusedFields = &[
    ("adapters", NO_FILES),
    ("draft_files", NO_FILES),
    ("draft_quantize", SAME_WEIGHTS),
    ("files", NO_FILES),
    ("info", "is not taken: it comes with the model that `from` names"),
    ("modelfile", "is of older releases: send from, template, system, parameters and the like"),
    ("quantize", SAME_WEIGHTS),
    ("remote_host", "is not taken: the model runs on this server"),
];

/// Paths.
pub const PATHS_REFUSED: RefusedFields = &[
    ("POST /api/pull", "models are not pulled through this server: its operator brings them; /api/tags has those there are"),
    ("POST /api/push", "models are not pushed from this server"),
    ("POST /api/copy", "models are not copied yet: make one with /api/create, whose `from` names the other"),
    ("POST /api/blobs/{digest}", "files are not taken: a model is made from one that is there, which `from` names"),
    ("HEAD /api/blobs/{digest}", "files are not taken: a model is made from one that is there, which `from` names"),
];

/// Notes what is in a table and was asked for, with the reason that it has there.
pub(super) fn refuse_asked(table: RefusedFields, asked: &[(&str, bool)], wrong: &mut Violations) {
    for (what, _) in asked.iter().filter(|(_, is_asked)| *is_asked) {
        let known = table.iter().find(|(known, _)| field_of(known) == *what);
        wrong.add(*what, known.map_or("is not taken here", |(_, why)| why));
    }
}

fn field_of(what: &str) -> &str {
    what.split(':').next().unwrap_or(what)
}

/// The paths with their methods.
pub(super) fn paths() -> impl Iterator<Item = (Method, &'static str, &'static str)> {
    PATHS_REFUSED.iter().filter_map(|(place, why)| {
        let (method, path) = place.split_once(' ')?;
        Some((method.parse().ok()?, path, *why))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_method() {
        assert_eq!(paths().count(), PATHS_REFUSED.len());
    }

    #[test]
    fn a_field_is_refused_with_the_reason_of_its_table() {
        let mut wrong = Violations::default();
        refuse_asked(REFUSED, &[("template", false), ("shift", true), ("context", true)], &mut wrong);
        let error = wrong.refuse();
        assert_eq!(error.message(), "shift is not taken: where the context is full, its oldest part gives way (wrong as well: context)");
    }
}
