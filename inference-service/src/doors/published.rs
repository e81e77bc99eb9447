//! The doors as they are served: with the one that publishes the others.

use std::collections::BTreeMap;

use serde_json::Value;
use shared::doors::Door;
use shared::doors::openapi::{Answerer, Doors};
use shared::doors::published::with_published;
use shared::secret::Secret;

use super::doors;
use crate::config::Config;
use crate::service::inference::InferenceService;
use crate::service::models::ModelsService;
use crate::startup::{Application, SERVICES, policy};

/// What inference-service answers over HTTP.
#[must_use]
pub fn served(inference: &InferenceService, models: &ModelsService) -> Vec<Door> {
    with_published(doors(inference, models), Answerer::Inference, &SERVICES, policy)
}

/// The same doors, to be described and not to be served: nobody is behind them, and nothing of the environment is read.
///
/// # Errors
/// No randomness.
pub fn described() -> Result<Vec<Door>, Box<dyn std::error::Error>> {
    let (_, credential) = Secret::generate()?;
    let strings = [("TOLLGATE_SERVICE_CREDENTIAL", credential), ("TOLLGATE_ENGINE", "ollama".to_owned())];
    let config = Config::read(&BTreeMap::from(strings.map(|(name, value)| (name.to_owned(), value))))?;
    Ok(Application::on_ollama(config)?.doors())
}

/// The OpenAPI document of all of them.
///
/// # Errors
/// As [`described`]'s.
pub fn document() -> Result<Value, Box<dyn std::error::Error>> {
    let doors = described()?;
    Ok(Doors { answerer: Answerer::Inference, doors: &doors, services: &SERVICES, policy }.document())
}
