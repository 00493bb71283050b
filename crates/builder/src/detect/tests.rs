use super::*;
use crate::file::AppRunnerFile;

fn look(files: &[(&str, &str)]) -> Result<Detected, DetectError> {
    let root = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    detect(root.path())
}

fn application(files: &[(&str, &str)]) -> Application {
    match look(files) {
        Ok(Detected::Application(found)) => found,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_written_down_comes_before_guesses() {
    let python = ("requirements.txt", "flask");
    assert_eq!(look(&[python, ("apprunner.yaml", "")]), Ok(Detected::File));
    assert_eq!(
        look(&[python, ("Dockerfile", "")]),
        Ok(Detected::Dockerfile)
    );
}

const FLASK: &str = "from flask import Flask\napp = Flask(__name__)\n";

type Files = &'static [(&'static str, &'static str)];

/// Files, and the runtime, a part of the commands, and a part of the start that they stand for.
const CHOICES: &[(Files, &str, &str, &str)] = &[
    (
        &[("requirements.txt", "flask"), ("app.py", FLASK)],
        "PYTHON_311",
        "pip3 install -r requirements.txt",
        "python3 -m flask --app app run",
    ),
    (
        &[("requirements.txt", "flask\ngunicorn"), ("app.py", FLASK)],
        "PYTHON_311",
        "pip3",
        "gunicorn --bind 0.0.0.0:8080 app:app",
    ),
    (
        &[("requirements.txt", "fastapi"), ("main.py", "")],
        "PYTHON_311",
        "pip3 install uvicorn",
        "uvicorn main:app",
    ),
    (
        &[
            ("Pipfile", "flask"),
            ("Pipfile.lock", ""),
            ("app.py", FLASK),
        ],
        "PYTHON_311",
        "pipenv install --system --deploy",
        "flask",
    ),
    (
        &[
            ("pyproject.toml", ""),
            ("poetry.lock", ""),
            ("main.py", "__main__"),
        ],
        "PYTHON_311",
        "poetry install",
        "python3 main.py",
    ),
    (
        &[("requirements.txt", "django"), ("manage.py", "")],
        "PYTHON_311",
        "pip3",
        "python3 manage.py runserver 0.0.0.0:8080",
    ),
    (
        &[
            ("requirements.txt", "x"),
            ("Procfile", "worker: y\nweb: gunicorn x:y\n"),
        ],
        "PYTHON_311",
        "pip3",
        "gunicorn x:y",
    ),
    (
        &[
            (
                "package.json",
                r#"{"scripts":{"start":"node ."},"dependencies":{"a":"1"}}"#,
            ),
            ("package-lock.json", ""),
        ],
        "NODEJS_22",
        "npm ci",
        "npm start",
    ),
    (
        &[
            (
                "package.json",
                r#"{"scripts":{"build":"tsc"},"dependencies":{"a":"1"}}"#,
            ),
            ("yarn.lock", ""),
            ("index.js", ""),
        ],
        "NODEJS_22",
        "yarn run build",
        "node index.js",
    ),
    (
        &[("go.mod", "module x")],
        "GO_1",
        "go build -o main .",
        "./main",
    ),
    (
        &[("pom.xml", "")],
        "CORRETTO_11",
        "mvn -q -B package",
        "java -jar",
    ),
    (
        &[("build.gradle", ""), ("gradlew", "")],
        "CORRETTO_11",
        "gradlew",
        "build/libs",
    ),
    (
        &[("Gemfile", "gem 'sinatra'"), ("config.ru", "")],
        "RUBY_31",
        "bundle install",
        "rackup --host 0.0.0.0 -p 8080",
    ),
    (
        &[("Gemfile", "gem 'rails'")],
        "RUBY_31",
        "bundle install",
        "rails server",
    ),
    (
        &[("composer.json", "{}"), ("public/index.php", "")],
        "PHP_81",
        "composer install",
        "php -S 0.0.0.0:8080 -t public",
    ),
    (&[("index.php", "")], "PHP_81", "", "-t ."),
];

#[test]
fn manifests_and_locks_choose_runtime_build_and_start() {
    for (files, runtime, build, start) in CHOICES {
        let found = application(files);
        assert_eq!(found.runtime, *runtime, "{files:?}");
        let commands = format!("{} {}", found.build.join(" "), found.pre_run.join(" "));
        assert!(commands.contains(build), "{files:?}: {commands}");
        assert!(found.start.contains(start), "{files:?}: {}", found.start);
        assert!(found.reasons.len() >= 2, "{found:?}");
        // What is written down is read back as the same.
        let file = AppRunnerFile::parse(&found.to_yaml())
            .unwrap_or_else(|error| panic!("{error}\n{}", found.to_yaml()));
        assert_eq!(
            (
                file.build.commands.build,
                file.run.pre_run,
                file.run.command
            ),
            (found.build, found.pre_run, found.start)
        );
        assert_eq!(file.run.network.unwrap().port, Some(8080));
    }
}

#[test]
fn what_cannot_be_told_says_what_to_do() {
    for (files, expected) in [
        (&[][..], "apprunner.yaml"),
        (&[("README.md", "")], "requirements.txt"),
        (
            &[("requirements.txt", "flask")],
            "how it is started cannot be told",
        ),
        (&[("package.json", "{}")], "no script start"),
        (&[("package.json", "{")], "not JSON"),
        (&[("build.gradle", "")], "gradlew"),
        (&[("composer.json", "{}")], "index.php"),
        (&[("Gemfile", "")], "config.ru"),
    ] {
        let error = look(files).expect_err("it is refused").to_string();
        assert!(error.contains(expected), "{files:?}: {error}");
    }
}

/// The sample applications that say themselves how they are built say it well, and the others are found out about.
#[test]
fn the_samples_are_what_they_are_meant_to_be() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let of = |name: &str| detect(&samples.join(name));
    for (name, runtime) in [
        ("flask-source", "python311"),
        ("rails-source", "ruby31"),
        ("spring-source", "corretto11"),
    ] {
        assert_eq!(of(name), Ok(Detected::File), "{name}");
        let text = std::fs::read_to_string(samples.join(name).join(file::NAME)).unwrap();
        let file = AppRunnerFile::parse(&text).unwrap();
        assert_eq!(file.runtime, runtime, "{name}");
    }
    assert_eq!(of("flask-hello"), Ok(Detected::Dockerfile));
    let Ok(Detected::Application(fastapi)) = of("fastapi-source") else {
        panic!("not found out about");
    };
    assert_eq!(
        fastapi.start,
        "python3 -m uvicorn main:app --host 0.0.0.0 --port 8080"
    );
}
