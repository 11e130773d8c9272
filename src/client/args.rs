//! The command line of the original, complete (`spec/client.md` 2). What has a variable in the rc file becomes a
//! [`Setting`] like those read from there, so that both are checked by the same code; the rest is used as it is.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};

use super::manage::{self, values};
use crate::config::Setting;
use crate::secret::Secret;

/// Ask a fwknopd server, with one encrypted packet, to open a port.
#[derive(Debug, Parser)]
#[command(
    name = "fwknop",
    override_usage = "fwknop -A <port list> [-s|-a <address>] -D <server> [options]\n       fwknop -n <stanza> [options]\n       fwknop <command> --help",
    disable_version_flag = true,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true,
    infer_long_args = true,
    args_override_self = true,
    max_term_width = 100
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<manage::Command>,
    #[command(flatten)]
    pub ask: AskArgs,
    #[command(flatten)]
    pub send: SendArgs,
    #[command(flatten)]
    pub keys: KeyArgs,
    #[command(flatten)]
    pub gpg: GpgArgs,
    #[command(flatten)]
    pub files: FileArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What to ask for")]
pub struct AskArgs {
    /// Ports to open: tcp/22 or tcp/22,udp/1194
    #[arg(short = 'A', long, value_name = "PROTO/PORT,...")]
    access: Option<String>,
    /// Address to let in (IPv4; servers of the original refuse IPv6)
    #[arg(short = 'a', long, value_name = "ADDRESS", overrides_with = "source_ip")]
    allow_ip: Option<String>,
    /// Let the server use the address it sees as the packet's source
    #[arg(short = 's', long, overrides_with = "allow_ip")]
    source_ip: bool,
    /// Ask a web service over HTTPS for our address
    #[arg(short = 'R', long = "resolve-ip-https", alias = "resolve-ip-http")]
    resolve_ip: bool,
    /// Ask it over plain HTTP; implies -R
    #[arg(long)]
    resolve_http_only: bool,
    /// The web service to ask; implies -R, except with -T [default: https://www.cipherdyne.org/cgi-bin/myip]
    #[arg(long, value_name = "URL")]
    resolve_url: Option<String>,
    /// A wget to ask it with
    #[arg(short = 'w', long, value_name = "PATH")]
    wget_cmd: Option<String>,
    /// The server: host name or address
    #[arg(short = 'D', long, value_name = "HOST")]
    destination: Option<String>,
    /// How long the access shall last, 0 to 65536 seconds
    #[arg(short = 'f', long, value_name = "SECONDS")]
    fw_timeout: Option<String>,
    /// Ask the server to run this command instead of opening ports
    #[arg(short = 'C', long, value_name = "COMMAND")]
    pub server_cmd: Option<OsString>,
    /// Forward to this inner host
    #[arg(short = 'N', long, value_name = "HOST[:PORT]")]
    nat_access: Option<String>,
    /// Translate to a service on the server itself
    #[arg(long)]
    nat_local: bool,
    /// Outer port to use instead of the one in -A
    #[arg(long, value_name = "PORT")]
    nat_port: Option<String>,
    /// Choose the outer port at random and print it
    #[arg(long)]
    nat_rand_port: bool,
    /// User name inside the packet
    #[arg(short = 'U', long, value_name = "NAME")]
    spoof_user: Option<String>,
    /// Add to the packet's time stamp: 60, 2m, 3h, 1d
    #[arg(long, value_name = "TIME")]
    time_offset_plus: Option<String>,
    /// Subtract from the packet's time stamp
    #[arg(long, value_name = "TIME")]
    time_offset_minus: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "How to send it")]
