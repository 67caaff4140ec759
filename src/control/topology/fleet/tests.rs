//! Versions as whoever leads a fleet writes them, and who must have acknowledged them.

use super::*;
use crate::config::{Distribution, Hash, HashChar, Routing};
use crate::topology::State;

fn routing() -> Routing {
    let (hash, hash_char) = (Hash::Fnv1a64, HashChar::Signed);
    Routing { hash, hash_char, hash_tag: None, distribution: Distribution::Ketama }
}

fn nodes(names: &[&str]) -> Vec<Node> {
    let node = |name: &&str| Node::new(&format!("{name}:11211"), 1, Some(name)).unwrap();
    names.iter().map(node).collect()
}

fn stable(names: &[&str]) -> Document {
    Document { epoch: 7, current: nodes(names), ..Document::default() }
}

fn moves(from: &Document, to: &[Node]) -> Moves {
    let to = Document { current: to.to_vec(), ..Document::default() };
    Moves::between(&routing(), &from.servers(), &to.servers())
}

fn started(from: &Document, to: &[&str], clean: &[&str]) -> Result<Document, Unable> {
    let clean: Vec<String> = clean.iter().map(|&name| name.to_owned()).collect();
    start(from, nodes(to), (&moves(from, &nodes(to)), &clean))
}

fn ack(id: &str, document: &Document) -> Ack {
    let (epoch, phase) = (document.epoch, document.phase.name().to_owned());
    Ack { id: id.to_owned(), epoch, phase, digest: document.digest(&routing().placement()) }
}

fn behind(look: &Look) -> Vec<String> {
    look.behind(&routing().placement()).into_iter().map(|it| it.id).collect()
}

#[test]
fn everybody_who_is_there_must_say_the_same() {
    let document = started(&stable(&["a", "b"]), &["a", "b", "c"], &[]).unwrap();
    let old = stable(&["a", "b"]);
    let other = Document { target: nodes(&["a", "b", "d"]), ..document.clone() };
    let ahead = Document { phase: Phase::Fence, ..document.clone() };
    let acks = vec![
        ack("same", &document),
        ack("old", &old),
        ack("other", &other),
        ack("ahead", &ahead),
        Ack { id: "new".to_owned(), ..Ack::default() },
    ];
    let mut look = Look { document, acks, awaited: Awaited::default() };
    assert_eq!(behind(&look), ["old", "other", "ahead", "new"]);
    // One that carries values where the others have servers hand keys over.
    let placement = Placement { carried: true, ..routing().placement() };
    assert!(look.behind(&placement).iter().any(|it| it.id == "same"));
    look.acks.truncate(1);
    assert_eq!(behind(&look), Vec::<String>::new());
}

#[test]
fn who_knew_one_ring_is_awaited_in_the_first_phase_with_two() {
    let document = started(&stable(&["a", "b"]), &["a", "b", "c"], &[]).unwrap();
    let acks = vec![ack("one", &document), ack("two", &document)];
    let look = Look { document, acks, awaited: Awaited::default() };
    let awaited = look.await_all(Phase::Prepare);
    let mut look = Look { awaited, ..look };
    look.acks.pop();
    assert_eq!(behind(&look), ["two"], "cut off, it may go by its one ring");
    look.document.phase = Phase::Fence;
    look.acks = vec![ack("one", &look.document)];
    assert_eq!(behind(&look), Vec::<String>::new(), "it knows of two, and fences itself");
}

#[test]
fn each_version_follows_the_last() {
    let from = stable(&["a", "b"]);
    let mut down = from.clone();
    down.current[1].server.state = State::Down;
    let prepare = started(&down, &["a", "b", "c"], &[]).unwrap();
    assert_eq!((prepare.epoch, prepare.phase), (8, Phase::Prepare));
    assert_eq!(prepare.target[1].server.state, State::Down);
    let moved = moves(&from, &prepare.target);
    let fence = step(&prepare, Phase::Fence, &moved).unwrap();
    assert_eq!((fence.epoch, fence.phase, fence.target.len()), (9, Phase::Fence, 3));
    let new = Document { phase: Phase::New, ..fence };
    let done = finish(&new, &moved, false).unwrap();
    assert_eq!((done.epoch, done.phase), (10, Phase::Stable));
    assert_eq!((done.current, done.target), (new.target, Vec::new()));
    assert_eq!(started(&prepare, &["a"], &[]), Err(Unable::NotStable("prepare")));
    assert_eq!(finish(&prepare, &moved, false), Err(Unable::NotNew("prepare")));
    assert_eq!(started(&from, &["b", "a"], &[]), Err(Unable::NoMove));
    assert!(matches!(started(&from, &["a", "a"], &[]), Err(Unable::Target(_))));
}

