//! Which connections are open, and which of them gives way when another one comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

/// Places for connections. A connection that waits for its client gives way to a newer one, the
/// longest waiting first; one whose request is being answered never does.
#[derive(Debug)]
pub(super) struct Slots {
    most: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next_id: u64,
    connections: BTreeMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    state: State,
    give_way: Arc<Notify>,
}

/// What a connection is at, and since when.
#[derive(Clone, Copy, Debug)]
enum State {
    /// It waits for its client: a handshake, a request's head, or the next request.
    Waiting(Instant),
    /// A request is being answered.
    Answering(Instant),
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    id: u64,
    slots: Arc<Slots>,
    give_way: Arc<Notify>,
}

impl Slots {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// A place for a new connection; `None` when all are taken by requests being answered.
    pub(super) fn take(self: &Arc<Self>, now: Instant) -> Option<Slot> {
        let mut open = self.open();
        if open.connections.len() >= self.most {
            let waiting = open.connections.iter().filter_map(|(id, one)| match one.state {
                State::Waiting(since) => Some((since, *id)),
                State::Answering(_) => None,
            });
            let (_, longest) = waiting.min()?;
            if let Some(gone) = open.connections.remove(&longest) {
                gone.give_way.notify_one();
            }
        }
        let (id, give_way) = (open.next_id, Arc::new(Notify::new()));
        open.next_id += 1;
        let connection = Connection { state: State::Waiting(now), give_way: Arc::clone(&give_way) };
        open.connections.insert(id, connection);
        drop(open);
        Some(Slot { id, slots: Arc::clone(self), give_way })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Nothing here can panic half way.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// Says that a request of this connection is being answered from `now` on.
    pub(super) fn answering(&self, now: Instant) {
        self.set(State::Answering(now));
    }

    /// Says that the connection waits for its client again.
    pub(super) fn waiting(&self, now: Instant) {
        self.set(State::Waiting(now));
    }

    /// Since when a request has been answered, if one is.
    pub(super) fn answering_since(&self) -> Option<Instant> {
        match self.slots.open().connections.get(&self.id)?.state {
            State::Answering(since) => Some(since),
            State::Waiting(_) => None,
        }
    }

    /// Done when the connection is to give way to another one.
    pub(super) async fn gives_way(&self) {
        self.give_way.notified().await;
    }

    fn set(&self, state: State) {
        if let Some(connection) = self.slots.open().connections.get_mut(&self.id) {
            connection.state = state;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.open().connections.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn must_give_way(slot: &Slot) -> bool {
        let asked = std::pin::pin!(slot.gives_way());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        asked.poll(&mut context).is_ready()
    }

    #[tokio::test]
    async fn the_connection_that_waits_longest_gives_way() {
        let (slots, start) = (Slots::new(3), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = slots.take(at(0)).unwrap();
        let second = slots.take(at(1)).unwrap();
        let third = slots.take(at(2)).unwrap();
        // The first has been served in the meantime: it waits since then only.
        first.answering(at(3));
        first.waiting(at(4));
        let fourth = slots.take(at(5)).unwrap();
        assert_eq!(
            [&first, &second, &third, &fourth].map(must_give_way),
            [false, true, false, false]
        );
        drop(second);
        let fifth = slots.take(at(6)).unwrap();
        assert_eq!(
            [&first, &third, &fourth, &fifth].map(must_give_way),
            [false, true, false, false]
        );
    }

    #[tokio::test]
    async fn a_request_that_is_being_answered_is_not_cut_off_for_another() {
        let (slots, now) = (Slots::new(2), Instant::now());
        let [first, second] = [(); 2].map(|()| slots.take(now).unwrap());
        first.answering(now);
        second.answering(now);
        assert!(slots.take(now).is_none());
        assert_eq!(first.answering_since(), Some(now));
        first.waiting(now);
        assert!(slots.take(now).is_some() && must_give_way(&first) && !must_give_way(&second));
    }

    #[test]
    fn a_place_is_free_when_its_connection_ends() {
        let (slots, now) = (Slots::new(1), Instant::now());
        let only = slots.take(now).unwrap();
        only.answering(now);
        assert!(slots.take(now).is_none());
        drop(only);
        assert!(slots.take(now).is_some());
    }
}
