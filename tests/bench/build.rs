//! Compiles the baseline's own contract with `protox`, as `shared` does with Tollgate's.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    println!("cargo:rerun-if-changed={}", root.display());
    tonic_prost_build::configure().compile_fds(protox::compile(["tollgate/bench/v1/baseline.proto"], [&root])?)?;
    Ok(())
}
