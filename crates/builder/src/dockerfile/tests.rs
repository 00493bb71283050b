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

fn actions(text: &str) -> Vec<Action> {
    let stages = parse(text).unwrap().stages;
    let all = stages.into_iter().flat_map(|stage| stage.instructions);
    all.map(|instruction| instruction.action).collect()
}

#[test]
fn stages_are_read() {
    let file = parse(TWO_STAGES).unwrap();
    let (first, last) = (&file.stages[0], &file.stages[1]);
    assert_eq!(
        (file.stages.len(), first.name.as_deref()),
        (2, Some("build"))
    );
    assert_eq!(first.from, "python:3.12-slim");
    assert_eq!(file.arguments["VERSION"], "3.12");
    let lines: Vec<usize> = first.instructions.iter().map(|it| it.line).collect();
    assert_eq!(lines, [5, 6, 7, 8, 9, 13]);
    let actions = actions(TWO_STAGES);
    assert_eq!(
        actions[0],
        Action::Arg(vec![("EXTRA".to_owned(), Some("dev".to_owned()))])
    );
    assert!(matches!(&actions[1], Action::Env(list) if list[1].1 == "\"two words\""));
    assert!(
        matches!(&actions[3], Action::Copy(copy) if copy.owner.as_deref() == Some("1000:1000"))
    );
    let Action::Run(run) = &actions[4] else {
        panic!("{actions:?}")
    };
    assert_eq!(run.mounts, ["type=cache,target=/root/.cache"]);
    assert!(
        matches!(&run.command, Form::Shell(text) if text == "pip install     -r requirements.txt")
    );
    assert!(
        matches!(&actions[5], Action::Run(run) if run.command == Form::Exec(vec!["echo".into(), "it's".into()]))
    );
    assert!(
        matches!(&last.instructions[0].action, Action::Copy(copy) if copy.from.as_deref() == Some("build"))
    );
}

#[test]
fn what_is_not_built_here_is_refused_with_its_line() {
    for (text, expected) in [
        ("", "it has no FROM"),
        ("RUN x", "line 1: RUN stands before the first FROM"),
        ("FROM a\nFETCH x", "line 2: FETCH is not built here"),
        (
            "FROM a\nONBUILD FROM x",
            "line 2: ONBUILD FROM is not allowed",
        ),
        (
            "FROM a\n\nRUN --mount=type=ssh cat",
            "line 3: RUN --mount=type=ssh is not built here",
        ),
        ("FROM a\nRUN --network=host x", "RUN --network=host is not"),
        (
            "FROM a\nRUN <<EOF\nx\nEOF \n",
            "line 2: the text after << does not end with `EOF`",
        ),
        ("FROM a\nCOPY --parents x /x", "COPY --parents is not"),
        ("FROM a\nADD --from=b x /x", "ADD --from is not"),
        ("FROM a\nSHELL /bin/bash", "SHELL is a list"),
        ("FROM a\nCOPY x", "names what is copied"),
        (
            &"FROM a\n".repeat(101),
            "line 101: it has more than 100 stages",
        ),
        ("FROM a\nENV X", "has no value"),
        ("FROM a\nENV X='y", "a quotation has no end"),
    ] {
        let error = parse(text).expect_err(text);
        assert!(
            error.starts_with("Dockerfile: ") && error.contains(expected),
            "{text}: {error}"
        );
    }
}

