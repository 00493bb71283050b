//! Node.js.

use super::{Application, DetectError, Look, application};
use serde_json::Value;

/// Looks for a Node.js application.
pub fn guess(look: &Look<'_>) -> Result<Option<Application>, DetectError> {
    let Some(text) = look.text("package.json") else {
        return Ok(None);
    };
    let package: Value = serde_json::from_str(&text)
        .map_err(|error| DetectError(format!("package.json is not JSON: {error}")))?;
    let mut found = application(
        "NODEJS_22",
        "package.json makes it a Node.js application".to_owned(),
    );
    let manager = install(look, &package, &mut found);
    let script = |name: &str| package["scripts"][name].as_str();
    if script("build").is_some() {
        found.build.push(format!("{manager} run build"));
        found
            .reasons
            .push("package.json has a script build".to_owned());
    }
    found
        .env
        .push(("NODE_ENV".to_owned(), "production".to_owned()));
    let mains = ["server.js", "app.js", "index.js", "main.js"];
    let main = package["main"].as_str().filter(|main| look.has(main));
    let (start, why) = match (
        look.procfile(),
        script("start"),
        main.or_else(|| look.first(&mains)),
    ) {
        (Some(command), ..) => (
            command,
            "the line web of Procfile says how it is started".to_owned(),
        ),
        (None, Some(_), _) => (
            format!("{manager} start"),
            "package.json has a script start".to_owned(),
        ),
        (None, None, Some(main)) => (
            format!("node {main}"),
            format!("{main} is its main program"),
        ),
        (None, None, None) => {
            return Err(DetectError(
                "it is a Node.js application, but how it is started cannot be told: package.json has no script start, and there is \
                 no server.js, app.js or index.js; write an apprunner.yaml"
                    .to_owned(),
            ));
        }
    };
    found.start = start;
    found.reasons.push(why);
    if let Some(engines) = package["engines"]["node"].as_str() {
        found.reasons.push(format!(
            "package.json wants Node.js {engines}; the runtime has the newest 22"
        ));
    }
    Ok(Some(found))
}

/// How dependencies are installed; answers the program that does it.
fn install(look: &Look<'_>, package: &Value, found: &mut Application) -> &'static str {
    let locks = [
        "yarn.lock",
        "pnpm-lock.yaml",
        "package-lock.json",
        "npm-shrinkwrap.json",
    ];
    let lock = look.first(&locks);
    let (manager, commands): (&str, &[&str]) = match lock {
        Some("yarn.lock") => ("yarn", &["yarn install --frozen-lockfile"]),
        Some("pnpm-lock.yaml") => (
            "pnpm",
            &[
                "npm install --global pnpm@9",
                "pnpm install --frozen-lockfile",
            ],
        ),
        Some(_) => ("npm", &["npm ci"]),
        None => ("npm", &["npm install"]),
    };
    let needs = ["dependencies", "devDependencies"].iter().any(|key| {
        let list = package[*key].as_object();
        list.is_some_and(|list| !list.is_empty())
    });
    if needs {
        found
            .build
            .extend(commands.iter().map(|command| (*command).to_owned()));
        let by = lock.unwrap_or("package.json");
        found
            .reasons
            .push(format!("{manager} installs what {by} lists"));
    }
    manager
}
