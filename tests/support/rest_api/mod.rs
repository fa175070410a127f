//! A fake of CloudTuner's REST API: its rules, error codes and limits, as its source has them, and
//! ways to fail.
//!
//! It keeps organizations, pools, accounts, nodes and the like in a [`World`], and resource documents in
//! [`Documents`], which is memory or a real collection. It knows the cluster secret and no user:
//! what the API shows to users only is refused here.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use serde_json::Value;
use tokio::task::JoinHandle;

mod accounts;
mod bulk;
mod check;
mod discovery;
pub(crate) mod documents;
mod merge;
mod nodes;
mod reply;
pub(crate) mod world;

pub(crate) use documents::Documents;
pub(crate) use world::World;

use reply::{Answer, ApiError};

/// The cluster secret that it takes.
pub(crate) const SECRET: &str = "cluster-hunter2";
/// The longest request that is read.
const REQUEST_BYTES_MAX: usize = 64 << 20;

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call is done, and no answer ever comes.
    Slow,
    /// The call is not done; a status, in the API's form for it.
    Status(u16),
    /// The call is not done; a status with a proxy's page.
    Page(u16),
    /// The call is done, and the answer breaks off half-way.
    Cut,
}

/// When to fail.
#[derive(Clone, Debug)]
struct Trouble {
    fault: Fault,
    /// A part of the path; empty: every call.
    path_part: &'static str,
    /// How many calls fail; `None`: all.
    calls_left: Option<usize>,
}

/// A call as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Value,
}

/// What the handlers share.
pub(crate) struct Shared {
    pub(crate) world: Mutex<World>,
    documents: Arc<dyn Documents>,
    trouble: Mutex<Option<Trouble>>,
    asked: Mutex<Vec<Asked>>,
}

/// The fake, on a free port of this machine. It ends with the test's runtime.
pub(crate) struct FakeRestApi {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeRestApi {
    /// Starts one over these documents.
    pub(crate) async fn start(world: World, documents: Arc<dyn Documents>) -> Self {
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            documents,
            trouble: Mutex::default(),
            asked: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(handle).with_state(shared.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, shared, server }
    }

    /// Its organizations, accounts and so on.
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.shared.world)
    }

    /// All calls so far, failed ones too.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        lock(&self.shared.asked).clone()
    }

    /// Calls whose path holds `path_part` fail from now on: `calls` of them, or all.
    pub(crate) fn fail(&self, fault: Fault, path_part: &'static str, calls: Option<usize>) {
        *lock(&self.shared.trouble) = Some(Trouble { fault, path_part, calls_left: calls });
    }

    /// Calls succeed again.
    pub(crate) fn recover(&self) {
        *lock(&self.shared.trouble) = None;
    }

    /// Takes it down: connections are refused from now on.
    pub(crate) async fn stop(&mut self) {
        self.server.abort();
        // The listener is closed when the task has ended, which is by cancellation.
        let _ = (&mut self.server).await;
    }
}

impl Shared {
    fn fault_of(&self, path: &str) -> Option<Fault> {
        let mut trouble = lock(&self.trouble);
        let found = trouble.as_mut().filter(|trouble| path.contains(trouble.path_part))?;
        match &mut found.calls_left {
            Some(0) => None,
            Some(left) => {
                *left -= 1;
                Some(found.fault)
            }
            None => Some(found.fault),
        }
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await.unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let asked = Asked {
        method: parts.method.clone(),
        path: path.clone(),
        query: query.clone(),
        body: serde_json::from_slice(&bytes).unwrap_or_default(),
    };
    lock(&shared.asked).push(asked);
    let fault = shared.fault_of(&path);
    match fault {
        Some(Fault::Status(status)) => return answered(Err(ApiError::of_status(status)), false),
        Some(Fault::Page(status)) => return page(status),
        _ => {}
    }
    let call = Call { method: &parts.method, path: &path, query: &query, body: &bytes };
    let answer = route(&shared, &call, &parts.headers).await;
    match fault {
        Some(Fault::Slow) => std::future::pending().await,
        fault => answered(answer, fault == Some(Fault::Cut)),
    }
}

/// A call that is to be answered.
pub(crate) struct Call<'a> {
    method: &'a Method,
    path: &'a str,
    query: &'a str,
    body: &'a Bytes,
}

impl Call<'_> {
    /// A parameter of the query string.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    /// A parameter that is true or false.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.parameter(name).map(|value| value.to_lowercase()).as_deref() {
            None | Some("" | "false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(ApiError::wrong("OE0217", &[name])),
        }
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, ApiError> {
        serde_json::from_slice(self.body).map_err(|_| ApiError::wrong("OE0233", &[]))
    }
}

/// Who may make a call.
enum Access {
    /// The bearer of the cluster secret alone.
    Secret,
    /// The bearer of the cluster secret, or a user.
    SecretOrUser,
    /// A user alone.
    User,
}

fn authorize(headers: &HeaderMap, access: &Access) -> Result<(), ApiError> {
    let is_secret =
        headers.get("secret").is_some_and(|secret| secret.as_bytes() == SECRET.as_bytes());
    match access {
        Access::Secret | Access::SecretOrUser if is_secret => Ok(()),
        Access::Secret => Err(ApiError::new(403, "OE0236", &[])),
        Access::SecretOrUser | Access::User => Err(ApiError::new(401, "OE0235", &[])),
    }
}

