//! Compiles the protos with `protox`, so that no `protoc` is needed, and keeps their descriptors for server reflection.

use std::path::{Path, PathBuf};

use prost::Message as _;

const PROTOS: [&str; 6] = [
    "tollgate/error/v1/error_reason.proto",
    "tollgate/auth/v1/auth.proto",
    "tollgate/auth/v1/accounts.proto",
    "tollgate/auth/v1/admin.proto",
    "tollgate/inference/v1/inference.proto",
    "tollgate/inference/v1/models.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(PROTOS, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // The codec looks up a message's limits by its name.
    let mut prost = prost_build::Config::new();
    prost.enable_type_names();
    tonic_prost_build::configure()
        .codec_path("crate::codec::LeanCodec")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .compile_fds_with_config(descriptors, prost)?;
    Ok(())
}
