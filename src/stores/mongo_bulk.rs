//! Writes of several accounts in one command: accounts that are worked on side by side write at
//! about the same time. What is wrong with one account's is no failure of the others.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use mongodb::Collection;
use mongodb::bson::{Document, RawDocumentBuf};
use tokio::sync::Semaphore;

use crate::service::batcher::{
    Asked, BatchLimits, Batcher, LINGER, Linger, answer_in_order, no_answer,
};
use crate::service::failure::{Failure, Kind};
use crate::settings::worker::LEASE_MIN;

use super::WRITE_TIMEOUT;
use super::mongo_update::{Updated, Verb, all_encoded, write_each};

/// How many batches of a process write a collection at a time, but for slow ones. More of them get in
/// each other's way: one server took half as long again, and a third more CPU, for the same updates by
/// four at a time as by two. What waits becomes one larger command.
const WRITES_AT_ONCE: usize = 2;
/// How long a write waits for others' to end.
const PLACE_WAIT_MAX: Duration = Duration::from_secs(20);
// A lease that was renewed before the wait outlives the first command, even if its holder died then.
const _: () = assert!(PLACE_WAIT_MAX.as_secs() + WRITE_TIMEOUT.as_secs() < LEASE_MIN.as_secs());
/// Updates of one caller in one command: about 1 MB.
pub const UPDATES_MAX: usize = 1_000;
/// Updates of all callers in one command: far below the server's limits of 100 000 and of 48 MB. The
/// accounts that are answered together insert their rows together: many of them make few inserts.
const UPDATES_TOGETHER_MAX: u64 = 4_000;
/// Encoded bytes of a command's updates: they go in the command's own document, which may have 16 MiB
/// and 16 KiB.
const BYTES_TOGETHER_MAX: usize = 12 * 1_024 * 1_024;
/// So many bytes weigh what one update weighs, so that a full batch keeps to both bounds.
const BYTES_OF_ONE: u64 = BYTES_TOGETHER_MAX as u64 / UPDATES_TOGETHER_MAX;
/// Most that an array adds to an element: its type and its place in digits.
const ELEMENT_BYTES: usize = 16;
const LIMITS: BatchLimits = BatchLimits {
    questions_max: 500,
    weight_max: UPDATES_TOGETHER_MAX,
    linger: Linger::WhileTheyCome { step: LINGER, steps_max: 5 },
    place_wait_max: Some(PLACE_WAIT_MAX),
};

type Outcome = Result<Updated, Failure>;

/// Updates or documents of one account as they are sent, and how many documents they are to change.
type Updates = (Vec<RawDocumentBuf>, u64);

/// Writes a collection.
#[derive(Clone, Debug)]
pub struct BulkWrites {
    what: &'static str,
    collection: Collection<Document>,
    batcher: Arc<Batcher<Verb, Updates, Outcome>>,
}

impl BulkWrites {
    /// For this collection; `what` names the writing, as "writing resources".
    #[must_use]
    pub fn new(what: &'static str, collection: Collection<Document>) -> Self {
        let places = Arc::new(Semaphore::new(WRITES_AT_ONCE));
        Self { what, collection, batcher: Arc::new(Batcher::new(places, LIMITS)) }
    }

    /// Carries out updates, or inserts documents, at most [`UPDATES_MAX`], that are to change so many
    /// documents. They go in one unordered command with those of other callers of the same verb; in
    /// several, one after the other, where they are too large for one.
    ///
    /// Servers count the changed documents of a command, not of an update: where fewer changed
    /// than were to, it is not known whose, and the last callers' counts are lower.
    ///
    /// # Errors
    /// When one of them cannot be sent, when the server cannot be asked or refuses an update for
    /// another reason than a duplicate key, or when the write concern was not met: then what was
    /// written may be lost again.
    pub async fn write(
        &self,
        verb: Verb,
        updates: impl IntoIterator<Item = Document>,
        documents: u64,
    ) -> Outcome {
        let updates = all_encoded(self.what, updates)?;
        let count = updates.len();
        let mut whole = Updated::default();
        let mut start = 0;
        for piece in pieces(updates) {
            let length = piece.len();
            // Each update that is in another piece is of one document at least.
            let of_piece = documents.saturating_sub((count - length) as u64);
            let done = self.write_piece(verb, piece, of_piece).await?;
            whole.append(done, start);
            start += length;
        }
        Ok(whole)
    }

