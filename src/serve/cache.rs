//! Values that are kept for a while: bounded in number, bytes and time, each made once.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

/// How much a cache keeps, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// For how long a value is used, from when it was first asked for; zero: none is kept.
    pub(super) lifetime: Duration,
    /// The most values.
    pub(super) entries_max: usize,
    /// The most bytes of all values.
    pub(super) bytes_max: usize,
}

/// A cache of values that take a while to make.
pub(super) struct Cache<K, V, E> {
    bounds: Bounds,
    /// About how many bytes a value takes.
    bytes_of: fn(&V) -> usize,
    entries: Mutex<BTreeMap<K, Entry<V, E>>>,
}

type Cell<V, E> = Arc<OnceCell<Result<V, E>>>;

struct Entry<V, E> {
    made_at: Instant,
    /// Zero until the value is made.
    bytes: usize,
    value: Cell<V, E>,
}

impl<K: Clone + Ord, V: Clone, E: Clone> Cache<K, V, E> {
    /// An empty cache; `bytes_of` says about how many bytes a value takes.
    pub(super) fn new(bounds: Bounds, bytes_of: fn(&V) -> usize) -> Self {
        Self { bounds, bytes_of, entries: Mutex::default() }
    }

    /// The value of a key, and whether it was there. Those who ask while it is made wait for it,
    /// and share its failure, which is not kept.
    pub(super) async fn get(
        &self,
        key: K,
        make: impl Future<Output = Result<V, E>>,
    ) -> Result<(V, bool), E> {
        if self.bounds.lifetime.is_zero() {
            return make.await.map(|value| (value, false));
        }
        let cell = self.cell(&key);
        let is_there = cell.initialized();
        let made = cell.get_or_init(|| async {
            let made = make.await;
            self.note_made(&key, &cell, made.as_ref().ok());
            made
        });
        made.await.clone().map(|value| (value, is_there))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, Entry<V, E>>> {
        // Nothing here can panic half way.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_fresh(&self, entry: &Entry<V, E>, now: Instant) -> bool {
        now.duration_since(entry.made_at) < self.bounds.lifetime
    }

    fn cell(&self, key: &K) -> Cell<V, E> {
        let now = Instant::now();
        let mut entries = self.lock();
        if let Some(entry) = entries.get(key).filter(|entry| self.is_fresh(entry, now)) {
            return Arc::clone(&entry.value);
        }
        entries.retain(|_, entry| self.is_fresh(entry, now));
        while entries.len() >= self.bounds.entries_max && remove_oldest(&mut entries) {}
        let value = Arc::new(OnceCell::new());
        let entry = Entry { made_at: now, bytes: 0, value: Arc::clone(&value) };
        entries.insert(key.clone(), entry);
        value
    }

    /// Counts the bytes of a value that was made, and makes room for them; a failure is removed.
    fn note_made(&self, key: &K, cell: &Cell<V, E>, value: Option<&V>) {
        let mut entries = self.lock();
        let own = entries.get_mut(key).filter(|entry| Arc::ptr_eq(&entry.value, cell));
        let Some(entry) = own else { return };
        let Some(value) = value else {
            entries.remove(key);
            return;
        };
        entry.bytes = (self.bytes_of)(value);
        let mut bytes: usize = entries.values().map(|entry| entry.bytes).sum();
        while bytes > self.bounds.bytes_max && remove_oldest(&mut entries) {
            bytes = entries.values().map(|entry| entry.bytes).sum();
        }
    }
}

/// Removes the entry that was made first; false where there is none.
fn remove_oldest<K: Clone + Ord, V, E>(entries: &mut BTreeMap<K, Entry<V, E>>) -> bool {
    let oldest = entries.iter().min_by_key(|(_, entry)| entry.made_at);
    let oldest = oldest.map(|(key, _)| key.clone());
    oldest.is_some_and(|key| entries.remove(&key).is_some())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    type Numbers = Cache<u32, usize, &'static str>;

    fn cache(lifetime: Duration, entries_max: usize) -> Numbers {
        Cache::new(Bounds { lifetime, entries_max, bytes_max: 1_000 }, |value| *value)
    }

    fn keys(cache: &Numbers) -> Vec<u32> {
        cache.entries.lock().unwrap().keys().copied().collect()
    }

    async fn get(cache: &Numbers, key: u32, made: &AtomicUsize) -> (usize, bool) {
        let make = async { Ok(made.fetch_add(1, Ordering::SeqCst)) };
        cache.get(key, make).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_made_once_in_its_lifetime() {
        let (cache, made) = (cache(MINUTE, 10), AtomicUsize::new(0));
        let both = tokio::join!(get(&cache, 1, &made), get(&cache, 1, &made));
        assert_eq!((both.0.0, both.1.0), (0, 0));
        tokio::time::advance(MINUTE - Duration::from_millis(1)).await;
        assert_eq!(get(&cache, 1, &made).await, (0, true));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(get(&cache, 1, &made).await, (1, false));
        assert_eq!(get(&cache, 2, &made).await, (2, false));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_value_gives_way_and_a_failure_is_not_kept() {
        let (cache, made) = (cache(MINUTE, 2), AtomicUsize::new(0));
        for key in [1, 2, 3] {
            get(&cache, key, &made).await;
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(keys(&cache), [2, 3]);
        assert_eq!(cache.get(4, async { Err("down") }).await, Err("down"));
        assert_eq!(get(&cache, 4, &made).await, (3, false));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_values_give_way_to_the_bytes_of_a_new_one() {
        let cache = cache(MINUTE, 10);
        for (key, bytes) in [(1, 400), (2, 500), (3, 450)] {
            cache.get(key, async move { Ok(bytes) }).await.unwrap();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(keys(&cache), [2, 3]);
        assert_eq!(cache.get(4, async { Ok(1_001) }).await, Ok((1_001, false)));
        assert!(keys(&cache).is_empty(), "it takes more than all may");
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_get_the_one_failure() {
        let (cache, tries) = (cache(MINUTE, 10), AtomicUsize::new(0));
        let ask = || {
            cache.get(1, async {
                tries.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_secs(10)).await;
                Err("down")
            })
        };
        let started = Instant::now();
        let all = tokio::join!(ask(), ask(), ask());
        assert_eq!(all, (Err("down"), Err("down"), Err("down")));
        assert_eq!((tries.load(Ordering::SeqCst), started.elapsed().as_secs()), (1, 10));
        assert_eq!(ask().await, Err("down"));
        assert_eq!(tries.load(Ordering::SeqCst), 2, "who asks later asks anew");
    }

    #[tokio::test]
    async fn without_a_lifetime_nothing_is_kept() {
        let (cache, made) = (cache(Duration::ZERO, 2), AtomicUsize::new(0));
        assert_eq!(
            (get(&cache, 1, &made).await, get(&cache, 1, &made).await),
            ((0, false), (1, false))
        );
        assert!(cache.entries.lock().unwrap().is_empty());
    }
}
