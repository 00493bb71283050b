//! One small real application per language, built and asked.

use crate::machine::{apps, on_a_machine};
use apron_builder::BuilderOptions;
use apron_domain::ServiceId;

fn builds_and_answers(language: &'static str, expected: &'static str) {
    on_a_machine(BuilderOptions::default(), async move |machine| {
        let request = machine.request(&apps().join(language));
        let built = machine.built(&request).await;
        let answer = machine.answer(&built).await;
        assert!(
            answer.starts_with("HTTP/1.") && answer.contains(expected),
            "{answer}"
        );
        machine.nothing_left().await;
    });
}

#[test]
fn privileged_python_with_flask() {
    builds_and_answers("python", "hello from Python");
}

#[test]
fn privileged_nodejs_with_express() {
    builds_and_answers("node", "hello from Node.js 22.");
}

#[test]
fn privileged_go_with_its_own_server() {
    builds_and_answers("go", "hello from Go");
}

#[test]
fn privileged_ruby_with_sinatra() {
    builds_and_answers("ruby", "hello from Ruby");
}

#[test]
fn privileged_java_with_its_own_server() {
    builds_and_answers("java", "hello from Java");
}

#[test]
fn privileged_php_with_its_own_server() {
    builds_and_answers("php", "hello from PHP");
}

/// The same source for two services that have nothing in common is the same image; a change of a line builds on what is
/// kept, and says so.
#[test]
fn privileged_the_same_source_is_the_same_image_and_a_changed_line_is_quick() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let source = tempfile::tempdir().unwrap();
        for file in ["app.py", "apprunner.yaml", "requirements.txt"] {
            std::fs::copy(apps().join("python").join(file), source.path().join(file)).unwrap();
        }
        let request = machine.request(source.path());
        let first = machine.built(&request).await;
        let mut elsewhere = machine.request(&apps().join("python"));
        elsewhere.service = ServiceId::from_random([200; 16]);
        let again = machine.built(&elsewhere).await;
        assert_eq!(first.image, again.image);
        let program = std::fs::read_to_string(source.path().join("app.py")).unwrap();
        let changed = program.replace("hello from Python", "changed");
        std::fs::write(source.path().join("app.py"), changed).unwrap();
        let started = std::time::Instant::now();
        let (result, lines) = machine.build(&request).await;
        let built = result.unwrap();
        println!("a changed line took {:?}", started.elapsed());
        assert_ne!(first.image, built.image);
        assert!(
            lines.text().contains("kept from a former build"),
            "{}",
            lines.text()
        );
        let answer = machine.answer(&built).await;
        assert!(answer.contains("changed"), "{answer}");
    });
}
