//! Python.

use super::{Application, DetectError, Look, application};

/// Files that an application's start is looked for in, the likeliest first.
const MAINS: &[&str] = &[
    "app.py",
    "main.py",
    "server.py",
    "wsgi.py",
    "application.py",
    "run.py",
];

/// Looks for a Python application.
pub fn guess(look: &Look<'_>) -> Result<Option<Application>, DetectError> {
    let manifests = [
        "requirements.txt",
        "Pipfile",
        "pyproject.toml",
        "setup.py",
        "manage.py",
    ];
    let Some(manifest) = look.first(&manifests).or_else(|| look.first(MAINS)) else {
        return Ok(None);
    };
    let mut found = application(
        "PYTHON_311",
        format!("{manifest} makes it a Python application"),
    );
    found.build.push("python3 -m compileall -q .".to_owned());
    let known = install(look, manifest, &mut found);
    start(look, &known, &mut found)?;
    Ok(Some(found))
}

/// How dependencies are installed; answers what they are, for the start.
fn install(look: &Look<'_>, manifest: &str, found: &mut Application) -> String {
    let text = look.text(manifest).unwrap_or_default();
    match manifest {
        "requirements.txt" => {
            found
                .pre_run
                .push("pip3 install -r requirements.txt".to_owned());
            found
                .reasons
                .push("pip3 installs what requirements.txt lists".to_owned());
        }
        "Pipfile" => {
            let locked = look.has("Pipfile.lock");
            let lock = if locked { " --deploy" } else { "" };
            found.pre_run.push("pip3 install pipenv".to_owned());
            found.pre_run.push(format!("pipenv install --system{lock}"));
            let lock = if locked { "Pipfile.lock" } else { "Pipfile" };
            found
                .reasons
                .push(format!("pipenv installs what {lock} lists"));
        }
        "pyproject.toml" if look.has("poetry.lock") => {
            found.pre_run.push("pip3 install poetry".to_owned());
            found
                .pre_run
                .push("poetry config virtualenvs.create false".to_owned());
            found
                .pre_run
                .push("poetry install --only main --no-root".to_owned());
            found
                .reasons
                .push("poetry installs what poetry.lock lists".to_owned());
        }
        "pyproject.toml" | "setup.py" => {
            found.pre_run.push("pip3 install .".to_owned());
            found.reasons.push(format!(
                "pip3 installs the project and what {manifest} lists"
            ));
        }
        _ => {}
    }
    text.to_lowercase()
}

fn start(look: &Look<'_>, known: &str, found: &mut Application) -> Result<(), DetectError> {
    if let Some(command) = look.procfile() {
        found
            .reasons
            .push("the line web of Procfile says how it is started".to_owned());
        found.start = command;
        return Ok(());
    }
    if look.has("manage.py") {
        found.start = format!("python3 manage.py runserver 0.0.0.0:{}", found.port);
        found
            .reasons
            .push("manage.py makes it a Django application, which its own server runs".to_owned());
        return Ok(());
    }
    let mains = MAINS
        .iter()
        .filter_map(|main| look.text(main).map(|text| (*main, text)));
    let Some((main, text)) = mains.into_iter().next() else {
        return Err(DetectError(
            "it is a Python application, but how it is started cannot be told: there is no app.py, main.py, server.py or Procfile; \
             write an apprunner.yaml"
                .to_owned(),
        ));
    };
    let module = main.trim_end_matches(".py");
    let object = if text.contains("\napplication =") {
        "application"
    } else {
        "app"
    };
    let port = found.port;
    let runs_itself = text.contains("__main__");
    let (start, why) =
        if known.contains("fastapi") || known.contains("uvicorn") || text.contains("FastAPI(") {
            if !known.contains("uvicorn") && !known.contains("fastapi[standard]") {
                found.pre_run.push("pip3 install uvicorn".to_owned());
            }
            (
                format!("python3 -m uvicorn {module}:{object} --host 0.0.0.0 --port {port}"),
                "FastAPI, which uvicorn runs",
            )
        } else if known.contains("gunicorn") {
            (
                format!("gunicorn --bind 0.0.0.0:{port} {module}:{object}"),
                "gunicorn, which it lists",
            )
        } else if (known.contains("flask") || text.contains("Flask(")) && !runs_itself {
            (
                format!("python3 -m flask --app {module} run --host 0.0.0.0 --port {port}"),
                "Flask",
            )
        } else {
            (format!("python3 {main}"), "its own main program")
        };
    found.reasons.push(format!("{main} is started by {why}"));
    found.start = start;
    Ok(())
}
