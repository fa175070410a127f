//! What every keeper of leases must do.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kubecost_worker::cost::AccountId;
use kubecost_worker::lease::{Acquired, Lease, Leases};

use super::account;

const HOUR: Duration = Duration::from_secs(3_600);

/// The store's clock. Nothing waits for it: time passes by turning it on, or, which is the same to
/// a lease, by turning its end back.
#[async_trait]
pub(crate) trait StoreClock: Send + Sync {
    /// Lets so many seconds pass.
    async fn pass(&self, seconds: i64);
}

fn granted(answer: Acquired) -> Lease {
    match answer {
        Acquired::Granted(lease) => lease,
        held => panic!("not granted: {held:?}"),
    }
}

async fn take(leases: &dyn Leases, of: &AccountId, holder: &str) -> Acquired {
    let answers = leases.acquire(std::slice::from_ref(of), holder, HOUR).await.unwrap();
    let [answer] = answers.try_into().unwrap();
    answer
}

/// Who holds a lease and for how long, as another one reads it.
async fn held(leases: &dyn Leases, of: &AccountId) -> (Lease, i64) {
    match take(leases, of, "late").await {
        Acquired::HeldBy { lease, seconds_left } => (lease, seconds_left),
        answer => panic!("nobody held it: {answer:?}"),
    }
}

/// Runs the suite of leases. Lengths are hours, so that no machine is too slow for them.
pub(crate) async fn leases_contract(leases: &dyn Leases, clock: &dyn StoreClock, tag: &str) {
    expires_and_is_renewed(leases, clock, tag).await;
    changes_hands_with_a_greater_token(leases, clock, tag).await;
    answers_for_many_accounts_in_their_order(leases, tag).await;
}

async fn expires_and_is_renewed(leases: &dyn Leases, clock: &dyn StoreClock, tag: &str) {
    let ours = account(tag, "lease");
    let first = granted(take(leases, &ours, "first").await);
    let wanted = Lease { account: ours.clone(), holder: "first".into(), token: 1 };
    assert_eq!(first, wanted);
    let (holder, left) = held(leases, &ours).await;
    assert_eq!(holder, first);
    assert!((3_000..=3_601).contains(&left), "{left}");

    clock.pass(2_000).await;
    let (holder, left) = held(leases, &ours).await;
    assert_eq!(holder, first);
    assert!((1_000..=1_601).contains(&left), "{left}");

    let renew = async |length| leases.renew(std::slice::from_ref(&first), length).await.unwrap();
    assert_eq!(renew(HOUR).await, [true]);
    clock.pass(2_000).await;
    assert_eq!(held(leases, &ours).await.0, first, "renewed, it holds longer than its length");
    // A renewal that was under way for long says less than a later one.
    assert_eq!(renew(Duration::from_secs(1)).await, [true]);
    assert!(held(leases, &ours).await.1 > 1_000, "a renewal makes no lease shorter");

    clock.pass(3_601).await;
    assert_eq!(renew(HOUR).await, [false], "it has expired, though nobody took it");
    granted(take(leases, &ours, "second").await);
}

async fn changes_hands_with_a_greater_token(
    leases: &dyn Leases,
    clock: &dyn StoreClock,
    tag: &str,
) {
    let ours = account(tag, "lease-hands");
    let one = |lease: &Lease| vec![lease.clone()];
    let first = granted(take(leases, &ours, "first").await);
    clock.pass(3_602).await;
    let second = granted(take(leases, &ours, "second").await);
    assert_eq!((second.token, second.holder.as_str()), (2, "second"));
    assert_eq!(leases.renew(&one(&first), HOUR).await.unwrap(), [false]);
    leases.release(&one(&first)).await.unwrap();
    assert_eq!(held(leases, &ours).await.0, second, "nobody gives back what another has");

    leases.release(&one(&second)).await.unwrap();
    assert_eq!(leases.renew(&one(&second), HOUR).await.unwrap(), [false]);
    let third = granted(take(leases, &ours, "third").await);
    assert_eq!(third.token, 3);
    leases.release(&one(&third)).await.unwrap();
    leases.release(&one(&third)).await.unwrap();

    // A holder that asks again, as after a lost answer, learns that it is held.
    let fourth = granted(take(leases, &ours, "fourth").await);
    let again = take(leases, &ours, "fourth").await;
    assert!(matches!(&again, Acquired::HeldBy { lease, .. } if *lease == fourth), "{again:?}");
    // The token alone does not make a holder.
    let forged = Lease { holder: "another".into(), ..fourth.clone() };
    assert_eq!(leases.renew(&one(&forged), HOUR).await.unwrap(), [false]);
    leases.release(&one(&forged)).await.unwrap();
    assert_eq!(held(leases, &ours).await.0, fourth);
}

async fn answers_for_many_accounts_in_their_order(leases: &dyn Leases, tag: &str) {
    let [a, b, c] = ["many-a", "many-b", "many-c"].map(|name| account(tag, name));
    let theirs = granted(take(leases, &b, "theirs").await);
    let asked = [c.clone(), b.clone(), a.clone()];
    let answers = leases.acquire(&asked, "ours", HOUR).await.unwrap();
    let [of_c, of_b, of_a] = answers.try_into().unwrap();
    let (of_c, of_a) = (granted(of_c), granted(of_a));
    assert_eq!((&of_c.account, &of_a.account), (&c, &a));
    assert!(matches!(&of_b, Acquired::HeldBy { lease, .. } if *lease == theirs), "{of_b:?}");
    let forged = Lease { holder: "ours".into(), ..theirs.clone() };
    let renewed = leases.renew(&[of_a.clone(), forged, of_c.clone()], HOUR).await.unwrap();
    assert_eq!(renewed, [true, false, true]);
    leases.release(&[of_a, of_c]).await.unwrap();
    granted(take(leases, &a, "next").await);
    granted(take(leases, &c, "next").await);
    assert_eq!(held(leases, &b).await.0, theirs);
    assert_eq!(leases.acquire(&[], "ours", HOUR).await.unwrap(), []);
    assert_eq!(leases.renew(&[], HOUR).await.unwrap(), [] as [bool; 0]);
    leases.release(&[]).await.unwrap();
}

/// Of many who ask at once, exactly one gets the lease: of a new account, of one given back and of
/// one that has expired.
pub(crate) async fn leases_race_contract(
    contenders: Vec<Arc<dyn Leases>>,
    clock: &dyn StoreClock,
    tag: &str,
) {
    let ours = account(tag, "race");
    for round in 1..=3 {
        let gate = Arc::new(tokio::sync::Barrier::new(contenders.len()));
        let asked: Vec<_> = (contenders.iter().cloned().enumerate())
            .map(|(number, leases)| {
                let (gate, ours) = (gate.clone(), ours.clone());
                tokio::spawn(async move {
                    gate.wait().await;
                    take(leases.as_ref(), &ours, &format!("contender-{number}-{round}")).await
                })
            })
            .collect();
        let (mut winners, mut seen) = (Vec::new(), Vec::new());
        for answer in asked {
            match answer.await.unwrap() {
                Acquired::Granted(lease) => winners.push(lease),
                Acquired::HeldBy { lease, .. } => seen.push(lease),
            }
        }
        let [winner] = winners.as_slice() else { panic!("round {round}: {winners:?}") };
        assert_eq!(winner.token, round);
        assert!(seen.iter().all(|lease| lease == winner), "{seen:?}");
        if round == 1 {
            contenders[0].release(&winners).await.unwrap();
        } else {
            clock.pass(3_602).await;
        }
    }
}
