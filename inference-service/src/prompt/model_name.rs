//! Names of models.

use std::fmt;

use shared::error::CallError;
use shared::{ErrorReason, model_name};
use tonic::Code;

/// A model's name in its canonical form ([`shared::model_name`]): however it was spelled, a model has one name here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelName(String);

impl ModelName {
    /// Parses a name in any spelling; the error says what is wrong, for the caller.
    pub fn parse(text: &str) -> Result<Self, String> {
        model_name::canonical(text).map(Self).map_err(|invalid| format!("model {invalid}"))
    }

    /// As text: what is priced, and what goes upstream.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Refuses what runs on the operator's account elsewhere, unless that is allowed.
    pub fn refuse_cloud(&self, allowed: bool) -> Result<(), CallError> {
        if self.is_cloud() && !allowed {
            let message = "models that run elsewhere on the operator's account are not allowed on this server";
            return Err(CallError::new(Code::PermissionDenied, ErrorReason::CloudModelNotAllowed, message));
        }
        Ok(())
    }

    /// Whether it runs on the operator's account elsewhere.
    #[must_use]
    pub fn is_cloud(&self) -> bool {
        model_name::is_cloud(&self.0)
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
