//! From settings to what they mean: the options of one run. After this no text is left to be interpreted. Mistakes are
//! reported also in a value that a stronger layer replaces.

mod send;

use std::path::PathBuf;

pub use send::{Proxy, SendOptions, Transport};

use super::address::{By, LookUp, is_https, service};
use super::compose::{Ask, NatAsk, OuterPort, TimeOffset};
use super::layers::{Layer, Layers, Said};
use super::values::{self, Allow};
use crate::config::EngineChoice;
use crate::config::{Checked, Complaints, Fault};
use crate::crypto::rijndael::Mode;
use crate::net::PortSet;
use crate::secret::Secret;
use crate::spa::{ClientTimeout, Digest};

/// What a run shall do, of that which the rc file can say too.
#[derive(Debug)]
pub struct Options {
    pub ask: Ask,
    /// When the address to let in has to be found out.
    pub look_up: Option<LookUp>,
    pub scheme: Scheme,
    /// The digest of the HMAC; `None`: no HMAC.
    pub hmac: Option<Digest>,
    pub hmac_key: Option<KeySource>,
    pub send: SendOptions,
    pub verbose: u8,
}

/// How the message is encrypted.
#[derive(Debug)]
pub enum Scheme {
    Rijndael { mode: Mode, key: Option<KeySource> },
    OpenPgp(GpgOptions),
}

#[derive(Debug)]
pub struct GpgOptions {
    pub recipient: String,
    pub signer: Option<String>,
    pub home: Option<PathBuf>,
    pub exe: Option<PathBuf>,
    /// What makes the message when the keys are in a GnuPG home.
    pub engine: EngineChoice,
    pub passphrase: PassphraseSource,
}

/// Where the passphrase of the signing key comes from.
#[derive(Debug)]
pub enum PassphraseSource {
    /// gpg-agent knows it or asks for it. Also when nothing is said: it shows its own prompt and can remember.
    Agent,
    /// The key has none.
    None,
    From(KeySource),
}

/// A key or passphrase, or where it is.
#[derive(Debug)]
pub enum KeySource {
    Given(Secret<Vec<u8>>),
    File(PathBuf),
    /// The next line of `--stdin` or `--fd`.
    Line,
}

/// What only the command line can say.
#[derive(Debug, Default)]
pub struct Given {
    pub command: Option<Vec<u8>>,
    /// `--stdin` or `--fd`.
    pub key_lines: bool,
}

impl Options {
    pub fn resolve(layers: &Layers, given: Given, complaints: &mut Complaints) -> Option<Self> {
        let mut reader = Reader { layers, key_lines: given.key_lines, complaints };
        let send = reader.send();
        let (allow, look_up) = match reader.allow() {
            Some(Allow::Address(address)) => (Some(address), None),
            Some(Allow::Resolve) => (None, Some(reader.look_up())),
            None => (None, None),
        };
        let ask = Ask { allow, ..reader.ask(given.command, send.destination.clone()) };
        let hmac = reader.hmac();
        let options = Self {
            ask,
            look_up,
            scheme: reader.scheme(hmac.is_some())?,
            hmac,
            hmac_key: reader.key(&["HMAC_KEY", "HMAC_KEY_BASE64", "HMAC_KEY_FILE"], false),
            send,
            verbose: reader.verbose(),
        };
        (!complaints.has_errors()).then_some(options)
    }
}

/// The digest that `name` chooses.
pub fn digest(layers: &Layers, name: &'static str) -> Digest {
    match layers.strongest(&[name]) {
        Some(Said { value: Checked::Digest(digest), .. }) => *digest,
        _ => Digest::default(),
    }
}

/// A key that may be meant as the passphrase for signing. One that stands in the rc file apart from all OpenPGP settings
/// is an encryption key for other servers, which GnuPG has no business to see.
fn key_beside_openpgp(layer: &Layer) -> Option<Said<'_>> {
    let said = ["KEY", "KEY_BASE64", "KEY_FILE"].into_iter().find_map(|name| layer.said(name))?;
    let is_openpgp = layer.said("USE_GPG").is_some_and(|said| said.is_yes())
        || ["GPG_SIGNER", "GPG_RECIPIENT"].into_iter().any(|name| layer.said(name).is_some());
    (said.on_command_line || is_openpgp).then_some(said)
}

struct Reader<'a> {
    layers: &'a Layers,
    key_lines: bool,
    complaints: &'a mut Complaints,
}