#[test]
fn keys_do_not_come_back_to_where_old_values_are() {
    let from = stable(&["a", "b"]);
    let there = started(&from, &["a", "b", "c"], &[]).unwrap();
    let moved = moves(&from, &there.target);
    let done = finish(&Document { phase: Phase::New, ..there.clone() }, &moved, false).unwrap();
    assert_eq!(done.dirty, ["a", "b"]);
    let shrink = started(&done, &["a", "b"], &[]);
    assert_eq!(shrink, Err(Unable::Dirty(vec!["a".to_owned(), "b".to_owned()])));
    let shrink = started(&done, &["a", "b"], &["a"]);
    assert_eq!(shrink, Err(Unable::Dirty(vec!["b".to_owned()])));
    let shrink = started(&done, &["a", "b"], &["a", "b"]).unwrap();
    assert_eq!(shrink.dirty, Vec::<String>::new());
    // A further one gets keys alone.
    assert!(started(&done, &["a", "b", "c", "d"], &[]).is_ok());
    let back = step(&there, Phase::Stable, &moved).unwrap();
    assert_eq!((back.dirty.clone(), back.target.len()), (vec!["c".to_owned()], 0));
    let again = started(&back, &["a", "b", "c"], &[]);
    assert_eq!(again, Err(Unable::Dirty(vec!["c".to_owned()])));
}

#[test]
fn an_old_server_is_given_up_in_two_steps_and_taken_back_in_two() {
    let from = stable(&["a", "b"]);
    let prepare = started(&from, &["a", "b", "c"], &[]).unwrap();
    let why = Unable::GivenUp(VersionError::OldServes("prepare"));
    assert_eq!(give_up(&prepare, "a"), Err(why));
    let warm = Document { phase: Phase::Warm, ..prepare.clone() };
    let why = Unable::GivenUp(VersionError::NotOld("c".to_owned()));
    assert_eq!(give_up(&warm, "c"), Err(why));
    let unread = give_up(&warm, "a").unwrap();
    assert_eq!((unread.epoch, unread.phase_of("a")), (9, Phase::Drain));
    assert_eq!(unread.phase_of("b"), Phase::Warm);
    let skipped = give_up(&unread, "a").unwrap();
    assert_eq!((skipped.epoch, skipped.phase_of("a")), (10, Phase::New));
    assert_eq!(give_up(&skipped, "a"), Err(Unable::Already("a".to_owned())));
    assert!(warm.leads_to(&unread) && unread.leads_to(&skipped) && skipped.leads_to(&unread));
    assert!(!warm.leads_to(&skipped) && !skipped.leads_to(&warm));
    let moved = moves(&from, &prepare.target);
    let why = Unable::WayBack("a skipped".to_owned());
    assert_eq!(step(&skipped, Phase::Fence, &moved), Err(why));
    let new = step(&step(&skipped, Phase::Drain, &moved).unwrap(), Phase::New, &moved).unwrap();
    assert!(finish(&new, &moved, false).unwrap().dead_old.is_empty());
    let back = take_back(&take_back(&skipped, "a").unwrap(), "a").unwrap();
    assert_eq!((back.epoch, back.dead_old.len()), (12, 0));
    assert_eq!(take_back(&back, "a"), Err(Unable::NotGivenUp("a".to_owned())));
}

#[test]
fn between_two_versions_in_a_row_no_ring_came_and_went() {
    let before = Document { dirty: vec!["a".to_owned(), "b".to_owned()], ..stable(&["a", "b"]) };
    let kept = |now: &Document| kept_ring(&before, now, &routing().placement());
    let after = |epoch| Document { epoch, ..before.clone() };
    assert!(kept(&before) && kept(&after(8)));
    assert!(!kept(&after(9)) && !kept(&after(6)));
    assert!(!kept(&Document { current: nodes(&["a", "c"]), ..after(8) }));
    assert!(!kept(&started(&before, &["a", "b", "c"], &[]).unwrap()));
    let next = cleaned(&before, &["a".to_owned(), "x".to_owned()]);
    assert_eq!((next.epoch, next.dirty), (8, vec!["b".to_owned()]));
}

#[test]
fn servers_change_at_once_only_where_no_old_values_are() {
    let from = stable(&["a", "b"]);
    let there = nodes(&["a", "b", "c"]);
    let grown = change(&from, there.clone(), (&moves(&from, &there), &[])).unwrap();
    assert_eq!((grown.epoch, grown.phase, grown.current.len()), (from.epoch + 1, Phase::Stable, 3));
    assert_eq!(grown.dirty, ["a", "b"]);
    let back = nodes(&["a", "b"]);
    let shrunk = |clean: &[String]| change(&grown, back.clone(), (&moves(&grown, &back), clean));
    assert_eq!(shrunk(&[]), Err(Unable::Dirty(vec!["a".to_owned(), "b".to_owned()])));
    let shrunk = shrunk(&["a".to_owned(), "b".to_owned()]).unwrap();
    assert_eq!(shrunk.dirty, ["c"]);
    // What is down stays so.
    let mut down = from.clone();
    down.current[0].server.state = State::Down;
    let kept = change(&down, there.clone(), (&moves(&from, &there), &[])).unwrap();
    assert_eq!(kept.current[0].server.state, State::Down);
    let walking = Document { phase: Phase::Warm, ..from.clone() };
    let refused = change(&walking, there.clone(), (&moves(&from, &there), &[]));
    assert_eq!(refused, Err(Unable::OnTheWay("warm")));
}
