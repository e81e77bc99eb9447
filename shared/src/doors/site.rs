//! A service's own pages. What is at their paths is for pages of the same origin alone: no answer there gives another origin leave,
//! whatever is configured. Every answer there, a refusal too, has the headers that keep a page to itself.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, Uri};

/// Makes the headers of an answer, from a request's URI and headers.
pub type SiteHeaders = dyn Fn(&Uri, &HeaderMap) -> HeaderMap + Send + Sync;

/// The paths of a service's own pages, and of what those pages call. Clones are one.
#[derive(Clone)]
pub struct Site {
    /// Whole paths.
    pub paths: &'static [&'static str],
    /// What other paths of it begin with; each ends with `/`.
    pub folders: &'static [&'static str],
    /// The headers of every answer there, whatever it is.
    pub headers: Arc<SiteHeaders>,
}

impl Site {
    /// Whether a path is one of its own.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.paths.contains(&path) || self.folders.iter().any(|folder| path.starts_with(folder))
    }

    pub(crate) fn headers_for(&self, uri: &Uri, headers: &HeaderMap) -> HeaderMap {
        (self.headers)(uri, headers)
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("paths", &self.paths).field("folders", &self.folders).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_has_its_paths_and_what_is_in_its_folders_and_nothing_beside() {
        let site = Site { paths: &["/", "/page"], folders: &["/page/"], headers: Arc::new(|_, _| HeaderMap::new()) };
        for inside in ["/", "/page", "/page/", "/page/a/b", "/page/../token"] {
            assert!(site.has(inside), "{inside}");
        }
        for outside in ["", "/pages", "/token", "//page", "/Page/a"] {
            assert!(!site.has(outside), "{outside}");
        }
    }
}
