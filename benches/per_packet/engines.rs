//! One signed message, read by each engine: what it costs to leave the secret key in memory, with gpg-agent, or all of it to
//! gpg.

use divan::{Bencher, black_box};
use fwknop::crypto::openpgp::sequoia::{KeyFile, SequoiaSealer};
use fwknop::crypto::openpgp::{Engine, Sealer};
use fwknop::keyring::{self, Gpg};
use fwknop::time::Timestamp;

use super::support::gpg::{Home, Key, keys};

#[divan::bench(args = KEEPERS)]
fn read_rsa2048(bencher: Bencher, keeper: Keeper) {
    keeper.reads(bencher, &keys().server_rsa, &keys().client_rsa);
}

#[divan::bench(args = KEEPERS)]
fn read_curve25519(bencher: Bencher, keeper: Keeper) {
    keeper.reads(bencher, &keys().server_cv25519, &keys().client_ed25519);
}

const KEEPERS: [Keeper; 3] = [Keeper::Memory, Keeper::Agent, Keeper::Gpg];

/// Who has the server's secret key.
#[derive(Clone, Copy, Debug)]
enum Keeper {
    Memory,
    Agent,
    Gpg,
}

impl Keeper {
    fn reads(self, bencher: Bencher, server: &Key, client: &Key) {
        let home = Home::new();
        home.import(&[server.secret.as_str(), &client.public].concat());
        let engine = self.engine(&home);
        // Each message once: the library knows a signature again that it has verified before.
        let messages = bencher.with_inputs(|| sealed(server, client));
        messages.bench_local_refs(|message| engine.open(black_box(message), Timestamp::now()).expect("readable"));
    }

    fn engine(self, home: &Home) -> Box<dyn Engine> {
        let (gpg, now) = (Gpg { home: home.path().into(), program: None }, Timestamp::now());
        match self {
            Keeper::Memory => Box::new(keyring::from_home(&gpg, None, now).expect("a keyring").keys),
            Keeper::Agent => Box::new(keyring::left_to_agent(&gpg, None, now).expect("a keyring").keys),
            Keeper::Gpg => Box::new(keyring::left_to_gpg(&gpg, None, now).expect("a keyring").0),
        }
    }
}

fn sealed(server: &Key, client: &Key) -> Vec<u8> {
    let file = |data| KeyFile { data, wanted: None, place: "here" };
    let signer = (file(client.secret.as_bytes()), None);
    let sealer = SequoiaSealer::new(file(server.public.as_bytes()), Some(signer), Timestamp::now());
    sealer.expect("good keys").seal(b"some eighty characters, as a request for a port is long").expect("sealed")
}
