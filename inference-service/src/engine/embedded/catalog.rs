//! Which models there are: the GGUF files of one folder, and the overlays of another.
//!
//! The folders are the truth, read again each time: a GGUF that is put there can be used at once, and several processes may share them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use llama::Gguf;
use sha2::{Digest, Sha256};

use super::details::details;
use super::overlay::{Overlay, refusal};
use crate::engine::{EngineError, ModelDetails, ModelEntry, ModelFacts};
use crate::modelfile::Modelfile;
use crate::prompt::ModelName;

/// Models that are known to be there, at most. Where a file system ignores case, one file has many names.
const MAX_THERE: usize = 4096;

/// Both folders.
pub(super) struct Catalog {
    models_folder: PathBuf,
    overlays_folder: PathBuf,
    /// Headers take some tens of milliseconds to read, so what they say is kept as long as the file is the same. One entry per file.
    known: Mutex<HashMap<PathBuf, (Stamp, Header)>>,
    /// Models that were there when they were looked for last.
    there: Mutex<HashSet<ModelName>>,
}

/// Tells whether a file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    /// Of a file now.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self { size: metadata.len(), modified: metadata.modified().ok() })
    }
}

#[derive(Clone)]
struct Header {
    details: ModelDetails,
    context_length: u32,
}

/// What is needed to run a model.
pub(super) struct Resolved {
    pub(super) gguf: PathBuf,
    pub(super) overlay: Overlay,
}

impl Catalog {
    /// Makes the overlays' folder when it isn't there; the models' folder must be there.
    pub(super) fn open(models_folder: PathBuf, overlays_folder: PathBuf) -> Result<Self, EngineError> {
        fs::read_dir(&models_folder).map_err(|error| unusable(&models_folder, &error))?;
        fs::create_dir_all(&overlays_folder).map_err(|error| unusable(&overlays_folder, &error))?;
        Ok(Self { models_folder, overlays_folder, known: Mutex::default(), there: Mutex::default() })
    }

    /// Where the models are.
    pub(super) fn models_folder(&self) -> &Path {
        &self.models_folder
    }

    /// Whether a model was there when it was looked for last. Reads no file.
    pub(super) fn was_there(&self, model: &ModelName) -> bool {
        self.there.lock().unwrap_or_else(PoisonError::into_inner).contains(model)
    }

    /// Finds a model by name.
    pub(super) fn resolve(&self, model: &ModelName) -> Result<Resolved, EngineError> {
        let found = self.look_up(model);
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        match &found {
            Ok(_) => {
                if there.len() >= MAX_THERE {
                    there.clear();
                }
                there.insert(model.clone());
            }
            Err(_) => drop(there.remove(model)),
        }
        found
    }

    fn look_up(&self, model: &ModelName) -> Result<Resolved, EngineError> {
        if let Some(gguf) = self.gguf(model.as_str()) {
            return Ok(Resolved { gguf, overlay: Overlay::bare(model) });
        }
        let overlay = self.overlay(model)?.ok_or(EngineError::ModelNotFound)?.0;
        let gguf = self.gguf(&overlay.base).ok_or_else(|| EngineError::ModelBroken {
            detail: format!("{model} is made from {}.gguf, which isn't in {} any more", overlay.base, self.models_folder.display()),
        })?;
        Ok(Resolved { gguf, overlay })
    }

    /// All models, by name.
    pub(super) fn list(&self) -> Result<Vec<ModelEntry>, EngineError> {
        let ggufs = self.ggufs()?;
        let mut entries = BTreeMap::new();
        for (name, path) in &ggufs {
            // One damaged file doesn't hide the others.
            let details = self.header(path).map(|header| header.details).unwrap_or_default();
            if let Ok(stamp) = Stamp::of(path) {
                entries.insert(name.clone(), entry(name.clone(), stamp.size, stamp.modified, details));
            }
        }
        for (overlay, modified) in self.overlays()? {
            if entries.contains_key(&overlay.name) {
                continue;
            }
            let base = ggufs.get(&overlay.base);
            let size = base.and_then(|path| Stamp::of(path).ok()).map_or(0, |stamp| stamp.size);
            let details = base.and_then(|path| self.header(path).ok()).map(|header| header.details).unwrap_or_default();
            let details = ModelDetails { parent_model: overlay.parent.clone(), ..details };
            entries.insert(overlay.name.clone(), entry(overlay.name, size, modified, details));
        }
        Ok(entries.into_values().collect())
    }

    /// What a model is.
    pub(super) fn show(&self, model: &ModelName) -> Result<ModelFacts, EngineError> {
        let Resolved { gguf, overlay } = self.resolve(model)?;
        let header = self.header(&gguf)?;
        let modified_at = match self.overlay(model)? {
            Some((_, modified)) => modified,
            None => Stamp::of(&gguf).ok().and_then(|stamp| stamp.modified),
        };
        Ok(ModelFacts {
            details: ModelDetails { parent_model: overlay.parent, ..header.details },
            capabilities: vec!["completion".to_owned()],
            context_length: header.context_length,
            // It gives none.
            embedding_length: 0,
            modified_at,
        })
    }

