//! The header that names the account to pay.

use tonic::metadata::{Ascii, MetadataValue};

use crate::credential::is_visible_ascii;
use crate::error::Error;

/// The value of the header that names an account. Refused when it holds anything but visible ASCII.
pub(crate) fn parse_account(account: &str) -> Result<MetadataValue<Ascii>, Error> {
    let value = account.parse().ok().filter(|_| is_visible_ascii(account));
    value.ok_or_else(|| Error::Configuration("the account must be an account's id: visible ASCII characters only".to_owned()))
}
