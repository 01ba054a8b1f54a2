//! Compiles the `.proto` files, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["levee.proto", "gobgp.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    tonic_prost_build::configure()
        .type_attribute(".levee.v1", "#[derive(serde::Serialize)]")
        .compile_fds(protox::compile(files, ["."])?)?;
    Ok(())
}
