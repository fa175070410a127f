//! How often each kind of fault has struck.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many faults of each kind happened, over all cases.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Inserts, whatever became of them.
    pub(crate) inserts: AtomicU64,
    /// Calls that failed before anything was done.
    pub(crate) failed: AtomicU64,
    /// Calls that were done and failed all the same.
    pub(crate) lost_replies: AtomicU64,
    /// Inserts of which a part was done.
    pub(crate) halved_inserts: AtomicU64,
    /// Workers that died.
    pub(crate) killed: AtomicU64,
    /// Times at which a worker stood still until its lease was over.
    pub(crate) pauses: AtomicU64,
    /// Runs that were dropped in the midst of an insert, which went on.
    pub(crate) cancelled: AtomicU64,
    /// Inserts that were acknowledged before their rows could be read.
    pub(crate) late_rows: AtomicU64,
    /// Reads that found no replica with all rows.
    pub(crate) replicas_behind: AtomicU64,
    /// Merges while a run was under way.
    pub(crate) merges: AtomicU64,
    /// Leases that expired while the outcome of an insert was unknown.
    pub(crate) unknown_outcomes: AtomicU64,
    /// Days of which a namespace's samples came late.
    pub(crate) late_samples: AtomicU64,
    /// Runs whose clock was not the store's.
    pub(crate) other_clocks: AtomicU64,
    /// Runs after which a running day's pods had older rows than the rest.
    pub(crate) kept_pods: AtomicU64,
    /// Running days that were read without their pods.
    pub(crate) unread_pods: AtomicU64,
}

impl Counts {
    /// What happened how often, by what it is called in messages.
    pub(crate) fn kinds(&self) -> [(&'static str, u64); 15] {
        [
            ("inserts", &self.inserts),
            ("failed calls", &self.failed),
            ("lost replies", &self.lost_replies),
            ("halved inserts", &self.halved_inserts),
            ("killed workers", &self.killed),
            ("pauses beyond the lease", &self.pauses),
            ("runs cancelled in an insert", &self.cancelled),
            ("inserts acknowledged before they showed", &self.late_rows),
            ("reads with replicas behind", &self.replicas_behind),
            ("merges during a run", &self.merges),
            ("leases that expired with an outcome unknown", &self.unknown_outcomes),
            ("days with late samples", &self.late_samples),
            ("runs by another clock", &self.other_clocks),
            ("runs that kept the rows of pods", &self.kept_pods),
            ("days read without their pods", &self.unread_pods),
        ]
        .map(|(kind, counter)| (kind, counter.load(Ordering::Relaxed)))
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
