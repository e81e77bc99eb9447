//! What can be asked of the engine itself, for nothing: which models it has loaded, and what it is.

use shared::error::CallError;
use shared::proto::auth::Operation;

use super::inference::{InferenceService, parent_of};
use crate::caller::Caller;
use crate::engine::LoadedModel;
use crate::prompt::ModelName;

impl InferenceService {
    /// The models that are loaded and that the caller may name, without the names of others that they were made from.
    pub async fn loaded_models(&self, caller: Result<Caller, CallError>) -> Result<Vec<LoadedModel>, CallError> {
        let (caller, _) = self.authorizer.authorize(caller, Operation::ReadModels, "").await?;
        let loaded = self.engine.loaded_models().await.map_err(|error| CallError::from(&error))?;
        let may_run = |model: &LoadedModel| {
            ModelName::parse(&model.name).is_ok_and(|name| name.refuse_cloud(self.prompt_limits.allow_cloud_models).is_ok())
        };
        let loaded: Vec<_> = loaded.into_iter().filter(may_run).map(|model| (parent_of(&model.details), model)).collect();
        let parents = loaded.iter().filter_map(|(parent, _)| parent.as_ref()).map(ModelName::as_str);
        let names = loaded.iter().map(|(_, model)| model.name.as_str()).chain(parents);
        let allowed = self.authorizer.allowed_models(&caller, Operation::ReadModels, names).await?;
        let allowed: Vec<String> = allowed.into_iter().map(str::to_owned).collect();
        let is_allowed = |name: &str| allowed.iter().any(|allowed| allowed == name);
        let nameable = loaded.into_iter().filter(|(_, model)| is_allowed(&model.name)).map(|(parent, mut model)| {
            let parent = parent.filter(|parent| is_allowed(parent.as_str()));
            model.details.parent_model = parent.map(|parent| parent.to_string()).unwrap_or_default();
            model
        });
        Ok(nameable.collect())
    }

    /// The release of Ollama that answers, or whose protocol is followed.
    pub async fn engine_version(&self, caller: Result<Caller, CallError>) -> Result<String, CallError> {
        self.authorizer.authorize(caller, Operation::ReadModels, "").await?;
        self.engine.version().await.map_err(|error| CallError::from(&error))
    }
}
