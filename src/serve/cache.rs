//! Answers that are kept for a while: bounded in number and time, each made once.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

/// A cache of values that take a while to make.
pub(super) struct Cache<K, V> {
    lifetime: Duration,
    entries_max: usize,
    entries: Mutex<BTreeMap<K, Entry<V>>>,
}

struct Entry<V> {
    made_at: Instant,
    value: Arc<OnceCell<V>>,
}

impl<K: Clone + Ord, V: Clone> Cache<K, V> {
    /// A cache of at most so many values, each used for `lifetime` from when it was first asked
    /// for; zero: none is kept.
    pub(super) fn new(lifetime: Duration, entries_max: usize) -> Self {
        Self { lifetime, entries_max, entries: Mutex::default() }
    }

    /// The value of a key, and whether it was there. Those who ask while it is made wait for it; a
    /// failure is not kept.
    pub(super) async fn get<E>(
        &self,
        key: K,
        make: impl Future<Output = Result<V, E>>,
    ) -> Result<(V, bool), E> {
        if self.lifetime.is_zero() {
            return make.await.map(|value| (value, false));
        }
        let cell = self.cell(key);
        let is_there = cell.initialized();
        let value = cell.get_or_try_init(|| make).await?;
        Ok((value.clone(), is_there))
    }

    fn cell(&self, key: K) -> Arc<OnceCell<V>> {
        let now = Instant::now();
        // Nothing here can panic half way.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = |entry: &Entry<V>| now.duration_since(entry.made_at) < self.lifetime;
        if let Some(entry) = entries.get(&key).filter(|entry| is_fresh(entry)) {
            return Arc::clone(&entry.value);
        }
        if entries.len() >= self.entries_max {
            entries.retain(|_, entry| is_fresh(entry));
        }
        if entries.len() >= self.entries_max {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.made_at);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                entries.remove(&oldest);
            }
        }
        let value = Arc::new(OnceCell::new());
        entries.insert(key, Entry { made_at: now, value: Arc::clone(&value) });
        value
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    async fn get(cache: &Cache<u32, usize>, key: u32, made: &AtomicUsize) -> (usize, bool) {
        let make = async { Ok::<_, ()>(made.fetch_add(1, Ordering::SeqCst)) };
        cache.get(key, make).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_made_once_in_its_lifetime() {
        let (cache, made) = (Cache::new(MINUTE, 10), AtomicUsize::new(0));
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
        let (cache, made) = (Cache::new(MINUTE, 2), AtomicUsize::new(0));
        for key in [1, 2, 3] {
            get(&cache, key, &made).await;
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(cache.entries.lock().unwrap().keys().copied().collect::<Vec<_>>(), [2, 3]);
        let failed = cache.get(4, async { Err::<usize, _>("down") }).await;
        assert_eq!(failed, Err("down"));
        assert_eq!(get(&cache, 4, &made).await, (3, false));
    }

    #[tokio::test]
    async fn without_a_lifetime_nothing_is_kept() {
        let (cache, made) = (Cache::new(Duration::ZERO, 2), AtomicUsize::new(0));
        assert_eq!(
            (get(&cache, 1, &made).await, get(&cache, 1, &made).await),
            ((0, false), (1, false))
        );
        assert!(cache.entries.lock().unwrap().is_empty());
    }
}
