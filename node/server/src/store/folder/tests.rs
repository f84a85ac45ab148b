//! Who may use a data folder, and what is refused.

use super::*;
use crate::store::Vote;

fn node(node_id: u64) -> Identity {
    Identity { cluster_id: None, node_id }
}

fn of_cluster(cluster_id: &str) -> Identity {
    Identity { cluster_id: Some(cluster_id.into()), node_id: 1 }
}

fn refusal(path: &Path, identity: Identity) -> String {
    DataFolder::open(path, identity).unwrap_err().to_string()
}

#[test]
fn a_folder_keeps_its_identity() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("deep/inside");
    let first = DataFolder::open(&path, node(1)).unwrap();
    let (identity, incarnation) = (first.identity().clone(), first.incarnation());
    assert_eq!((identity.node_id, identity.cluster_id.clone()), (1, None));
    assert!(first.log_path().is_dir() && first.state_path().is_dir() && first.snapshots_path().is_dir());
    drop(first);
    let second = DataFolder::open(&path, node(1)).unwrap();
    assert_eq!((second.identity(), second.incarnation()), (&identity, incarnation));
}

#[test]
fn folder_6_what_a_restore_has_begun_and_not_ended_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("restored");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join(RESTORING), "").unwrap();
    assert!(refusal(&path, node(1)).contains("is half restored"), "cut off before there was an identity");
    fs::remove_dir_all(&path).unwrap();
    // Cut off later: nobody says that it is whole.
    drop(DataFolder::begin_restore(&path, node(1)).unwrap());
    assert!(refusal(&path, node(1)).contains("is half restored"), "{}", refusal(&path, node(1)));
    let stopped = DataFolder::open_stopped(&path).unwrap_err();
    assert!(matches!(stopped, FolderError::HalfRestored(_)), "{stopped}");
    let again = DataFolder::begin_restore(&path, node(1)).unwrap_err();
    assert!(matches!(again, FolderError::Used(_)), "{again}");

    fs::remove_dir_all(&path).unwrap();
    let whole = DataFolder::begin_restore(&path, node(1)).unwrap();
    whole.restored().unwrap();
    drop(whole);
    DataFolder::open(&path, node(1)).unwrap();
}

#[test]
fn two_folders_are_two_lives() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = DataFolder::open(one.path(), node(1)).unwrap();
    let other = DataFolder::open(other.path(), node(1)).unwrap();
    assert_ne!(one.incarnation(), other.incarnation());
}

#[test]
fn the_cluster_is_learnt_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = DataFolder::open(folder.path(), node(1)).unwrap();
    opened.set_cluster_id("blue").unwrap();
    opened.set_cluster_id("blue").unwrap();
    assert!(matches!(opened.set_cluster_id("red"), Err(FolderError::OtherCluster { .. })));
    fs::write(opened.log_path().join("durable-end"), "").unwrap();
    drop(opened);
    assert!(refusal(folder.path(), of_cluster("red")).contains("belongs to cluster blue, not to red"));
    let again = DataFolder::open(folder.path(), node(1)).unwrap();
    assert_eq!(again.log_owner().cluster_id.as_deref(), Some("blue"));
}

#[test]
fn a_cluster_id_must_fit() {
    let folder = tempfile::tempdir().unwrap();
    for bad in [String::new(), "x".repeat(65)] {
        let refused = DataFolder::open(folder.path(), of_cluster(&bad)).unwrap_err();
        assert!(matches!(refused, FolderError::BadClusterId(_)), "{refused}");
    }
    DataFolder::open(folder.path(), of_cluster(&"x".repeat(64))).unwrap();
}

#[test]
fn the_folder_of_another_node_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(DataFolder::open(folder.path(), node(1)).unwrap());
    assert!(refusal(folder.path(), node(2)).contains("belongs to node 1, but this is node 2"));
}

#[test]
fn a_folder_in_use_names_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let held = DataFolder::open(folder.path(), node(1)).unwrap();
    let said = refusal(folder.path(), node(1));
    assert!(said.contains(&format!("in use by process {}", std::process::id())), "{said}");
    drop(held);
    DataFolder::open(folder.path(), node(1)).unwrap();
}

