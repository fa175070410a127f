//! Values that are kept for a while: bounded in number, bytes and time, each made once.
//!
//! A value that is asked for near the end of its time is made anew beside that, so that who asks
//! often waits for the first one only.

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
    /// Whether what is asked for in the last quarter of its time is made anew beside that.
    pub(super) renews: bool,
    /// The most values.
    pub(super) entries_max: usize,
    /// The most bytes of all values.
    pub(super) bytes_max: usize,
}

/// A cache of values that take a while to make.
pub(super) struct Cache<K, V, E>(Arc<Kept<K, V, E>>);

struct Kept<K, V, E> {
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
    /// Whether the value that follows it is being made.
    is_followed: bool,
}

impl<V, E> Entry<V, E> {
    fn new(made_at: Instant, value: OnceCell<Result<V, E>>) -> Self {
        Self { made_at, bytes: 0, value: Arc::new(value), is_followed: false }
    }
}

impl<K, V, E> Cache<K, V, E>
where
    K: Clone + Ord + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// An empty cache; `bytes_of` says about how many bytes a value takes.
    pub(super) fn new(bounds: Bounds, bytes_of: fn(&V) -> usize) -> Self {
        Self(Arc::new(Kept { bounds, bytes_of, entries: Mutex::default() }))
    }

    /// The value of a key, and whether it was there. Those who ask while it is made wait for it,
    /// and share its failure, which is not kept.
    pub(super) async fn get<F>(&self, key: K, make: impl FnOnce() -> F) -> Result<(V, bool), E>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let kept = &self.0;
        if kept.bounds.lifetime.is_zero() {
            return make().await.map(|value| (value, false));
        }
        let (cell, is_to_follow) = kept.cell(&key);
        if let Some(value) = cell.get() {
            if is_to_follow {
                let (kept, asked_at, making) = (Arc::clone(kept), Instant::now(), make());
                tokio::spawn(async move { kept.follow(&key, asked_at, making.await) });
            }
            return value.clone().map(|value| (value, true));
        }
        let made = cell.get_or_init(|| async {
            let made = make().await;
            kept.note_made(&key, &cell, made.as_ref().ok());
            made
        });
        made.await.clone().map(|value| (value, false))
    }
}

