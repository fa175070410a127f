//! Input that is not as it should be, from the query layer: a message that names account, hop and
//! fix, an exit code, and nothing written.

use axum::response::{IntoResponse, Redirect, Response};

use crate::support::bench::{ACCOUNT, Bench, DAY, REFUSED, SECOND, ended, with};
use crate::support::fake_prometheus::{self, Question, question, series, tenant, vector};
use crate::support::http::{Asked, FakeServer, json, reply};
use crate::support::worker::run;

const HTML: &str = "<!DOCTYPE html><html><body>Sign in</body></html>";

/// A reply that is wrong, what is said of it, and what shall be done about it.
struct Wrong {
    name: &'static str,
    answer: fn() -> Response,
    said: &'static str,
    fix: &'static str,
    /// Whether it is told that the server cannot be used at all.
    is_down: bool,
}

fn result(kind: &str, result: &str) -> Response {
    json(format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#))
}

fn circle() -> Response {
    Redirect::temporary("/circle").into_response()
}

const WRONG: &[Wrong] = &[
    Wrong {
        name: "401",
        answer: || reply(401, "text/plain", "no"),
        said: "401",
        fix: "PROMETHEUS_TOKEN_FILE",
        is_down: true,
    },
    Wrong {
        name: "403",
        answer: || reply(403, "application/json", "{}"),
        said: "403",
        fix: "PROMETHEUS_TOKEN_FILE",
        is_down: true,
    },
    Wrong {
        name: "429",
        answer: || reply(429, "text/plain", "slow down"),
        said: "429",
        fix: "run fewer workers",
        is_down: true,
    },
    Wrong {
        name: "500",
        answer: || reply(500, "text/plain", "oops"),
        said: "500",
        fix: "up and ready",
        is_down: true,
    },
    Wrong {
        name: "an HTML page",
        answer: || reply(200, "text/html", HTML),
        said: "Sign in",
        fix: "PROMETHEUS_URL",
        is_down: false,
    },
    Wrong {
        name: "an HTML page that is called JSON",
        answer: || json(HTML),
        said: "cannot be read",
        fix: "PROMETHEUS_URL",
        is_down: false,
    },
    Wrong {
        name: "the body Error",
        answer: || reply(200, "text/plain", "Error"),
        said: "Error",
        fix: "PROMETHEUS_URL",
        is_down: false,
    },
    Wrong {
        name: "the body Error that is called JSON",
        answer: || json("Error"),
        said: "cannot be read",
        fix: "PROMETHEUS_URL",
        is_down: false,
    },
    Wrong {
        name: "truncated JSON",
        answer: || json(r#"{"status":"success","data":{"resultType":"vector","result":[{"met"#),
        said: "cannot be read",
        fix: "PROMETHEUS_URL",
        is_down: false,
    },
    Wrong {
        name: "nothing",
        answer: || json(""),
        said: "cannot be read",
        fix: "PROMETHEUS_URL",
        is_down: false,
    },
    Wrong {
        name: "no data",
        answer: || json(r#"{"status":"success"}"#),
        said: "without status and data",
        fix: "PROMETHEUS_URL",
        is_down: false,
    },
    Wrong {
        name: "a scalar",
        answer: || result("scalar", r#"[1,"2"]"#),
        said: "scalar",
        fix: "PROMETHEUS_URL",
        is_down: false,
    },
    Wrong {
        name: "a string",
        answer: || result("string", r#"[1,"two"]"#),
        said: "string",
        fix: "PROMETHEUS_URL",
        is_down: false,
    },
    Wrong {
        name: "a matrix",
        answer: || result("matrix", r#"[{"metric":{},"values":[[1,"2"],[61,"2"]]}]"#),
        said: "matrix",
        fix: "PROMETHEUS_URL",
        is_down: false,
    },
    Wrong {
        name: "redirects in a circle",
        answer: circle,
        said: "redirect",
        fix: "the address that it redirects to",
        is_down: false,
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_query_layer_that_answers_wrongly_throughout_ends_the_run_with_3() {
    let bench = Bench::new("wrong_throughout").await;
    for wrong in WRONG {
        let answer = wrong.answer;
        let server = FakeServer::start(move |_| answer()).await;
        let finished = bench.run(&server.url);
        ended(&finished, 3, &["nothing done: query layer", wrong.said, wrong.fix, &server.url]);
        assert_eq!(finished.summary()["failure"]["hop"], "query layer", "{}", wrong.name);
        assert_eq!(bench.stored().await, (0, 0), "{}", wrong.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_about_one_account_fails_that_account_and_names_it() {
    let bench = Bench::new("wrong_costs").await;
    for wrong in WRONG {
        let answer = wrong.answer;
        let odd = move |asked: &Asked| {
            let is_due = asked.path == "/circle" || question(asked) == Question::NamespaceCost;
            is_due.then(answer)
        };
        let server = fake_prometheus::start(odd).await;
        let finished = bench.run(&server.url);
        let named = format!("{ACCOUNT} failed: query layer");
        let code = if wrong.is_down { 3 } else { 1 };
        ended(&finished, code, &[&named, wrong.said, wrong.fix, &server.url]);
        assert_eq!(finished.summary()["accounts_failed"], 1, "{}", wrong.name);
        assert_eq!(bench.stored().await, (0, 0), "{}", wrong.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_layer_that_is_down_ends_the_run_with_3() {
    let bench = Bench::new("query_down").await;
    let finished = bench.run(REFUSED);
    ended(&finished, 3, &["nothing done: query layer", REFUSED, "refused", "up and reachable"]);
    assert_eq!(bench.stored().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failing_account_does_not_stop_the_others() {
    let bench = Bench::new("one_fails").await;
    let odd = |asked: &Asked| {
        (tenant(asked) == ACCOUNT).then(|| reply(500, "text/plain", "not this one"))
    };
    let server = fake_prometheus::start(odd).await;
    let both = format!("{ACCOUNT},{SECOND}");
    let settings = with(&bench.settings(&server.url), &[("ACCOUNTS", &both)]);
    let finished = run(&settings, &DAY);
    let named = format!("{ACCOUNT} failed: query layer");
    ended(&finished, 1, &[&named, "not this one", "1 accounts done, 1 failed"]);
    assert_eq!(bench.stored().await, (2, 2));
    let query = "SELECT count() FROM expenses WHERE cloud_account_id = ?";
    let query = bench.stores.client().query(query).bind(SECOND);
    assert_eq!(query.fetch_one::<u64>().await.unwrap(), 2);
    // The next run mends it.
    let healed = fake_prometheus::start(|_| None).await;
    run(&with(&settings, &[("PROMETHEUS_URL", &healed.url)]), &DAY).expect_success();
    assert_eq!(bench.stored().await, (4, 4));
}

/// A namespace's cost that is none: the day is partial, the number named and not stored.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_that_are_no_costs_are_named_and_never_stored() {
    for value in ["NaN", "+Inf", "-Inf", "-3"] {
        let bench = Bench::new("no_cost").await;
        let odd = move |asked: &Asked| {
            let good = series(ACCOUNT, r#""cluster":"prod","namespace":"shop""#, "144");
            let bad = series(ACCOUNT, r#""cluster":"prod","namespace":"rotten""#, value);
            (question(asked) == Question::NamespaceCost).then(|| vector(&[bad, good]))
        };
        let server = fake_prometheus::start(odd).await;
        let finished = bench.run(&server.url);
        ended(&finished, 0, &[ACCOUNT, "partial", "invalid cost", "rotten"]);
        let query = "SELECT sum(cost * sign) FROM expenses";
        let usd = bench.stores.client().query(query).fetch_one::<f64>().await.unwrap();
        assert_eq!((usd, bench.stored().await.0), (240.0, 2), "{value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_that_are_no_costs_are_left_out_on_the_server_and_said() {
    let bench = Bench::new("bad_samples").await;
    let odd = |asked: &Asked| {
        let is_about = asked.parameter("query").contains("namespace_total_cost");
        let bad = match question(asked) {
            Question::Extent => series(ACCOUNT, r#""extent_":"least""#, "-1"),
            Question::BadSamples => {
                series(ACCOUNT, r#""cluster":"prod","namespace":"rotten""#, "0")
            }
            _ => return None,
        };
        is_about.then(|| vector(&[bad]))
    };
    let server = fake_prometheus::start(odd).await;
    let finished = bench.run(&server.url);
    ended(&finished, 0, &[ACCOUNT, "partial", "no cost (NaN, infinite or negative)", "rotten"]);
    let asked = server.asked();
    let costs = asked.iter().find(|asked| question(asked) == Question::NamespaceCost).unwrap();
    assert!(costs.parameter("query").contains(">= 0 < +Inf"), "{costs:?}");
}

/// A series whose label is missing is said and not stored; what is whole is.
#[tokio::test(flavor = "multi_thread")]
async fn series_without_a_label_are_named_and_not_stored() {
    for (what, about, bad) in [
        ("namespace", Question::NamespaceCost, r#""cluster":"prod""#),
        ("pod", Question::PodCost, r#""cluster":"prod","namespace":"shop""#),
        ("namespace", Question::PodCost, r#""cluster":"prod","pod":"cart""#),
    ] {
        let bench = Bench::new("no_label").await;
        let odd = move |asked: &Asked| {
            (question(asked) == about).then(|| vector(&[series(ACCOUNT, bad, "7")]))
        };
        let server = fake_prometheus::start(odd).await;
        let levels = [("LEVELS", "cluster,namespace,pod")];
        let finished = run(&with(&bench.settings(&server.url), &levels), &DAY);
        let said = format!("a series of cluster 'prod' has no label {what}");
        ended(&finished, 0, &[ACCOUNT, "partial", &said]);
        let query = "SELECT sum(cost * sign) FROM expenses";
        let usd = bench.stores.client().query(query).fetch_one::<f64>().await.unwrap();
        assert_eq!(usd, 240.0, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn series_of_another_tenant_are_never_stored() {
    let bench = Bench::new("foreign").await;
    let shop = r#""cluster":"prod","namespace":"shop""#;
    let mixed = move |asked: &Asked| {
        let both = [series(ACCOUNT, shop, "144"), series("somebody-else", shop, "99")];
        (question(asked) == Question::NamespaceCost).then(|| vector(&both))
    };
    let server = fake_prometheus::start(mixed).await;
    let said = "1 series of other tenants came back";
    ended(&bench.run(&server.url), 0, &[ACCOUNT, "partial", said, "somebody-else"]);
    let query = "SELECT sum(cost * sign) FROM expenses";
    let usd = bench.stores.client().query(query).fetch_one::<f64>().await.unwrap();
    assert_eq!(usd, 240.0);
    let bench = Bench::new("foreign_only").await;
    let foreign = move |asked: &Asked| {
        let other = series("somebody-else", shop, "99");
        (question(asked) == Question::NamespaceCost).then(|| vector(&[other]))
    };
    let server = fake_prometheus::start(foreign).await;
    let named = format!("{ACCOUNT} failed: query layer");
    ended(&bench.run(&server.url), 1, &[&named, said, "rewrites queries or labels"]);
    assert_eq!(bench.stored().await, (0, 0));
}