#[test]
fn a_strangers_folder_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
    assert!(refusal(folder.path(), node(1)).contains("not empty (thesis.tex)"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_lost_identity_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let opened = DataFolder::open(folder.path(), node(1)).unwrap();
    fs::write(opened.log_path().join("00000000000000000001.wal"), "entries").unwrap();
    drop(opened);
    fs::remove_file(folder.path().join(IDENTITY)).unwrap();
    assert!(refusal(folder.path(), node(1)).contains("has no identity.json"));
}

#[test]
fn a_first_start_that_was_cut_off_is_repeated() {
    let folder = tempfile::tempdir().unwrap();
    drop(DataFolder::open(folder.path(), node(1)).unwrap());
    fs::rename(folder.path().join(IDENTITY), folder.path().join("identity.json.new")).unwrap();
    fs::create_dir(folder.path().join(LOST_AND_FOUND)).unwrap();
    DataFolder::open(folder.path(), node(2)).unwrap();
}

#[test]
fn a_missing_part_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    drop(DataFolder::open(folder.path(), node(1)).unwrap());
    fs::remove_dir(folder.path().join(STATE)).unwrap();
    assert!(matches!(DataFolder::open(folder.path(), node(1)), Err(FolderError::Missing(_))));
}

#[test]
fn the_log_of_a_member_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut opened = DataFolder::open(folder.path(), node(1)).unwrap();
    let log = opened.log_path().join("durable-end");
    fs::write(&log, "").unwrap();
    opened.set_cluster_id("blue").unwrap();
    drop(opened);
    fs::remove_file(&log).unwrap();
    for _again in 0..2 {
        let refused = DataFolder::open(folder.path(), node(1)).unwrap_err();
        assert!(
            matches!(&refused, FolderError::LogEmptied { cluster, .. } if cluster == "blue"),
            "{refused}"
        );
    }
}

#[test]
fn an_identity_that_cannot_be_understood_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(DataFolder::open(folder.path(), node(1)).unwrap());
    let path = folder.path().join(IDENTITY);
    let whole = fs::read_to_string(&path).unwrap();
    for text in [
        "",
        "{",
        "{\"format\":1}",
        "not json",
        &whole.replace("\"incarnation\": \"0", "\"incarnation\": \"!"),
    ] {
        fs::write(&path, text).unwrap();
        let refused = DataFolder::open(folder.path(), node(1)).unwrap_err();
        assert!(matches!(refused, FolderError::UnreadableIdentity { .. }), "{text}: {refused}");
    }
    fs::write(&path, "{\"format\":2,\"shape\":\"new\"}").unwrap();
    assert!(matches!(
        DataFolder::open(folder.path(), node(1)),
        Err(FolderError::NewerFormat { found: 2, .. })
    ));
}

#[test]
fn what_cannot_be_written_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("a file");
    fs::write(&file, "").unwrap();
    let refused = DataFolder::open(&file, node(1)).unwrap_err();
    assert!(matches!(refused, FolderError::Unwritable { .. }), "{refused}");
}

#[test]
fn checkpoint_and_log_must_belong_together() {
    let parent = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(parent.path(), node(1)).unwrap();
    let at = |index| Some(LogId { term: 1, node: 1, index });
    let vote = Some(Vote { term: 1, node: 1, committed: true });
    let log = |purged, last| LogState { vote, purged, last, ..LogState::default() };
    let behind = |log: LogState, applied| {
        matches!(folder.verify(&log, applied), Err(FolderError::CheckpointBehindLog { .. }))
    };
    assert!(folder.verify(&LogState::default(), None).is_ok(), "a first start");
    assert!(folder.verify(&log(None, at(9)), None).is_ok(), "no checkpoint yet, all entries there");
    assert!(folder.verify(&log(at(5), at(9)), at(5)).is_ok());
    assert!(folder.verify(&log(None, at(9)), at(50)).is_ok(), "a snapshot was installed just before");
    assert!(behind(log(at(5), at(9)), at(4)));
    assert!(behind(log(at(5), at(9)), None));
    assert!(matches!(
        folder.verify(&LogState::default(), at(4)),
        Err(FolderError::LogLost { applied: 4, .. })
    ));
}
