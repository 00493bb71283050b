use super::*;
use apron_link::proxy::Route;
use std::os::unix::fs::PermissionsExt;

fn change(base: u64, service: &str) -> RouteChange {
    RouteChange {
        base,
        generation: base + 1,
        routes: vec![Route {
            service: service.into(),
            ..Route::default()
        }],
        ..RouteChange::default()
    }
}

fn services(table: &RouteTable) -> Vec<&str> {
    table.routes.iter().map(|it| it.service.as_str()).collect()
}

fn again(path: &Path) -> RouteTable {
    Keeper::open(path.to_owned()).1.unwrap()
}

async fn kept(path: &Path) -> Keeper {
    let (mut keeper, none) = Keeper::open(path.to_owned());
    assert_eq!(none, None);
    let mut table = RouteTable::default();
    table.apply(&change(0, "a"));
    keeper.replace(table).await;
    keeper
}

#[tokio::test]
async fn a_table_and_its_changes_survive_and_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("routes.json");
    let mut keeper = kept(&path).await;
    assert_eq!(services(&again(&path)), ["a"]);
    keeper.append(&change(1, "b"));
    let removed = vec!["a".to_owned()];
    keeper.append(&RouteChange {
        removed,
        ..change(2, "c")
    });
    let table = again(&path);
    assert_eq!((table.generation, services(&table)), (3, vec!["b", "c"]));
    for file in std::fs::read_dir(directory.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // A whole table takes the place of it all.
    keeper
        .replace(RouteTable {
            generation: 9,
            ..RouteTable::default()
        })
        .await;
    assert_eq!((again(&path).generation, again(&path).routes.len()), (9, 0));
}

#[tokio::test]
async fn what_a_crash_cut_short_does_not_count_and_is_written_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("routes.json");
    let mut keeper = kept(&path).await;
    keeper.append(&change(1, "b"));
    keeper.append(&change(2, "c"));
    let journal = path.with_extension(JOURNAL);
    let whole = std::fs::read(&journal).unwrap();
    let first = encode(&change(1, "b")).unwrap().len();
    for cut in 0..whole.len() {
        std::fs::write(&journal, &whole[..cut]).unwrap();
        let (mut keeper, table) = Keeper::open(path.clone());
        let generation = table.unwrap().generation;
        assert_eq!(generation, if cut < first { 1 } else { 2 });
        keeper.append(&change(generation, "d"));
        assert_eq!(services(&again(&path)).last(), Some(&"d"));
    }
    // A change that is not based on the one before it does not count either.
    keeper.append(&change(7, "e"));
    assert!(!services(&again(&path)).contains(&"e"));
}

#[tokio::test]
async fn a_long_journal_becomes_part_of_the_snapshot_while_more_is_appended() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("routes.json");
    let mut keeper = kept(&path).await;
    let mut base = 1;
    let mut append = |keeper: &mut Keeper| {
        keeper.append(&change(base, &format!("service-{base}")));
        base += 1;
        base
    };
    while keeper.journal_bytes <= JOURNAL_BYTES_MIN {
        append(&mut keeper);
    }
    keeper.compact_if_long().await;
    assert!(keeper.compaction.is_some());
    let last = append(&mut keeper);
    assert!(keeper.journal_bytes < 1_000);
    // Whether the compaction is over or not: all of it counts.
    assert_eq!(again(&path).generation, last);
    keeper.compacted().await;
    assert!(!path.with_extension(JOURNAL_ASIDE).exists());
    let table = again(&path);
    assert_eq!((table.generation, table.routes.len() as u64), (last, last));
    assert_eq!(
        keeper.snapshot_bytes,
        std::fs::metadata(&path).unwrap().len()
    );
}

#[tokio::test]
async fn an_interrupted_compaction_is_done_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("routes.json");
    let mut keeper = kept(&path).await;
    keeper.append(&change(1, "b"));
    keeper.put_journal_aside().unwrap();
    keeper.append(&change(2, "c"));
    drop(keeper);
    let (mut keeper, table) = Keeper::open(path.clone());
    assert_eq!(services(&table.unwrap()), ["a", "b", "c"]);
    keeper.compact_if_long().await;
    keeper.compacted().await;
    assert!(!path.with_extension(JOURNAL_ASIDE).exists());
    assert_eq!(services(&again(&path)), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_former_process_does_not_spoil_what_the_next_one_keeps() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("routes.json");
    let mut former = kept(&path).await;
    former.append(&change(1, "b"));
    let (mut next, table) = Keeper::open(path.clone());
    next.replace(table.unwrap()).await;
    former.append(&change(2, "former"));
    next.append(&change(2, "next"));
    former.append(&change(3, "former"));
    assert_eq!(services(&again(&path)), ["a", "b", "next"]);
    assert!(former.put_journal_aside().is_err());
    next.append(&change(3, "more"));
    assert_eq!(services(&again(&path)), ["a", "b", "more", "next"]);
    next.retire();
    next.append(&change(4, "retired"));
    next.replace(RouteTable::default()).await;
    assert_eq!(again(&path).generation, 4);
}

#[test]
fn a_damaged_file_counts_as_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("routes.json");
    std::fs::write(&path, b"\0\0\0\x05{tru").unwrap();
    assert_eq!(Keeper::open(path).1, None);
}
