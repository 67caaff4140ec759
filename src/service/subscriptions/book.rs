//! Who is subscribed to what, and who waits to be. No I/O: what servers are to be told comes out.
//!
//! ```text
//!  subscribe ─▶ topics that are new ─▶ Told::Ask a server ─▶ confirmed ─┐
//!      └─ all of them there already ────────────────────────────────────┴▶ Told::Done: a command
//!  unsubscribe, leave ─▶ topics that nobody wants any more ─▶ Told::Drop
//! ```
//! A command is answered, and its session gets messages, once servers have confirmed all that it
//! names: so no message comes before the answer.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use crate::backend::Ticket;
use crate::protocol::Sub;

/// A channel, pattern or shard channel of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::service) struct Topic {
    pub(super) pool: u16,
    pub(super) sub: Sub,
    pub(super) name: Name,
}

/// What a topic is called.
pub(super) type Name = Box<[u8]>;

/// A session, by its place and what tells it from earlier ones there.
type Owner = (u32, u32);

/// Names, and how many topics a session has after each.
pub(super) type Counts = Vec<(Name, usize)>;

/// What is to be done about a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The topic's servers are to be asked for it.
    Ask(Topic),
    /// Nobody wants it any more.
    Drop(Topic),
    /// A session's command can be answered: these names, and how many it has after each.
    Done(Ticket, Sub, Counts),
    /// It cannot.
    Failed(Ticket),
}

#[derive(Debug, Default)]
struct State {
    /// The server that has it; all have a pattern.
    server: Option<usize>,
    /// Confirmations that servers owe.
    pending: usize,
    subscribers: Vec<Ticket>,
    /// Commands that wait for it.
    waiting: Vec<u32>,
}

/// A command that waits.
#[derive(Debug)]
struct Command {
    ticket: Ticket,
    sub: Sub,
    names: Vec<Topic>,
    left: usize,
}

/// The subscriptions of one worker's sessions.
#[derive(Debug, Default)]
pub(in crate::service) struct Book {
    topics: HashMap<Topic, State>,
    commands: HashMap<u32, Command>,
    next_command: u32,
    /// What each session is subscribed to.
    sessions: HashMap<Owner, BTreeSet<(Sub, Name)>>,
}

