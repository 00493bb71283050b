//! Every App Runner operation against the published model: valid requests and answers, and every constraint broken.

use anyhow::{Result, ensure};
use apron_e2e::images::EchoImage;
use apron_e2e::{Platform, assets, run};

/// Set to write the table of operations into the documentation instead of checking it.
const WRITE: &str = "E2E_WRITE_DOCUMENTS";

#[test]
fn every_operation_keeps_to_the_published_model() -> Result<()> {
    let platform = Platform::start()?;
    let image = platform.push(&EchoImage::new("v1"), "echo:v1")?;
    let write = std::env::var_os(WRITE).is_some();
    let mut command = platform.client(assets::python()?);
    command
        .arg("-B")
        .arg(assets::checkout().join("tests/conformance/run.py"))
        .arg(&image)
        .arg(if write { "--write" } else { "--check" })
        .arg(assets::checkout().join("docs/compatibility.md"));
    let said = run::ok(&mut command)?;
    ensure!(said.contains(" 0 failures"), "{said}");
    println!("{said}");
    Ok(())
}
