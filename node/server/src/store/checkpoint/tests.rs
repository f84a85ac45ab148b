//! The store on real files: commits and replacements cut off, flipped bits, lost values.

use std::fs;

use super::*;
use crate::store::conformance::{content, key};
use crate::store::wal::tests::copy_of;

fn store() -> (tempfile::TempDir, SledCheckpoint) {
    let folder = tempfile::tempdir().unwrap();
    let store = SledCheckpoint::open(folder.path()).unwrap();
    (folder, store)
}

/// Checkpoint `number`: ten blocks that all name it.
fn commit(store: &SledCheckpoint, number: u64, block_bytes: usize) {
    let text = |what: &str| Bytes::from(format!("{what} {number} ").repeat(1 + block_bytes / 10));
    let blocks = (0..10).map(|block| (key(1, block), Some(text("block")))).collect();
    store.commit(text("head"), blocks).unwrap();
}

fn with_opened<T>(store: &SledCheckpoint, look: impl FnOnce(&mut Opened) -> T) -> T {
    match &mut *store.lock() {
        State::Open(opened) => look(opened),
        State::Failed(..) | State::Closed => panic!("it is open"),
    }
}

#[test]
fn large_blocks_are_kept_and_never_become_blob_files() {
    let (folder, store) = store();
    for number in 0..20 {
        commit(&store, number, 200_000);
        let blobs = fs::read_dir(folder.path().join("blobs")).unwrap().count();
        assert_eq!(blobs, 0, "checkpoint {number}");
    }
    let expected = content(&store);
    let copy = copy_of(folder.path());
    store.close().unwrap();
    assert!(store.head().is_err(), "closed");
    assert_eq!(content(&SledCheckpoint::open(copy.path()).unwrap()), expected);
    assert_eq!(content(&SledCheckpoint::open(folder.path()).unwrap()), expected);
}

#[test]
fn a_block_that_shrinks_leaves_no_chunks_behind() {
    let (_folder, store) = store();
    let put = |block: Option<Vec<u8>>| {
        store.commit(Bytes::new(), vec![(key(1, 1), block.map(Bytes::from))]).unwrap()
    };
    let stored = || with_opened(&store, |opened| opened.blocks.len() - 1);
    for (bytes, values) in [(0, 1), (CHUNK_BYTES, 1), (CHUNK_BYTES + 1, 2), (5 * CHUNK_BYTES, 5), (1, 1)] {
        put(Some(vec![7; bytes]));
        assert_eq!(stored(), values, "{bytes} bytes");
        assert_eq!(content(&store).1, [(key(1, 1), Bytes::from(vec![7; bytes]))]);
    }
    put(Some(vec![7; 3 * CHUNK_BYTES]));
    put(None);
    assert_eq!(stored(), 0);
}

#[test]
fn check_6_what_was_replaced_is_freed() {
    let (_folder, store) = store();
    let replace = |store: &SledCheckpoint| store.replace(Bytes::new(), &mut std::iter::empty()).unwrap();
    let changes: [fn(&SledCheckpoint); 2] = [|store| commit(store, 1, 10), replace];
    for change in changes {
        // Of each of these the same is asked as of what sled replaces. Whoever uses another store in the midst of it holds it up.
        let is_freed = || {
            let replaced = Arc::new(());
            let held = replaced.clone();
            crossbeam_epoch::pin().defer(move || drop(held));
            change(&store);
            Arc::strong_count(&replaced) == 1
        };
        assert!((0..100).any(|_| is_freed()));
    }
}

#[test]
fn a_replacement_that_was_cut_off_never_happened() {
    let (folder, store) = store();
    commit(&store, 1, 100);
    let expected = content(&store);
    with_opened(&store, |opened| {
        let next = opened.engine.open_tree(opened.generation + 1).unwrap();
        next.insert(codec::chunk_key(key(1, 1), 0), b"unfinished").unwrap();
    });
    store.close().unwrap();
    let store = SledCheckpoint::open(folder.path()).unwrap();
    assert_eq!(content(&store), expected);
    with_opened(&store, |opened| {
        assert!(opened.engine.has_tree(opened.generation));
        assert!(!opened.engine.has_tree(opened.generation + 1), "its tree was dropped");
    });
}

