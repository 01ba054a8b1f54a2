//! Compiles the `.proto` files, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = protox::compile(["levee.proto"], ["."])?;
    println!("cargo:rerun-if-changed=levee.proto");
    tonic_prost_build::configure().type_attribute(".levee.v1", "#[derive(serde::Serialize)]").compile_fds(files)?;
    Ok(())
}
