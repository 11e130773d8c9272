//! Files on disk: includes, override files, options, permissions, kinds of files.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use fwknop::access::Stanza;
use fwknop::config::{AccessPlace, CaptureFrom, Complaints, LoadOptions, Override, load, load_access, load_server};
use tempfile::TempDir;

use super::{FewKeys, NOW, server};

/// A folder of files, each with mode 0600.
struct Folder(TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(TempDir::new().unwrap());
        for (name, text) in files {
            let path = folder.path(name);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            folder.mode(name, 0o600);
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn options(&self) -> LoadOptions {
        LoadOptions {
            config_file: "fwknopd.conf".into(),
            override_files: Vec::new(),
            overrides: Vec::new(),
            verbose: 0,
            directory: self.0.path().into(),
        }
    }

    fn access_at(&self, place: AccessPlace) -> Result<(Vec<Stanza>, Complaints), Complaints> {
        let (mut settings, _) = server("fwknopd.conf", "").unwrap();
        settings.access = place;
        load_access(&settings, self.0.path(), &mut FewKeys, NOW)
    }

    fn access(&self) -> Result<(Vec<Stanza>, Complaints), Complaints> {
        self.access_at(AccessPlace::File { path: "access.conf".into(), refuse_link: false })
    }

    /// What is said, with the folder's own path left out.
    fn said(&self, result: Result<(Vec<Stanza>, Complaints), Complaints>) -> String {
        let said = match result {
            Ok((_, said)) => said,
            Err(said) => said,
        };
        said.to_string().replace(&format!("{}/", self.0.path().display()), "")
    }
}

/// The user names that the stanzas demand: they tell stanzas apart.
fn users(stanzas: &[Stanza]) -> Vec<&str> {
    stanzas.iter().filter_map(|stanza| stanza.require_username.as_deref()).collect()
}

fn stanza(user: &str) -> String {
    format!("SOURCE ANY\nKEY k\nHMAC_KEY h\nREQUIRE_USERNAME {user}\n")
}

#[test]
fn stanzas_count_in_the_order_of_files_and_includes() {
    let folder = Folder::with(&[
        (
            "access.conf",
            "%include early.conf\nSOURCE ANY\nKEY k\n%include inner.conf\nHMAC_KEY h\nREQUIRE_USERNAME outer\n",
        ),
        ("early.conf", &stanza("early")),
        ("inner.conf", &format!("{}%include_folder folder\n", stanza("inner"))),
        ("folder/b.conf", &stanza("b")),
        ("folder/a.conf", &stanza("a")),
        ("folder/c.toml", "[[stanza]]\nsource = 'ANY'\nkey = 'k'\nhmac_key = 'h'\nrequire_username = 'c'\n"),
        ("folder/d.conf.bak", &stanza("d")),
        ("folder/e.confold", &stanza("e")),
    ]);
    let (stanzas, said) = folder.access().unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(users(&stanzas), ["early", "outer", "inner", "a", "b", "c"]);
    assert_eq!(stanzas.iter().map(|stanza| stanza.id.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert!(said.is_empty(), "{said}");
    assert!(stanzas[1].hmac.is_some(), "the stanza stays open around an include");

    let (stanzas, _) = folder.access_at(AccessPlace::Folder("folder".into())).unwrap();
    assert_eq!(users(&stanzas), ["a", "b", "c"]);
}

#[test]
fn toml_includes_too() {
    let folder = Folder::with(&[
        (
            "access.toml",
            "include = ['a.conf', 'b.conf']\n[[stanza]]\nsource = 'ANY'\ninclude_keys = 'keys.toml'\nrequire_username = 'own'\n",
        ),
        ("a.conf", &stanza("a")),
        ("b.conf", &stanza("b")),
        ("keys.toml", "key = 'k'\nhmac_key = 'h'\n"),
    ]);
    let (stanzas, said) =
        folder.access_at(AccessPlace::File { path: "access.toml".into(), refuse_link: false }).unwrap();
    assert_eq!(users(&stanzas), ["a", "b", "own"]);
    assert!(said.is_empty(), "{said}");
}

#[test]
fn includes_go_three_levels_deep_and_never_round() {
    let next = |file: &str, user: &str| format!("{}%include {file}\n", stanza(user));
    let folder = Folder::with(&[
        ("access.conf", &next("two.conf", "one")),
        ("two.conf", &next("three.conf", "two")),
        ("three.conf", &stanza("three")),
        ("deep.conf", &next("access.conf", "zero")),
        ("round.conf", &next("round.conf", "again")),
    ]);
    assert_eq!(users(&folder.access().unwrap().0), ["one", "two", "three"]);
    let load = |name: &str| folder.access_at(AccessPlace::File { path: name.into(), refuse_link: false });
    assert_eq!(
        folder.said(load("deep.conf")),
        "two.conf:5: three.conf is included too deeply\n     files may include each other 3 levels deep"
    );
    assert_eq!(folder.said(load("round.conf")), "round.conf:5: round.conf includes itself\n     remove the include");
}

#[test]
fn a_key_file_fills_its_stanza_or_stops_the_start() {
    let keys = "KEY_BASE64 a2V5\nHMAC_KEY h\n";
    let main = "SOURCE ANY\n%include_keys keys.conf\nREQUIRE_USERNAME alice\n";
    let folder = Folder::with(&[("access.conf", main), ("keys.conf", keys)]);
    let (stanzas, said) = folder.access().unwrap();
    assert!(stanzas[0].rijndael.is_some() && stanzas[0].hmac.is_some());
    assert_eq!(users(&stanzas), ["alice"]);
    assert!(said.is_empty(), "{said}");

    let folder = Folder::with(&[("access.conf", main), ("keys.conf", "OPEN_PORTS tcp/22\nKEY __CHANGEME__\nKEX a\n")]);
    let said = folder.said(folder.access());
    for line in [
        "keys.conf:1: OPEN_PORTS cannot stand in a key file",
        "keys.conf:2: KEY: is still the placeholder of the sample file",
        "keys.conf:3: KEX is not a setting of an access file",
    ] {
        assert!(said.contains(line), "{said}");
    }

    // The original drops the stanza and starts.
    let folder = Folder::with(&[("access.conf", main)]);
    let said = folder.said(folder.access());
    assert!(said.contains("access.conf:2: keys.conf: cannot be read: No such file or directory"), "{said}");
}

#[test]
fn what_cannot_be_included_is_an_error_at_its_line() {
    let folder =
        Folder::with(&[("access.conf", &format!("{}%include gone.conf\n%include_folder gone\n", stanza("a")))]);
    let said = folder.said(folder.access());
    assert!(said.contains("access.conf:5: gone.conf: cannot be read: No such file"), "{said}");
    assert!(said.contains("access.conf:6: the folder gone cannot be read: No such file"), "{said}");
}

#[test]
fn files_that_others_may_change_are_refused() {
    let folder = Folder::with(&[("access.conf", &stanza("a")), ("fwknopd.conf", "VERBOSE 1;\n")]);
    for (mode, refused) in
        [(0o600, false), (0o400, false), (0o640, false), (0o644, false), (0o660, true), (0o602, true)]
    {
        folder.mode("access.conf", mode);
        assert_eq!(folder.access().is_err(), refused, "{mode:o}");
        let quiet = mode & 0o077 == 0;
        assert_eq!(folder.said(folder.access()).is_empty(), quiet, "{mode:o}");
    }
    for (mode, refused) in [(0o600, false), (0o644, false), (0o660, false), (0o666, true)] {
        folder.mode("fwknopd.conf", mode);
        assert_eq!(load_server(&folder.options()).is_err(), refused, "{mode:o}");
    }
    folder.mode("access.conf", 0o602);
    assert_eq!(
        folder.said(folder.access()),
        "access.conf: can be written by others (mode 0602)\n     run: chmod 600 access.conf"
    );
}

/// Whoever can put a file there says who is let in.
#[test]
fn folders_that_others_may_fill_are_refused() {
    let folder = Folder::with(&[("access.conf", "%include_folder folder\n"), ("folder/a.conf", &stanza("a"))]);
    for (mode, refused) in [(0o700, false), (0o755, false), (0o770, true), (0o702, true), (0o1777, true)] {
        folder.mode("folder", mode);
        assert_eq!(folder.access().is_err(), refused, "{mode:o}");
        assert_eq!(folder.access_at(AccessPlace::Folder("folder".into())).is_err(), refused, "{mode:o}");
    }
    folder.mode("folder", 0o770);
    assert_eq!(
        folder.said(folder.access()),
        "access.conf:1: the folder folder can be written by others (mode 0770)\n     run: chmod go-w folder"
    );
}

#[test]
fn only_regular_files_are_read_and_links_not_for_the_option() {
    let folder = Folder::with(&[("real.conf", &stanza("a"))]);
    std::os::unix::fs::symlink(folder.path("real.conf"), folder.path("access.conf")).unwrap();
    assert_eq!(users(&folder.access().unwrap().0), ["a"]);
    let by_option = folder.access_at(AccessPlace::File { path: "access.conf".into(), refuse_link: true });
    assert_eq!(folder.said(by_option), "access.conf: is a symbolic link\n     name the file itself");

    let place = |name: &str| AccessPlace::File { path: name.into(), refuse_link: false };
    fs::create_dir(folder.path("folder.conf")).unwrap();
    let said = folder.said(folder.access_at(place("folder.conf")));
    assert_eq!(said, "folder.conf: is not a regular file\n     name a file");
    // Opening a named pipe would wait for somebody who writes.
    rustix::fs::mknodat(rustix::fs::CWD, folder.path("pipe.conf"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let said = folder.said(folder.access_at(place("pipe.conf")));
    assert_eq!(said, "pipe.conf: is not a regular file\n     name a file");
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_line() {
    let folder = Folder::with(&[]);
    fs::write(folder.path("access.conf"), b"SOURCE ANY\nKEY caf\xe9\n").unwrap();
    folder.mode("access.conf", 0o600);
    let said = folder.said(folder.access());
    assert_eq!(
        said,
        "access.conf:2: the file is not UTF-8 text\n     save it as UTF-8; write a key of other bytes as base64"
    );
}

#[test]
fn override_files_and_options_win_in_this_order() {
    let folder = Folder::with(&[
        ("fwknopd.conf", "PCAP_INTF eth0;\nMAX_SPA_PACKET_AGE 10;\nFWKNOP_RUN_DIR /a;\nVERBOSE 1;\n"),
        ("one.conf", "MAX_SPA_PACKET_AGE 20;\nFWKNOP_RUN_DIR /b;\nDIGEST_FILE $FWKNOP_RUN_DIR/one;\n"),
        ("two.toml", "max_spa_packet_age = 30\n"),
    ]);
    let mut options = folder.options();
    options.override_files = vec!["one.conf".into(), "two.toml".into()];
    let option = |name, value: &str, option| Override { name, value: value.into(), option };
    options.overrides =
        vec![option("PCAP_INTF", "wg0", "--interface"), option("ACCESS_FILE", "mine.conf", "--access-file")];
    options.verbose = 2;
    let (settings, said) = load_server(&options).unwrap();
    assert!(said.is_empty(), "{said}");
    assert_eq!(settings.capture.from, CaptureFrom::Devices(vec!["wg0".into()]));
    assert_eq!(settings.gate.max_age.unwrap().as_secs(), 30);
    assert_eq!(settings.run_dir, Path::new("/b"));
    assert_eq!(settings.digest_file, Path::new("/b/one"));
    assert_eq!(settings.access, AccessPlace::File { path: folder.path("mine.conf"), refuse_link: true });
    assert_eq!(settings.journal.verbose, 3);

    options.overrides =
        vec![option("PCAP_FILTER", "udp prot 1", "--pcap-filter"), option("LOCALE", "de_DE", "--locale")];
    let said = load_server(&options).unwrap_err().to_string();
    assert!(said.contains("option --pcap-filter: the capture filter 'udp prot 1'"), "{said}");
    assert!(said.contains("option --locale: note: LOCALE has no effect"), "{said}");
}

#[test]
fn an_access_option_goes_before_a_folder_in_the_file() {
    let folder = Folder::with(&[("fwknopd.conf", "ACCESS_FOLDER /etc/folder;\nACCESS_FILE /etc/file;\n")]);
    let place = |overrides: Vec<Override>| {
        let options = LoadOptions { overrides, ..folder.options() };
        load_server(&options).unwrap().0.access
    };
    let option = |name| Override { name, value: "/opt".into(), option: "--access-x" };
    assert_eq!(place(vec![]), AccessPlace::Folder("/etc/folder".into()));
    assert_eq!(place(vec![option("ACCESS_FILE")]), AccessPlace::File { path: "/opt".into(), refuse_link: true });
    assert_eq!(place(vec![option("ACCESS_FILE"), option("ACCESS_FOLDER")]), AccessPlace::Folder("/opt".into()));
}

#[test]
fn the_mistakes_of_both_files_are_said_at_once() {
    let folder = Folder::with(&[
        ("fwknopd.conf", "ACCESS_FILE access.conf;\nVERBOSE x;\n"),
        ("access.conf", "SOURCE ANY\nKEY k\nHMAC_KEY h\nOPEN_PORTS ssh\n"),
    ]);
    let load = || load(&folder.options(), &mut FewKeys, NOW);
    let said = load().unwrap_err().to_string();
    assert!(said.contains("fwknopd.conf:2: VERBOSE: 'x' is not a whole number"), "{said}");
    assert!(said.contains("access.conf:4: OPEN_PORTS: 'ssh' is not a port"), "{said}");
    fs::write(folder.path("access.conf"), stanza("a")).unwrap();
    assert_eq!(load().unwrap_err().iter().count(), 1);
    fs::write(folder.path("fwknopd.conf"), "ACCESS_FILE access.conf;\n").unwrap();
    assert_eq!(users(&load().unwrap().1), ["a"]);
}

#[test]
fn a_missing_file_is_said_with_all_other_mistakes() {
    let folder = Folder::with(&[("one.conf", "VERBOSE x;\n")]);
    let mut options = folder.options();
    options.override_files = vec!["one.conf".into()];
    let said = load_server(&options).unwrap_err().to_string().replace(folder.0.path().to_str().unwrap(), "");
    assert!(said.contains("/fwknopd.conf: cannot be read: No such file or directory"), "{said}");
    assert!(said.contains("/one.conf:1: VERBOSE: 'x' is not a whole number"), "{said}");
}