async fn route(shared: &Shared, call: &Call<'_>, headers: &HeaderMap) -> Answer {
    let Some(path) = call.path.strip_prefix("/restapi/v2/") else {
        return Err(ApiError::new(404, "OE0257", &[]));
    };
    let parts: Vec<String> = path.split('/').map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    if !headers.contains_key("secret") && !headers.contains_key(header::AUTHORIZATION) {
        return Err(ApiError::new(401, "OE0237", &[]));
    }
    let allow = |access: Access| authorize(headers, &access);
    let method = call.method.as_str();
    match (method, &parts[..]) {
        ("POST", ["cloud_accounts", account, "cloud_resources", "bulk"]) => {
            allow(Access::Secret)?;
            bulk::save(shared, account, call).await
        }
        ("GET", ["organizations"]) => {
            allow(Access::SecretOrUser)?;
            Ok(accounts::organizations(&lock(&shared.world)))
        }
        ("GET", ["organizations", id]) => {
            allow(Access::SecretOrUser)?;
            accounts::organization(&lock(&shared.world), id)
        }
        ("GET", ["organizations", id, "cloud_accounts"]) => {
            allow(Access::SecretOrUser)?;
            accounts::of_organization(&lock(&shared.world), id)
        }
        // Neither is for the bearer of the secret.
        ("GET", ["organizations", _, "pools" | "rules"]) => {
            allow(Access::User)?;
            Err(ApiError::new(401, "OE0235", &[]))
        }
        ("GET", ["pools", id]) => {
            allow(Access::SecretOrUser)?;
            accounts::pool(&lock(&shared.world), id, call)
        }
        ("GET", ["employees", id]) => {
            allow(Access::SecretOrUser)?;
            accounts::employee(&lock(&shared.world), id)
        }
        ("GET", ["cloud_accounts", id]) => {
            allow(Access::SecretOrUser)?;
            accounts::account(&lock(&shared.world), id)
        }
        ("PATCH", ["cloud_accounts", id]) => {
            allow(Access::SecretOrUser)?;
            accounts::change(&mut lock(&shared.world), id, &call.json()?)
        }
        (_, ["cloud_accounts", _, "discovery_info" | "nodes", ..] | ["discovery_info", _]) => {
            route_of_importers(shared, call, &parts, &allow)
        }
        _ => Err(ApiError::new(404, "OE0257", &[])),
    }
}

/// What importers report: discovery and nodes.
fn route_of_importers(
    shared: &Shared,
    call: &Call<'_>,
    parts: &[&str],
    allow: &dyn Fn(Access) -> Result<(), ApiError>,
) -> Answer {
    let method = call.method.as_str();
    match (method, parts) {
        ("GET", ["cloud_accounts", account, "discovery_info"]) => {
            allow(Access::Secret)?;
            discovery::list(&lock(&shared.world), account, call)
        }
        ("POST", ["cloud_accounts", account, "discovery_info", "bulk"]) => {
            allow(Access::Secret)?;
            discovery::create(&mut lock(&shared.world), account, &call.json()?)
        }
        ("DELETE", ["cloud_accounts", account, "discovery_info", "bulk"]) => {
            allow(Access::Secret)?;
            discovery::delete(&mut lock(&shared.world), account, &call.json()?)
        }
        ("GET", ["cloud_accounts", account, "nodes"]) => {
            allow(Access::SecretOrUser)?;
            nodes::list(&lock(&shared.world), account)
        }
        ("POST", ["cloud_accounts", account, "nodes", "bulk"]) => {
            allow(Access::Secret)?;
            nodes::replace(&mut lock(&shared.world), account, &call.json()?)
        }
        ("PATCH", ["discovery_info", id]) => {
            allow(Access::Secret)?;
            discovery::change(&mut lock(&shared.world), id, &call.json()?)
        }
        (_, ["cloud_accounts", _, "discovery_info"] | ["discovery_info", _]) => {
            Err(ApiError::new(405, "OE0245", &[method]))
        }
        _ => Err(ApiError::new(404, "OE0257", &[])),
    }
}

fn decoded(part: &str) -> String {
    let pair = format!("p={}", part.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes()).next().unwrap().1.into_owned()
}

fn page(status: u16) -> Response {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header(header::CONTENT_TYPE, "text/html")
        .header(header::CONNECTION, "close")
        .body(Body::from("<html><head><title>nginx</title></head></html>"))
        .unwrap()
}

/// A reply; one that is cut says its whole length and breaks off. Connections are not kept, so
/// that none outlives [`FakeRestApi::stop`].
fn answered(answer: Answer, is_cut: bool) -> Response {
    let (status, body) = match answer {
        Ok((status, body)) => (status, body.map_or_else(String::new, |body| body.to_string())),
        Err(error) => (error.status, error.body().to_string()),
    };
    let length = body.len();
    let body = if is_cut {
        let half = Bytes::copy_from_slice(&body.as_bytes()[..length / 2]);
        let broken = std::io::Error::other("cut");
        Body::from_stream(stream::iter([Ok(half), Err(broken)]))
    } else {
        Body::from(body)
    };
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header(header::CONTENT_TYPE, "application/json; charset=\"utf-8\"")
        .header(header::CONTENT_LENGTH, length)
        .header(header::CONNECTION, "close")
        .body(body)
        .unwrap()
}
