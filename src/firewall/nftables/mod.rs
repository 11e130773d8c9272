//! nftables: grants are elements, with a kernel timeout, of sets and maps in the administrator's own tables.
//!
//! ```text
//! set fwknop4 { type ipv4_addr . inet_proto . inet_service; flags timeout; }        (fwknop6 likewise)
//! chain fwknop_input { ip saddr . meta l4proto . th dport @fwknop4 counter accept comment "fwknop" }
//! chain input { type filter hook input …; policy drop; jump fwknop_input comment "fwknop"; … }
//! ```
//!
//! With NAT there are more of them (`slot.rs`), a jump in the forward chain as well, and two base chains of our own in the
//! table of the input chain: translation decides nothing about letting through, so it may stand anywhere.
//!
//! A dead daemon fails closed, because the kernel counts. Rules are known by what they do and by their comment, never
//! by their position; where the administrator moved the jump, it stays. Pure: renders and reads, acts never.

mod changes;
mod concern;
mod slot;

use std::collections::BTreeSet;
use std::time::Duration;

use super::backend::{Backend, Change, Command, Element, Output, SetUp, Step, Verb};
use super::concern::Concern;
use super::error::Error;
use super::known::{BackendName, Known};
use super::place;
use super::rule::{Entry, Rule, Spot};
use super::ruleset::Ruleset;
use super::settings::{ChainPlace, Features, FirewallSettings, Hook};
use crate::net::Service;
use changes::{missing, removal};
use slot::{Chain, Slot, Version};

pub const NFTABLES: BackendName = BackendName::new(&Known {
    name: "nftables",
    programs: &["nft"],
    missing: "install the package nftables",
    found_by: Some("nft"),
    make: |settings| Box::new(Nftables::new(settings)),
});

pub struct Nftables {
    named: Named,
    features: Features,
    /// Where set-up was.
    places: Option<Places>,
    /// What it was made of.
    handles: Option<Handles>,
}

/// The chains as configured. `None`: to be found.
struct Named {
    input: Option<ChainPlace>,
    forward: Option<ChainPlace>,
    output: Option<ChainPlace>,
}

/// The administrator's chains that get our jumps.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Places {
    input: ChainPlace,
    /// `None`: nothing is opened there.
    forward: Option<ChainPlace>,
    output: Option<ChainPlace>,
}

/// The kernel's numbers of our sets and maps, each with that of its table.
type Handles = BTreeSet<(u64, u64)>;

impl Nftables {
    pub fn new(settings: &FirewallSettings) -> Self {
        let FirewallSettings { input, forward, output, features, .. } = settings.clone();
        Self { named: Named { input, forward, output }, features, places: None, handles: None }
    }

    fn look(&self, ruleset: &Ruleset) -> Result<Places, Error> {
        let place = |named: &Option<ChainPlace>, hook| match named {
            Some(named) => place::check(ruleset, named, hook).map(|()| named.clone()),
            None => place::find(ruleset, hook),
        };
        let Named { input, forward, output } = &self.named;
        Ok(Places {
            input: place(input, Hook::Input)?,
            forward: self.features.forwarding.then(|| place(forward, Hook::Forward)).transpose()?,
            output: self.features.output.then(|| place(output, Hook::Output)).transpose()?,
        })
    }

    /// Where rules go. Before set-up, when nothing is named, this is a guess for dry runs.
    fn place(&self, chain: Chain) -> ChainPlace {
        let known = self.places.as_ref().and_then(|places| places.of(chain)).cloned();
        let (named, hook) = match chain {
            Chain::Jump(Hook::Forward) => (&self.named.forward, Hook::Forward),
            Chain::Jump(Hook::Output) => (&self.named.output, Hook::Output),
            _ => (&self.named.input, Hook::Input),
        };
        known.or_else(|| named.clone()).unwrap_or_else(|| ChainPlace::usual(hook))
    }

    /// Whether a table is where grants go. As long as that is not known, each may be.
    fn concerns(&self, family: &str, table: &str) -> bool {
        let is_there = |access: &ChainPlace| access.family.to_string() == family && access.table.as_str() == table;
        if let Some(places) = &self.places {
            return places.all().any(|(_, place)| is_there(place));
        }
        let Named { input, forward, output } = &self.named;
        let needed = [(true, input), (self.features.forwarding, forward), (self.features.output, output)];
        needed.into_iter().filter(|(needed, _)| *needed).any(|(_, named)| named.as_ref().is_none_or(is_there))
    }

