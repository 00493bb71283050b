use super::*;

const TWO_STAGES: &str = r#"
# syntax=docker/dockerfile:1
ARG VERSION=3.12
FROM python:${VERSION}-slim AS build
ARG EXTRA=dev
ENV HOME_DIR=/srv NAME="two words"
WORKDIR $HOME_DIR
COPY --chown=1000:1000 requirements*.txt ./
RUN --mount=type=cache,target=/root/.cache pip install \
    # in between
    -r requirements.txt
RUN ["echo", "it's"]

FROM python:3.12-slim
COPY --from=build /srv /srv
EXPOSE 8000/tcp
USER 1000
ENTRYPOINT ["python3", "-m"]
CMD app ${NOT_MINE}
"#;

#[test]
fn stages_are_read_with_their_variables() {
    let stages = parse(TWO_STAGES).unwrap();
    assert_eq!(stages.len(), 2);
    assert_eq!(
        (stages[0].from.as_str(), stages[0].name.as_deref()),
        ("python:3.12-slim", Some("build"))
    );
    let [
        Instruction::Env(env),
        Instruction::Workdir(directory),
        Instruction::Copy(copy),
        run,
        exec,
    ] = stages[0].instructions.as_slice()
    else {
        panic!("{:?}", stages[0]);
    };
    assert_eq!(env[1], ("NAME".to_owned(), "two words".to_owned()));
    assert_eq!(directory, "/srv");
    assert_eq!(
        (copy.sources.as_slice(), copy.target.as_str()),
        (&["requirements*.txt".to_owned()][..], "./")
    );
    assert_eq!(copy.owner.as_deref(), Some("1000:1000"));
    let Instruction::Run { command, arguments } = run else {
        panic!("{run:?}")
    };
    assert_eq!(
        command.split_whitespace().collect::<Vec<_>>().join(" "),
        "pip install -r requirements.txt"
    );
    assert_eq!(arguments.get("EXTRA").map(String::as_str), Some("dev"));
    assert!(matches!(exec, Instruction::Run { command, .. } if command == r"'echo' 'it'\''s'"));
    let last = &stages[1].instructions;
    assert!(matches!(&last[0], Instruction::Copy(copy) if copy.from.as_deref() == Some("build")));
    assert_eq!(
        last[3],
        Instruction::Entrypoint(vec!["python3".to_owned(), "-m".to_owned()])
    );
    assert!(
        matches!(&last[4], Instruction::Cmd(words) if words[0] == "/bin/sh" && words[2] == "app ${NOT_MINE}")
    );
}

#[test]
fn what_is_not_built_here_is_refused_with_its_line() {
    for (text, expected) in [
        ("", "it has no FROM"),
        ("RUN x", "line 1: RUN stands before the first FROM"),
        ("FROM a\nONBUILD RUN x", "line 2: ONBUILD is not built here"),
        (
            "FROM scratch\nRUN x",
            "line 2: RUN has no shell after FROM scratch",
        ),
        ("FROM scratch\nCOPY --chown=app x /", "needs numbers"),
        (
            "FROM a\n\nRUN --mount=type=secret,id=x cat",
            "line 3: RUN --mount=type=secret,id=x is not built here",
        ),
        (
            "FROM a\nRUN <<EOF\nx\nEOF \n",
            "line 2: the text after << does not end with `EOF`",
        ),
        (
            "FROM a\nCOPY <<EOF /x\ny\nEOF",
            "line 2: COPY of a text that follows",
        ),
        ("FROM a\nCOPY ../x /x", ".. leads out"),
        ("FROM a\nADD https://example.com/x /x", "of an address"),
        ("FROM a\nCOPY x", "names what is copied"),
        ("FROM a\nENV X", "has no value"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(
            error.starts_with("Dockerfile: ") && error.contains(expected),
            "{text}: {error}"
        );
    }
}

#[test]
fn variables_have_their_usual_forms() {
    let value = |name: &str| (name == "A").then(|| "x".to_owned());
    for (text, expected) in [
        ("$A/${A}b", "x/xb"),
        ("${B:-y}${A:-y}", "yx"),
        ("${A:+y}${B:+y}", "y"),
        (r"\$A $", "$A $"),
        (r"a\b", r"a\b"),
    ] {
        assert_eq!(words::substitute(text, &value), expected, "{text}");
    }
}

#[test]
fn ignored_files_are_patterns_and_exceptions() {
    let text = "# a comment\n./node_modules/\n**/*.pyc\n/\n!./src/\n! app.py\n!\n";
    let patterns = ignored(text).unwrap();
    assert_eq!(patterns, ["node_modules", "**/*.pyc", "!src", "!app.py"]);
    assert!(ignored("*\n!a[bc]\n").unwrap_err().contains("`!a[bc]`"));
}

#[test]
fn texts_that_follow_are_scripts_or_for_the_shell() {
    let text = "FROM a\nRUN <<EOF\n# not a comment\necho \"$X\" \\\n  more\nEOF\nRUN --mount=type=cache,target=/x <<-'END'\n\
                \t\techo one\n\tEND\nRUN python3 <<A > /x && cat 3<<B\nprint(1 << 2)\nA\nb\nB\nRUN echo $((1<<3)) <<<word\n\
                RUN echo \"see <<EOF for\" 'and <<EOF too'\nENV X=<<EOF";
    let stages = parse(text).unwrap();
    let commands: Vec<&str> = stages[0]
        .instructions
        .iter()
        .filter_map(|instruction| match instruction {
            Instruction::Run { command, .. } => Some(command.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(
        commands,
        [
            "# not a comment\necho \"$X\" \\\n  more\n",
            "echo one\n",
            "python3 <<A > /x && cat 3<<B\nprint(1 << 2)\nA\nb\nB\n",
            "echo $((1<<3)) <<<word",
            "echo \"see <<EOF for\" 'and <<EOF too'",
        ]
    );
}
