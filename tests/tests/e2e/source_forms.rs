//! What source code can be besides an application with a file: one with a Dockerfile, one that says nothing of itself, one
//! that does not run.

use crate::source::{connect, connection, create_with, events, source, write_application};
use anyhow::{Result, ensure};
use apron_e2e::git::{HttpHost, PASSWORD, Repository};
use apron_e2e::{Platform, run};
use serde_json::json;
use std::fs;

const DOCKERFILE: &str = "FROM apron/python311\nWORKDIR /srv\nCOPY main.py .\nRUN echo made by $(id -un) > made.txt\n\
                          EXPOSE 8000\nCMD [\"python3\", \"main.py\"]\n";

#[test]
fn dockerfiles_are_built_and_what_does_not_run_is_explained() -> Result<()> {
    let platform = Platform::start()?;
    let _bases = platform.serve_python_base()?;
    let host = HttpHost::start(&platform, 5)?;
    let arn = connection(&platform, "forms")?;
    connect(&platform, "forms", &host, PASSWORD)?;
    let work = Repository::at(platform.dir().join("work"))?;
    write_application(&work, "", "by-dockerfile")?;
    work.write("Dockerfile", DOCKERFILE)?;
    work.publish(&host.repository("docked")?)?;
    let wanted = source(&host.url("docked"), &arn, "/");
    let tags = json!([{ "Key": "apron:build", "Value": "dockerfile" }]);
    let docked = create_with(&platform, "docked", &wanted, &tags)?;

    let file = fs::read_to_string(work.dir().join("apprunner.yaml"))?;
    let ends = file.replace(
        "python3 main.py",
        "python3 -c 'raise SystemExit(\"no luck\")'",
    );
    work.write("apprunner.yaml", &ends)?;
    work.publish(&host.repository("ending")?)?;
    let wanted = source(&host.url("ending"), &arn, "/");
    let ending = create_with(&platform, "ending", &wanted, &json!([]))?;
    let mut wanted = source(&host.url("ending"), &arn, "/");
    wanted["CodeRepository"]["SourceCodeVersion"]["Value"] = json!("release");
    let branchless = create_with(&platform, "branchless", &wanted, &json!([]))?;

    docked.settle_as(&platform, "RUNNING")?;
    ensure!(docked.version(&platform)? == "by-dockerfile");
    let log = docked
        .deployment_log(&platform, &docked.operation)?
        .join("\n");
    ensure!(log.contains("made.txt"), "{log}");
    branchless.settle_as(&platform, "CREATE_FAILED")?;
    events(&branchless, &platform, &["has no branch release"])?;
    ending.settle_as(&platform, "CREATE_FAILED")?;
    let why = run::ok(&mut platform.apron(&["why", "ending"]))?;
    ensure!(
        why.contains("exit code 1") && why.contains("no luck"),
        "{why}"
    );
    Ok(())
}

#[test]
fn a_directory_without_a_file_is_found_out_about_and_written_down() -> Result<()> {
    let platform = Platform::start()?;
    let _bases = platform.serve_python_base()?;
    let work = Repository::at(platform.dir().join("guessed"))?;
    let file = work.dir().join("apprunner.yaml");
    let application = |version: &str| -> Result<()> {
        write_application(&work, "", version)?;
        let main = fs::read_to_string(work.dir().join("main.py"))?;
        work.write("main.py", &main.replace("8000", "8080"))?;
        Ok(fs::remove_file(&file)?)
    };
    let deploy = |arguments: &[&str]| {
        let mut command = platform.apron(&["deploy"]);
        command.arg(work.dir()).args(arguments);
        run::ok(command.env("HOME", platform.dir()))
    };
    application("guessed")?;
    let told = deploy(&[])?;
    let reasons = [
        "main.py makes it a Python application",
        "main.py is started by its own main program",
    ];
    for reason in reasons {
        ensure!(told.contains(reason), "{reason} is missing in\n{told}");
    }
    let service = platform.service("guessed")?;
    ensure!(service.version(&platform)? == "guessed" && !file.exists());

    application("guessed-again")?;
    let told = deploy(&["--write"])?;
    ensure!(
        told.contains("Wrote ") && told.contains(reasons[0]),
        "{told}"
    );
    let written = fs::read_to_string(&file)?;
    ensure!(
        written.contains("runtime: python311") && written.contains("python3 main.py"),
        "{written}"
    );
    ensure!(service.version(&platform)? == "guessed-again");
    // What is written down is the same as what was found out: nothing is left to tell.
    let told = deploy(&[])?;
    ensure!(told.contains("Building as apprunner.yaml says."), "{told}");
    ensure!(service.version(&platform)? == "guessed-again");
    let refused = run::fails(
        platform
            .apron(&["deploy", "--write"])
            .arg(work.dir())
            .env("HOME", platform.dir()),
    )?;
    ensure!(
        refused.contains("--write has nothing to write"),
        "{refused}"
    );
    Ok(())
}
