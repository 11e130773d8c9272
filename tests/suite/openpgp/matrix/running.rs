//! The same in the running daemon: every engine, with every key as the server's and as the client's.

use std::net::{IpAddr, Ipv4Addr};

use super::specimens::{PASSPHRASE, Specimen, home, specimen, specimens};
use super::{gpg_seals, seal_text};
use crate::openpgp::engines::{ENGINES, Kind};
use crate::openpgp::settings::letters::{knock, wire};
use crate::support::gpg::Home;
use crate::support::netns::{SPA_PORT, World};
use crate::support::peers::{Daemon, Maker, READY, Settings};

#[test]
fn the_daemon_opens_for_every_key_its_engine_reads() {
    let (server, client) = (specimen("sequoia-cv25519"), specimen("gpg-cv25519"));
    let to_each = specimens().iter().map(|to| (to, client));
    let by_each = specimens().iter().filter(|specimen| !specimen.is_locked()).map(|by| (server, by));
    let pairs: Vec<_> = to_each.chain(by_each).collect();
    assert_eq!(pairs.len(), 22 + 19);

    // Who has which secret: a passphrase is given for one of the homes, and the other needs none.
    let sender = home(false);
    let everybody: String = specimens().iter().map(|specimen| specimen.public.as_str()).collect();
    sender.import(&everybody);
    for kind in &ENGINES {
        let homes = [home(false), home(true)];
        homes.iter().for_each(|home| home.import(&everybody));
        let world = World::new();
        let conf = format!("ENABLE_SPA_PACKET_AGING N;\n{}", kind.conf);
        let settings = Settings::new(&world, &conf, &access(&homes)).interface(None);
        let daemon = Daemon::launch(&world, Maker::Ours, &settings, &["--test", "-v", "--udp-server"]);
        daemon.logs.expect(&[READY]);
        for (number, (to, by)) in (1u8..).zip(&pairs) {
            let source = Ipv4Addr::new(127, if to.is_locked() { 2 } else { 1 }, 0, number);
            let spa = (Ipv4Addr::LOCALHOST.into(), SPA_PORT);
            world.server.send(IpAddr::V4(source), spa, packet(&sender, to, by).as_bytes());
            let line = daemon.logs.expect(&[&format!("src={source} ")]);
            let cell = format!("{}: {} to {}", kind.name, by.name, to.name);
            assert!(expected(kind, to, by).iter().all(|word| line.contains(word)), "{cell}: {line}");
        }
        daemon.stop();
    }
}

/// What the journal's line says.
fn expected(kind: &Kind, to: &Specimen, by: &Specimen) -> Vec<String> {
    if to.is_beyond_nettle() && !kind.decrypts_everything {
        vec!["refuse ".into(), "reason=gpg-decrypt".into()]
    } else if by.cannot_sign_here() && !kind.reads_everything {
        vec!["refuse ".into(), "reason=gpg-bad-signature fault=unsupported".into()]
    } else {
        vec!["open ".into(), format!("signer={}", by.primary)]
    }
}

fn access(homes: &[Home; 2]) -> String {
    let signers: Vec<String> = specimens().iter().map(|specimen| specimen.primary.to_string()).collect();
    let stanza = |network: &str, home: &Home, unlock: &str| {
        let (home, signers) = (home.path().display(), signers.join(","));
        format!("SOURCE {network}\nGPG_HOME_DIR {home}\n{unlock}\nGPG_FINGERPRINT_ID {signers}\n")
    };
    let given = format!("GPG_DECRYPT_PW {PASSPHRASE}");
    stanza("127.1.0.0/16", &homes[0], "GPG_ALLOW_NO_PW Y") + &stanza("127.2.0.0/16", &homes[1], &given)
}

/// By us, or by gpg where this process lacks the arithmetic.
pub fn packet(sender: &Home, to: &Specimen, by: &Specimen) -> String {
    let text = knock();
    wire(if to.is_beyond_nettle() || by.cannot_sign_here() {
        gpg_seals(sender, to, &["--sign", "--local-user", &by.primary.to_string()], &text)
    } else {
        seal_text(to, Some(by), &text)
    })
}
