//! Dockerfiles as people have them: written after the templates of `docker init`, with mounts for lists of dependencies and
//! caches, users, arguments and defaults; each builds a small real application twice.

use crate::dockerfiles::dockerfile;
use crate::machine::{apps, on_a_machine, random};
use apron_builder::{BuildRequest, BuilderOptions};
use apron_domain::ServiceId;

const PYTHON: &str = r#"# syntax=docker/dockerfile:1
ARG PYTHON_VERSION=311
FROM apron/python${PYTHON_VERSION} as base
# Prevents Python from writing pyc files.
ENV PYTHONDONTWRITEBYTECODE=1
ENV PYTHONUNBUFFERED=1
WORKDIR /app
ARG UID=10001
RUN adduser \
    --disabled-password \
    --gecos "" \
    --home "/nonexistent" \
    --shell "/sbin/nologin" \
    --no-create-home \
    --uid "${UID}" \
    appuser
RUN python3 -m venv /opt/venv
ENV PATH="/opt/venv/bin:$PATH"
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=requirements.txt,target=requirements.txt \
    python -m pip install -r requirements.txt
USER appuser
COPY . .
EXPOSE 8080
CMD python app.py
"#;

const NODE: &str = r#"# syntax=docker/dockerfile:1
FROM apron/nodejs22
ENV NODE_ENV production
WORKDIR /usr/src/app
RUN --mount=type=bind,source=package.json,target=package.json \
    --mount=type=cache,target=/root/.npm \
    npm install --omit=dev --no-package-lock
RUN useradd node
USER node
COPY --chown=node . .
EXPOSE 8080
CMD node server.js
"#;

const GO: &str = r#"# syntax=docker/dockerfile:1
FROM --platform=$BUILDPLATFORM apron/go1 AS build
WORKDIR /src
RUN --mount=type=cache,target=/root/go/pkg/mod/ \
    --mount=type=bind,source=go.mod,target=go.mod \
    go mod download -x
ARG TARGETARCH
RUN --mount=type=cache,target=/root/go/pkg/mod/ \
    --mount=type=cache,target=/root/.cache/go-build \
    --mount=type=bind,target=. \
    CGO_ENABLED=0 GOARCH=$TARGETARCH go build -o /bin/server .
FROM scratch AS final
COPY --from=build /etc/passwd /etc/
COPY --from=build --chown=65534:65534 /bin/server /bin/
USER nobody
EXPOSE 8080
ENTRYPOINT [ "/bin/server" ]
"#;

fn builds_and_answers(
    language: &'static str,
    main: &'static str,
    text: &'static str,
    expected: &'static str,
) {
    on_a_machine(BuilderOptions::default(), async move |machine| {
        let source = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(apps().join(language)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), source.path().join(file.file_name())).unwrap();
        }
        std::fs::write(source.path().join("Dockerfile"), text).unwrap();
        let request = BuildRequest {
            service: ServiceId::from_random(random()),
            ..dockerfile(&machine, source.path())
        };
        let built = machine.built(&request).await;
        let answer = machine.answer(&built).await;
        assert!(answer.contains(expected), "{answer}");
        let main = source.path().join(main);
        let changed = std::fs::read_to_string(&main)
            .unwrap()
            .replace("hello from", "a changed hello from");
        std::fs::write(&main, changed).unwrap();
        let (again, lines) = machine.build(&request).await;
        let said = lines.text();
        let answer = machine.answer(&again.expect(&said)).await;
        assert!(
            answer.contains(&format!("a changed {expected}")),
            "{answer}"
        );
        let kept = said.matches("(kept from a former build)").count();
        assert!(kept > 0, "{said}");
        machine.nothing_left().await;
    });
}

#[test]
fn privileged_python_with_a_virtual_environment() {
    builds_and_answers("python", "app.py", PYTHON, "hello from Python");
}

#[test]
fn privileged_nodejs_with_its_own_user() {
    builds_and_answers("node", "server.js", NODE, "hello from Node.js 22.");
}

#[test]
fn privileged_go_with_nothing_else_in_its_image() {
    builds_and_answers("go", "main.go", GO, "hello from Go");
}