    /// Makes a model, or replaces one that was made. A GGUF's name can't be taken.
    pub(super) fn create(&self, model: &ModelName, modelfile: &Modelfile) -> Result<(), EngineError> {
        if self.gguf(model.as_str()).is_some() {
            let sentence = format!("{model} is a file of the operator's models folder and can't be replaced");
            return Err(EngineError::Modelfile { sentence });
        }
        let line = modelfile.from.line;
        let not_there = || refusal(line, "FROM names a model that isn't there");
        let parent = ModelName::parse(&modelfile.from.value)
            .map_err(|_| refusal(line, "FROM must name a model that is there; files aren't supported by the embedded engine"))?;
        let parent = match self.resolve(&parent) {
            Ok(parent) => parent,
            Err(EngineError::ModelNotFound | EngineError::ModelBroken { .. }) => return Err(not_there()),
            Err(other) => return Err(other),
        };
        self.keep(model, &Overlay::follow(model, modelfile, parent.overlay)?)
    }

    /// Removes a model that was made.
    pub(super) fn delete(&self, model: &ModelName) -> Result<(), EngineError> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner).remove(model);
        match fs::remove_file(self.overlay_path(model)) {
            Ok(()) => self.sync_overlays(),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(&self.overlays_folder, &error)),
            Err(_) if self.gguf(model.as_str()).is_some() => {
                Err(EngineError::NotSupported { feature: "deleting a model that is a file of the models folder".to_owned() })
            }
            Err(_) => Err(EngineError::ModelNotFound),
        }
    }

    /// Writes the whole file under another name first: nobody reads half of it, whenever the power goes.
    fn keep(&self, model: &ModelName, overlay: &Overlay) -> Result<(), EngineError> {
        let draft = self.overlays_folder.join(format!(".draft-{}", uuid::Uuid::now_v7()));
        let written = overlay.to_json().map_err(io::Error::other).and_then(|text| {
            let mut file = File::create_new(&draft)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&draft, self.overlay_path(model))
        });
        if let Err(error) = written {
            // Nothing is lost when this fails too: a draft is no model.
            let _ = fs::remove_file(&draft);
            return Err(unusable(&self.overlays_folder, &error));
        }
        self.sync_overlays()
    }

    fn sync_overlays(&self) -> Result<(), EngineError> {
        File::open(&self.overlays_folder).and_then(|folder| folder.sync_all()).map_err(|error| unusable(&self.overlays_folder, &error))
    }

    /// Names hold slashes and colons, and differ only by case where file systems don't: so a file is named by its model's hash.
    fn overlay_path(&self, model: &ModelName) -> PathBuf {
        self.overlays_folder.join(format!("{}.json", hex::encode(Sha256::digest(model.as_str()))))
    }

    fn overlay(&self, model: &ModelName) -> Result<Option<(Overlay, Option<SystemTime>)>, EngineError> {
        let path = self.overlay_path(model);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| unusable(&path, &error))?,
        };
        let overlay = Overlay::from_json(&text).map_err(|error| unusable(&path, &error))?;
        Ok(Some((overlay, Stamp::of(&path).ok().and_then(|stamp| stamp.modified))))
    }

    fn overlays(&self) -> Result<Vec<(Overlay, Option<SystemTime>)>, EngineError> {
        let mut found = Vec::new();
        for path in files(&self.overlays_folder, "json")? {
            match fs::read(&path).map_err(|error| error.to_string()).and_then(|text| Overlay::from_json(&text)) {
                Ok(overlay) => found.push((overlay, Stamp::of(&path).ok().and_then(|stamp| stamp.modified))),
                // Gone since the folder was read.
                Err(_) if !path.exists() => {}
                Err(error) => tracing::warn!(file = %path.display(), error, "a created model can't be read"),
            }
        }
        Ok(found)
    }

    fn ggufs(&self) -> Result<BTreeMap<String, PathBuf>, EngineError> {
        let mut found = BTreeMap::new();
        for path in files(&self.models_folder, "gguf")? {
            match path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| !stem.contains(':')).map(ModelName::parse) {
                Some(Ok(name)) => {
                    found.insert(name.to_string(), path);
                }
                _ => tracing::warn!(file = %path.display(), "a GGUF whose file name is no model's name is left out"),
            }
        }
        Ok(found)
    }

    /// The file of a GGUF model; `None`: there is none of that name.
    fn gguf(&self, name: &str) -> Option<PathBuf> {
        // Nothing but a file of the folder itself.
        let plain = !name.contains(['/', ':', '\\']);
        Some(self.models_folder.join(format!("{name}.gguf"))).filter(|path| plain && path.is_file())
    }

    fn header(&self, path: &Path) -> Result<Header, EngineError> {
        let stamp = Stamp::of(path).map_err(|error| unusable(path, &error))?;
        if let Some((known, header)) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(path)
            && *known == stamp
        {
            return Ok(header.clone());
        }
        let gguf = Gguf::open(path)?;
        let header = Header { details: details(&gguf), context_length: gguf.context_length() };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), (stamp, header.clone()));
        Ok(header)
    }
}

fn entry(name: String, size: u64, modified_at: Option<SystemTime>, details: ModelDetails) -> ModelEntry {
    // The digest of a file of gigabytes takes longer than a list may.
    let (size_bytes, capabilities) = (i64::try_from(size).unwrap_or(i64::MAX), vec!["completion".to_owned()]);
    ModelEntry { name, size_bytes, digest: String::new(), modified_at, details, capabilities }
}

fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, EngineError> {
    let entries = fs::read_dir(folder).map_err(|error| unusable(folder, &error))?;
    let paths: Result<Vec<PathBuf>, io::Error> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(|error| unusable(folder, &error))?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension) && path.is_file());
    Ok(paths)
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> EngineError {
    EngineError::ModelBroken { detail: format!("{}: {error}", path.display()) }
}