#[test]
fn a_flipped_bit_is_refused_or_gives_a_whole_checkpoint() {
    let (folder, store) = store();
    let mut versions = vec![content(&store)];
    for number in 0..4 {
        commit(&store, number, 2_000);
        versions.push(content(&store));
    }
    store.close().unwrap();
    let whole = fs::read(folder.path().join("db")).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    for byte in (0..used).step_by(used / 50) {
        let copy = copy_of(folder.path());
        let mut flipped = whole.clone();
        flipped[byte] ^= 8;
        fs::write(copy.path().join("db"), flipped).unwrap();
        let Ok(store) = SledCheckpoint::open(copy.path()) else { continue };
        let Ok(head) = store.head() else { continue };
        let Ok(blocks) = store.blocks().and_then(|blocks| blocks.collect::<io::Result<Vec<_>>>()) else {
            continue;
        };
        assert!(versions.contains(&(head, blocks)), "byte {byte}: a mixture of two checkpoints");
    }
}

#[test]
fn a_lost_pointer_a_lost_tree_and_a_wrong_value_are_damage() {
    let opened_after = |harm: &dyn Fn(&sled::Db)| {
        let (folder, store) = store();
        commit(&store, 1, 2 * CHUNK_BYTES);
        store.close().unwrap();
        let db = sled::Config::new().path(folder.path()).segment_size(4 << 20).open().unwrap();
        harm(&db);
        db.flush().unwrap();
        drop(db);
        engine::wait_until_let_go(folder.path());
        let store = SledCheckpoint::open(folder.path())?;
        store.read(|opened| {
            StoredBlocks::new(&opened.blocks, folder.path()).try_for_each(|block| block.map(drop))
        })
    };
    let damaged = |harm: &dyn Fn(&sled::Db)| match opened_after(harm) {
        Err(StoreError::Damaged { .. }) => true,
        Ok(()) => false,
        Err(other) => panic!("{other}"),
    };
    assert!(damaged(&|db| assert!(db.remove(codec::POINTER_KEY).unwrap().is_some())));
    assert!(damaged(&|db| assert!(db.insert(codec::POINTER_KEY, b"x").unwrap().is_some())));
    assert!(damaged(&|db| assert!(db.drop_tree("blocks-1").unwrap())));
    assert!(damaged(&|db| {
        // Right bytes at the wrong key.
        let tree = db.open_tree("blocks-1").unwrap();
        let value = tree.get(codec::chunk_key(key(1, 3), 0)).unwrap().unwrap();
        tree.insert(codec::chunk_key(key(1, 4), 0), value).unwrap();
    }));
    for (block, lost) in [(5, 0), (5, 1), (9, 1)] {
        assert!(damaged(&|db| {
            let tree = db.open_tree("blocks-1").unwrap();
            assert!(tree.remove(codec::chunk_key(key(1, block), lost)).unwrap().is_some());
        }));
    }
    assert!(!damaged(&|_| {}));
}

#[test]
fn the_first_failed_write_is_final() {
    let (folder, store) = store();
    commit(&store, 1, 100);
    // The file's name is gone: the commit cannot prove that it is durable.
    fs::rename(folder.path().join("db"), folder.path().join("elsewhere")).unwrap();
    let first = store.commit(Bytes::from_static(b"head"), vec![]).unwrap_err();
    fs::rename(folder.path().join("elsewhere"), folder.path().join("db")).unwrap();
    let later = store.commit(Bytes::from_static(b"head"), vec![]).unwrap_err();
    assert_eq!(first.to_string(), later.to_string());
    assert!(store.head().is_err());
}
