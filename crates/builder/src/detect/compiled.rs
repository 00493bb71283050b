//! Languages that are compiled to a program.

use super::{Application, DetectError, Look, application};

/// Looks for a Go program.
pub fn go(look: &Look<'_>) -> Result<Option<Application>, DetectError> {
    if !look.has("go.mod") {
        return Ok(None);
    }
    let mut found = application("GO_1", "go.mod makes it a Go program".to_owned());
    found.build.push("go build -o main .".to_owned());
    found.start = "./main".to_owned();
    found
        .reasons
        .push("go build makes the program main of the package in the directory".to_owned());
    if let Some(command) = look.procfile() {
        found
            .reasons
            .push("the line web of Procfile says how it is started".to_owned());
        found.start = command;
    }
    Ok(Some(found))
}

/// Looks for a Java application.
pub fn java(look: &Look<'_>) -> Result<Option<Application>, DetectError> {
    let gradle = ["build.gradle", "build.gradle.kts"];
    let (manifest, build, jar) = match (look.has("pom.xml"), look.first(&gradle)) {
        (true, _) => {
            let wrapper = look.has("mvnw");
            let program = if wrapper { "sh ./mvnw" } else { "mvn" };
            (
                "pom.xml",
                format!("{program} -q -B package -DskipTests"),
                "target/*.jar",
            )
        }
        (false, Some(manifest)) if look.has("gradlew") => (
            manifest,
            "sh ./gradlew --no-daemon -q build -x test".to_owned(),
            "build/libs/*.jar",
        ),
        (false, Some(manifest)) => {
            return Err(DetectError(format!(
                "{manifest} makes it a Java application, but it has no gradlew to build it with; add the Gradle wrapper, or write an \
                 apprunner.yaml"
            )));
        }
        (false, None) => return Ok(None),
    };
    let mut found = application(
        "CORRETTO_11",
        format!("{manifest} makes it a Java application"),
    );
    found.reasons.push(format!("`{build}` makes its archive"));
    found.build.push(build);
    found.start = format!("java -jar $(ls {jar} | grep -v -e -plain.jar -e original- | head -n 1)");
    found
        .reasons
        .push(format!("it is started from the archive in {jar}"));
    if let Some(command) = look.procfile() {
        found
            .reasons
            .push("the line web of Procfile says how it is started".to_owned());
        found.start = command;
    }
    Ok(Some(found))
}
