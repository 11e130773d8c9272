//! `fwknop key qr`: a certificate, or a stanza, for a device with a camera.

use std::io;

use qrcode::types::QrError;
use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

use super::super::super::output::warn;
use super::super::super::rc;
use super::super::{Places, say, values};
use crate::cli::handout::Handout;
use crate::cli::keys::Ended;
use crate::secret::Secret;
use crate::time::Timestamp;

#[derive(Debug, clap::Args)]
pub struct Qr {
    /// Fingerprint, key id or part of the user id [default: your only key]
    #[arg(add = values::fingerprints())]
    key: Option<String>,
    /// A stanza of the rc file, with its keys; fwknop server add takes it
    #[arg(long, value_name = "NAME", conflicts_with = "key", add = values::servers())]
    stanza: Option<String>,
    /// Show secrets: whoever sees a stanza can knock
    #[arg(long, requires = "stanza")]
    reveal: bool,
    /// For terminals with dark letters on light ground
    #[arg(long)]
    invert: bool,
    #[command(flatten)]
    places: Places,
}

impl Qr {
    pub fn run(self, now: Timestamp) -> Result<(), Ended> {
        let (what, text) = match &self.stanza {
            Some(_) if !self.reveal => {
                let what = "a stanza holds keys: whoever sees the code can knock";
                return Err(Ended::usage(what, "if nobody looks over your shoulder, show it with --reveal"));
            }
            Some(name) => (format!("the stanza [{name}]"), stanza(&self.places, name)?),
            None => {
                let keyring = self.places.keyring(now)?;
                let fingerprint = match &self.key {
                    Some(name) => keyring.named(name)?.about.fingerprint,
                    None => keyring.own_named(None)?.about.fingerprint,
                };
                (format!("the certificate of {fingerprint}"), Secret::new(keyring.home()?.export(&fingerprint)?))
            }
        };
        let code = code(&what, &text)?;
        let width = code.width() + 2 * QUIET;
        if terminal_width().is_some_and(|columns| usize::from(columns) < width) {
            warn(&format!(
                "note: the terminal is too narrow: the code needs {width} columns\n     widen it, or make its letters smaller"
            ));
        }
        say(&drawn(&code, self.invert))
    }
}

/// The stanza as a server would hand it out: nothing that belongs to this machine alone.
fn stanza(places: &Places, name: &str) -> Result<Secret<String>, Ended> {
    let Some((name, settings)) = rc::stanza_settings(&places.rc_file()?, name)? else {
        return Err(Ended::not_found(format!("there is no stanza '{name}'"), "list them with: fwknop server list"));
    };
    let said = settings.iter().filter_map(|setting| Some((setting.name.clone(), setting.value.in_lines()?)));
    let (handed, kept): (Vec<_>, Vec<_>) = said.partition(|(name, _)| Handout::may_say(name));
    if !kept.is_empty() {
        let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
        warn(&format!("note: not in the code, because it belongs to this machine: {}", names.join(", ")));
    }
    let handed: Vec<(&str, Secret<String>)> =
        handed.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    Handout::write(&name, &handed, None).map_err(Ended::other)
}

fn code(what: &str, text: &Secret<String>) -> Result<QrCode, Ended> {
    QrCode::with_error_correction_level(text.expose(), EcLevel::L).map_err(|error| match error {
        QrError::DataTooLong => Ended::refused(
            format!("{what} has {} bytes, but a QR code holds {MOST}", text.expose().len()),
            "use an Ed25519 key (fwknop key generate), or hand over a file: fwknop key export -o FILE",
        ),
        error => Ended::other(error),
    })
}

/// What a code of the largest size holds at the lowest level of correction (ISO/IEC 18004).
const MOST: usize = 2953;

/// Light modules around the code, without which cameras do not find it.
const QUIET: usize = 4;

/// Two rows of modules per line. On a dark terminal what is drawn is light.
fn drawn(code: &QrCode, invert: bool) -> Zeroizing<String> {
    let width = code.width();
    let light = |x: usize, y: usize| {
        let inside = (QUIET..QUIET + width).contains(&x) && (QUIET..QUIET + width).contains(&y);
        !inside || code[(x - QUIET, y - QUIET)] == Color::Light
    };
    let size = width + 2 * QUIET;
    // Never grown: three bytes for each block.
    let mut text = Zeroizing::new(String::with_capacity(3 * size * size.div_ceil(2) + size));
    for y in (0..size).step_by(2) {
        for x in 0..size {
            // The last line may have no lower half.
            let lit = |y: usize| y < size && light(x, y) != invert;
            text.push(match (lit(y), lit(y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        text.push('\n');
    }
    text
}

/// `None`: not a terminal.
fn terminal_width() -> Option<u16> {
    rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| size.ws_col).filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads what is drawn, as a camera would.
    fn read(drawn: &str, invert: bool) -> String {
        const SCALE: usize = 4;
        let lines: Vec<Vec<char>> = drawn.lines().map(|line| line.chars().collect()).collect();
        let size = lines[0].len();
        let light = |x: usize, y: usize| {
            let lit = match lines[y / 2][x] {
                '█' => true,
                '▀' => y.is_multiple_of(2),
                '▄' => !y.is_multiple_of(2),
                ' ' => false,
                other => panic!("{other}"),
            };
            lit != invert
        };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(size * SCALE, size * SCALE, |x, y| {
            if light(x / SCALE, y / SCALE) { 255 } else { 0 }
        });
        let grids = image.detect_grids();
        grids[0].decode().unwrap().1
    }

    #[test]
    fn a_camera_reads_what_was_meant() {
        let certificate =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/keyrings/vectors/server-cv25519.pub.asc"))
                .unwrap();
        for text in ["[office]\nKEY_BASE64  c2VjcmV0\n", &certificate] {
            let code = code("it", &Secret::new(text.to_owned())).unwrap();
            for invert in [false, true] {
                assert_eq!(read(&drawn(&code, invert), invert), text);
            }
        }
    }

    #[test]
    fn what_is_too_large_is_said_plainly() {
        let text = |length| Secret::new("x".repeat(length));
        assert!(code("it", &text(MOST)).is_ok());
        let Err(error) = code("the certificate", &text(MOST + 1)) else { panic!("it fits") };
        let error = error.to_string();
        assert!(error.starts_with("the certificate has 2954 bytes, but a QR code holds 2953\n"), "{error}");
        assert!(error.contains("Ed25519") && error.contains("export"), "{error}");
    }
}