impl Reader<'_> {
    fn verbose(&self) -> u8 {
        match self.layers.text("VERBOSE") {
            Some("Y") => 1,
            Some(level) => level.parse().unwrap_or(0), // the table lets nothing but N and digits through
            None => 0,
        }
    }

    fn ask(&self, command: Option<Vec<u8>>, destination: Option<String>) -> Ask {
        let layers = self.layers;
        let timeout = layers.number("FW_TIMEOUT").and_then(|secs| u32::try_from(secs).ok());
        let outer = match (layers.flag("NAT_RAND_PORT"), layers.number("NAT_PORT")) {
            (true, _) => OuterPort::Random,
            (false, Some(port)) => {
                u16::try_from(port).ok().and_then(|p| p.try_into().ok()).map_or(OuterPort::AsAsked, OuterPort::Fixed)
            }
            (false, None) => OuterPort::AsAsked,
        };
        Ask {
            allow: None,
            ports: self.ports(),
            command,
            // Zero is the same as not asking for a time.
            timeout: timeout.filter(|secs| *secs > 0).and_then(ClientTimeout::new),
            nat: NatAsk {
                target: self.parsed("NAT_ACCESS", values::nat_target),
                local: layers.flag("NAT_LOCAL"),
                outer,
            },
            user: layers.text("SPOOF_USER").map(str::to_owned),
            time_offset: self.parsed("TIME_OFFSET", |text| text.parse::<TimeOffset>()).unwrap_or_default(),
            digest: digest(self.layers, "DIGEST_TYPE"),
            destination,
        }
    }

    /// `RESOLVE_IP_HTTPS` and its older name say the same as `ALLOW_IP resolve`; an address beside them wins, and `N`
    /// undoes what weaker layers say.
    fn allow(&self) -> Option<Allow> {
        let mut resolves = true;
        for layer in self.layers.strongest_first() {
            let address = layer.said("ALLOW_IP").and_then(|said| values::allow(said.text()?).ok());
            let resolve = ["RESOLVE_IP_HTTPS", "RESOLVE_IP_HTTP"].into_iter().find_map(|name| layer.said(name));
            match (address, resolve) {
                (Some(Allow::Address(address)), _) => return Some(Allow::Address(address)),
                (Some(Allow::Resolve), _) if resolves => return Some(Allow::Resolve),
                (None, Some(said)) if said.is_yes() && resolves => return Some(Allow::Resolve),
                (None, Some(said)) if !said.is_yes() => resolves = false,
                _ => {}
            }
        }
        None
    }

    fn look_up(&mut self) -> LookUp {
        let layers = self.layers;
        let by = match (layers.flag("RESOLVE_HTTP_ONLY"), layers.text("WGET_CMD")) {
            (true, _) => By::Http,
            (false, Some(program)) => {
                By::Wget { program: PathBuf::from(program), names_itself: layers.flag("USE_WGET_USER_AGENT") }
            }
            (false, None) => By::Https,
        };
        if let Some(said) = layers.strongest(&["USE_WGET_USER_AGENT"]).filter(Said::is_yes)
            && !matches!(by, By::Wget { .. })
        {
            self.complaints.warn(said.place, "no wget is asked to name itself", "name one with --wget-cmd");
        }
        let service = self.parsed("RESOLVE_URL", service);
        if let Some(said) = layers.strongest(&["RESOLVE_URL"])
            && by == By::Http
            && service.as_ref().is_some_and(is_https)
        {
            let what = "an https address cannot be asked over plain HTTP";
            self.complaints.error(said.place, what, "leave out --resolve-http-only");
        }
        LookUp { by, service, user_agent: layers.text("HTTP_USER_AGENT").map(str::to_owned) }
    }

    fn ports(&self) -> Option<PortSet> {
        match self.layers.strongest(&["ACCESS"])?.value {
            Checked::Ports(ports) => Some(ports.clone()),
            _ => None,
        }
    }

    /// A key turns the HMAC on; `USE_HMAC` in the same or a stronger layer has the last word.
    fn hmac(&self) -> Option<Digest> {
        let said = self.layers.strongest(&["USE_HMAC", "HMAC_KEY", "HMAC_KEY_BASE64", "HMAC_KEY_FILE"])?;
        (said.name != "USE_HMAC" || said.is_yes()).then(|| digest(self.layers, "HMAC_DIGEST_TYPE"))
    }

    fn scheme(&mut self, with_hmac: bool) -> Option<Scheme> {
        let mode = self.layers.strongest(&["ENCRYPTION_MODE"]);
        if self.layers.flag("USE_GPG") {
            return self.gpg().map(Scheme::OpenPgp);
        }
        let mode = match mode {
            Some(Said { value: Checked::Mode(Some(mode)), place, .. }) => {
                if *mode == Mode::Legacy && with_hmac {
                    self.complaints.error(
                        place,
                        "the legacy mode cannot be used with an HMAC",
                        "leave the HMAC away: peers that need the legacy mode do not know it",
                    );
                }
                *mode
            }
            Some(Said { value: Checked::Mode(None), place, .. }) => {
                self.complaints.error(
                    place,
                    "the mode Asymmetric needs GnuPG keys",
                    "name the server's key with --gpg-recipient-key",
                );
                return None;
            }
            _ => Mode::default(),
        };
        Some(Scheme::Rijndael { mode, key: self.key(&["KEY", "KEY_BASE64", "KEY_FILE"], true) })
    }

    fn gpg(&mut self) -> Option<GpgOptions> {
        let layers = self.layers;
        let Some(recipient) = layers.text("GPG_RECIPIENT") else {
            if let Some(said) = layers.strongest(&["USE_GPG"]) {
                self.complaints.error(
                    said.place,
                    "GnuPG encryption needs to know the server's key",
                    "name it with --gpg-recipient-key, or with GPG_RECIPIENT in the rc file",
                );
            }
            return None;
        };
        let path = |name| layers.text(name).map(PathBuf::from);
        Some(GpgOptions {
            recipient: recipient.to_owned(),
            signer: layers.text("GPG_SIGNER").map(str::to_owned),
            home: path("GPG_HOMEDIR"),
            exe: path("GPG_EXE"),
            // Who names a gpg program wants it to do the work.
            engine: match (layers.text("GPG_ENGINE"), layers.text("GPG_EXE")) {
                (Some("gpgme"), _) | (None, Some(_)) => EngineChoice::Gpgme,
                _ => EngineChoice::Sequoia,
            },
            passphrase: self.passphrase(),
        })
    }

    fn passphrase(&self) -> PassphraseSource {
        if self.layers.flag("USE_GPG_AGENT") {
            return PassphraseSource::Agent;
        }
        if self.layers.flag("GPG_NO_SIGNING_PW") {
            return PassphraseSource::None;
        }
        let said = self.layers.strongest_first().find_map(|layer| {
            let passphrase = ["GPG_SIGNING_PW", "GPG_SIGNING_PW_BASE64"].into_iter().find_map(|name| layer.said(name));
            passphrase.or_else(|| key_beside_openpgp(layer))
        });
        self.source(said, true).map_or(PassphraseSource::Agent, PassphraseSource::From)
    }

    /// A key of the strongest layer that has one, text before base64 before file. `--stdin` and `--fd` belong to the
    /// command line; the encryption key comes first there, so it is read although a weaker layer knows one.
    fn key(&self, names: &[&'static str], first: bool) -> Option<KeySource> {
        self.source(self.layers.strongest(names), first)
    }

    fn source(&self, said: Option<Said<'_>>, first: bool) -> Option<KeySource> {
        let said = said.filter(|said| said.on_command_line || !(first && self.key_lines));
        match said.map(|said| said.value) {
            Some(Checked::Secret(secret)) => Some(KeySource::Given(secret.clone())),
            Some(Checked::Text(path)) => Some(KeySource::File(PathBuf::from(path))),
            _ => self.key_lines.then_some(KeySource::Line),
        }
    }

    /// The strongest value of a text setting. Those that cannot be read have been complained about.
    fn parsed<T>(&self, name: &'static str, parse: impl Fn(&str) -> Result<T, Fault>) -> Option<T> {
        self.layers.all(name).find_map(|said| parse(said.text()?).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Setting;

    fn layers(each: &[&[(&str, &str)]]) -> (Layers, Complaints) {
        let (mut layers, mut complaints) = (Layers::default(), Complaints::default());
        let (last, sections) = each.split_last().unwrap();
        let settings = |layer: &[(&str, &str)]| {
            layer.iter().map(|(name, value)| Setting::from_option(name, value, "--x")).collect::<Vec<_>>()
        };
        for section in sections {
            layers.add_sections(vec![settings(section)], &mut complaints);
        }
        layers.add_command_line(settings(last), &mut complaints);
        values::check(&layers, &mut complaints);
        (layers, complaints)
    }

    pub(super) fn resolved(each: &[&[(&str, &str)]], key_lines: bool) -> Options {
        let (layers, mut complaints) = layers(each);
        let given = Given { command: None, key_lines };
        let options = Options::resolve(&layers, given, &mut complaints);
        options.unwrap_or_else(|| panic!("{complaints}"))
    }

    #[test]
    fn whom_to_let_in_is_decided_by_the_strongest_layer_that_says_so() {
        let address = |text: &str| Some(Allow::Address(text.parse().unwrap()));
        for (each, allow) in [
            (&[&[("ALLOW_IP", "192.0.2.1")][..], &[("RESOLVE_IP_HTTPS", "Y")]][..], Some(Allow::Resolve)),
            (&[&[("RESOLVE_IP_HTTPS", "Y")], &[("ALLOW_IP", "192.0.2.1")]], address("192.0.2.1")),
            (&[&[("RESOLVE_IP_HTTP", "Y")], &[("RESOLVE_IP_HTTPS", "N")]], None),
            (&[&[("ALLOW_IP", "resolve")], &[("RESOLVE_IP_HTTPS", "N")]], None),
            (&[&[("ALLOW_IP", "192.0.2.1")], &[("RESOLVE_IP_HTTPS", "N")]], address("192.0.2.1")),
            (&[&[("ALLOW_IP", "192.0.2.1"), ("RESOLVE_IP_HTTPS", "Y")]], address("192.0.2.1")),
            (&[&[("ALLOW_IP", "source")]], address("0.0.0.0")),
            (&[&[]], None),
        ] {
            let found = resolved(each, false);
            assert_eq!(
                found.ask.allow.map(Allow::Address).or(found.look_up.map(|_| Allow::Resolve)),
                allow,
                "{each:?}"
            );
        }
    }

    #[test]
    fn a_key_replaces_a_weaker_one_in_any_form() {
        let key = |each: &[&[(&str, &str)]], key_lines| match resolved(each, key_lines).scheme {
            Scheme::Rijndael { key, .. } => match key {
                Some(KeySource::Given(key)) => String::from_utf8(key.expose().clone()).unwrap(),
                Some(KeySource::File(file)) => file.display().to_string(),
                Some(KeySource::Line) => "a line".to_owned(),
                None => "the prompt".to_owned(),
            },
            Scheme::OpenPgp(_) => panic!("not asked for"),
        };
        assert_eq!(key(&[&[]], false), "the prompt");
        assert_eq!(key(&[&[("KEY", "weak")], &[("KEY_BASE64", "c3Ryb25n")], &[]], false), "strong");
        assert_eq!(key(&[&[("KEY", "weak")], &[("KEY_FILE", "/file")], &[]], false), "/file");
        assert_eq!(key(&[&[("KEY_BASE64", "Yg=="), ("KEY", "a")], &[]], false), "a");
        assert_eq!(key(&[&[("KEY", "weak")], &[]], true), "a line");
        assert_eq!(key(&[&[("KEY", "weak")], &[("KEY", "typed")]], true), "typed");
    }

    #[test]
    fn the_hmac_is_on_when_a_key_or_the_user_says_so() {
        for (each, on) in [
            (&[&[][..]][..], false),
            (&[&[("HMAC_KEY", "k")], &[]], true),
            (&[&[("HMAC_KEY_FILE", "/f")], &[]], true),
            (&[&[("HMAC_DIGEST_TYPE", "md5")], &[]], false),
            (&[&[("HMAC_KEY", "k")], &[("USE_HMAC", "N")], &[]], false),
            (&[&[("HMAC_KEY", "k"), ("USE_HMAC", "N")], &[]], false),
            (&[&[("USE_HMAC", "N")], &[("HMAC_KEY", "k")], &[]], true),
        ] {
            assert_eq!(resolved(each, false).hmac.is_some(), on, "{each:?}");
        }
    }

    #[test]
    fn mistakes_in_replaced_values_are_named_too() {
        let (_, complaints) = layers(&[&[("ALLOW_IP", "x"), ("TIME_OFFSET", "x")], &[("ALLOW_IP", "192.0.2.1")]]);
        assert_eq!(complaints.iter().count(), 2, "{complaints}");
    }
}
