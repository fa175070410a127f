//! A TCP proxy that makes trouble at one chosen piece of what a client sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens at the chosen piece.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// The connection ends before the piece arrives.
    Cut,
    /// The piece arrives, and the connection ends before any reply.
    LoseReply,
    /// The piece arrives, and the reply is late.
    Delay(Duration),
    /// The piece arrives, and the reply waits until the trouble ends.
    Hold,
}

struct State {
    /// Pieces that were sent since the trouble was armed.
    sent: AtomicU32,
    armed: watch::Sender<Option<(u32, Trouble)>>,
    was_hit: watch::Sender<bool>,
}

impl State {
    /// What happens to the piece that is sent now.
    fn trouble(&self) -> Option<Trouble> {
        let number = self.sent.fetch_add(1, Ordering::SeqCst) + 1;
        let armed = (*self.armed.borrow())?;
        if number != armed.0 {
            return None;
        }
        self.was_hit.send_replace(true);
        Some(armed.1)
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
        let (scheme, rest) = url.split_once("://").unwrap();
        let server = rest.trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let slash = if rest.ends_with('/') { "/" } else { "" };
        let state = Arc::new(State {
            sent: AtomicU32::new(0),
            armed: watch::Sender::new(None),
            was_hit: watch::Sender::new(false),
        });
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

    /// Makes trouble at the `number`th piece from now on.
    pub(crate) fn arm(&self, number: u32, trouble: Trouble) {
        self.state.sent.store(0, Ordering::SeqCst);
        self.state.was_hit.send_replace(false);
        self.state.armed.send_replace(Some((number, trouble)));
    }

    /// Waits until the trouble comes about.
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
                let trouble = state.trouble();
                if matches!(trouble, Some(Trouble::Cut)) {
                    return;
                }
                if server.write_all(&from_client[..length]).await.is_err() {
                    return;
                }
                match trouble {
                    Some(Trouble::LoseReply) => {
                        // The reply's arrival here says that the server is done with the piece.
                        let reply = server.read(&mut from_server);
                        let _ = tokio::time::timeout(Duration::from_secs(2), reply).await;
                        return;
                    }
                    Some(Trouble::Delay(time)) => tokio::time::sleep(time).await,
                    Some(Trouble::Hold) => {
                        let over = state.armed.subscribe().wait_for(Option::is_none).await.is_ok();
                        assert!(over, "the proxy ended before the trouble");
                    }
                    _ => {}
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
