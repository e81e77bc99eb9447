//! From when until when a certificate counts.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use super::pem::certificates;

/// A certificate whose end is nearer than this is warned about, unless it lives shortly.
const NEAR: Duration = Duration::from_secs(14 * 86_400);

/// The time in which a certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    not_before: Duration,
    not_after: Duration,
}

impl Validity {
    /// Of the first certificate of a file. The error is the end of a sentence about the file.
    pub fn of_pem(pem: &[u8]) -> Result<Self, String> {
        Self::of(&certificates(pem)?[0])
    }

    /// Of a certificate. The error is the end of a sentence about its file.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let unreadable = |error: Error| format!("holds a certificate that can't be read ({error})");
        let certificate = EndEntityCert::try_from(certificate).map_err(unreadable)?;
        // webpki has no accessor for the two. It names the one that a given time is beyond, before it looks at anything else.
        let judged_at = |seconds| {
            let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            certificate.verify_for_usage(&[], &[], &[], time, KeyUsage::server_auth(), None, None).err()
        };
        let not_before = match judged_at(0) {
            Some(Error::CertNotValidYet { not_before, .. }) => not_before.as_secs(),
            _ => 0,
        };
        match judged_at(u64::MAX) {
            Some(Error::CertExpired { not_after, .. }) => {
                Ok(Self { not_before: Duration::from_secs(not_before), not_after: Duration::from_secs(not_after.as_secs()) })
            }
            other => Err(format!("holds a certificate without an end ({other:?})")),
        }
    }

    /// Refuses a certificate that doesn't count now.
    pub fn check(self) -> Result<(), String> {
        let now = now();
        if now > self.not_after {
            return Err(format!("holds a certificate that ended {} ago", in_words(now - self.not_after)));
        }
        if now < self.not_before {
            return Err(format!("holds a certificate that counts only in {}", in_words(self.not_before - now)));
        }
        Ok(())
    }

    /// How long it still counts.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.not_after.saturating_sub(now())
    }

    /// Whether it should have been renewed: two weeks before its end, or where it lives shortly in the last third of its life.
    #[must_use]
    pub fn is_near_its_end(self) -> bool {
        self.remaining() < NEAR.min((self.not_after - self.not_before) / 3)
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A time as people say it, roughly.
#[must_use]
pub fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} minutes", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} hours", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(from_days: i64, until_days: i64) -> CertificateDer<'static> {
        let day = |days: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now().as_secs().saturating_add_signed(days * 86_400));
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (day(from_days), day(until_days));
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn the_beginning_and_the_end_of_a_certificate_are_read_and_what_is_not_in_force_is_refused() {
        let of = |from, until| Validity::of(&certificate(from, until)).unwrap();
        let good = of(-1, 90);
        assert_eq!(good.check(), Ok(()));
        assert!(good.remaining() > Duration::from_secs(89 * 86_400) && !good.is_near_its_end());
        assert_eq!(good.not_after - good.not_before, Duration::from_secs(91 * 86_400));
        assert!(of(-90, -3).check().unwrap_err().contains("ended 3 days ago"));
        assert!(of(5, 9).check().unwrap_err().contains("counts only in 4 days"));
        assert!(of(-80, 10).is_near_its_end());
        assert!(!of(-1, 6).is_near_its_end(), "one of a week isn't, on its second day");
        assert!(of(-6, 1).is_near_its_end());
    }
}
