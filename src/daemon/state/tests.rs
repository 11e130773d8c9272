use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::digest_cache::DIGEST_HEADER;
use super::*;

const WINDOW: Option<Duration> = Some(Duration::from_secs(120));

fn key(n: u8) -> ReplayKey {
    ReplayKey([n; 32])
}

fn seen(at: u64) -> Seen {
    let origin = Origin { dst: Some("192.0.2.9".parse().unwrap()), ..Origin::udp("192.0.2.1".parse().unwrap()) };
    Seen { origin, at: Timestamp::from_secs(at) }
}

fn entry(keys: [u8; 2], stamped: u64, until: Option<u64>, grant: u64) -> Entry {
    let (stamped, until) = (Timestamp::from_secs(stamped), until.map(Timestamp::from_secs));
    Entry { keys: keys.map(key), seen: seen(1000), stamped, until, grant: GrantId(grant) }
}

fn remember(state: &mut State, entry: &Entry) {
    state.remember(entry).and_then(|()| state.settle()).unwrap();
}

fn open(dir: &Path) -> State {
    State::open(dir, Timestamp::from_secs(1000), WINDOW).unwrap()
}

#[test]
fn what_was_remembered_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    remember(&mut state, &entry([1, 2], 1000, Some(1120), 41));
    drop(state);
    let mut state = open(dir.path());
    assert_eq!(state.seen(&key(2)).unwrap(), Some(seen(1000)));
    assert_eq!(state.seen(&key(3)).unwrap(), None);
    assert_eq!(state.last_grant().unwrap(), GrantId(41));
}

#[test]
fn no_number_is_given_out_twice() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    remember(&mut state, &entry([1, 2], 1000, Some(1120), 41));
    for (id, last) in [(43, 43), (42, 43)] {
        state.set_aside(GrantId(id)).and_then(|()| state.settle()).unwrap();
        assert_eq!(state.last_grant().unwrap(), GrantId(last));
    }
    state.keep(&kept::tests::waiting(44), &[]).and_then(|()| state.settle()).unwrap();
    drop(state);
    assert_eq!(open(dir.path()).last_grant().unwrap(), GrantId(44));
}

#[test]
fn forgetting_raises_the_floor_only_as_far_as_needed_and_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    assert_eq!(state.floor(), Timestamp::from_secs(1000), "what is stamped before a new store was made is refused");
    remember(&mut state, &entry([1, 3], 1080, Some(1200), 1));
    remember(&mut state, &entry([2, 4], 1090, None, 2));
    state.forget(Timestamp::from_secs(1200)).unwrap();
    assert_eq!(state.count().unwrap(), 4, "an entry is kept through its last second");
    state.forget(Timestamp::from_secs(90_000)).unwrap();
    assert_eq!((state.seen(&key(1)).unwrap(), state.count().unwrap()), (None, 2));
    assert_eq!(state.floor(), Timestamp::from_secs(1081));
    drop(state);
    assert_eq!(open(dir.path()).floor(), Timestamp::from_secs(1081));
}

#[test]
fn a_store_that_was_made_by_a_wrong_clock_learns_when_it_was_made() {
    let hour = Duration::from_secs(3600);
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    state.clock_was_set(Shift::Ahead(hour)).unwrap();
    assert_eq!(state.floor(), Timestamp::from_secs(4600), "what was sent before the start could be sent again");
    state.clock_was_set(Shift::Back(hour * 2)).unwrap();
    assert_eq!(state.floor(), Timestamp::from_secs(0), "everybody would be locked out until the old time is reached");
    // What was forgotten stays refused, also when the floor was higher then.
    remember(&mut state, &entry([1, 3], 500, Some(600), 1));
    state.clock_was_set(Shift::Ahead(hour)).unwrap();
    state.forget(Timestamp::from_secs(601)).unwrap();
    assert_eq!(state.floor(), Timestamp::from_secs(3600));
    state.clock_was_set(Shift::Back(hour)).unwrap();
    assert_eq!(state.floor(), Timestamp::from_secs(501));
    drop(state);
    // A store that is older than the daemon was there when those packets came.
    let mut state = open(dir.path());
    state.clock_was_set(Shift::Ahead(hour)).unwrap();
    assert_eq!(state.floor(), Timestamp::from_secs(501));
    let dir = tempfile::tempdir().unwrap();
    let mut ageless = State::open(dir.path(), Timestamp::from_secs(1000), None).unwrap();
    ageless.clock_was_set(Shift::Ahead(hour)).unwrap();
    assert_eq!(ageless.floor(), Timestamp::from_secs(0));
}

