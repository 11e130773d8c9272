//! Secret keys left with gpg-agent.

use std::sync::Arc;

use super::Keys;
use super::keys::{Notice, user_id};
use super::secret::{Held, Holder, SecretKey};
use super::unlock::may_decrypt;
use crate::crypto::openpgp::KeyPath;
use crate::crypto::openpgp::agent::{self, Agent, AgentKey, Outage, Patience, Protection, Session};
use crate::time::Timestamp;

impl Keys {
    /// Finds the keys of these certificates that the agent has. They decrypt from now on; the agent is not started
    /// again. A passphrase that is given is tried once for each key, and again whenever the agent asks for it. Of
    /// cards only their presence is looked at: wrong PINs use them up. At the start a busy machine may take its time;
    /// `patience` is for each packet.
    pub fn leave_to(&mut self, agent: &Agent, patience: Patience, now: Timestamp) -> Result<Vec<Notice>, agent::Error> {
        let stored = Session::open(agent)?.stored()?;
        let running = agent.clone().never_started();
        let outage = Arc::new(Outage::default());
        let mut notices = Vec::new();
        let mut secrets = Vec::new();
        for cert in self.all() {
            for key in cert.keys() {
                let stored = stored.iter().find(|stored| stored.is(key.key().mpis()));
                let (Some(stored), Some(path)) = (stored, KeyPath::of(&key)) else { continue };
                if !may_decrypt(&key, now) {
                    continue;
                }
                let user_id = user_id(cert);
                let description = format!("fwknopd reads packets with the OpenPGP key of\n{user_id}\n{}", path.key);
                let with = |agent| AgentKey::new(agent, None, stored.clone(), key.key().clone(), &description);
                let problem = problem(&with(&running), agent, &path, user_id);
                let is_lost = matches!(problem, Some(Notice::WrongPassphrase { .. }));
                notices.extend(problem);
                if !is_lost {
                    let held = with(&running.clone().with_patience(patience));
                    let held = Box::new(Held::new(held, Arc::clone(&outage)));
                    let (handle, algorithm) = (key.key().key_handle(), key.key().pk_algo());
                    secrets.push(SecretKey::new(path, handle, algorithm, Holder::Agent(held)));
                }
            }
        }
        secrets.into_iter().for_each(|secret| self.add_secret(secret));
        Ok(notices)
    }
}

/// What will keep a key from working.
fn problem(held: &AgentKey, agent: &Agent, path: &KeyPath, user_id: String) -> Option<Notice> {
    let key = path.key.clone();
    let unusable = |key, user_id, error: agent::Error| Notice::Unusable { key, user_id, problem: error.to_string() };
    match held.protection() {
        Protection::Card { serial } => {
            agent.find_card(serial.as_deref()).err().map(|error| unusable(key, user_id, error))
        }
        Protection::Passphrase { cached: false } if !agent.gives_passphrase() => Some(Notice::Locked { key, user_id }),
        Protection::None | Protection::Passphrase { .. } => match held.try_out() {
            Ok(()) => None,
            Err(error) if error.is_about_passphrase() => Some(Notice::WrongPassphrase { key, user_id }),
            Err(error) => Some(unusable(key, user_id, error)),
        },
    }
}