impl<K: Clone + Ord, V, E> Kept<K, V, E> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, Entry<V, E>>> {
        // Nothing here can panic half way.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_fresh(&self, entry: &Entry<V, E>, now: Instant) -> bool {
        now.duration_since(entry.made_at) < self.bounds.lifetime
    }

    /// The cell of a key, and whether the caller is to make the value that follows.
    fn cell(&self, key: &K) -> (Cell<V, E>, bool) {
        let now = Instant::now();
        let mut entries = self.lock();
        if let Some(entry) = entries.get_mut(key).filter(|entry| self.is_fresh(entry, now)) {
            let is_late = self.bounds.renews
                && now.duration_since(entry.made_at) >= self.bounds.lifetime / 4 * 3;
            let is_to_follow = is_late && entry.value.initialized() && !entry.is_followed;
            entry.is_followed |= is_to_follow;
            return (Arc::clone(&entry.value), is_to_follow);
        }
        entries.retain(|_, entry| self.is_fresh(entry, now));
        while entries.len() >= self.bounds.entries_max && remove_oldest(&mut entries) {}
        let entry = Entry::new(now, OnceCell::new());
        let value = Arc::clone(&entry.value);
        entries.insert(key.clone(), entry);
        (value, false)
    }

    /// Puts a value in the place of the one that it follows, unless one that was asked for later is
    /// there by now. After a failure that one is used to the end of its time, and the next who asks
    /// then waits.
    fn follow(&self, key: &K, asked_at: Instant, made: Result<V, E>) {
        let Ok(value) = &made else { return };
        let bytes = (self.bytes_of)(value);
        let mut entries = self.lock();
        let before = entries.get_mut(key).filter(|entry| entry.made_at <= asked_at);
        let Some(entry) = before else { return };
        *entry = Entry { bytes, ..Entry::new(asked_at, OnceCell::new_with(Some(made))) };
        self.make_room(&mut entries);
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
        self.make_room(&mut entries);
    }

    fn make_room(&self, entries: &mut BTreeMap<K, Entry<V, E>>) {
        let mut bytes: usize = entries.values().map(|entry| entry.bytes).sum();
        while bytes > self.bounds.bytes_max && remove_oldest(entries) {
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
        Cache::new(Bounds { lifetime, renews: true, entries_max, bytes_max: 1_000 }, |value| *value)
    }

    fn keys(cache: &Numbers) -> Vec<u32> {
        cache.0.entries.lock().unwrap().keys().copied().collect()
    }

    async fn get(cache: &Numbers, key: u32, made: &Arc<AtomicUsize>) -> (usize, bool) {
        let made = Arc::clone(made);
        let make = || async move { Ok(made.fetch_add(1, Ordering::SeqCst)) };
        cache.get(key, make).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_made_once_in_its_lifetime() {
        let (cache, made) = (cache(MINUTE, 10), Arc::new(AtomicUsize::new(0)));
        let both = tokio::join!(get(&cache, 1, &made), get(&cache, 1, &made));
        assert_eq!((both.0.0, both.1.0), (0, 0));
        tokio::time::advance(Duration::from_secs(44)).await;
        assert_eq!(get(&cache, 1, &made).await, (0, true));
        tokio::time::advance(Duration::from_secs(16)).await;
        assert_eq!(get(&cache, 1, &made).await, (1, false));
        assert_eq!(get(&cache, 2, &made).await, (2, false));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_near_the_end_of_its_time_does_not_wait_for_the_value_that_follows() {
        let (cache, made) = (cache(MINUTE, 10), Arc::new(AtomicUsize::new(0)));
        let slowly = || {
            let made = Arc::clone(&made);
            cache.get(1, || async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                Ok(made.fetch_add(1, Ordering::SeqCst))
            })
        };
        assert_eq!(slowly().await, Ok((0, false)));
        let started = Instant::now();
        tokio::time::advance(Duration::from_secs(45)).await;
        assert_eq!((slowly().await, slowly().await), (Ok((0, true)), Ok((0, true))));
        assert_eq!(started.elapsed().as_secs(), 45, "nobody waited");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(slowly().await, Ok((1, true)));
        // It is as old as the question for it: 45 seconds on, this one is followed too.
        tokio::time::advance(Duration::from_secs(41)).await;
        assert_eq!(slowly().await, Ok((1, true)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(slowly().await, Ok((1, true)));
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!((slowly().await, made.load(Ordering::SeqCst)), (Ok((2, true)), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_follows_late_takes_the_place_of_no_later_one() {
        let cache = cache(MINUTE, 10);
        let takes = |seconds: u64, value: usize| {
            cache.get(1, move || async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok(value)
            })
        };
        assert_eq!(takes(0, 1).await, Ok((1, false)));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(takes(10, 2).await, Ok((1, true)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(takes(3, 3).await, Ok((3, false)));
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(takes(0, 4).await, Ok((3, true)));
    }

    #[tokio::test(start_paused = true)]
    async fn without_renewal_a_value_is_used_to_the_end_of_its_time() {
        let bounds = Bounds { lifetime: MINUTE, renews: false, entries_max: 9, bytes_max: 1_000 };
        let (cache, made) = (Numbers::new(bounds, |value| *value), Arc::new(AtomicUsize::new(0)));
        assert_eq!(get(&cache, 1, &made).await, (0, false));
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(get(&cache, 1, &made).await, (0, true));
        tokio::task::yield_now().await;
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_that_none_follows_is_used_to_the_end_of_its_time() {
        let (cache, tries) = (cache(MINUTE, 10), Arc::new(AtomicUsize::new(0)));
        let fails = || {
            let tries = Arc::clone(&tries);
            cache.get(1, || async move {
                tries.fetch_add(1, Ordering::SeqCst);
                Err("down")
            })
        };
        cache.get(1, || async { Ok(7) }).await.unwrap();
        tokio::time::advance(Duration::from_secs(50)).await;
        for _ in 0..3 {
            assert_eq!(fails().await, Ok((7, true)));
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(tries.load(Ordering::SeqCst), 1, "one who asks tries it for all");
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(fails().await, Err("down"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_value_gives_way_and_a_failure_is_not_kept() {
        let (cache, made) = (cache(MINUTE, 2), Arc::new(AtomicUsize::new(0)));
        for key in [1, 2, 3] {
            get(&cache, key, &made).await;
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(keys(&cache), [2, 3]);
        assert_eq!(cache.get(4, || async { Err("down") }).await, Err("down"));
        assert_eq!(get(&cache, 4, &made).await, (3, false));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_values_give_way_to_the_bytes_of_a_new_one() {
        let cache = cache(MINUTE, 10);
        for (key, bytes) in [(1, 400), (2, 500), (3, 450)] {
            cache.get(key, || async move { Ok(bytes) }).await.unwrap();
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(keys(&cache), [2, 3]);
        assert_eq!(cache.get(4, || async { Ok(1_001) }).await, Ok((1_001, false)));
        assert!(keys(&cache).is_empty(), "it takes more than all may");
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_get_the_one_failure() {
        let (cache, tries) = (cache(MINUTE, 10), Arc::new(AtomicUsize::new(0)));
        let ask = || {
            let tries = Arc::clone(&tries);
            cache.get(1, || async move {
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
        let (cache, made) = (cache(Duration::ZERO, 2), Arc::new(AtomicUsize::new(0)));
        assert_eq!(
            (get(&cache, 1, &made).await, get(&cache, 1, &made).await),
            ((0, false), (1, false))
        );
        assert!(cache.0.entries.lock().unwrap().is_empty());
    }
}