    async fn write_piece(
        &self,
        verb: Verb,
        updates: Vec<RawDocumentBuf>,
        documents: u64,
    ) -> Outcome {
        let bulk = self.clone();
        let answer = move |asked: Asked<Updates, Outcome>| async move {
            answer_in_order(asked, |all| bulk.send(verb, all)).await;
        };
        let weight = weight(&updates, documents);
        let asked = self.batcher.ask(verb, (updates, documents), weight, answer).await;
        asked.unwrap_or_else(|| Err(no_answer()))
    }

    /// The outcomes are in the order of the callers. A command that the server refused as a whole
    /// is sent caller by caller: it may be for one's sake.
    fn send(&self, verb: Verb, all: Vec<Updates>) -> BoxFuture<'_, Vec<Outcome>> {
        Box::pin(async move {
            let sizes: Vec<(usize, u64)> = all.iter().map(|(one, n)| (one.len(), *n)).collect();
            let together = all.iter().flat_map(|(updates, _)| updates);
            match write_each(verb, self.what, &self.collection, together).await {
                Ok(updated) => shares(updated, &sizes),
                Err(failure) if all.len() > 1 && is_for_one(&failure) => {
                    tracing::debug!(%failure, "the updates are sent one caller after the other");
                    let mut outcomes = Vec::with_capacity(all.len());
                    for one in all {
                        outcomes.extend(self.send(verb, vec![one]).await);
                    }
                    outcomes
                }
                Err(failure) => all.iter().map(|_| Err(failure.clone())).collect(),
            }
        })
    }
}

/// What updates that are to change so many documents weigh in a batch. One update may be of many
/// documents, and large.
fn weight(updates: &[RawDocumentBuf], documents: u64) -> u64 {
    let bytes: usize = updates.iter().map(size).sum();
    documents.max(updates.len() as u64).max((bytes as u64).div_ceil(BYTES_OF_ONE))
}

/// The bytes that an update takes in a command.
fn size(update: &RawDocumentBuf) -> usize {
    update.as_bytes().len() + ELEMENT_BYTES
}

/// A caller's updates in their order, in parts of [`BYTES_TOGETHER_MAX`] at the most; one update that
/// is larger is alone.
fn pieces(updates: Vec<RawDocumentBuf>) -> Vec<Vec<RawDocumentBuf>> {
    let mut pieces: Vec<Vec<RawDocumentBuf>> = Vec::new();
    let mut bytes = 0;
    for update in updates {
        let size = size(&update);
        match pieces.last_mut() {
            Some(piece) if bytes + size <= BYTES_TOGETHER_MAX => {
                bytes += size;
                piece.push(update);
            }
            _ => {
                bytes = size;
                pieces.push(vec![update]);
            }
        }
    }
    pieces
}

/// Whether nothing was written, and the reason may lie in what was sent.
fn is_for_one(failure: &Failure) -> bool {
    let is_for_all = matches!(failure.kind, Kind::Denied | Kind::ReadOnly);
    failure.says_nothing_was_written() && !is_for_all
}

