//! How long API keys last.

use std::time::Duration;

/// How long new API keys last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyLifetimes {
    /// A key of which nothing is said; `None`: as long as any may.
    pub default: Option<Duration>,
    /// The longest that a key may last; `None`: for ever.
    pub longest: Option<Duration>,
}

/// Why a key may not end when somebody wants it to; goes on from the field's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnfitEnd {
    /// That is over.
    #[error("must be in the future")]
    NotAhead,
    /// Later than any key may end.
    #[error("must be at most {} s from now, which is as long as this server lets a key last", .0.as_secs())]
    TooLate(Duration),
}

impl KeyLifetimes {
    /// When a key ends that is made now; `None`: never. `wanted`: what its maker says.
    pub fn end_ms(self, wanted_ms: Option<i64>, now_ms: i64) -> Result<Option<i64>, UnfitEnd> {
        let after = |lifetime: Duration| now_ms.saturating_add(i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX));
        match (wanted_ms, self.longest) {
            (None, longest) => Ok(self.default.or(longest).map(after)),
            (Some(wanted_ms), _) if wanted_ms <= now_ms => Err(UnfitEnd::NotAhead),
            (Some(wanted_ms), Some(longest)) if wanted_ms > after(longest) => Err(UnfitEnd::TooLate(longest)),
            (Some(wanted_ms), _) => Ok(Some(wanted_ms)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_when_it_is_told_to_or_after_the_default_time_and_never_after_the_longest() {
        let (some, none) = (|ms| Some(Duration::from_millis(ms)), None);
        for (default, longest, wanted_ms, end) in [
            (none, none, None, Ok(None)),
            (none, none, Some(101), Ok(Some(101))),
            (none, none, Some(100), Err(UnfitEnd::NotAhead)),
            (none, none, Some(i64::MAX), Ok(Some(i64::MAX))),
            (some(50), none, None, Ok(Some(150))),
            (some(50), none, Some(1000), Ok(Some(1000))),
            (some(50), some(70), None, Ok(Some(150))),
            // A key of which nothing is said would last longer than any may.
            (none, some(70), None, Ok(Some(170))),
            (some(50), some(70), Some(170), Ok(Some(170))),
            (some(50), some(70), Some(171), Err(UnfitEnd::TooLate(Duration::from_millis(70)))),
            (some(50), some(70), Some(0), Err(UnfitEnd::NotAhead)),
        ] {
            assert_eq!(KeyLifetimes { default, longest }.end_ms(wanted_ms, 100), end, "{default:?} {longest:?} {wanted_ms:?}");
        }
    }
}
