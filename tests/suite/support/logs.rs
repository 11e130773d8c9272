//! What a running program says, line by line, and waiting for it.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Lines collected by threads of their own; clones share them.
#[derive(Clone, Default)]
pub struct Logs(Arc<(Mutex<Said>, Condvar)>);

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    open: usize,
}

impl Logs {
    /// Collects everything this stream will bring.
    pub fn follow(&self, stream: impl Read + Send + 'static) {
        self.lock().open += 1;
        let logs = self.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
                logs.lock().lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                logs.0.1.notify_all();
                line.clear();
            }
            logs.lock().open -= 1;
            logs.0.1.notify_all();
        });
    }

    /// The first line with all these words that came at or after `mark`; waits for it. `None` when it never came.
    pub fn wait_after(&self, mark: usize, words: &[&str], limit: Duration) -> Option<String> {
        let end = Instant::now() + limit;
        let mut said = self.lock();
        loop {
            let found = said.lines.iter().skip(mark).find(|line| words.iter().all(|word| line.contains(word)));
            if let Some(line) = found {
                return Some(line.clone());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || said.open == 0 {
                return None;
            }
            said = self.0.1.wait_timeout(said, left).expect("no reader panics").0;
        }
    }

    /// As [`Logs::wait_after`] from the first line; a line that never comes fails the test with all that was said.
    pub fn expect(&self, words: &[&str]) -> String {
        self.expect_after(0, words)
    }

    pub fn expect_after(&self, mark: usize, words: &[&str]) -> String {
        self.wait_after(mark, words, super::PATIENCE)
            .unwrap_or_else(|| panic!("no line with {words:?} after line {mark} of:\n{}", self.text()))
    }

    /// Where the log ends now: what comes later is at or after this mark.
    pub fn mark(&self) -> usize {
        self.lock().lines.len()
    }

    pub fn count(&self, words: &[&str]) -> usize {
        self.lock().lines.iter().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }

    /// Waits until so many such lines came at or after `mark`.
    pub fn count_of(&self, count: usize, mark: usize, words: &[&str], limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let (mut said, mut at, mut found) = (self.lock(), mark, 0);
        loop {
            found += said.lines.iter().skip(at).filter(|line| words.iter().all(|word| line.contains(word))).count();
            at = said.lines.len();
            let left = end.saturating_duration_since(Instant::now());
            if found >= count || left.is_zero() {
                return found >= count;
            }
            said = self.0.1.wait_timeout(said, left).expect("no reader panics").0;
        }
    }

    pub fn text(&self) -> String {
        self.lock().lines.join("\n")
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.0.0.lock().expect("no reader panics")
    }
}
