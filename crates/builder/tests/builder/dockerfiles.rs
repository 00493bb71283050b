//! Builds from Dockerfiles, on a base image that a recipe made.

use crate::machine::{Machine, on_a_machine};
use apron_builder::{BuildRequest, BuilderOptions, Configuration};
use std::path::Path;

const DOCKERFILE: &str = "FROM apron/python311 AS build\nWORKDIR /src\nCOPY . .\nRUN echo built > made.txt && ls\n\n\
     FROM apron/python311\nENV GREETING=hello\nWORKDIR /srv\nCOPY --from=build /src/made.txt ./\nCOPY *.py /srv/\n\
     RUN test \"$GREETING\" = hello && test \"$(cat made.txt)\" = built && test ! -e /src && id -u > user.txt\n\
     EXPOSE 8080\nUSER 1000\nCMD [\"python3\", \"app.py\"]\n";

const PROGRAM: &str = "import http.server, os\n\
     class H(http.server.BaseHTTPRequestHandler):\n\
     \x20   def do_GET(self):\n\
     \x20       self.send_response(200)\n\
     \x20       self.end_headers()\n\
     \x20       text = f\"{os.environ['GREETING']} {open('made.txt').read().strip()} {os.getuid()} {os.getcwd()}\"\n\
     \x20       self.wfile.write(text.encode())\n\
     http.server.HTTPServer(('', 8080), H).serve_forever()\n";

pub fn dockerfile(machine: &Machine, source: &Path) -> BuildRequest {
    BuildRequest {
        configuration: Configuration::Dockerfile,
        ..machine.request(source)
    }
}

#[test]
fn privileged_a_dockerfile_of_two_stages_is_built_and_answers() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let source = tempfile::tempdir().unwrap();
        std::fs::write(source.path().join("app.py"), PROGRAM).unwrap();
        std::fs::write(source.path().join("Dockerfile"), DOCKERFILE).unwrap();
        let request = dockerfile(&machine, source.path());
        let built = machine.built(&request).await;
        assert_eq!(built.port, Some(8080));
        let answer = machine.answer(&built).await;
        assert!(answer.contains("hello built 1000 /srv"), "{answer}");
        let (again, lines) = machine.build(&request).await;
        assert_eq!(again.unwrap().image, built.image);
        assert!(
            lines.text().contains("kept from a former build"),
            "{}",
            lines.text()
        );
        machine.nothing_left().await;
    });
}

#[test]
fn privileged_a_dockerfile_that_fails_says_where() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let source = tempfile::tempdir().unwrap();
        let (result, _) = machine.build(&dockerfile(&machine, source.path())).await;
        assert!(
            result
                .unwrap_err()
                .message
                .contains("there is no Dockerfile")
        );
        std::fs::write(
            source.path().join("Dockerfile"),
            "FROM a.example.com/b\nFETCH x\n",
        )
        .unwrap();
        let (result, _) = machine.build(&dockerfile(&machine, source.path())).await;
        assert!(result.unwrap_err().message.contains("line 2: FETCH"));
    });
}

/// A program that needs nothing, in an image that has nothing else.
const FROM_SCRATCH: &str = "FROM apron/go1 AS build\nWORKDIR /src\nCOPY . .\n\
     RUN <<EOF\nset -e\ntest ! -e secret.txt\ntest -e kept/a.txt\nCGO_ENABLED=0 go build -o /out/server .\nEOF\n\n\
     FROM scratch AS files\nCOPY kept /kept/\n\n\
     FROM scratch\nWORKDIR /srv\nCOPY --from=build /out/server /server\nCOPY --from=files /kept ./kept\n\
     COPY --chown=7:8 main.go ./\nEXPOSE 8080\nUSER 1000\nENTRYPOINT [\"/server\"]\n";

const SERVER: &str = "package main\nimport (\"fmt\"; \"net/http\"; \"os\"; \"syscall\")\n\
     func main() {\n\
     http.HandleFunc(\"/\", func(w http.ResponseWriter, _ *http.Request) {\n\
     kept, _ := os.ReadFile(\"kept/a.txt\")\n\
     info, _ := os.Stat(\"main.go\")\n\
     _, shell := os.Stat(\"/bin\")\n\
     fmt.Fprintf(w, \"%s %d %d %v\", kept, os.Getuid(), info.Sys().(*syscall.Stat_t).Uid, shell)\n\
     })\n\
     http.ListenAndServe(\":8080\", nil)\n}\n";

#[test]
fn privileged_an_image_from_scratch_has_what_was_copied_and_nothing_else() {
    on_a_machine(BuilderOptions::default(), async |machine| {
        let source = tempfile::tempdir().unwrap();
        std::fs::create_dir(source.path().join("kept")).unwrap();
        for (name, text) in [
            ("Dockerfile", FROM_SCRATCH),
            ("main.go", SERVER),
            ("go.mod", "module server\n\ngo 1.19\n"),
            ("kept/a.txt", "kept"),
            ("secret.txt", "not for the image"),
            (".dockerignore", "*\n!*.go\n!go.mod\n!kept\n"),
        ] {
            std::fs::write(source.path().join(name), text).unwrap();
        }
        let request = dockerfile(&machine, source.path());
        let built = machine.built(&request).await;
        let answer = machine.answer(&built).await;
        let expected = "kept 1000 7 stat /bin: no such file or directory";
        assert!(answer.contains(expected), "{answer}");
        let (again, lines) = machine.build(&request).await;
        assert_eq!(again.unwrap().image, built.image);
        assert!(!lines.text().contains("$ "), "{}", lines.text());
        machine.nothing_left().await;
    });
}
