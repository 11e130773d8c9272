//! What a back-end is: it renders steps and reads listings, and does nothing itself. So each can be tested on any
//! system, without privileges, by comparing text.

use std::fmt;
use std::time::Duration;

use crate::grant::Grant;
use crate::net::Service;

use super::iptables::Sweep;
use super::listed::Edit;
use super::{Concern, Entry, Error, Family, Name, Rule, Spot, Value};

/// One kind of firewall, in words. [`Firewall`](super::Firewall) decides what happens, a [`Runner`](super::Runner) does it.
pub trait Backend {
    /// What a grant means to this firewall.
    fn rules(&self, grant: &Grant, replies: bool) -> Vec<Rule> {
        Rule::of(grant, replies)
    }

    /// Asks the firewall for everything set-up, tear-down and listing need to know.
    fn survey(&self) -> Vec<Step>;

    /// What is missing so that rules take effect; no steps when all is in place. Remembers where that is.
    fn set_up(&mut self, survey: &[Output]) -> Result<SetUp, Error>;

    /// What in the survey would keep grants from working, or makes them pointless, though set-up works. Called after set-up.
    fn concerns(&self, _survey: &[Output], _opens: &dyn Fn(Service) -> bool) -> Vec<Concern> {
        Vec::new()
    }

    /// Asks about what is around the firewall: whether it is switched on at all. What cannot be answered is not judged.
    fn inquiries(&self) -> Vec<Step> {
        Vec::new()
    }

    /// The verdict on what [`inquiries`](Self::inquiries) brought, one answer for each.
    fn surroundings(&self, _answers: &[Output]) -> Vec<Concern> {
        Vec::new()
    }

    /// The steps of set-up, changed so that the kernel says what it thinks of them and carries none of them out.
    fn rehearsal(&self, _set_up: &[Step]) -> Vec<Step> {
        Vec::new()
    }

    /// Asks, more cheaply than [`survey`](Self::survey), whether set-up is still in place.
    /// `None`: not known where it is.
    fn check(&self) -> Option<Step> {
        None
    }

    /// Asks for what a set-up that somebody made anew, in the same form, differs in.
    fn marks(&self) -> Vec<Step> {
        self.check().into_iter().collect()
    }

    /// Takes note of what set-up is made of, from the survey and the [`marks`](Self::marks). Tells whether that is no longer what it
    /// was when this was called last: somebody has loaded the ruleset anew, perhaps from an old save.
    fn recognise(&mut self, _survey: &[Output], _marks: &[Output]) -> bool {
        false
    }

    /// The verdict on what [`check`](Self::check) brought.
    fn in_place(&self, _: &Output) -> bool {
        false
    }

    /// Asks for a number that grows whenever anybody changes the firewall. `None`: this firewall has no such number, or that
    /// is not known yet.
    fn generation(&self) -> Option<Step> {
        None
    }

    /// Whether nobody tells when others change it, and a look is cheap enough to be taken every few seconds.
    fn is_silent(&self) -> bool {
        false
    }

    /// Gives a chain of ours its name back that somebody renamed: it is known by the rules in it, which `ours` recognises.
    fn recall(&self, _survey: &[Output], _ours: &dyn Fn(&Entry) -> bool) -> Vec<Step> {
        Vec::new()
    }

    /// Removes everything of ours and nothing else.
    fn tear_down(&self, survey: &[Output]) -> Result<Vec<Step>, Error>;

    /// What can do that where this firewall is away.
    fn stand_in(&self) -> Option<Box<dyn Backend>> {
        None
    }

    /// Whether this firewall can only be listed as a whole: then what it holds is remembered. It refuses to change what is
    /// not there, and to open what would have no effect because set-up is not in place.
    fn is_remembered(&self) -> bool {
        false
    }

    /// Asks for what is open for the rule's address and service. Not called where that is remembered.
    fn find(&self, _: &Rule) -> Result<Step, Error> {
        Err(Error::NoSlot)
    }

    /// Opens for `lasts`, replacing what was `found` for the same address and service.
    fn open(&self, rule: &Rule, found: Option<&Entry>, lasts: Duration) -> Result<Vec<Change>, Error>;

    fn close(&self, entry: &Entry) -> Result<Vec<Step>, Error>;

