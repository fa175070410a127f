use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::*;

type Numbers = Batcher<&'static str, u32, (u32, usize)>;

fn batcher(places: usize, questions_max: usize, weight_max: u64) -> Arc<Numbers> {
    let limits = BatchLimits::of_reads(questions_max, weight_max);
    Arc::new(Batcher::new(Arc::new(Semaphore::new(places)), limits))
}

/// The question, and how many were asked together.
async fn ask(batcher: &Arc<Numbers>, key: &'static str, question: u32) -> (u32, usize) {
    let answer = |asked: Asked<u32, (u32, usize)>| async move {
        let count = asked.len();
        for (question, reply) in asked {
            reply.send((question * 10, count));
        }
    };
    batcher.ask(key, question, 1, answer).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn questions_of_a_key_that_wait_together_are_one_batch_and_get_their_own_answers() {
    let batcher = batcher(1, 10, 10);
    let asked = [("a", 1), ("b", 2), ("a", 3)].map(|(key, q)| ask(&batcher, key, q));
    assert_eq!(join_all(asked).await, [(10, 2), (20, 1), (30, 2)]);
}

fn lingering(linger: Linger) -> Arc<Numbers> {
    let limits = BatchLimits { linger, ..BatchLimits::of_reads(9, 9) };
    Arc::new(Batcher::new(Arc::new(Semaphore::new(1)), limits))
}

/// A batcher that waits for 8 ms each time.
fn while_they_come(steps_max: u32) -> Arc<Numbers> {
    lingering(Linger::WhileTheyCome { step: Duration::from_millis(8), steps_max })
}

/// How many are asked together of five who come 7 ms after each other.
async fn together_of_five(steps_max: u32) -> usize {
    let batcher = while_they_come(steps_max);
    let asked = (0..5).map(|place| {
        let batcher = &batcher;
        async move {
            tokio::time::sleep(Duration::from_millis(7) * place).await;
            ask(batcher, "a", place).await
        }
    });
    join_all(asked).await[0].1
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_as_long_as_others_come_and_no_longer_than_it_may() {
    assert_eq!(together_of_five(1).await, 2);
    assert_eq!(together_of_five(2).await, 3);
    assert_eq!(together_of_five(10).await, 5);
    let started = Instant::now();
    ask(&while_they_come(9), "a", 1).await;
    assert_eq!(started.elapsed(), Duration::from_millis(8), "nobody came");
}

/// After how many seconds the first of these is answered, and how many were asked together,
/// where so many more are present who do not ask.
async fn waited(ask_after_seconds: &[u64], silent: usize) -> (u64, usize) {
    let [for_each, total_max] = [4, 14].map(Duration::from_secs);
    let batcher = lingering(Linger::ForThePresent { for_each, total_max });
    let _silent: Vec<Presence> = (0..silent).map(|_| batcher.presence()).collect();
    let started = Instant::now();
    let asked = ask_after_seconds.iter().map(|seconds| {
        let (batcher, presence) = (&batcher, batcher.presence());
        async move {
            tokio::time::sleep(Duration::from_secs(*seconds)).await;
            let (_, together) = ask(batcher, "a", 1).await;
            drop(presence);
            (started.elapsed().as_secs(), together)
        }
    });
    join_all(asked).await[0]
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_those_who_are_present_and_for_each_no_longer_than_it_may() {
    assert_eq!(waited(&[0], 0).await, (0, 1), "nobody else is there");
    assert_eq!(waited(&[0, 0, 0], 0).await, (0, 3), "all have asked");
    assert_eq!(waited(&[0, 1, 1, 1], 0).await, (4, 4), "all have asked when it looks again");
    assert_eq!(waited(&[0], 1).await, (4, 1));
    assert_eq!(waited(&[0], 2).await, (8, 1));
    assert_eq!(waited(&[0, 9], 9).await, (16, 2), "it looks every 4 s, for 14 s at the most");
}

#[tokio::test(start_paused = true)]
async fn who_is_no_longer_present_is_not_waited_for() {
    let [for_each, total_max] = [4, 100].map(Duration::from_secs);
    let batcher = lingering(Linger::ForThePresent { for_each, total_max });
    let _asks = batcher.presence();
    let others: Vec<Presence> = (0..9).map(|_| batcher.presence()).collect();
    let started = Instant::now();
    let leave = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        drop(others);
    };
    futures_util::future::join(ask(&batcher, "a", 1), leave).await;
    assert_eq!(started.elapsed().as_secs(), 8);
}

#[tokio::test(start_paused = true)]
async fn who_hangs_is_waited_for_no_longer_than_they_may_be_present() {
    let [for_each, total_max] = [4, 100].map(Duration::from_secs);
    let batcher = lingering(Linger::ForThePresent { for_each, total_max });
    let (asks, hangs) = (batcher.presence(), batcher.presence());
    let _others: Vec<Presence> = (0..8).map(|_| batcher.presence()).collect();
    let started = Instant::now();
    ask(&batcher, "a", 1).await;
    assert_eq!(started.elapsed(), PRESENT_FOR);
    asks.renew();
    ask(&batcher, "a", 2).await;
    assert_eq!(started.elapsed(), PRESENT_FOR, "nobody else is there");
    asks.renew();
    hangs.renew();
    ask(&batcher, "a", 3).await;
    assert_eq!(started.elapsed(), PRESENT_FOR + for_each, "the one that is there again");
}

#[tokio::test(start_paused = true)]
async fn a_full_batch_goes_at_once() {
    let linger = Linger::WhileTheyCome { step: Duration::from_secs(9), steps_max: 1 };
    let limits = BatchLimits { linger, ..BatchLimits::of_reads(2, 100) };
    let batcher: Arc<Numbers> = Arc::new(Batcher::new(Arc::new(Semaphore::new(9)), limits));
    let started = Instant::now();
    let full = async {
        let answers = join_all([1, 2].map(|q| ask(&batcher, "a", q))).await;
        (answers[0].1, started.elapsed())
    };
    let (full, last) = futures_util::future::join(full, ask(&batcher, "a", 3)).await;
    assert_eq!((full, last), ((2, Duration::ZERO), (30, 1)));
}

/// How many batches of two keys are under way at a time, where each takes `seconds`.
async fn most_under_way(place_wait_max: Option<Duration>, seconds: u64) -> usize {
    let limits = BatchLimits { place_wait_max, ..BatchLimits::of_reads(9, 9) };
    let batcher: Arc<Batcher<u32, u32, Result<u32, Failure>>> =
        Arc::new(Batcher::new(Arc::new(Semaphore::new(1)), limits));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let asked = [1, 2].map(|key| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        let all = move |questions: Vec<u32>| {
            let (now, most) = (Arc::clone(&now), Arc::clone(&most));
            async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                now.fetch_sub(1, Ordering::SeqCst);
                Ok(questions)
            }
        };
        batcher.ask_all(key, key, 1, all)
    });
    assert_eq!(join_all(asked).await, [Ok(1), Ok(2)]);
    most.load(Ordering::SeqCst)
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_its_place_while_it_is_in_time_and_waits_for_one_no_longer_than_it_may() {
    assert_eq!(most_under_way(None, 9).await, 1);
    assert_eq!(most_under_way(None, 11).await, 2, "a slow one goes on without its place");
    assert_eq!(most_under_way(Some(Duration::from_secs(20)), 9).await, 1);
    assert_eq!(most_under_way(Some(Duration::from_secs(5)), 9).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_question_whose_caller_gave_up_is_not_asked() {
    let batcher: Arc<Batcher<u32, u32, Result<u32, Failure>>> =
        Arc::new(Batcher::new(Arc::new(Semaphore::new(1)), BatchLimits::of_reads(9, 9)));
    let place = batcher.place().await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let ask = |question| {
        let asked = Arc::clone(&asked);
        batcher.ask_all(question, question, 1, move |questions: Vec<u32>| {
            asked.lock().unwrap().extend(questions.clone());
            async move { Ok(questions) }
        })
    };
    let given_up = tokio::time::timeout(Duration::from_secs(1), ask(1)).await;
    assert!(given_up.is_err());
    drop(place);
    assert_eq!(ask(2).await, Ok(2));
    assert_eq!(*asked.lock().unwrap(), [2]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_full_by_its_questions_and_by_their_weight() {
    for batcher in [batcher(9, 2, 100), batcher(9, 100, 2)] {
        let answers = join_all((0..5).map(|q| ask(&batcher, "a", q))).await;
        assert_eq!(answers.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [2, 2, 2, 2, 1]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_there_is_no_place_goes_together() {
    let batcher = batcher(1, 10, 10);
    let place = Arc::clone(&batcher.places).acquire_owned().await.unwrap();
    let first = tokio::spawn({
        let batcher = Arc::clone(&batcher);
        async move { ask(&batcher, "a", 1).await }
    });
    tokio::time::sleep(LINGER * 10).await;
    let second = tokio::spawn({
        let batcher = Arc::clone(&batcher);
        async move { ask(&batcher, "a", 2).await }
    });
    tokio::time::sleep(LINGER * 10).await;
    drop(place);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), ((10, 2), (20, 2)));
}

#[tokio::test(start_paused = true)]
async fn others_get_their_answers_where_the_first_who_asked_gives_up() {
    let batcher = batcher(1, 10, 10);
    let first = tokio::spawn({
        let batcher = Arc::clone(&batcher);
        async move { ask(&batcher, "a", 1).await }
    });
    tokio::task::yield_now().await;
    first.abort();
    assert_eq!(ask(&batcher, "a", 2).await, (20, 2));
}

#[test]
fn what_was_found_goes_to_each_who_asked_for_its_key() {
    let found = [("b", 1), ("a", 2), ("b", 3)];
    let answers = in_order(["a", "b", "c", "b"], found);
    assert_eq!(answers, [vec![2], vec![1, 3], vec![], vec![1, 3]]);
}

#[tokio::test]
async fn a_question_that_cannot_be_answered_fails_by_itself() {
    let all = |questions: Vec<u32>| async move {
        if questions.contains(&2) { Err(no_answer()) } else { Ok(questions) }
    };
    let answers = together(vec![1, 2, 3], all).await;
    let shown: Vec<Option<u32>> = answers.into_iter().map(Result::ok).collect();
    assert_eq!(shown, [Some(1), None, Some(3)]);
    assert!(together(vec![2], all).await[0].is_err());
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_no_answer() {
    let batcher = batcher(1, 10, 10);
    let answer = |_: Asked<u32, (u32, usize)>| async move { panic!("broken") };
    assert_eq!(batcher.ask("a", 1, 1, answer).await, None);
    assert_eq!(ask(&batcher, "a", 2).await, (20, 1));
}