#[test]
fn a_store_that_died_while_it_was_made_is_still_new() {
    let dir = tempfile::tempdir().unwrap();
    drop(Database::create(dir.path().join(FILE)).unwrap());
    assert_eq!(open(dir.path()).floor(), Timestamp::from_secs(1000));
}

#[test]
fn a_batch_is_seen_at_once_and_lasts_when_it_is_settled() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    state.remember(&entry([1, 2], 1000, Some(1120), 1)).unwrap();
    state.remember(&entry([3, 4], 1000, Some(1120), 2)).unwrap();
    state.forget(Timestamp::from_secs(5000)).unwrap();
    assert_eq!(state.seen(&key(1)).unwrap(), Some(seen(1000)), "nothing is forgotten in the middle of a batch");
    drop(state);
    let mut state = open(dir.path());
    assert_eq!(state.count().unwrap(), 0, "it was not settled");
    state.remember(&entry([1, 2], 1000, Some(1120), 1)).unwrap();
    state.settle().unwrap();
    drop(state);
    assert_eq!(open(dir.path()).count().unwrap(), 2);
}

#[test]
fn a_batch_that_lost_something_is_lost_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    state.remember(&entry([1, 2], 1000, Some(1120), 1)).unwrap();
    assert!(state.add(|_| Err(redb::Error::PreviousIo)).is_err());
    assert!(state.remember(&entry([3, 4], 1000, Some(1120), 2)).is_err());
    assert!(state.settle().is_err());
    assert_eq!(state.count().unwrap(), 0);
    remember(&mut state, &entry([1, 2], 1000, Some(1120), 1));
    assert_eq!(state.count().unwrap(), 2);
}

#[test]
fn after_a_failure_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    remember(&mut state, &entry([1, 2], 1000, Some(1120), 1));
    let failed = state.with_db(|_| Err::<(), _>(redb::Error::PreviousIo));
    assert!(failed.is_err());
    assert_eq!(state.seen(&key(1)).unwrap(), Some(seen(1000)));
    fs::rename(dir.path().join(FILE), dir.path().join("away")).unwrap();
    assert!(state.with_db(|_| Err::<(), _>(redb::Error::PreviousIo)).is_err());
    assert!(state.seen(&key(1)).is_err(), "a store that is gone must not be taken for an empty one");
    fs::rename(dir.path().join("away"), dir.path().join(FILE)).unwrap();
    assert_eq!(state.seen(&key(1)).unwrap(), Some(seen(1000)));
}

#[test]
fn the_digest_cache_of_the_original_is_taken_over_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("digest.cache");
    let digest = STANDARD_NO_PAD.encode([7; 32]);
    let old = STANDARD_NO_PAD.encode([8; 32]);
    let text = format!(
        "# <digest> <proto> <src_ip> <src_port> <dst_ip> <dst_port> <time>\n\
         {digest} 17 127.0.0.1 58947 0.0.0.0 62201 1795293687\n\
         {old} 17 127.0.0.1 58947 0.0.0.0 62201 1795290000\nnot a line\n\n{digest} 17 bad 1 0.0.0.0 1 1\n"
    );
    fs::write(&cache, text).unwrap();
    let mut state = open(dir.path());
    let now = Timestamp::from_secs(1_795_293_690);
    assert_eq!(state.import_digest_cache(&cache, WINDOW, now).unwrap(), 1, "what is too old does not matter");
    assert_eq!(state.import_digest_cache(&cache, WINDOW, now).unwrap(), 0);
    assert_eq!(state.seen(&key(7)).unwrap().unwrap().at.secs(), 1_795_293_687);
    assert_eq!(state.import_digest_cache(&dir.path().join("none"), WINDOW, now).unwrap(), 0);
}