pub struct SendArgs {
    /// Destination port [default: 62201; 80 for http]
    #[arg(short = 'p', long, value_name = "PORT")]
    server_port: Option<String>,
    /// Transport: udp, tcp or http; raw, as root: udpraw, tcpraw or icmp [default: udp]
    #[arg(short = 'P', long, value_name = "PROTO")]
    server_proto: Option<String>,
    /// Source port [default: the system chooses]
    #[arg(short = 'S', long, value_name = "PORT")]
    source_port: Option<String>,
    /// Source address of a raw packet, where it is not ours (IPv4)
    #[arg(short = 'Q', long, visible_alias = "spoof-src", value_name = "ADDRESS")]
    spoof_source: Option<String>,
    /// Random destination port, 10000 to 65534
    #[arg(short = 'r', long)]
    rand_port: bool,
    /// Send through this HTTP proxy; implies -P http
    #[arg(short = 'H', long, value_name = "HOST[:PORT]")]
    http_proxy: Option<String>,
    /// User-Agent for HTTP and for -R [default: Fwknop/<version>]
    #[arg(short = 'u', long, value_name = "TEXT")]
    user_agent: Option<String>,
    /// Let the wget of --wget-cmd name itself
    #[arg(long)]
    use_wget_user_agent: bool,
    /// Use only IPv4 addresses of the server's name
    #[arg(long)]
    server_resolve_ipv4: bool,
    /// ICMP type for -P icmp [default: 0, an echo reply]
    #[arg(long, value_name = "0-40")]
    icmp_type: Option<String>,
    /// ICMP code for -P icmp [default: 0]
    #[arg(long, value_name = "0-15")]
    icmp_code: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Cryptography and keys")]
pub struct KeyArgs {
    /// Add an HMAC; asks for its key when none is known
    #[arg(long)]
    use_hmac: bool,
    /// HMAC digest: md5 sha1 sha256 sha384 sha512 sha3_256 sha3_512; turns the HMAC on [default: sha256]
    #[arg(long, value_name = "DIGEST")]
    hmac_digest_type: Option<String>,
    /// Digest inside the packet, same choices [default: sha256]
    #[arg(short = 'm', long, value_name = "DIGEST")]
    digest_type: Option<String>,
    /// AES mode: CBC ECB CFB OFB CTR legacy, or Asymmetric with GnuPG [default: CBC]
    #[arg(short = 'M', long, value_name = "MODE")]
    encryption_mode: Option<String>,
    /// Encryption key, for everybody on this machine to see; better: the prompt, --stdin, --fd or the rc file
    #[arg(long, value_name = "KEY", value_parser = secret)]
    key_rijndael: Option<Secret<String>>,
    /// The same in base64
    #[arg(long, value_name = "BASE64", value_parser = secret)]
    key_base64_rijndael: Option<Secret<String>>,
    /// HMAC key, for everybody on this machine to see; turns the HMAC on
    #[arg(long, value_name = "KEY", value_parser = secret)]
    key_hmac: Option<Secret<String>>,
    /// The same in base64
    #[arg(long, value_name = "BASE64", value_parser = secret)]
    key_base64_hmac: Option<Secret<String>>,
    /// Look the encryption key up in this file, by the destination
    #[arg(short = 'G', long, value_name = "FILE")]
    get_key: Option<String>,
    /// Look the HMAC key up in this file; turns the HMAC on
    #[arg(long, value_name = "FILE")]
    get_hmac_key: Option<String>,
    /// Read the keys from standard input, one per line: encryption key, then HMAC key
    #[arg(long, overrides_with = "fd")]
    pub stdin: bool,
    /// Read the keys from this descriptor, one per line; it is opened anew: a file is read from its start, a socket cannot be
    #[arg(long, value_name = "NUMBER", overrides_with = "stdin")]
    pub fd: Option<u16>,
    /// Make an encryption and an HMAC key, print them and exit
    #[arg(short = 'k', long)]
    pub key_gen: bool,
    /// Make keys into this file and exit
    #[arg(short = 'K', long, value_name = "FILE")]
    pub key_gen_file: Option<PathBuf>,
    /// Bytes of the encryption key made, 1 to 32
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1..=32))]
    pub key_len: Option<u16>,
    /// Bytes of the HMAC key made, 1 to 128; turns the HMAC on
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1..=128))]
    pub hmac_key_len: Option<u16>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "GnuPG (every option but -g implies -g)")]
