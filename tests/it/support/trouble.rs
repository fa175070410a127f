//! A TCP proxy that counts what a client sends and makes trouble at one chosen piece of it.
//!
//! Moments are counted, never timed: a piece is what one read gets of what the client sent, so a
//! fault strikes at the same step of a run however fast the machine is.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens at the chosen piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The connection ends before the piece arrives.
    Cut,
    /// The piece arrives, and the connection ends before any reply.
    LoseReply,
    /// The piece never arrives; the connection ends when the trouble does.
    Swallow,
    /// The piece arrives, and the reply waits until the trouble ends.
    HoldReply,
}

struct State {
    /// Pieces that were sent since the trouble was armed, by what they are.
    sent: Mutex<Vec<String>>,
    number: AtomicU32,
    armed: watch::Sender<Option<(u32, Trouble)>>,
    was_hit: watch::Sender<bool>,
}

impl State {
    /// What happens to the piece that is sent now.
    fn trouble(&self, piece: &[u8]) -> Option<Trouble> {
        let name = name_of(piece);
        // Drivers look after their servers in a rhythm of time, which is no step of a run.
        if ["hello", "isMaster", "ismaster", "OP_QUERY"].contains(&name.as_str()) {
            return None;
        }
        self.sent.lock().unwrap().push(name);
        let number = self.number.fetch_add(1, Ordering::SeqCst) + 1;
        let armed = (*self.armed.borrow())?;
        (number == armed.0).then_some(armed.1)
    }

    fn hit(&self) {
        self.was_hit.send_replace(true);
    }

    async fn over(&self) {
        let over = self.armed.subscribe().wait_for(Option::is_none).await.is_ok();
        assert!(over, "the proxy ended before the trouble");
    }
}

/// A MongoDB command's name, the method of an HTTP request, `insert` for ClickHouse's, or `bytes`.
fn name_of(piece: &[u8]) -> String {
    let text = String::from_utf8_lossy(piece);
    if let Some(method) = ["GET ", "POST "].iter().find(|method| text.starts_with(**method)) {
        let is_insert = text.contains("INSERT");
        return if is_insert { "INSERT".to_owned() } else { method.trim().to_owned() };
    }
    let operation = piece.get(12..16).map(|code| i32::from_le_bytes(code.try_into().unwrap()));
    match operation {
        Some(2004) => "OP_QUERY".to_owned(),
        // Behind the header: flags, the section's kind, the document's length, its first type.
        Some(2013) => {
            let name = piece.iter().skip(26).take_while(|byte| **byte != 0).copied().collect();
            String::from_utf8(name).unwrap_or_else(|_| "bytes".to_owned())
        }
        _ => "bytes".to_owned(),
    }
}

/// The proxy; it ends with the test's runtime.
pub(crate) struct Proxy {
    /// The address for clients, in the form of the server's.
    pub(crate) url: String,
    state: Arc<State>,
}

impl Proxy {
    /// A proxy before the server of this address.
    pub(crate) async fn new(url: &str) -> Self {
        let state = Arc::new(State {
            sent: Mutex::default(),
            number: AtomicU32::new(0),
            armed: watch::Sender::new(None),
            was_hit: watch::Sender::new(false),
        });
        Self::with(url, state).await
    }

    /// A proxy before another server that counts together with this one.
    pub(crate) async fn beside(&self, url: &str) -> Self {
        Self::with(url, Arc::clone(&self.state)).await
    }

    async fn with(url: &str, state: Arc<State>) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap();
        let server = rest.trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let slash = if rest.ends_with('/') { "/" } else { "" };
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (state, server) = (Arc::clone(&shared), server.clone());
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(&server).await {
                        pass_on(client, server, &state).await;
                    }
                });
            }
        });
        Self { url: format!("{scheme}://127.0.0.1:{port}{slash}"), state }
    }

    /// Makes trouble at the `number`th piece from now on, 1 being the first.
    pub(crate) fn arm(&self, number: u32, trouble: Trouble) {
        self.count_anew();
        self.state.armed.send_replace(Some((number, trouble)));
    }

    /// Forgets what was sent so far.
    pub(crate) fn count_anew(&self) {
        self.state.sent.lock().unwrap().clear();
        self.state.number.store(0, Ordering::SeqCst);
        self.state.was_hit.send_replace(false);
    }

    /// What was sent since then: the names of commands and the methods of requests.
    pub(crate) fn sent(&self) -> Vec<String> {
        self.state.sent.lock().unwrap().clone()
    }

    /// Waits until the trouble comes about; a piece that arrives has been answered by then.
    pub(crate) async fn hit(&self) {
        self.state.was_hit.subscribe().wait_for(|hit| *hit).await.unwrap();
    }

    /// Ends the trouble; whether it came about.
    pub(crate) fn disarm(&self) -> bool {
        self.state.armed.send_replace(None);
        *self.state.was_hit.borrow()
    }
}

/// Passes bytes on until either side ends, or trouble comes.
async fn pass_on(mut client: TcpStream, mut server: TcpStream, state: &State) {
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Some(length) = read.ok().filter(|length| *length > 0) else { return };
                let piece = &from_client[..length];
                let trouble = state.trouble(piece);
                if matches!(trouble, Some(Trouble::Cut | Trouble::Swallow)) {
                    state.hit();
                    if trouble == Some(Trouble::Swallow) {
                        state.over().await;
                    }
                    return;
                }
                if server.write_all(piece).await.is_err() {
                    return;
                }
                let Some(trouble) = trouble else { continue };
                let answered = answered(&mut client, &mut server, state).await;
                state.hit();
                if trouble == Trouble::LoseReply {
                    return;
                }
                state.over().await;
                let Some((to_server, to_client)) = answered else { return };
                if server.write_all(&to_server).await.is_err()
                    || client.write_all(&to_client).await.is_err()
                {
                    return;
                }
            }
            read = server.read(&mut from_server) => {
                let Some(length) = read.ok().filter(|length| *length > 0) else { return };
                if client.write_all(&from_server[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Waits until the server is done with a piece: it replies, or the client sends more, so that the
/// piece was not all of a request. What came of either; `None` when a side ended.
async fn answered(
    client: &mut TcpStream,
    server: &mut TcpStream,
    state: &State,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut more, mut reply) = (vec![0; 65_536], vec![0; 65_536]);
    tokio::select! {
        read = client.read(&mut more) => {
            more.truncate(read.ok().filter(|length| *length > 0)?);
            state.trouble(&more);
            Some((more, Vec::new()))
        }
        read = server.read(&mut reply) => {
            reply.truncate(read.ok().filter(|length| *length > 0)?);
            Some((Vec::new(), reply))
        }
    }
}
