//! Ruby and PHP.

use super::{Application, DetectError, Look, application};

/// Looks for a Ruby application.
pub fn ruby(look: &Look<'_>) -> Result<Option<Application>, DetectError> {
    let Some(gems) = look.text("Gemfile") else {
        return Ok(None);
    };
    let mut found = application("RUBY_31", "Gemfile makes it a Ruby application".to_owned());
    found.build.push("bundle install".to_owned());
    let port = found.port;
    let (start, why) = if let Some(command) = look.procfile() {
        (command, "the line web of Procfile says how it is started")
    } else if gems.contains("rails") {
        (
            format!("bundle exec rails server -b 0.0.0.0 -p {port}"),
            "Gemfile lists Rails",
        )
    } else if look.has("config.ru") {
        (
            format!("bundle exec rackup --host 0.0.0.0 -p {port}"),
            "config.ru says how it is started",
        )
    } else if let Some(main) = look.first(&["app.rb", "main.rb", "server.rb"]) {
        (
            format!("bundle exec ruby {main}"),
            "there is a main program",
        )
    } else {
        return Err(DetectError(
            "it is a Ruby application, but how it is started cannot be told: there is no config.ru, app.rb or Procfile; write an \
             apprunner.yaml"
                .to_owned(),
        ));
    };
    found.start = start;
    found.reasons.push(why.to_owned());
    Ok(Some(found))
}

/// Looks for a PHP application.
pub fn php(look: &Look<'_>) -> Result<Option<Application>, DetectError> {
    let mains = ["composer.json", "index.php", "public/index.php"];
    let Some(manifest) = look.first(&mains) else {
        return Ok(None);
    };
    let mut found = application("PHP_81", format!("{manifest} makes it a PHP application"));
    if look.has("composer.json") {
        found
            .build
            .push("composer install --no-dev --no-interaction".to_owned());
        found
            .reasons
            .push("composer installs what composer.json lists".to_owned());
    }
    let root = match (look.has("public/index.php"), look.has("index.php")) {
        (true, _) => "public",
        (false, true) => ".",
        (false, false) => {
            return Err(DetectError(
                "it is a PHP application, but there is no index.php and no public/index.php; write an apprunner.yaml".to_owned(),
            ));
        }
    };
    found.start = format!("php -S 0.0.0.0:{} -t {root}", found.port);
    found
        .reasons
        .push(format!("PHP's own server serves the directory {root}"));
    if let Some(command) = look.procfile() {
        found
            .reasons
            .push("the line web of Procfile says how it is started".to_owned());
        found.start = command;
    }
    Ok(Some(found))
}
