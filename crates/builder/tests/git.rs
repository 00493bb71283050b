//! Fetching from real repositories on this machine.
#![allow(clippy::unwrap_used)]

use apron_builder::git::{self, GitError, Remote};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A repository with a work tree, and a place to fetch into.
struct Bench {
    dir: TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench {
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(bench.work()).unwrap();
        bench.git(&["init", "-q", "-b", "main"]);
        bench
    }

    fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    fn place(&self) -> PathBuf {
        self.dir.path().join("place")
    }

    fn remote(&self) -> Remote {
        Remote::local(self.work(), "the repository")
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com"])
            .args([
                "-c",
                "protocol.file.allow=always",
                "-c",
                "commit.gpgsign=false",
            ])
            .args(arguments)
            .current_dir(self.work())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn commit(&self) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", "change"]);
        self.git(&["rev-parse", "HEAD"])
    }

    async fn fetch(&self, branch: &str, directory: &str) -> Result<git::Fetched, GitError> {
        git::fetch(&self.remote(), branch, directory, &self.place()).await
    }
}

fn read(files: &Path, name: &str) -> String {
    std::fs::read_to_string(files.join(name)).unwrap()
}

#[tokio::test]
async fn the_files_of_the_head_arrive_and_nothing_else() {
    let bench = Bench::new();
    bench.write("app/main.py", "one");
    bench.commit();
    bench.write("app/main.py", "two\r\n");
    std::os::unix::fs::symlink("/etc/passwd", bench.work().join("link")).unwrap();
    let commit = bench.commit();
    let fetched = bench.fetch("main", "/app").await.unwrap();
    assert_eq!(fetched.commit, commit);
    assert_eq!(fetched.tree, bench.git(&["rev-parse", "HEAD:app"]));
    assert_eq!(read(&fetched.files, "app/main.py"), "two\r\n");
    let link = std::fs::read_link(fetched.files.join("link")).unwrap();
    assert_eq!(link, Path::new("/etc/passwd"));
    assert!(!fetched.files.join(".git").exists());
    let left: Vec<_> = std::fs::read_dir(bench.place()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(git::fetched_files(&bench.place()), fetched.files);
    // The same again replaces it.
    bench.write("app/main.py", "three");
    bench.commit();
    let fetched = bench.fetch("main", "/").await.unwrap();
    assert_eq!(read(&fetched.files, "app/main.py"), "three");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let bench = Bench::new();
    let error = bench.fetch("main", "/").await.unwrap_err();
    assert!(matches!(error, GitError::Empty { .. }), "{error:?}");
    bench.write("a", "a");
    let commit = bench.commit();
    let error = bench.fetch("other", "/").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "repository the repository has no branch other"
    );
    let error = bench.fetch("main", "/app").await.unwrap_err();
    assert_eq!(error.to_string(), "branch main has no directory /app");
    let error = bench.fetch("main", "/a").await.unwrap_err();
    assert!(matches!(error, GitError::Directory { .. }), "{error:?}");
    let nowhere = Remote::local(bench.dir.path().join("nowhere"), "it");
    let error = git::head(&nowhere, "main").await.unwrap_err();
    assert!(matches!(error, GitError::NotFound { .. }), "{error:?}");
    let head = git::head(&bench.remote(), "main").await.unwrap();
    assert_eq!(head, commit);
}

#[tokio::test]
async fn a_look_at_the_head_tells_whether_the_directory_changed() {
    let bench = Bench::new();
    bench.git(&["config", "uploadpack.allowFilter", "true"]);
    bench.write("app/main.py", "one");
    bench.write("README", "one");
    bench.commit();
    let look = || async { git::peek(&bench.remote(), "main", "/app", &bench.place()).await };
    let first = look().await.unwrap();
    bench.write("README", "two");
    let commit = bench.commit();
    let second = look().await.unwrap();
    assert_eq!((second.commit, &second.tree), (commit, &first.tree));
    bench.write("app/main.py", "two");
    bench.commit();
    assert_ne!(look().await.unwrap().tree, first.tree);
    assert!(!bench.place().exists());
}

#[tokio::test]
async fn submodules_and_pointers_are_refused_by_name() {
    let other = Bench::new();
    other.write("a", "a");
    other.commit();
    let bench = Bench::new();
    let url = other.work().display().to_string();
    bench.git(&["submodule", "add", "-q", &url, "vendor/other"]);
    bench.commit();
    let error = bench.fetch("main", "/").await.unwrap_err().to_string();
    assert!(error.contains("a submodule at vendor/other"), "{error}");

    let bench = Bench::new();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n";
    bench.write("model.bin", pointer);
    bench.commit();
    // Without the attribute it is text like any other.
    bench.fetch("main", "/").await.unwrap();
    bench.write(
        ".gitattributes",
        "*.bin filter=lfs diff=lfs merge=lfs -text\n",
    );
    bench.commit();
    let error = bench.fetch("main", "/").await.unwrap_err().to_string();
    assert!(
        error.starts_with("model.bin is a pointer of Git LFS"),
        "{error}"
    );
}

#[tokio::test]
async fn hooks_and_filters_of_a_repository_do_not_run() {
    let bench = Bench::new();
    let witness = bench.dir.path().join("witness");
    let hook = format!("#!/bin/sh\ntouch {}\n", witness.display());
    for name in [
        "post-checkout",
        "post-index-change",
        "reference-transaction",
    ] {
        bench.write(&format!(".git/hooks/{name}"), &hook);
        bench.write(&format!("hooks/{name}"), &hook);
    }
    bench.write(".gitattributes", "* filter=evil\n");
    bench.write("a", "a");
    bench.commit();
    bench.git(&[
        "config",
        "filter.evil.smudge",
        &format!("touch {}", witness.display()),
    ]);
    let fetched = bench.fetch("main", "/").await.unwrap();
    assert_eq!(read(&fetched.files, "a"), "a");
    assert!(!witness.exists());
}