pub struct GpgArgs {
    /// Encrypt with GnuPG instead of AES
    // The alias keeps an abbreviation of the original apart from --gpg-engine.
    #[arg(short = 'g', long, alias = "gpg-en")]
    gpg_encryption: bool,
    /// Who makes the message: sequoia (this program, with gpg-agent) or gpgme (gpg) [default: sequoia]
    #[arg(long, value_name = "ENGINE")]
    gpg_engine: Option<String>,
    /// The server's key: fingerprint, key ID or name, or a certificate file
    #[arg(long, value_name = "KEY", add = values::fingerprints())]
    gpg_recipient_key: Option<String>,
    /// Our key to sign with: fingerprint, key ID or name, or a key file
    #[arg(long, value_name = "KEY", add = values::fingerprints())]
    gpg_signer_key: Option<String>,
    /// Key ring directory [default: GnuPG's own]
    #[arg(long, value_name = "DIR")]
    gpg_home_dir: Option<String>,
    /// GnuPG program, which then makes the message
    #[arg(long, value_name = "PATH")]
    gpg_exe: Option<String>,
    /// Let gpg-agent ask for the passphrase (also the default when none is given)
    #[arg(long)]
    gpg_agent: bool,
    /// The signing key has no passphrase
    #[arg(long)]
    gpg_no_signing_pw: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Files, output, help")]
pub struct FileArgs {
    /// Use this stanza of the rc file
    #[arg(short = 'n', long, value_name = "STANZA", add = values::servers())]
    pub named_config: Option<String>,
    /// Use this rc file, TOML if it ends in .toml [default: ~/.fwknoprc]
    #[arg(long, value_name = "FILE")]
    pub rc_file: Option<PathBuf>,
    /// Neither read nor create an rc file
    #[arg(long)]
    pub no_rc_file: bool,
    /// Never use the home directory
    #[arg(long)]
    pub no_home_dir: bool,
    /// Write the given options into the rc file's stanza
    #[arg(long)]
    pub save_rc_stanza: bool,
    /// Do not ask before overwriting keys in it
    #[arg(long)]
    pub force_stanza: bool,
    /// Print the names of the rc file's stanzas
    #[arg(long)]
    pub stanza_list: bool,
    /// Run the last command line again
    #[arg(short = 'l', long)]
    pub last_cmd: bool,
    /// Print the last command line
    #[arg(long)]
    pub show_last: bool,
    /// Where the command line is stored, without keys [default: ~/.fwknop.run]
    #[arg(short = 'E', long, value_name = "FILE")]
    pub save_args_file: Option<PathBuf>,
    /// Do not store the command line
    #[arg(long)]
    no_save_args: bool,
    /// Write the packet to this file
    #[arg(short = 'B', long, value_name = "FILE")]
    pub save_packet: Option<PathBuf>,
    /// Append the packet instead of replacing the file
    #[arg(short = 'b', long)]
    pub save_packet_append: bool,
    /// Make and show the packet, decode it again, but do not send it
    #[arg(short = 'T', long)]
    pub test: bool,
    /// More output; may be repeated
    #[arg(short = 'v', long, action = ArgAction::Count)]
    verbose: u8,
    /// Print version
    #[arg(short = 'V', long)]
    pub version: bool,
    /// For test builds of the original only
    #[arg(long, value_name = "TEXT", hide = true)]
    pub fault_injection_tag: Option<String>,
}

impl Args {
    /// Reads a command line as `getopt_long` would: any word after an option that takes a value is that value, also when
    /// it begins with a hyphen (a generated key may).
    pub fn read(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        Self::from_arg_matches(&Self::definition().try_get_matches_from(words)?)
    }

    pub fn definition() -> clap::Command {
        Self::command().mut_args(|arg| match arg.get_action() {
            ArgAction::Set => arg.allow_hyphen_values(true),
            _ => arg,
        })
    }

    /// What the rc file could have said as well, each name once.
    pub fn settings(&self) -> Vec<Setting> {
        let mut list = List::default();
        self.implied(&mut list);
        self.list_ask(&mut list);
        self.list_send(&mut list);
        self.list_keys(&mut list);
        self.list_gpg(&mut list);
        list.flag("NO_SAVE_ARGS", self.files.no_save_args, "--no-save-args");
        let level = (self.files.verbose > 0).then(|| self.files.verbose.min(VERBOSE_MAX).to_string());
        list.text("VERBOSE", &level, "--verbose");
        list.0
    }

    /// First of all, so that what is said outright replaces it.
    fn implied(&self, list: &mut List) {
        let (ask, keys, gpg) = (&self.ask, &self.keys, &self.gpg);
        let resolves = ask.resolve_http_only || (ask.resolve_url.is_some() && !self.files.test);
        list.flag("RESOLVE_IP_HTTPS", resolves, "--resolve-url");
        let hmac = keys.hmac_digest_type.is_some()
            || keys.hmac_key_len.is_some()
            || keys.key_hmac.is_some()
            || keys.key_base64_hmac.is_some()
            || keys.get_hmac_key.is_some();
        list.flag("USE_HMAC", hmac, "--use-hmac");
        let named = [&gpg.gpg_recipient_key, &gpg.gpg_signer_key, &gpg.gpg_home_dir, &gpg.gpg_exe, &gpg.gpg_engine];
        let openpgp = named.into_iter().any(Option::is_some) || gpg.gpg_agent || gpg.gpg_no_signing_pw;
        list.flag("USE_GPG", openpgp, "--gpg-encryption");
    }

