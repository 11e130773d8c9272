//! Our packets and the daemon of the original, one kind of key after the other.

use fwknop::crypto::openpgp::Fingerprint;

use super::specimens::{Specimen, specimen};
use crate::support::gpg::{Home, Key};
use crate::support::netns::{CLIENT, SERVER, World};
use crate::support::peers::{Client, Daemon, Maker, Settings};
use crate::support::scratch::Scratch;

#[test]
fn what_we_seal_the_original_opens() {
    let pairs = [
        ("gpg-rsa2048", "gpg-subkey"),
        ("gpg-nistp256", "sequoia-nistp256"),
        ("sequoia-cv25519", "sequoia-subkeys"),
        ("sequoia-rsa4096", "gpg-cv25519"),
        ("gpg-nistp384", "sequoia-nistp521"),
    ];
    let pairs: Vec<_> =
        pairs.into_iter().zip(2301u16..).map(|((to, by), port)| (port, specimen(to), specimen(by))).collect();
    let ports: Vec<u16> = pairs.iter().map(|(port, ..)| *port).collect();
    let world = World::new();
    world.serve(&ports);
    world.drop_by_iptables();
    let keys = |pick: fn(&(u16, &'static Specimen, &'static Specimen)) -> &'static Specimen| -> Vec<Key> {
        pairs.iter().map(|pair| key(pick(pair))).collect()
    };
    let (servers, clients) = (keys(|pair| pair.1), keys(|pair| pair.2));
    let home = Home::of(&servers.iter().collect::<Vec<_>>(), &clients.iter().collect::<Vec<_>>());
    let files = Scratch::new();
    let (mut access, mut rc) = (String::new(), String::new());
    for (port, to, by) in &pairs {
        let signers: Vec<String> = by.sign.iter().map(Fingerprint::to_string).collect();
        access.push_str(&format!(
            "SOURCE ANY\nOPEN_PORTS tcp/{port}\nREQUIRE_SOURCE_ADDRESS Y\nHMAC_KEY tag-of-{port}\n\
             GPG_HOME_DIR {}\nGPG_ALLOW_NO_PW Y\nGPG_FINGERPRINT_ID {}\n",
            home.path().display(),
            signers.join(","),
        ));
        let [to, by] = [(&to.name, &to.public), (&by.name, &by.secret)]
            .map(|(name, armored)| files.write(&format!("{name}-{port}.asc"), armored).display().to_string());
        rc.push_str(&format!(
            "[{port}]\nSPA_SERVER {SERVER}\nALLOW_IP {CLIENT}\nACCESS tcp/{port}\nHMAC_KEY tag-of-{port}\n\
             USE_GPG Y\nGPG_RECIPIENT {to}\nGPG_SIGNER {by}\nGPG_NO_SIGNING_PW Y\n"
        ));
    }
    let settings = Settings::new(&world, "", &access);
    let daemon = Daemon::start(&world, Maker::Original, &settings);
    let client = Client::new(&rc);
    let road = world.v4();
    for (port, to, by) in &pairs {
        client.knock(&world.client, Maker::Ours, &["-n", &port.to_string()]);
        assert!(road.opens(*port), "{} to {}; the daemon said:\n{}", by.name, to.name, daemon.logs.text());
    }
    daemon.stop();
}

fn key(specimen: &'static Specimen) -> Key {
    Key {
        name: &specimen.name,
        fingerprint: specimen.primary.to_string(),
        public: specimen.public.clone(),
        secret: specimen.secret.clone(),
        passphrase: None,
    }
}
