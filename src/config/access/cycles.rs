//! The command cycle of a stanza (`spec/access.md` 8).

use std::path::Path;

use super::Resolve;
use crate::config::accounts;
use crate::grant::{CommandCycle, RunAs, Template};

impl Resolve<'_, '_> {
    /// `None`: the stanza opens the firewall.
    pub(super) fn cycle(&mut self) -> Option<CommandCycle> {
        let given = |name| self.settings.mentions(name);
        let [has_open, has_close, has_timer] = ["CMD_CYCLE_OPEN", "CMD_CYCLE_CLOSE", "CMD_CYCLE_TIMER"].map(given);
        if !has_open {
            for name in ["CMD_CYCLE_CLOSE", "CMD_CYCLE_TIMER"].iter().filter(|name| self.settings.mentions(name)) {
                let what = format!("{name} needs CMD_CYCLE_OPEN");
                self.complaints.error(&self.at(name), what, "name the command that opens, or remove this");
            }
            return None;
        }
        if !has_close {
            let advice = "name the command that undoes it with CMD_CYCLE_CLOSE, or write CMD_CYCLE_CLOSE NONE";
            self.complaints.error(&self.at("CMD_CYCLE_OPEN"), "CMD_CYCLE_OPEN needs CMD_CYCLE_CLOSE", advice);
        }
        let none = self.settings.text("CMD_CYCLE_CLOSE").is_some_and(|text| text.trim_start().starts_with("NONE"));
        if has_close && !none && !has_timer {
            let advice = "say with CMD_CYCLE_TIMER after how many seconds it is run";
            self.complaints.error(&self.at("CMD_CYCLE_CLOSE"), "CMD_CYCLE_CLOSE needs CMD_CYCLE_TIMER", advice);
        }
        self.tell_idle();
        let timeout = self.context.server.commands.timeout;
        // Whether they exist is judged with the other settings of commands.
        let account = |name, find: fn(&str) -> _| self.settings.text(name).and_then(find);
        let run_as = RunAs {
            user: account("CMD_EXEC_USER", accounts::user),
            group: account("CMD_EXEC_GROUP", accounts::group),
            sudo: None,
            timeout,
        };
        let open = self.template("CMD_CYCLE_OPEN");
        let close = if none { Some(None) } else { self.template("CMD_CYCLE_CLOSE").map(Some) };
        Some(CommandCycle { open: open?, close: close?, run_as })
    }

    /// Whether the stanza has one, right or wrong.
    pub(super) fn has_cycle(&self) -> bool {
        self.settings.mentions("CMD_CYCLE_OPEN")
    }

    /// What only the firewall, or only a command message, would need.
    fn tell_idle(&mut self) {
        let idle =
            ["ENABLE_CMD_EXEC", "FORCE_NAT", "FORCE_SNAT", "FORCE_MASQUERADE", "FORWARD_ALL", "FW_ACCESS_TIMEOUT"];
        for name in idle.iter().filter(|name| self.settings.mentions(name)) {
            if self.settings.flag(name) != Some(false) {
                let (place, what) = (self.at(name), format!("{name} has no effect beside CMD_CYCLE_OPEN"));
                self.complaints.warn(&place, what, "move it to a stanza of its own, or remove it");
            }
        }
    }

    fn template(&mut self, name: &str) -> Option<Template> {
        let text = self.settings.text(name)?.to_owned();
        let place = self.at(name);
        let template = match Template::parse(&text) {
            Ok(template) => template,
            Err(why) => {
                let advice = "it is cut into words as by a shell: '…', \"…\" and \\ keep blanks together";
                self.complaints.error(&place, format!("{name}: {why}"), advice);
                return None;
            }
        };
        for stranger in template.strangers() {
            let what = format!("{name}: ${stranger} is no variable, the $ is left out");
            let advice = "variables are $IP $SRC $PKT_SRC $DST $PORT $PROTO $TIMEOUT $CLIENT_TIMEOUT";
            self.complaints.warn(&place, what, advice);
        }
        let program = template.words().first().map(String::as_str).unwrap_or_default();
        if program.starts_with('/') && !program.contains('$') && !Path::new(program).is_file() {
            self.complaints.warn(
                &place,
                format!("{name}: there is no program {program}"),
                "install it, or correct its path",
            );
        }
        Some(template)
    }
}