    /// Several at once, where that can be done in fewer steps.
    fn close_all(&self, entries: &[Entry]) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::new();
        for entry in entries {
            steps.extend(self.close(entry)?);
        }
        Ok(steps)
    }

    /// The same by other steps, when those were `unable`. None: that would be of no use.
    fn close_otherwise(&self, _entries: &[Entry], _unable: &Error) -> Result<Vec<Step>, Error> {
        Ok(Vec::new())
    }

    /// Whether it can hold thousands of rules twice for a moment, so that those that are replaced are removed together.
    fn has_room(&self) -> bool {
        false
    }

    /// Reads what is open from what [`find`](Self::find) or [`survey`](Self::survey) brought.
    fn entries(&self, outputs: &[Output]) -> Result<Vec<Entry>, Error>;

    /// How often to look after what closing leaves behind. `None`: it leaves nothing.
    fn tidies_every(&self) -> Option<Duration> {
        None
    }

    /// What of that is in the survey.
    fn remains(&self, _survey: &[Output]) -> Remains {
        Remains::default()
    }

    /// Asks for the whole firewall as its own tool shows it.
    fn list_all(&self) -> Vec<Step>;
}

/// What set-up has to do and to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetUp {
    /// Where rules go, for people: `inet filter input`.
    pub place: String,
    pub steps: Vec<Step>,
    /// Why rules may have no effect, or a wider one than meant.
    pub warnings: Vec<String>,
}

/// What closing left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remains {
    /// Removes what nobody uses any more.
    pub unused: Vec<Step>,
    /// There is more, to be looked at again.
    pub in_use: bool,
}

/// A step and how to take it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub step: Step,
    /// `None`: it only looks.
    pub undo: Option<Step>,
}

/// One thing to do. Its `Display` is what a dry run prints and what tests compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Command(Command),
    /// Goes to the kernel without a process in between. Neighbouring changes are one transaction.
    Element(Verb, Element),
    /// Neighbouring ones for the same program and table are one transaction.
    Line(Line),
    Edit(Edit),
    Pass(Pass),
    Sweep(Sweep),
    /// Asks for the number of the ruleset's last change.
    Generation,
    /// Asks for the handle of an nftables table: another one when somebody made it anew.
    Handle(Family, Name),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Command(command) => command.fmt(f),
            Step::Element(Verb::Add, element) => write!(f, "add {element}"),
            Step::Element(verb, element) => write!(f, "{verb} {}", element.bare()),
            Step::Line(line) => line.fmt(f),
            Step::Edit(edit) => edit.fmt(f),
            Step::Pass(pass) => pass.fmt(f),
            Step::Sweep(sweep) => sweep.fmt(f),
            Step::Generation => f.write_str("get generation"),
            Step::Handle(family, table) => write!(f, "get handle of table {family} {table}"),
        }
    }
}

/// A line for a program that takes many of them on its standard input and carries out all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// `iptables-restore`
    pub program: &'static str,
    pub table: String,
    /// The jump without which it would have no effect, as `INPUT -j FWKNOP_INPUT`: then nothing is changed.
    pub jump: Option<String>,
    /// `-A FWKNOP_INPUT -p 6 …`
    pub text: String,
    /// The kernel takes only so much at once, so that many lines are several transactions.
    pub bounded: bool,
}

/// As the command that would do it alone.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program.trim_end_matches("-restore");
        write!(f, "{program} -t {} {}", self.table, self.text)
    }
}

/// A command of iptables that firewalld carries out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pass {
    /// `ipv4`
    pub protocol: &'static str,
    pub args: Vec<String>,
}

impl Pass {
    /// Protocol and table.
    pub fn place(&self) -> (&'static str, Option<&str>) {
        (self.protocol, self.args.get(1).map(String::as_str))
    }

    /// Something is another way afterwards.
    pub fn is_change(&self) -> bool {
        !["-C", "-S", "-L"].iter().any(|question| self.args.iter().any(|arg| arg == question))
    }

    /// Of a rule.
    pub fn is_removal(&self) -> bool {
        self.args.get(2).is_some_and(|verb| verb == "-D")
    }
}

/// As the command that would do it.
impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "firewall-cmd --direct --passthrough {} {}", self.protocol, self.args.join(" "))
    }
}

/// A program, its arguments and its standard input. Never a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Without a directory: the runner finds it.
    pub program: &'static str,
    pub args: Vec<String>,
    pub stdin: Option<String>,
}

impl Command {
    pub fn new(program: &'static str, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { program, args: args.into_iter().map(Into::into).collect(), stdin: None }
    }

    pub fn with_stdin(self, text: String) -> Self {
        Self { stdin: Some(text), ..self }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program)?;
        for arg in &self.args {
            write!(f, " {arg}")?;
        }
        match &self.stdin {
            Some(text) => write!(f, "   # {text}"),
            None => Ok(()),
        }
    }
}

/// What is done with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Refused by the kernel when it exists.
    Add,
    /// Refused by the kernel when it does not exist.
    Delete,
    Get,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Add => "add",
            Verb::Delete => "delete",
            Verb::Get => "get",
        })
    }
}