    fn list_ask(&self, list: &mut List) {
        let ask = &self.ask;
        list.text("ACCESS", &ask.access, "--access");
        list.flag("RESOLVE_IP_HTTPS", ask.resolve_ip, "--resolve-ip-https");
        list.flag("RESOLVE_HTTP_ONLY", ask.resolve_http_only, "--resolve-http-only");
        list.text("RESOLVE_URL", &ask.resolve_url, "--resolve-url");
        list.text("WGET_CMD", &ask.wget_cmd, "--wget-cmd");
        list.text("ALLOW_IP", &ask.allow_ip, "--allow-ip");
        list.text("ALLOW_IP", &ask.source_ip.then(|| "source".into()), "--source-ip");
        list.text("SPA_SERVER", &ask.destination, "--destination");
        list.text("FW_TIMEOUT", &ask.fw_timeout, "--fw-timeout");
        list.text("NAT_ACCESS", &ask.nat_access, "--nat-access");
        list.flag("NAT_LOCAL", ask.nat_local, "--nat-local");
        list.text("NAT_PORT", &ask.nat_port, "--nat-port");
        list.flag("NAT_RAND_PORT", ask.nat_rand_port, "--nat-rand-port");
        list.text("SPOOF_USER", &ask.spoof_user, "--spoof-user");
        list.text("TIME_OFFSET", &ask.time_offset_plus, "--time-offset-plus");
        let minus = ask.time_offset_minus.as_ref().map(|time| format!("-{time}"));
        list.text("TIME_OFFSET", &minus, "--time-offset-minus");
    }

    fn list_send(&self, list: &mut List) {
        let send = &self.send;
        list.text("SPA_SERVER_PORT", &send.server_port, "--server-port");
        list.text("SPA_SERVER_PROTO", &send.server_proto, "--server-proto");
        list.text("SPA_SOURCE_PORT", &send.source_port, "--source-port");
        list.text("SPOOF_SOURCE_IP", &send.spoof_source, "--spoof-source");
        list.flag("RAND_PORT", send.rand_port, "--rand-port");
        list.text("ICMP_TYPE", &send.icmp_type, "--icmp-type");
        list.text("ICMP_CODE", &send.icmp_code, "--icmp-code");
        list.text("HTTP_PROXY", &send.http_proxy, "--http-proxy");
        list.text("HTTP_USER_AGENT", &send.user_agent, "--user-agent");
        list.flag("USE_WGET_USER_AGENT", send.use_wget_user_agent, "--use-wget-user-agent");
        list.flag("SERVER_RESOLVE_IPV4", send.server_resolve_ipv4, "--server-resolve-ipv4");
    }

    fn list_keys(&self, list: &mut List) {
        let keys = &self.keys;
        list.flag("USE_HMAC", keys.use_hmac, "--use-hmac");
        list.text("HMAC_DIGEST_TYPE", &keys.hmac_digest_type, "--hmac-digest-type");
        list.text("DIGEST_TYPE", &keys.digest_type, "--digest-type");
        list.text("ENCRYPTION_MODE", &keys.encryption_mode, "--encryption-mode");
        list.secret("KEY", &keys.key_rijndael, "--key-rijndael");
        list.secret("KEY_BASE64", &keys.key_base64_rijndael, "--key-base64-rijndael");
        list.secret("HMAC_KEY", &keys.key_hmac, "--key-hmac");
        list.secret("HMAC_KEY_BASE64", &keys.key_base64_hmac, "--key-base64-hmac");
        list.text("KEY_FILE", &keys.get_key, "--get-key");
        list.text("HMAC_KEY_FILE", &keys.get_hmac_key, "--get-hmac-key");
    }

    fn list_gpg(&self, list: &mut List) {
        let gpg = &self.gpg;
        list.flag("USE_GPG", gpg.gpg_encryption, "--gpg-encryption");
        list.text("GPG_RECIPIENT", &gpg.gpg_recipient_key, "--gpg-recipient-key");
        list.text("GPG_SIGNER", &gpg.gpg_signer_key, "--gpg-signer-key");
        list.text("GPG_HOMEDIR", &gpg.gpg_home_dir, "--gpg-home-dir");
        list.text("GPG_EXE", &gpg.gpg_exe, "--gpg-exe");
        list.text("GPG_ENGINE", &gpg.gpg_engine, "--gpg-engine");
        list.flag("USE_GPG_AGENT", gpg.gpg_agent, "--gpg-agent");
        list.flag("GPG_NO_SIGNING_PW", gpg.gpg_no_signing_pw, "--gpg-no-signing-pw");
    }