#[test]
fn variables_are_put_in_when_they_are_known() {
    let env = ["PATH=/bin".to_owned(), "A=of the image".to_owned()];
    let arguments = BTreeMap::from([
        ("A".to_owned(), "hidden".to_owned()),
        ("B".to_owned(), "b".to_owned()),
    ]);
    let scope = Scope::new(&env, &arguments, '\\');
    assert_eq!(scope.word("\"$A\" $B").unwrap(), "of the image b");
    assert_eq!(
        scope.unset_arguments().into_keys().collect::<Vec<_>>(),
        ["B"]
    );
    let text = "FROM a\nCOPY --from=$B <<EOF <<'RAW' x$B \"y z\" /to/\n$A \"$B\"\nEOF\n$A\nRAW\n";
    let [Action::Copy(copy)] = &actions(text)[..] else {
        panic!()
    };
    let copy = scope.copy(copy).unwrap();
    assert_eq!(copy.from.as_deref(), Some("b"));
    assert_eq!(copy.sources, ["xb", "y z"]);
    let texts: Vec<_> = copy
        .texts
        .iter()
        .map(|it| (it.name.as_str(), it.content.as_str()))
        .collect();
    assert_eq!(texts, [("EOF", "of the image \"b\"\n"), ("RAW", "$A\n")]);
    let [Action::Copy(copy)] = &actions("FROM a\nADD ../x https://e.com/../y /")[..] else {
        panic!()
    };
    assert!(scope.copy(copy).unwrap_err().contains("`../x` leads out"));
}

#[test]
fn a_file_may_name_its_own_escape() {
    let text = "# escape=`\nFROM a\nRUN one `\n  two C:\\\n";
    let [Action::Run(run)] = &actions(text)[..] else {
        panic!()
    };
    assert_eq!(run.command, Form::Shell("one   two C:\\".to_owned()));
    assert_eq!(lines::escape("# a comment\n# escape=`\nFROM a"), '\\');
}

#[test]
fn texts_that_follow_are_scripts_or_for_the_shell() {
    let text = "FROM a\nRUN <<EOF\n# not a comment\necho \"$X\" \\\n  more\nEOF\nRUN --mount=type=cache,target=/x <<-'END'\n\
                \t\techo one\n\tEND\nRUN python3 <<A > /x && cat 3<<B\nprint(1 << 2)\nA\nb\nB\nRUN echo $((1<<3)) <<<word\n\
                RUN echo \"see <<EOF for\" 'and <<EOF too'\nRUN <<E\n#!/usr/bin/python3\nE\nENV X=<<EOF";
    let actions = actions(text);
    let runs = actions.iter().filter_map(|action| match action {
        Action::Run(run) => Some(run),
        _ => None,
    });
    let commands: Vec<&str> = runs
        .clone()
        .filter_map(|run| match &run.command {
            Form::Shell(text) => Some(text.as_str()),
            Form::Exec(_) => None,
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
            "#!/usr/bin/python3\n",
        ]
    );
    let programs: Vec<_> = runs.filter_map(|run| run.program.as_deref()).collect();
    assert_eq!(programs, ["#!/usr/bin/python3\n"]);
}

proptest::proptest! {
    #[test]
    fn any_file_is_read_or_refused(
        text in "(?s)((FROM|RUN|COPY|ADD|ENV|ARG|LABEL|SHELL|ONBUILD|CMD|EXPOSE)[ \\t]|--mount=|type=|secret|<<-?'?EOF'?|\\nEOF\\n|\\[|\\]|[$]\\{?[A-Z]|[#%/:+?-]|[\\\\`'\"= \\n*]|\\PC){0,60}"
    ) {
        let env = ["A=a/b.c".to_owned()];
        let arguments = BTreeMap::from([("B".to_owned(), "é".to_owned())]);
        let scope = Scope::new(&env, &arguments, '\\');
        let _ = (scope.word(&text), ignored(&text), instruction(&text));
        if let Ok(file) = parse(&format!("FROM a\n{text}")) {
            for instruction in file.stages.iter().flat_map(|stage| &stage.instructions) {
                match &instruction.action {
                    Action::Copy(copy) => drop(scope.copy(copy)),
                    Action::Run(run) => drop(scope.mounts(&run.mounts)),
                    Action::Env(list) | Action::Label(list) => drop(scope.pairs(list)),
                    Action::Expose(words) => drop(scope.words(words)),
                    _ => {}
                }
            }
        }
    }
}
