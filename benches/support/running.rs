//! A worker that runs beside a bench, which may tell it to end.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[path = "memory.rs"]
mod memory;

use memory::{PEAK, memory_mib};

/// A run that takes longer than this hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(400);
/// Within this a signal ends a run, seconds.
pub(crate) const END_WITHIN: f64 = 10.0;

/// A worker whose output is read as it comes.
pub(crate) struct Running {
    child: Child,
    pub(crate) began: Instant,
    output: Vec<JoinHandle<Vec<u8>>>,
    peak_mib: f64,
}

/// What became of it.
pub(crate) struct Ended {
    pub(crate) seconds: f64,
    pub(crate) peak_mib: f64,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let output = vec![read_all(out), read_all(err)];
        Self { child, began: Instant::now(), output, peak_mib: 0.0 }
    }

    pub(crate) fn signal(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(killed.unwrap().success());
    }

    /// Whether it has ended; its greatest size is noted meanwhile.
    pub(crate) fn has_ended(&mut self) -> bool {
        if self.child.try_wait().unwrap().is_some() {
            return true;
        }
        assert!(self.began.elapsed() < PATIENCE, "it hangs");
        let peak_mib = memory_mib(self.child.id(), PEAK).unwrap_or(0.0);
        self.peak_mib = self.peak_mib.max(peak_mib);
        false
    }

    /// Tells it to end. Returns how many seconds later it had.
    pub(crate) async fn end_by_signal(self) -> f64 {
        self.signal();
        let signalled = Instant::now();
        self.end().await;
        signalled.elapsed().as_secs_f64()
    }

    /// Waits for its end.
    pub(crate) async fn end(mut self) -> Ended {
        while !self.has_ended() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let seconds = self.began.elapsed().as_secs_f64();
        let texts = self.output.into_iter().map(|reader| reader.join().unwrap());
        let mut texts = texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (stdout, stderr) = (texts.next().unwrap(), texts.next().unwrap());
        assert!(!stderr.contains("panicked"), "{stderr}");
        Ended { seconds, peak_mib: self.peak_mib, stdout, stderr }
    }
}

fn read_all(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        from.read_to_end(&mut all).unwrap();
        all
    })
}