/// Each caller's part of what a command came to: `sizes` has the callers' updates and the documents
/// that they are to change.
fn shares(all: Updated, sizes: &[(usize, u64)]) -> Vec<Outcome> {
    if let [_] = sizes {
        return vec![all.whole()];
    }
    let mut modified = all.changed - all.made.len() as u64;
    let mut matched = all.matched - all.made.len() as u64;
    let mut start = 0;
    let mut outcomes = Vec::with_capacity(sizes.len());
    for (length, documents) in sizes {
        let own = start..start + length;
        let here = |places: &[usize]| -> Vec<usize> {
            let own_ones = places.iter().filter(|place| own.contains(place));
            own_ones.map(|place| place - own.start).collect()
        };
        let (made, duplicates) = (here(&all.made), here(&all.duplicates));
        let refused = all.refused.iter().filter(|(place, _)| own.contains(place));
        let refused: Vec<_> = refused.map(|(at, why)| (at - own.start, why.clone())).collect();
        let without = made.len() + duplicates.len() + refused.len();
        let most = documents.saturating_sub(without as u64);
        let take = |left: &mut u64| {
            let share = most.min(*left);
            *left -= share;
            share + made.len() as u64
        };
        let (changed, matched) = (take(&mut modified), take(&mut matched));
        outcomes.push(Updated { matched, changed, made, duplicates, refused }.whole());
        start += length;
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;
    use crate::service::failure::Hop;

    /// An update of about so many bytes, told apart by `place`.
    fn update(place: i32, bytes: usize) -> RawDocumentBuf {
        let text = "x".repeat(bytes);
        RawDocumentBuf::from_document(&doc! { "place": place, "text": text }).unwrap()
    }

    fn bytes(updates: &[RawDocumentBuf]) -> usize {
        updates.iter().map(size).sum()
    }

    #[test]
    fn updates_of_a_caller_go_in_commands_that_servers_take() {
        const MIB: usize = 1_024 * 1_024;
        let sizes = [5 * MIB, 5 * MIB, 5 * MIB, 14 * MIB, 10, 12 * MIB - 100, 4 * MIB];
        let updates: Vec<RawDocumentBuf> =
            (0..).zip(sizes).map(|(place, bytes)| update(place, bytes)).collect();
        let parts = pieces(updates.clone());
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1, 1, 2, 1]);
        assert!(parts.iter().all(|one| one.len() == 1 || bytes(one) <= BYTES_TOGETHER_MAX));
        assert!(parts.concat() == updates, "in their order");
        let small: Vec<RawDocumentBuf> = (0..1_000).map(|place| update(place, 900)).collect();
        assert_eq!(pieces(small).len(), 1);
        assert_eq!(pieces(Vec::new()).len(), 0);
    }

    #[test]
    fn a_batch_that_weighs_no_more_than_it_may_keeps_to_the_bound_of_bytes() {
        // What batches take in is by weight: here callers of 300 updates of 5 kB.
        let of_caller: Vec<RawDocumentBuf> = (0..300).map(|place| update(place, 5_000)).collect();
        let one = weight(&of_caller, 300);
        assert!(one > 300, "bytes weigh more than documents here: {one}");
        let callers = usize::try_from(UPDATES_TOGETHER_MAX / one).unwrap();
        assert!(callers > 1 && callers * bytes(&of_caller) <= BYTES_TOGETHER_MAX);
        assert_eq!(weight(&[update(0, 10)], 70), 70);
        assert_eq!(weight(&[update(0, 10), update(1, 10)], 1), 2);
    }

    #[test]
    fn what_pieces_came_to_is_at_the_places_of_the_caller() {
        let piece = |made: usize, duplicate: usize| Updated {
            matched: 3,
            changed: 2,
            made: vec![made],
            duplicates: vec![duplicate],
            refused: vec![(2, refusal())],
        };
        let mut whole = Updated::default();
        whole.append(piece(0, 1), 0);
        whole.append(piece(1, 0), 3);
        assert_eq!((whole.matched, whole.changed), (6, 4));
        assert_eq!((whole.made, whole.duplicates), (vec![0, 4], vec![1, 3]));
        assert_eq!(whole.refused, [(2, refusal()), (5, refusal())]);
    }

    fn refusal() -> Failure {
        Failure::new(Hop::MongoDb, Kind::Schema, "refused", "see")
    }

    #[test]
    fn each_caller_gets_its_own_part_and_only_the_one_that_was_refused_fails() {
        let all = Updated {
            matched: 6,
            changed: 5,
            made: vec![1, 3],
            duplicates: vec![4],
            refused: vec![(5, refusal())],
        };
        let outcomes = shares(all, &[(2, 2), (3, 4), (1, 1), (1, 1)]);
        let first = Updated { matched: 2, changed: 2, made: vec![1], ..Updated::default() };
        assert_eq!(outcomes[0], Ok(first));
        let second = Updated {
            matched: 3,
            changed: 3,
            made: vec![1],
            duplicates: vec![2],
            refused: Vec::new(),
        };
        assert_eq!(outcomes[1], Ok(second));
        assert_eq!(outcomes[2], Err(refusal()));
        // The server changed one less than it was to: it is missing in the last one's.
        let last = Updated { matched: 1, changed: 0, ..Updated::default() };
        assert_eq!(outcomes[3], Ok(last));
    }

    #[test]
    fn a_caller_who_was_alone_has_the_servers_counts() {
        let all = Updated { matched: 70, changed: 60, ..Updated::default() };
        assert_eq!(shares(all.clone(), &[(1, 1)]), [Ok(all)]);
    }

    #[test]
    fn a_server_that_is_away_is_so_for_all() {
        let of = |kind| Failure::new(Hop::MongoDb, kind, "what", "fix");
        assert!(is_for_one(&of(Kind::Schema)) && is_for_one(&of(Kind::BadData)));
        for kind in [Kind::Unavailable, Kind::Timeout, Kind::Denied, Kind::Internal] {
            assert!(!is_for_one(&of(kind)), "{kind:?}");
        }
    }
}
