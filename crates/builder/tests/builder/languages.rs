//! One small real application per language, built and asked.

use crate::machine::{apps, on_a_machine};
use apron_builder::BuilderOptions;
use apron_domain::ServiceId;
use std::collections::BTreeSet;

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

/// Java reads no PEM: what Maven is told to trust is what the machine trusts, and what is built knows nothing of it.
#[test]
fn privileged_builds_in_java_trust_what_the_machine_trusts() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let source = tempfile::tempdir().unwrap();
        let program = "import javax.net.ssl.*;\n\
             class Trust { public static void main(String[] none) throws Exception {\n\
             var factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());\n\
             factory.init((java.security.KeyStore) null);\n\
             var manager = (X509TrustManager) factory.getTrustManagers()[0];\n\
             System.out.println(\"trusts \" + manager.getAcceptedIssuers().length + \" \" + System.getProperty(\"own\"));\n\
             System.out.println(System.getProperty(\"javax.net.ssl.trustStore\")); } }\n";
        std::fs::write(source.path().join("Trust.java"), program).unwrap();
        let file = "version: 1.0\nruntime: corretto11\nbuild:\n  env:\n    - name: MAVEN_OPTS\n      value: -Down=too\n  \
             commands:\n    build:\n      - java $MAVEN_OPTS Trust.java\nrun:\n  command: java Trust.java\n";
        std::fs::write(source.path().join("apprunner.yaml"), file).unwrap();
        let (result, lines) = machine.build(&machine.request(source.path())).await;
        result.unwrap();
        let trusted = BuilderOptions::default().trust.unwrap();
        let pem = std::fs::read_to_string(trusted).unwrap();
        let certificates: BTreeSet<&str> =
            pem.split("-----BEGIN CERTIFICATE-----").skip(1).collect();
        let text = lines.text();
        let expected = format!("trusts {} too", certificates.len());
        assert!(
            text.contains(&expected) && text.contains("/.apron/cacerts"),
            "{expected}: {text}"
        );
    });
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
