//! The command settings of a stanza (`spec/access.md` 7).

use super::Resolve;
use crate::config::accounts;
use crate::grant::{Account, RunAs, Sudo};

impl Resolve<'_, '_> {
    /// `None`: the stanza takes no commands. One with a cycle does not, as in the original.
    pub(super) fn commands(&mut self) -> Option<RunAs> {
        let user = self.account("CMD_EXEC_USER", "user", accounts::user);
        let group = self.account("CMD_EXEC_GROUP", "group", accounts::group);
        let sudo_user = self.account("CMD_SUDO_EXEC_USER", "user", accounts::user);
        let sudo_group = self.account("CMD_SUDO_EXEC_GROUP", "group", accounts::group);
        let (enabled, by_sudo) = (self.flag("ENABLE_CMD_EXEC"), self.flag("ENABLE_CMD_SUDO_EXEC"));
        let cycle = self.has_cycle();
        let idle: [(&str, bool, &[&str]); 2] = [
            ("ENABLE_CMD_EXEC", enabled, &["CMD_EXEC_USER", "CMD_EXEC_GROUP", "ENABLE_CMD_SUDO_EXEC"]),
            ("ENABLE_CMD_SUDO_EXEC", by_sudo, &["CMD_SUDO_EXEC_USER", "CMD_SUDO_EXEC_GROUP"]),
        ];
        for (needed, is_on, names) in idle {
            let used = |name: &str| cycle && ["CMD_EXEC_USER", "CMD_EXEC_GROUP"].contains(&name);
            for name in names.iter().filter(|name| !is_on && self.settings.mentions(name) && !used(name)) {
                if self.settings.flag(name) != Some(false) {
                    let (place, what) = (self.at(name), format!("{name} has no effect without {needed}"));
                    self.complaints.warn(&place, what, "set that as well, or remove this");
                }
            }
        }
        if !enabled || cycle {
            return None;
        }
        let settings = self.context.server.commands.clone();
        if by_sudo && !settings.sudo.is_file() {
            let what = format!("ENABLE_CMD_SUDO_EXEC needs sudo, and {} is not there", settings.sudo.display());
            self.complaints.error(&self.at("ENABLE_CMD_SUDO_EXEC"), what, "install sudo, or correct SUDO_EXE");
        }
        if !self.settings.mentions("CMD_EXEC_USER") && !self.settings.mentions("CMD_SUDO_EXEC_USER") {
            self.complaints.warn(
                &self.at("ENABLE_CMD_EXEC"),
                "whoever has the keys of the stanza runs any command as the user of the daemon",
                "name another with CMD_EXEC_USER",
            );
        }
        let name = |account: Option<Account>| account.map(|account| account.name);
        let (sudo_user, sudo_group) = (name(sudo_user), name(sudo_group));
        let sudo = by_sudo.then_some(Sudo { program: settings.sudo, user: sudo_user, group: sudo_group });
        Some(RunAs { user, group, sudo, timeout: settings.timeout })
    }

    fn account(&mut self, name: &str, kind: &str, find: fn(&str) -> Option<Account>) -> Option<Account> {
        let text = self.settings.text(name)?.to_owned();
        let account = find(&text);
        if account.is_none() {
            let what = format!("{name}: there is no {kind} '{text}'");
            self.complaints.error(&self.at(name), what, format!("write the name of a {kind} of this system"));
        }
        account
    }
}