impl Book {
    /// A session wants topics; `servers` says which server has each, and how many do.
    pub(super) fn subscribe(
        &mut self,
        ticket: Ticket,
        names: Vec<Topic>,
        servers: impl Fn(&Topic) -> (Option<usize>, usize),
    ) -> Vec<Told> {
        let Some(sub) = names.first().map(|topic| topic.sub) else { return Vec::new() };
        self.next_command = self.next_command.wrapping_add(1);
        let (number, mut told, mut left) = (self.next_command, Vec::new(), 0);
        for topic in &names {
            let state = match self.topics.entry(topic.clone()) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    let (server, pending) = servers(topic);
                    told.push(Told::Ask(topic.clone()));
                    entry.insert(State { server, pending, ..State::default() })
                }
            };
            // It is kept for the command even if it is there already.
            if !state.waiting.contains(&number) {
                state.waiting.push(number);
                left += usize::from(state.pending > 0);
            }
        }
        let command = Command { ticket, sub, names, left };
        self.commands.insert(number, command);
        if left == 0 {
            told.extend(self.complete(number));
        }
        told
    }

    /// A server has confirmed a topic.
    pub(super) fn confirmed(&mut self, topic: &Topic) -> Vec<Told> {
        let Some(state) = self.topics.get_mut(topic) else { return Vec::new() };
        state.pending = state.pending.saturating_sub(1);
        if state.pending > 0 {
            return Vec::new();
        }
        let mut told = Vec::new();
        for number in state.waiting.clone() {
            let Some(command) = self.commands.get_mut(&number) else { continue };
            command.left -= 1;
            if command.left == 0 {
                told.extend(self.complete(number));
            }
        }
        told.extend(self.forget_if_unwanted(topic));
        told
    }

    /// Everything that a command names is there.
    fn complete(&mut self, number: u32) -> Option<Told> {
        let command = self.take(number)?;
        let ticket = command.ticket;
        let owner = (ticket.session, ticket.serial);
        let mut counts = Vec::new();
        for topic in command.names {
            let has = self.sessions.entry(owner).or_default();
            if has.insert((topic.sub, topic.name.clone()))
                && let Some(state) = self.topics.get_mut(&topic)
            {
                state.subscribers.push(ticket);
            }
            let count = self.count(ticket, topic.sub);
            counts.push((topic.name, count));
        }
        Some(Told::Done(ticket, command.sub, counts))
    }

    /// Takes a command out: nothing is kept for it any more.
    fn take(&mut self, number: u32) -> Option<Command> {
        let command = self.commands.remove(&number)?;
        for topic in &command.names {
            if let Some(state) = self.topics.get_mut(topic) {
                state.waiting.retain(|waiting| *waiting != number);
            }
        }
        Some(command)
    }

    /// A session no longer wants `names`, or with none given anything of that kind. What there is
    /// to answer comes first.
    pub(super) fn unsubscribe(
        &mut self,
        (pool, ticket): (u16, Ticket),
        sub: Sub,
        names: Vec<Name>,
    ) -> (Counts, Vec<Told>) {
        let owner = (ticket.session, ticket.serial);
        let names = if names.is_empty() {
            let all = self.sessions.get(&owner).into_iter().flatten();
            all.filter(|(kind, _)| *kind == sub).map(|(_, name)| name.clone()).collect()
        } else {
            names
        };
        let (mut counts, mut told) = (Vec::new(), Vec::new());
        for name in names {
            let topic = Topic { pool, sub, name };
            told.extend(self.remove(owner, &topic));
            counts.push((topic.name, self.count(ticket, sub)));
        }
        (counts, told)
    }

    fn remove(&mut self, owner: Owner, topic: &Topic) -> Option<Told> {
        let has = self.sessions.get_mut(&owner)?;
        if !has.remove(&(topic.sub, topic.name.clone())) {
            return None;
        }
        if has.is_empty() {
            self.sessions.remove(&owner);
        }
        let state = self.topics.get_mut(topic)?;
        state.subscribers.retain(|ticket| (ticket.session, ticket.serial) != owner);
        self.forget_if_unwanted(topic)
    }

    fn forget_if_unwanted(&mut self, topic: &Topic) -> Option<Told> {
        let state = self.topics.get(topic)?;
        if !state.subscribers.is_empty() || !state.waiting.is_empty() || state.pending > 0 {
            return None;
        }
        self.topics.remove(topic);
        Some(Told::Drop(topic.clone()))
    }

    /// The session has gone.
    pub(super) fn leave(&mut self, pool: u16, ticket: Ticket) -> Vec<Told> {
        let owner = (ticket.session, ticket.serial);
        let same = |other: Ticket| (other.session, other.serial) == owner;
        let numbers: Vec<u32> = self
            .commands
            .iter()
            .filter(|(_, command)| same(command.ticket))
            .map(|(number, _)| *number)
            .collect();
        let commands: Vec<Command> = numbers.into_iter().filter_map(|it| self.take(it)).collect();
        let wanted = commands.iter().flat_map(|command| &command.names);
        let mut told: Vec<Told> = wanted.filter_map(|it| self.forget_if_unwanted(it)).collect();
        let has: Vec<_> = self.sessions.get(&owner).into_iter().flatten().cloned().collect();
        let topics = has.into_iter().map(|(sub, name)| Topic { pool, sub, name });
        told.extend(topics.filter_map(|topic| self.remove(owner, &topic)));
        told
    }

    /// A server does not let anybody have a topic.
    pub(super) fn refused(&mut self, topic: &Topic) -> Vec<Told> {
        let Some(state) = self.topics.remove(topic) else { return Vec::new() };
        self.fail(state.waiting)
    }

    /// The connection to a server of a pool has broken: what it had is lost. Returns who was
    /// subscribed.
    pub(super) fn broken(&mut self, pool: u16, server: usize) -> (Vec<Ticket>, Vec<Told>) {
        let lost = |topic: &Topic, state: &State| {
            topic.pool == pool && state.server.is_none_or(|has| has == server)
        };
        let (mut subscribers, mut waiting) = (Vec::new(), Vec::new());
        self.topics.retain(|topic, state| {
            if !lost(topic, state) {
                return true;
            }
            subscribers.append(&mut state.subscribers);
            waiting.append(&mut state.waiting);
            false
        });
        (subscribers, self.fail(waiting))
    }

    fn fail(&mut self, waiting: Vec<u32>) -> Vec<Told> {
        let mut told = Vec::new();
        for command in
            waiting.into_iter().filter_map(|number| self.take(number)).collect::<Vec<_>>()
        {
            told.push(Told::Failed(command.ticket));
            told.extend(command.names.iter().filter_map(|it| self.forget_if_unwanted(it)));
        }
        told
    }

    /// The servers of a pool have other indices, and perhaps other topics. Returns which topics
    /// another server is to be asked for: from which they go, if it is still one of the pool's
    /// `count` servers, and to which.
    pub(super) fn follow(
        &mut self,
        pool: u16,
        (moves, count): (&[Option<usize>], usize),
        owner: impl Fn(&[u8]) -> Option<usize>,
    ) -> Vec<(Topic, Option<usize>, usize)> {
        let mut gone = Vec::new();
        for (topic, state) in self.topics.iter_mut().filter(|(topic, _)| topic.pool == pool) {
            let Some(had) = state.server else { continue };
            let had = moves.get(had).copied().flatten();
            state.server = had.or(state.server);
            if let Some(has) = owner(&topic.name).filter(|&has| had != Some(has)) {
                state.server = Some(has);
                state.pending += 1;
                gone.push((topic.clone(), had.filter(|&had| had < count), has));
            }
        }
        gone
    }

    /// So many more servers are to be asked for each pattern of a pool: which these are.
    pub(super) fn spread(&mut self, pool: u16, more: usize) -> Vec<Topic> {
        let patterns = self.topics.iter_mut().filter(|(topic, _)| topic.pool == pool);
        let patterns = patterns.filter(|(_, state)| state.server.is_none());
        patterns
            .map(|(topic, state)| {
                state.pending += more;
                topic.clone()
            })
            .collect()
    }

    /// Who gets what is published there.
    pub(super) fn subscribers(&self, topic: &Topic) -> &[Ticket] {
        self.topics.get(topic).map_or(&[], |state| &state.subscribers)
    }

    /// How many topics a session has: channels and patterns together, shard channels apart.
    pub(super) fn count(&self, ticket: Ticket, sub: Sub) -> usize {
        let has = self.sessions.get(&(ticket.session, ticket.serial));
        let alike = |kind: Sub| (kind == Sub::Shard) == (sub == Sub::Shard);
        has.into_iter().flatten().filter(|(kind, _)| alike(*kind)).count()
    }

    /// Whether it has any.
    pub(super) fn has_any(&self, ticket: Ticket) -> bool {
        self.sessions.contains_key(&(ticket.session, ticket.serial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(session: u32) -> Ticket {
        Ticket { session, serial: 1, seq: 7 }
    }

    fn topic(name: &str) -> Topic {
        Topic { pool: 0, sub: Sub::Channel, name: name.as_bytes().into() }
    }

    fn one(_: &Topic) -> (Option<usize>, usize) {
        (Some(0), 1)
    }

    fn done(session: u32, names: &[(&str, usize)]) -> Told {
        let counts = names.iter().map(|(name, count)| (name.as_bytes().into(), *count)).collect();
        Told::Done(ticket(session), Sub::Channel, counts)
    }

    #[test]
    fn a_command_is_answered_when_all_of_it_is_confirmed() {
        let mut book = Book::default();
        let (a, b) = (topic("a"), topic("b"));
        let told = book.subscribe(ticket(1), vec![a.clone(), b.clone(), a.clone()], one);
        assert_eq!(told, [Told::Ask(a.clone()), Told::Ask(b.clone())]);
        assert_eq!(book.confirmed(&a), []);
        assert_eq!(book.subscribers(&a), []);
        assert_eq!(book.subscribe(ticket(2), vec![a.clone()], one), [done(2, &[("a", 1)])]);
        assert_eq!(book.confirmed(&b), [done(1, &[("a", 1), ("b", 2), ("a", 2)])]);
        assert_eq!(book.subscribers(&a), [ticket(2), ticket(1)]);
    }

    #[test]
    fn a_topic_is_given_up_with_its_last_subscriber() {
        let mut book = Book::default();
        let a = topic("a");
        book.subscribe(ticket(1), vec![a.clone()], one);
        book.confirmed(&a);
        book.subscribe(ticket(2), vec![a.clone()], one);
        let (counts, told) = book.unsubscribe((0, ticket(1)), Sub::Channel, Vec::new());
        assert_eq!((counts, told), (vec![(b"a".as_slice().into(), 0)], vec![]));
        assert_eq!(book.leave(0, ticket(2)), [Told::Drop(a.clone())]);
        assert!(!book.has_any(ticket(2)) && book.topics.is_empty() && book.sessions.is_empty());
        // Who leaves before the answer has nothing, and what comes of it is given up.
        book.subscribe(ticket(3), vec![a.clone()], one);
        assert_eq!(book.leave(0, ticket(3)), []);
        assert_eq!(book.confirmed(&a), [Told::Drop(a)]);
        assert!(book.topics.is_empty() && book.commands.is_empty());
    }

    #[test]
    fn a_pattern_waits_for_all_servers_and_is_lost_with_any() {
        let mut book = Book::default();
        let (a, b) = (Topic { sub: Sub::Pattern, ..topic("a*") }, topic("b"));
        book.subscribe(ticket(1), vec![a.clone()], |_| (None, 3));
        book.subscribe(ticket(2), vec![b.clone()], |_| (Some(1), 1));
        book.confirmed(&b);
        assert_eq!((book.confirmed(&a), book.confirmed(&a)), (vec![], vec![]));
        assert!(matches!(book.confirmed(&a)[..], [Told::Done(..)]));
        book.subscribe(ticket(3), vec![topic("c")], |_| (Some(2), 1));
        assert_eq!(book.broken(0, 2), (vec![ticket(1)], vec![Told::Failed(ticket(3))]));
        assert_eq!(book.subscribers(&b), [ticket(2)]);
        assert_eq!(book.refused(&topic("d")), []);
    }
}