    /// The kernel never gives a number twice: what was made anew has another one, and has lost its elements.
    fn handles(&self, ruleset: &Ruleset) -> Handles {
        let mut handles = Handles::new();
        for (slot, version, family, table) in changes::slots(ruleset) {
            let name = slot.name(version);
            if !self.concerns(family, table) {
                continue;
            }
            let of_table = ruleset.tables.iter().find(|known| (&*known.family, &*known.name) == (family, table));
            let set = ruleset.set(family, table, &name).map(|set| set.handle);
            let map = || ruleset.map(family, table, &name).map(|map| map.handle);
            handles.insert((of_table.map_or(0, |table| table.handle), set.or_else(map).unwrap_or_default()));
        }
        handles
    }

    fn element(&self, spot: Spot) -> Result<Element, Error> {
        let slot = Slot::of(&spot).ok_or(Error::NoSlot)?;
        let (access, version) = (self.place(slot.chain()), Version::of(spot.address));
        if !Version::in_table(access.family).contains(&version) {
            return Err(Error::WrongFamily { access, address: spot.address });
        }
        let set = slot.name(version);
        Ok(Element { family: access.family, table: access.table, set, spot, to: None, timeout: None, comment: None })
    }
}

impl Places {
    /// The chain that is jumped from, or whose table a base chain of ours is in.
    fn of(&self, chain: Chain) -> Option<&ChainPlace> {
        match chain {
            Chain::Jump(Hook::Forward) => self.forward.as_ref(),
            Chain::Jump(Hook::Output) => self.output.as_ref(),
            _ => Some(&self.input),
        }
    }

    fn all(&self) -> impl Iterator<Item = (Hook, &ChainPlace)> {
        let some = [(Hook::Forward, &self.forward), (Hook::Output, &self.output)];
        let more = some.into_iter().filter_map(|(hook, place)| Some((hook, place.as_ref()?)));
        [(Hook::Input, &self.input)].into_iter().chain(more)
    }
}

impl Backend for Nftables {
    fn survey(&self) -> Vec<Step> {
        vec![nft(["-j", "list", "ruleset"])]
    }

    fn set_up(&mut self, survey: &[Output]) -> Result<SetUp, Error> {
        let ruleset = read(survey)?;
        let places = self.look(&ruleset)?;
        let steps = transaction(missing(&ruleset, &places, self.features)?);
        let names: Vec<String> = places.all().map(|(_, place)| place.to_string()).collect();
        let warnings = places.all().flat_map(|(hook, place)| place::warnings(&ruleset, place, hook)).collect();
        self.places = Some(places);
        Ok(SetUp { place: names.join(", "), steps, warnings })
    }

    fn concerns(&self, survey: &[Output], opens: &dyn Fn(Service) -> bool) -> Vec<Concern> {
        let Ok(ruleset) = read(survey) else { return Vec::new() };
        // Answers need the rule where nothing of ours lets them out.
        let answers = if self.features.output { Vec::new() } else { place::dropping(&ruleset, Hook::Output) };
        let places = self.places.iter().flat_map(Places::all).filter(|(hook, _)| *hook != Hook::Output);
        let places = places.chain(answers.iter().map(|place| (Hook::Output, place)));
        let stateless = places.filter_map(|(hook, place)| concern::stateless(&ruleset, hook, place));
        stateless.chain(concern::diverted(&ruleset, opens)).collect()
    }

    fn rehearsal(&self, set_up: &[Step]) -> Vec<Step> {
        let rehearse = |step: &Step| match step {
            Step::Command(Command { program, args, stdin }) => {
                let args = [String::from("-c")].into_iter().chain(args.iter().cloned()).collect();
                Some(Step::Command(Command { program, args, stdin: stdin.clone() }))
            }
            _ => None,
        };
        set_up.iter().filter_map(rehearse).collect()
    }

    fn check(&self) -> Option<Step> {
        let places = self.places.as_ref()?;
        let ChainPlace { family, table, .. } = &places.input;
        Some(match places.all().all(|(_, place)| (place.family, &place.table) == (*family, table)) {
            true => nft(["-j", "-t", "list", "table", &family.to_string(), table.as_str()]),
            false => nft(["-j", "-t", "list", "ruleset"]),
        })
    }