#[test]
fn what_is_exported_is_taken_over_by_another_store() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut state = open(dir.path());
    remember(&mut state, &entry([1, 2], 1000, Some(1120), 1));
    let text = state.digest_cache().unwrap();
    assert!(text.starts_with(DIGEST_HEADER) && text.lines().count() == 3, "{text}");
    let cache = other.path().join("digest.cache");
    fs::write(&cache, text).unwrap();
    let mut state = open(other.path());
    assert_eq!(state.import_digest_cache(&cache, WINDOW, Timestamp::from_secs(1000)).unwrap(), 2);
    assert_eq!(state.seen(&key(1)).unwrap(), Some(seen(1000)));
}

#[test]
fn a_grant_is_kept_until_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = [1, 2].map(kept::tests::waiting);
    let kept = |state: &mut State| state.kept().unwrap().grants;
    let mut state = open(dir.path());
    assert_eq!(kept(&mut state), []);
    state.keep(&first, &[]).and_then(|()| state.settle()).unwrap();
    state.keep(&second, &[first.id]).unwrap();
    // As in a crash: what is not settled has not happened.
    drop(state);
    let mut state = open(dir.path());
    assert_eq!(kept(&mut state), std::slice::from_ref(&first));
    state.keep(&second, &[first.id]).and_then(|()| state.settle()).unwrap();
    assert_eq!(kept(&mut state), std::slice::from_ref(&second));
    state.unkeep(&[second.id]).and_then(|()| state.settle()).unwrap();
    drop(state);
    assert_eq!(kept(&mut open(dir.path())), []);
}

#[test]
fn what_is_no_reason_to_write_is_written_with_what_is() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second] = [1, 2].map(kept::tests::waiting);
    let kept = |state: &mut State| state.kept().map(|kept| (kept.grants, kept.told)).unwrap();
    let mut state = open(dir.path());
    state.keep(&first, &[]).and_then(|()| state.settle()).unwrap();
    state.told(first.id);
    state.lapse(vec![first.id]);
    state.settle().unwrap();
    assert_eq!(kept(&mut state), (vec![first.clone()], GrantId(0)));
    // What fails with the rest is tried again with the next.
    assert!(state.add(|_| Err(redb::Error::PreviousIo)).is_err());
    assert!(state.settle().is_err());
    state.keep(&second, &[]).and_then(|()| state.settle()).unwrap();
    assert_eq!(kept(&mut state), (vec![second], first.id));
}

#[test]
fn a_new_memory_takes_over_what_is_open_and_no_packet() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    remember(&mut state, &entry([1, 2], 1000, Some(1120), 9));
    let grant = kept::tests::waiting(7);
    state.told(grant.id);
    state.keep(&grant, &[]).and_then(|()| state.settle()).unwrap();
    let left = state.leave().unwrap();
    fs::remove_file(dir.path().join(FILE)).unwrap();
    let mut state = open(dir.path());
    state.take_over(&left).unwrap();
    let kept = state.kept().unwrap();
    assert_eq!((kept.grants, kept.told), (vec![grant], GrantId(7)));
    assert_eq!((state.last_grant().unwrap(), state.count().unwrap()), (GrantId(9), 0));
}

#[test]
fn the_last_write_leaves_nothing_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut state = open(dir.path());
    let grant = kept::tests::waiting(7);
    state.keep(&grant, &[]).and_then(|()| state.settle()).unwrap();
    state.told(GrantId(8));
    state.lapse(vec![grant.id]);
    state.rest().unwrap();
    let kept = state.kept().unwrap();
    assert_eq!((kept.grants, kept.told, state.last_grant().unwrap()), (vec![], GrantId(8), GrantId(8)));
}

#[test]
fn the_file_is_for_us_alone_and_a_damaged_one_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let path = dir.path().join(FILE);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&path, b"this is not a database").unwrap();
    assert!(State::open(dir.path(), Timestamp::from_secs(0), WINDOW).is_err());
}
