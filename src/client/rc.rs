//! The rc file (`spec/client.md` 3): where it is, made on first use, read into layers.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::args::FileArgs;
use super::layers::Layers;
use crate::config::{Complaints, Place, Section, Setting, read_sections};

/// Why there is no rc file to use. The second line says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RcError {
    #[error("with --no-rc-file there is no stanza for {0}\n     leave one of the two away")]
    Without(&'static str),
    #[error("the rc file is not known: {0}\n     name it with --rc-file, or use --no-rc-file")]
    NoHome(&'static str),
    #[error("the rc file {} cannot be created\n     create it, or use --no-rc-file", path.display())]
    Create {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Where the rc file is. `None`: none is wanted. `home` is the user's home directory.
pub fn locate(files: &FileArgs, home: Option<OsString>) -> Result<Option<PathBuf>, RcError> {
    if files.no_rc_file {
        let wants = [
            (files.named_config.is_some(), "--named-config"),
            (files.save_rc_stanza, "--save-rc-stanza"),
            (files.stanza_list, "--stanza-list"),
        ];
        return match wants.into_iter().find(|(wanted, _)| *wanted) {
            Some((_, option)) => Err(RcError::Without(option)),
            None => Ok(None),
        };
    }
    if let Some(path) = &files.rc_file {
        return Ok(Some(path.clone()));
    }
    if files.no_home_dir {
        return Err(RcError::NoHome("--no-home-dir is given"));
    }
    match home.filter(|home| !home.is_empty()) {
        Some(home) => Ok(Some(PathBuf::from(home).join(".fwknoprc"))),
        None => Err(RcError::NoHome("HOME is not set")),
    }
}

/// Makes the file when it is missing, readable by nobody else. Says whether it did.
pub fn create_if_missing(path: &Path) -> Result<bool, RcError> {
    let failed = |source| RcError::Create { path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => file.write_all(first_content(path).as_bytes()).map(|()| true).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// Reads `[default]` and the named stanza, each a layer. A name may stand for several sections: later values win.
pub fn add_layers(path: &Path, named: Option<&str>, layers: &mut Layers, complaints: &mut Complaints) {
    let sections = match read_sections(path) {
        Ok((sections, notes)) => {
            complaints.append(notes);
            sections
        }
        Err(errors) => return complaints.append(errors),
    };
    add_layer(&sections, "default", layers, complaints);
    let Some(name) = named.filter(|name| !name.eq_ignore_ascii_case("default")) else { return };
    if !add_layer(&sections, name, layers, complaints) {
        complaints.error(
            &Place::File(path.into()),
            format!("there is no stanza [{name}]"),
            "list the stanzas with: fwknop --stanza-list",
        );
    }
}

fn add_layer(sections: &[Section], name: &str, layers: &mut Layers, complaints: &mut Complaints) -> bool {
    let named: Vec<&Section> = sections.iter().filter(|section| section.is(name)).collect();
    for section in &named {
        section.complaints.iter().for_each(|complaint| complaints.push(complaint.clone()));
    }
    layers.add_sections(named.iter().map(|section| section.settings.clone()).collect(), complaints);
    !named.is_empty()
}

/// The names of all stanzas but `default`, in the order of the file.
pub fn stanza_names(path: &Path) -> Result<Vec<String>, Complaints> {
    let (sections, _) = read_sections(path)?;
    Ok(sections.into_iter().filter(|section| !section.is("default")).map(|section| section.name).collect())
}

/// What the stanza of this name says itself, in the line syntax's form, and how its name is written.
pub fn stanza_settings(path: &Path, name: &str) -> Result<Option<(String, Vec<Setting>)>, Complaints> {
    let (sections, _) = read_sections(path)?;
    let (mut written, mut settings) = (None, Vec::new());
    for section in sections.into_iter().filter(|section| section.is(name)) {
        settings.extend(section.settings.into_iter().filter_map(Setting::in_lines));
        written.get_or_insert(section.name);
    }
    Ok(written.map(|name| (name, settings)))
}

fn first_content(path: &Path) -> &'static str {
    match crate::config::Syntax::of(path) {
        crate::config::Syntax::Fwknop => FIRST_LINES,
        crate::config::Syntax::Toml => FIRST_TOML,
    }
}

const FIRST_LINES: &str = "\
# Settings of fwknop, the client. docs/client.md describes each of them.
#
# What stands in [default] holds for every run. A named stanza adds to it or
# changes it, and is chosen with: fwknop -n <name>
# An option on the command line has the last word.
#
# A value ends at the first blank; put it into \"double quotes\" if it has blanks.
# This file holds keys: keep it readable by you alone (mode 0600).

[default]

#DIGEST_TYPE         sha256
#FW_TIMEOUT          30
#SPA_SERVER_PORT     62201
#SPA_SERVER_PROTO    udp
#ALLOW_IP            source
#SPOOF_USER          alice
#TIME_OFFSET         0
#USE_GPG             N
#GPG_HOMEDIR         /home/alice/.gnupg
#GPG_SIGNER          <fingerprint of your key>
#GPG_RECIPIENT       <fingerprint of the server's key>

# A server with a shared key. Make keys and a stanza with
#   fwknop -n office -D gate.example.org -A tcp/22 -s --key-gen --save-rc-stanza
#
#[office]
#SPA_SERVER          gate.example.org
#ACCESS              tcp/22
#ALLOW_IP            source
#KEY_BASE64          <encryption key>
#HMAC_KEY_BASE64     <HMAC key>

# Through the server to a host behind it, with GnuPG.
#
#[inner]
#SPA_SERVER          gate.example.org
#ACCESS              tcp/8088
#NAT_ACCESS          192.168.1.55:80
#ALLOW_IP            192.0.2.6
#FW_TIMEOUT          60
#USE_GPG             Y
#GPG_RECIPIENT       <fingerprint of the server's key>
#GPG_SIGNER          <fingerprint of your key>
";

const FIRST_TOML: &str = "\
# Settings of fwknop, the client. docs/client.md describes each of them.
#
# What stands in [default] holds for every run. A named table adds to it or
# changes it, and is chosen with: fwknop -n <name>
# An option on the command line has the last word.
# This file holds keys: keep it readable by you alone (mode 0600).

[default]
# digest_type = \"sha256\"
# fw_timeout = 30
# allow_ip = \"source\"

# [office]
# spa_server = \"gate.example.org\"
# access = \"tcp/22\"
# key_base64 = \"<encryption key>\"
# hmac_key_base64 = \"<HMAC key>\"
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse_sections;

    #[test]
    fn the_first_file_is_valid_and_says_nothing() {
        for (path, text) in [("rc", FIRST_LINES), ("rc.toml", FIRST_TOML)] {
            let (sections, complaints) = parse_sections(Path::new(path), text).unwrap();
            assert_eq!(sections.len(), 1);
            assert!(sections[0].is("default") && sections[0].settings.is_empty() && complaints.is_empty());
        }
        // Each sample line is a setting there is.
        let uncommented: String = FIRST_LINES
            .lines()
            .filter_map(|line| {
                line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c == '[' || c.is_ascii_uppercase()))
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let (sections, _) = parse_sections(Path::new("rc"), &uncommented).unwrap();
        for setting in sections.iter().flat_map(|section| &section.settings) {
            assert!(super::super::variables::TABLE.find(&setting.name, setting.syntax).is_ok(), "{}", setting.name);
        }
        assert_eq!(sections.len(), 2);
    }
}