    fn recognise(&mut self, _: &[Output], marks: &[Output]) -> bool {
        let Some(check) = marks.first() else { return false };
        let new = read(std::slice::from_ref(check)).ok().map(|ruleset| self.handles(&ruleset));
        let before = std::mem::replace(&mut self.handles, new);
        before.is_some() && before != self.handles
    }

    fn in_place(&self, check: &Output) -> bool {
        let (Some(places), Ok(ruleset)) = (&self.places, read(std::slice::from_ref(check))) else { return false };
        let sound = |(hook, access)| place::check(&ruleset, access, hook).is_ok() && !place::hidden(&ruleset, access);
        self.handles.as_ref().is_none_or(|known| *known == self.handles(&ruleset))
            && places.all().all(sound)
            && missing(&ruleset, places, self.features).is_ok_and(|missing| missing.is_empty())
    }

    fn generation(&self) -> Option<Step> {
        Some(Step::Generation)
    }

    fn tear_down(&self, survey: &[Output]) -> Result<Vec<Step>, Error> {
        let ruleset = read(survey)?;
        let mut tables = changes::tables(&ruleset);
        tables.retain(|(family, table)| self.concerns(family, table));
        Ok(transaction(tables.into_iter().flat_map(|(family, table)| removal(&ruleset, family, table)).collect()))
    }

    fn find(&self, rule: &Rule) -> Result<Step, Error> {
        Ok(Step::Element(Verb::Get, self.element(rule.spot)?))
    }

    fn open(&self, rule: &Rule, found: Option<&Entry>, lasts: Duration) -> Result<Vec<Change>, Error> {
        let bare = self.element(rule.spot)?;
        let new = Element { to: rule.to, timeout: Some(lasts), comment: Some(rule.tag.to_string()), ..bare.clone() };
        let add = Change { step: Step::Element(Verb::Add, new), undo: Some(Step::Element(Verb::Delete, bare.clone())) };
        // Adding what exists would keep the old timeout on kernels before 6.12.
        let delete = found.map(|former| {
            let Entry { to, remaining, comment, .. } = former.clone();
            let former = Element { to, timeout: remaining, comment, ..bare.clone() };
            Change { step: Step::Element(Verb::Delete, bare.clone()), undo: Some(Step::Element(Verb::Add, former)) }
        });
        Ok(delete.into_iter().chain([add]).collect())
    }

    fn close(&self, entry: &Entry) -> Result<Vec<Step>, Error> {
        Ok(vec![Step::Element(Verb::Delete, self.element(entry.spot)?)])
    }

    fn entries(&self, outputs: &[Output]) -> Result<Vec<Entry>, Error> {
        match outputs {
            [Output::Found(found)] => Ok(found.iter().cloned().collect()),
            survey => {
                let ruleset = read(survey)?;
                let here = changes::slots(&ruleset).filter(|(.., family, table)| self.concerns(family, table));
                Ok(here
                    .flat_map(|(slot, version, family, table)| slot.entries(&ruleset, version, family, table))
                    .collect())
            }
        }
    }

    fn list_all(&self) -> Vec<Step> {
        vec![nft(["list", "ruleset"])]
    }
}

/// One `nft` for all of it: the kernel makes all changes or none.
fn transaction(changes: Vec<serde_json::Value>) -> Vec<Step> {
    if changes.is_empty() {
        return Vec::new();
    }
    let script = serde_json::json!({"nftables": changes}).to_string();
    vec![Step::Command(Command::new(PROGRAM, ["-j", "-f", "-"]).with_stdin(script))]
}

fn nft<const N: usize>(args: [&str; N]) -> Step {
    Step::Command(Command::new(PROGRAM, args))
}

fn read(outputs: &[Output]) -> Result<Ruleset, Error> {
    let [Output::Text(text)] = outputs else { return Ok(Ruleset::default()) };
    Ruleset::read(text).map_err(|source| Error::Unreadable { program: PROGRAM, source })
}

impl ChainPlace {
    fn usual(hook: Hook) -> Self {
        // Debian's /etc/nftables.conf and nearly every example have it so.
        format!("inet filter {hook}").parse().expect("three plain words")
    }
}

const PROGRAM: &str = "nft";

#[cfg(test)]
mod tests;
