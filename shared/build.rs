//! Compiles the protos with `protox`, so that no `protoc` is needed, and keeps their descriptors for server reflection.

use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_types::FileDescriptorSet;

const PROTOS: [&str; 8] = [
    "tollgate/error/v1/error_reason.proto",
    "tollgate/auth/v1/auth.proto",
    "tollgate/auth/v1/organizations.proto",
    "tollgate/auth/v1/sign_in.proto",
    "tollgate/auth/v1/accounts.proto",
    "tollgate/auth/v1/admin.proto",
    "tollgate/inference/v1/inference.proto",
    "tollgate/inference/v1/models.proto",
];

/// Fields that hold a secret, or what people ask a model and what it answers. A message with one of them shows nothing in its `Debug`, and
/// so doesn't get into a log by a line that somebody adds.
const HIDDEN_FIELDS: [&str; 31] = [
    "password",
    "current_password",
    "new_password",
    "one_time_password",
    "access_token",
    "refresh_token",
    "id_token",
    "token",
    "credential",
    "key",
    "messages",
    "content",
    "thinking",
    "images",
    "prompt",
    "system",
    "suffix",
    "inputs",
    "arguments_json",
    "modelfile",
    "nonce",
    "sign_in",
    "authorization_code",
    "device_code",
    "user_code",
    "verification_uri_complete",
    "second_factor_code",
    "totp_secret",
    "otpauth_uri",
    "recovery_codes",
    "invitation_code",
];

/// The messages that have a hidden field, with the module that their package is in.
fn hidden_messages(descriptors: &FileDescriptorSet) -> Vec<(String, String, String)> {
    let mut hidden = Vec::new();
    for file in &descriptors.file {
        let module = file.package().split('.').nth(1).unwrap_or_default();
        for message in &file.message_type {
            if file.package().starts_with("tollgate.") && message.field.iter().any(|field| HIDDEN_FIELDS.contains(&field.name())) {
                hidden.push((file.package().to_owned(), module.to_owned(), message.name().to_owned()));
            }
        }
    }
    hidden
}

/// What stands in the files, without where, and without what is said of it.
fn without_comments(descriptors: &FileDescriptorSet) -> FileDescriptorSet {
    let mut bare = descriptors.clone();
    bare.file.iter_mut().for_each(|file| file.source_code_info = None);
    bare
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(PROTOS, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    std::fs::write(out.join("contract.bin"), without_comments(&descriptors).encode_to_vec())?;
    // The codec looks up a message's limits by its name.
    let mut prost = prost_build::Config::new();
    prost.enable_type_names();
    let hidden = hidden_messages(&descriptors);
    prost.skip_debug(hidden.iter().map(|(package, _, message)| format!(".{package}.{message}")));
    let debug = hidden.iter().map(|(_, module, message)| {
        format!(
            "impl std::fmt::Debug for {module}::{message} {{\n\
             fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{\n\
             f.debug_struct(\"{message}\").finish_non_exhaustive()\n}}\n}}\n"
        )
    });
    std::fs::write(out.join("hidden.rs"), debug.collect::<String>())?;
    tonic_prost_build::configure()
        .codec_path("crate::codec::LeanCodec")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .compile_fds_with_config(descriptors, prost)?;
    Ok(())
}