/// An element of an nftables set or map. `Display` is its text in the language of nft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub family: Family,
    pub table: Name,
    pub set: String,
    /// Its key: of what the spot has, address, peer, protocol and port, in this order.
    pub spot: Spot,
    /// What a map leads to.
    pub to: Option<Value>,
    /// The kernel removes it after that long. `None`: never.
    pub timeout: Option<Duration>,
    pub comment: Option<String>,
}

impl Element {
    /// What identifies it.
    fn bare(&self) -> Element {
        Element { to: None, timeout: None, comment: None, ..self.clone() }
    }

    /// The timeout as the kernel counts: in milliseconds, never cut short.
    pub fn timeout_ms(&self) -> Option<u64> {
        self.timeout.map(|timeout| u64::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, table, set, spot: Spot { address, peer, service, .. }, .. } = self;
        write!(f, "element {family} {table} {set} {{ {address}")?;
        if let Some(peer) = peer {
            write!(f, " . {peer}")?;
        }
        if let Some(Service { proto, port }) = service {
            write!(f, " . {proto} . {port}")?;
        }
        if let Some(ms) = self.timeout_ms() {
            f.write_str(" timeout ")?;
            if ms >= 1000 || ms == 0 {
                write!(f, "{}s", ms / 1000)?;
            }
            if ms % 1000 != 0 {
                write!(f, "{}ms", ms % 1000)?;
            }
        }
        if let Some(comment) = &self.comment {
            write!(f, " comment \"{comment}\"")?;
        }
        match self.to {
            Some(Value::Address(address)) => write!(f, " : {address}")?,
            Some(Value::Port(port)) => write!(f, " : {port}")?,
            Some(Value::Socket(address, port)) => write!(f, " : {address} . {port}")?,
            None => {}
        }
        f.write_str(" }")
    }
}

/// What a step brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// What a program printed.
    Text(String),
    /// The answer to [`Verb::Get`].
    Found(Option<Entry>),
    Generation(u32),
    /// The answer to [`Step::Handle`]. `None`: there is no such table.
    Handle(Option<u64>),
    /// So many transactions of nf_tables.
    Made(u32),
    Done,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::Kind;
    use crate::net::Port;

    fn element(timeout: Option<Duration>) -> Element {
        Element {
            family: Family::Inet,
            table: "filter".parse().unwrap(),
            set: "fwknop4".to_owned(),
            spot: Spot {
                kind: Kind::Input,
                address: "198.51.100.7".parse().unwrap(),
                peer: None,
                service: Some("tcp/22".parse().unwrap()),
            },
            to: None,
            timeout,
            comment: timeout.map(|_| "fwknop:17:1748779233".to_owned()),
        }
    }

    #[test]
    fn an_element_prints_as_nft_would_read_it() {
        let add = Step::Element(Verb::Add, element(Some(Duration::from_secs(30))));
        assert_eq!(
            add.to_string(),
            "add element inet filter fwknop4 { 198.51.100.7 . tcp . 22 timeout 30s comment \"fwknop:17:1748779233\" }"
        );
        let delete = Step::Element(Verb::Delete, element(Some(Duration::from_secs(30))));
        assert_eq!(delete.to_string(), "delete element inet filter fwknop4 { 198.51.100.7 . tcp . 22 }");
    }

    #[test]
    fn each_key_prints_what_it_has() {
        let bare = element(None);
        let peer = Some("10.1.2.3".parse().unwrap());
        let shown = |spot: Spot, to| Element { spot, to, ..bare.clone() }.to_string();
        let with_peer = Spot { peer, ..bare.spot };
        assert!(shown(with_peer, None).ends_with("{ 198.51.100.7 . 10.1.2.3 . tcp . 22 }"));
        let port = Some(Value::Port(Port::MIN));
        assert!(shown(bare.spot, port).ends_with("{ 198.51.100.7 . tcp . 22 : 1 }"));
        let to = peer.map(Value::Address);
        assert!(shown(Spot { service: None, ..bare.spot }, to).ends_with("{ 198.51.100.7 : 10.1.2.3 }"));
    }

    #[test]
    fn timeouts_are_rounded_up_to_milliseconds() {
        for (timeout, text) in [
            (Duration::from_nanos(29_996_000_001), "timeout 29s997ms "),
            (Duration::from_millis(250), "timeout 250ms "),
            (Duration::from_nanos(1), "timeout 1ms "),
            (Duration::from_secs(u64::from(u32::MAX)), "timeout 4294967295s "),
        ] {
            let shown = element(Some(timeout)).to_string();
            assert!(shown.contains(text), "{shown}");
        }
    }
}
