//! The original's memory of packets: taken over, and written for a way back (`spec/wire.md` 9).

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use redb::ReadableTable as _;

use super::{Error, SEEN, State, restore};
use crate::net::Origin;
use crate::replay::{ReplayKey, ReplayStore as _, Seen, StoreError};
use crate::time::Timestamp;

impl State {
    /// Takes over what the original remembered and still matters. Returns how many entries were new; bad lines are
    /// passed over, as there.
    pub fn import_digest_cache(
        &mut self,
        path: &Path,
        max_age: Option<Duration>,
        now: Timestamp,
    ) -> Result<usize, Error> {
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(source) => return Err(Error::Import { path: path.into(), source }),
        };
        // A message may have been stamped up to one window ahead, and is taken for one window after its stamp.
        let until = |at: Timestamp| max_age.map(|window| at.plus(window * 2));
        let mut entries = Vec::new();
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(|source| Error::Import { path: path.into(), source })?;
            let Some((key, seen)) = std::str::from_utf8(&line).ok().and_then(parse_digest_line) else { continue };
            let matters = until(seen.at).is_none_or(|end| end >= now);
            if matters && self.seen(&key)?.is_none() {
                entries.push((key, seen));
            }
        }
        self.write(|tables| {
            entries.iter().try_for_each(|(key, seen)| tables.remember(key, seen, seen.at, until(seen.at)))
        })?;
        Ok(entries.len())
    }

    /// Everything remembered in the original's form, for a way back to it. Keys of messages stand among those of texts;
    /// there they match nothing.
    pub fn digest_cache(&mut self) -> Result<String, StoreError> {
        let lines = self.read(SEEN, |table| {
            let mut lines = String::new();
            for entry in table.iter()? {
                let (key, stored) = entry?;
                lines.push_str(&digest_line(&key.value(), &restore(stored.value())));
            }
            Ok(lines)
        })?;
        Ok(format!("{DIGEST_HEADER}\n{}", lines.unwrap_or_default()))
    }
}

fn digest_line(key: &[u8; 32], seen: &Seen) -> String {
    let Origin { src, proto, src_port, dst_port, .. } = seen.origin;
    let (digest, dst) = (STANDARD_NO_PAD.encode(key), seen.origin.dst_or_unspecified());
    format!("{digest} {proto} {src} {src_port} {dst} {dst_port} {}\n", seen.at)
}

/// One line as [`DIGEST_HEADER`] says (`spec/wire.md` 9).
fn parse_digest_line(line: &str) -> Option<(ReplayKey, Seen)> {
    if line.starts_with(['#', ';']) {
        return None;
    }
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [digest, proto, src, src_port, dst, dst_port, time] = fields[..] else { return None };
    let key = STANDARD_NO_PAD.decode(digest).ok()?.try_into().ok()?;
    let origin = Origin {
        src: src.parse().ok()?,
        dst: Some(dst.parse().ok()?),
        proto: proto.parse().ok()?,
        src_port: src_port.parse().ok()?,
        dst_port: dst_port.parse().ok()?,
    };
    Some((ReplayKey(key), Seen { origin, at: Timestamp::from_secs(time.parse().ok()?) }))
}

/// The first line of the original's digest cache.
pub(super) const DIGEST_HEADER: &str = "# <digest> <proto> <src_ip> <src_port> <dst_ip> <dst_port> <time>";