    pub fn is_verbose(&self) -> bool {
        self.files.verbose > 0
    }

    pub fn destination(&self) -> Option<&str> {
        self.ask.destination.as_deref()
    }

    /// Secrets that stand on the command line, where every user of the machine can read them.
    pub fn exposed_secrets(&self) -> Vec<&'static str> {
        let keys = &self.keys;
        [
            (&keys.key_rijndael, "--key-rijndael"),
            (&keys.key_base64_rijndael, "--key-base64-rijndael"),
            (&keys.key_hmac, "--key-hmac"),
            (&keys.key_base64_hmac, "--key-base64-hmac"),
        ]
        .into_iter()
        .filter_map(|(key, option)| key.as_ref().map(|_| option))
        .collect()
    }
}

/// The highest level of `VERBOSE` and `-v`.
const VERBOSE_MAX: u8 = 4;

#[derive(Default)]
struct List(Vec<Setting>);

impl List {
    fn flag(&mut self, name: &str, given: bool, option: &str) {
        self.text(name, &given.then(|| "Y".into()), option);
    }

    fn text(&mut self, name: &str, value: &Option<String>, option: &str) {
        if let Some(value) = value {
            self.0.retain(|setting| setting.name != name);
            self.0.push(Setting::from_option(name, value, option));
        }
    }

    fn secret(&mut self, name: &str, value: &Option<Secret<String>>, option: &str) {
        if let Some(value) = value {
            self.0.push(Setting::from_option(name, value.expose(), option));
        }
    }
}

fn secret(word: &str) -> Result<Secret<String>, std::convert::Infallible> {
    Ok(Secret::new(word.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::raw::Value;

    fn read(line: &[&str]) -> Result<Args, clap::Error> {
        Args::read(["fwknop"].iter().chain(line).map(OsString::from))
    }

    fn entry(args: &Args, name: &str) -> Option<String> {
        let value = args.settings().into_iter().find(|setting| setting.name == name)?.value;
        match value {
            Value::Text(text) => Some(text.expose().clone()),
            _ => None,
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Args::definition().debug_assert();
    }

    #[test]
    fn options_are_read_as_getopt_long_reads_them() {
        let args = read(&["-Tvv", "-Atcp/22", "--gpg-recip=x", "--destin", "h", "-v", "-T", "-D", "h2"]).unwrap();
        assert!(args.files.test);
        assert_eq!(entry(&args, "VERBOSE").as_deref(), Some("3"));
        assert_eq!(entry(&args, "ACCESS").as_deref(), Some("tcp/22"));
        assert_eq!(entry(&args, "SPA_SERVER").as_deref(), Some("h2"));
        assert_eq!(entry(&args, "USE_GPG").as_deref(), Some("Y"));
        let args = read(&["--key-rijndael", "-HZykYwu", "--key-hmac=-a"]).unwrap();
        assert_eq!(entry(&args, "KEY").as_deref(), Some("-HZykYwu"));
        assert_eq!(entry(&args, "HMAC_KEY").as_deref(), Some("-a"));
        assert!(read(&["--spoof-s", "1.2.3.4"]).is_ok(), "an abbreviation of two names of one option");
        for bad in [&["--ver"][..], &["--nosuch"], &["stray"], &["-A"], &["--key-len", "33"]] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_last_of_two_addresses_wins() {
        let args = read(&["-a", "192.0.2.1", "-s"]).unwrap();
        assert_eq!(entry(&args, "ALLOW_IP").as_deref(), Some("source"));
        let args = read(&["-s", "-a", "192.0.2.1"]).unwrap();
        assert_eq!(entry(&args, "ALLOW_IP").as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn debug_output_shows_no_key() {
        let args = read(&["--key-rijndael", "sesame", "--key-base64-hmac", "b3Blbg=="]).unwrap();
        let shown = format!("{args:?}{:?}", args.settings());
        assert!(!shown.contains("sesame") && !shown.contains("b3Blbg"), "{shown}");
    }
}
