//! Request ids: what makes a request that is sent twice count once.

/// Makes a request id that nobody else makes: for [`crate::Client::grant_credits`], and for chats whose id the caller wants to keep first.
#[must_use]
pub fn new_request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[cfg(test)]
mod tests {
    use shared::request_id::is_request_id;

    use super::*;

    #[test]
    fn a_new_request_id_is_one_that_the_services_take() {
        let (one, another) = (new_request_id(), new_request_id());
        assert!(is_request_id(&one) && is_request_id(&another));
        assert_ne!(one, another);
    }
}
